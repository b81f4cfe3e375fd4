//! `CiliumNetworkPolicy` and `CiliumClusterwideNetworkPolicy` of `cilium.io/v2`: rules, sections, entries.
//!
//! Owns the fields of a rule down to `toPorts`. Every field that is not enforced is refused by its name. Start at
//! [`rules`].

use std::sync::Arc;

use super::{
    fqdn, icmp, peers, port,
    read::{Reader, join},
    selector,
    yaml::{Node, Value},
};
use crate::{
    policy::{Effect, Entry, Line, Rule, Section},
    selector::Selector,
};

const REFUSED_IN_INGRESS: &[(&str, &str)] = &[
    ("fromRequires", "was removed from Cilium; write fromEndpoints"),
    ("fromGroups", "names groups of a cloud, which are not known here; write fromCIDR"),
    ("fromNodes", "selects nodes by label, which are not known here; write fromEntities: [remote-node] or fromCIDR"),
    ("authentication", "mutual authentication is not supported; remove it"),
    ("toFQDNs", "names are only known in egress; write fromCIDR with the addresses"),
];

const REFUSED_IN_EGRESS: &[(&str, &str)] = &[
    ("toRequires", "was removed from Cilium; write toEndpoints"),
    ("toGroups", "names groups of a cloud, which are not known here; write toCIDR"),
    ("toNodes", "selects nodes by label, which are not known here; write toEntities: [remote-node] or toCIDR"),
    ("authentication", "mutual authentication is not supported; remove it"),
];

/// Characters of `log.value`, as in Cilium.
const MAX_LOG: usize = 32;

/// Where a policy is at home.
#[derive(Clone, Copy, Debug)]
pub(super) enum Home<'n> {
    /// In a namespace: it is about that namespace's pods, and so are its peers unless they say otherwise.
    Namespace(&'n str),
    /// In the cluster: it is about all pods.
    Cluster,
}

