//! `toPorts`: ports and the HTTP rules on them.
//!
//! Owns their form and their limits. Must never leave a field out that it does not know. Start at [`rules`].

use std::sync::Arc;

use super::{
    cilium::{Context, Place},
    fqdn,
    header_match::header_matches,
    read::{Reader, join},
    tls,
    yaml::{Node, Value},
};
use crate::{
    http_rule::{HeaderRule, HttpRule, Lines},
    pattern::{MAX_AUTOMATA_BYTES, Pattern, full_match},
    policy::{Effect, Line, Port, PortNumber, PortRule},
    verdict::Protocol,
};

/// Entries of `ports`, as in Cilium.
const MAX_PORTS: usize = 40;

const DENY_IS_L4: &str = "deny rules are about ports only; write allow rules for the requests that may pass";

const REFUSED_IN_DENY: &[(&str, &str)] = &[
    ("rules", DENY_IS_L4),
    ("serverNames", DENY_IS_L4),
    ("terminatingTLS", DENY_IS_L4),
    ("originatingTLS", DENY_IS_L4),
    ("listener", DENY_IS_L4),
];

/// Protocols of Cilium that have no ports.
const PORTLESS: [&str; 7] = ["VRRP", "IGMP", "GRE", "IPIP", "IPV6", "ESP", "AH"];

const REFUSED_IN_L7: &[(&str, &str)] = &[
    ("kafka", "was removed from Cilium 1.20; remove it"),
    ("l7proto", "was removed from Cilium 1.20; remove it"),
    ("l7", "was removed from Cilium 1.20; remove it"),
];

/// The entries of `toPorts` of one allow.
pub(super) fn rules(list: &[Node], place: &Place, context: &Context<'_>, reader: &mut Reader<'_>) -> Vec<PortRule> {
    let rule = |(index, node): (usize, &Node)| port_rule(node, place.entry("toPorts", index), context, reader);
    list.iter().enumerate().filter_map(rule).collect()
}

fn port_rule(node: &Node, place: Place, context: &Context<'_>, reader: &mut Reader<'_>) -> Option<PortRule> {
    let allow: Vec<&str> = ["ports", "rules"].into_iter().chain(tls::FIELDS).collect();
    let known = match context.effect {
        Effect::Allow => reader.keys(node, &place.path, &allow, &[]),
        Effect::Deny => reader.keys(node, &place.path, &["ports"], REFUSED_IN_DENY),
    };
    if !known {
        return None;
    }
    let list = reader.list(node, &place.path, "ports").unwrap_or_default();
    let line = node.get("ports").map_or(node.line, |ports| ports.line);
    if list.len() > MAX_PORTS {
        let reason = format!("{} ports, the most is {MAX_PORTS}; write several rules", list.len());
        reader.error(line, &place.field("ports"), reason);
    }
    let mut layer7 = Layer7::default();
    if context.effect == Effect::Allow {
        layer7 = self::layer7(node, &place, context, reader);
        tls::check(node, &place, context, layer7.protocol.is_some(), reader);
    }
    if let Some(protocol) = layer7.protocol.filter(|_| list.is_empty()) {
        let example = if protocol == HTTP { "80\", protocol: TCP" } else { "53\", protocol: ANY" };
        reader.error(line, &place.field("ports"), format!("{protocol} rules need ports; write {{port: \"{example}}}"));
    }
    let mut ports = Vec::new();
    for (index, node) in list.iter().enumerate() {
        ports.extend(port(node, &place.entry("ports", index).path, layer7.protocol, reader));
    }
    Some(PortRule { line: Line(node.line), path: place.short, ports, http: layer7.http })
}

/// `layer7`: the protocol of the rules for requests on it.
fn port(node: &Node, path: &str, layer7: Option<&str>, reader: &mut Reader<'_>) -> Option<Port> {
    if !reader.keys(node, path, &["port", "endPort", "protocol"], &[]) {
        return None;
    }
    if is_portless(node) {
        portless(node, path, reader);
        return None;
    }
    let number = port_number(node, path, reader).map(|number| range(node, path, number, reader));
    let protocol = protocol(node, path, reader);
    if let Some(layer7) = layer7.filter(|_| number == Some(PortNumber::Number(0))) {
        let reason = format!("{layer7} rules can not be used when a port is 0; name the ports");
        reader.error(node.line, &join(path, "port"), reason);
    }
    if layer7 == Some(DNS) && matches!(number, Some(PortNumber::Range(..))) {
        let reason = "DNS rules do not support port ranges; write each port";
        reader.error(node.line_of("endPort"), &join(path, "endPort"), reason);
    }
    if layer7 == Some(HTTP) && protocol.is_some_and(|protocol| protocol != Protocol::Tcp) {
        let reason = "HTTP rules can only apply to TCP, and an absent protocol is ANY; write protocol: TCP";
        reader.error(node.line, &join(path, "protocol"), reason);
    }
    Some(Port { number: number?, protocol: protocol? })
}

