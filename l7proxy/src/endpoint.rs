//! Who an address is: local pods and the address → identity cache.
//!
//! Owns the immutable values that the data path and the records read. Never reads files and never knows a policy.
//! Start at [`IpCache::lookup`].

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;
use rules::{DirectionPolicy, Identity, L4Verdict, Protocol, Target};

/// Number of a pod of this node; the kernel's maps use the same one. 0 is never given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u32);

/// One end of a flow as records show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Number of its label set; reserved ones (2 = world) for what is no pod.
    pub identity: u32,
    /// Local endpoint number, 0 for what is not a pod of this node.
    pub id: u32,
    /// Name of the cluster, empty for what is outside.
    pub cluster: String,
    /// Kubernetes namespace, empty for what is no pod.
    pub namespace: String,
    /// Pod name without namespace, empty for what is no pod.
    pub pod: String,
    /// Sorted `k8s:key=value`, as Hubble shows them.
    pub labels: Vec<String>,
    /// Kind and name of the owning workload.
    pub workload: Option<(String, String)>,
    /// Of the virtual address of a Service, which is nobody's but stands for pods.
    pub service: Option<Box<ServicePeer>>,
    /// Domain names of its address, sorted; of what is outside.
    pub names: Vec<String>,
}

/// A Service, and who stands behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePeer {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its ports.
    pub ports: Vec<(Protocol, u16)>,
    /// Its ready pods, once for each of its ports.
    pub backends: Vec<Backend>,
}

/// A pod behind a port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Of the port.
    pub protocol: Protocol,
    /// On the Service's address.
    pub port: u16,
    /// Where its connections end.
    pub target: Target,
    /// `namespace/name`.
    pub pod: String,
}

/// One end of a flow, and where it is.
pub type End = (Arc<Peer>, SocketAddr);

impl ServicePeer {
    /// Pods behind one of its ports that `policy` does not allow a connection to; `None`: it has no such port.
    #[must_use]
    pub fn denied(&self, policy: &DirectionPolicy, protocol: Protocol, port: u16) -> Option<Vec<String>> {
        if !self.ports.contains(&(protocol, port)) {
            return None;
        }
        let is_denied = |backend: &&Backend| {
            let Target { identity, port } = backend.target;
            matches!(policy.l4(identity, protocol, port), L4Verdict::Denied(_))
                || policy.is_audited(identity, protocol, port)
        };
        let of_port = self.backends.iter().filter(|backend| (backend.protocol, backend.port) == (protocol, port));
        Some(of_port.filter(is_denied).map(|backend| backend.pod.clone()).collect())
    }

    /// Whether nobody is behind one of its ports.
    #[must_use]
    pub fn is_empty(&self, protocol: Protocol, port: u16) -> bool {
        !self.backends.iter().any(|backend| (backend.protocol, backend.port) == (protocol, port))
    }
}

impl Peer {
    /// The identity as the rules know it.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity(self.identity)
    }
}

/// A CIDR that policies name, and what its addresses are.
pub type Net = (IpNet, Arc<Peer>);

/// Address → who it is. Exact addresses win over CIDRs, longer prefixes over shorter, world is what remains.
#[derive(Clone, Debug, Default)]
pub struct IpCache {
    exact: HashMap<IpAddr, Arc<Peer>>,
    /// Longest prefix first.
    cidrs: Vec<Net>,
    world: Arc<Peer>,
    /// Addresses that have names: what they are without, and these.
    named: HashMap<IpAddr, Arc<Peer>>,
}

impl IpCache {
    /// `cidrs` in any order.
    #[must_use]
    pub fn new(exact: HashMap<IpAddr, Arc<Peer>>, mut cidrs: Vec<Net>, world: Arc<Peer>) -> Self {
        cidrs.sort_by_key(|(net, _)| std::cmp::Reverse(net.prefix_len()));
        Self { exact, cidrs, world, named: HashMap::new() }
    }

    /// With names of addresses, for records: what an address is for policy does not change by them.
    #[must_use]
    pub fn with_names(mut self, names: impl IntoIterator<Item = (IpAddr, Vec<String>)>) -> Self {
        for (address, names) in names {
            let peer = Peer { names, ..Peer::clone(self.lookup(address)) };
            self.named.insert(address.to_canonical(), Arc::new(peer));
        }
        self
    }

    /// Who `address` is; an IPv4-mapped IPv6 address is the IPv4 address.
    #[must_use]
    pub fn lookup(&self, address: IpAddr) -> &Arc<Peer> {
        let address = address.to_canonical();
        self.named
            .get(&address)
            .or_else(|| self.exact.get(&address))
            .or_else(|| self.cidrs.iter().find(|(net, _)| net.contains(&address)).map(|(_, peer)| peer))
            .unwrap_or(&self.world)
    }

    /// Every exact address.
    pub fn addresses(&self) -> impl Iterator<Item = (&IpAddr, &Arc<Peer>)> {
        self.exact.iter()
    }

    /// Every CIDR, longest prefix first.
    pub fn cidrs(&self) -> impl Iterator<Item = &Net> {
        self.cidrs.iter()
    }
}
