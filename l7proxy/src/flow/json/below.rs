//! Records below HTTP: what stands for ports, and where Cilium's datapath would have seen them.

use rules::Direction;

use super::text::put;
use crate::flow::{ConnectionRecord, summary};

/// `TRACE_NOTIFY` of Cilium's monitor.
const EVENT_TRACE: u32 = 4;

/// Fields of the transport layer. Of ICMP the destination's port is the type, and the source's the code.
pub(super) fn numbers(layer4: &str, source: u16, destination: u16) -> [(&'static str, u16); 2] {
    if layer4.starts_with("ICMP") {
        [("type", destination), ("code", source)]
    } else {
        [("source_port", source), ("destination_port", destination)]
    }
}

/// What Cilium's datapath says of a connection's first and last packets, and `Summary`.
pub(super) fn trace(record: &ConnectionRecord, out: &mut Vec<u8>) {
    let direction = record.ends.direction;
    // Left out when it is 0.
    let (point, number) = match direction {
        Direction::Egress => ("TO_STACK", ",\"sub_type\":3"),
        Direction::Ingress => ("TO_ENDPOINT", ""),
    };
    let summary = summary::connection(record.end.is_some());
    put(
        out,
        format_args!(
            ",\"event_type\":{{\"type\":{EVENT_TRACE}{number}}},\"traffic_direction\":\"{direction}\",\
             \"trace_observation_point\":\"{point}\",\"is_reply\":false,\"Summary\":\"{summary}\""
        ),
    );
}
