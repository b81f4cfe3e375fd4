//! What the programs tell the proxy, and how many equal things they did not tell.

use crate::{Addr, EGRESS};

/// `TOLD`: refusals that are equal as far as records are concerned.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ToldKey {
    /// Cookie of the network namespace.
    pub cookie: u64,
    /// The other side.
    pub remote: Addr,
    /// [`PolicyValue::rule`](crate::PolicyValue::rule) of the entry that decided.
    pub rule: u32,
    /// Destination port, host byte order; for ICMP the type.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// [`INGRESS`](crate::INGRESS) or [`EGRESS`].
    pub direction: u8,
    /// `REASON_*`.
    pub reason: u8,
    /// Zero.
    pub pad: [u8; 7],
}
const _: () = assert!(size_of::<ToldKey>() == 8 + 16 + 4 + 2 + 1 + 1 + 1 + 7);

/// Value of `TOLD`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// How many were not handed over one by one, since the entry was made. Only grows.
    pub untold: u64,
    /// Beginning of the second in which the last one was handed over, in nanoseconds since boot.
    pub at: u64,
    /// How many were handed over since then.
    pub told: u32,
    /// Zero.
    pub pad: u32,
}
const _: () = assert!(size_of::<Told>() == 8 + 8 + 4 + 4);

/// Entries that `TOLD` may have.
pub const TOLD_ENTRIES: usize = 8192;

/// `EVENTS`: one refusal.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// Cookie of the pod's network namespace.
    pub cookie: u64,
    /// Process that asked (egress only), 0 = unknown.
    pub pid: u32,
    /// Endpoint number, 0 = unknown.
    pub endpoint: u32,
    /// Identity of the other side.
    pub identity: u32,
    /// Local address (egress: zero until bound).
    pub local: Addr,
    /// The other side.
    pub remote: Addr,
    /// Local port, host byte order, 0 = not bound yet. For ICMP, which has no ports, the destination's is the type and the
    /// source's the code.
    pub local_port: u16,
    /// Remote port, host byte order.
    pub remote_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// [`INGRESS`](crate::INGRESS) or [`EGRESS`].
    pub direction: u8,
    /// `REASON_*`.
    pub reason: u8,
    /// TCP flags of a packet; 0 for a call, which has none yet.
    pub flags: u8,
    /// Command name, NUL-padded (egress only).
    pub command: [u8; 16],
    /// [`PolicyValue::rule`](crate::PolicyValue::rule) of the entry that decided, 0 = no rule did.
    pub rule: u32,
}
const _: () = assert!(size_of::<Refusal>() == 8 + 3 * 4 + 2 * 16 + 2 * 2 + 4 + 16 + 4);

impl Refusal {
    /// Which others it is equal to.
    #[must_use]
    pub const fn key(&self) -> ToldKey {
        let port = if self.direction == EGRESS { self.remote_port } else { self.local_port };
        ToldKey {
            cookie: self.cookie,
            remote: self.remote,
            rule: self.rule,
            port,
            protocol: self.protocol,
            direction: self.direction,
            reason: self.reason,
            pad: [0; 7],
        }
    }
}

/// `CONNECTIONS`: a connection that policy allows without the proxy begins or ends.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// Cookie of the pod's network namespace.
    pub cookie: u64,
    /// Of one that ends: nanoseconds since it began.
    pub lasted: u64,
    /// Of one that ends: bytes of the pod that the other side acknowledged.
    pub sent: u64,
    /// Of one that ends: bytes that the pod received.
    pub received: u64,
    /// Process that connected (egress only), 0 = unknown.
    pub pid: u32,
    /// Endpoint number.
    pub endpoint: u32,
    /// Identity of the other side.
    pub identity: u32,
    /// [`PolicyValue::rule`](crate::PolicyValue::rule) of the entry that allowed it.
    pub rule: u32,
    /// Local address.
    pub local: Addr,
    /// The other side.
    pub remote: Addr,
    /// Local port, host byte order.
    pub local_port: u16,
    /// Remote port, host byte order.
    pub remote_port: u16,
    /// [`INGRESS`](crate::INGRESS) or [`EGRESS`].
    pub direction: u8,
    /// 1: it ends; 0: it begins.
    pub ended: u8,
    /// Zero.
    pub pad: [u8; 2],
    /// Command name, NUL-padded (egress only).
    pub command: [u8; 16],
}
const _: () = assert!(size_of::<Connection>() == 4 * 8 + 4 * 4 + 2 * 16 + 2 * 2 + 1 + 1 + 2 + 16);

/// `STRANGERS`: a namespace that no pod is enrolled for made a socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stranger {
    /// Cookie of the network namespace.
    pub cookie: u64,
    /// Process that asked.
    pub pid: u32,
    /// Zero.
    pub pad: u32,
}
const _: () = assert!(size_of::<Stranger>() == 8 + 4 + 4);
