//! Who an address is: local pods and the address → identity cache.
//!
//! Owns the immutable values that the data path and the records read. Never reads files and never knows a policy.
//! Start at [`IpCache::lookup`].

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use rules::Identity;

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
}

impl IpCache {
    /// `cidrs` in any order.
    #[must_use]
    pub fn new(exact: HashMap<IpAddr, Arc<Peer>>, mut cidrs: Vec<Net>, world: Arc<Peer>) -> Self {
        cidrs.sort_by_key(|(net, _)| std::cmp::Reverse(net.prefix_len()));
        Self { exact, cidrs, world }
    }

    /// Who `address` is; an IPv4-mapped IPv6 address is the IPv4 address.
    #[must_use]
    pub fn lookup(&self, address: IpAddr) -> &Arc<Peer> {
        let address = address.to_canonical();
        self.exact
            .get(&address)
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
