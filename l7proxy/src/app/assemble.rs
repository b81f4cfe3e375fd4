//! From configuration and policies to what should be true: the data path's world and the kernel's entries.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use rules::{
    Action, EndpointPolicy, Identities, Identity, InForce, Labels, MapEntry, PodLabels, PortNames, Resolver, RuleRef,
    Service, Subject,
};

use super::{
    frontends::{Candidate, Fronted, Located, frontends},
    limits::limits,
    resolved::{Basis, Made, Resolved, Shared, Sharing},
    rule_ids::RuleIds,
};
use crate::{
    config::{self, Config},
    drain,
    endpoint::{EndpointId, IpCache, Net, Peer},
    flow,
    http::{Changes, Scratch, Worker},
    metrics::Counters,
    policy::{EndpointState, World},
    redirect::{self, DesiredPod, Entries, Entry},
};

/// Numbers that stay the same while the process lives.
#[derive(Debug)]
pub struct Assembler {
    identities: Identities,
    ids: BTreeMap<String, u32>,
    rules: RuleIds,
    resolved: Resolved,
}

/// One revision of what should be true.
#[derive(Debug)]
pub struct Assembled {
    /// For the data path.
    pub world: World,
    /// For the kernel: pods of this node by `namespace/name`.
    pub pods: BTreeMap<String, DesiredPod>,
    /// For the kernel: exact addresses.
    pub identities: HashMap<IpAddr, u32>,
    /// For the kernel: CIDRs that policies name.
    pub cidrs: HashMap<IpNet, u32>,
}

impl Default for Assembler {
    fn default() -> Self {
        let (rules, resolved) = (RuleIds::default(), Resolved::default());
        Self { identities: Identities::new(), ids: BTreeMap::new(), rules, resolved }
    }
}

/// A pod of this node or of another, as far as policy is concerned.
struct Pod<'a> {
    name: &'a str,
    /// Each with who it is: pods of the same labels differ when a policy's CIDR is about one of them only.
    addresses: Vec<Located>,
    ports: PortNames,
    labels: Labels,
    /// As its first address has it.
    peer: Arc<Peer>,
    /// All of its addresses.
    own: &'a [IpAddr],
    /// As Kubernetes has them.
    own_labels: &'a BTreeMap<String, String>,
    /// Whether Services send connections to it.
    ready: bool,
}

impl Pod<'_> {
    fn subject(&self) -> Subject<'_> {
        Subject { labels: &self.labels, addresses: self.own, ports: &self.ports }
    }
}

/// A pod for each of its identities.
fn identities_of<'p>(pod: &'p Pod<'_>) -> impl Iterator<Item = Identity> + 'p {
    pod.addresses.iter().map(|(_, peer)| peer.identity()).chain([pod.peer.identity()])
}

impl Assembler {
    /// What `config` and `policies` mean, as revision `revision`.
    pub fn assemble(&mut self, config: &Config, policies: &[InForce], revision: u64) -> Assembled {
        self.assemble_before(config, policies, &[], revision)
    }

    /// The same, with identities for what `coming` will ask for: to the kernel each of them is what its address was without.
    pub(super) fn assemble_before(
        &mut self,
        config: &Config,
        policies: &[InForce],
        coming: &[InForce],
        revision: u64,
    ) -> Assembled {
        let named: Vec<InForce> = policies.iter().chain(coming).cloned().collect();
        let (local, remote) = self.pods(config, &named);
        let cidrs = self.cidrs(&named);
        let services = services(config);
        let fronted = self.frontends(config, local.iter().chain(&remote), &cidrs);
        let mut exact: HashMap<IpAddr, Arc<Peer>> = HashMap::new();
        let host = Arc::new(self.reserved(Identity::HOST));
        exact.extend(config.host.addresses.iter().map(|address| (address.to_canonical(), Arc::clone(&host))));
        for pod in local.iter().chain(&remote) {
            exact.extend(pod.addresses.iter().map(|(address, peer)| (address.to_canonical(), Arc::clone(peer))));
        }
        for fronted in &fronted {
            exact.extend(fronted.addresses.iter().map(|address| (*address, Arc::clone(&fronted.peer))));
        }
        let peers_ports = named_ports(local.iter().chain(&remote));
        let identities = self.identities.count();
        self.resolved.begin(Basis { config: config.clone(), identities, named_ports: peers_ports.clone() }, policies);
        let resolver = Resolver::new(policies, &self.identities, &services, &peers_ports);
        let resolver = resolver.audited(config.audit).fronted(fronted.into_iter().map(|one| one.frontend).collect());
        let kept =
            |pod: &Pod<'_>| Some((pod.name.to_owned(), self.resolved.kept(pod.name, &pod.peer, &pod.labels)?.clone()));
        let mut made: HashMap<String, Made> = local.iter().filter_map(kept).collect();
        let mut sharing = Sharing::new(resolver, &mut self.rules, made.values().map(|made| &made.shared));
        for pod in &local {
            made.entry(pod.name.to_owned()).or_insert_with(|| {
                let shared = sharing.of(&pod.subject());
                let desired = desired(pod, &shared, config);
                let policy = shared.policy.clone();
                Made { state: Arc::new(EndpointState { peer: Arc::clone(&pod.peer), policy }), desired, shared }
            });
        }
        sharing.finish(revision);
        let endpoint = |made: &Made| (EndpointId(made.state.peer.id), Arc::clone(&made.state));
        let endpoints = made.values().map(endpoint).collect();
        let pods = made.iter().map(|(name, made)| (name.clone(), made.desired.clone())).collect();
        self.resolved.keep(made);
        let identities = exact.iter().map(|(address, peer)| (*address, peer.identity)).collect();
        let numbers = cidrs.iter().map(|(net, peer)| (*net, peer.identity)).collect();
        let world = Arc::new(self.reserved(Identity::WORLD));
        let ipcache = IpCache::new(exact, cidrs, world).with_names(config.names_by_address());
        Assembled { world: World { revision, ipcache, endpoints }, pods, identities, cidrs: numbers }
    }

