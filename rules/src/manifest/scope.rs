//! What a policy that is not valid is about, as far as it can be read: that much is under default deny.
//!
//! Must never select less than the policy would have. Start at [`scopes`].

use super::{
    read::{Reader, nearest},
    selector,
    yaml::{Node, Value},
};
use crate::{
    calico::{manifest as calico, party::Endpoint, policy::Subject},
    labels::Labels,
    policy::{Kind, PolicyKey},
    selector::{Key, Requirement, Selector},
};

/// Endpoints and the directions in which they are under default deny.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) subject: Selector,
    /// Of Calico's kinds: what it must be besides.
    pub(crate) of_calico: Option<Subject>,
    pub(crate) ingress: bool,
    pub(crate) egress: bool,
}

impl Scope {
    /// Whether an endpoint with `labels` is under it.
    pub(crate) fn selects(&self, labels: &Labels) -> bool {
        let by_calico = |subject: &Subject| Endpoint::of(labels).is_some_and(|endpoint| subject.selects(&endpoint));
        self.subject.matches(labels) && self.of_calico.as_ref().is_none_or(by_calico)
    }
}

/// One for each spec; when none can be read, everything of the policy's namespace in both directions.
pub(super) fn scopes(root: &Node, key: &PolicyKey) -> Vec<Scope> {
    // They only say what policies mean: without one, those that need it allow nothing by it.
    if matches!(key.kind, Kind::CiliumCidrGroup | Kind::Tier | Kind::NetworkSet | Kind::GlobalNetworkSet) {
        return Vec::new();
    }
    let specs = root.present("specs");
    let mut scopes: Vec<Scope> = root
        .present("spec")
        .into_iter()
        .chain(specs.map(Node::items).unwrap_or_default())
        .map(|spec| scope(spec, key))
        .collect();
    let unreadable = specs.is_some_and(|specs| !matches!(specs.value, Value::List(_)));
    if scopes.is_empty() || unreadable || is_twice(root, "spec") || is_twice(root, "specs") {
        scopes.push(Scope { subject: everything(key), of_calico: None, ingress: true, egress: true });
    }
    scopes
}

fn scope(spec: &Node, key: &PolicyKey) -> Scope {
    if DECIDING.iter().any(|field| is_unclear(spec, field)) {
        return Scope { subject: everything(key), of_calico: None, ingress: true, egress: true };
    }
    let (ingress, egress) = match key.kind {
        Kind::CiliumNetworkPolicy
        | Kind::CiliumClusterwideNetworkPolicy
        | Kind::CiliumCidrGroup
        | Kind::ClusterNetworkPolicy
        | Kind::AdminNetworkPolicy
        | Kind::BaselineAdminNetworkPolicy => named(spec),
        Kind::NetworkPolicy => types(spec, "policyTypes"),
        Kind::CalicoNetworkPolicy
        | Kind::GlobalNetworkPolicy
        | Kind::Tier
        | Kind::NetworkSet
        | Kind::GlobalNetworkSet => types(spec, "types"),
    };
    // Whatever it meant to restrict: both.
    let neither = !ingress && !egress;
    let of_calico = calico::subject(spec, key);
    Scope { subject: subject(spec, key), of_calico, ingress: ingress || neither, egress: egress || neither }
}

/// Directions for which there is a list of rules, also under a misspelt name, or for which default deny is asked.
fn named(spec: &Node) -> (bool, bool) {
    const INGRESS: [&str; 2] = ["ingress", "ingressDeny"];
    const EGRESS: [&str; 2] = ["egress", "egressDeny"];
    let asks = |value: &Node| !value.is_null() && !matches!(&value.value, Value::List(items) if items.is_empty());
    let meant: Vec<&str> = spec
        .entries()
        .iter()
        .filter(|(_, value)| asks(value))
        .filter_map(|(key, _)| nearest(&key.text, INGRESS.into_iter().chain(EGRESS)))
        .collect();
    let of = |names: [&str; 2]| meant.iter().any(|name| names.contains(name));
    let asked = |direction: &str| {
        let defaults = spec.present("enableDefaultDeny").and_then(|defaults| defaults.present(direction));
        defaults.is_some_and(|value| value.text() != Some("false"))
    };
    (of(INGRESS) || asked("ingress"), of(EGRESS) || asked("egress"))
}

/// Directions that a list of types names; without one, ingress, and egress if there are rules for it.
fn types(spec: &Node, field: &str) -> (bool, bool) {
    let Some(types) = spec.present(field) else { return (true, spec.present("egress").is_some()) };
    let names: Vec<Option<&str>> = types.items().iter().map(Node::text).collect();
    let unknown = names.iter().any(|name| !matches!(name, Some("Ingress" | "Egress")));
    (unknown || names.contains(&Some("Ingress")), unknown || names.contains(&Some("Egress")))
}

/// Fields that say what a policy selects and in which directions, beside the lists of rules themselves.
const DECIDING: [&str; 9] = [
    "endpointSelector",
    "nodeSelector",
    "podSelector",
    "enableDefaultDeny",
    "policyTypes",
    "types",
    "selector",
    "namespaceSelector",
    "serviceAccountSelector",
];

/// Nobody can say which of two values was meant, or what an alias stands for.
fn is_unclear(spec: &Node, field: &str) -> bool {
    let mut faults = Vec::new();
    if let Some(value) = spec.get(field) {
        value.faults("", &mut faults);
    }
    !faults.is_empty() || is_twice(spec, field)
}

fn is_twice(node: &Node, field: &str) -> bool {
    node.entries().iter().filter(|(key, _)| key.text == field).count() > 1
}

fn subject(spec: &Node, key: &PolicyKey) -> Selector {
    let mut errors = Vec::new();
    let mut reader = Reader::new(&mut errors, 0);
    let read = match key.kind {
        Kind::CiliumNetworkPolicy => {
            spec.present("endpointSelector").map(|node| selector::subject(node, "", &key.namespace, &mut reader))
        }
        Kind::CiliumClusterwideNetworkPolicy => cluster_wide(spec, &mut reader),
        Kind::NetworkPolicy => {
            spec.present("podSelector").map(|node| selector::subject(node, "", &key.namespace, &mut reader))
        }
        Kind::ClusterNetworkPolicy
        | Kind::AdminNetworkPolicy
        | Kind::BaselineAdminNetworkPolicy
        | Kind::CiliumCidrGroup
        | Kind::CalicoNetworkPolicy
        | Kind::GlobalNetworkPolicy
        | Kind::Tier
        | Kind::NetworkSet
        | Kind::GlobalNetworkSet => None,
    };
    read.filter(|_| errors.is_empty()).unwrap_or_else(|| everything(key))
}

/// A cluster-wide policy selects pods, or nodes, or what its reserved labels say.
fn cluster_wide(spec: &Node, reader: &mut Reader<'_>) -> Option<Selector> {
    match (spec.present("endpointSelector"), spec.present("nodeSelector")) {
        (Some(node), None) => Some(selector::cluster_wide(node, "", reader)),
        (None, Some(_)) => Some(Selector { requirements: vec![Requirement::Exists(Key::parse("reserved:host"))] }),
        (Some(_), Some(_)) | (None, None) => None,
    }
}

/// Every pod of the policy's namespace; of a cluster-wide kind, every pod.
fn everything(key: &PolicyKey) -> Selector {
    if key.kind.is_cluster_wide() {
        return Selector::pods();
    }
    let mut selector = Selector::default();
    selector.set_namespace(&key.namespace);
    selector
}
