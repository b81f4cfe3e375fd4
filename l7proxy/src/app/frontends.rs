//! Services of the configuration → addresses that stand for the pods behind them.
//!
//! A Service's addresses of both families have the same ports, but not the same pods' addresses behind them. Start at
//! [`frontends`].

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use rules::{Frontend, FrontendPort, Identities, Identity, PortNames, Protocol, Target};

use crate::{
    config::{Service, ServicePort, TargetPort},
    endpoint::{Backend, Peer, ServicePeer},
};

/// An address, and who it is.
pub(super) type Located = (IpAddr, Arc<Peer>);

/// A pod that may be behind a Service.
pub(super) struct Candidate<'a> {
    pub(super) namespace: &'a str,
    /// `namespace/name`.
    pub(super) name: &'a str,
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) ready: bool,
    pub(super) ports: &'a PortNames,
    pub(super) addresses: &'a [Located],
}

/// A Service's addresses of one family.
pub(super) struct Fronted {
    pub(super) addresses: Vec<IpAddr>,
    /// Who they are.
    pub(super) peer: Arc<Peer>,
    /// What rules know of them.
    pub(super) frontend: Frontend,
}

/// Those of `services` that select pods. `outside`: who an address would be without the Service.
pub(super) fn frontends(
    services: &[Service],
    pods: &[Candidate<'_>],
    identities: &mut Identities,
    outside: impl Fn(IpAddr) -> Identity,
) -> Vec<Fronted> {
    let mut all = Vec::new();
    // Without a selector nobody says who is behind it.
    for service in services.iter().filter(|service| !service.selector.is_empty()) {
        for is_v4 in [true, false] {
            let of_family = |address: &IpAddr| address.to_canonical().is_ipv4() == is_v4;
            let addresses: Vec<IpAddr> =
                service.cluster_ips.iter().filter(|ip| of_family(ip)).map(IpAddr::to_canonical).collect();
            let Some(first) = addresses.first() else { continue };
            let backends = backends(service, pods, of_family);
            let family = if is_v4 { "IPv4" } else { "IPv6" };
            let identity = identities.allocate_frontend(&format!("{} {family}", service.name));
            let frontend = Frontend { identity, ports: ports(service, &backends), otherwise: outside(*first) };
            let (namespace, name) = service.name.split_once('/').unwrap_or_default();
            let ports = frontend.ports.iter().map(|port| (port.protocol, port.port)).collect();
            let behind = ServicePeer { namespace: namespace.to_owned(), name: name.to_owned(), ports, backends };
            let peer = Peer { identity: identity.0, service: Some(Box::new(behind)), ..Peer::default() };
            all.push(Fronted { addresses, peer: Arc::new(peer), frontend });
        }
    }
    all
}

fn ports(service: &Service, backends: &[Backend]) -> Vec<FrontendPort> {
    let port = |port: &ServicePort| {
        let protocol = Protocol::from(port.protocol);
        let of_port = backends.iter().filter(|backend| (backend.protocol, backend.port) == (protocol, port.port));
        FrontendPort { protocol, port: port.port, targets: of_port.map(|backend| backend.target).collect() }
    };
    service.ports.iter().map(port).collect()
}

fn backends(service: &Service, pods: &[Candidate<'_>], of_family: impl Fn(&IpAddr) -> bool) -> Vec<Backend> {
    let namespace = service.name.split_once('/').map(|(namespace, _)| namespace);
    let is_behind = |pod: &&Candidate<'_>| {
        let has = |(key, value): (&String, &String)| pod.labels.get(key) == Some(value);
        pod.ready && Some(pod.namespace) == namespace && service.selector.iter().all(has)
    };
    let mut backends = Vec::new();
    for pod in pods.iter().filter(is_behind) {
        // One of each family, as EndpointSlices have it.
        let Some((_, peer)) = pod.addresses.iter().find(|(address, _)| of_family(address)) else { continue };
        for port in &service.ports {
            let protocol = Protocol::from(port.protocol);
            let number = match &port.target_port {
                None => Some(port.port),
                Some(TargetPort::Number(number)) => Some(*number),
                Some(TargetPort::Name(name)) => {
                    pod.ports.get(name).filter(|known| known.protocol == protocol).map(|known| known.number)
                }
            };
            // A pod without a port of that name is not behind this one.
            let Some(number) = number else { continue };
            let target = Target { identity: peer.identity(), port: number };
            backends.push(Backend { protocol, port: port.port, target, pod: pod.name.to_owned() });
        }
    }
    backends
}
