//! Policies and identities → what one endpoint may do.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use crate::{
    http_rule::HttpRule,
    identity::{Identities, Identity},
    labels::{CLUSTER, Label, Labels},
    manifest::Scope,
    matcher::CompiledRule,
    policy::{Entry, InForce, PolicyKey, Port, PortNumber, PortRule, Rule, Section},
    set::{DirectionPolicy, EndpointPolicy, Grant, HttpRules, Otherwise, PeerSet, Ports},
    verdict::{Direction, Protocol, RuleRef},
};

mod addresses;
mod calico;
mod peers;

use self::{calico::Calico, peers::PeerSets};

/// A container port: a name of one stands for its protocol too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// Its address, if it is known: Calico's rules may ask for it.
    pub address: Option<IpAddr>,
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
    let subject = Subject { labels, address, ports: &named_ports.own };
    Resolver::new(policies, identities, services, &named_ports.peers).endpoint(&subject)
}

/// Everything that is in force and known, gathered once, to be asked for one endpoint after the other.
#[derive(Debug)]
pub struct Resolver<'a> {
    policies: &'a [InForce],
    peers: PeerSets<'a>,
    /// Each peer's container ports.
    ports: &'a BTreeMap<Identity, PortNames>,
    calico: Calico,
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
        let peers = PeerSets::new(policies, identities, services);
        Self { policies, peers, ports, calico: Calico::of(policies, identities, ports) }
    }

    /// What all of it together allows one endpoint.
    #[must_use]
    pub fn endpoint(&mut self, subject: &Subject<'_>) -> EndpointPolicy {
        let mut direction = |direction| {
            let joined = self.direction(subject, direction);
            match self.calico.layer(subject, direction) {
                Some(layer) => joined.and(layer),
                None => joined,
            }
        };
        EndpointPolicy { ingress: direction(Direction::Ingress), egress: direction(Direction::Egress) }
    }
}

/// An entry, and where it comes from.
struct Origin<'a> {
    key: &'a Arc<PolicyKey>,
    audit: bool,
    rule: &'a Rule,
    entry: &'a Entry,
    direction: Direction,
}

impl Origin<'_> {
    fn refer(&self, rule: &str, summary: String) -> Arc<RuleRef> {
        let log = self.rule.log.clone();
        Arc::new(RuleRef { policy: Arc::clone(self.key), rule: rule.to_owned(), summary, log })
    }
}

