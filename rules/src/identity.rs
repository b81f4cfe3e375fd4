//! Label set ↔ number.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    net::IpAddr,
};

use ipnet::IpNet;

use crate::labels::{Label, Labels};

/// Number of a label set. Below 256 reserved; those of pods have 24 bits and are made of their labels, so that every node has
/// the same; numbers of CIDRs have bit 24 set, as Cilium's node-local ones, and those of Services' virtual addresses bit 26.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(pub u32);

impl Identity {
    /// Nothing is known of it.
    pub const UNKNOWN: Self = Self(0);
    /// This node.
    pub const HOST: Self = Self(1);
    /// What is outside the cluster.
    pub const WORLD: Self = Self(2);
    /// Pods that nobody manages.
    pub const UNMANAGED: Self = Self(3);
    /// Health endpoints.
    pub const HEALTH: Self = Self(4);
    /// Endpoints whose labels are not known yet.
    pub const INIT: Self = Self(5);
    /// Other nodes.
    pub const REMOTE_NODE: Self = Self(6);
    /// Another node that runs an API server.
    pub const KUBE_APISERVER: Self = Self(7);
    /// The node's ingress proxy.
    pub const INGRESS: Self = Self(8);
    /// First number for pods.
    pub const FIRST_ALLOCATED: Self = Self(256);
    /// Numbers for pods.
    const SPACE: u32 = Self::LOCAL_SCOPE - Self::FIRST_ALLOCATED.0;
    /// Set in numbers of CIDRs.
    const LOCAL_SCOPE: u32 = 1 << 24;
    /// Set in numbers of pods when there is none left that is made of labels.
    const SPARE_SCOPE: u32 = 1 << 25;
    /// Set in numbers of Services' addresses; Cilium has none for them.
    const FRONTEND_SCOPE: u32 = 1 << 26;
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number and its labels.
type Reserved = (Identity, &'static [&'static str]);

const RESERVED: [Reserved; 9] = [
    (Identity::UNKNOWN, &["unknown"]),
    (Identity::HOST, &["host"]),
    (Identity::WORLD, &["world"]),
    (Identity::UNMANAGED, &["unmanaged"]),
    (Identity::HEALTH, &["health"]),
    (Identity::INIT, &["init"]),
    (Identity::REMOTE_NODE, &["remote-node"]),
    (Identity::KUBE_APISERVER, &["kube-apiserver", "remote-node"]),
    (Identity::INGRESS, &["ingress"]),
];

/// Every known label set with its number. A number is never given twice while the value lives, and never changes.
#[derive(Clone, Debug)]
pub struct Identities {
    by_labels: HashMap<Labels, Identity>,
    labels: HashMap<Identity, Labels>,
    by_cidr: HashMap<IpNet, Identity>,
    cidrs: HashMap<Identity, IpNet>,
    addresses: HashMap<Identity, IpAddr>,
    by_frontend: HashMap<String, Identity>,
    /// How many numbers there are for pods.
    space: u32,
    next_spare: u32,
    next_cidr: u32,
}

impl Default for Identities {
    fn default() -> Self {
        Self::new()
    }
}

impl Identities {
    /// Only the reserved ones.
    #[must_use]
    pub fn new() -> Self {
        let mut identities = Self {
            by_labels: HashMap::new(),
            labels: HashMap::new(),
            by_cidr: HashMap::new(),
            cidrs: HashMap::new(),
            addresses: HashMap::new(),
            by_frontend: HashMap::new(),
            space: Identity::SPACE,
            next_spare: Identity::SPARE_SCOPE,
            next_cidr: Identity::LOCAL_SCOPE | 1,
        };
        for (identity, names) in RESERVED {
            identities.insert(identity, Labels::new(names.iter().map(|name| Label::new("reserved", name, ""))));
        }
        identities
    }

    /// The number of `labels`, a new one if need be: the same on every node, but where two label sets want the same one. Then
    /// the later one on this node gets the next that is free.
    pub fn allocate(&mut self, labels: &Labels) -> Identity {
        if let Some(known) = self.by_labels.get(labels) {
            return *known;
        }
        let identity = self.free(labels);
        self.insert(identity, labels.clone());
        identity
    }

