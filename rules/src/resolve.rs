//! Policies and identities → what each endpoint may do.
//!
//! Endpoints to which the same applies share what it means. Must never make it of anything of an endpoint that is not in its
//! [`Applying`]. Start at [`Resolver::endpoint`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use crate::{
    identity::{Identities, Identity},
    labels::{Label, Labels},
    policy::{InForce, PolicyKey, Rule, Section},
    set::{DirectionPolicy, EndpointPolicy, Otherwise, Shared},
    verdict::{Direction, Protocol},
};

mod addresses;
mod applying;
mod calico;
mod frontends;
mod part;
mod peers;

pub use self::{
    applying::Applying,
    frontends::{Frontend, FrontendPort, Target},
};
use self::{
    applying::{Applied, Clauses, Key, Looks},
    calico::Calico,
    part::Part,
    peers::PeerSets,
};

/// A container port: a name of one stands for its protocol too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerPort {
    /// Its number.
    pub number: u16,
    /// Its protocol; one that has ports.
    pub protocol: Protocol,
}

impl ContainerPort {
    /// A port of TCP, which containers' ports are unless they say otherwise.
    #[must_use]
    pub fn tcp(number: u16) -> Self {
        Self { number, protocol: Protocol::Tcp }
    }
}

/// Container ports by name.
pub type PortNames = BTreeMap<String, ContainerPort>;

/// Container ports by name.
#[derive(Clone, Debug, Default)]
pub struct NamedPorts {
    /// The endpoint's own: what ingress rules mean.
    pub own: PortNames,
    /// Each peer's: what egress rules mean.
    pub peers: BTreeMap<Identity, PortNames>,
}

/// A Service, as `toServices` means it: the pods behind it.
#[derive(Clone, Debug, Default)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its own labels.
    pub labels: Labels,
    /// Labels of its pods; empty: it selects none.
    pub selector: BTreeMap<String, String>,
}

impl Service {
    /// `name` is `namespace/name`; `labels` are its own, `selector` its pods'.
    #[must_use]
    pub fn new(name: &str, labels: &BTreeMap<String, String>, selector: &BTreeMap<String, String>) -> Self {
        let (namespace, name) = name.split_once('/').unwrap_or_default();
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            labels: Labels::new(labels.iter().map(|(key, value)| Label::new("k8s", key, value))),
            selector: selector.clone(),
        }
    }
}

/// One endpoint, as far as policies may ask for it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its labels.
    pub labels: &'a Labels,
    /// Its addresses, as far as they are known: Calico's rules may ask for them.
    pub addresses: &'a [IpAddr],
    /// Its own container ports.
    pub ports: &'a PortNames,
}

/// What `policies` together allow the endpoint with `labels`. A selector that selects no known identity allows nobody.
#[must_use]
pub fn resolve(
    policies: &[InForce],
    labels: &Labels,
    named_ports: &NamedPorts,
    identities: &Identities,
    services: &[Service],
) -> EndpointPolicy {
    resolve_at(policies, labels, None, named_ports, identities, services)
}

/// The same, for an endpoint whose address is known: Calico's rules may ask for it.
#[must_use]
pub fn resolve_at(
    policies: &[InForce],
    labels: &Labels,
    address: Option<IpAddr>,
    named_ports: &NamedPorts,
    identities: &Identities,
    services: &[Service],
) -> EndpointPolicy {
    let subject = Subject { labels, addresses: address.as_slice(), ports: &named_ports.own };
    Resolver::new(policies, identities, services, &named_ports.peers).endpoint(&subject)
}

/// Everything that is in force and known, gathered once, to be asked for one endpoint after the other.
#[derive(Debug)]
pub struct Resolver<'a> {
    clauses: Clauses<'a>,
    peers: PeerSets<'a>,
    /// Each peer's container ports.
    ports: &'a BTreeMap<Identity, PortNames>,
    calico: Calico,
    /// What is denied is only told.
    audit: bool,
    frontends: Arc<[Frontend]>,
    seen: HashMap<Looks, Applying>,
    parts: HashMap<Applied, Arc<Part>>,
    made: HashMap<Arc<Key>, Arc<DirectionPolicy>>,
    shared: Shared,
}

impl<'a> Resolver<'a> {
    /// `ports`: each peer's container ports, which egress rules mean.
    #[must_use]
    pub fn new(
        policies: &'a [InForce],
        identities: &'a Identities,
        services: &'a [Service],
        ports: &'a BTreeMap<Identity, PortNames>,
    ) -> Self {
        Self {
            clauses: Clauses::of(policies),
            peers: PeerSets::new(policies, identities, services),
            ports,
            calico: Calico::of(policies, identities, ports),
            audit: false,
            frontends: Arc::default(),
            seen: HashMap::new(),
            parts: HashMap::new(),
            made: HashMap::new(),
            shared: Shared::default(),
        }
    }

