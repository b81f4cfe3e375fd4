//! Flows as `flow.Flow` of Hubble's API, in protobuf.
//!
//! Owns which field says what. Never builds a message of strings to encode it afterwards: what many flows say is kept encoded,
//! and the rest is written as it is. The lines of `flow/json.rs` say the same. Start at [`Encoder::flow`].

use std::mem;

use rules::{Direction, PolicyKey, RuleRef};

use super::{
    ConnectionRecord, DropReason, DropRecord, Ends, Flow, HttpRecord, LostRecord, Mask, NodeNames, Record,
    fragments::Fragments, said::Said, summary,
};

mod ends;
mod extension;
mod field;
mod http;

pub(super) use self::field::delimited;
use self::{
    ends::{Peers, policies},
    extension::extension,
    field::{element, message, number, text, timestamp},
};

/// Of `flow.FlowType`.
const L3_L4: u32 = 1;
/// Message types of Cilium's monitor: a drop, a packet, a verdict.
const EVENT_DROP: u32 = 1;
const EVENT_TRACE: u32 = 4;
const EVENT_POLICY_VERDICT: u32 = 5;

/// Numbers of fields of `flow.Flow`.
mod tag {
    pub(super) const TIME: u32 = 1;
    pub(super) const VERDICT: u32 = 2;
    pub(super) const DROP_REASON: u32 = 3;
    pub(super) const TYPE: u32 = 10;
    pub(super) const NODE_NAME: u32 = 11;
    pub(super) const L7: u32 = 15;
    pub(super) const REPLY: u32 = 16;
    pub(super) const EVENT_TYPE: u32 = 19;
    pub(super) const TRAFFIC_DIRECTION: u32 = 22;
    pub(super) const POLICY_MATCH_TYPE: u32 = 23;
    pub(super) const TRACE_OBSERVATION_POINT: u32 = 24;
    pub(super) const DROP_REASON_DESC: u32 = 25;
    pub(super) const IS_REPLY: u32 = 26;
    pub(super) const TRACE_CONTEXT: u32 = 30;
    pub(super) const UUID: u32 = 34;
    pub(super) const NODE_LABELS: u32 = 37;
    pub(super) const EMITTER: u32 = 41;
    pub(super) const POLICY_LOG: u32 = 21006;
    pub(super) const SUMMARY: u32 = 100_000;
    pub(super) const EXTENSIONS: u32 = 150_000;
}

/// Encodes flows of one node.
#[derive(Debug)]
pub struct Encoder {
    /// What is kept of each flow; `None`: all of it. What is known to be left out is not even written.
    mask: Option<Mask>,
    /// A flow, before the mask.
    whole: Vec<u8>,
    /// Name and labels of the node, and who we are: the same fields in every flow.
    node: Vec<u8>,
    peers: Peers,
    /// By revision.
    policies: Fragments<PolicyKey>,
    rules: Fragments<RuleRef>,
}

impl Encoder {
    /// For the flows of the node of these names, and what `mask` keeps of them.
    #[must_use]
    pub fn new(names: &NodeNames, mask: Option<Mask>) -> Self {
        let mut node = Vec::new();
        text(tag::NODE_NAME, &names.full(), &mut node);
        for label in &names.labels {
            element(tag::NODE_LABELS, label, &mut node);
        }
        message(tag::EMITTER, &mut node, |out| {
            text(1, "L7proxy", out);
            text(2, env!("CARGO_PKG_VERSION"), out);
        });
        if let Some(mask) = &mask {
            let whole = mem::take(&mut node);
            mask.apply(&whole, &mut node);
        }
        let (policies, rules) = (Fragments::new(), Fragments::new());
        Self { mask, whole: Vec::new(), node, peers: Peers::new(), policies, rules }
    }

    /// Appends the fields of a `flow.Flow`; nothing of what is lost, which is no flow.
    pub fn flow(&mut self, flow: &Flow, out: &mut Vec<u8>) {
        if self.mask.is_none() {
            return self.fields(flow, out);
        }
        let mut whole = mem::take(&mut self.whole);
        whole.clear();
        self.fields(flow, &mut whole);
        if let Some(mask) = &self.mask {
            mask.apply(&whole, out);
        }
        self.whole = whole;
    }

    /// Whether a field is to be written.
    fn keeps(&self, field: u32) -> bool {
        self.mask.as_ref().is_none_or(|mask| mask.keeps(field))
    }

    fn fields(&mut self, flow: &Flow, out: &mut Vec<u8>) {
        match &flow.record {
            Record::Request(record) => self.http(flow, record, false, out),
            Record::Response(record) => self.http(flow, record, true, out),
            Record::Drop(record) => self.refusal(flow, record, out),
            Record::Connection(record) => self.connection(flow, record, out),
            Record::Lost(_) => {}
        }
    }

