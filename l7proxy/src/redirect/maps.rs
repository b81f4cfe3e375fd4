//! Typed handles of the maps: one set for the control thread, a small one for each data worker.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, LpmTrie, Map, MapData, PerCpuArray, SkStorage, SockHash, lpm_trie::Key},
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use redirect_abi::{
    ANNOUNCED, Addr, ConnKey, LEG, OWN_SOCKET, POLICY_BITS, Peer, PolicyKey, PolicyValue, SOURCE_BOUND, V4_MAPPED,
    stat, v4,
};

use super::{Count, Hold, RedirectError, counters, pod_states::PodStates, reconcile::ignore_missing};

/// The form that the kernel side keeps addresses in.
pub(super) fn addr(address: IpAddr) -> Addr {
    match address {
        IpAddr::V4(four) => v4(u32::from_ne_bytes(four.octets())),
        IpAddr::V6(six) => {
            let mut words = [0; 4];
            for (word, bytes) in words.iter_mut().zip(six.octets().chunks_exact(4)) {
                *word = u32::from_ne_bytes(bytes.try_into().unwrap_or_default());
            }
            words
        }
    }
}

/// The way back; `::ffff:a.b.c.d` is IPv4.
pub(super) fn ip(addr: Addr) -> IpAddr {
    if let [0, 0, V4_MAPPED, four] = addr {
        return IpAddr::V4(Ipv4Addr::from(four.to_ne_bytes()));
    }
    let mut octets = [0; 16];
    for (bytes, word) in octets.chunks_exact_mut(4).zip(addr) {
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    IpAddr::V6(Ipv6Addr::from(octets))
}

/// Maps that only the control thread writes.
pub(super) struct ControlMaps {
    pub(super) pods: PodStates,
    pub(super) addresses: HashMap<MapData, Addr, u64>,
    /// Each with a sum of its address, see `redirect_abi::known`.
    pub(super) identities: HashMap<MapData, Addr, u64>,
    pub(super) cidrs: Cidrs,
    pub(super) policy: PolicyMaps,
    pub(super) listeners: SockHash<MapData, u64>,
    pub(super) generation: Array<MapData, u32>,
    pub(super) ends: HashMap<MapData, u32, u64>,
    stats: PerCpuArray<MapData, u64>,
    shared: Shared,
}

/// CIDRs that policies name, by family.
pub(super) struct Cidrs {
    four: LpmTrie<MapData, u32, u32>,
    six: LpmTrie<MapData, Addr, u32>,
}

impl Cidrs {
    pub(super) fn insert(&mut self, net: IpNet, identity: u32) -> Result<(), RedirectError> {
        match net {
            IpNet::V4(net) => self.four.insert(&key4(net), identity, 0).map_err(RedirectError::map("CIDRS4")),
            IpNet::V6(net) => self.six.insert(&key6(net), identity, 0).map_err(RedirectError::map("CIDRS6")),
        }
    }

    pub(super) fn remove(&mut self, net: IpNet) -> Result<(), RedirectError> {
        match net {
            IpNet::V4(net) => ignore_missing(self.four.remove(&key4(net)), "CIDRS4"),
            IpNet::V6(net) => ignore_missing(self.six.remove(&key6(net)), "CIDRS6"),
        }
    }
}

fn key4(net: Ipv4Net) -> Key<u32> {
    Key::new(u32::from(net.prefix_len()), u32::from_ne_bytes(net.network().octets()))
}

fn key6(net: Ipv6Net) -> Key<Addr> {
    Key::new(u32::from(net.prefix_len()), addr(net.network().into()))
}

/// What is allowed or redirected: entries for one port, and others.
pub(super) struct PolicyMaps {
    exact: HashMap<MapData, PolicyKey, PolicyValue>,
    prefix: LpmTrie<MapData, PolicyKey, PolicyValue>,
}

impl PolicyMaps {
    pub(super) fn insert(&mut self, bits: u32, key: PolicyKey, value: PolicyValue) -> Result<(), RedirectError> {
        if bits == POLICY_BITS {
            return self.exact.insert(key, value, 0).map_err(RedirectError::map("POLICY_EXACT"));
        }
        self.prefix.insert(&Key::new(bits, key), value, 0).map_err(RedirectError::map("POLICY_PREFIX"))
    }

    pub(super) fn remove(&mut self, bits: u32, key: PolicyKey) -> Result<(), RedirectError> {
        if bits == POLICY_BITS {
            return ignore_missing(self.exact.remove(&key), "POLICY_EXACT");
        }
        ignore_missing(self.prefix.remove(&Key::new(bits, key)), "POLICY_PREFIX")
    }
}

/// Maps that data workers use too: kept as they are, each worker gets handles of its own.
#[derive(Debug)]
struct Shared {
    conns: MapData,
    own: MapData,
    released: MapData,
    seen: MapData,
}

impl ControlMaps {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, RedirectError> {
        Ok(Self {
            pods: PodStates::new(take(ebpf, "PODS")?, take(ebpf, "POD_STATES")?),
            addresses: take(ebpf, "ADDRESSES")?,
            identities: take(ebpf, "IDENTITIES")?,
            cidrs: Cidrs { four: take(ebpf, "CIDRS4")?, six: take(ebpf, "CIDRS6")? },
            policy: PolicyMaps { exact: take(ebpf, "POLICY_EXACT")?, prefix: take(ebpf, "POLICY_PREFIX")? },
            listeners: take(ebpf, "LISTENERS")?,
            generation: take(ebpf, "GENERATION")?,
            ends: take(ebpf, "ENDS")?,
            stats: take(ebpf, "STATS")?,
            shared: Shared {
                conns: data(ebpf, "CONNS")?,
                own: data(ebpf, "OWN")?,
                seen: data(ebpf, "SEEN")?,
                released: data(ebpf, "RELEASED")?,
            },
        })
    }

    pub(super) fn for_worker(&self) -> Result<DataMaps, RedirectError> {
        Ok(DataMaps {
            conns: typed(reopen(&self.shared.conns, "CONNS")?, "CONNS", Map::LruHashMap)?,
            own: typed(reopen(&self.shared.own, "OWN")?, "OWN", Map::SkStorage)?,
            seen: typed(reopen(&self.shared.seen, "SEEN")?, "SEEN", Map::SkStorage)?,
        })
    }

    pub(super) fn hold(&self) -> Result<Hold, RedirectError> {
        typed(reopen(&self.shared.released, "RELEASED")?, "RELEASED", Map::HashMap).map(Hold)
    }

    pub(super) fn own_sockets(&self) -> io::Result<OwnedFd> {
        self.shared.own.fd().as_fd().try_clone_to_owned()
    }

    fn count(&self, index: u32) -> Result<u64, RedirectError> {
        let slots = self.stats.get(&index, 0).map_err(RedirectError::map("STATS"))?;
        Ok(slots.iter().sum())
    }

    pub(super) fn refusals_lost(&self) -> Result<u64, RedirectError> {
        self.count(stat::EVENTS_LOST)
    }

    pub(super) fn counters(&self) -> Result<Vec<Count>, RedirectError> {
        counters::OF_PROGRAMS.into_iter().map(|(name, index, _)| Ok((name, self.count(index)?))).collect()
    }
}

/// Where a redirected connection wanted to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Original {
    /// The destination.
    pub address: SocketAddr,
    /// The own address that the client chose, if it did.
    pub source: Option<IpAddr>,
}

