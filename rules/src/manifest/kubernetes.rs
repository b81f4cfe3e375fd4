//! `NetworkPolicy` of `networking.k8s.io/v1`, with the meaning that its conformance suite tests.
//!
//! Owns its fields and how they become the same rules as Cilium's: a list without peers is everybody, a port without
//! protocol is TCP, `ipBlock` is about pods too. Start at [`rules`].

use super::{
    cilium::Place,
    peers,
    read::{Reader, join},
    selector,
    yaml::{Node, Value},
};
use crate::{
    policy::{Effect, Entry, Line, Peers, Port, PortNumber, PortRule, Rule, Section},
    selector::Selector,
    verdict::Protocol,
};

/// The rule of a document of `namespace`.
pub(super) fn rules(root: &Node, namespace: &str, reader: &mut Reader<'_>) -> Vec<Rule> {
    reader.keys(root, "", &["apiVersion", "kind", "metadata", "spec", "status"], &[]);
    let Some(spec) = root.present("spec") else {
        reader.error(root.line, "spec", "is missing; write podSelector: {} to isolate every pod of the namespace");
        return Vec::new();
    };
    let place = Place::spec();
    if !reader.keys(spec, &place.path, &["podSelector", "policyTypes", "ingress", "egress"], &[]) {
        return Vec::new();
    }
    let Some(pods) = spec.present("podSelector") else {
        let reason = "is missing; write {} for every pod of the namespace";
        reader.error(spec.line, &place.field("podSelector"), reason);
        return Vec::new();
    };
    let mut subject = selector::kubernetes(pods, &place.field("podSelector"), "", reader);
    subject.set_namespace(namespace);
    let types = types(spec, &place, reader);
    let section = |list: &str, peers: &str, applies: bool, reader: &mut Reader<'_>| {
        let entries = entries(spec, &place, list, peers, namespace, reader);
        // Rules of a direction that is not among the types have no effect (Kubernetes).
        if applies {
            return Section { default_deny: true, entries, without_effect: None };
        }
        let without_effect = spec.present(list).filter(|_| !entries.is_empty()).map(|node| Line(node.line));
        Section { without_effect, ..Section::default() }
    };
    let ingress = section("ingress", "from", types.ingress, reader);
    let egress = section("egress", "to", types.egress, reader);
    vec![Rule { line: Line(spec.line), subject, ingress, egress, log: None }]
}

struct Types {
    ingress: bool,
    egress: bool,
}

/// Without `policyTypes`: ingress always, egress when there are rules for it.
fn types(spec: &Node, place: &Place, reader: &mut Reader<'_>) -> Types {
    let path = place.field("policyTypes");
    let list = reader.list(spec, &place.path, "policyTypes").filter(|list| !list.is_empty());
    let has_egress = || spec.present("egress").is_some_and(|rules| !rules.items().is_empty());
    let Some(list) = list else { return Types { ingress: true, egress: has_egress() } };
    let mut types = Types { ingress: false, egress: false };
    for (index, node) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        match reader.scalar(node, &path) {
            Some("Ingress") => types.ingress = true,
            Some("Egress") => types.egress = true,
            Some(other) => reader.error(node.line, &path, format!("{other:?} is no type; write Ingress or Egress")),
            None => {}
        }
    }
    types
}

fn entries(
    spec: &Node,
    place: &Place,
    list: &str,
    peers: &str,
    namespace: &str,
    reader: &mut Reader<'_>,
) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (index, node) in reader.list(spec, &place.path, list).unwrap_or_default().iter().enumerate() {
        let place = place.entry(list, index);
        if !node.is_null() && !reader.keys(node, &place.path, &[peers, "ports"], &[]) {
            continue;
        }
        let ports = reader.list(node, &place.path, "ports").filter(|list| !list.is_empty());
        let ports = ports.map(|list| ports_of(list, &place, reader));
        let entry = |path: String, line: usize, peers: Peers| {
            let rule =
                |ports: &Vec<Port>| PortRule { line: Line(line), path: path.clone(), ports: ports.clone(), http: None };
            let ports = ports.as_ref().map(|ports| vec![rule(ports)]);
            Entry { line: Line(line), path, effect: Effect::Allow, peers, ports }
        };
        let list = reader.list(node, &place.path, peers).filter(|list| !list.is_empty());
        let Some(list) = list else {
            entries.push(entry(place.short, node.line, Peers::Any));
            continue;
        };
        for (index, node) in list.iter().enumerate() {
            let place = place.entry(peers, index);
            let peers = peer(node, &place, namespace, reader);
            entries.push(entry(place.short, node.line, peers));
        }
    }
    entries
}