/// The rules of a document.
pub(super) fn rules(root: &Node, home: Home<'_>, reader: &mut Reader<'_>) -> Vec<Rule> {
    reader.keys(root, "", &["apiVersion", "kind", "metadata", "spec", "specs", "status"], &[]);
    let mut rules = Vec::new();
    if let Some(spec) = root.present("spec") {
        rules.extend(rule(spec, &Place::spec(), home, reader));
    }
    let specs = reader.list(root, "", "specs");
    for (index, spec) in specs.unwrap_or_default().iter().enumerate() {
        let path = format!("specs[{index}]");
        rules.extend(rule(spec, &Place::new(&path, &path), home, reader));
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
    /// The one spec of a document.
    pub(super) fn spec() -> Self {
        Self::new("spec", "")
    }

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

fn rule(spec: &Node, place: &Place, home: Home<'_>, reader: &mut Reader<'_>) -> Option<Rule> {
    let told = reader.told();
    let known = [
        "endpointSelector",
        "ingress",
        "ingressDeny",
        "egress",
        "egressDeny",
        "enableDefaultDeny",
        "log",
        "labels",
        "description",
    ];
    let node_selector = match home {
        Home::Namespace(_) => "host policy is not supported, and never in a namespaced policy; write endpointSelector",
        Home::Cluster => "host policy is not supported; write endpointSelector",
    };
    if !reader.keys(spec, &place.path, &known, &[("nodeSelector", node_selector)]) {
        return None;
    }
    reader.text(spec, &place.path, "description");
    check_labels(spec, place, reader);
    let subject = subject(spec, place, home, reader);
    let of_init = subject.as_ref().is_some_and(selector::names_init);
    let mut section = |direction: &Direction| section(spec, place, direction, home, of_init, reader);
    let (ingress, egress) = (section(&INGRESS), section(&EGRESS));
    // A misspelt or refused field may have been meant.
    if ingress.entries.is_empty() && egress.entries.is_empty() && reader.told() == told {
        let reason = "has no ingress, egress or deny rules; write `ingress: [{}]` to deny all ingress";
        reader.error(spec.line, &place.path, reason);
    }
    let log = log(spec, place, reader);
    Some(Rule { line: Line(spec.line), subject: subject?, ingress, egress, log })
}

fn subject(spec: &Node, place: &Place, home: Home<'_>, reader: &mut Reader<'_>) -> Option<Selector> {
    let path = place.field("endpointSelector");
    if spec.present("endpointSelector").is_some() && spec.present("nodeSelector").is_some() {
        reader.error(spec.line, &place.path, "has both endpointSelector and nodeSelector; write one of them");
    }
    let Some(node) = spec.present("endpointSelector") else {
        if spec.present("nodeSelector").is_none() {
            let reason = "is missing; write {} for every pod of the namespace";
            reader.error(spec.line, &path, reason);
        }
        return None;
    };
    Some(match home {
        Home::Namespace(namespace) => selector::subject(node, &path, namespace, reader),
        Home::Cluster => selector::cluster_wide(node, &path, reader),
    })
}

/// `log.value`: at most 32 printable characters.
fn log(spec: &Node, place: &Place, reader: &mut Reader<'_>) -> Option<Arc<str>> {
    let node = spec.present("log")?;
    let path = place.field("log");
    if !reader.keys(node, &path, &["value"], &[]) {
        return None;
    }
    let text = reader.text(node, &path, "value")?;
    let printable = text.chars().all(|letter| letter.is_ascii_graphic() || letter == ' ');
    if text.len() > MAX_LOG || !printable {
        reader.error(node.line, &join(&path, "value"), format!("has more than {MAX_LOG} or unprintable characters"));
    }
    Some(text.into())
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
pub(super) struct Direction {
    list: &'static str,
    deny: &'static str,
    pub(super) endpoints: &'static str,
    pub(super) cidr: &'static str,
    pub(super) cidr_set: &'static str,
    pub(super) entities: &'static str,
    /// Only in egress.
    pub(super) services: Option<&'static str>,
    /// Only in egress.
    pub(super) fqdns: Option<&'static str>,
    refused: &'static [(&'static str, &'static str)],
}

const INGRESS: Direction = Direction {
    list: "ingress",
    deny: "ingressDeny",
    endpoints: "fromEndpoints",
    cidr: "fromCIDR",
    cidr_set: "fromCIDRSet",
    entities: "fromEntities",
    services: None,
    fqdns: None,
    refused: REFUSED_IN_INGRESS,
};
const EGRESS: Direction = Direction {
    list: "egress",
    deny: "egressDeny",
    endpoints: "toEndpoints",
    cidr: "toCIDR",
    cidr_set: "toCIDRSet",
    entities: "toEntities",
    services: Some("toServices"),
    fqdns: Some("toFQDNs"),
    refused: REFUSED_IN_EGRESS,
};

fn section(
    spec: &Node,
    place: &Place,
    direction: &Direction,
    home: Home<'_>,
    of_init: bool,
    reader: &mut Reader<'_>,
) -> Section {
    let mut entries = Vec::new();
    for (list, effect) in [(direction.list, Effect::Allow), (direction.deny, Effect::Deny)] {
        for (index, node) in reader.list(spec, &place.path, list).unwrap_or_default().iter().enumerate() {
            let context = Context { direction, home, of_init, effect };
            entries.extend(entry(node, place.entry(list, index), &context, reader));
        }
    }
    let default_deny = default_deny(spec, place, direction.list, reader).unwrap_or(!entries.is_empty());
    Section { default_deny, entries, without_effect: None }
}

/// What `enableDefaultDeny` says of a direction.
fn default_deny(spec: &Node, place: &Place, direction: &str, reader: &mut Reader<'_>) -> Option<bool> {
    let node = spec.present("enableDefaultDeny")?;
    let path = place.field("enableDefaultDeny");
    // Both directions come here: what is wrong is told once.
    if direction == INGRESS.list && !reader.keys(node, &path, &["ingress", "egress"], &[]) {
        return None;
    }
    let value = node.present(direction)?;
    if let Value::Scalar { text, plain: true } = &value.value {
        match text.as_str() {
            "true" => return Some(true),
            "false" => return Some(false),
            _ => {}
        }
    }
    reader.mistyped(value, &join(&path, direction), "true or false, without quotes");
    None
}

/// What an entry stands in.
pub(super) struct Context<'c> {
    pub(super) direction: &'c Direction,
    pub(super) home: Home<'c>,
    /// Its subject is endpoints whose labels are not known yet.
    pub(super) of_init: bool,
    pub(super) effect: Effect,
}

impl Context<'_> {
    pub(super) fn is_egress(&self) -> bool {
        self.direction.list == EGRESS.list
    }
}

fn entry(node: &Node, place: Place, context: &Context<'_>, reader: &mut Reader<'_>) -> Option<Entry> {
    let Direction { endpoints, cidr, cidr_set, entities, services, fqdns, refused, .. } = context.direction;
    if node.is_null() {
        reader.error(node.line, &place.path, "is empty; write {} for a rule that allows nobody");
        return None;
    }
    let known = [*endpoints, cidr, cidr_set, entities, "toPorts", "icmps"];
    let known: Vec<&str> = known.into_iter().chain(*services).chain(*fqdns).collect();
    if !reader.keys(node, &place.path, &known, refused) {
        return None;
    }
    let ports = reader.list(node, &place.path, "toPorts").filter(|list| !list.is_empty());
    let icmps = icmp::rules(node, &place, reader);
    let peers = peers::peers(node, &place, context, ports.is_some() || icmps.is_some(), reader);
    // Only one of both may be given.
    let ports = ports.map(|list| port::rules(list, &place, context, reader)).or(icmps);
    fqdn::destinations(node, &place, context, reader);
    Some(Entry { line: Line(node.line), path: place.short, effect: context.effect, peers, ports })
}
