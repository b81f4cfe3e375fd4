//! A record as it goes over the wire.
//!
//! Owns where a record's values stand in `flow.Flow`, for what filters ask. Must say what the encoders say: a test compares
//! them. Start at [`View::of`].

use hubble_api::flow::{TrafficDirection, Verdict as Wire};
use rules::Direction;

use crate::{
    endpoint::{End, Peer},
    flow::{
        Allowed, ConnectionRecord, DropReason, DropRecord, Flow, Headers, HttpInfo, HttpRecord, Record, Verdict,
        summary,
    },
};

/// What filters ask a flow.
pub(super) struct View<'f> {
    flow: &'f Flow,
    source: &'f End,
    destination: &'f End,
    pub(super) layer4: Layer4,
    /// Of `flow.Verdict`.
    pub(super) verdict: i32,
    /// Of `flow.DropReason`.
    pub(super) reason: i32,
    /// Type and sub type.
    pub(super) event: (i32, i32),
    /// Of `flow.TrafficDirection`.
    pub(super) direction: i32,
    pub(super) is_reply: Option<bool>,
    /// As in a TCP header.
    pub(super) flags: Option<u8>,
    pub(super) http: Option<Http<'f>>,
}

/// A message of HTTP.
pub(super) struct Http<'f> {
    pub(super) info: &'f HttpInfo,
    pub(super) headers: &'f Headers,
    pub(super) code: u16,
}

/// Which member of `flow.Layer4` there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer4 {
    Tcp,
    Udp,
    Sctp,
    Icmp4,
    Icmp6,
    None,
}

/// An end of a flow.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    Source,
    Destination,
}

/// Both ends, in the order in which Hubble looks at them.
pub(super) const SIDES: [Side; 2] = [Side::Source, Side::Destination];

impl<'f> View<'f> {
    /// `None`: it is no flow, records are missing.
    pub(super) fn of(flow: &'f Flow) -> Option<Self> {
        match &flow.record {
            Record::Request(record) => Some(Self::http(flow, record, false)),
            Record::Response(record) => Some(Self::http(flow, record, true)),
            Record::Drop(record) => Some(Self::refusal(flow, record)),
            Record::Connection(record) => Some(Self::connection(flow, record)),
            Record::Lost(_) => None,
        }
    }

    fn http(flow: &'f Flow, record: &'f HttpRecord, is_reply: bool) -> Self {
        let ends = &record.asked.ends;
        // A response goes the other way.
        let (source, destination) =
            if is_reply { (&ends.destination, &ends.source) } else { (&ends.source, &ends.destination) };
        let (verdict, reason) = match &record.verdict {
            Verdict::Forwarded(_) => (Wire::Forwarded, DropReason::Unknown),
            Verdict::Dropped { reason, .. } => (Wire::Dropped, *reason),
            Verdict::Audited(_) => (Wire::Audit, DropReason::Unknown),
            Verdict::Error => (Wire::Error, DropReason::Unknown),
        };
        Self {
            flow,
            source,
            destination,
            layer4: Layer4::Tcp,
            verdict: verdict.into(),
            reason: number(reason),
            event: (129, 0),
            direction: direction(ends.direction),
            is_reply: Some(is_reply),
            flags: None,
            http: Some(Http { info: &record.asked.http, headers: &flow.headers, code: record.code }),
        }
    }

    fn refusal(flow: &'f Flow, record: &'f DropRecord) -> Self {
        let layer4 = match record.protocol {
            1 => Layer4::Icmp4,
            6 => Layer4::Tcp,
            17 => Layer4::Udp,
            58 => Layer4::Icmp6,
            132 => Layer4::Sctp,
            _ => Layer4::None,
        };
        let (verdict, reason) =
            if record.audit { (Wire::Audit, DropReason::Unknown) } else { (Wire::Dropped, record.reason) };
        let reason = number(reason);
        Self {
            flow,
            source: &record.source,
            destination: &record.destination,
            layer4,
            verdict: verdict.into(),
            reason,
            event: (if record.tells_decision() { 5 } else { 1 }, reason),
            direction: direction(record.direction),
            is_reply: record.audit.then_some(false),
            flags: Some(summary::flags(record)).filter(|flags| *flags != summary::NO_FLAGS),
            http: None,
        }
    }

    fn connection(flow: &'f Flow, record: &'f ConnectionRecord) -> Self {
        let ends = &record.ends;
        let packet = (4, if ends.direction == Direction::Egress { 3 } else { 0 });
        let (verdict, event) = match &record.allowed {
            Some(Allowed::Redirected(_)) => (Wire::Redirected, (5, 0)),
            Some(Allowed::Forwarded) => (Wire::Forwarded, (5, 0)),
            None => (Wire::Forwarded, packet),
        };
        Self {
            flow,
            source: &ends.source,
            destination: &ends.destination,
            layer4: Layer4::Tcp,
            verdict: verdict.into(),
            reason: 0,
            event,
            direction: direction(ends.direction),
            is_reply: Some(false),
            flags: Some(summary::connection_flags(record.end.is_some())),
            http: None,
        }
    }

    pub(super) fn end(&self, side: Side) -> &'f End {
        match side {
            Side::Source => self.source,
            Side::Destination => self.destination,
        }
    }

    pub(super) fn peer(&self, side: Side) -> &'f Peer {
        &self.end(side).0
    }

    /// Of what has ports.
    pub(super) fn port(&self, side: Side) -> Option<u16> {
        matches!(self.layer4, Layer4::Tcp | Layer4::Udp | Layer4::Sctp).then(|| self.end(side).1.port())
    }

    pub(super) fn uuid(&self) -> Vec<u8> {
        let mut uuid = Vec::with_capacity(36);
        self.flow.uuid(&mut uuid);
        uuid
    }
}

fn number(reason: DropReason) -> i32 {
    i32::try_from(reason.hubble().0).unwrap_or_default()
}

fn direction(direction: Direction) -> i32 {
    match direction {
        Direction::Ingress => TrafficDirection::Ingress,
        Direction::Egress => TrafficDirection::Egress,
    }
    .into()
}
