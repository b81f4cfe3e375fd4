//! Valid policies, tiers and network sets as values.
//!
//! Owns what a manifest says, after all of it was understood. Must never hold something that is not enforced. Start at
//! [`Policy`].

use std::{cmp::Ordering, collections::BTreeMap, fmt, sync::Arc};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{http::Http, selector::Selector};
use crate::{
    policy::{Line, PolicyKey},
    verdict::Direction,
};

/// Tier of a policy that names none.
pub(crate) const DEFAULT_TIER: &str = "default";

/// A `NetworkPolicy` or `GlobalNetworkPolicy`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Kind, namespace (empty when global) and name, as written.
    pub(crate) key: Arc<PolicyKey>,
    /// Name of its tier.
    pub(crate) tier: String,
    /// Its place in the tier.
    pub(crate) order: Order,
    /// Its denials are only told.
    pub(crate) audit: bool,
    /// Whose traffic it judges.
    pub(crate) subject: Subject,
    /// `None`: it says nothing of this direction. Empty: it applies, and no rule of it decides.
    pub(crate) ingress: Option<Vec<Rule>>,
    /// The same for what leaves.
    pub(crate) egress: Option<Vec<Rule>>,
    pub(crate) lines: Lines,
    /// Rules of ingress and of egress that `types` leaves out.
    pub(crate) left_out: [Option<Line>; 2],
}

/// Where fields of a policy stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    pub(crate) tier: Line,
    pub(crate) order: Line,
    pub(crate) selector: Line,
}

/// Place in a sequence: smaller is earlier, absent is last. No NaN.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order(pub(crate) Option<f64>);

impl Ord for Order {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.0, other.0) {
            (Some(own), Some(other)) => own.total_cmp(&other),
            (own, other) => other.is_some().cmp(&own.is_some()),
        }
    }
}

impl PartialOrd for Order {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Order {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Order {}

/// All that is given must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    /// Only endpoints of this namespace.
    pub(crate) namespace: Option<String>,
    pub(crate) selector: Selector,
    /// Asks labels of the namespace, under [`NAMESPACE_PREFIX`].
    pub(crate) namespace_selector: Option<Selector>,
    /// Asks labels of the service account, under [`ACCOUNT_PREFIX`].
    pub(crate) account_selector: Option<Selector>,
}

/// Key under which selectors find an endpoint's namespace.
pub(crate) const NAMESPACE: &str = "projectcalico.org/namespace";
/// Key under which selectors find the name of a namespace or service account among its labels.
pub(crate) const NAME: &str = "projectcalico.org/name";
/// Before keys of a namespace's labels.
pub(crate) const NAMESPACE_PREFIX: &str = "pcns.";
/// Before keys of a service account's labels.
pub(crate) const ACCOUNT_PREFIX: &str = "pcsa.";

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It may pass.
    Allow,
    /// It may not.
    Deny,
    /// Noted; the next rule decides.
    Log,
    /// The next tier decides.
    Pass,
}

/// One entry of `ingress` or `egress`: all that is given must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) line: Line,
    /// `egress[0]`.
    pub(crate) path: String,
    pub(crate) action: Action,
    pub(crate) ip_version: Option<IpVersion>,
    pub(crate) protocol: Option<IpProtocol>,
    pub(crate) not_protocol: Option<IpProtocol>,
    pub(crate) icmp: Option<Icmp>,
    pub(crate) not_icmp: Option<Icmp>,
    pub(crate) source: Peer,
    pub(crate) destination: Peer,
    /// Only where the action is Allow, in ingress, for TCP.
    pub(crate) http: Option<Http>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IpVersion {
    V4,
    V6,
}

impl IpVersion {
    /// Which one a network is of.
    pub(crate) fn of(net: &IpNet) -> Self {
        match net {
            IpNet::V4(_) => Self::V4,
            IpNet::V6(_) => Self::V6,
        }
    }
}

/// Number of a protocol over IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct IpProtocol(pub(crate) u8);

impl IpProtocol {
    pub(crate) const ICMP: Self = Self(1);
    pub(crate) const TCP: Self = Self(6);
    pub(crate) const UDP: Self = Self(17);
    pub(crate) const ICMPV6: Self = Self(58);
    pub(crate) const SCTP: Self = Self(132);
    /// Every one that has a name.
    pub(crate) const NAMED: [(&'static str, Self); 6] = [
        ("TCP", Self::TCP),
        ("UDP", Self::UDP),
        ("ICMP", Self::ICMP),
        ("ICMPv6", Self::ICMPV6),
        ("SCTP", Self::SCTP),
        ("UDPLite", Self(136)),
    ];

    /// Whether Calico lets rules ask for ports of it.
    pub(crate) fn has_ports(self) -> bool {
        matches!(self, Self::TCP | Self::UDP | Self::SCTP)
    }
}

impl fmt::Display for IpProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMED.iter().find(|(_, known)| known == self) {
            Some((name, _)) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}

/// Type and, if it is asked for, code of an ICMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Icmp {
    pub(crate) kind: u8,
    pub(crate) code: Option<u8>,
}