    fn free(&mut self, labels: &Labels) -> Identity {
        let first = Identity::FIRST_ALLOCATED.0;
        let wanted = hash(labels)
            .checked_rem(u64::from(self.space))
            .and_then(|place| u32::try_from(place).ok())
            .unwrap_or_default();
        // From the wanted one to the last, then from the first on.
        let all = (wanted..self.space).chain(0..wanted.min(self.space));
        let free =
            all.map(|place| Identity(first.saturating_add(place))).find(|identity| !self.labels.contains_key(identity));
        free.unwrap_or_else(|| {
            let spare = Identity(self.next_spare);
            self.next_spare = self.next_spare.saturating_add(1);
            spare
        })
    }

    /// The number of the addresses of `net`, a new one if need be. Its labels: the CIDR and world.
    pub fn allocate_cidr(&mut self, net: IpNet) -> Identity {
        let net = net.trunc();
        if let Some(known) = self.by_cidr.get(&net) {
            return *known;
        }
        let identity = Identity(self.next_cidr);
        self.next_cidr = self.next_cidr.saturating_add(1);
        let labels = [Label::new("cidr", &net.to_string(), ""), Label::new("reserved", "world", "")];
        self.labels.insert(identity, Labels::new(labels));
        self.by_cidr.insert(net, identity);
        self.cidrs.insert(identity, net);
        identity
    }

    /// The number of the virtual addresses that `name` has, a new one if need be. No selector selects it: it has no labels.
    pub fn allocate_frontend(&mut self, name: &str) -> Identity {
        if let Some(known) = self.by_frontend.get(name) {
            return *known;
        }
        let number = u32::try_from(self.by_frontend.len()).unwrap_or(u32::MAX);
        let identity = Identity(Identity::FRONTEND_SCOPE.saturating_add(number));
        self.by_frontend.insert(name.to_owned(), identity);
        identity
    }

    /// The number of the pods with `labels` whose addresses are in the same of all `nets` as `address` is; its labels say
    /// in which. `nets`: all that policies name for pods too.
    pub fn allocate_at(&mut self, labels: &Labels, address: IpAddr, nets: &BTreeSet<IpNet>) -> Identity {
        let inside = nets.iter().filter(|net| net.contains(&address.to_canonical()));
        let of_nets = inside.map(|net| Label::new("cidr", &net.to_string(), ""));
        let identity = self.allocate(&Labels::new(labels.iter().cloned().chain(of_nets)));
        self.addresses.insert(identity, address);
        identity
    }

    /// An address that stands for all of a number's.
    #[must_use]
    pub fn address(&self, identity: Identity) -> Option<IpAddr> {
        self.addresses.get(&identity).copied()
    }

    /// What a number stands for.
    #[must_use]
    pub fn labels(&self, identity: Identity) -> Option<&Labels> {
        self.labels.get(&identity)
    }

    /// The CIDR of a number, if it is one's.
    #[must_use]
    pub fn cidr(&self, identity: Identity) -> Option<IpNet> {
        self.cidrs.get(&identity).copied()
    }

    /// How many there are; it never gets less.
    #[must_use]
    pub fn count(&self) -> usize {
        self.labels.len()
    }

    /// Every number with its labels, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Identity, &Labels)> {
        self.labels.iter().map(|(identity, labels)| (*identity, labels))
    }

    fn insert(&mut self, identity: Identity, labels: Labels) {
        self.by_labels.insert(labels.clone(), identity);
        self.labels.insert(identity, labels);
    }
}

/// The same for equal label sets, in every build of every version: other nodes' numbers are made of it too. FNV-1a, and the
/// last step of splitmix64 so that every bit counts.
fn hash(labels: &Labels) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let texts = labels.iter().flat_map(|label| [&label.source, &label.key, &label.value]);
    // 255 is in no text: what a label ends with is not what the next begins with.
    for byte in texts.flat_map(|text| text.bytes().chain([u8::MAX])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests;
