//! `CiliumNetworkPolicy` of `cilium.io/v2`, with Cilium's meaning: scoping, nil versus empty, validations.
//!
//! Owns the fields of a rule down to `toPorts`. Every field that is not enforced is refused by its name. Start at
//! [`rules`].

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    port,
    read::{Reader, join},
    selector,
    yaml::{Node, Value},
};
use crate::policy::{Allow, Line, Peers, Rule};

const NOT_YET: &str = "is not supported yet; remove it, or keep this policy for a data path that has it";

const REFUSED_IN_RULE: &[(&str, &str)] = &[
    ("nodeSelector", "host policy is not supported, and never in a namespaced policy; write endpointSelector"),
    ("ingressDeny", NOT_YET),
    ("egressDeny", NOT_YET),
    ("enableDefaultDeny", NOT_YET),
    ("log", NOT_YET),
];

const REFUSED_IN_INGRESS: &[(&str, &str)] = &[
    ("fromCIDRSet", "is not supported yet; write fromCIDR"),
    ("fromEntities", "is not supported yet; write fromEndpoints or fromCIDR"),
    ("fromRequires", "was removed from Cilium; write fromEndpoints"),
    ("fromGroups", NOT_YET),
    ("fromNodes", NOT_YET),
    ("icmps", NOT_YET),
    ("authentication", NOT_YET),
];

const REFUSED_IN_EGRESS: &[(&str, &str)] = &[
    ("toCIDRSet", "is not supported yet; write toCIDR"),
    ("toEntities", "is not supported yet; write toEndpoints or toCIDR"),
    ("toRequires", "was removed from Cilium; write toEndpoints"),
    ("toServices", "is not supported yet; write toEndpoints with the labels of the pods behind the service"),
    ("toFQDNs", "is not enforced yet; write toCIDR with the addresses"),
    ("toGroups", NOT_YET),
    ("toNodes", NOT_YET),
    ("icmps", NOT_YET),
    ("authentication", NOT_YET),
];

/// The rules of a document of the policy's `namespace`.
pub(super) fn rules(root: &Node, namespace: &str, reader: &mut Reader<'_>) -> Vec<Rule> {
    reader.keys(root, "", &["apiVersion", "kind", "metadata", "spec", "specs", "status"], &[]);
    let mut rules = Vec::new();
    if let Some(spec) = root.present("spec") {
        rules.extend(rule(spec, &Place::new("spec", ""), namespace, reader));
    }
    let specs = reader.list(root, "", "specs");
    for (index, spec) in specs.unwrap_or_default().iter().enumerate() {
        let path = format!("specs[{index}]");
        rules.extend(rule(spec, &Place::new(&path, &path), namespace, reader));
    }
    if root.present("spec").is_none() && specs.is_none_or(<[Node]>::is_empty) {
        let line = root.get("specs").or_else(|| root.get("spec")).map_or(root.line, |node| node.line);
        reader.error(line, "spec", "is missing; write spec (one rule) or specs (a list)");
    }
    rules
}

/// A field's full name, for errors, and its name within its spec, for records.
pub(super) struct Place {
    pub(super) path: String,
    pub(super) short: String,
}

impl Place {
    fn new(path: &str, short: &str) -> Self {
        Self { path: path.to_owned(), short: short.to_owned() }
    }