/// One end of a rule's traffic: all that is given must hold, an empty peer is anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    /// What endpoints and network sets must be, or that it need not be one of them at all.
    pub(crate) who: Option<Who>,
    /// It must be no endpoint or network set that this selects; what nobody knows is none.
    pub(crate) not_selector: Option<Selector>,
    /// One of them has its address.
    pub(crate) nets: Option<Vec<IpNet>>,
    /// None of them has its address.
    pub(crate) not_nets: Option<Vec<IpNet>>,
    /// One of them is its port.
    pub(crate) ports: Option<Vec<Ports>>,
    /// None of them is its port.
    pub(crate) not_ports: Option<Vec<Ports>>,
}

/// What a known endpoint or network set must be: all that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Who {
    /// Only of this namespace.
    pub(crate) namespace: Option<String>,
    pub(crate) selector: Option<Selector>,
    /// Asks labels of the namespace, under [`NAMESPACE_PREFIX`].
    pub(crate) namespace_selector: Option<Selector>,
    /// One of these service accounts.
    pub(crate) accounts: Option<Vec<String>>,
    /// Asks labels of the service account, under [`ACCOUNT_PREFIX`].
    pub(crate) account_selector: Option<Selector>,
}

/// One entry of `ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ports {
    /// From the first to the last, both included.
    Range(u16, u16),
    /// What the endpoint calls so.
    Named(String),
}

/// Policies that are asked together, and what happens when none of them decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tier {
    pub(crate) name: String,
    pub(crate) order: Order,
    pub(crate) default_action: TierDefault,
}

/// What a tier does when a policy of it applies and no rule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TierDefault {
    Deny,
    Pass,
}

impl Tier {
    /// The tiers that are always there.
    pub(crate) fn built_in() -> [Self; 3] {
        let tier = |name: &str, order, default_action| Self {
            name: name.to_owned(),
            order: Order(Some(order)),
            default_action,
        };
        [
            tier("kube-admin", 1_000.0, TierDefault::Pass),
            tier(DEFAULT_TIER, 1_000_000.0, TierDefault::Deny),
            tier("kube-baseline", 10_000_000.0, TierDefault::Pass),
        ]
    }
}

/// A `NetworkSet` or `GlobalNetworkSet`: addresses under the set's own labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NetworkSet {
    /// `None`: global.
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) nets: Vec<IpNet>,
}

impl Policy {
    /// Its name without the tier's.
    pub(crate) fn short_name(&self) -> &str {
        let prefix = self.key.name.strip_prefix(self.tier.as_str());
        prefix.and_then(|rest| rest.strip_prefix('.')).unwrap_or(&self.key.name)
    }

    /// Where rules stand that `types` leaves out.
    pub(crate) fn without_effect(&self, direction: Direction) -> Option<Line> {
        let [ingress, egress] = self.left_out;
        match direction {
            Direction::Ingress => ingress,
            Direction::Egress => egress,
        }
    }

    /// Every rule of both directions.
    fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.ingress.iter().chain(&self.egress).flatten()
    }

    /// Every CIDR that needs an identity: each that it mentions, in `notNets` too; and where the version of IP makes a
    /// difference, all addresses of each.
    pub(crate) fn cidrs(&self) -> impl Iterator<Item = IpNet> {
        let peers = self.rules().flat_map(|rule| [&rule.source, &rule.destination]);
        let named = peers.flat_map(|peer| peer.nets.iter().chain(&peer.not_nets).flatten()).copied();
        let families = [Ipv4Net::default().into(), Ipv6Net::default().into()];
        named.chain(families.into_iter().filter(|_| self.asks_families()))
    }

    /// Whether a rule asks for a version of IP, or for an address of the endpoint itself, which may have one of each.
    fn asks_families(&self) -> bool {
        let by_nets = |peer: &Peer| peer.nets.is_some() || peer.not_nets.is_some();
        self.rules().any(|rule| rule.ip_version.is_some())
            || self.ingress.iter().flatten().any(|rule| by_nets(&rule.destination))
            || self.egress.iter().flatten().any(|rule| by_nets(&rule.source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_order_is_last() {
        let mut orders = [Order(None), Order(Some(10.5)), Order(Some(-1.0)), Order(Some(1e9))];
        orders.sort();
        assert_eq!(orders.map(|order| order.0), [Some(-1.0), Some(10.5), Some(1e9), None]);
        assert_eq!(Order(None), Order(None));
    }

    #[test]
    fn built_in_tiers_have_their_orders() {
        let shown = Tier::built_in().map(|tier| (tier.name, tier.order.0, tier.default_action));
        assert_eq!(
            shown,
            [
                ("kube-admin".to_owned(), Some(1e3), TierDefault::Pass),
                ("default".to_owned(), Some(1e6), TierDefault::Deny),
                ("kube-baseline".to_owned(), Some(1e7), TierDefault::Pass),
            ]
        );
    }
}
