//! The ends of a packet, and whether they are those that a rule means.
//!
//! Owns what selectors see of an endpoint. Must never take what is not known for a yes or a no: [`Truth`] has a third
//! value. Start at [`Peer::truth`].

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    field::{Part, WhoField},
    policy::{ACCOUNT_PREFIX, IpProtocol, NAME, NAMESPACE, NAMESPACE_PREFIX, NetworkSet, Peer, Ports, Subject, Who},
    selector::{LabelView, Selector},
};
use crate::labels::{self, Labels};

/// Key under which selectors find an endpoint's service account.
const ACCOUNT: &str = "projectcalico.org/serviceaccount";
/// Key under which selectors find who runs an endpoint: here Kubernetes always does.
const ORCHESTRATOR: &str = "projectcalico.org/orchestrator";
/// The label that Kubernetes sets on every namespace.
const KUBERNETES_NAME: &str = "kubernetes.io/metadata.name";

/// Whether a selector asks for labels of service accounts, none of which are known but the name.
pub(crate) fn asks_account_labels(selector: &Selector) -> bool {
    selector.asks(|key| key.strip_prefix(ACCOUNT_PREFIX).is_some_and(|key| key != NAME))
}

/// Whether a selector asks for labels of namespaces that are not their names.
fn asks_namespace_labels(selector: &Selector) -> bool {
    selector.asks(|key| key.strip_prefix(NAMESPACE_PREFIX).is_some_and(|key| !matches!(key, NAME | KUBERNETES_NAME)))
}

/// An endpoint that is known: a pod, or something of a node when it has no namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) namespace: Option<String>,
    pub(crate) namespace_labels: BTreeMap<String, String>,
    pub(crate) account: Option<String>,
    pub(crate) named_ports: Vec<NamedPort>,
}

/// What an endpoint calls one of its ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NamedPort {
    pub(crate) name: String,
    pub(crate) protocol: IpProtocol,
    pub(crate) port: u16,
}

/// Where a packet comes from or goes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// Not known.
    #[default]
    Unknown,
    /// In this network, and in none inside of it that any policy or set names.
    In(IpNet),
    /// In no network that any policy or set names.
    Elsewhere,
}

impl Place {
    pub(crate) fn at(address: IpAddr) -> Self {
        Self::In(IpNet::from(address.to_canonical()))
    }

    /// What is left when only the version of IP is asked for.
    pub(crate) fn family(self) -> Self {
        match self {
            Self::In(IpNet::V4(_)) => Self::In(Ipv4Net::default().into()),
            Self::In(IpNet::V6(_)) => Self::In(Ipv6Net::default().into()),
            Self::Unknown | Self::Elsewhere => Self::Unknown,
        }
    }

    /// `None`: not known which.
    pub(crate) fn is_v4(self) -> Option<bool> {
        match self {
            Self::In(net) => Some(matches!(net, IpNet::V4(_))),
            Self::Unknown | Self::Elsewhere => None,
        }
    }
}

/// Where an endpoint is, in each version of IP. `None`: it has no address of that version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Places {
    v4: Option<Place>,
    v6: Option<Place>,
}

impl Places {
    /// Of several addresses of one version, nobody can say which one a packet has.
    pub(crate) fn of(addresses: &[IpAddr]) -> Self {
        let mut places = Self::default();
        for address in addresses {
            let place = Place::at(*address);
            let known = if place.is_v4() == Some(true) { &mut places.v4 } else { &mut places.v6 };
            *known = Some(if known.is_some_and(|known| known != place) { Place::Unknown } else { place });
        }
        places
    }

    /// Where it is for a peer: both are of one version.
    pub(crate) fn facing(self, peer: Place) -> Place {
        let own = match (peer.is_v4(), self.v4, self.v6) {
            (Some(true), own, _) | (Some(false), _, own) | (None, own, None) | (None, None, own) => own,
            (None, Some(_), Some(_)) => None,
        };
        own.unwrap_or_default()
    }

    /// What is left when only the version of IP is asked for.
    pub(crate) fn families(self) -> Self {
        Self { v4: self.v4.map(Place::family), v6: self.v6.map(Place::family) }
    }
}

/// One end of a packet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Party<'a> {
    pub(crate) place: Place,
    /// `None`: it is no endpoint that anybody knows.
    pub(crate) endpoint: Option<&'a Endpoint>,
    /// `None`: not known, or the protocol has none.
    pub(crate) port: Option<u16>,
}

/// Whether something holds. Smaller is less certain to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Truth {
    No,
    /// It depends on what is not known.
    Maybe,
    Yes,
}

