//! Who with whom, and by which policies: what many records have in common.

use rules::{Direction, PolicyKey};

use super::{
    below,
    fields::Fields,
    text::{address, list, number, put, raw, text},
};
use crate::{
    endpoint::{End, Peer},
    flow::{
        fragments::Fragments,
        kept::Kept,
        said::{Said, policy_labels},
        summary, tag,
    },
};

/// Addresses, ports and flags, peers and Services, as `from` to `to`.
pub(super) fn ends(
    kept: &mut Kept<Fields>,
    peers: &mut Fragments<Peer>,
    (from, to): (&End, &End),
    layer4: (&str, u8),
    out: &mut Vec<u8>,
) {
    kept.field(tag::IP, out, |out| addresses(from, to, out));
    kept.field(tag::L4, out, |out| ports(from, to, layer4, out));
    for (field, name, end) in [(tag::SOURCE, "source", from), (tag::DESTINATION, "destination", to)] {
        kept.field(field, out, |out| {
            raw([",\"", name, "\":"], out);
            peers.write(&end.0, 0, out, peer);
        });
    }
    kept.field(tag::SOURCE_NAMES, out, |out| names("source_names", &from.0, out));
    kept.field(tag::DESTINATION_NAMES, out, |out| names("destination_names", &to.0, out));
    kept.field(tag::SOURCE_SERVICE, out, |out| service("source_service", &from.0, out));
    kept.field(tag::DESTINATION_SERVICE, out, |out| service("destination_service", &to.0, out));
}

fn addresses(from: &End, to: &End, out: &mut Vec<u8>) {
    let (source, destination) = (from.1.ip().to_canonical(), to.1.ip().to_canonical());
    out.extend_from_slice(b",\"IP\":{\"source\":\"");
    address(source, out);
    out.extend_from_slice(b"\",\"destination\":\"");
    address(destination, out);
    raw(["\",\"ipVersion\":\"", if destination.is_ipv4() { "IPv4" } else { "IPv6" }, "\"}"], out);
}

fn ports(from: &End, to: &End, (layer4, flags): (&str, u8), out: &mut Vec<u8>) {
    if layer4.is_empty() {
        return;
    }
    raw([",\"l4\":{\"", layer4, "\":{"], out);
    let mut separator = "\"";
    for (name, port) in below::numbers(layer4, from.1.port(), to.1.port()) {
        if port != 0 {
            raw([separator, name, "\":"], out);
            number(port, out);
            separator = ",\"";
        }
    }
    if flags != summary::NO_FLAGS {
        raw([separator, "flags\":{"], out);
        for (index, (_, flag)) in summary::set(flags).enumerate() {
            raw([if index == 0 { "\"" } else { ",\"" }, flag, "\":true"], out);
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"}}");
}

fn names(field: &str, peer: &Peer, out: &mut Vec<u8>) {
    if peer.names.is_empty() {
        return;
    }
    raw([",\"", field, "\":"], out);
    list(&peer.names, out, |name, out| text(name, out));
}

fn service(field: &str, peer: &Peer, out: &mut Vec<u8>) {
    let Some(service) = &peer.service else { return };
    raw([",\"", field, "\":{\"name\":"], out);
    text(&service.name, out);
    out.extend_from_slice(b",\"namespace\":");
    text(&service.namespace, out);
    out.push(b'}');
}

fn peer(peer: &Peer, out: &mut Vec<u8>) {
    out.push(b'{');
    let begin = out.len();
    let name = |name: &str, out: &mut Vec<u8>| raw([if out.len() > begin { ",\"" } else { "\"" }, name, "\":"], out);
    for (field, value) in [("ID", peer.id), ("identity", peer.identity)] {
        if value != 0 {
            name(field, out);
            number(value, out);
        }
    }
    for (field, value) in [("cluster_name", &peer.cluster), ("namespace", &peer.namespace), ("pod_name", &peer.pod)] {
        if !value.is_empty() {
            name(field, out);
            text(value, out);
        }
    }
    if !peer.labels.is_empty() {
        name("labels", out);
        list(&peer.labels, out, |label, out| text(label, out));
    }
    if let Some((kind, owner)) = &peer.workload {
        name("workloads", out);
        out.extend_from_slice(b"[{\"name\":");
        text(owner, out);
        out.extend_from_slice(b",\"kind\":");
        text(kind, out);
        out.extend_from_slice(b"}]");
    }
    out.push(b'}');
}

/// `egress_denied_by` and its three sisters.
pub(super) fn by_policies(known: &mut Fragments<PolicyKey>, said: &Said<'_>, direction: Direction, out: &mut Vec<u8>) {
    let policies = said.policies();
    if policies.len() == 0 {
        return;
    }
    let direction = match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    };
    raw([",\"", direction, if said.is_allowed { "_allowed_by\":" } else { "_denied_by\":" }], out);
    let revision = said.revision;
    list(policies, out, |policy, out| known.write(policy, revision, out, |policy, out| by(policy, revision, out)));
}

fn by(policy: &PolicyKey, revision: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"name\":");
    text(&policy.name, out);
    if !policy.namespace.is_empty() {
        out.extend_from_slice(b",\"namespace\":");
        text(&policy.namespace, out);
    }
    out.extend_from_slice(b",\"labels\":");
    list(policy_labels(policy), out, |label, out| text(&label, out));
    put(out, format_args!(",\"revision\":\"{revision}\",\"kind\":\"{}\"}}", policy.kind));
}

/// `log.value` of the deciding rule's policy.
pub(super) fn policy_log(log: Option<&str>, out: &mut Vec<u8>) {
    if let Some(log) = log {
        out.extend_from_slice(b",\"policy_log\":[");
        text(log, out);
        out.push(b']');
    }
}
