//! Keys and values of the maps that the eBPF programs and the proxy share.
//!
//! Every type has explicit padding and an asserted size, because the kernel hashes and compares raw bytes.
//! One address form everywhere: 16 bytes, IPv4 as `::ffff:a.b.c.d` ([`Addr`]), so that no key has a family branch and
//! v4-mapped sockets meet their peers.
#![no_std]

mod event;
#[cfg(feature = "user")]
mod user;

pub use event::{Connection, Refusal, Stranger, TOLD_ENTRIES, Told, ToldKey};

/// An address: IPv6 in network byte order as four words, IPv4 as `::ffff:a.b.c.d`.
pub type Addr = [u32; 4];

/// Third word of an IPv4 address in [`Addr`] form, in network byte order.
pub const V4_MAPPED: u32 = 0x0000_ffff_u32.to_be();

/// [`Addr`] form of an IPv4 address given in network byte order.
#[inline(always)]
#[must_use]
pub const fn v4(addr_be: u32) -> Addr {
    [0, 0, V4_MAPPED, addr_be]
}

/// Ports of the pod's address that stand for the egress listener: `base..base + EGRESS_PORTS`. More than one, because all
/// redirected connections of a pod share its local ports: towards each of these as towards one destination.
pub const EGRESS_PORTS: u16 = 64;

/// Traffic that enters the pod.
pub const INGRESS: u8 = 1;
/// Traffic that leaves the pod.
pub const EGRESS: u8 = 2;

/// Passes without the proxy.
pub const ALLOW: u8 = 1;
/// Goes to the proxy, which decides each request.
pub const REDIRECT: u8 = 2;
/// Refused in the kernel.
pub const DENY: u8 = 3;
/// Passes without the proxy, and is told: what denies it is only audited.
pub const AUDIT: u8 = 4;

/// Set in [`Pod::flags`]: only what an entry allows may enter.
pub const INGRESS_ENFORCED: u32 = 1;
/// Set in [`Pod::flags`]: only what an entry allows may leave.
pub const EGRESS_ENFORCED: u32 = 2;
/// Set in [`Pod::flags`]: the node itself may always enter (probes), as in Cilium on Kubernetes.
pub const HOST_ALLOWED: u32 = 4;

/// Set in [`Pod::flags`]: every interface that leads out of it is guarded, so packets are judged that no hook asked about.
pub const BACKSTOP: u32 = 8;

/// Bit of a `LISTENERS` key (or'd with the cookie): the listener for what leaves the pod.
pub const LISTENER_EGRESS: u64 = 1 << 62;
/// Bit of a `LISTENERS` key (or'd with the cookie): the listener for IPv6. A socket of one family takes no other's packets.
pub const LISTENER_V6: u64 = 1 << 63;

/// Value of `OWN`: a socket of the proxy, never judged and never redirected.
pub const OWN_SOCKET: u32 = 1;
/// Value of `OWN`: a TCP socket whose `connect()` a pod's policy allowed without the proxy.
pub const ALLOWED_SOCKET: u32 = 2;
/// Value of `OWN`: a TCP socket that a pod accepted; what may enter was judged before.
pub const ACCEPTED_SOCKET: u32 = 3;

/// The node itself.
pub const IDENTITY_HOST: u32 = 1;

/// World, the identity of every address that nothing else is known of.
pub const IDENTITY_WORLD: u32 = 2;

/// Value of `IDENTITIES`: an identity, and in the upper half a sum of its address.
#[inline(always)]
#[must_use]
pub const fn known(identity: u32, addr: &Addr) -> u64 {
    (sum(addr) as u64) << 32 | identity as u64
}

/// The identity in a value of `IDENTITIES`, if that is about `addr`.
#[inline(always)]
#[must_use]
pub const fn identity_of(known: u64, addr: &Addr) -> Option<u32> {
    if known >> 32 == sum(addr) as u64 { Some(known as u32) } else { None }
}

/// Tells IPv4 addresses apart, and of others nearly all.
#[inline(always)]
const fn sum(addr: &Addr) -> u32 {
    addr[0] ^ addr[1] ^ addr[2] ^ addr[3]
}

/// Places in `POD_STATES`: twice as many as there are pods, because one is not given away at once.
pub const POD_STATES_ENTRIES: u32 = 2048;

/// `POD_STATES`: a pod. `PODS`, by cookie of its network namespace, says where; the proxy writes that last of all at enrolment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Endpoint number, for events.
    pub endpoint: u32,
    /// `INGRESS_ENFORCED` | `EGRESS_ENFORCED`.
    pub flags: u32,
    /// First field of the [`PolicyKey`]s in force, shared by pods that may do the same. Changing it switches all entries of
    /// the pod at once.
    pub policy: u32,
    /// IPv4 address of the pod in network byte order: where redirected connects are sent. Zero: it has none.
    pub ip4: u32,
    /// The same for IPv6.
    pub ip6: Addr,
    /// First of [`EGRESS_PORTS`] ports, host byte order.
    pub egress_port: u16,
    /// Zero.
    pub pad: [u8; 2],
    /// Value for `errno` when a connect is refused.
    pub errno: u32,
}
const _: () = assert!(size_of::<Pod>() == 4 * 4 + 16 + 2 + 2 + 4);

