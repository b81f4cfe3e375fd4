//! Valid policies as values.
//!
//! Owns what a manifest says, after all of it was understood. Must never hold something that is not enforced. Start at
//! [`Rule`].

use std::{fmt, ptr, sync::Arc};

use ipnet::IpNet;

use crate::{
    calico::{manifest::Object, party::Endpoint},
    http_rule::HttpRule,
    labels::Labels,
    manifest::{Policy, Refused},
    selector::Selector,
    verdict::{Direction, Protocol},
};

/// Kinds of policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `cilium.io/v2` `CiliumNetworkPolicy`.
    CiliumNetworkPolicy,
    /// `cilium.io/v2` `CiliumClusterwideNetworkPolicy`.
    CiliumClusterwideNetworkPolicy,
    /// `networking.k8s.io/v1` `NetworkPolicy`.
    NetworkPolicy,
    /// `policy.networking.k8s.io` `ClusterNetworkPolicy`.
    ClusterNetworkPolicy,
    /// `policy.networking.k8s.io` `AdminNetworkPolicy`.
    AdminNetworkPolicy,
    /// `policy.networking.k8s.io` `BaselineAdminNetworkPolicy`.
    BaselineAdminNetworkPolicy,
    /// `cilium.io/v2` `CiliumCIDRGroup`: addresses under a name and labels.
    CiliumCidrGroup,
    /// `projectcalico.org/v3` `NetworkPolicy`.
    CalicoNetworkPolicy,
    /// `projectcalico.org/v3` `GlobalNetworkPolicy`.
    GlobalNetworkPolicy,
    /// `projectcalico.org/v3` `Tier`: when its policies are asked.
    Tier,
    /// `projectcalico.org/v3` `NetworkSet`: addresses under labels.
    NetworkSet,
    /// `projectcalico.org/v3` `GlobalNetworkSet`: addresses under labels.
    GlobalNetworkSet,
}

impl Kind {
    /// Whether its policies have no namespace.
    #[must_use]
    pub fn is_cluster_wide(self) -> bool {
        match self {
            Self::CiliumNetworkPolicy | Self::NetworkPolicy | Self::CalicoNetworkPolicy | Self::NetworkSet => false,
            Self::CiliumClusterwideNetworkPolicy
            | Self::ClusterNetworkPolicy
            | Self::AdminNetworkPolicy
            | Self::BaselineAdminNetworkPolicy
            | Self::CiliumCidrGroup
            | Self::GlobalNetworkPolicy
            | Self::Tier
            | Self::GlobalNetworkSet => true,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CiliumNetworkPolicy => "CiliumNetworkPolicy",
            Self::CiliumClusterwideNetworkPolicy => "CiliumClusterwideNetworkPolicy",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
            Self::AdminNetworkPolicy => "AdminNetworkPolicy",
            Self::BaselineAdminNetworkPolicy => "BaselineAdminNetworkPolicy",
            Self::CiliumCidrGroup => "CiliumCIDRGroup",
            Self::CalicoNetworkPolicy => "projectcalico.org/NetworkPolicy",
            Self::GlobalNetworkPolicy => "GlobalNetworkPolicy",
            Self::Tier => "Tier",
            Self::NetworkSet => "NetworkSet",
            Self::GlobalNetworkSet => "GlobalNetworkSet",
        })
    }
}

/// A policy's name. Shown as `CiliumNetworkPolicy default/read-only`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyKey {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty when its kind is cluster-wide.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// Where something stands in its text. Never a difference: a policy that was moved is the same policy.
#[derive(Clone, Copy, Default)]
pub(crate) struct Line(pub(crate) usize);

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.0)
    }
}

impl PartialEq for Line {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Line {}

/// One `spec`: a subject and what its endpoints may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) line: Line,
    pub(crate) subject: Selector,
    pub(crate) ingress: Section,
    pub(crate) egress: Section,
    /// `log.value`: shown in records.
    pub(crate) log: Option<Arc<str>>,
}

/// What a rule says about one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Section {
    /// The endpoints are under default deny.
    pub(crate) default_deny: bool,
    pub(crate) entries: Vec<Entry>,
    /// Where rules stand that have no effect: those of a direction that `policyTypes` leaves out.
    pub(crate) without_effect: Option<Line>,
}

