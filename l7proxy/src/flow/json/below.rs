//! Records below HTTP: what stands for ports, and where Cilium's datapath would have seen them.

use rules::{Direction, MatchType};

use super::text::{put, raw};
use crate::flow::{ConnectionRecord, DropRecord, summary};

/// Message types of Cilium's monitor: a drop, a packet, a verdict.
const EVENT_DROP: u32 = 1;
const EVENT_TRACE: u32 = 4;
const EVENT_POLICY_VERDICT: u32 = 5;

const NO_REPLY: &[u8] = b",\"is_reply\":false";

/// Fields of the transport layer. Of ICMP the destination's port is the type, and the source's the code.
pub(super) fn numbers(layer4: &str, source: u16, destination: u16) -> [(&'static str, u16); 2] {
    if layer4.starts_with("ICMP") {
        [("type", destination), ("code", source)]
    } else {
        [("source_port", source), ("destination_port", destination)]
    }
}

/// What Cilium's monitor says of a drop, or of the policy verdict before it.
pub(super) fn refused(record: &DropRecord, out: &mut Vec<u8>) {
    let kind = if record.tells_decision() { EVENT_POLICY_VERDICT } else { EVENT_DROP };
    event(kind, if record.audit { 0 } else { record.reason.hubble().0 }, out);
    put(out, format_args!(",\"traffic_direction\":\"{}\"", record.direction));
    if record.tells_decision() {
        match_type(record.match_type(), out);
    }
    if record.audit {
        out.extend_from_slice(NO_REPLY);
    }
}

/// What it says of the policy verdict for a connection, or of its first and last packets; and `Summary`.
pub(super) fn passed(record: &ConnectionRecord, out: &mut Vec<u8>) {
    let direction = record.ends.direction;
    let (point, number) = match direction {
        Direction::Egress => ("TO_STACK", 3),
        Direction::Ingress => ("TO_ENDPOINT", 0),
    };
    if record.allowed.is_some() {
        event(EVENT_POLICY_VERDICT, 0, out);
        match_type(record.match_type(), out);
    } else {
        event(EVENT_TRACE, number, out);
        raw([",\"trace_observation_point\":\"", point, "\""], out);
    }
    out.extend_from_slice(NO_REPLY);
    let summary = summary::connection(record.end.is_some());
    put(out, format_args!(",\"traffic_direction\":\"{direction}\",\"Summary\":\"{summary}\""));
}

fn event(kind: u32, detail: u32, out: &mut Vec<u8>) {
    put(out, format_args!(",\"event_type\":{{\"type\":{kind}"));
    if detail != 0 {
        put(out, format_args!(",\"sub_type\":{detail}"));
    }
    out.push(b'}');
}

fn match_type(matches: MatchType, out: &mut Vec<u8>) {
    if matches != MatchType::None {
        put(out, format_args!(",\"policy_match_type\":{}", matches.number()));
    }
}
