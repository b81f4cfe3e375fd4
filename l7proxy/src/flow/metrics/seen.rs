//! A record as Hubble shows it, as far as metrics ask.
//!
//! What is in [`Facts`] and who is at both ends decide every label: two records that are equal in these count in the same series.
//! Start at [`Seen::of`].

use std::{net::IpAddr, sync::Arc};

use rules::{Direction, MatchType, PolicyKey, RuleRef};

use super::methods;
use crate::{
    endpoint::End,
    flow::{Allowed, ConnectionRecord, DropReason, DropRecord, HttpRecord, Record, Verdict, said::Shown, summary},
};

/// What labels ask for besides what is always known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    pub(super) addresses: bool,
    pub(super) port: bool,
}

/// A record.
#[derive(Debug)]
pub(super) struct Seen<'r> {
    pub(super) source: &'r End,
    pub(super) destination: &'r End,
    pub(super) by: By<'r>,
    pub(super) facts: Facts,
}

/// Who decided about a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum By<'r> {
    /// Nobody, or it is no verdict.
    Nobody,
    /// A rule.
    Rule(&'r Arc<RuleRef>),
    /// Policies that allow nothing like it.
    Policies(&'r Arc<[Arc<PolicyKey>]>),
}

/// Everything else that labels are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) event: Event,
    pub(super) direction: Direction,
    pub(super) verdict: Shown,
    pub(super) reason: DropReason,
    /// Of a policy verdict: what its rule looked at.
    pub(super) matched: MatchType,
    /// As `flow.Layer4` names it; empty where it has no name.
    pub(super) layer4: &'static str,
    /// Of HTTP.
    pub(super) protocol: &'static str,
    pub(super) method: &'static str,
    pub(super) status: u16,
    /// Of TCP, where they are shown.
    pub(super) flags: u8,
    pub(super) is_reply: Option<bool>,
    pub(super) is_ipv4: bool,
    /// Of the destination, if it is wanted.
    pub(super) port: u16,
    /// Of both ends, if they are wanted.
    pub(super) addresses: Option<[IpAddr; 2]>,
}

/// Kinds of flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Request,
    Response,
    Drop,
    PolicyVerdict,
    Trace,
}

impl<'r> Seen<'r> {
    /// `None`: it is no flow.
    pub(super) fn of(record: &'r Record, wanted: Wanted) -> Option<Self> {
        let mut seen = match record {
            Record::Request(http) => Self::http(http, Event::Request),
            Record::Response(http) => Self::http(http, Event::Response),
            Record::Drop(refusal) => Self::refusal(refusal),
            Record::Connection(connection) => Self::connection(connection),
            Record::Lost(_) => return None,
        };
        let (from, to) = (seen.source.1, seen.destination.1);
        seen.facts.is_ipv4 = to.ip().to_canonical().is_ipv4();
        seen.facts.port = if wanted.port { to.port() } else { 0 };
        seen.facts.addresses = wanted.addresses.then(|| [from.ip().to_canonical(), to.ip().to_canonical()]);
        Some(seen)
    }

    fn http(record: &'r HttpRecord, event: Event) -> Self {
        let (ends, http) = (&*record.asked.ends, &record.asked.http);
        let is_reply = event == Event::Response;
        // A response goes the other way.
        let (source, destination) =
            if is_reply { (&ends.destination, &ends.source) } else { (&ends.source, &ends.destination) };
        let (reason, by) = match &record.verdict {
            Verdict::Forwarded(rule) => (DropReason::Unknown, rule.as_ref().map_or(By::Nobody, By::Rule)),
            Verdict::Dropped { reason, denial } => (*reason, By::denial(denial)),
            Verdict::Audited(denial) => (DropReason::Unknown, By::denial(denial)),
            Verdict::Error => (DropReason::Unknown, By::Nobody),
        };
        let facts = Facts {
            verdict: Shown::of(&record.verdict),
            reason,
            layer4: "TCP",
            protocol: http.protocol,
            method: methods::shown(&http.method),
            status: record.code,
            is_reply: Some(is_reply),
            ..Facts::new(event, ends.direction)
        };
        // A response is no verdict.
        Self { source, destination, by: if is_reply { By::Nobody } else { by }, facts }
    }

    fn refusal(record: &'r DropRecord) -> Self {
        let event = if record.tells_decision() { Event::PolicyVerdict } else { Event::Drop };
        let (verdict, reason, is_reply) = if record.audit {
            (Shown::Audit, DropReason::Unknown, Some(false))
        } else {
            (Shown::Dropped, record.reason, None)
        };
        let layer4 = summary::layer4(record.protocol);
        let (flags, matched) = (summary::flags(record), record.match_type());
        let facts = Facts { verdict, reason, matched, layer4, flags, is_reply, ..Facts::new(event, record.direction) };
        Self { source: &record.source, destination: &record.destination, by: By::Nobody, facts }
    }

    fn connection(record: &'r ConnectionRecord) -> Self {
        let ends = &record.ends;
        let (event, verdict, matched) = match &record.allowed {
            Some(Allowed::Forwarded) => (Event::PolicyVerdict, Shown::Forwarded, record.match_type()),
            Some(Allowed::Redirected(_)) => (Event::PolicyVerdict, Shown::Redirected, record.match_type()),
            None => (Event::Trace, Shown::Forwarded, MatchType::None),
        };
        let flags = summary::connection_flags(record.end.is_some());
        let facts = Facts { verdict, matched, flags, ..Facts::new(event, ends.direction) };
        let facts = Facts { layer4: "TCP", is_reply: Some(false), ..facts };
        Self { source: &ends.source, destination: &ends.destination, by: By::Nobody, facts }
    }
}

impl<'r> By<'r> {
    fn denial(denial: &'r rules::Denial) -> Self {
        match &denial.rule {
            Some(rule) => Self::Rule(rule),
            None if denial.denied_by.is_empty() => Self::Nobody,
            None => Self::Policies(&denial.denied_by),
        }
    }
}

impl Facts {
    fn new(event: Event, direction: Direction) -> Self {
        Self {
            event,
            direction,
            verdict: Shown::Forwarded,
            reason: DropReason::Unknown,
            matched: MatchType::None,
            layer4: "",
            protocol: "",
            method: "",
            status: 0,
            flags: 0,
            is_reply: None,
            is_ipv4: false,
            port: 0,
            addresses: None,
        }
    }

    pub(super) fn is_http(&self) -> bool {
        matches!(self.event, Event::Request | Event::Response)
    }
}