    pub(super) fn field(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// One entry of a list.
    pub(super) fn entry(&self, key: &str, index: usize) -> Self {
        let with_index = |path: &str| format!("{}[{index}]", join(path, key));
        Self { path: with_index(&self.path), short: with_index(&self.short) }
    }
}

fn rule(spec: &Node, place: &Place, namespace: &str, reader: &mut Reader<'_>) -> Option<Rule> {
    let told = reader.told();
    let known = ["endpointSelector", "ingress", "egress", "labels", "description"];
    if !reader.keys(spec, &place.path, &known, REFUSED_IN_RULE) {
        return None;
    }
    reader.text(spec, &place.path, "description");
    check_labels(spec, place, reader);
    let selector = spec.present("endpointSelector");
    let subject = selector.map(|node| selector::subject(node, &place.field("endpointSelector"), namespace, reader));
    if subject.is_none() && spec.present("nodeSelector").is_none() {
        let reason = "is missing; write {} for every pod of the namespace";
        reader.error(spec.line, &place.field("endpointSelector"), reason);
    }
    let ingress = allows(spec, place, &INGRESS, namespace, reader);
    let egress = allows(spec, place, &EGRESS, namespace, reader);
    // A misspelt or refused field may have been meant.
    if ingress.is_empty() && egress.is_empty() && reader.told() == told {
        let reason = "has neither ingress nor egress rules; write `ingress: [{}]` to deny all ingress";
        reader.error(spec.line, &place.path, reason);
    }
    Some(Rule { line: Line(spec.line), subject: subject?, ingress, egress })
}

/// Tags of the policy's author. They change nothing, but must be what they seem.
fn check_labels(spec: &Node, place: &Place, reader: &mut Reader<'_>) {
    for (index, label) in reader.list(spec, &place.path, "labels").unwrap_or_default().iter().enumerate() {
        let path = place.entry("labels", index).path;
        if matches!(label.value, Value::Scalar { .. }) {
            reader.scalar(label, &path);
        } else if reader.keys(label, &path, &["key", "value", "source"], &[]) {
            for field in ["key", "value", "source"] {
                reader.text(label, &path, field);
            }
            if label.present("key").is_none() {
                reader.error(label.line, &join(&path, "key"), "is missing; a label needs a key");
            }
        }
    }
}

/// What the fields of a direction are called.
struct Fields {
    list: &'static str,
    endpoints: &'static str,
    cidr: &'static str,
    refused: &'static [(&'static str, &'static str)],
}

const INGRESS: Fields =
    Fields { list: "ingress", endpoints: "fromEndpoints", cidr: "fromCIDR", refused: REFUSED_IN_INGRESS };
const EGRESS: Fields = Fields { list: "egress", endpoints: "toEndpoints", cidr: "toCIDR", refused: REFUSED_IN_EGRESS };

fn allows(spec: &Node, place: &Place, fields: &Fields, namespace: &str, reader: &mut Reader<'_>) -> Vec<Allow> {
    let entries = reader.list(spec, &place.path, fields.list).unwrap_or_default();
    let allow = |(index, node): (usize, &Node)| allow(node, place.entry(fields.list, index), fields, namespace, reader);
    entries.iter().enumerate().filter_map(allow).collect()
}

fn allow(node: &Node, place: Place, fields: &Fields, namespace: &str, reader: &mut Reader<'_>) -> Option<Allow> {
    let Fields { endpoints, cidr, refused, .. } = fields;
    if node.is_null() {
        reader.error(node.line, &place.path, "is empty; write {} for a rule that allows nobody");
        return None;
    }
    if !reader.keys(node, &place.path, &[endpoints, cidr, "toPorts"], refused) {
        return None;
    }
    let selectors = reader.list(node, &place.path, endpoints);
    let selectors = selectors.map(|list| selector::peers(list, &place.field(endpoints), namespace, reader));
    let nets = reader.list(node, &place.path, cidr).map(|list| cidrs(list, &place.field(cidr), reader));
    let ports = reader.list(node, &place.path, "toPorts").filter(|list| !list.is_empty());
    if let (Some(selectors), Some(nets)) = (&selectors, &nets)
        && !selectors.is_empty()
        && !nets.is_empty()
    {
        let reason = format!("combining {endpoints} and {cidr} is not supported; write two rules");
        reader.error(node.line, &place.path, reason);
    }
    // An absent list is everybody, but only beside ports; an empty one is nobody, whatever stands beside it (Cilium).
    let peers = match (selectors, nets) {
        (None, None) if ports.is_some() => Peers::Any,
        (Some(selectors), None) if !selectors.is_empty() => Peers::Endpoints(selectors),
        (None, Some(nets)) if !nets.is_empty() => Peers::Cidrs(nets),
        _ => Peers::Nobody,
    };
    let ports = ports.map(|list| port::rules(list, &place, reader));
    Some(Allow { line: Line(node.line), path: place.short, peers, ports })
}

fn cidrs(list: &[Node], path: &str, reader: &mut Reader<'_>) -> Vec<IpNet> {
    let mut nets = Vec::new();
    for (index, node) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Some(text) = reader.scalar(node, &path) else { continue };
        match cidr(text) {
            Ok(net) => nets.push(net),
            Err(reason) => reader.error(node.line, &path, reason),
        }
    }
    nets
}

/// `10.0.0.0/8`. Bits behind the prefix mean nothing, as in Cilium.
fn cidr(text: &str) -> Result<IpNet, String> {
    let Some((address, length)) = text.split_once('/') else {
        return Err(match text.parse::<IpAddr>() {
            Ok(address) => format!("has no prefix length; for this one address write {}", IpNet::from(address)),
            Err(_) => format!("{text:?} is not a CIDR; write for example 10.0.0.0/8"),
        });
    };
    let canonical = |length: &&str| *length == "0" || length.starts_with(|first: char| ('1'..='9').contains(&first));
    let length = Some(length).filter(canonical).and_then(|length| length.parse().ok());
    let net = match (address.parse::<IpAddr>(), length) {
        (Ok(address), Some(length)) => IpNet::new(address, length).ok(),
        _ => None,
    };
    match net {
        Some(IpNet::V6(net)) if net.addr().to_ipv4_mapped().is_some() => {
            Err(format!("{text} is IPv4 in the form of IPv6; write the IPv4 prefix"))
        }
        Some(net) => Ok(net.trunc()),
        None => Err(format!("{text:?} is not a CIDR; write for example 10.0.0.0/8 or fd00::/8")),
    }
}