fn is_portless(node: &Node) -> bool {
    let protocol = node.present("protocol").and_then(Node::text);
    protocol.is_some_and(|text| PORTLESS.iter().any(|known| text.eq_ignore_ascii_case(known)))
}

/// One of the protocols without ports: it may have none, and is not enforced.
fn portless(node: &Node, path: &str, reader: &mut Reader<'_>) {
    for key in ["port", "endPort"] {
        if node.present(key).is_some_and(|value| !matches!(value.text(), Some("" | "0"))) {
            reader.error(node.line_of(key), &join(path, key), "must be empty or 0: this protocol has no ports");
        }
    }
    reader.unsupported(node, path, "protocol", "a protocol without ports is not enforced yet; remove the entry");
}

fn protocol(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Protocol> {
    if node.present("protocol").is_none() {
        return Some(Protocol::Any);
    }
    let text = reader.text(node, path, "protocol")?;
    let protocol = match text.to_ascii_uppercase().as_str() {
        "" | "ANY" => Protocol::Any,
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        other => {
            let reason = match other {
                "ICMP" | "ICMPV6" => format!("{text} belongs in icmps: [{{fields: [{{type: 8}}]}}]"),
                _ => format!("{text:?} is no protocol; write TCP, UDP, SCTP or ANY"),
            };
            reader.error(node.line, &join(path, "protocol"), reason);
            return None;
        }
    };
    Some(protocol)
}

/// Digits are a number; everything else is a container port's name (so is `0x10`, as in Cilium).
fn port_number(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<PortNumber> {
    let path = join(path, "port");
    let Some(value) = node.present("port") else {
        reader.error(node.line, &path, "is missing; write a number in quotes, or a container port's name");
        return None;
    };
    let text = reader.scalar(value, &path)?;
    if is_service_name(text) {
        return Some(PortNumber::Name(text.to_ascii_lowercase()));
    }
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let reason = match text.parse::<u16>() {
        // Cilium reads it as an octal number.
        Ok(_) if digits && text.len() > 1 && text.starts_with('0') => {
            format!("{text} begins with 0; write it without")
        }
        Ok(number) if digits => return Some(PortNumber::Number(number)),
        _ if digits => format!("{text} is no port; write 0 to 65535"),
        _ => format!(
            "{text:?} is neither a port nor a container port's name; a name has at most 15 letters, digits and single '-'"
        ),
    };
    reader.error(value.line, &path, reason);
    None
}

/// RFC 6335 §5.1: what Cilium and Kubernetes take for a port's name.
pub(super) fn is_service_name(text: &str) -> bool {
    text.len() <= 15
        && text.bytes().any(|b| b.is_ascii_alphabetic())
        && text.split('-').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// `endPort` is a number; one that is not greater says that there is no range, as in Cilium.
fn range(node: &Node, path: &str, number: PortNumber, reader: &mut Reader<'_>) -> PortNumber {
    let Some(end) = node.present("endPort") else { return number };
    let path = join(path, "endPort");
    let given = match &end.value {
        Value::Scalar { text, plain: true } => text.parse::<u16>().ok(),
        Value::Scalar { .. } | Value::Null | Value::List(_) | Value::Map(_) | Value::Fault(_) => None,
    };
    match (given, &number) {
        (Some(0), _) => {}
        (Some(_), PortNumber::Name(_)) => {
            reader.error(end.line, &path, "a named port has no range; write the port as a number");
        }
        (Some(_), PortNumber::Number(0)) => {
            reader.error(end.line, &path, "port 0 is every port already; write the first port of the range");
        }
        (Some(last), PortNumber::Number(first)) if last > *first => return PortNumber::Range(*first, last),
        (Some(_), PortNumber::Number(_) | PortNumber::Range(..) | PortNumber::Type(_)) => {}
        (None, _) if matches!(end.value, Value::Scalar { .. }) => {
            reader.error(end.line, &path, "is no port; write a number from 0 to 65535 without quotes");
        }
        (None, _) => reader.mistyped(end, &path, "a number"),
    }
    number
}

/// What `rules` says of requests.
#[derive(Default)]
struct Layer7 {
    /// Whose rules there are.
    protocol: Option<&'static str>,
    /// `None`: every request.
    http: Option<Vec<Arc<HttpRule>>>,
}

const HTTP: &str = "HTTP";
const DNS: &str = "DNS";

/// An empty list is no list, as in Cilium 1.20.
fn layer7(node: &Node, place: &Place, context: &Context<'_>, reader: &mut Reader<'_>) -> Layer7 {
    let Some(rules) = node.present("rules") else { return Layer7::default() };
    let place = Place { path: place.field("rules"), short: format!("{}.rules", place.short) };
    if !reader.keys(rules, &place.path, &["http", "dns"], REFUSED_IN_L7) {
        return Layer7::default();
    }
    let others = REFUSED_IN_L7.iter().map(|(name, _)| *name);
    if ["http", "dns"].into_iter().chain(others).all(|name| rules.present(name).is_none()) {
        let reason = "is missing; write HTTP rules, or leave rules out to let every request pass";
        reader.error(rules.line, &join(&place.path, "http"), reason);
    }
    let dns = fqdn::dns_rules(rules, &place, context, reader).then_some(DNS);
    let Some(list) = reader.list(rules, &place.path, "http").filter(|list| !list.is_empty()) else {
        return Layer7 { protocol: dns, http: None };
    };
    let rule = |(index, node): (usize, &Node)| http_rule(node, place.entry("http", index), reader).map(Arc::new);
    Layer7 { protocol: Some(HTTP), http: Some(list.iter().enumerate().filter_map(rule).collect()) }
}

fn http_rule(node: &Node, place: Place, reader: &mut Reader<'_>) -> Option<HttpRule> {
    let path = place.path.as_str();
    if node.is_null() {
        reader.error(node.line, path, "is empty; write {} for a rule that allows every request");
        return None;
    }
    if !reader.keys(node, path, &["method", "path", "host", "headers", "headerMatches"], &[]) {
        return None;
    }
    let method = pattern(node, path, "method", reader);
    let url_path = pattern(node, path, "path", reader);
    let host = pattern(node, path, "host", reader);
    let mut headers = Vec::new();
    for (index, header) in reader.list(node, path, "headers").unwrap_or_default().iter().enumerate() {
        let path = format!("{path}.headers[{index}]");
        let Some(text) = reader.scalar(header, &path) else { continue };
        if text.is_empty() {
            reader.error(header.line, &path, "is empty; write a header's name, or \"Name: value\"");
        } else if text.starts_with(':') {
            reader.error(header.line, &path, "is a pseudo-header; write method, path or host");
        }
        headers.push(HeaderRule::parse(text));
    }
    let header_matches = header_matches(node, path, reader);
    let line = |key: &str| Line(node.get(key).map_or(node.line, |value| value.line));
    let lines = Lines {
        rule: Line(node.line),
        method: line("method"),
        path: line("path"),
        host: line("host"),
        headers: line("headers"),
    };
    Some(HttpRule { lines, path_in_spec: place.short, method, path: url_path, host, headers, header_matches })
}

/// Absent and empty are no constraint.
fn pattern(node: &Node, path: &str, key: &str, reader: &mut Reader<'_>) -> Option<Pattern> {
    let text = reader.text(node, path, key).filter(|text| !text.is_empty())?;
    let line = node.get(key).map_or(node.line, |value| value.line);
    if reader.automata == 0 {
        // Told already; no further pattern is worth its memory.
        return None;
    }
    let pattern = match full_match(text) {
        Ok(pattern) => pattern,
        Err(error) => {
            reader.error(line, &join(path, key), error.to_string());
            return None;
        }
    };
    reader.automata = reader.automata.saturating_sub(pattern.memory());
    if reader.automata == 0 {
        let reason = format!(
            "the patterns of this policy need {MAX_AUTOMATA_BYTES} bytes or more; make them simpler or split the policy"
        );
        reader.error(line, &join(path, key), reason);
    }
    Some(pattern)
}
