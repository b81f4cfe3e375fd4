//! Records: what was decided about whom, in Hubble's shape.
//!
//! Owns the values, the bounded queues and the files. Never delays a request: what finds no room is counted and told.
//! Start at [`FlowGuard`] (who makes records) and [`Writer::run`] (who writes them).

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant, SystemTime},
};

use rules::{Denial, Direction, HeaderNotes, Nearest, PolicyKey, RuleRef};

use crate::endpoint::Peer;

mod capture;
mod decided;
mod export;
mod file;
mod filter;
mod fragments;
mod guard;
mod headers;
mod info;
mod json;
mod kept;
mod mask;
mod metrics;
mod namespaces;
mod node;
mod order;
mod queue;
mod ring;
mod said;
mod summary;
mod tag;
#[cfg(test)]
pub(crate) mod testing;
mod uuid;
mod wire;

pub use capture::Capture;
pub use export::Selection;
pub use file::FileConfig;
pub use filter::Filters;
pub use guard::{FlowGuard, Trace};
pub use headers::{Headers, RawHeaders, Redaction};
pub use info::HttpInfo;
pub use mask::Mask;
pub use metrics::{LostEvents, Metrics, SERIES};
pub use namespaces::Namespaces;
pub use node::NodeNames;
pub use queue::{Config, Readers, Sink, Writer, pipeline};
pub use ring::{Item, Reader, RingConfig, RingStats, Rings, Start, Wanted};
pub use wire::Encoder;

/// Both ends of a connection, as the applications have it.
#[derive(Clone, Debug)]
pub struct Ends {
    /// Seen from the pod of this node.
    pub direction: Direction,
    /// Who connected.
    pub source: (Arc<Peer>, SocketAddr),
    /// Where to.
    pub destination: (Arc<Peer>, SocketAddr),
}

/// A record as it is shown: with its place among those of this node.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Counts from 1; what makes its uuid.
    pub number: u64,
    /// When: later than that of the flow before it, so that it is nobody else's on this node.
    pub time: SystemTime,
    /// Of the message that the record is about, if it is one.
    pub headers: Headers,
    /// What happened.
    pub record: Record,
}

/// What is recorded.
#[derive(Clone, Debug)]
pub enum Record {
    /// A request was judged.
    Request(HttpRecord),
    /// It was answered, or ended without an answer.
    Response(HttpRecord),
    /// The kernel refused a connection or a datagram, or a connection was ended.
    Drop(Box<DropRecord>),
    /// A connection was allowed; or one that needs no proxy began or ended.
    Connection(Box<ConnectionRecord>),
    /// Records are missing.
    Lost(Box<LostRecord>),
}

impl Record {
    /// When it was.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        match self {
            Self::Request(http) | Self::Response(http) => http.time,
            Self::Drop(refusal) => refusal.time,
            Self::Connection(connection) => connection.time,
            Self::Lost(lost) => lost.last,
        }
    }
}

/// Records that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostRecord {
    /// Where they were lost.
    pub source: LostSource,
    /// How many.
    pub count: u64,
    /// When the first was lost, as far as it is known.
    pub first: SystemTime,
    /// When the last was.
    pub last: SystemTime,
}

/// Where records were lost, as Hubble names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostSource {
    /// The kernel had no room.
    PerfEventRingBuffer,
    /// The writer had none.
    ObserverEventsQueue,
    /// A reader was overtaken.
    HubbleRingBuffer,
}

impl LostSource {
    /// Number and name in `flow.LostEventSource`.
    #[must_use]
    pub fn hubble(self) -> (u32, &'static str) {
        match self {
            Self::PerfEventRingBuffer => (1, "PERF_EVENT_RING_BUFFER"),
            Self::ObserverEventsQueue => (2, "OBSERVER_EVENTS_QUEUE"),
            Self::HubbleRingBuffer => (3, "HUBBLE_RING_BUFFER"),
        }
    }
}

/// What both records of a request say.
#[derive(Debug)]
pub struct Asked {
    /// Who with whom.
    pub ends: Arc<Ends>,
    /// Method, URL, protocol.
    pub http: HttpInfo,
    /// When it was judged.
    time: SystemTime,
    /// The same, to measure from.
    started: Instant,
    /// Its end was recorded.
    ended: AtomicBool,
}

/// One request or response.
#[derive(Clone, Debug)]
pub struct HttpRecord {
    /// When.
    pub time: SystemTime,
    /// Of what.
    pub asked: Arc<Asked>,
    /// What was decided.
    pub verdict: Verdict,
    /// Status of a response; 0 for a request.
    pub code: u16,
    /// From the judgement to the response; 0 for a request.
    pub latency_ns: u64,
    /// Why, in one stable word; empty when it was simply allowed.
    pub reason: &'static str,
    /// Of a response: its fields; empty where they are not kept.
    pub answer: RawHeaders,
    /// Of a request: headers that its rules expected or rejected.
    pub notes: Option<Arc<HeaderNotes>>,
    /// Revision of what was in force.
    pub revision: u64,
}

