//! `CiliumNetworkPolicy` of `cilium.io/v2`, with Cilium's meaning: scoping, nil versus empty, validations.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    port,
    read::{Reader, join},
    yaml::{Node, Value},
};
use crate::{
    labels::{NAMESPACE, NAMESPACE_LABELS},
    policy::{Allow, Kind, Peers, PolicyKey, Rule},
    selector::{Key, Requirement, Selector, key_problem, value_problem},
};

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

/// The rules of a document.
pub(super) fn rules(root: &Node, namespace: &str, reader: &mut Reader<'_>) -> Vec<Rule> {
    reader.keys(root, "", &["apiVersion", "kind", "metadata", "spec", "specs", "status"], &[]);
    let mut rules = Vec::new();
    if let Some(spec) = present(root, "spec") {
        rules.extend(rule(spec, "spec", "", namespace, reader));
    }
    for (index, spec) in reader.list(root, "", "specs").unwrap_or_default().iter().enumerate() {
        let path = format!("specs[{index}]");
        rules.extend(rule(spec, &path, &format!("{path}."), namespace, reader));
    }
    if present(root, "spec").is_none() && present(root, "specs").is_none() {
        reader.error(root.line, "spec", "is missing; write spec (one rule) or specs (a list)");
    }
    rules
}

/// What a policy that is not valid is about, as far as it can be read.
pub(super) struct Scope {
    pub(super) subjects: Vec<Selector>,
    pub(super) ingress: bool,
    pub(super) egress: bool,
}

pub(super) fn scope(root: &Node, key: &PolicyKey) -> Scope {
    let specs = present(root, "spec").into_iter().chain(root.get("specs").map(Node::items).unwrap_or_default());
    let mut scope = Scope { subjects: Vec::new(), ingress: false, egress: false };
    let mut read = 0_usize;
    for spec in specs {
        read = read.saturating_add(1);
        let names = |keys: &[&str]| keys.iter().any(|key| present(spec, key).is_some());
        scope.ingress |= names(&["ingress", "ingressDeny"]);
        scope.egress |= names(&["egress", "egressDeny"]);
        let mut errors = Vec::new();
        let mut reader = Reader::new(&mut errors);
        let subject = match present(spec, "endpointSelector").filter(|_| key.kind == Kind::CiliumNetworkPolicy) {
            Some(node) => subject(node, "", &key.namespace, &mut reader),
            None => everything(key),
        };
        scope.subjects.push(if errors.is_empty() { subject } else { everything(key) });
    }
    if read == 0 {
        scope.subjects.push(everything(key));
    }
    if !scope.ingress && !scope.egress {
        // Whatever it meant to restrict: both.
        (scope.ingress, scope.egress) = (true, true);
    }
    scope
}

/// Every endpoint of the policy's namespace; of a cluster-wide kind, every pod.
fn everything(key: &PolicyKey) -> Selector {
    let mut selector = Selector::default();
    if key.namespace.is_empty() {
        selector.requirements.push(Requirement::Exists(Key::parse(&format!("k8s:{NAMESPACE}"))));
    } else {
        selector.force("k8s", NAMESPACE, &key.namespace);
    }
    selector
}

fn rule(spec: &Node, path: &str, prefix: &str, namespace: &str, reader: &mut Reader<'_>) -> Option<Rule> {
    let known = ["endpointSelector", "ingress", "egress", "labels", "description"];
    if !reader.keys(spec, path, &known, REFUSED_IN_RULE) {
        return None;
    }
    reader.text(spec, path, "description");
    reader.list(spec, path, "labels");
    let Some(node) = present(spec, "endpointSelector") else {
        if present(spec, "nodeSelector").is_none() {
            let reason = "is missing; write {} for every pod of the namespace";
            reader.error(spec.line, &join(path, "endpointSelector"), reason);
        }
        return None;
    };
    let subject = subject(node, &join(path, "endpointSelector"), namespace, reader);
    let ingress = allows(spec, path, prefix, "ingress", namespace, reader);
    let egress = allows(spec, path, prefix, "egress", namespace, reader);
    let denies = ["ingressDeny", "egressDeny"].iter().any(|key| present(spec, key).is_some());
    if ingress.is_empty() && egress.is_empty() && !denies {
        reader.error(
            spec.line,
            path,
            "has neither ingress nor egress rules; write `ingress: [{}]` to deny all ingress",
        );
    }
    Some(Rule { subject, ingress, egress })
}