    /// What the policies mean for one pod, here or elsewhere; `None` when `pod` names none.
    #[must_use]
    pub fn policy_of(&mut self, config: &Config, policies: &[InForce], pod: &str) -> Option<EndpointPolicy> {
        let (local, remote) = self.pods(config, policies);
        let pods = || local.iter().chain(&remote);
        let wanted = pods().find(|known| known.name == pod)?;
        let cidrs = self.cidrs(policies);
        let fronted = self.frontends(config, pods(), &cidrs).into_iter().map(|one| one.frontend).collect();
        let (services, ports) = (services(config), named_ports(pods()));
        let resolver = Resolver::new(policies, &self.identities, &services, &ports);
        Some(resolver.audited(config.audit).fronted(fronted).endpoint(&wanted.subject()))
    }

    /// Number of a pod of this node that was assembled.
    #[must_use]
    pub fn endpoint(&self, pod: &str) -> Option<u32> {
        self.ids.get(pod).copied()
    }

    /// Numbers of rules in the kernel's entries.
    #[must_use]
    pub fn rules(&self) -> &RuleIds {
        &self.rules
    }

    /// Numbers of known label sets.
    #[must_use]
    pub fn identities(&self) -> &Identities {
        &self.identities
    }

    fn pods<'a>(&mut self, config: &'a Config, policies: &[InForce]) -> (Vec<Pod<'a>>, Vec<Pod<'a>>) {
        let nets: BTreeSet<IpNet> = policies.iter().flat_map(InForce::pod_cidrs).collect();
        let mut local = Vec::new();
        for endpoint in &config.endpoints {
            let next = u32::try_from(self.ids.len() + 1).unwrap_or(u32::MAX);
            let id = *self.ids.entry(endpoint.pod.clone()).or_insert(next);
            local.push(self.pod(
                config,
                &nets,
                &Described {
                    id,
                    pod: &endpoint.pod,
                    addresses: &endpoint.addresses,
                    labels: &endpoint.labels,
                    ports: &endpoint.ports,
                    service_account: endpoint.service_account.as_deref(),
                    workload: endpoint.workload.as_deref(),
                    ready: endpoint.ready,
                },
            ));
        }
        let mut remote = Vec::new();
        for elsewhere in &config.remotes {
            remote.push(self.pod(
                config,
                &nets,
                &Described {
                    id: 0,
                    pod: &elsewhere.pod,
                    addresses: &elsewhere.addresses,
                    labels: &elsewhere.labels,
                    ports: &elsewhere.ports,
                    service_account: elsewhere.service_account.as_deref(),
                    workload: elsewhere.workload.as_deref(),
                    ready: elsewhere.ready,
                },
            ));
        }
        (local, remote)
    }

    fn pod<'a>(&mut self, config: &Config, nets: &BTreeSet<IpNet>, described: &Described<'a>) -> Pod<'a> {
        let (namespace, pod) = described.pod.split_once('/').unwrap_or_default();
        let none = BTreeMap::new();
        let labels = Labels::from(PodLabels {
            namespace,
            cluster: &config.cluster,
            service_account: described.service_account,
            labels: described.labels,
            namespace_labels: config.namespaces.get(namespace).unwrap_or(&none),
        });
        let workload = described.workload.and_then(|workload| workload.split_once('/'));
        let peer = |identity: Identity| Peer {
            identity: identity.0,
            id: described.id,
            cluster: config.cluster.clone(),
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            labels: labels.strings(),
            workload: workload.map(|(kind, name)| (kind.to_owned(), name.to_owned())),
            service: None,
            names: Vec::new(),
        };
        let mut addresses: Vec<Located> = Vec::new();
        for address in described.addresses {
            let identity = self.identities.allocate_at(&labels, *address, nets);
            addresses.push((*address, Arc::new(peer(identity))));
        }
        let peer = match addresses.first() {
            Some((_, peer)) => Arc::clone(peer),
            None => Arc::new(peer(self.identities.allocate(&labels))),
        };
        let ports = described.ports.iter().map(|(name, port)| (name.clone(), port.0)).collect();
        Pod {
            name: described.pod,
            addresses,
            ports,
            labels,
            peer,
            own: described.addresses,
            own_labels: described.labels,
            ready: described.ready,
        }
    }

    fn frontends<'p>(
        &mut self,
        config: &Config,
        pods: impl Iterator<Item = &'p Pod<'p>>,
        cidrs: &[Net],
    ) -> Vec<Fronted> {
        if config.services.is_empty() {
            return Vec::new();
        }
        let candidate = |pod: &'p Pod<'p>| Candidate {
            namespace: &pod.peer.namespace,
            name: pod.name,
            labels: pod.own_labels,
            ready: pod.ready,
            ports: &pod.ports,
            addresses: &pod.addresses,
        };
        let candidates: Vec<Candidate<'_>> = pods.map(candidate).collect();
        let nets = IpCache::new(HashMap::new(), cidrs.to_vec(), Arc::new(self.reserved(Identity::WORLD)));
        let outside = |address| nets.lookup(address).identity();
        frontends(&config.services, &candidates, &mut self.identities, outside)
    }

    fn cidrs(&mut self, policies: &[InForce]) -> Vec<Net> {
        let nets: BTreeSet<IpNet> = policies.iter().flat_map(InForce::cidrs).map(|net| net.trunc()).collect();
        let mut cidrs = Vec::new();
        for net in nets {
            let identity = self.identities.allocate_cidr(net);
            cidrs.push((net, Arc::new(self.reserved(identity))));
        }
        cidrs
    }

    fn reserved(&self, identity: Identity) -> Peer {
        let labels = self.identities.labels(identity).map(Labels::strings).unwrap_or_default();
        Peer { identity: identity.0, labels, ..Peer::default() }
    }
}

