//! Flows as `flow.Flow` of Hubble's API, in protobuf.
//!
//! Owns which field says what. Never builds a message of strings to encode it afterwards: what many flows say is kept encoded,
//! and the rest is written as it is. The lines of `flow/json.rs` say the same. Start at [`Encoder::flow`].

use std::time::SystemTime;

use rules::{Direction, MatchType, PolicyKey, RuleRef};

use super::{
    ConnectionRecord, DropReason, DropRecord, Ends, Flow, HttpRecord, LostRecord, Mask, NodeNames, Record,
    fragments::Fragments, kept::Kept, said::Said, summary, tag,
};
use crate::endpoint::Peer;

mod ends;
mod extension;
mod field;
mod http;

pub(super) use self::field::delimited;
use self::{
    ends::{by_policies, endpoints},
    extension::extension,
    field::{element, message, number, pair, text, timestamp},
};

/// Of `flow.FlowType`.
const L3_L4: u32 = 1;
/// Message types of Cilium's monitor: a drop, a packet, a verdict.
const EVENT_DROP: u32 = 1;
const EVENT_TRACE: u32 = 4;
const EVENT_POLICY_VERDICT: u32 = 5;

/// Numbers of fields of `observer.GetFlowsResponse`.
mod answer {
    pub(super) const FLOW: u32 = 1;
    pub(super) const LOST_EVENTS: u32 = 3;
    pub(super) const NODE_NAME: u32 = 1000;
    pub(super) const TIME: u32 = 1001;
}

/// Encodes flows of one node.
#[derive(Debug)]
pub struct Encoder {
    /// What is kept of each flow.
    kept: Kept<Mask>,
    /// Name and labels of the node, and who we are: the same fields in every flow.
    node: Vec<u8>,
    /// The name, as answers have it.
    answer_node: Vec<u8>,
    /// What all requests of a connection say, and all that is answered to them.
    ends: [Fragments<Ends>; 2],
    peers: Fragments<Peer>,
    /// By revision.
    policies: Fragments<PolicyKey>,
    rules: Fragments<RuleRef>,
}

impl Encoder {
    /// For the flows of the node of these names, and what `mask` keeps of them.
    #[must_use]
    pub fn new(names: &NodeNames, mask: Option<Mask>) -> Self {
        let (mut kept, mut node, mut answer_node) = (Kept::new(mask), Vec::new(), Vec::new());
        kept.field(tag::NODE_NAME, &mut node, |out| text(tag::NODE_NAME, &names.full(), out));
        kept.field(tag::NODE_LABELS, &mut node, |out| {
            names.labels.iter().for_each(|label| element(tag::NODE_LABELS, label, out));
        });
        kept.field(tag::EMITTER, &mut node, |out| {
            pair(tag::EMITTER, ["L7proxy", env!("CARGO_PKG_VERSION")], out);
        });
        text(answer::NODE_NAME, &names.full(), &mut answer_node);
        let ends = [Fragments::new(), Fragments::new()];
        let (peers, policies, rules) = (Fragments::new(), Fragments::new(), Fragments::new());
        Self { kept, node, answer_node, ends, peers, policies, rules }
    }

    /// Appends an `observer.GetFlowsResponse` with a flow.
    pub fn answer(&mut self, flow: &Flow, out: &mut Vec<u8>) {
        message(answer::FLOW, out, |out| self.flow(flow, out));
        self.stamp(flow.time, out);
    }

    /// Appends an `observer.GetFlowsResponse` that tells of flows that are lost.
    pub fn answer_lost(&self, lost: &LostRecord, out: &mut Vec<u8>) {
        message(answer::LOST_EVENTS, out, |out| lost_event(lost, out));
        self.stamp(lost.last, out);
    }