/// The policy's own namespace is always required (Cilium overrides another one).
fn subject(node: &Node, path: &str, namespace: &str, reader: &mut Reader<'_>) -> Selector {
    let mut selector = selector(node, path, reader);
    selector.force("k8s", NAMESPACE, namespace);
    selector
}

fn allows(
    spec: &Node,
    path: &str,
    prefix: &str,
    direction: &str,
    namespace: &str,
    reader: &mut Reader<'_>,
) -> Vec<Allow> {
    let entries = reader.list(spec, path, direction).unwrap_or_default();
    let allow = |(index, node): (usize, &Node)| {
        let names = Names {
            path: format!("{}[{index}]", join(path, direction)),
            short: format!("{prefix}{direction}[{index}]"),
        };
        allow(node, &names, direction == "ingress", namespace, reader)
    };
    entries.iter().enumerate().filter_map(allow).collect()
}

/// A field's full name for errors, and its short one for records.
struct Names {
    path: String,
    short: String,
}

fn allow(node: &Node, names: &Names, is_ingress: bool, namespace: &str, reader: &mut Reader<'_>) -> Option<Allow> {
    let path = names.path.as_str();
    let (endpoints, cidr, refused) = if is_ingress {
        ("fromEndpoints", "fromCIDR", REFUSED_IN_INGRESS)
    } else {
        ("toEndpoints", "toCIDR", REFUSED_IN_EGRESS)
    };
    if matches!(node.value, Value::Null) {
        reader.error(node.line, path, "is empty; write {} for a rule that allows nobody");
        return None;
    }
    if !reader.keys(node, path, &[endpoints, cidr, "toPorts"], refused) {
        return None;
    }
    let selectors = reader.list(node, path, endpoints);
    let nets = reader.list(node, path, cidr);
    let ports = reader.list(node, path, "toPorts");
    let peers = match (selectors, nets) {
        (Some(_), Some(_)) => {
            reader.error(
                node.line,
                path,
                format!("combining {endpoints} and {cidr} is not supported; write two rules"),
            );
            return None;
        }
        // An empty list selects nobody; an absent one everybody, but only beside ports (Cilium).
        (Some([]), None) | (None, Some([])) => Peers::Nobody,
        (Some(list), None) => Peers::Endpoints(peers(list, &join(path, endpoints), namespace, reader)),
        (None, Some(list)) => Peers::Cidrs(cidrs(list, &join(path, cidr), reader)),
        (None, None) if ports.is_some_and(|ports| !ports.is_empty()) => Peers::Any,
        (None, None) => Peers::Nobody,
    };
    let ports = ports.filter(|ports| !ports.is_empty());
    let ports =
        ports.map(|ports| port::rules(ports, &join(path, "toPorts"), &format!("{}.toPorts", names.short), reader));
    Some(Allow { path: names.short.clone(), peers, ports })
}

/// Peers of a namespaced policy are of its own namespace, unless they name a namespace or a reserved label.
fn peers(list: &[Node], path: &str, namespace: &str, reader: &mut Reader<'_>) -> Vec<Selector> {
    let mut selectors = Vec::new();
    for (index, node) in list.iter().enumerate() {
        let mut selector = selector(node, &format!("{path}[{index}]"), reader);
        let reserved = selector.names(|key| key.source.as_deref() == Some("reserved"));
        let names_namespace = selector.names(|key| {
            matches!(key.source.as_deref(), None | Some("k8s"))
                && (key.key == NAMESPACE || key.key.starts_with(NAMESPACE_LABELS))
        });
        if !reserved && !names_namespace {
            selector.force("k8s", NAMESPACE, namespace);
        }
        selectors.push(selector);
    }
    selectors
}

