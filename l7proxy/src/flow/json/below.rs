//! Records below HTTP: what stands for ports, and the one line that people read.

use rules::Direction;

use super::text::put;
use crate::flow::{ConnectionRecord, DropRecord};

/// `TRACE_NOTIFY` of Cilium's monitor.
const EVENT_TRACE: u32 = 4;

/// Flags of TCP as Hubble orders them.
const FLAGS: [(u8, &str); 6] = [(2, "SYN"), (16, "ACK"), (4, "RST"), (1, "FIN"), (8, "PSH"), (32, "URG")];
const SYN: u8 = 2;

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
    let flags = if record.end.is_some() { "ACK, FIN" } else { "SYN" };
    put(
        out,
        format_args!(
            ",\"event_type\":{{\"type\":{EVENT_TRACE}{number}}},\"traffic_direction\":\"{direction}\",\
             \"trace_observation_point\":\"{point}\",\"is_reply\":false,\"Summary\":\"TCP Flags: {flags}\""
        ),
    );
}

/// `Summary`.
pub(super) fn summary(record: &DropRecord, layer4: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"Summary\":\"");
    match layer4 {
        "TCP" => {
            // A call that was refused would have sent a SYN.
            let flags = if record.flags == 0 { SYN } else { record.flags };
            let names: Vec<&str> = FLAGS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect();
            put(out, format_args!("TCP Flags: {}", names.join(", ")));
        }
        "ICMPv4" | "ICMPv6" => {
            let (kind, code) = (record.destination.1.port(), record.source.1.port());
            match name(layer4, kind) {
                Some(name) => put(out, format_args!("{layer4} {name}")),
                None => put(out, format_args!("{layer4} {kind}({code})")),
            }
        }
        "" => put(out, format_args!("IP protocol {}", record.protocol)),
        name => put(out, format_args!("{name}")),
    }
    out.push(b'"');
}

fn name(layer4: &str, kind: u16) -> Option<&'static str> {
    Some(match (layer4, kind) {
        ("ICMPv4", 0) | ("ICMPv6", 129) => "EchoReply",
        ("ICMPv4", 8) | ("ICMPv6", 128) => "EchoRequest",
        ("ICMPv4", 3) | ("ICMPv6", 1) => "DestinationUnreachable",
        ("ICMPv6", 2) => "PacketTooBig",
        ("ICMPv4", 11) | ("ICMPv6", 3) => "TimeExceeded",
        ("ICMPv4", 5) | ("ICMPv6", 137) => "Redirect",
        ("ICMPv4", 12) | ("ICMPv6", 4) => "ParameterProblem",
        _ => return None,
    })
}