/// What one data worker needs of the kernel.
#[derive(Debug)]
pub struct DataMaps {
    conns: HashMap<MapData, ConnKey, Peer>,
    own: SkStorage<MapData, u32>,
    seen: SkStorage<MapData, Peer>,
}

impl DataMaps {
    /// Where a redirected connection wanted to go: `client` and `accepted` are the accepted socket's peer and local
    /// address. `None`: it was not redirected here by the kernel.
    #[must_use]
    pub fn original(&self, cookie: u64, client: SocketAddr, accepted: SocketAddr) -> Option<Original> {
        let key = conn_key(cookie, client, accepted.port());
        // Any error means that nothing is known of it, which is all that counts: the connection is refused.
        let peer = self.conns.get(&key, 0).ok()?;
        let address = SocketAddr::new(ip(peer.addr), peer.port);
        Some(Original { address, source: (peer.flags & SOURCE_BOUND != 0).then(|| client.ip()) })
    }

    /// Marks a socket as the proxy's own: it is never judged or redirected, nor are a listener's children.
    pub fn mark_own(&mut self, socket: &impl AsRawFd) -> io::Result<()> {
        self.own.insert(socket, OWN_SOCKET, 0).map_err(io::Error::other)
    }

    /// To be called before `leg` connects to an application of its own pod: it stands for `client`, and the application
    /// will be told so.
    pub fn stand_for(&mut self, leg: &impl AsRawFd, client: SocketAddr) -> io::Result<()> {
        let client = Peer { addr: addr(client.ip()), port: client.port(), flags: LEG, pad: 0 };
        self.seen.insert(leg, client, 0).map_err(io::Error::other)
    }

    /// To be called when `leg` is connected: whether the application will be told. It would take this process for the
    /// client if the kernel side had no room, or did not see the socket: it sees those of the cgroup that it is attached to.
    pub fn must_be_announced(&self, leg: &impl AsRawFd) -> io::Result<()> {
        let seen = self.seen.get(leg, 0).map_err(io::Error::other)?;
        if seen.flags & ANNOUNCED != 0 {
            return Ok(());
        }
        let what = "a pod's application could not be told its client: is this process in redirect.cgroup?";
        tracing::error!("{what}");
        Err(io::Error::other(what))
    }
}

fn conn_key(cookie: u64, source: SocketAddr, port: u16) -> ConnKey {
    ConnKey { cookie, source: addr(source.ip()), source_port: source.port(), port, pad: [0; 4] }
}

pub(super) fn take<T: TryFrom<Map, Error = aya::maps::MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<T, RedirectError> {
    let map = ebpf.take_map(name).ok_or(RedirectError::NoObject)?;
    T::try_from(map).map_err(RedirectError::map(name))
}

fn data(ebpf: &mut Ebpf, name: &'static str) -> Result<MapData, RedirectError> {
    match ebpf.take_map(name) {
        Some(Map::HashMap(data) | Map::LruHashMap(data) | Map::SkStorage(data)) => Ok(data),
        _ => Err(RedirectError::NoObject),
    }
}

fn typed<T: TryFrom<Map, Error = aya::maps::MapError>>(
    data: MapData,
    name: &'static str,
    kind: fn(MapData) -> Map,
) -> Result<T, RedirectError> {
    T::try_from(kind(data)).map_err(RedirectError::map(name))
}

fn reopen(data: &MapData, name: &'static str) -> Result<MapData, RedirectError> {
    let fd = data.fd().as_fd().try_clone_to_owned();
    let fd = fd.map_err(|error| RedirectError::Map { map: name, reason: error.to_string() })?;
    MapData::from_fd(fd).map_err(RedirectError::map(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in ["10.77.0.2", "fd77::2", "::1"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(ip(addr(address)), address);
        }
        assert_eq!(ip(addr("::ffff:10.0.0.1".parse().unwrap())), "10.0.0.1".parse::<IpAddr>().unwrap());
        assert_eq!(addr("10.0.0.1".parse().unwrap()), v4(u32::from_be_bytes([10, 0, 0, 1]).to_be()));
    }
}
