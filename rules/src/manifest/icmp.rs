//! `icmps`: messages of ICMP by family and type.
//!
//! Owns their form and the names of the types. Must never take a type of one family for one of the other. Start at
//! [`check`].

use super::{
    cilium::Place,
    read::{Reader, join, nearest},
    yaml::{Node, Value},
};

/// Entries of `fields`, as in Cilium.
const MAX_FIELDS: usize = 40;

const NOT_ENFORCED: &str = "is not enforced yet; remove it";

/// Types of ICMP for IPv4 that have a name in Cilium.
const IPV4: &[&str] = &[
    "EchoReply",
    "DestinationUnreachable",
    "Redirect",
    "Echo",
    "EchoRequest",
    "RouterAdvertisement",
    "RouterSelection",
    "TimeExceeded",
    "ParameterProblem",
    "Timestamp",
    "TimestampReply",
    "Photuris",
    "ExtendedEchoRequest",
    "ExtendedEchoReply",
];

/// Types of ICMP for IPv6 that have a name in Cilium.
const IPV6: &[&str] = &[
    "DestinationUnreachable",
    "PacketTooBig",
    "TimeExceeded",
    "ParameterProblem",
    "EchoRequest",
    "EchoReply",
    "MulticastListenerQuery",
    "MulticastListenerReport",
    "MulticastListenerDone",
    "RouterSolicitation",
    "RouterAdvertisement",
    "NeighborSolicitation",
    "NeighborAdvertisement",
    "RedirectMessage",
    "RouterRenumbering",
    "ICMPNodeInformationQuery",
    "ICMPNodeInformationResponse",
    "InverseNeighborDiscoverySolicitation",
    "InverseNeighborDiscoveryAdvertisement",
    "HomeAgentAddressDiscoveryRequest",
    "HomeAgentAddressDiscoveryReply",
    "MobilePrefixSolicitation",
    "MobilePrefixAdvertisement",
    "DuplicateAddressRequestCodeSuffix",
    "DuplicateAddressConfirmationCodeSuffix",
    "ExtendedEchoRequest",
    "ExtendedEchoReply",
];

/// Checks `icmps` of one entry.
pub(super) fn check(node: &Node, place: &Place, reader: &mut Reader<'_>) {
    let list = reader.list(node, &place.path, "icmps").unwrap_or_default();
    for (index, rule) in list.iter().enumerate() {
        let path = place.entry("icmps", index).path;
        if rule.is_null() {
            reader.error(rule.line, &path, "is empty; write fields");
        } else if reader.keys(rule, &path, &["fields"], &[]) {
            fields(rule, &path, reader);
        }
    }
    let has_ports = node.present("toPorts").is_some_and(|ports| !ports.items().is_empty());
    if has_ports && !list.is_empty() {
        reader.error(node.line_of("icmps"), &place.path, "has both icmps and toPorts; write two rules");
    }
    reader.unsupported(node, &place.path, "icmps", NOT_ENFORCED);
}

fn fields(rule: &Node, path: &str, reader: &mut Reader<'_>) {
    let list = reader.list(rule, path, "fields").unwrap_or_default();
    let path = join(path, "fields");
    if list.len() > MAX_FIELDS {
        let reason = format!("{} types, the most is {MAX_FIELDS}; write several rules", list.len());
        reader.error(rule.line_of("fields"), &path, reason);
    }
    for (index, field) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if reader.keys(field, &path, &["family", "type"], &[]) {
            message(field, &path, reader);
        }
    }
}

/// `{family, type}`. The family is IPv4 where it is absent or empty.
fn message(field: &Node, path: &str, reader: &mut Reader<'_>) {
    let told = reader.told();
    let known = match reader.text(field, path, "family") {
        None if reader.told() > told => return,
        None | Some("" | "IPv4") => IPV4,
        Some("IPv6") => IPV6,
        Some(other) => {
            let reason = format!("{other:?} is no family; write IPv4 or IPv6");
            reader.error(field.line_of("family"), &join(path, "family"), reason);
            return;
        }
    };
    let path = join(path, "type");
    let Some(given) = field.present("type") else {
        reader.error(field.line, &path, "is missing; write a number, or a name as EchoRequest");
        return;
    };
    let Value::Scalar { text, .. } = &given.value else {
        reader.mistyped(given, &path, "a number or a name");
        return;
    };
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let canonical = digits && (text == "0" || !text.starts_with('0'));
    let reason = match nearest(text, known.iter().copied()) {
        _ if known.contains(&text.as_str()) => return,
        _ if canonical && text.parse::<u8>().is_ok() => return,
        _ if digits => format!("{text} is no type; write a number from 0 to 255"),
        Some(name) => format!("{text:?} is no type of this family; did you mean {name}?"),
        None => format!("{text:?} is no type of this family; write its number"),
    };
    reader.error(given.line, &path, reason);
}