fn cidrs(list: &[Node], path: &str, reader: &mut Reader<'_>) -> Vec<IpNet> {
    let mut nets = Vec::new();
    for (index, node) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Some(text) = reader.scalar(node, &path) else { continue };
        match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
            (Ok(net), _) => nets.push(net),
            // Before 1.20 Cilium took a bare address for one host.
            (Err(_), Ok(address)) => nets.push(IpNet::from(address)),
            (Err(_), Err(_)) => {
                reader.error(node.line, &path, format!("{text:?} is not a CIDR; write for example 10.0.0.0/8"));
            }
        }
    }
    nets
}

/// A Kubernetes label selector, keys with an optional source in front.
fn selector(node: &Node, path: &str, reader: &mut Reader<'_>) -> Selector {
    let mut requirements = Vec::new();
    if matches!(node.value, Value::Null) || !reader.keys(node, path, &["matchLabels", "matchExpressions"], &[]) {
        if matches!(node.value, Value::Null) {
            reader.error(node.line, path, "is empty; write {} to select everything");
        }
        return Selector::default();
    }
    if let Some(labels) = present(node, "matchLabels") {
        let path = join(path, "matchLabels");
        let Value::Map(entries) = &labels.value else {
            reader.error(labels.line, &path, "is not a map; write key: value");
            return Selector::default();
        };
        for (key, value) in entries {
            let path = join(&path, &key.text);
            if let Some(problem) = key_problem(&key.text) {
                reader.error(key.line, &path, problem);
                continue;
            }
            let empty = matches!(value.value, Value::Null);
            let Some(text) = (if empty { Some("") } else { reader.scalar(value, &path) }) else { continue };
            check_value(text, value.line, &path, reader);
            requirements.push(Requirement::In(Key::parse(&key.text), vec![text.to_owned()]));
        }
    }
    for (index, node) in reader.list(node, path, "matchExpressions").unwrap_or_default().iter().enumerate() {
        requirements.extend(expression(node, &format!("{path}.matchExpressions[{index}]"), reader));
    }
    Selector { requirements }
}

fn expression(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Requirement> {
    if !reader.keys(node, path, &["key", "operator", "values"], &[]) {
        return None;
    }
    let text = reader.text(node, path, "key");
    let operator = reader.text(node, path, "operator");
    let (Some(text), Some(operator)) = (text, operator) else {
        reader.error(node.line, path, "needs key and operator");
        return None;
    };
    if let Some(problem) = key_problem(text) {
        reader.error(node.line, &join(path, "key"), problem);
        return None;
    }
    let mut values = Vec::new();
    for (index, value) in reader.list(node, path, "values").unwrap_or_default().iter().enumerate() {
        let path = format!("{path}.values[{index}]");
        let text = reader.scalar(value, &path)?;
        check_value(text, value.line, &path, reader);
        values.push(text.to_owned());
    }
    let key = Key::parse(text);
    match (operator, values.is_empty()) {
        ("In", false) => Some(Requirement::In(key, values)),
        ("NotIn", false) => Some(Requirement::NotIn(key, values)),
        ("Exists", true) => Some(Requirement::Exists(key)),
        ("DoesNotExist", true) => Some(Requirement::DoesNotExist(key)),
        ("In" | "NotIn", true) => {
            reader.error(node.line, &join(path, "values"), format!("{operator} needs at least one value"));
            None
        }
        ("Exists" | "DoesNotExist", false) => {
            reader.error(node.line, &join(path, "values"), format!("{operator} takes no values; remove them"));
            None
        }
        _ => {
            let reason = format!("{operator:?} is no operator; write In, NotIn, Exists or DoesNotExist");
            reader.error(node.line, &join(path, "operator"), reason);
            None
        }
    }
}

fn check_value(text: &str, line: usize, path: &str, reader: &mut Reader<'_>) {
    if let Some(problem) = value_problem(text) {
        reader.error(line, path, problem);
    }
}

/// A key's value unless it is absent or null.
fn present<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    node.get(key).filter(|value| !matches!(value.value, Value::Null))
}