    /// What is on every answer.
    fn stamp(&self, time: SystemTime, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.answer_node);
        timestamp(answer::TIME, time, out);
    }

    /// Appends the fields of a `flow.Flow`; nothing of what is lost, which is no flow.
    pub fn flow(&mut self, flow: &Flow, out: &mut Vec<u8>) {
        match &flow.record {
            Record::Request(record) => self.http(flow, record, false, out),
            Record::Response(record) => self.http(flow, record, true, out),
            Record::Drop(record) => self.refusal(flow, record, out),
            Record::Connection(record) => self.connection(flow, record, out),
            Record::Lost(_) => {}
        }
    }

    fn http(&mut self, flow: &Flow, record: &HttpRecord, is_reply: bool, out: &mut Vec<u8>) {
        let said = Said::http(record, is_reply);
        self.open(flow, &said, out);
        let Self { kept, node, ends: [asked, answered], peers, .. } = self;
        let known = if is_reply { answered } else { asked };
        known.write(&record.asked.ends, 0, out, |Ends { direction, source, destination }, out| {
            out.extend_from_slice(node);
            // A response goes the other way.
            let (from, to) = if is_reply { (destination, source) } else { (source, destination) };
            endpoints(kept, peers, (from, to), ("TCP", summary::NO_FLAGS), out);
            http::kind(kept, is_reply, out);
            traffic_direction(kept, *direction, out);
        });
        http::message(kept, flow, record, is_reply, out);
        self.close(&said, record.asked.ends.direction, out);
    }

    fn refusal(&mut self, flow: &Flow, record: &DropRecord, out: &mut Vec<u8>) {
        let said = Said::refusal(record);
        self.open(flow, &said, out);
        let layer4 = (summary::layer4(record.protocol), summary::flags(record));
        let Self { kept, node, peers, .. } = self;
        out.extend_from_slice(node);
        traffic_direction(kept, record.direction, out);
        endpoints(kept, peers, (&record.source, &record.destination), layer4, out);
        kept.field(tag::TYPE, out, |out| number(tag::TYPE, L3_L4, out));
        let detail = if record.audit { 0 } else { record.reason.hubble().0 };
        let kind = if record.tells_decision() { EVENT_POLICY_VERDICT } else { EVENT_DROP };
        kept.field(tag::EVENT_TYPE, out, |out| event_type(kind, detail, out));
        if record.tells_decision() {
            match_type(kept, record.match_type(), out);
        }
        if record.audit {
            kept.field(tag::IS_REPLY, out, |out| message(tag::IS_REPLY, out, |_| {}));
        }
        kept.field(tag::SUMMARY, out, |out| text(tag::SUMMARY, &summary::refusal(record), out));
        self.close(&said, record.direction, out);
    }

    fn connection(&mut self, flow: &Flow, record: &ConnectionRecord, out: &mut Vec<u8>) {
        let Ends { direction, source, destination } = &record.ends;
        let said = Said::connection(record);
        self.open(flow, &said, out);
        let layer4 = ("TCP", summary::connection_flags(record.end.is_some()));
        let Self { kept, node, peers, .. } = self;
        out.extend_from_slice(node);
        traffic_direction(kept, *direction, out);
        endpoints(kept, peers, (source, destination), layer4, out);
        kept.field(tag::TYPE, out, |out| number(tag::TYPE, L3_L4, out));
        // `TO_STACK` and `TO_ENDPOINT`, once as the monitor's numbers and once as Hubble's.
        let (detail, point) = match direction {
            Direction::Egress => (3, 3_u32),
            Direction::Ingress => (0, 101),
        };
        if record.allowed.is_some() {
            kept.field(tag::EVENT_TYPE, out, |out| event_type(EVENT_POLICY_VERDICT, 0, out));
            match_type(kept, record.match_type(), out);
        } else {
            kept.field(tag::EVENT_TYPE, out, |out| event_type(EVENT_TRACE, detail, out));
            let field = tag::TRACE_OBSERVATION_POINT;
            kept.field(field, out, |out| number(field, point, out));
        }
        kept.field(tag::IS_REPLY, out, |out| message(tag::IS_REPLY, out, |_| {}));
        let summary = summary::connection(record.end.is_some());
        kept.field(tag::SUMMARY, out, |out| text(tag::SUMMARY, summary, out));
        self.close(&said, *direction, out);
    }

    fn open(&mut self, flow: &Flow, said: &Said<'_>, out: &mut Vec<u8>) {
        let kept = &mut self.kept;
        kept.field(tag::TIME, out, |out| timestamp(tag::TIME, flow.time, out));
        kept.field(tag::VERDICT, out, |out| number(tag::VERDICT, said.verdict.hubble().0, out));
        if let Some((reason, _)) = said.drop.map(DropReason::hubble) {
            for field in [tag::DROP_REASON, tag::DROP_REASON_DESC] {
                kept.field(field, out, |out| number(field, reason, out));
            }
        }
        kept.field(tag::UUID, out, |out| message(tag::UUID, out, |out| flow.uuid(out)));
    }

    fn close(&mut self, said: &Said<'_>, direction: Direction, out: &mut Vec<u8>) {
        let Self { kept, policies, rules, .. } = self;
        by_policies(kept, policies, said, direction, out);
        if let Some(log) = said.log() {
            kept.field(tag::POLICY_LOG, out, |out| element(tag::POLICY_LOG, log, out));
        }
        kept.field(tag::EXTENSIONS, out, |out| extension(tag::EXTENSIONS, rules, said, out));
    }
}

fn traffic_direction(kept: &mut Kept<Mask>, direction: Direction, out: &mut Vec<u8>) {
    let value = match direction {
        Direction::Ingress => 1_u32,
        Direction::Egress => 2,
    };
    let field = tag::TRAFFIC_DIRECTION;
    kept.field(field, out, |out| number(field, value, out));
}

fn match_type(kept: &mut Kept<Mask>, matches: MatchType, out: &mut Vec<u8>) {
    let field = tag::POLICY_MATCH_TYPE;
    kept.field(field, out, |out| number(field, matches.number(), out));
}

/// A `flow.LostEvent`.
fn lost_event(lost: &LostRecord, out: &mut Vec<u8>) {
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