impl Truth {
    pub(crate) fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
            Self::Yes => Self::No,
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

impl Endpoint {
    /// The pod that an identity's labels stand for; `None` when they are not a pod's. Its named ports are not among them.
    pub(crate) fn of(labels: &Labels) -> Option<Self> {
        let namespace = labels.get("k8s", labels::NAMESPACE)?;
        let mut endpoint = Self { namespace: Some(namespace.to_owned()), ..Self::default() };
        for label in labels.iter().filter(|label| label.source == "k8s") {
            if let Some(key) = label.key.strip_prefix(labels::NAMESPACE_LABELS) {
                endpoint.namespace_labels.insert(key.to_owned(), label.value.clone());
            } else if label.key == "io.cilium.k8s.policy.serviceaccount" {
                endpoint.account = Some(label.value.clone());
            } else if !matches!(label.key.as_str(), labels::NAMESPACE | labels::CLUSTER) {
                endpoint.labels.insert(label.key.clone(), label.value.clone());
            }
        }
        Some(endpoint)
    }
}

impl LabelView for Endpoint {
    fn value(&self, key: &str) -> Option<&str> {
        let view = View {
            labels: &self.labels,
            namespace: self.namespace.as_deref(),
            namespace_labels: Some(&self.namespace_labels),
            account: self.account.as_deref(),
            orchestrator: Some("k8s"),
        };
        view.get(key)
    }
}

/// What selectors see of an endpoint or a network set. An own label never stands in for one of the namespace or account.
struct View<'a> {
    labels: &'a BTreeMap<String, String>,
    namespace: Option<&'a str>,
    namespace_labels: Option<&'a BTreeMap<String, String>>,
    account: Option<&'a str>,
    orchestrator: Option<&'a str>,
}

impl<'a> View<'a> {
    fn get(&self, key: &str) -> Option<&'a str> {
        let of = |labels: Option<&'a BTreeMap<String, String>>, key: &str| labels?.get(key).map(String::as_str);
        if key == NAMESPACE {
            self.namespace
        } else if key == ACCOUNT {
            self.account
        } else if key == ORCHESTRATOR {
            self.orchestrator
        } else if let Some(key) = key.strip_prefix(NAMESPACE_PREFIX) {
            let name = self.namespace?;
            of(self.namespace_labels, key).or_else(|| matches!(key, NAME | KUBERNETES_NAME).then_some(name))
        } else if let Some(key) = key.strip_prefix(ACCOUNT_PREFIX) {
            self.account.filter(|_| key == NAME)
        } else {
            of(Some(self.labels), key)
        }
    }
}

impl LabelView for View<'_> {
    fn value(&self, key: &str) -> Option<&str> {
        self.get(key)
    }
}

/// Every network set, and the labels of the namespaces that they are in.
#[derive(Clone, Debug, Default)]
pub(crate) struct NetworkSets {
    pub(crate) sets: Vec<NetworkSet>,
    /// By the name of the namespace: those of which labels are known.
    pub(crate) namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// A set could not be read: whatever is asked for may be in it.
    pub(crate) incomplete: bool,
}

impl NetworkSets {
    /// Whether there may be a set that a selector selects.
    pub(crate) fn may_select(&self, selector: &Selector) -> bool {
        let unknown =
            |set: &NetworkSet| set.namespace.as_ref().is_some_and(|namespace| !self.namespaces.contains_key(namespace));
        let may =
            |set: &NetworkSet| selector.matches(&self.view(set)) || (unknown(set) && asks_namespace_labels(selector));
        self.incomplete || self.sets.iter().any(may)
    }

    fn view<'s>(&'s self, set: &'s NetworkSet) -> View<'s> {
        let namespace = set.namespace.as_deref();
        let namespace_labels = namespace.and_then(|name| self.namespaces.get(name));
        View { labels: &set.labels, namespace, namespace_labels, account: None, orchestrator: None }
    }

    /// Whether a set that `wanted` selects has the address. `asks_namespaces`: it asks for labels of the set's namespace.
    fn have(&self, place: Place, wanted: impl Fn(&View<'_>) -> bool, asks_namespaces: impl Fn() -> bool) -> Truth {
        let has = |set: &NetworkSet| {
            let view = self.view(set);
            let known = view.namespace.is_none() || view.namespace_labels.is_some();
            match is_in(&set.nets, place) {
                Truth::No => Truth::No,
                inside if !known && asks_namespaces() => inside.min(Truth::Maybe),
                inside if wanted(&view) => inside,
                Truth::Maybe | Truth::Yes => Truth::No,
            }
        };
        let known = self.sets.iter().map(has).max().unwrap_or(Truth::No);
        if self.incomplete { known.max(Truth::Maybe) } else { known }
    }
}

/// The labels of namespaces: those that all pods tell that are known there. A namespace whose labels changed has pods that
/// tell others: it is left out, as one without pods.
pub(crate) fn namespaces_of<'e>(
    endpoints: impl IntoIterator<Item = &'e Endpoint>,
) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut told: BTreeMap<&str, BTreeSet<_>> = BTreeMap::new();
    for endpoint in endpoints {
        told.entry(endpoint.namespace.as_deref().unwrap_or_default()).or_default().insert(&endpoint.namespace_labels);
    }
    let agreed = told.into_iter().filter(|(_, told)| told.len() == 1);
    agreed.filter_map(|(name, mut told)| Some((name.to_owned(), told.pop_first()?.clone()))).collect()
}