fn peer(node: &Node, place: &Place, namespace: &str, reader: &mut Reader<'_>) -> Peers {
    let told = reader.told();
    if !reader.keys(node, &place.path, &["podSelector", "namespaceSelector", "ipBlock"], &[]) {
        return Peers::Nobody;
    }
    let pods = node.present("podSelector");
    let namespaces = node.present("namespaceSelector");
    if let Some(block) = node.present("ipBlock") {
        let path = place.field("ipBlock");
        if pods.or(namespaces).is_some() {
            reader.error(block.line, &path, "may not stand beside selectors; write a peer of its own");
        }
        if !reader.keys(block, &path, &["cidr", "except"], &[]) {
            return Peers::Nobody;
        }
        return peers::block(block, &path, true, told, reader).map_or(Peers::Nobody, |cidr| Peers::Cidrs(vec![cidr]));
    }
    if pods.or(namespaces).is_none() {
        if reader.told() == told {
            let reason = "selects nothing; write podSelector, namespaceSelector or ipBlock";
            reader.error(node.line, &place.path, reason);
        }
        return Peers::Nobody;
    }
    let mut selector = match pods {
        Some(node) => selector::kubernetes(node, &place.field("podSelector"), "", reader),
        None => Selector::default(),
    };
    match namespaces {
        Some(node) => {
            let of_namespace = selector::namespace_labels(node, &place.field("namespaceSelector"), reader);
            selector.requirements.extend(of_namespace.requirements);
            selector.requirements.extend(Selector::pods().requirements);
        }
        None => selector.set_namespace(namespace),
    }
    Peers::Endpoints(vec![selector])
}

fn ports_of(list: &[Node], place: &Place, reader: &mut Reader<'_>) -> Vec<Port> {
    let port = |(index, node): (usize, &Node)| port(node, &place.entry("ports", index).path, reader);
    list.iter().enumerate().filter_map(port).collect()
}

fn port(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Port> {
    if !reader.keys(node, path, &["port", "endPort", "protocol"], &[]) {
        return None;
    }
    let protocol = match reader.text(node, path, "protocol") {
        None | Some("TCP") => Protocol::Tcp,
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        Some(other) => {
            let reason = format!("{other:?} is no protocol; write TCP, UDP or SCTP");
            reader.error(node.line, &join(path, "protocol"), reason);
            return None;
        }
    };
    let number = number(node, path, reader)?;
    Some(Port { number: range(node, path, number, reader), protocol })
}

/// A number without quotes, or a container port's name; absent is every port.
fn number(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<PortNumber> {
    let Some(value) = node.present("port") else { return Some(PortNumber::Number(0)) };
    let path = join(path, "port");
    let Value::Scalar { text, plain } = &value.value else {
        reader.mistyped(value, &path, "a number, or a container port's name");
        return None;
    };
    if let Some(number) = text.parse::<u16>().ok().filter(|number| *plain && *number > 0) {
        return Some(PortNumber::Number(number));
    }
    if super::port::is_service_name(text) && text.bytes().all(|b| !b.is_ascii_uppercase()) {
        return Some(PortNumber::Name(text.clone()));
    }
    let reason = if text.bytes().all(|b| b.is_ascii_digit()) {
        format!("{text} is no port; write 1 to 65535, without quotes")
    } else {
        format!("{text:?} is no port's name: at most 15 lower case letters, digits and single '-'")
    };
    reader.error(value.line, &path, reason);
    None
}

fn range(node: &Node, path: &str, number: PortNumber, reader: &mut Reader<'_>) -> PortNumber {
    let Some(end) = node.present("endPort") else { return number };
    let path = join(path, "endPort");
    let last = match &end.value {
        Value::Scalar { text, plain: true } => text.parse::<u16>().ok(),
        Value::Scalar { .. } | Value::Null | Value::List(_) | Value::Map(_) | Value::Fault(_) => None,
    };
    match (&number, last) {
        (PortNumber::Number(first), Some(last)) if *first > 0 && last == *first => number,
        (PortNumber::Number(first), Some(last)) if *first > 0 && last > *first => PortNumber::Range(*first, last),
        (PortNumber::Number(first), Some(_)) if *first > 0 => {
            reader.error(end.line, &path, format!("is less than port; write a number from {first} to 65535"));
            number
        }
        (_, Some(_)) => {
            reader.error(end.line, &path, "needs port to be a number");
            number
        }
        (_, None) => {
            reader.error(end.line, &path, "is no port; write a number from 1 to 65535 without quotes");
            number
        }
    }
}
