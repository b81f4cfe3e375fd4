//! Policies and identities → what one endpoint may do.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;

use crate::{
    cidr_group::CidrGroups,
    http_rule::HttpRule,
    identity::{Identities, Identity},
    labels::{CLUSTER, Label, Labels},
    manifest::Scope,
    matcher::CompiledRule,
    policy::{Entity, Entry, InForce, Peers, PolicyKey, Port, PortNumber, PortRule, Rule, Section, ServiceRef},
    selector::{Key, Requirement, Selector},
    set::{DirectionPolicy, EndpointPolicy, Grant, HttpRules, Otherwise, PeerSet, Ports},
    verdict::{Direction, Protocol, RuleRef},
};

mod addresses;
mod calico;

use self::calico::{Around, Calico};

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
    let resolver = Resolver { policies, labels, named_ports, identities, services, groups: OnceCell::new() };
    let calico = Calico::of(policies);
    let around = Around { labels, address, named_ports, identities };
    let direction = |direction| {
        let joined = resolver.direction(direction);
        match calico.layer(&around, direction) {
            Some(layer) => joined.and(layer),
            None => joined,
        }
    };
    EndpointPolicy { ingress: direction(Direction::Ingress), egress: direction(Direction::Egress) }
}

struct Resolver<'a> {
    policies: &'a [InForce],
    labels: &'a Labels,
    named_ports: &'a NamedPorts,
    identities: &'a Identities,
    services: &'a [Service],
    /// Made when the first rule asks for it.
    groups: OnceCell<CidrGroups<'a>>,
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
    fn direction(&self, direction: Direction) -> DirectionPolicy {
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
                    if refused.scopes.iter().any(|scope| denies(scope) && scope.subject.matches(self.labels)) {
                        denied_by.insert(Arc::clone(&refused.key));
                        otherwise = Otherwise::Deny;
                    }
                }
                InForce::Policy(policy) => {
                    for rule in policy.rules.iter().filter(|rule| rule.subject.matches(self.labels)) {
                        let section = rule.section(direction);
                        if section.default_deny {
                            denied_by.insert(Arc::clone(&policy.key));
                            otherwise = otherwise.max(if policy.audit { Otherwise::Audit } else { Otherwise::Deny });
                        }
                        for entry in &section.entries {
                            let origin = Origin { key: &policy.key, audit: policy.audit, rule, entry, direction };
                            self.grants(&origin, &mut grants);
                        }
                    }
                }
            }
        }
        DirectionPolicy::new(otherwise, denied_by.into_iter().collect(), grants)
    }

    fn grants(&self, origin: &Origin<'_>, grants: &mut Vec<Grant>) {
        let Origin { entry, direction, audit, .. } = *origin;
        let Some(peers) = self.peers(entry) else { return };
        let peers_text: Arc<str> = peers_text(&entry.peers).into();
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
            for (peers, protocol, ports) in self.ports(port_rule, &peers, direction) {
                let what = if protocol.has_types() { "type" } else { "port" };
                let rule = origin.refer(&port_rule.path, format!("{peers_text}, {what} {ports}/{protocol}"));
                let peers_text = Arc::clone(&peers_text);
                grants.push(Grant { rule, effect, audit, peers, peers_text, protocol, ports, http: http.clone() });
            }
        }
    }

    /// `None`: nobody, and nobody ever will be.
    fn peers(&self, entry: &Entry) -> Option<PeerSet> {
        Some(match &entry.peers {
            Peers::Nobody => return None,
            Peers::Any => PeerSet::Any,
            Peers::Endpoints(selectors) => {
                self.only(|_, labels| selectors.iter().any(|selector| selector.matches(labels)))
            }
            Peers::Cidrs(cidrs) => {
                self.only(|identity, labels| cidrs.iter().any(|cidr| self.is_in(cidr, entry.effect, identity, labels)))
            }
            Peers::Entities(entities) if entities.contains(&Entity::All) => PeerSet::Any,
            Peers::Entities(entities) => {
                let cluster = self.labels.get("k8s", CLUSTER);
                self.only(|_, labels| entities.iter().any(|entity| entity.selects(labels, cluster)))
            }
            Peers::Services(wanted) => {
                let services = self.services.iter().filter(|service| wanted.iter().any(|one| one.means(service)));
                let selectors: Vec<Selector> = services.filter_map(pods_of).collect();
                self.only(|_, labels| selectors.iter().any(|selector| selector.matches(labels)))
            }
        })
    }

    /// Never the unknown identity: nothing is known of it that a selector could ask for, and 0 means "any" to the kernel.
    fn only(&self, selects: impl Fn(Identity, &Labels) -> bool) -> PeerSet {
        let known = self.identities.iter().filter(|(identity, _)| *identity != Identity::UNKNOWN);
        let selected = known.filter(|(identity, labels)| selects(*identity, labels));
        let mut identities: Vec<Identity> = selected.map(|(identity, _)| identity).collect();
        identities.sort_unstable();
        PeerSet::Only(identities.into())
    }

    /// A named port may be another number for each peer. Without ports, an entry is about none (Cilium).
    fn ports(&self, rule: &PortRule, peers: &PeerSet, direction: Direction) -> Vec<(PeerSet, Protocol, Ports)> {
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
                    if let Some(own) = self.named_ports.own.get(name) {
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
        for (identity, ports) in &self.named_ports.peers {
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

impl ServiceRef {
    fn means(&self, service: &Service) -> bool {
        match self {
            Self::Named { namespace, name } => service.namespace == *namespace && service.name == *name,
            Self::Selected { namespace, selector } => {
                namespace.as_ref().is_none_or(|namespace| service.namespace == *namespace)
                    && selector.matches(&service.labels)
            }
        }
    }
}

fn pods_of(service: &Service) -> Option<Selector> {
    // An empty selector is none: its endpoints are somebody else's to name.
    if service.selector.is_empty() {
        return None;
    }
    let is = |(key, value): (&String, &String)| Requirement::Is(Key::of_pods(key), value.clone());
    let mut selector = Selector { requirements: service.selector.iter().map(is).collect() };
    selector.set_namespace(&service.namespace);
    Some(selector)
}

impl Entity {
    /// Besides [`Entity::All`], which is everybody. `cluster` is the name of this one.
    fn selects(self, labels: &Labels, cluster: Option<&str>) -> bool {
        const OF_CLUSTER: [&str; 7] =
            ["host", "remote-node", "init", "ingress", "health", "unmanaged", "kube-apiserver"];
        let reserved = |name: &str| labels.get("reserved", name).is_some();
        let of_cluster = || OF_CLUSTER.into_iter().any(reserved);
        match self {
            Self::All => true,
            Self::None => false,
            Self::World => reserved("world"),
            Self::Cluster => of_cluster() || (cluster.is_some() && labels.get("k8s", CLUSTER) == cluster),
            Self::ClusterMesh => of_cluster() || labels.get("k8s", CLUSTER).is_some(),
            Self::Host => reserved("host"),
            Self::RemoteNode => reserved("remote-node"),
            Self::KubeApiserver => reserved("kube-apiserver"),
            Self::Ingress => reserved("ingress"),
            Self::Init => reserved("init"),
            Self::Health => reserved("health"),
            Self::Unmanaged => reserved("unmanaged"),
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

fn peers_text(peers: &Peers) -> String {
    fn joined<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
        items.iter().map(text).collect::<Vec<_>>().join(" or ")
    }
    match peers {
        Peers::Any => "anybody".to_owned(),
        Peers::Nobody => "nobody".to_owned(),
        Peers::Endpoints(selectors) => joined(selectors, Selector::summary),
        Peers::Cidrs(cidrs) => joined(cidrs, |cidr| match cidr.except.as_slice() {
            [] => cidr.of.text(),
            except => format!("{} but {}", cidr.of.text(), joined(except, IpNet::to_string)),
        }),
        Peers::Entities(entities) => joined(entities, |entity| entity.name().to_owned()),
        Peers::Services(services) => joined(services, |service| match service {
            ServiceRef::Named { namespace, name } => format!("service {namespace}/{name}"),
            ServiceRef::Selected { selector, .. } => format!("services with {}", selector.summary()),
        }),
    }
}

#[cfg(test)]
mod tests;
