//! Documents of `projectcalico.org/v3` → values. What is not enforced is refused by name, never ignored.
//!
//! Owns which kinds there are, and the fields of tiers and network sets. Must never give a value when anything was wrong.
//! Start at [`parse`].

use std::{collections::BTreeMap, sync::Arc};

use super::policy::{DEFAULT_TIER, NAMESPACE, NetworkSet, Policy, Tier, TierDefault};
use crate::{
    manifest::{
        FieldError,
        read::{self, Reader},
        yaml::{self, Node},
    },
    policy::{Kind, PolicyKey},
    selector::is_dns_name,
};

mod http;
mod peer;
mod policy;
mod port;
mod rule;
mod value;
/// The only version that is read.
const VERSION: &str = "projectcalico.org/v3";

/// What a document of Calico's groups is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// `NetworkPolicy` or `GlobalNetworkPolicy`.
    Policy(Kind),
    Tier,
    NetworkSet,
    GlobalNetworkSet,
    /// Never enforced, in Calico neither; the sentence says so.
    Skipped(String),
    /// It would decide who may talk to whom and is not supported; the sentence says what to write instead.
    Refused(String),
}

/// A valid document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Object {
    Policy(Arc<Policy>),
    Tier(Tier),
    NetworkSet(NetworkSet),
}

/// What a document with this `apiVersion` and `kind` is; `None`: nothing that decides who may talk to whom.
pub(crate) fn classify(version: &str, kind: &str) -> Option<Class> {
    let (group, _) = version.split_once('/').unwrap_or((version, ""));
    if !matches!(group, "projectcalico.org" | "crd.projectcalico.org") {
        return None;
    }
    let class = match kind {
        "NetworkPolicy" => Class::Policy(Kind::CalicoNetworkPolicy),
        "GlobalNetworkPolicy" => Class::Policy(Kind::GlobalNetworkPolicy),
        "Tier" => Class::Tier,
        "NetworkSet" => Class::NetworkSet,
        "GlobalNetworkSet" => Class::GlobalNetworkSet,
        "StagedNetworkPolicy" | "StagedGlobalNetworkPolicy" | "StagedKubernetesNetworkPolicy" => {
            let enforced = kind.trim_start_matches("Staged").trim_start_matches("Kubernetes");
            return Some(Class::Skipped(format!(
                "{kind} only reports in Calico and is never enforced; skipped; write kind: {enforced} to enforce it"
            )));
        }
        "Profile" => {
            return Some(Class::Refused(
                "Profile is not supported: every namespace has the profile that allows everything; write a NetworkPolicy \
                 for the pods that the profile is for"
                    .to_owned(),
            ));
        }
        "HostEndpoint" => {
            return Some(Class::Refused(
                "HostEndpoint is not supported: only pods are protected here, not hosts; remove it, or keep it for \
                 Calico's own data path"
                    .to_owned(),
            ));
        }
        _ => return None,
    };
    if version == VERSION {
        return Some(class);
    }
    Some(Class::Refused(format!("{kind} of {version} is not known; write apiVersion: {VERSION}")))
}

/// What became of one document: everything that is wrong with it, or its value.
pub(crate) type Outcome = Result<Object, Vec<FieldError>>;

/// For tests: every document of `text` that is of Calico's groups and decides who may talk to whom, with its line. A document that
/// cannot be tied to a kind is the caller's.
#[cfg(test)]
pub(crate) fn parse(text: &str) -> Vec<(usize, Outcome)> {
    let mut objects = Vec::new();
    for parsed in yaml::parse(text) {
        match parsed {
            Ok(root) => {
                let text = |key: &str| root.present(key).and_then(Node::text).unwrap_or_default();
                let class = classify(text("apiVersion"), text("kind"));
                objects.extend(class.map(|class| (root.line, object(&root, &class))));
            }
            Err(error) => objects.push((error.line, Err(vec![error]))),
        }
    }
    objects
}

/// The value of a document. All errors are told at once, sorted by line.
pub(crate) fn object(root: &Node, class: &Class) -> Outcome {
    let mut errors = Vec::new();
    root.faults("", &mut errors);
    let mut reader = Reader::new(&mut errors, 0);
    let object = match class {
        Class::Policy(kind) => key(root, *kind, &mut reader)
            .and_then(|key| policy::policy(root, key, &mut reader))
            .map(|policy| Object::Policy(Arc::new(policy))),
        Class::Tier => tier(root, &mut reader).map(Object::Tier),
        Class::NetworkSet => network_set(root, true, &mut reader).map(Object::NetworkSet),
        Class::GlobalNetworkSet => network_set(root, false, &mut reader).map(Object::NetworkSet),
        Class::Skipped(reason) | Class::Refused(reason) => {
            reader.error(root.get("kind").map_or(root.line, |kind| kind.line), "kind", reason.as_str());
            None
        }
    };
    match object {
        Some(object) if errors.is_empty() => Ok(object),
        _ => {
            errors.sort_by_key(|error| error.line);
            Err(errors)
        }
    }
}

/// The keys of a document, and its `spec`.
fn spec<'n>(root: &'n Node, reader: &mut Reader<'_>) -> Option<&'n Node> {
    reader.keys(root, "", &["apiVersion", "kind", "metadata", "spec", "status"], &[]);
    let spec = root.present("spec");
    if spec.is_none() {
        let line = root.get("spec").map_or(root.line, |node| node.line);
        reader.error(line, "spec", "is missing; write what the document is to say, or {} for its defaults");
    }
    spec
}

