//! Who with whom, and by which policies: what many flows have in common.

use rules::{Direction, PolicyKey};

use super::field::{delimited, element, message, number, tag, text};
use crate::{
    endpoint::{End, Peer},
    flow::{
        Mask,
        fragments::Fragments,
        said::{Said, policy_labels},
        summary,
    },
};

/// What was encoded of peers, as source and as destination: a mask may keep other fields of each.
#[derive(Debug)]
pub(super) struct Peers([Fragments<Peer>; 2]);

impl Peers {
    pub(super) fn new() -> Self {
        Self([Fragments::new(), Fragments::new()])
    }

    /// Addresses, ports and flags, peers and Services, as `from` to `to`. Fields 5, 6, 8, 9, 20 and 21 of `flow.Flow`.
    pub(super) fn endpoints(
        &mut self,
        mask: Option<&Mask>,
        (from, to): (&End, &End),
        layer4: (&str, u8),
        out: &mut Vec<u8>,
    ) {
        addresses(from, to, layer4, out);
        for (known, (field, end)) in self.0.iter_mut().zip([(8, from), (9, to)]) {
            if mask.is_none_or(|mask| mask.keeps(field)) {
                tag(field, out);
                known.write(&end.0, 0, out, |peer, out| delimited(out, |out| masked(mask, field, peer, out)));
            }
        }
        for (field, end) in [(20, from), (21, to)] {
            if let Some(service) = &end.0.service {
                message(field, out, |out| {
                    text(1, &service.name, out);
                    text(2, &service.namespace, out);
                });
            }
        }
    }
}

fn addresses(from: &End, to: &End, (layer4, flags): (&str, u8), out: &mut Vec<u8>) {
    let (source, destination) = (from.1.ip().to_canonical(), to.1.ip().to_canonical());
    message(5, out, |out| {
        text(1, &source.to_string(), out);
        text(2, &destination.to_string(), out);
        number(3, if destination.is_ipv4() { 1_u32 } else { 2 }, out);
    });
    if let Some(protocol) = protocol(layer4) {
        message(6, out, |out| {
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
}

/// What a mask keeps of a peer.
fn masked(mask: Option<&Mask>, field: u32, peer: &Peer, out: &mut Vec<u8>) {
    let Some(mask) = mask else { return endpoint(peer, out) };
    let mut whole = Vec::new();
    endpoint(peer, &mut whole);
    mask.apply_to(field, &whole, out);
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
        message(6, out, |out| {
            text(1, name, out);
            text(2, kind, out);
        });
    }
    text(7, &peer.cluster, out);
}

/// `egress_allowed_by` and its three sisters.
pub(super) fn policies(known: &mut Fragments<PolicyKey>, said: &Said<'_>, direction: Direction, out: &mut Vec<u8>) {
    let field = match (said.is_allowed, direction) {
        (true, Direction::Egress) => 21001,
        (true, Direction::Ingress) => 21002,
        (false, Direction::Egress) => 21004,
        (false, Direction::Ingress) => 21005,
    };
    for policy in said.policies() {
        tag(field, out);
        known.write(policy, said.revision, out, |policy, out| {
            delimited(out, |out| {
                text(1, &policy.name, out);
                text(2, &policy.namespace, out);
                for label in policy_labels(policy) {
                    element(3, &label, out);
                }
                number(4, said.revision, out);
                text(5, &policy.kind.to_string(), out);
            });
        });
    }
}
