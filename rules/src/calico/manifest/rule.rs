//! One entry of `ingress` or `egress`.
//!
//! Owns which fields of a rule go together. Start at [`rules`].

use ipnet::IpNet;

use super::{
    http, peer,
    read::{Reader, join},
    value,
    yaml::{Node, Value},
};
use crate::{
    calico::policy::{Action, Icmp, IpProtocol, IpVersion, Peer, Ports, Rule},
    policy::Line,
    verdict::Direction,
};

/// Entries of `ingress` and `egress`.
const MAX_RULES: usize = 1024;

const KNOWN: &[&str] =
    &["action", "ipVersion", "protocol", "notProtocol", "icmp", "notICMP", "source", "destination", "http", "metadata"];

/// The rules of a direction. `namespace`: of the policy, `None` when it is global.
pub(super) fn rules(spec: &Node, direction: Direction, namespace: Option<&str>, reader: &mut Reader<'_>) -> Vec<Rule> {
    let key = match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    };
    let list = reader.list(spec, "spec", key).unwrap_or_default();
    if list.len() > MAX_RULES {
        let reason = format!("{} rules, the most is {MAX_RULES}; write several policies", list.len());
        reader.error(spec.get(key).map_or(spec.line, |list| list.line), &join("spec", key), reason);
    }
    let entry = |(index, node): (usize, &Node)| rule(node, format!("{key}[{index}]"), direction, namespace, reader);
    list.iter().enumerate().filter_map(entry).collect()
}

fn rule(
    node: &Node,
    short: String,
    direction: Direction,
    namespace: Option<&str>,
    reader: &mut Reader<'_>,
) -> Option<Rule> {
    let path = join("spec", &short);
    let path = path.as_str();
    if node.is_null() {
        reader.error(node.line, path, "is empty; write action: Allow or Deny");
        return None;
    }
    if !reader.keys(node, path, KNOWN, &[]) {
        return None;
    }
    metadata(node, path, reader);
    let action = action(node, path, reader);
    let rule = Rule {
        line: Line(node.line),
        action: action.unwrap_or(Action::Deny),
        ip_version: ip_version(node, path, reader),
        protocol: value::protocol(node, path, "protocol", reader),
        not_protocol: value::protocol(node, path, "notProtocol", reader),
        icmp: icmp(node, path, "icmp", reader),
        not_icmp: icmp(node, path, "notICMP", reader),
        source: peer::peer(node, path, "source", namespace, reader),
        destination: peer::peer(node, path, "destination", namespace, reader),
        http: node.present("http").and_then(|http| http::http(http, &join(path, "http"), reader)),
        path: short,
    };
    check_families(node, &rule, path, reader);
    check_ports(node, &rule, path, reader);
    check_icmp(node, &rule, path, reader);
    if node.present("http").is_some() {
        check_http(node, action, direction, path, reader);
    }
    action.map(|_| rule)
}

/// Notes of the author; they change nothing, but must be what they seem.
fn metadata(node: &Node, path: &str, reader: &mut Reader<'_>) {
    let Some(metadata) = node.present("metadata") else { return };
    let path = join(path, "metadata");
    if reader.keys(metadata, &path, &["annotations"], &[])
        && let Some(annotations) = metadata.present("annotations")
    {
        value::texts(annotations, &join(&path, "annotations"), reader);
    }
}

