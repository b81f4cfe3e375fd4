//! Which documents are ours.
//!
//! Owns the list of kinds. A kind that says who may talk to whom must be enforced or refused, never skipped, also when
//! its name or group is misspelt. Start at [`classify`].

use super::read::nearest;
use crate::policy::Kind;

/// What a document is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A policy; the field that is wrong, and why, when it is not quite the kind that can be enforced.
    Policy(Kind, Option<(&'static str, String)>),
    /// A list of documents; what its items are when they do not say so themselves.
    List { item: Option<(String, String)> },
    /// Something else.
    Other,
}

/// A group, a kind's name, and which one it is.
type Known = (&'static str, &'static str, Kind);

/// Kinds that say who may talk to whom, or what those mean.
const POLICIES: &[Known] = &[
    (CILIUM, "CiliumNetworkPolicy", Kind::CiliumNetworkPolicy),
    (CILIUM, "CiliumClusterwideNetworkPolicy", Kind::CiliumClusterwideNetworkPolicy),
    (CILIUM, "CiliumCIDRGroup", Kind::CiliumCidrGroup),
    ("networking.k8s.io", "NetworkPolicy", Kind::NetworkPolicy),
    ("extensions", "NetworkPolicy", Kind::NetworkPolicy),
    ("policy.networking.k8s.io", "ClusterNetworkPolicy", Kind::ClusterNetworkPolicy),
    ("policy.networking.k8s.io", "AdminNetworkPolicy", Kind::AdminNetworkPolicy),
    ("policy.networking.k8s.io", "BaselineAdminNetworkPolicy", Kind::BaselineAdminNetworkPolicy),
    ("projectcalico.org", "NetworkPolicy", Kind::CalicoNetworkPolicy),
    ("crd.projectcalico.org", "NetworkPolicy", Kind::CalicoNetworkPolicy),
    ("projectcalico.org", "GlobalNetworkPolicy", Kind::GlobalNetworkPolicy),
    ("crd.projectcalico.org", "GlobalNetworkPolicy", Kind::GlobalNetworkPolicy),
    ("projectcalico.org", "Tier", Kind::Tier),
    ("projectcalico.org", "NetworkSet", Kind::NetworkSet),
    ("projectcalico.org", "GlobalNetworkSet", Kind::GlobalNetworkSet),
];

const CILIUM: &str = "cilium.io";
const CILIUM_VERSION: &str = "cilium.io/v2";
const OLD_GROUP_VERSION: &str = "cilium.io/v2alpha1";
const CALICO_VERSION: &str = "projectcalico.org/v3";
const KUBERNETES_VERSION: &str = "networking.k8s.io/v1";

/// What a document with this `apiVersion` and `kind` is.
pub(super) fn classify(version: &str, kind: &str) -> Class {
    let (group, _) = version.split_once('/').unwrap_or(("", version));
    if let Some((_, _, known)) = POLICIES.iter().find(|(of, name, _)| *of == group && *name == kind) {
        return Class::Policy(*known, not_enforced(*known, version));
    }
    if let Some(of) = kind.strip_suffix("List") {
        if kind == "List" && version == "v1" {
            return Class::List { item: None };
        }
        if matches!(classify(version, of), Class::Policy(..)) {
            return Class::List { item: Some((version.to_owned(), of.to_owned())) };
        }
    }
    misspelt(version, group, kind).unwrap_or(Class::Other)
}

/// Why a policy of a known kind is not enforced, if it is not.
fn not_enforced(kind: Kind, version: &str) -> Option<(&'static str, String)> {
    let must_be =
        |known: &str| (version != known).then(|| ("apiVersion", format!("{version} is not known; write {known}")));
    match kind {
        Kind::CiliumCidrGroup if version == OLD_GROUP_VERSION => None,
        Kind::CiliumNetworkPolicy | Kind::CiliumClusterwideNetworkPolicy | Kind::CiliumCidrGroup => {
            must_be(CILIUM_VERSION)
        }
        Kind::NetworkPolicy => must_be(KUBERNETES_VERSION),
        Kind::CalicoNetworkPolicy
        | Kind::GlobalNetworkPolicy
        | Kind::Tier
        | Kind::NetworkSet
        | Kind::GlobalNetworkSet => must_be(CALICO_VERSION),
        Kind::ClusterNetworkPolicy | Kind::AdminNetworkPolicy | Kind::BaselineAdminNetworkPolicy => Some((
            "kind",
            format!("{kind} of {version} is not supported yet; write a CiliumNetworkPolicy ({CILIUM_VERSION})"),
        )),
    }
}

/// A kind of our groups with another name, or a kind of ours with another group.
fn misspelt(version: &str, group: &str, kind: &str) -> Option<Class> {
    let groups = || POLICIES.iter().map(|(group, _, _)| *group);
    let group_meant = nearest(group, groups());
    let of_group = POLICIES.iter().filter(|(of, _, _)| Some(*of) == group_meant);
    if let Some(meant) = nearest(kind, of_group.map(|(_, name, _)| *name)) {
        let (_, _, known) = POLICIES.iter().find(|(of, name, _)| Some(*of) == group_meant && *name == meant)?;
        let wrong = if group_meant == Some(group) {
            ("kind", format!("{kind} is not known; did you mean {meant}?"))
        } else {
            ("apiVersion", format!("{version} is not known; did you mean the group {}?", group_meant?))
        };
        return Some(Class::Policy(*known, Some(wrong)));
    }
    // Without a group, or under one that is nobody's: only a name that says whose it is tells.
    let telling = |name: &str| group.is_empty() || name.starts_with("Cilium");
    let (of, meant, known) = POLICIES.iter().find(|(_, name, _)| *name == kind && telling(name))?;
    let missing = if version.is_empty() { "is missing".to_owned() } else { format!("{version} is not known") };
    let write = if *of == CILIUM { CILIUM_VERSION } else { *of };
    Some(Class::Policy(*known, Some(("apiVersion", format!("{missing}; for a {meant} write {write}")))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(version: &str, kind: &str) -> (Kind, &'static str) {
        match classify(version, kind) {
            Class::Policy(kind, Some((field, _))) => (kind, field),
            other @ (Class::Policy(..) | Class::List { .. } | Class::Other) => panic!("{version} {kind}: {other:?}"),
        }
    }

    #[test]
    fn kinds_are_enforced_in_one_version() {
        let enforced = [
            ("cilium.io/v2", "CiliumNetworkPolicy", Kind::CiliumNetworkPolicy),
            ("cilium.io/v2", "CiliumClusterwideNetworkPolicy", Kind::CiliumClusterwideNetworkPolicy),
            ("cilium.io/v2", "CiliumCIDRGroup", Kind::CiliumCidrGroup),
            ("cilium.io/v2alpha1", "CiliumCIDRGroup", Kind::CiliumCidrGroup),
            ("networking.k8s.io/v1", "NetworkPolicy", Kind::NetworkPolicy),
            ("projectcalico.org/v3", "NetworkPolicy", Kind::CalicoNetworkPolicy),
            ("projectcalico.org/v3", "GlobalNetworkPolicy", Kind::GlobalNetworkPolicy),
            ("projectcalico.org/v3", "Tier", Kind::Tier),
            ("projectcalico.org/v3", "NetworkSet", Kind::NetworkSet),
            ("projectcalico.org/v3", "GlobalNetworkSet", Kind::GlobalNetworkSet),
        ];
        for (version, name, kind) in enforced {
            assert_eq!(classify(version, name), Class::Policy(kind, None));
        }
        for (group, name, kind) in POLICIES {
            let field = if enforced.iter().any(|(_, _, known)| known == kind) { "apiVersion" } else { "kind" };
            assert_eq!(wrong(&format!("{group}/v0"), name), (*kind, field));
        }
    }

    #[test]
    fn misspelt_policies_are_policies() {
        for (version, kind, meant, field) in [
            ("cilium.io/v2", "CiliumNetworkpolicy", Kind::CiliumNetworkPolicy, "kind"),
            ("cilium.io/v2", "CiliumNetworkPolcy", Kind::CiliumNetworkPolicy, "kind"),
            ("cilium.io/v2", "CiliumCidrGroup", Kind::CiliumCidrGroup, "kind"),
            ("cilium.io/v2alpha1", "CiliumCIDRGroups", Kind::CiliumCidrGroup, "kind"),
            ("cilium.io/v1", "CiliumNetworkPolicy", Kind::CiliumNetworkPolicy, "apiVersion"),
            ("cilum.io/v2", "CiliumNetworkPolicy", Kind::CiliumNetworkPolicy, "apiVersion"),
            ("cilium/v2", "CiliumNetworkPolicy", Kind::CiliumNetworkPolicy, "apiVersion"),
            ("", "CiliumNetworkPolicy", Kind::CiliumNetworkPolicy, "apiVersion"),
            ("", "NetworkPolicy", Kind::NetworkPolicy, "apiVersion"),
        ] {
            assert_eq!(wrong(version, kind), (meant, field), "{version} {kind}");
        }
    }

    #[test]
    fn other_things_are_other_things() {
        for (version, kind) in [
            ("apps/v1", "Deployment"),
            ("cilium.io/v2", "CiliumEgressGatewayPolicy"),
            ("cilium.io/v2", "CiliumEndpoint"),
            ("crd.antrea.io/v1beta1", "NetworkPolicy"),
            ("projectcalico.org/v3", "StagedNetworkPolicy"),
            ("networking.k8s.io/v1", "Ingress"),
            ("", ""),
        ] {
            assert_eq!(classify(version, kind), Class::Other, "{version} {kind}");
        }
    }

    #[test]
    fn lists_say_what_their_items_are() {
        assert_eq!(classify("v1", "List"), Class::List { item: None });
        let item = Some(("cilium.io/v2".to_owned(), "CiliumNetworkPolicy".to_owned()));
        assert_eq!(classify("cilium.io/v2", "CiliumNetworkPolicyList"), Class::List { item });
        assert_eq!(classify("apps/v1", "DeploymentList"), Class::Other);
    }
}