/// Entries that `POLICY_EXACT` and `POLICY_PREFIX` may have together.
pub const POLICY_ENTRIES: usize = 262_144;

/// `POLICY_EXACT`, `POLICY_PREFIX`: what a pod may exchange with an identity. The longest prefix of an identity's own entries decides; only an
/// identity that has none is judged by those of identity 0, which is any.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyKey {
    /// [`Pod::policy`].
    pub policy: u32,
    /// Identity of the other side, 0 = any other.
    pub identity: u32,
    /// [`INGRESS`] or [`EGRESS`].
    pub direction: u8,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port in network byte order, so that a prefix of it is a block of ports.
    pub port_be: u16,
}
const _: () = assert!(size_of::<PolicyKey>() == 4 + 4 + 1 + 1 + 2);

/// Bits of a [`PolicyKey`] that name slot, identity and direction: the prefix of an entry for every protocol.
pub const POLICY_BITS_ANY: u32 = 8 * (4 + 4 + 1);
/// Bits of a [`PolicyKey`] that name a protocol too: the prefix of an entry for every port.
pub const POLICY_BITS_PROTOCOL: u32 = POLICY_BITS_ANY + 8;
/// All bits of a [`PolicyKey`]: the prefix of an entry for one port.
pub const POLICY_BITS: u32 = POLICY_BITS_PROTOCOL + 16;

/// Value of `POLICY_EXACT` and `POLICY_PREFIX`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyValue {
    /// [`ALLOW`], [`REDIRECT`], [`DENY`] or [`AUDIT`]. What beats what was decided when the entries were made.
    pub action: u8,
    /// Zero.
    pub pad: [u8; 3],
    /// What beats what, in Cilium's terms: for who looks at the map. No program reads it.
    pub precedence: u32,
    /// The rule that decides, for events; 0: none does, or requests do.
    pub rule: u32,
}
const _: () = assert!(size_of::<PolicyValue>() == 1 + 3 + 4 + 4);

/// `CONNS`: a redirected connection as the proxy's listener sees it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConnKey {
    /// Cookie of the network namespace.
    pub cookie: u64,
    /// Source address (the pod's).
    pub source: Addr,
    /// Source port, host byte order.
    pub source_port: u16,
    /// Port that the connection was sent to (one of the pod's egress ports), host byte order.
    pub port: u16,
    /// Zero.
    pub pad: [u8; 4],
}
const _: () = assert!(size_of::<ConnKey>() == 8 + 16 + 2 + 2 + 4);

/// An address and port that an application is to see: the original destination of a client, the true client of a server.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Address.
    pub addr: Addr,
    /// Port, host byte order.
    pub port: u16,
    /// [`SOURCE_BOUND`], [`LEG`], [`ANNOUNCED`].
    pub flags: u8,
    /// Zero.
    pub pad: u8,
}
const _: () = assert!(size_of::<Peer>() == 16 + 2 + 1 + 1);

/// Set in [`Peer::flags`] of a redirected connection: the client chose its own address before it connected.
pub const SOURCE_BOUND: u8 = 1;
/// Set in [`Peer::flags`] of a socket: it is the proxy's, about to connect to an application for this client.
pub const LEG: u8 = 2;
/// Set in [`Peer::flags`] of such a socket when it connected and the application can be told.
pub const ANNOUNCED: u8 = 4;

/// `REPLIES`: UDP that a pod sent, so that the answer may enter.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReplyKey {
    /// Cookie of the network namespace.
    pub cookie: u64,
    /// The other side.
    pub remote: Addr,
    /// Port of the other side, host byte order.
    pub remote_port: u16,
    /// Port of the pod, host byte order.
    pub local_port: u16,
    /// Zero.
    pub pad: [u8; 4],
}
const _: () = assert!(size_of::<ReplyKey>() == 8 + 16 + 2 + 2 + 4);

/// `FLOWS`: an exchange of a pod with another side. The same key for both directions.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Cookie of the network namespace.
    pub cookie: u64,
    /// The other side.
    pub remote: Addr,
    /// Port of the other side, host byte order; of an ICMP request and its reply the identifier.
    pub remote_port: u16,
    /// Port of the pod, host byte order; of an ICMP request and its reply the request's type.
    pub local_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub pad: [u8; 3],
}
const _: () = assert!(size_of::<FlowKey>() == 8 + 16 + 2 + 2 + 1 + 3);

