//! Label selectors as manifests write them.
//!
//! Owns their form and what namespace they are about. Must never let a selector through that is not understood in full.
//! Start at [`selector`].

use super::{
    cilium::Home,
    read::{Reader, join},
    yaml::{Node, Value},
};
use crate::{
    labels::{CLUSTER, NAMESPACE, NAMESPACE_LABELS},
    selector::{Key, Requirement, Selector, key_problem, value_problem},
};

/// The policy's own namespace is always required.
pub(super) fn subject(node: &Node, path: &str, namespace: &str, reader: &mut Reader<'_>) -> Selector {
    let mut selector = selector(node, path, reader);
    selector.set_namespace(namespace);
    selector
}

/// A cluster-wide policy selects pods, unless it names a reserved label.
pub(super) fn cluster_wide(node: &Node, path: &str, reader: &mut Reader<'_>) -> Selector {
    let mut selector = selector(node, path, reader);
    if !names_reserved(&selector) {
        selector.requirements.extend(Selector::pods().requirements);
    }
    selector
}

/// Peers of a namespaced policy are of its own namespace, unless they name a namespace, a namespace's label or a reserved
/// label; those of a cluster-wide one are pods, unless its subject's labels are not known yet (`of_init`).
pub(super) fn peers(
    list: &[Node],
    path: &str,
    home: Home<'_>,
    of_init: bool,
    reader: &mut Reader<'_>,
) -> Vec<Selector> {
    let mut selectors = Vec::new();
    for (index, node) in list.iter().enumerate() {
        let mut selector = selector(node, &format!("{path}[{index}]"), reader);
        let of_pods = |key: &Key| matches!(key.source.as_deref(), None | Some("k8s"));
        let names_namespace = selector.names(|key| of_pods(key) && key.key == NAMESPACE);
        let names_cluster = selector.names(|key| of_pods(key) && key.key == CLUSTER);
        let names_its_labels = selector.names(|key| of_pods(key) && key.key.starts_with(NAMESPACE_LABELS));
        match home {
            _ if names_reserved(&selector) || names_namespace => {}
            Home::Namespace(_) if names_its_labels => {}
            Home::Namespace(namespace) => selector.set_namespace(namespace),
            Home::Cluster if of_init => {}
            Home::Cluster => selector.requirements.extend(Selector::pods().requirements),
        }
        // Cilium's default (policy-default-local-cluster): without it, what is only negated would select the world.
        if !names_reserved(&selector) && !names_cluster {
            selector.requirements.push(Requirement::of_cluster());
        }
        selectors.push(selector);
    }
    selectors
}

/// Whether it is about endpoints whose labels are not known yet.
pub(super) fn names_init(selector: &Selector) -> bool {
    selector.names(|key| key.source.as_deref() == Some("reserved") && key.key == "init")
}

pub(super) fn names_reserved(selector: &Selector) -> bool {
    selector.names(|key| key.source.as_deref() == Some("reserved"))
}

/// A label selector of Kubernetes' own kinds: keys have no source, and `prefix` is put in front of them.
pub(super) fn kubernetes(node: &Node, path: &str, prefix: &str, reader: &mut Reader<'_>) -> Selector {
    let mut selector = selector(node, path, reader);
    for requirement in &mut selector.requirements {
        let key = requirement.key_mut();
        if let Some(source) = &key.source {
            let reason = format!("label sources ({source}:) are Cilium's; write the key alone");
            reader.error(node.line, path, reason);
        }
        *key = Key::of_pods(&format!("{prefix}{}", key.key));
    }
    selector
}

/// A selector of namespaces, as one of their pods.
pub(super) fn namespace_labels(node: &Node, path: &str, reader: &mut Reader<'_>) -> Selector {
    kubernetes(node, path, NAMESPACE_LABELS, reader)
}

/// A Kubernetes label selector, keys with an optional source in front.
pub(super) fn selector(node: &Node, path: &str, reader: &mut Reader<'_>) -> Selector {
    if node.is_null() {
        reader.error(node.line, path, "is empty; write {} to select everything");
        return Selector::default();
    }
    if !reader.keys(node, path, &["matchLabels", "matchExpressions"], &[]) {
        return Selector::default();
    }
    let mut requirements = Vec::new();
    if let Some(labels) = node.present("matchLabels") {
        match_labels(labels, &join(path, "matchLabels"), &mut requirements, reader);
    }
    for (index, node) in reader.list(node, path, "matchExpressions").unwrap_or_default().iter().enumerate() {
        requirements.extend(expression(node, &format!("{path}.matchExpressions[{index}]"), reader));
    }
    Selector { requirements }
}

fn match_labels(labels: &Node, path: &str, requirements: &mut Vec<Requirement>, reader: &mut Reader<'_>) {
    let Value::Map(entries) = &labels.value else {
        reader.mistyped(labels, path, "a map, for example {app: web}");
        return;
    };
    for (key, value) in entries {
        let path = join(path, &key.text);
        if let Some(problem) = key_problem(&key.text) {
            reader.error(key.line, &path, problem);
            continue;
        }
        // The API server drops such a key: it asks for nothing.
        if value.is_null() {
            continue;
        }
        let Some(text) = reader.scalar(value, &path) else { continue };
        check_value(text, value.line, &path, reader);
        requirements.push(Requirement::Is(Key::parse(&key.text), text.to_owned()));
    }
}

fn expression(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Requirement> {
    if !reader.keys(node, path, &["key", "operator", "values"], &[]) {
        return None;
    }
    let text = required(node, path, "key", reader);
    let operator = required(node, path, "operator", reader);
    let (text, operator) = (text?, operator?);
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
    let (field, reason) = match (operator, values.is_empty()) {
        ("In", false) => return Some(Requirement::In(key, values)),
        ("NotIn", false) => return Some(Requirement::NotIn(key, values)),
        ("Exists", true) => return Some(Requirement::Exists(key)),
        ("DoesNotExist", true) => return Some(Requirement::DoesNotExist(key)),
        ("In" | "NotIn", true) => ("values", format!("{operator} needs at least one value")),
        ("Exists" | "DoesNotExist", false) => ("values", format!("{operator} takes no values; remove them")),
        _ => ("operator", format!("{operator:?} is no operator; write In, NotIn, Exists or DoesNotExist")),
    };
    reader.error(node.get(field).map_or(node.line, |node| node.line), &join(path, field), reason);
    None
}

fn required<'n>(node: &'n Node, path: &str, key: &str, reader: &mut Reader<'_>) -> Option<&'n str> {
    if node.present(key).is_none() {
        reader.error(node.line, &join(path, key), "is missing; an expression needs key and operator");
    }
    reader.text(node, path, key)
}

fn check_value(text: &str, line: usize, path: &str, reader: &mut Reader<'_>) {
    if let Some(problem) = value_problem(text) {
        reader.error(line, path, problem);
    }
}