/// Whether an entry allows or denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Allow,
    Deny,
}

/// One entry of `ingress`, `egress`, `ingressDeny` or `egressDeny`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) line: Line,
    /// `egress[0]`.
    pub(crate) path: String,
    pub(crate) effect: Effect,
    pub(crate) peers: Peers,
    /// `None`: every port and protocol.
    pub(crate) ports: Option<Vec<PortRule>>,
}

/// Whom an entry is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Peers {
    /// No list at all, beside `toPorts`.
    Any,
    /// An empty list, or nothing at all: the entry only puts its subject under default deny.
    Nobody,
    Endpoints(Vec<Selector>),
    Cidrs(Vec<Cidr>),
    Entities(Vec<Entity>),
    Services(Vec<ServiceRef>),
}

/// Addresses, but for some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    pub(crate) of: Addresses,
    /// Parts of them that are not meant.
    pub(crate) except: Vec<IpNet>,
    /// Pods with such an address are meant too: `ipBlock` of Kubernetes, not Cilium's CIDRs.
    pub(crate) pods: bool,
}

/// Addresses, by themselves or by the CIDR groups that hold them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Addresses {
    Net(IpNet),
    /// Of the group with this name.
    Group(String),
    /// Of groups with such labels. Without a requirement that asks for a label, also addresses of no group (Cilium).
    Groups(Selector),
}

/// Cilium's names for what is no label set of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entity {
    All,
    World,
    Cluster,
    ClusterMesh,
    Host,
    RemoteNode,
    KubeApiserver,
    Ingress,
    Init,
    Health,
    Unmanaged,
    None,
}

/// Services whose pods are meant; without a namespace, of any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServiceRef {
    Named { namespace: Option<String>, name: String },
    Selected { namespace: Option<String>, selector: Selector },
}

/// One entry of `toPorts` or `icmps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortRule {
    pub(crate) line: Line,
    /// `egress[0].toPorts[0]`.
    pub(crate) path: String,
    /// Empty: no port at all.
    pub(crate) ports: Vec<Port>,
    /// `None`: no L7 rules, every request passes.
    pub(crate) http: Option<Vec<Arc<HttpRule>>>,
}

/// One entry of `ports`, or of the `fields` of `icmps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) number: PortNumber,
    pub(crate) protocol: Protocol,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PortNumber {
    /// 0 is every port.
    Number(u16),
    /// From the first to the last, which is greater.
    Range(u16, u16),
    /// A container port's name.
    Name(String),
    /// No port: the type of an ICMP message. 0 is a type as any other.
    Type(u8),
}

/// What is in force for one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InForce {
    /// As it says.
    Policy(Arc<Policy>),
    /// Not valid: default deny in its directions for what it selects; it allows nothing.
    Refused(Arc<Refused>),
}

impl InForce {
    /// Its name.
    #[must_use]
    pub fn key(&self) -> &Arc<PolicyKey> {
        match self {
            Self::Policy(policy) => &policy.key,
            Self::Refused(refused) => &refused.key,
        }
    }

