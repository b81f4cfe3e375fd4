//! `toPorts`: ports and the HTTP rules on them.

use super::{
    read::{Reader, join},
    yaml::{Node, Value},
};
use crate::{
    http_rule::{HeaderRule, HttpRule},
    pattern::{Pattern, full_match},
    policy::{Port, PortNumber, PortRule},
    verdict::Protocol,
};

/// Entries of `ports`, as in Cilium.
const MAX_PORTS: usize = 40;

const REFUSED_IN_PORT_RULE: &[(&str, &str)] = &[
    ("terminatingTLS", "TLS is not enforced yet; remove it"),
    ("originatingTLS", "TLS is not enforced yet; remove it"),
    ("serverNames", "server names are not enforced yet; remove them"),
    ("listener", "custom Envoy listeners are not supported; remove it"),
];

const REFUSED_IN_L7: &[(&str, &str)] = &[
    ("dns", "DNS rules are not enforced yet; remove them"),
    ("kafka", "was removed from Cilium 1.20; remove it"),
    ("l7proto", "was removed from Cilium 1.20; remove it"),
    ("l7", "was removed from Cilium 1.20; remove it"),
];

/// `path` names the list for errors, `short` for records.
pub(super) fn rules(list: &[Node], path: &str, short: &str, reader: &mut Reader<'_>) -> Vec<PortRule> {
    let rule = |(index, node): (usize, &Node)| {
        port_rule(node, &format!("{path}[{index}]"), &format!("{short}[{index}]"), reader)
    };
    list.iter().enumerate().filter_map(rule).collect()
}

fn port_rule(node: &Node, path: &str, short: &str, reader: &mut Reader<'_>) -> Option<PortRule> {
    if !reader.keys(node, path, &["ports", "rules"], REFUSED_IN_PORT_RULE) {
        return None;
    }
    let list = reader.list(node, path, "ports").unwrap_or_default();
    if list.len() > MAX_PORTS {
        reader.error(
            node.line,
            &join(path, "ports"),
            format!("{} ports, the most is {MAX_PORTS}; write several rules", list.len()),
        );
    }
    let mut ports = Vec::new();
    for (index, node) in list.iter().enumerate() {
        ports.extend(port(node, &format!("{path}.ports[{index}]"), reader));
    }
    let http = http(node, path, short, reader);
    if http.is_some() {
        check_l7(node, path, &ports, reader);
    }
    Some(PortRule { path: short.to_owned(), ports, http })
}

/// HTTP rules need TCP ports, each named.
fn check_l7(node: &Node, path: &str, ports: &[Port], reader: &mut Reader<'_>) {
    let at = join(path, "ports");
    if ports.is_empty() {
        reader.error(node.line, &at, "HTTP rules need ports; write for example {port: \"80\", protocol: TCP}");
    }
    if ports.iter().any(|port| port.protocol != Protocol::Tcp) {
        reader.error(
            node.line,
            &at,
            "L7 rules can only apply to TCP, and an absent protocol is ANY; write protocol: TCP",
        );
    }
    if ports.iter().any(|port| port.number == PortNumber::Number(0)) {
        reader.error(node.line, &at, "L7 rules can not be used when a port is 0; name the ports");
    }
}

fn port(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Port> {
    if !reader.keys(node, path, &["port", "endPort", "protocol"], &[]) {
        return None;
    }
    let text = reader.text(node, path, "port");
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        reader.error(
            node.line,
            &join(path, "port"),
            "is missing; write a number in quotes, or a container port's name",
        );
        return None;
    };
    let number = number(text, node.line, &join(path, "port"), reader)?;
    if let Some(Value::Scalar { text: end, .. }) = node.get("endPort").map(|end| &end.value)
        && end != "0"
        && end != text
    {
        reader.error(node.line, &join(path, "endPort"), "port ranges are not supported yet; write each port");
    }
    let protocol = match reader.text(node, path, "protocol").unwrap_or_default().to_ascii_uppercase().as_str() {
        "" | "ANY" => Protocol::Any,
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        other => {
            reader.error(
                node.line,
                &join(path, "protocol"),
                format!("{other:?} is no protocol; write TCP, UDP, SCTP or ANY"),
            );
            return None;
        }
    };
    Some(Port { number, protocol })
}

/// Digits are a number; everything else is a container port's name (so is `0x10`, as in Cilium).
fn number(text: &str, line: usize, path: &str, reader: &mut Reader<'_>) -> Option<PortNumber> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        let number = text.parse::<u16>().ok().map(PortNumber::Number);
        if number.is_none() {
            reader.error(line, path, format!("{text} is no port; write 0 to 65535"));
        }
        return number;
    }
    let name = text.to_ascii_lowercase();
    let valid = name.len() <= 63 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !valid || !name.bytes().any(|b| b.is_ascii_alphabetic()) {
        reader.error(line, path, format!("{text:?} is neither a port nor a container port's name"));
        return None;
    }
    Some(PortNumber::Name(name))
}

/// `None`: every request. An empty list is no list, as in Cilium 1.20.
fn http(node: &Node, path: &str, short: &str, reader: &mut Reader<'_>) -> Option<Vec<HttpRule>> {
    let rules = node.get("rules").filter(|rules| !matches!(rules.value, Value::Null))?;
    let path = join(path, "rules");
    if !reader.keys(rules, &path, &["http"], REFUSED_IN_L7) {
        return None;
    }
    let list = reader.list(rules, &path, "http")?;
    let rule = |(index, node): (usize, &Node)| {
        http_rule(node, &format!("{path}.http[{index}]"), &format!("{short}.rules.http[{index}]"), reader)
    };
    let rules: Vec<HttpRule> = list.iter().enumerate().filter_map(rule).collect();
    (!list.is_empty()).then_some(rules)
}

fn http_rule(node: &Node, path: &str, short: &str, reader: &mut Reader<'_>) -> Option<HttpRule> {
    let refused = [("headerMatches", "is not supported yet; write headers")];
    if !reader.keys(node, path, &["method", "path", "host", "headers"], &refused) {
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
        }
        headers.push(HeaderRule::parse(text));
    }
    Some(HttpRule { path_in_spec: short.to_owned(), method, path: url_path, host, headers })
}

/// Absent and empty are no constraint.
fn pattern(node: &Node, path: &str, key: &str, reader: &mut Reader<'_>) -> Option<Pattern> {
    let text = reader.text(node, path, key).filter(|text| !text.is_empty())?;
    let line = node.get(key).map_or(node.line, |value| value.line);
    match full_match(text) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            reader.error(line, &join(path, key), error.to_string());
            None
        }
    }
}