    fn http(&mut self, flow: &Flow, record: &HttpRecord, is_reply: bool, out: &mut Vec<u8>) {
        let Ends { direction, source, destination } = &*record.asked.ends;
        let said = Said::http(record, is_reply);
        self.open(flow, &said, out);
        // A response goes the other way.
        let (from, to) = if is_reply { (destination, source) } else { (source, destination) };
        self.peers.endpoints(self.mask.as_ref(), (from, to), ("TCP", summary::NO_FLAGS), out);
        http::message(flow, record, is_reply, out);
        self.close(&said, *direction, out);
    }

    fn refusal(&mut self, flow: &Flow, record: &DropRecord, out: &mut Vec<u8>) {
        let said = Said::refusal(record);
        self.open(flow, &said, out);
        let layer4 = (summary::layer4(record.protocol), summary::flags(record));
        self.peers.endpoints(self.mask.as_ref(), (&record.source, &record.destination), layer4, out);
        number(tag::TYPE, L3_L4, out);
        let detail = if record.audit { 0 } else { record.reason.hubble().0 };
        if record.tells_decision() {
            event_type(EVENT_POLICY_VERDICT, detail, out);
            number(tag::POLICY_MATCH_TYPE, record.match_type().number(), out);
        } else {
            event_type(EVENT_DROP, detail, out);
        }
        if record.audit {
            message(tag::IS_REPLY, out, |_| {});
        }
        text(tag::SUMMARY, &summary::refusal(record), out);
        self.close(&said, record.direction, out);
    }

    fn connection(&mut self, flow: &Flow, record: &ConnectionRecord, out: &mut Vec<u8>) {
        let Ends { direction, source, destination } = &record.ends;
        let said = Said::connection(record);
        self.open(flow, &said, out);
        let layer4 = ("TCP", summary::connection_flags(record.end.is_some()));
        self.peers.endpoints(self.mask.as_ref(), (source, destination), layer4, out);
        number(tag::TYPE, L3_L4, out);
        // `TO_STACK` and `TO_ENDPOINT`, once as the monitor's numbers and once as Hubble's.
        let (detail, point) = match direction {
            Direction::Egress => (3, 3_u32),
            Direction::Ingress => (0, 101),
        };
        if record.allowed.is_some() {
            event_type(EVENT_POLICY_VERDICT, 0, out);
            number(tag::POLICY_MATCH_TYPE, record.match_type().number(), out);
        } else {
            event_type(EVENT_TRACE, detail, out);
            number(tag::TRACE_OBSERVATION_POINT, point, out);
        }
        message(tag::IS_REPLY, out, |_| {});
        text(tag::SUMMARY, summary::connection(record.end.is_some()), out);
        self.close(&said, *direction, out);
    }

    fn open(&mut self, flow: &Flow, said: &Said<'_>, out: &mut Vec<u8>) {
        timestamp(tag::TIME, flow.time, out);
        number(tag::VERDICT, said.verdict.hubble().0, out);
        if let Some((reason, _)) = said.drop.map(DropReason::hubble) {
            number(tag::DROP_REASON, reason, out);
            number(tag::DROP_REASON_DESC, reason, out);
        }
        if self.keeps(tag::UUID) {
            message(tag::UUID, out, |out| flow.uuid(out));
        }
        out.extend_from_slice(&self.node);
    }

    fn close(&mut self, said: &Said<'_>, direction: Direction, out: &mut Vec<u8>) {
        let number_of = match direction {
            Direction::Ingress => 1_u32,
            Direction::Egress => 2,
        };
        number(tag::TRAFFIC_DIRECTION, number_of, out);
        policies(&mut self.policies, said, direction, out);
        if let Some(log) = said.log() {
            element(tag::POLICY_LOG, log, out);
        }
        if self.keeps(tag::EXTENSIONS) {
            extension(tag::EXTENSIONS, &mut self.rules, said, out);
        }
    }
}

/// A `flow.LostEvent`.
pub fn lost_event(lost: &LostRecord, out: &mut Vec<u8>) {
    number(1, lost.source.hubble().0, out);
    number(2, lost.count, out);
    timestamp(4, lost.first, out);
    timestamp(5, lost.last, out);
}

fn event_type(kind: u32, detail: u32, out: &mut Vec<u8>) {
    message(tag::EVENT_TYPE, out, |out| {
        number(1, kind, out);
        number(2, detail, out);
    });
}

#[cfg(test)]
mod tests;