impl Resolver<'_> {
    fn direction(&mut self, subject: &Subject<'_>, direction: Direction) -> DirectionPolicy {
        let mut denied_by: BTreeSet<Arc<PolicyKey>> = BTreeSet::new();
        let mut otherwise = Otherwise::Pass;
        let mut grants = Vec::new();
        for in_force in self.policies {
            match in_force {
                InForce::Refused(refused) => {
                    let denies = |scope: &Scope| match direction {
                        Direction::Ingress => scope.ingress,
                        Direction::Egress => scope.egress,
                    };
                    if refused.scopes.iter().any(|scope| denies(scope) && scope.subject.matches(subject.labels)) {
                        denied_by.insert(Arc::clone(&refused.key));
                        otherwise = Otherwise::Deny;
                    }
                }
                InForce::Policy(policy) => {
                    for rule in policy.rules.iter().filter(|rule| rule.subject.matches(subject.labels)) {
                        let section = rule.section(direction);
                        if section.default_deny {
                            denied_by.insert(Arc::clone(&policy.key));
                            otherwise = otherwise.max(if policy.audit { Otherwise::Audit } else { Otherwise::Deny });
                        }
                        for entry in &section.entries {
                            let origin = Origin { key: &policy.key, audit: policy.audit, rule, entry, direction };
                            self.grants(&origin, subject, &mut grants);
                        }
                    }
                }
            }
        }
        DirectionPolicy::new(otherwise, denied_by.into_iter().collect(), grants)
    }

    fn grants(&mut self, origin: &Origin<'_>, subject: &Subject<'_>, grants: &mut Vec<Grant>) {
        let Origin { entry, direction, audit, .. } = *origin;
        let cluster = subject.labels.get("k8s", CLUSTER);
        let Some(peers) = self.peers.of(entry, cluster) else { return };
        let peers_text: Arc<str> = peers::text(&entry.peers).into();
        let effect = entry.effect;
        let Some(port_rules) = &entry.ports else {
            let rule = origin.refer(&entry.path, format!("{peers_text}, every port"));
            let protocol = Protocol::Any;
            grants.push(Grant { rule, effect, audit, peers, peers_text, protocol, ports: Ports::ALL, http: None });
            return;
        };
        for port_rule in port_rules {
            let http: Option<HttpRules> = port_rule.http.as_ref().map(|rules| {
                let compile = |rule: &Arc<HttpRule>| CompiledRule {
                    reference: origin.refer(&rule.path_in_spec, rule.summary()),
                    rule: Arc::clone(rule),
                };
                rules.iter().map(compile).collect()
            });
            for (peers, protocol, ports) in self.ports(port_rule, &peers, subject, direction) {
                let what = if protocol.has_types() { "type" } else { "port" };
                let rule = origin.refer(&port_rule.path, format!("{peers_text}, {what} {ports}/{protocol}"));
                let peers_text = Arc::clone(&peers_text);
                grants.push(Grant { rule, effect, audit, peers, peers_text, protocol, ports, http: http.clone() });
            }
        }
    }

    /// A named port may be another number for each peer. Without ports, an entry is about none (Cilium).
    fn ports(
        &self,
        rule: &PortRule,
        peers: &PeerSet,
        subject: &Subject<'_>,
        direction: Direction,
    ) -> Vec<(PeerSet, Protocol, Ports)> {
        let mut ports = Vec::new();
        for port in &rule.ports {
            let wanted = protocols(port);
            let one = |number: u16| if number == 0 { Ports::ALL } else { Ports { first: number, last: number } };
            let mut add = |peers: &PeerSet, known: &[Protocol], numbers: Ports| {
                let fitting = wanted.iter().filter(|protocol| known.contains(protocol));
                ports.extend(fitting.map(|protocol| (peers.clone(), *protocol, numbers)));
            };
            match (&port.number, direction) {
                (PortNumber::Number(number), _) => add(peers, wanted, one(*number)),
                (PortNumber::Range(first, last), _) => add(peers, wanted, Ports { first: *first, last: *last }),
                (PortNumber::Type(number), _) => {
                    add(peers, wanted, Ports { first: u16::from(*number), last: u16::from(*number) });
                }
                (PortNumber::Name(name), Direction::Ingress) => {
                    if let Some(own) = subject.ports.get(name) {
                        add(peers, &[own.protocol], one(own.number));
                    }
                }
                (PortNumber::Name(name), Direction::Egress) => {
                    for (peers, named) in self.peers_port(name, peers) {
                        add(&peers, &[named.protocol], one(named.number));
                    }
                }
            }
        }
        ports
    }

    fn peers_port(&self, name: &str, peers: &PeerSet) -> Vec<(PeerSet, ContainerPort)> {
        let mut by_port: BTreeMap<ContainerPort, Vec<Identity>> = BTreeMap::new();
        for (identity, ports) in self.ports {
            if let Some(port) = ports.get(name).filter(|_| peers.contains(*identity)) {
                by_port.entry(*port).or_default().push(*identity);
            }
        }
        by_port.into_iter().map(|(port, identities)| (PeerSet::Only(identities.into()), port)).collect()
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

/// `ANY` in a port is every protocol that has ports; those with types are asked for by `icmps`.
fn protocols(port: &Port) -> &'static [Protocol] {
    match port.protocol {
        Protocol::Any => &[Protocol::Tcp, Protocol::Udp, Protocol::Sctp],
        Protocol::Tcp => &[Protocol::Tcp],
        Protocol::Udp => &[Protocol::Udp],
        Protocol::Sctp => &[Protocol::Sctp],
        Protocol::Icmp => &[Protocol::Icmp],
        Protocol::Icmp6 => &[Protocol::Icmp6],
    }
}

#[cfg(test)]
mod tests;
