//! The answers, and what they refer to.

use std::{fmt, sync::Arc};

use crate::{
    header_effects::{HeaderEdit, HeaderEffects, HeaderNotes},
    policy::PolicyKey,
};

/// Seen from the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// What enters it.
    Ingress,
    /// What leaves it.
    Egress,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "INGRESS",
            Self::Egress => "EGRESS",
        })
    }
}

/// Layer 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Every protocol, also those that have neither ports nor types.
    Any,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
    /// ICMP of IPv4. What is a port to others is its messages' type.
    Icmp,
    /// ICMP of IPv6, likewise.
    Icmp6,
}

impl Protocol {
    /// IP protocol number; 0 for any.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Any => 0,
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
            Self::Icmp => 1,
            Self::Icmp6 => 58,
        }
    }

    /// Whether its messages have a type in place of a port.
    #[must_use]
    pub fn has_types(self) -> bool {
        match self {
            Self::Icmp | Self::Icmp6 => true,
            Self::Any | Self::Tcp | Self::Udp | Self::Sctp => false,
        }
    }

    /// Of an IP protocol number; [`Self::Any`] for those without ports and types.
    #[must_use]
    pub fn from_number(number: u8) -> Self {
        match number {
            6 => Self::Tcp,
            17 => Self::Udp,
            132 => Self::Sctp,
            1 => Self::Icmp,
            58 => Self::Icmp6,
            _ => Self::Any,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "ANY",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
            Self::Icmp => "ICMP",
            Self::Icmp6 => "ICMPv6",
        })
    }
}

/// One rule of a policy, as records name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RuleRef {
    /// The policy.
    pub policy: Arc<PolicyKey>,
    /// Where in its spec: `egress[0].toPorts[0].rules.http[1]`.
    pub rule: String,
    /// What it asks for, short: `GET /api/.*`.
    pub summary: String,
    /// `log.value` of its policy, for records.
    pub log: Option<Arc<str>>,
    /// What of a connection it looks at.
    pub matches: MatchType,
}

/// What of a connection a rule looks at, in the words of Cilium's policy verdicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MatchType {
    /// There is no rule, or it is one for requests.
    #[default]
    None,
    /// Who is on the other side.
    L3Only,
    /// Who, and the port.
    L3L4,
    /// The port.
    L4Only,
    /// Nothing: everything matches.
    All,
    /// Who, and the protocol.
    L3Proto,
    /// The protocol.
    ProtoOnly,
}

impl MatchType {
    /// Of a rule that names these things.
    pub(crate) fn new(peers: bool, protocol: bool, ports: bool) -> Self {
        match (peers, protocol, ports) {
            (true, false, false) => Self::L3Only,
            (true, _, true) => Self::L3L4,
            (false, _, true) => Self::L4Only,
            (false, false, false) => Self::All,
            (true, true, false) => Self::L3Proto,
            (false, true, false) => Self::ProtoOnly,
        }
    }

    /// As Cilium's monitor numbers it.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::None => 0,
            Self::L3Only => 1,
            Self::L3L4 => 2,
            Self::L4Only => 3,
            Self::All => 4,
            Self::L3Proto => 5,
            Self::ProtoOnly => 6,
        }
    }
}

/// Leave to forward one request. Only this crate makes one.
#[derive(Debug)]
pub struct Permit {
    rule: Option<Arc<RuleRef>>,
    audited: Option<Box<Denial>>,
    headers: HeaderEffects,
    asks_headers: bool,
}

impl Permit {
    /// `asks_headers`: headers were looked at, or would have been.
    pub(crate) fn new(rule: Option<Arc<RuleRef>>, headers: HeaderEffects, asks_headers: bool) -> Self {
        Self { rule, audited: None, headers, asks_headers }
    }

    /// Of a request that would be denied if its policies were enforced.
    pub(crate) fn audited_as(denial: Denial, headers: HeaderEffects, asks_headers: bool) -> Self {
        Self { rule: None, audited: Some(Box::new(denial)), headers, asks_headers }
    }

    /// Whether rules for this peer and port ask for headers: who judges the request again must know them. (Without, it is
    /// allowed by no rule that asks for them.)
    #[must_use]
    pub fn asks_headers(&self) -> bool {
        self.asks_headers
    }

    /// Why it would be denied, if its policies were enforced and not only audited.
    #[must_use]
    pub fn audited(&self) -> Option<&Denial> {
        self.audited.as_deref()
    }

    /// What must be done to its headers before it is forwarded, in this order.
    #[must_use]
    pub fn edits(&self) -> &[HeaderEdit] {
        &self.headers.edits
    }

    /// What its record says of its headers.
    #[must_use]
    pub fn notes(&self) -> Option<&Arc<HeaderNotes>> {
        self.headers.notes.as_ref()
    }

    /// The rule that allows it; `None` when the direction is not under enforcement.
    #[must_use]
    pub fn rule(&self) -> Option<&Arc<RuleRef>> {
        self.rule.as_ref()
    }
}

/// Why a request may not pass.
#[derive(Clone, Debug, Default)]
pub struct Denial {
    /// The policy whose rule denies it, or those that put the endpoint under default deny.
    pub denied_by: Arc<[Arc<PolicyKey>]>,
    /// The rule that denies it; `None`: no rule allows it.
    pub rule: Option<Arc<RuleRef>>,
    /// Calico's tier, no rule of which decided, and whose end denies it.
    pub tier: Option<Arc<str>>,
    /// The rule that came nearest to allowing it, when none does.
    pub nearest: Option<Nearest>,
    /// What its record says of its headers.
    pub notes: Option<Arc<HeaderNotes>>,
}

impl Denial {
    /// By a rule.
    #[must_use]
    pub fn by(rule: &Arc<RuleRef>) -> Self {
        Self { denied_by: Arc::from([Arc::clone(&rule.policy)]), rule: Some(Arc::clone(rule)), ..Self::default() }
    }
}

/// The rule that came nearest to allowing, and what was missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// The rule.
    pub rule: Arc<RuleRef>,
    /// `method`, `path`, `host`, `header NAME`, `port`, `type` (of an ICMP message) or `peer`; below HTTP, a rule of
    /// Calico's names its own field: `source.selector`.
    pub field: String,
    /// What the rule wants there.
    pub expected: String,
}

/// The answer for a request.
#[derive(Debug)]
pub enum Verdict {
    /// It may pass.
    Allow(Permit),
    /// It may not.
    Deny(Denial),
}

/// The answer below HTTP, the same as the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum L4Verdict {
    /// No policy selects the endpoint in this direction.
    NotEnforced,
    /// It passes without the proxy.
    Allowed(Option<Arc<RuleRef>>),
    /// The proxy judges each request.
    Redirect,
    /// A rule denies it, or none allows it.
    Denied(Option<Arc<RuleRef>>),
}
