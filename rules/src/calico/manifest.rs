//! Documents of `projectcalico.org/v3` → values. What is not enforced is refused by name, never ignored.
//!
//! Owns which kinds there are, and the fields of tiers and network sets. Must never give a value when anything was wrong.
//! Start at [`object`].

use std::{collections::BTreeMap, sync::Arc};

use super::policy::{DEFAULT_TIER, NAMESPACE, NetworkSet, Policy, Subject, Tier, TierDefault};
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

/// A valid document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Object {
    Policy(Arc<Policy>),
    Tier(Tier),
    NetworkSet(NetworkSet),
}

/// Of a kind of Calico's groups that is not enforced: why not, and what to write instead. `None`: of any other kind.
pub(crate) fn not_enforced(version: &str, kind: &str) -> Option<String> {
    let (group, _) = version.split_once('/').unwrap_or((version, ""));
    if !matches!(group, "projectcalico.org" | "crd.projectcalico.org") {
        return None;
    }
    match kind {
        "StagedNetworkPolicy" | "StagedGlobalNetworkPolicy" | "StagedKubernetesNetworkPolicy" => {
            let enforced = kind.trim_start_matches("Staged").trim_start_matches("Kubernetes");
            Some(format!(
                "{kind} only reports in Calico and is never enforced; skipped; write kind: {enforced} to enforce it"
            ))
        }
        "Profile" => Some(
            "Profile is not supported: every namespace has the profile that allows everything; write a NetworkPolicy for \
             the pods that the profile is for"
                .to_owned(),
        ),
        "HostEndpoint" => Some(
            "HostEndpoint is not supported: only pods are protected here, not hosts; remove it, or keep it for Calico's own \
             data path"
                .to_owned(),
        ),
        _ => None,
    }
}

/// What became of one document: everything that is wrong with it, or its value.
pub(crate) type Outcome = Result<Object, Vec<FieldError>>;

/// Whether a kind's documents are read here.
pub(crate) fn has(kind: Kind) -> bool {
    match kind {
        Kind::CalicoNetworkPolicy
        | Kind::GlobalNetworkPolicy
        | Kind::Tier
        | Kind::NetworkSet
        | Kind::GlobalNetworkSet => true,
        Kind::CiliumNetworkPolicy
        | Kind::CiliumClusterwideNetworkPolicy
        | Kind::NetworkPolicy
        | Kind::ClusterNetworkPolicy
        | Kind::AdminNetworkPolicy
        | Kind::BaselineAdminNetworkPolicy
        | Kind::CiliumCidrGroup => false,
    }
}

/// The value of a document of a kind that [`has`] is about. Its name was read, and the faults of its tree were told. All
/// errors are told at once. `audit`: a policy's denials are only told.
pub(crate) fn object(root: &Node, key: &Arc<PolicyKey>, audit: bool) -> Outcome {
    let mut errors = Vec::new();
    let mut reader = Reader::new(&mut errors, 0);
    if key.kind.is_cluster_wide()
        && let Some(given) = root.present("metadata").and_then(|metadata| metadata.present("namespace"))
    {
        reader.error(given.line, "metadata.namespace", "a global kind has no namespace; remove it");
    }
    let object = match key.kind {
        Kind::Tier => tier(root, &key.name, &mut reader).map(Object::Tier),
        Kind::NetworkSet | Kind::GlobalNetworkSet => network_set(root, key, &mut reader).map(Object::NetworkSet),
        Kind::CalicoNetworkPolicy
        | Kind::GlobalNetworkPolicy
        | Kind::CiliumNetworkPolicy
        | Kind::CiliumClusterwideNetworkPolicy
        | Kind::NetworkPolicy
        | Kind::ClusterNetworkPolicy
        | Kind::AdminNetworkPolicy
        | Kind::BaselineAdminNetworkPolicy
        | Kind::CiliumCidrGroup => {
            policy::policy(root, Arc::clone(key), audit, &mut reader).map(|policy| Object::Policy(Arc::new(policy)))
        }
    };
    match object {
        Some(object) if errors.is_empty() => Ok(object),
        _ => Err(errors),
    }
}

/// Whom a policy that is not valid is about: what cannot be read restricts nothing. `None`: of another kind.
pub(crate) fn subject(spec: &Node, key: &PolicyKey) -> Option<Subject> {
    if !matches!(key.kind, Kind::CalicoNetworkPolicy | Kind::GlobalNetworkPolicy) {
        return None;
    }
    let mut errors = Vec::new();
    let namespace = Some(key.namespace.as_str()).filter(|_| !key.kind.is_cluster_wide());
    Some(policy::subject(spec, namespace, &mut Reader::new(&mut errors, 0)))
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

/// A DNS label.
fn is_label(text: &str) -> bool {
    text.len() <= 63 && !text.contains('.') && is_dns_name(text)
}

fn tier(root: &Node, name: &str, reader: &mut Reader<'_>) -> Option<Tier> {
    if is_dns_name(name) && !is_label(name) {
        let line = root.get("metadata").map_or(root.line, |metadata| metadata.line_of("name"));
        let reason = format!("{name:?} has a dot or is too long; a tier's name is one word");
        reader.error(line, "metadata.name", reason);
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
    let tier = Tier { name: name.to_owned(), order, default_action };
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

fn network_set(root: &Node, key: &PolicyKey, reader: &mut Reader<'_>) -> Option<NetworkSet> {
    let labels = root.present("metadata").and_then(|metadata| metadata.present("labels"));
    let labels = labels.map(|labels| set_labels(labels, reader)).unwrap_or_default();
    let spec = spec(root, reader)?;
    reader.keys(spec, "spec", &["nets"], &[("allowedEgressDomains", "is not in open-source Calico; write nets")]);
    let nets = reader.list(spec, "spec", "nets").unwrap_or_default();
    let namespace = (!key.kind.is_cluster_wide()).then(|| key.namespace.clone());
    Some(NetworkSet { namespace, name: key.name.clone(), labels, nets: peer::nets(nets, "spec.nets", reader) })
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