/// What was decided about a request.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It was allowed, by this rule if the direction is under enforcement.
    Forwarded(Option<Arc<RuleRef>>),
    /// It was refused.
    Dropped {
        /// As Hubble names it.
        reason: DropReason,
        /// By whom.
        denial: Box<Denial>,
    },
    /// It was let pass, because what denies it is only audited.
    Audited(Box<Denial>),
    /// It was allowed, and failed afterwards.
    Error,
}

/// A connection or datagram that the kernel refused, or would have, or a connection that was ended.
#[derive(Clone, Debug)]
pub struct DropRecord {
    /// When.
    pub time: SystemTime,
    /// Seen from the pod.
    pub direction: Direction,
    /// IP protocol number.
    pub protocol: u8,
    /// Who.
    pub source: (Arc<Peer>, SocketAddr),
    /// Where to.
    pub destination: (Arc<Peer>, SocketAddr),
    /// The policy whose rule denies it, or those that put the pod under default deny.
    pub denied_by: Arc<[Arc<PolicyKey>]>,
    /// The rule that denies it, if one does.
    pub rule: Option<Arc<RuleRef>>,
    /// Calico's tier whose end denies it.
    pub tier: Option<Arc<str>>,
    /// The rule that came nearest.
    pub nearest: Option<Nearest>,
    /// It passed: what denies it is only audited.
    pub audit: bool,
    /// Who asked, when it is a process of this node.
    pub process: Option<Process>,
    /// As Hubble names it.
    pub reason: DropReason,
    /// Why, in one stable word.
    pub detail: &'static str,
    /// TCP flags of a packet; 0 for a call.
    pub flags: u8,
    /// Pods behind the Service that was asked for, which policy does not allow; `None`: it was no Service.
    pub backends: Option<Vec<String>>,
    /// Equal ones that were not recorded since the last one that was.
    pub repeats: u64,
    /// Revision of what was in force.
    pub revision: u64,
    /// It tells what policy decided; another record tells the drop.
    pub is_verdict: bool,
}

/// A connection that policy allows.
#[derive(Clone, Debug)]
pub struct ConnectionRecord {
    /// When.
    pub time: SystemTime,
    /// Who with whom.
    pub ends: Ends,
    /// The rule that allowed it.
    pub rule: Option<Arc<RuleRef>>,
    /// Who connected, when it is a process of this node.
    pub process: Option<Process>,
    /// It tells what policy decided; another record tells that the connection begins.
    pub allowed: Option<Allowed>,
    /// What is known at its end; `None`: it begins.
    pub end: Option<ConnectionEnd>,
    /// Revision of what was in force.
    pub revision: u64,
}

/// Where policy lets a connection go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Where it wants to.
    Forwarded,
    /// To the proxy, which judges its requests by rules of these policies.
    Redirected(Arc<[Arc<PolicyKey>]>),
}

/// What is known of a connection at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionEnd {
    /// How long it lasted.
    pub lasted: Duration,
    /// Bytes of the pod that the other side acknowledged.
    pub sent: u64,
    /// Bytes that the pod received.
    pub received: u64,
}

/// A process of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its command name.
    pub command: String,
}

/// Drop reasons of Hubble's flow API that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// None.
    Unknown,
    /// No rule allows it.
    PolicyDenied,
    /// A rule denies it.
    PolicyDeny,
    /// It has no single meaning.
    InvalidPacket,
    /// The pod has no policy state.
    NoPolicy,
    /// The proxy is needed and cannot take it.
    ProxyRedirection,
    /// Nobody knows whose address it is.
    UnroutableIp,
    /// It is not IP.
    UnsupportedProtocol,
    /// A fragment without the first of its packet.
    Fragment,
}

impl DropReason {
    /// Number and name in `flow.DropReason`.
    #[must_use]
    pub fn hubble(self) -> (u32, &'static str) {
        match self {
            Self::Unknown => (0, "DROP_REASON_UNKNOWN"),
            Self::PolicyDenied => (133, "POLICY_DENIED"),
            Self::PolicyDeny => (181, "POLICY_DENY"),
            Self::InvalidPacket => (134, "INVALID_PACKET_DROPPED"),
            Self::UnroutableIp => (151, "STALE_OR_UNROUTABLE_IP"),
            Self::UnsupportedProtocol => (139, "UNSUPPORTED_L3_PROTOCOL"),
            Self::Fragment => (175, "FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND"),
            Self::NoPolicy => (165, "NO_CONFIGURATION_AVAILABLE_TO_PERFORM_POLICY_DECISION"),
            Self::ProxyRedirection => (180, "PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL"),
        }
    }
}
