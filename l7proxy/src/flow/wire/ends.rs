//! Who with whom, and by which policies: what many flows have in common.

use rules::{Direction, PolicyKey};

use super::field::{delimited, element, key, message, number, pair, text};
use crate::{
    endpoint::{End, Peer},
    flow::{
        Mask,
        fragments::Fragments,
        kept::Kept,
        said::{Said, policy_labels},
        summary, tag,
    },
};

/// Addresses, ports and flags, peers and Services, as `from` to `to`.
pub(super) fn endpoints(
    kept: &mut Kept<Mask>,
    peers: &mut Fragments<Peer>,
    (from, to): (&End, &End),
    layer4: (&str, u8),
    out: &mut Vec<u8>,
) {
    kept.field(tag::IP, out, |out| addresses(from, to, out));
    kept.field(tag::L4, out, |out| ports(from, to, layer4, out));
    for (field, end) in [(tag::SOURCE, from), (tag::DESTINATION, to)] {
        kept.field(field, out, |out| {
            key(field, out);
            peers.write(&end.0, 0, out, |peer, out| delimited(out, |out| endpoint(peer, out)));
        });
    }
    for (field, end) in [(tag::SOURCE_NAMES, from), (tag::DESTINATION_NAMES, to)] {
        kept.field(field, out, |out| end.0.names.iter().for_each(|name| element(field, name, out)));
    }
    for (field, end) in [(tag::SOURCE_SERVICE, from), (tag::DESTINATION_SERVICE, to)] {
        if let Some(service) = &end.0.service {
            kept.field(field, out, |out| pair(field, [&service.name, &service.namespace], out));
        }
    }
}

fn addresses(from: &End, to: &End, out: &mut Vec<u8>) {
    let (source, destination) = (from.1.ip().to_canonical(), to.1.ip().to_canonical());
    message(tag::IP, out, |out| {
        text(1, &source.to_string(), out);
        text(2, &destination.to_string(), out);
        number(3, if destination.is_ipv4() { 1_u32 } else { 2 }, out);
    });
}

fn ports(from: &End, to: &End, (layer4, flags): (&str, u8), out: &mut Vec<u8>) {
    let Some(protocol) = protocol(layer4) else { return };
    message(tag::L4, out, |out| {
        message(protocol, out, |out| {
            // Of ICMP the destination's port is the type, and the source's the code.
            let (first, second) = if layer4.starts_with("ICMP") { (to, from) } else { (from, to) };
            number(1, first.1.port(), out);
            number(2, second.1.port(), out);
            if flags != summary::NO_FLAGS {
                message(3, out, |out| summary::set(flags).for_each(|(flag, _)| number(flag, 1_u32, out)));
            }
        });
    });
}

/// Member of `flow.Layer4`.
fn protocol(layer4: &str) -> Option<u32> {
    ["TCP", "UDP", "ICMPv4", "ICMPv6", "SCTP"]
        .iter()
        .zip(1..)
        .find(|(name, _)| **name == layer4)
        .map(|(_, field)| field)
}

fn endpoint(peer: &Peer, out: &mut Vec<u8>) {
    number(1, peer.id, out);
    number(2, peer.identity, out);
    text(3, &peer.namespace, out);
    for label in &peer.labels {
        element(4, label, out);
    }
    text(5, &peer.pod, out);
    if let Some((kind, name)) = &peer.workload {
        pair(6, [name, kind], out);
    }
    text(7, &peer.cluster, out);
}

/// `egress_allowed_by` and its three sisters.
pub(super) fn by_policies(
    kept: &mut Kept<Mask>,
    known: &mut Fragments<PolicyKey>,
    said: &Said<'_>,
    direction: Direction,
    out: &mut Vec<u8>,
) {
    let field = tag::by_policies(said.is_allowed, direction);
    for policy in said.policies() {
        kept.field(field, out, |out| {
            key(field, out);
            known.write(policy, said.revision, out, |policy, out| delimited(out, |out| by(policy, said.revision, out)));
        });
    }
}

fn by(policy: &PolicyKey, revision: u64, out: &mut Vec<u8>) {
    text(1, &policy.name, out);
    text(2, &policy.namespace, out);
    for label in policy_labels(policy) {
        element(3, &label, out);
    }
    number(4, revision, out);
    text(5, &policy.kind.to_string(), out);
}