/// Value of `FLOWS`. Kept by a process that takes over, as sockets' marks are; see [`SHARED_LAYOUT`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// When the last packet went the way that policy allowed, in nanoseconds since boot.
    pub seen: u64,
    /// `GENERATION` when it was judged.
    pub generation: u32,
    /// `FLOW_*`, and in the upper half [`Pod::flags`] when it was judged.
    pub state: u32,
}
const _: () = assert!(size_of::<Flow>() == 8 + 4 + 4);

/// Set in [`Flow::state`]: what began it left the pod.
pub const FLOW_OUT: u32 = 1;
/// Set in [`Flow::state`]: what began it entered the pod.
pub const FLOW_IN: u32 = 2;
/// Set in [`Flow::state`]: policy allows it as a whole, without the proxy.
pub const FLOW_PLAIN: u32 = 4;

/// Number of the layout of the maps that say what is known of open connections (`OWN`, `SEEN`, `CONNS`, `PEERS`, `REPLIES`,
/// `FLOWS`, `FRAGMENTS`), part of the names of their pins: a process with another number begins with empty ones.
pub const SHARED_LAYOUT: u32 = 3;

/// `FRAGMENTS`: a fragmented packet whose first fragment passed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FragmentKey {
    /// Cookie of the network namespace.
    pub cookie: u64,
    /// Source.
    pub source: Addr,
    /// Destination.
    pub destination: Addr,
    /// Identification of the packet.
    pub id: u32,
    /// IP protocol number.
    pub protocol: u8,
    /// [`INGRESS`] or [`EGRESS`].
    pub direction: u8,
    /// Zero.
    pub pad: [u8; 2],
}
const _: () = assert!(size_of::<FragmentKey>() == 8 + 2 * 16 + 4 + 1 + 1 + 2);

/// Why the kernel refused: no entry allows it.
pub const REASON_POLICY: u8 = 0;
/// Why the kernel refused: L7 rules apply, but this kind of socket or address (link-local) cannot be redirected.
pub const REASON_NO_REDIRECT: u8 = 1;
/// Why the kernel refused: the proxy holds no listener (it is not running).
pub const REASON_NO_PROXY: u8 = 2;
/// Why the kernel refused: the local address is not one that the pod is known to have.
pub const REASON_UNKNOWN_ADDRESS: u8 = 3;
/// Why the kernel refused: a connection to an egress port that was not redirected there.
pub const REASON_NOT_REDIRECTED: u8 = 4;

/// Why the kernel would have refused, and did not: what denies it is only audited.
pub const REASON_AUDIT: u8 = 5;

/// Why the backstop refused: policy does not allow it, and no hook was asked or it did not allow it.
pub const REASON_BACKSTOP: u8 = 6;
/// Why the backstop refused: headers that have no single meaning.
pub const REASON_MALFORMED: u8 = 7;
/// Why the backstop refused: a frame that is not IP, or tagged.
pub const REASON_NOT_IP: u8 = 8;
/// Why the backstop refused: a fragment whose first did not pass.
pub const REASON_FRAGMENT: u8 = 9;
/// Why the kernel refused: no pod is enrolled for the namespace, and such are refused.
pub const REASON_NOT_ENROLLED: u8 = 10;

/// What becomes of calls of namespaces that no pod is enrolled for: they pass.
pub const UNENROLLED_ALLOW: u32 = 0;
/// They fail.
pub const UNENROLLED_DENY: u32 = 1;
/// Their packets are dropped, in the expectation that they are sent again.
pub const UNENROLLED_HOLD: u32 = 2;

/// Indexes of `STATS`.
pub mod stat {
    /// Refusals that found no room in `EVENTS`, nor in `TOLD` to be counted there.
    pub const EVENTS_LOST: u32 = 0;
    /// Redirected connects.
    pub const REDIRECTED: u32 = 1;
    /// Refused by the kernel.
    pub const REFUSED: u32 = 2;
    /// Passed, and would have been refused.
    pub const AUDITED: u32 = 3;
    /// Packets that the backstop dropped; also counted as refused.
    pub const BACKSTOP_DROPPED: u32 = 4;
    /// Refusals that `TOLD` counts, because many equal ones were within a second, or `EVENTS` was full.
    pub const REPEATS: u32 = 5;
    /// Namespaces that no pod is enrolled for and that made a socket while a pod was waited for; told each second at most.
    pub const STRANGERS: u32 = 6;
    /// The same that found no room in `STRANGERS`.
    pub const STRANGERS_LOST: u32 = 7;
    /// Calls of namespaces that no pod is enrolled for that were refused; also counted as refused.
    pub const UNENROLLED: u32 = 8;
    /// Packets of namespaces that no pod is enrolled for that were dropped.
    pub const HELD: u32 = 9;
    /// Beginnings and ends of connections that found no room in `CONNECTIONS`.
    pub const CONNECTIONS_LOST: u32 = 10;
    /// Packets of redirected connections that were over: dropped, and not refused.
    pub const LATE: u32 = 11;
    /// Room for indexes.
    pub const COUNT: u32 = 16;
}