fn action(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Action> {
    let path = join(path, "action");
    let Some(value) = node.present("action") else {
        reader.error(node.line, &path, "is missing; write Allow, Deny, Log or Pass");
        return None;
    };
    let action = match reader.scalar(value, &path)? {
        "Allow" => Action::Allow,
        "Deny" => Action::Deny,
        "Log" => Action::Log,
        "Pass" => Action::Pass,
        other => {
            reader.error(value.line, &path, format!("{other:?} is not known; write Allow, Deny, Log or Pass"));
            return None;
        }
    };
    Some(action)
}

fn ip_version(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<IpVersion> {
    let told = reader.told();
    match value::whole(node, path, "ipVersion", u8::MAX, reader) {
        Some(4) => Some(IpVersion::V4),
        Some(6) => Some(IpVersion::V6),
        other => {
            if (other.is_some() || node.present("ipVersion").is_some()) && reader.told() == told {
                let line = node.get("ipVersion").map_or(node.line, |value| value.line);
                reader.error(line, &join(path, "ipVersion"), "is no version of IP; write 4 or 6");
            }
            None
        }
    }
}

fn icmp(rule: &Node, path: &str, key: &str, reader: &mut Reader<'_>) -> Option<Icmp> {
    let node = rule.present(key)?;
    let path = join(path, key);
    if !reader.keys(node, &path, &["type", "code"], &[]) {
        return None;
    }
    let kind = value::whole(node, &path, "type", 254, reader);
    let code = value::whole(node, &path, "code", 255, reader);
    if node.present("type").is_none() {
        reader.error(node.line, &path, "has no type; write the type, and the code only beside it");
    }
    Some(Icmp { kind: kind?, code })
}

/// Every network of both ends and `ipVersion` are of one version.
fn check_families(node: &Node, rule: &Rule, path: &str, reader: &mut Reader<'_>) {
    let peers = [&rule.source, &rule.destination];
    let nets = peers.into_iter().flat_map(|peer| peer.nets.iter().chain(&peer.not_nets).flatten());
    let mut versions = nets.map(|net: &IpNet| IpVersion::of(net));
    let Some(first) = versions.next() else { return };
    if versions.any(|version| version != first) {
        reader.error(node.line, path, "mixes IPv4 and IPv6; write one rule for each");
    } else if rule.ip_version.is_some_and(|version| version != first) {
        reader.error(node.line, &join(path, "ipVersion"), "is not that of the rule's nets; remove it, or those");
    }
}

/// Only some protocols have ports; a name stands for a protocol too.
fn check_ports(node: &Node, rule: &Rule, path: &str, reader: &mut Reader<'_>) {
    if rule.protocol.is_some_and(IpProtocol::has_ports) {
        return;
    }
    let ends = [("source", &rule.source), ("destination", &rule.destination)];
    for (key, ports) in ends.iter().flat_map(|(end, peer): &(&str, &Peer)| {
        [(format!("{end}.ports"), &peer.ports), (format!("{end}.notPorts"), &peer.not_ports)]
    }) {
        let has = |wanted: fn(&Ports) -> bool| ports.iter().flatten().any(wanted);
        let numbers = has(|ports| matches!(ports, Ports::Range(..)));
        if numbers || (rule.protocol.is_some() && has(|ports| matches!(ports, Ports::Named(_)))) {
            let reason = "ports need a protocol that has them; write protocol: TCP, UDP or SCTP in this rule";
            reader.error(node.line, &join(path, &key), reason);
        }
    }
}

fn check_icmp(node: &Node, rule: &Rule, path: &str, reader: &mut Reader<'_>) {
    let version = match rule.protocol {
        Some(IpProtocol::ICMP) => Some(IpVersion::V4),
        Some(IpProtocol::ICMPV6) => Some(IpVersion::V6),
        _ => None,
    };
    for (key, icmp) in [("icmp", rule.icmp), ("notICMP", rule.not_icmp)] {
        if icmp.is_some()
            && version.is_none()
            && node.get("protocol").is_none_or(|value| !matches!(value.value, Value::Fault(_)))
        {
            reader.error(node.line, &join(path, key), "needs its protocol; write protocol: ICMP or ICMPv6");
        }
    }
    if let (Some(version), Some(given)) = (version, rule.ip_version)
        && version != given
    {
        reader.error(
            node.line,
            &join(path, "protocol"),
            "ICMP is of IPv4 and ICMPv6 of IPv6; write the one of ipVersion",
        );
    }
}

/// Calico judges requests only where they arrive, and only to let them in.
fn check_http(node: &Node, action: Option<Action>, direction: Direction, path: &str, reader: &mut Reader<'_>) {
    let line = node.get("http").map_or(node.line, |http| http.line);
    let field = join(path, "http");
    if direction == Direction::Egress {
        reader.error(line, &field, "is only for ingress rules; write it in a policy for the pods that serve");
    }
    if action.is_some_and(|action| action != Action::Allow) {
        reader.error(line, &field, "is only for rules with action: Allow; write what is allowed, the rest is denied");
    }
    let text = node.present("protocol").and_then(Node::text);
    if text.is_some_and(|text| !matches!(text, "TCP" | "6")) || node.present("notProtocol").is_some() {
        reader.error(line, &field, "is only for TCP; write protocol: TCP");
    }
}