/// Namespace, `None` when the kind is global, and name.
type FullName = (Option<String>, String);

/// `metadata.namespace` (for kinds that have one) and `metadata.name`.
fn name(root: &Node, namespaced: bool, reader: &mut Reader<'_>) -> Option<FullName> {
    let metadata = root.present("metadata");
    let name = metadata.and_then(|metadata| metadata.present("name"));
    let Some(name_node) = name else {
        let line = metadata.map_or(root.line, |metadata| metadata.line);
        reader.error(line, "metadata.name", "is missing; everything of Calico needs a name");
        return None;
    };
    let name = reader.scalar(name_node, "metadata.name")?;
    if !is_dns_name(name) {
        let reason = format!("{name:?} is not a name; write lower case ASCII letters, digits and '-'");
        reader.error(name_node.line, "metadata.name", reason);
        return None;
    }
    let given = metadata.and_then(|metadata| metadata.present("namespace"));
    if !namespaced {
        if let Some(given) = given {
            reader.error(given.line, "metadata.namespace", "a global kind has no namespace; remove it");
        }
        return Some((None, name.to_owned()));
    }
    let Some(given) = given else { return Some((Some("default".to_owned()), name.to_owned())) };
    let namespace = reader.scalar(given, "metadata.namespace")?;
    if !is_label(namespace) {
        let reason = format!("{namespace:?} is not a namespace; write lower case ASCII letters, digits and '-'");
        reader.error(given.line, "metadata.namespace", reason);
        return None;
    }
    Some((Some(namespace.to_owned()), name.to_owned()))
}

fn key(root: &Node, kind: Kind, reader: &mut Reader<'_>) -> Option<Arc<PolicyKey>> {
    let (namespace, name) = name(root, !kind.is_cluster_wide(), reader)?;
    Some(Arc::new(PolicyKey { kind, namespace: namespace.unwrap_or_default(), name }))
}

/// A DNS label.
fn is_label(text: &str) -> bool {
    text.len() <= 63 && !text.contains('.') && is_dns_name(text)
}

fn tier(root: &Node, reader: &mut Reader<'_>) -> Option<Tier> {
    let (_, name) = name(root, false, reader)?;
    let name_line = root.get("metadata").map_or(root.line, |metadata| metadata.line);
    if !is_label(&name) {
        reader.error(
            name_line,
            "metadata.name",
            format!("{name:?} has a dot or is too long; a tier's name is one word"),
        );
    }
    let spec = spec(root, reader)?;
    reader.keys(spec, "spec", &["order", "defaultAction"], &[]);
    let order = value::order(spec, "spec", reader);
    let default_action = match reader.text(spec, "spec", "defaultAction") {
        None | Some("Deny") => TierDefault::Deny,
        Some("Pass") => TierDefault::Pass,
        Some(other) => {
            let line = spec.get("defaultAction").map_or(spec.line, |node| node.line);
            reader.error(line, "spec.defaultAction", format!("{other:?} is not known; write Deny or Pass"));
            return None;
        }
    };
    let tier = Tier { name, order, default_action };
    if let Some(known) = Tier::built_in().into_iter().find(|known| known.name == tier.name && *known != tier) {
        let order = known.order.0.unwrap_or_default();
        let reason = format!(
            "the tier {} is built in and always has order {order} and defaultAction {:?}; write these, or remove the tier",
            known.name, known.default_action
        );
        reader.error(spec.line, "spec", reason);
    }
    Some(tier)
}

fn network_set(root: &Node, namespaced: bool, reader: &mut Reader<'_>) -> Option<NetworkSet> {
    let (namespace, name) = name(root, namespaced, reader)?;
    let labels = root.present("metadata").and_then(|metadata| metadata.present("labels"));
    let labels = labels.map(|labels| set_labels(labels, reader)).unwrap_or_default();
    let spec = spec(root, reader)?;
    reader.keys(spec, "spec", &["nets"], &[("allowedEgressDomains", "is not in open-source Calico; write nets")]);
    let nets = reader.list(spec, "spec", "nets").unwrap_or_default();
    Some(NetworkSet { namespace, name, labels, nets: peer::nets(nets, "spec.nets", reader) })
}

fn set_labels(labels: &Node, reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    let read = value::texts(labels, "metadata.labels", reader);
    if let Some((key, _)) = labels.entries().iter().find(|(key, _)| key.text == NAMESPACE) {
        let field = format!("metadata.labels.{NAMESPACE}");
        reader.error(key.line, &field, "is given by Calico and never written; remove it");
    }
    read
}

/// Why `name` is no name for a policy of `tier`.
fn name_problem(name: &str, tier: &str) -> Option<String> {
    // How Calico calls the NetworkPolicies of Kubernetes.
    if name.strip_prefix("knp.default.").is_some_and(|rest| tier == DEFAULT_TIER && is_dns_name(rest)) {
        return None;
    }
    let Some((prefix, rest)) = name.split_once('.') else {
        return (!is_label(name)).then(|| format!("{name:?} is no name for a policy; write at most 63 letters"));
    };
    if prefix != tier && is_label(prefix) && is_label(rest) {
        return Some(format!(
            "begins with the tier {prefix}, but the policy is in the tier {tier}; write spec.tier: {prefix}, or the name \
             {rest}"
        ));
    }
    (!is_label(rest)).then(|| format!("{name:?} is no name for a policy; write a word, or {tier}.WORD"))
}

#[cfg(test)]
mod tests;