fn named_ports<'p>(pods: impl Iterator<Item = &'p Pod<'p>>) -> BTreeMap<Identity, PortNames> {
    pods.flat_map(|pod| identities_of(pod).map(|identity| (identity, pod.ports.clone()))).collect()
}

fn services(config: &Config) -> Vec<Service> {
    config.services.iter().map(|service| Service::new(&service.name, &service.labels, &service.selector)).collect()
}

struct Described<'a> {
    id: u32,
    pod: &'a str,
    addresses: &'a [IpAddr],
    labels: &'a BTreeMap<String, String>,
    ports: &'a BTreeMap<String, config::ContainerPort>,
    service_account: Option<&'a str>,
    workload: Option<&'a str>,
    ready: bool,
}

fn desired(pod: &Pod<'_>, shared: &Shared, config: &Config) -> DesiredPod {
    let addresses = || pod.addresses.iter().map(|(address, _)| address.to_canonical());
    DesiredPod {
        endpoint: pod.peer.id,
        ip4: addresses().find_map(|address| if let IpAddr::V4(four) = address { Some(four) } else { None }),
        ip6: addresses().find_map(|address| match address {
            IpAddr::V6(six) if !six.is_unicast_link_local() => Some(six),
            IpAddr::V6(_) | IpAddr::V4(_) => None,
        }),
        addresses: addresses().collect(),
        ingress_enforced: shared.policy.ingress.enforced(),
        egress_enforced: shared.policy.egress.enforced(),
        host_allowed: config.host.allow,
        errno: config.redirect.errno.number(),
        entries: shared.entries.clone(),
    }
}

/// What the kernel is given of a policy; `number`: of a rule.
pub(super) fn entries(policy: &EndpointPolicy, mut number: impl FnMut(&Arc<RuleRef>) -> u32) -> Entries {
    let directions = [(redirect::INGRESS, &policy.ingress), (redirect::EGRESS, &policy.egress)];
    let lines = directions.into_iter().flat_map(|(way, policy)| policy.entries().iter().map(move |line| (way, line)));
    Entries::new(lines.map(|(way, line)| entry(way, line, line.rule.as_ref().map_or(0, &mut number))))
}

fn entry(direction: u8, line: &MapEntry, rule: u32) -> Entry {
    Entry {
        rule,
        precedence: line.precedence,
        direction,
        identity: line.identity.map_or(0, |identity| identity.0),
        protocol: line.protocol.number(),
        port: line.port,
        port_bits: line.port_bits,
        action: action(line),
    }
}

/// The kernel's number of what an entry does.
pub(super) fn action(line: &MapEntry) -> u8 {
    match line.action {
        Action::Allow => redirect::ALLOW,
        Action::Audit => redirect::AUDIT,
        Action::Redirect => redirect::REDIRECT,
        Action::Deny => redirect::DENY,
    }
}

/// For requests that are under way when policy changes to not allow them.
const GRACE: Duration = Duration::from_secs(1);

/// A data worker's state.
pub(super) fn worker(config: &Config, flows: flow::Sink, counters: Arc<Counters>, drain: drain::Watch) -> Worker {
    let limits = limits(&config.proxy.limits);
    let changes = Changes::new((config.proxy.existing == config::Existing::End).then_some(GRACE));
    let (path, scratch) = (config.proxy.path.options(), Scratch::default());
    Worker { flows, capture: super::records::capture(&config.flows), counters, limits, path, changes, drain, scratch }
}

#[cfg(test)]
mod tests;
