//! Valid policies as values.

use std::{fmt, sync::Arc};

use ipnet::IpNet;

use crate::{
    http_rule::HttpRule,
    labels::Labels,
    manifest::{Policy, Refused},
    selector::Selector,
    verdict::Protocol,
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
    /// `projectcalico.org/v3` `NetworkPolicy`.
    CalicoNetworkPolicy,
    /// `projectcalico.org/v3` `GlobalNetworkPolicy`.
    GlobalNetworkPolicy,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CiliumNetworkPolicy => "CiliumNetworkPolicy",
            Self::CiliumClusterwideNetworkPolicy => "CiliumClusterwideNetworkPolicy",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::CalicoNetworkPolicy => "projectcalico.org/NetworkPolicy",
            Self::GlobalNetworkPolicy => "GlobalNetworkPolicy",
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

/// One `spec`: a subject and what its endpoints may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) subject: Selector,
    /// Non-empty: the endpoints are under default deny in this direction.
    pub(crate) ingress: Vec<Allow>,
    pub(crate) egress: Vec<Allow>,
}

/// One entry of `ingress` or `egress`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allow {
    /// `egress[0]`.
    pub(crate) path: String,
    pub(crate) peers: Peers,
    /// `None`: every port and protocol.
    pub(crate) ports: Option<Vec<PortRule>>,
}

/// Whom an entry is about (nil and empty lists differ, see `facts` of Cilium's semantics: nil is a wildcard only beside
/// `toPorts`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Peers {
    Any,
    Nobody,
    Endpoints(Vec<Selector>),
    Cidrs(Vec<IpNet>),
}

/// One entry of `toPorts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortRule {
    /// `egress[0].toPorts[0]`.
    pub(crate) path: String,
    /// Empty: every port.
    pub(crate) ports: Vec<Port>,
    /// `None`: no L7 rules, every request passes.
    pub(crate) http: Option<Vec<HttpRule>>,
}

/// One entry of `ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) number: PortNumber,
    pub(crate) protocol: Protocol,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PortNumber {
    /// 0 is every port.
    Number(u16),
    /// A container port's name.
    Name(String),
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

    /// Whether an endpoint with `labels` is under it, in any direction.
    #[must_use]
    pub fn selects(&self, labels: &Labels) -> bool {
        match self {
            Self::Policy(policy) => policy.rules.iter().any(|rule| rule.subject.matches(labels)),
            Self::Refused(refused) => refused.subjects.iter().any(|subject| subject.matches(labels)),
        }
    }

    /// Every CIDR that it mentions: each needs an identity.
    #[must_use]
    pub fn cidrs(&self) -> Vec<IpNet> {
        let Self::Policy(policy) = self else { return Vec::new() };
        let mut nets = Vec::new();
        for allow in policy.rules.iter().flat_map(|rule| rule.ingress.iter().chain(&rule.egress)) {
            if let Peers::Cidrs(cidrs) = &allow.peers {
                nets.extend(cidrs.iter().map(IpNet::trunc));
            }
        }
        nets
    }
}