    /// The same, but what would be denied passes and is told.
    #[must_use]
    pub fn audited(self, audit: bool) -> Self {
        Self { audit, ..self }
    }

    /// The same, where these addresses are judged by what is behind them.
    #[must_use]
    pub fn fronted(self, mut frontends: Vec<Frontend>) -> Self {
        // They are looked up.
        frontends.sort_unstable_by_key(|frontend| frontend.identity);
        Self { frontends: frontends.into(), ..self }
    }

    /// The same, but nothing is left out of what makes two endpoints differ; for property tests.
    #[cfg(feature = "oracle")]
    #[must_use]
    pub fn asking_for_everything(mut self) -> Self {
        self.clauses = self.clauses.asking_for_everything();
        self.calico.asks_for_everything = true;
        self
    }

    /// What an earlier one gave, of the same identities, services, frontends, ports, CIDR groups, tiers and network sets. Whoever the same still
    /// applies to shares it.
    pub fn remember(&mut self, applying: &Applying, policy: &EndpointPolicy) {
        for (key, policy) in [(&applying.ingress, &policy.ingress), (&applying.egress, &policy.egress)] {
            self.made.insert(Arc::clone(key), Arc::clone(policy));
        }
    }

    /// What applies to one endpoint.
    #[must_use]
    pub fn applying(&mut self, subject: &Subject<'_>) -> Applying {
        let looks = self.clauses.looks(subject, self.calico.applying(subject));
        if let Some(known) = self.seen.get(&looks) {
            return known.clone();
        }
        let shared =
            |key: Key| self.made.get_key_value(&key).map_or_else(|| Arc::new(key), |(known, _)| Arc::clone(known));
        let [ingress, egress] = self.clauses.applying(&looks).map(shared);
        let applying = Applying { ingress, egress };
        self.seen.insert(looks, applying.clone());
        applying
    }

    /// What all of it together allows one endpoint.
    #[must_use]
    pub fn endpoint(&mut self, subject: &Subject<'_>) -> EndpointPolicy {
        let applying = self.applying(subject);
        self.policy(&applying)
    }

    /// What all that applies to an endpoint allows it. The very same for whom the same applies to.
    #[must_use]
    pub fn policy(&mut self, applying: &Applying) -> EndpointPolicy {
        let ingress = self.direction(&applying.ingress, Direction::Ingress);
        EndpointPolicy { ingress, egress: self.direction(&applying.egress, Direction::Egress) }
    }

    fn direction(&mut self, key: &Arc<Key>, direction: Direction) -> Arc<DirectionPolicy> {
        if let Some(made) = self.made.get(key) {
            return Arc::clone(made);
        }
        let joined = self.joined(&key.clauses);
        let policy = match &key.tiers {
            Some(tiers) => joined.and(self.calico.layer(tiers)),
            None => joined,
        };
        let policy = if self.audit { policy.lenient() } else { policy };
        let policy = Arc::new(match direction {
            Direction::Ingress => policy,
            // Nobody comes from the address of a Service.
            Direction::Egress => policy.fronted(Arc::clone(&self.frontends)),
        });
        self.made.insert(Arc::clone(key), Arc::clone(&policy));
        policy
    }

    fn joined(&mut self, clauses: &[Applied]) -> DirectionPolicy {
        let mut denied_by: BTreeSet<Arc<PolicyKey>> = BTreeSet::new();
        let mut otherwise = Otherwise::Pass;
        let mut grants = Vec::new();
        for applied in clauses {
            let part = self.part(applied);
            denied_by.extend(part.denied_by.clone());
            otherwise = otherwise.max(part.otherwise);
            grants.extend(part.grants.iter().cloned());
        }
        DirectionPolicy::new(otherwise, denied_by.into_iter().collect(), grants, &mut self.shared)
    }

    fn part(&mut self, applied: &Applied) -> Arc<Part> {
        if let Some(known) = self.parts.get(applied) {
            return Arc::clone(known);
        }
        let part = Arc::new(Part::of(applied, &mut self.peers, self.ports));
        self.parts.insert(applied.clone(), Arc::clone(&part));
        part
    }
}

impl Rule {
    pub(crate) fn section(&self, direction: Direction) -> &Section {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

#[cfg(test)]
mod tests;
