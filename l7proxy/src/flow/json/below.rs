//! Records below HTTP: what stands for ports, and where Cilium's datapath would have seen them.

use rules::{Direction, MatchType};

use super::{
    fields::Fields,
    text::{put, raw},
};
use crate::flow::{ConnectionRecord, DropRecord, kept::Kept, summary, tag};

/// Message types of Cilium's monitor: a drop, a packet, a verdict.
const EVENT_DROP: u32 = 1;
const EVENT_TRACE: u32 = 4;
const EVENT_POLICY_VERDICT: u32 = 5;

/// Fields of the transport layer. Of ICMP the destination's port is the type, and the source's the code.
pub(super) fn numbers(layer4: &str, source: u16, destination: u16) -> [(&'static str, u16); 2] {
    if layer4.starts_with("ICMP") {
        [("type", destination), ("code", source)]
    } else {
        [("source_port", source), ("destination_port", destination)]
    }
}

/// What Cilium's monitor says of a drop, or of the policy verdict before it.
pub(super) fn refused(kept: &mut Kept<Fields>, record: &DropRecord, out: &mut Vec<u8>) {
    let kind = if record.tells_decision() { EVENT_POLICY_VERDICT } else { EVENT_DROP };
    event(kept, (kind, if record.audit { 0 } else { record.reason.hubble().0 }), record.direction, out);
    if record.tells_decision() {
        match_type(kept, record.match_type(), out);
    }
    if record.audit {
        is_reply(kept, false, out);
    }
}

/// What it says of the policy verdict for a connection, or of its first and last packets; and `Summary`.
pub(super) fn passed(kept: &mut Kept<Fields>, record: &ConnectionRecord, out: &mut Vec<u8>) {
    let direction = record.ends.direction;
    let (point, number) = match direction {
        Direction::Egress => ("TO_STACK", 3),
        Direction::Ingress => ("TO_ENDPOINT", 0),
    };
    if record.allowed.is_some() {
        event(kept, (EVENT_POLICY_VERDICT, 0), direction, out);
        match_type(kept, record.match_type(), out);
    } else {
        event(kept, (EVENT_TRACE, number), direction, out);
        let field = tag::TRACE_OBSERVATION_POINT;
        kept.field(field, out, |out| raw([",\"trace_observation_point\":\"", point, "\""], out));
    }
    is_reply(kept, false, out);
    let summary = summary::connection(record.end.is_some());
    kept.field(tag::SUMMARY, out, |out| raw([",\"Summary\":\"", summary, "\""], out));
}

/// What the monitor would have called it, and which way it went.
pub(super) fn event(kept: &mut Kept<Fields>, (kind, detail): (u32, u32), direction: Direction, out: &mut Vec<u8>) {
    kept.field(tag::EVENT_TYPE, out, |out| {
        put(out, format_args!(",\"event_type\":{{\"type\":{kind}"));
        if detail != 0 {
            put(out, format_args!(",\"sub_type\":{detail}"));
        }
        out.push(b'}');
    });
    let field = tag::TRAFFIC_DIRECTION;
    kept.field(field, out, |out| put(out, format_args!(",\"traffic_direction\":\"{direction}\"")));
}

pub(super) fn is_reply(kept: &mut Kept<Fields>, is_reply: bool, out: &mut Vec<u8>) {
    kept.field(tag::IS_REPLY, out, |out| put(out, format_args!(",\"is_reply\":{is_reply}")));
}

fn match_type(kept: &mut Kept<Fields>, matches: MatchType, out: &mut Vec<u8>) {
    if matches != MatchType::None {
        let field = tag::POLICY_MATCH_TYPE;
        kept.field(field, out, |out| put(out, format_args!(",\"policy_match_type\":{}", matches.number())));
    }
}
