//! The one line that people read of what is below HTTP, as Cilium writes it.

use super::DropRecord;

/// Policies that a summary names.
const MAX_POLICIES: usize = 3;

/// Flags of TCP as Hubble's summaries order them.
const FLAGS: [(u8, &str); 6] = [(2, "SYN"), (16, "ACK"), (4, "RST"), (1, "FIN"), (8, "PSH"), (32, "URG")];
/// The same bits, and all others of their byte, as `flow.TCPFlags` numbers them from 1.
const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
const SYN: u8 = 2;
const ACK_FIN: u8 = 17;
/// What is told of flags where nobody looked at a packet.
pub(super) const NO_FLAGS: u8 = 0;

/// Flags that are set, with their number in `flow.TCPFlags`.
pub(super) fn set(flags: u8) -> impl Iterator<Item = (u32, &'static str)> {
    (1..).zip(NAMES).zip(0_u8..).filter(move |(_, bit)| flags >> bit & 1 == 1).map(|(flag, _)| flag)
}

/// As `flow.Layer4` names the protocol of an IP protocol number; empty where it has none.
pub(super) fn layer4(protocol: u8) -> &'static str {
    match protocol {
        1 => "ICMPv4",
        6 => "TCP",
        17 => "UDP",
        58 => "ICMPv6",
        132 => "SCTP",
        _ => "",
    }
}

/// Flags of TCP that a record tells; 0 when it is of another protocol. A call that was refused would have sent a SYN.
pub(super) fn flags(record: &DropRecord) -> u8 {
    match (layer4(record.protocol), record.flags) {
        ("TCP", 0) => SYN,
        ("TCP", flags) => flags,
        _ => NO_FLAGS,
    }
}

/// Those of a connection's first or last packet.
pub(super) fn connection_flags(is_end: bool) -> u8 {
    if is_end { ACK_FIN } else { SYN }
}

/// `Summary` of a refusal: what it was, and which policies drop it, since command lines show nothing else of a drop.
/// Names are as they were given: who writes them escapes them.
pub(super) fn refusal(record: &DropRecord) -> String {
    let mut summary = packet(record);
    if record.tells_decision() || !record.is_by_policy() {
        return summary;
    }
    for (index, policy) in record.denied_by.iter().enumerate() {
        match index {
            0 => summary.push_str("; denied by "),
            MAX_POLICIES => {
                summary.push_str(", …");
                break;
            }
            _ => summary.push_str(", "),
        }
        summary.push_str(&policy.to_string());
    }
    summary
}

/// No character of it needs an escape.
pub(super) fn packet(record: &DropRecord) -> String {
    match layer4(record.protocol) {
        "TCP" => {
            let flags = flags(record);
            let names: Vec<&str> = FLAGS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect();
            format!("TCP Flags: {}", names.join(", "))
        }
        name @ ("ICMPv4" | "ICMPv6") => {
            let (kind, code) = (record.destination.1.port(), record.source.1.port());
            match icmp(name, kind) {
                Some(text) => format!("{name} {text}"),
                None => format!("{name} {kind}({code})"),
            }
        }
        "" => format!("IP protocol {}", record.protocol),
        name => name.to_owned(),
    }
}

/// `Summary` of the begin or end of a connection.
pub(super) fn connection(is_end: bool) -> &'static str {
    if is_end { "TCP Flags: ACK, FIN" } else { "TCP Flags: SYN" }
}

fn icmp(layer4: &str, kind: u16) -> Option<&'static str> {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rules::{Kind, PolicyKey};

    use super::*;
    use crate::flow::{DropReason, testing};

    /// What a summary says of who denied it.
    fn denied_by(mut record: DropRecord, names: &[&str]) -> String {
        let policy = |name: &&str| {
            let (namespace, name) = name.split_once('/').unwrap_or(("", name));
            let (kind, namespace, name) = (Kind::CiliumNetworkPolicy, namespace.to_owned(), name.to_owned());
            Arc::new(PolicyKey { kind, namespace, name })
        };
        record.denied_by = names.iter().map(policy).collect();
        refusal(&record).strip_prefix(&packet(&record)).unwrap().to_owned()
    }

    proptest! {
        #[test]
        fn a_drop_by_policy_names_it(record in testing::drop_record()) {
            let record = DropRecord { audit: false, is_verdict: false, reason: DropReason::PolicyDenied, ..record };
            let is = |names: &[&str]| denied_by(record.clone(), names);
            let one = "; denied by CiliumNetworkPolicy payments/web";
            let three = format!("{one}, CiliumNetworkPolicy b, CiliumNetworkPolicy c");
            prop_assert_eq!(is(&[]), "");
            prop_assert_eq!(is(&["payments/web"]), one);
            prop_assert_eq!(is(&["payments/web", "b", "c"]), &*three);
            prop_assert_eq!(is(&["payments/web", "b", "c", "d", "e"]), format!("{three}, …"));
        }

        #[test]
        fn what_no_policy_drops_names_none(record in testing::drop_record(), by_rule in any::<bool>()) {
            let by_policy = if by_rule { DropReason::PolicyDeny } else { DropReason::PolicyDenied };
            let other = if record.reason == by_policy { DropReason::NoPolicy } else { record.reason };
            let is_by_policy = matches!(other, DropReason::PolicyDenied | DropReason::PolicyDeny);
            let of = |reason, audit, is_verdict| {
                denied_by(DropRecord { audit, reason, is_verdict, ..record.clone() }, &["a/b"])
            };
            prop_assert_eq!(of(by_policy, false, false), "; denied by CiliumNetworkPolicy a/b");
            prop_assert_eq!(of(other, false, false).is_empty(), !is_by_policy);
            prop_assert_eq!(of(by_policy, true, false), "", "it was not dropped");
            prop_assert_eq!(of(by_policy, false, true), "", "as Cilium's: policies have a place of their own");
        }
    }
}
