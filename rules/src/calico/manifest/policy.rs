//! `NetworkPolicy` and `GlobalNetworkPolicy`: subject, tier, order, directions.
//!
//! Must never let a policy apply to more or less than Calico would. Start at [`policy`].

use std::sync::Arc;

use super::{
    is_label, name_problem,
    read::Reader,
    rule, spec,
    value::{self, Global},
    yaml::Node,
};
use crate::{
    calico::{
        policy::{DEFAULT_TIER, Lines, NAMESPACE, NAMESPACE_PREFIX, Policy, Rule, Subject},
        selector::Selector,
    },
    policy::{Line, PolicyKey},
    selector::is_dns_name,
    verdict::Direction,
};

const KNOWN: &[&str] =
    &["tier", "order", "selector", "serviceAccountSelector", "types", "ingress", "egress", "performanceHints"];
const KNOWN_GLOBAL: &[&str] = &["namespaceSelector", "doNotTrack", "preDNAT", "applyOnForward"];

const ONLY_GLOBAL: &str = "is only for a GlobalNetworkPolicy; remove it";
const REFUSED: &[(&str, &str)] = &[
    ("namespaceSelector", "is only for a GlobalNetworkPolicy: a NetworkPolicy selects in its own namespace; remove it"),
    ("doNotTrack", ONLY_GLOBAL),
    ("preDNAT", ONLY_GLOBAL),
    ("applyOnForward", ONLY_GLOBAL),
    STAGED,
];
const STAGED: (&str, &str) = ("stagedAction", "is only for staged policies, which are never enforced; remove it");

/// Switches that ask for what is not done here.
const MUST_BE_OFF: [(&str, &str); 3] = [
    ("doNotTrack", "untracked policy is not supported: connections are always followed here; remove it"),
    ("preDNAT", "policy before DNAT is not supported: the address after translation is judged; remove it"),
    (
        "applyOnForward",
        "forwarded traffic of hosts is not judged here, and for pods the switch changes nothing; remove it",
    ),
];

/// The policy of a document, if nothing is missing from it. `audit`: its denials are only told.
pub(super) fn policy(root: &Node, key: Arc<PolicyKey>, audit: bool, reader: &mut Reader<'_>) -> Option<Policy> {
    let spec = spec(root, reader)?;
    let global = key.kind.is_cluster_wide();
    let known: Vec<&str> = if global { [KNOWN, KNOWN_GLOBAL].concat() } else { KNOWN.to_vec() };
    if !reader.keys(spec, "spec", &known, if global { std::slice::from_ref(&STAGED) } else { REFUSED }) {
        return None;
    }
    if global {
        for (field, reason) in MUST_BE_OFF {
            value::off(spec, "spec", field, reason, reader);
        }
    }
    hints(spec, reader);
    let tier = tier(root, spec, &key, reader);
    let order = value::order(spec, "spec", reader);
    let namespace = Some(key.namespace.as_str()).filter(|_| !global);
    let subject = subject(spec, namespace, reader);
    let ingress = rule::rules(spec, Direction::Ingress, namespace, reader);
    let egress = rule::rules(spec, Direction::Egress, namespace, reader);
    let (ingress, egress) = directions(spec, ingress, egress, reader);
    let line = |key: &str| Line(spec.line_of(key));
    let lines = Lines { tier: line("tier"), order: line("order"), selector: line("selector") };
    let left_out = |key: &str, rules: &Rules| (rules.is_none() && has_rules(spec, key)).then(|| line(key));
    let left_out = [left_out("ingress", &ingress), left_out("egress", &egress)];
    Some(Policy { key, tier, order, audit, subject, ingress, egress, lines, left_out })
}

fn tier(root: &Node, spec: &Node, key: &PolicyKey, reader: &mut Reader<'_>) -> String {
    let told = reader.told();
    let tier = reader.text(spec, "spec", "tier").filter(|tier| !tier.is_empty()).unwrap_or(DEFAULT_TIER);
    if !is_label(tier) {
        let line = spec.get("tier").map_or(spec.line, |node| node.line);
        reader.error(line, "spec.tier", format!("{tier:?} is no tier's name; write the name of a Tier"));
    }
    // What is no name at all was told already.
    if reader.told() == told
        && is_dns_name(&key.name)
        && let Some(problem) = name_problem(&key.name, tier)
    {
        let name = root.get("metadata").and_then(|metadata| metadata.get("name"));
        reader.error(name.map_or(root.line, |name| name.line), "metadata.name", problem);
    }
    tier.to_owned()
}

pub(super) fn subject(spec: &Node, namespace: Option<&str>, reader: &mut Reader<'_>) -> Subject {
    let mut read = |key: &str| value::selector(spec, "spec", key, Global::Refused, reader);
    let selector = read("selector");
    let of_account = read("serviceAccountSelector");
    let of_namespace = if namespace.is_none() { read("namespaceSelector") } else { None };
    let of_account =
        of_account.and_then(|read| value::of_accounts(read, spec, "spec", "serviceAccountSelector", reader));
    Subject {
        namespace: namespace.map(str::to_owned),
        selector: selector.unwrap_or_else(Selector::all),
        namespace_selector: of_namespace.map(|selector| selector.prefixed(NAMESPACE_PREFIX).all_that_has(NAMESPACE)),
        account_selector: of_account,
    }
}

/// `None`: the policy says nothing of that direction.
type Rules = Option<Vec<Rule>>;

/// What is written counts, also when it was wrong.
fn has_rules(spec: &Node, key: &str) -> bool {
    spec.present(key).is_some_and(|rules| !rules.items().is_empty())
}

/// Directions that the policy speaks of: `types`, else those that have rules, else ingress.
fn directions(spec: &Node, ingress: Vec<Rule>, egress: Vec<Rule>, reader: &mut Reader<'_>) -> (Rules, Rules) {
    let Some(types) = spec.present("types") else {
        let speaks_of_egress = has_rules(spec, "egress");
        let speaks_of_ingress = has_rules(spec, "ingress") || !speaks_of_egress;
        return (Some(ingress).filter(|_| speaks_of_ingress), Some(egress).filter(|_| speaks_of_egress));
    };
    let mut named: Vec<&str> = Vec::new();
    let list = reader.list(spec, "spec", "types").unwrap_or_default();
    for (index, node) in list.iter().enumerate() {
        let path = format!("spec.types[{index}]");
        let Some(text) = reader.scalar(node, &path) else { continue };
        if !matches!(text, "Ingress" | "Egress") {
            reader.error(node.line, &path, format!("{text:?} is not known; write Ingress or Egress"));
        } else if named.contains(&text) {
            reader.error(node.line, &path, format!("{text} is there twice; write it once"));
        }
        named.push(text);
    }
    if list.is_empty() {
        reader.error(types.line, "spec.types", "is empty; write Ingress, Egress or both, or remove it");
    }
    (Some(ingress).filter(|_| named.contains(&"Ingress")), Some(egress).filter(|_| named.contains(&"Egress")))
}

/// They make Calico faster and mean nothing.
fn hints(spec: &Node, reader: &mut Reader<'_>) {
    for (index, node) in reader.list(spec, "spec", "performanceHints").unwrap_or_default().iter().enumerate() {
        let path = format!("spec.performanceHints[{index}]");
        if reader.scalar(node, &path).is_some_and(|text| text != "AssumeNeededOnEveryNode") {
            reader.error(node.line, &path, "is not known; write AssumeNeededOnEveryNode, or remove it");
        }
    }
}