    /// How many rules it has: one for each `spec`.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        match self {
            Self::Policy(policy) => {
                policy.rules.len().saturating_add(usize::from(matches!(policy.calico, Some(Object::Policy(_)))))
            }
            Self::Refused(_) => 0,
        }
    }

    /// Whether an endpoint with `labels` is under it, in any direction.
    #[must_use]
    pub fn selects(&self, labels: &Labels) -> bool {
        match self {
            Self::Policy(policy) => {
                let of_calico = || match &policy.calico {
                    Some(Object::Policy(policy)) => {
                        Endpoint::of(labels).is_some_and(|endpoint| policy.subject.selects(&endpoint))
                    }
                    Some(Object::Tier(_) | Object::NetworkSet(_)) | None => false,
                };
                policy.rules.iter().any(|rule| rule.subject.matches(labels)) || of_calico()
            }
            Self::Refused(refused) => refused.scopes.iter().any(|scope| scope.selects(labels)),
        }
    }

    /// Whether it says anything of one direction of an endpoint with `labels`.
    #[must_use]
    pub fn applies(&self, labels: &Labels, direction: Direction) -> bool {
        match self {
            Self::Policy(policy) => {
                let of_calico = || match &policy.calico {
                    Some(Object::Policy(policy)) => {
                        Endpoint::of(labels).is_some_and(|endpoint| policy.applies_to(&endpoint, direction))
                    }
                    Some(Object::Tier(_) | Object::NetworkSet(_)) | None => false,
                };
                let speaks = |section: &Section| section.default_deny || !section.entries.is_empty();
                let mut rules = policy.rules.iter();
                rules.any(|rule| speaks(rule.section(direction)) && rule.subject.matches(labels)) || of_calico()
            }
            Self::Refused(refused) => refused.scopes.iter().any(|scope| {
                let denies = match direction {
                    Direction::Ingress => scope.ingress,
                    Direction::Egress => scope.egress,
                };
                denies && scope.subject.matches(labels)
            }),
        }
    }

    /// Whether its denials are only told.
    #[must_use]
    pub fn is_audited(&self) -> bool {
        matches!(self, Self::Policy(policy) if policy.audit)
    }

    /// Tells this version of a policy from every other one that is in memory.
    #[must_use]
    pub fn pointer(&self) -> (*const Policy, *const Refused) {
        match self {
            Self::Policy(policy) => (Arc::as_ptr(policy), ptr::null()),
            Self::Refused(refused) => (ptr::null(), Arc::as_ptr(refused)),
        }
    }

    /// Whether it may change what others mean: CIDR groups, Calico's tiers and network sets.
    #[must_use]
    pub fn concerns_every_pod(&self) -> bool {
        matches!(self.key().kind, Kind::CiliumCidrGroup | Kind::Tier | Kind::NetworkSet | Kind::GlobalNetworkSet)
    }

    /// Every CIDR that it mentions, in `except` too: each needs an identity.
    #[must_use]
    pub fn cidrs(&self) -> Vec<IpNet> {
        self.all_cidrs().flat_map(Cidr::nets).chain(self.group_cidrs()).chain(self.calico_cidrs()).collect()
    }

    /// Every CIDR that is also about pods: a pod's address in it is part of the pod's identity.
    #[must_use]
    pub fn pod_cidrs(&self) -> Vec<IpNet> {
        self.all_cidrs().filter(|cidr| cidr.pods).flat_map(Cidr::nets).chain(self.calico_cidrs()).collect()
    }

    fn group_cidrs(&self) -> impl Iterator<Item = IpNet> {
        let group = match self {
            Self::Policy(policy) => policy.cidr_group.as_ref(),
            Self::Refused(_) => None,
        };
        group.into_iter().flat_map(|group| &group.nets).map(IpNet::trunc)
    }

    fn calico_cidrs(&self) -> Vec<IpNet> {
        let Self::Policy(policy) = self else { return Vec::new() };
        match &policy.calico {
            Some(Object::Policy(policy)) => policy.cidrs().map(|net| net.trunc()).collect(),
            Some(Object::NetworkSet(set)) => set.nets.iter().map(IpNet::trunc).collect(),
            Some(Object::Tier(_)) | None => Vec::new(),
        }
    }

    pub(crate) fn all_cidrs(&self) -> impl Iterator<Item = &Cidr> {
        let rules = match self {
            Self::Policy(policy) => policy.rules.as_slice(),
            Self::Refused(_) => &[],
        };
        let entries = rules.iter().flat_map(|rule| rule.ingress.entries.iter().chain(&rule.egress.entries));
        entries.flat_map(|entry| match &entry.peers {
            Peers::Cidrs(cidrs) => cidrs.as_slice(),
            Peers::Any | Peers::Nobody | Peers::Endpoints(_) | Peers::Entities(_) | Peers::Services(_) => &[],
        })
    }
}

impl Cidr {
    fn nets(&self) -> impl Iterator<Item = IpNet> {
        let own = match &self.of {
            Addresses::Net(net) => Some(net),
            Addresses::Group(_) | Addresses::Groups(_) => None,
        };
        own.into_iter().chain(&self.except).map(IpNet::trunc)
    }
}
