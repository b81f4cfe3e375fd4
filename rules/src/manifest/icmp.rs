//! `icmps`: messages of ICMP by family and type.
//!
//! Owns their form and the names of the types. Must never take a type of one family for one of the other. Start at
//! [`rules`].

use super::{
    cilium::Place,
    read::{Reader, join, nearest},
    yaml::{Node, Value},
};
use crate::{
    policy::{Line, Port, PortNumber, PortRule},
    verdict::Protocol,
};

/// Entries of `fields`, as in Cilium.
const MAX_FIELDS: usize = 40;

/// Types of ICMP for IPv4 that have a name in Cilium.
const IPV4: &[(&str, u8)] = &[
    ("EchoReply", 0),
    ("DestinationUnreachable", 3),
    ("Redirect", 5),
    ("Echo", 8),
    ("EchoRequest", 8),
    ("RouterAdvertisement", 9),
    ("RouterSelection", 10),
    ("TimeExceeded", 11),
    ("ParameterProblem", 12),
    ("Timestamp", 13),
    ("TimestampReply", 14),
    ("Photuris", 40),
    ("ExtendedEchoRequest", 42),
    ("ExtendedEchoReply", 43),
];

/// Types of ICMP for IPv6 that have a name in Cilium.
const IPV6: &[(&str, u8)] = &[
    ("DestinationUnreachable", 1),
    ("PacketTooBig", 2),
    ("TimeExceeded", 3),
    ("ParameterProblem", 4),
    ("EchoRequest", 128),
    ("EchoReply", 129),
    ("MulticastListenerQuery", 130),
    ("MulticastListenerReport", 131),
    ("MulticastListenerDone", 132),
    ("RouterSolicitation", 133),
    ("RouterAdvertisement", 134),
    ("NeighborSolicitation", 135),
    ("NeighborAdvertisement", 136),
    ("RedirectMessage", 137),
    ("RouterRenumbering", 138),
    ("ICMPNodeInformationQuery", 139),
    ("ICMPNodeInformationResponse", 140),
    ("InverseNeighborDiscoverySolicitation", 141),
    ("InverseNeighborDiscoveryAdvertisement", 142),
    ("HomeAgentAddressDiscoveryRequest", 144),
    ("HomeAgentAddressDiscoveryReply", 145),
    ("MobilePrefixSolicitation", 146),
    ("MobilePrefixAdvertisement", 147),
    ("DuplicateAddressRequestCodeSuffix", 157),
    ("DuplicateAddressConfirmationCodeSuffix", 158),
    ("ExtendedEchoRequest", 160),
    ("ExtendedEchoReply", 161),
];

/// `icmps` of one entry; `None` when there is nothing in it. An entry of it without fields is about no message.
pub(super) fn rules(node: &Node, place: &Place, reader: &mut Reader<'_>) -> Option<Vec<PortRule>> {
    let list = reader.list(node, &place.path, "icmps").filter(|list| !list.is_empty())?;
    if node.present("toPorts").is_some_and(|ports| !ports.items().is_empty()) {
        reader.error(node.line_of("icmps"), &place.path, "has both icmps and toPorts; write two rules");
    }
    let mut rules = Vec::new();
    for (index, rule) in list.iter().enumerate() {
        let Place { path, short } = place.entry("icmps", index);
        if rule.is_null() {
            reader.error(rule.line, &path, "is empty; write fields");
        } else if reader.keys(rule, &path, &["fields"], &[]) {
            let ports = fields(rule, &path, reader);
            rules.push(PortRule { line: Line(rule.line), path: short, ports, http: None });
        }
    }
    Some(rules)
}

fn fields(rule: &Node, path: &str, reader: &mut Reader<'_>) -> Vec<Port> {
    let list = reader.list(rule, path, "fields").unwrap_or_default();
    let path = join(path, "fields");
    if list.len() > MAX_FIELDS {
        let reason = format!("{} types, the most is {MAX_FIELDS}; write several rules", list.len());
        reader.error(rule.line_of("fields"), &path, reason);
    }
    let mut messages = Vec::new();
    for (index, field) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if reader.keys(field, &path, &["family", "type"], &[]) {
            messages.extend(message(field, &path, reader));
        }
    }
    messages
}

/// `{family, type}`. The family is IPv4 where it is absent or empty.
fn message(field: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Port> {
    let told = reader.told();
    let (protocol, known) = match reader.text(field, path, "family") {
        None if reader.told() > told => return None,
        None | Some("" | "IPv4") => (Protocol::Icmp, IPV4),
        Some("IPv6") => (Protocol::Icmp6, IPV6),
        Some(other) => {
            let reason = format!("{other:?} is no family; write IPv4 or IPv6");
            reader.error(field.line_of("family"), &join(path, "family"), reason);
            return None;
        }
    };
    let number = number(field, &join(path, "type"), known, reader)?;
    Some(Port { number: PortNumber::Type(number), protocol })
}

/// `known`: names of the family's types.
fn number(field: &Node, path: &str, known: &[(&str, u8)], reader: &mut Reader<'_>) -> Option<u8> {
    let Some(given) = field.present("type") else {
        reader.error(field.line, path, "is missing; write a number, or a name as EchoRequest");
        return None;
    };
    let Value::Scalar { text, .. } = &given.value else {
        reader.mistyped(given, path, "a number or a name");
        return None;
    };
    if let Some((_, number)) = known.iter().find(|(name, _)| name == text) {
        return Some(*number);
    }
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let canonical = digits && (text == "0" || !text.starts_with('0'));
    if let Some(number) = text.parse().ok().filter(|_| canonical) {
        return Some(number);
    }
    let reason = match nearest(text, known.iter().map(|(name, _)| *name)) {
        _ if digits => format!("{text} is no type; write a number from 0 to 255"),
        Some(name) => format!("{text:?} is no type of this family; did you mean {name}?"),
        None => format!("{text:?} is no type of this family; write its number"),
    };
    reader.error(given.line, path, reason);
    None
}