impl Subject {
    /// All that is asked of an endpoint, as one expression.
    pub(crate) fn as_selector(&self) -> Selector {
        let own = self.namespace.iter().map(|namespace| Selector::has_one_of(NAMESPACE, [namespace.clone()]));
        let selectors = self.namespace_selector.iter().chain(&self.account_selector).cloned();
        own.chain(selectors).fold(self.selector.clone(), Selector::and)
    }

    /// Whether the policy judges what this endpoint exchanges.
    pub(crate) fn selects(&self, endpoint: &Endpoint) -> bool {
        let selectors = [Some(&self.selector), self.namespace_selector.as_ref(), self.account_selector.as_ref()];
        self.namespace.as_ref().is_none_or(|namespace| endpoint.namespace.as_ref() == Some(namespace))
            && selectors.into_iter().flatten().all(|selector| selector.matches(endpoint))
    }
}

impl Who {
    /// All that is asked of an endpoint or network set, as one expression.
    pub(crate) fn as_selector(&self) -> Selector {
        let own = self.namespace.iter().map(|namespace| Selector::has_one_of(NAMESPACE, [namespace.clone()]));
        let accounts = self.accounts.iter().map(|names| Selector::has_one_of(ACCOUNT, names.iter().cloned()));
        let selectors = [&self.selector, &self.namespace_selector, &self.account_selector].into_iter().flatten();
        selectors.cloned().chain(own).chain(accounts).fold(Selector::all(), Selector::and)
    }

    /// Whether all that is given holds of what has these labels.
    pub(crate) fn selects(&self, labels: &impl LabelView) -> bool {
        WhoField::ALL.into_iter().all(|field| self.holds(field, labels))
    }

    fn asks_namespace_labels(&self) -> bool {
        [&self.selector, &self.namespace_selector].into_iter().flatten().any(asks_namespace_labels)
    }

    /// Whether one field holds; what is absent does.
    pub(crate) fn holds(&self, field: WhoField, labels: &impl LabelView) -> bool {
        let matches = |selector: &Option<Selector>| selector.as_ref().is_none_or(|selector| selector.matches(labels));
        match field {
            WhoField::Selector => matches(&self.selector),
            WhoField::Namespace => {
                let own = self.namespace.as_ref().is_none_or(|namespace| labels.value(NAMESPACE) == Some(namespace));
                own && matches(&self.namespace_selector)
            }
            WhoField::AccountNames => self.accounts.as_ref().is_none_or(|names| {
                labels.value(ACCOUNT).is_some_and(|account| names.iter().any(|name| name == account))
            }),
            WhoField::AccountSelector => matches(&self.account_selector),
        }
    }
}

impl Peer {
    /// Whether one field holds of `party`; what is absent does.
    pub(crate) fn truth(&self, part: Part, party: &Party<'_>, protocol: IpProtocol, sets: &NetworkSets) -> Truth {
        let one_of = |ports: &Vec<Ports>| {
            let truths = ports.iter().map(|ports| is_port(ports, party, protocol));
            truths.max().unwrap_or(Truth::No)
        };
        let in_one_of = |nets: &Vec<IpNet>| is_in(nets, party.place);
        let truth = match part {
            Part::Ports => self.ports.as_ref().map(one_of),
            Part::NotPorts => self.not_ports.as_ref().map(|ports| one_of(ports).not()),
            Part::Nets => self.nets.as_ref().map(in_one_of),
            Part::NotNets => self.not_nets.as_ref().map(|nets| in_one_of(nets).not()),
            Part::Who => self.who.as_ref().map(|who| match party.endpoint {
                Some(endpoint) if who.selects(endpoint) => Truth::Yes,
                _ => sets.have(party.place, |set| who.selects(set), || who.asks_namespace_labels()),
            }),
            Part::NotSelector => self.not_selector.as_ref().map(|selector| {
                let endpoint = Truth::from(party.endpoint.is_some_and(|endpoint| selector.matches(endpoint)));
                let in_set = || sets.have(party.place, |set| selector.matches(set), || asks_namespace_labels(selector));
                if endpoint == Truth::Yes { Truth::No } else { in_set().not() }
            }),
        };
        truth.unwrap_or(Truth::Yes)
    }
}

fn is_in(nets: &[IpNet], place: Place) -> Truth {
    match place {
        Place::In(place) => nets.iter().any(|net| net.contains(&place)).into(),
        Place::Unknown if nets.is_empty() => Truth::No,
        Place::Unknown => Truth::Maybe,
        Place::Elsewhere => Truth::No,
    }
}

fn is_port(ports: &Ports, party: &Party<'_>, protocol: IpProtocol) -> Truth {
    if !protocol.has_ports() {
        return Truth::No;
    }
    match ports {
        Ports::Range(first, last) => party.port.map_or(Truth::Maybe, |port| (*first..=*last).contains(&port).into()),
        Ports::Named(name) => {
            let known = party.endpoint.map(|endpoint| endpoint.named_ports.as_slice()).unwrap_or_default();
            let mut named = known.iter().filter(|known| known.name == *name && known.protocol == protocol).peekable();
            match party.port {
                None if named.peek().is_some() => Truth::Maybe,
                port => named.any(|known| Some(known.port) == port).into(),
            }
        }
    }
}

#[cfg(test)]
mod tests;
