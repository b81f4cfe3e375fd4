//! Whether a connection may go on.
//!
//! Owns the decision, and the direction that it is decided by. The kernel judges a connection once, where it is opened: at
//! `connect()` by what may leave the pod, at the first packet by what may enter it. So who opened it is asked first:
//!
//! - TCP in the middle of its handshake, or with nothing in flight: the kernel's own numbers tell.
//! - TCP with something in flight: the hooks' mark, if they saw it opened. Else it is not known now. When both directions agree, that does not matter; else it is left for
//!   the next look. If that does not tell either, a socket with the port and address of a listening one was accepted by
//!   it: the kernel gives no `connect()` such a port by itself. Everything else was opened by the pod.
//! - Connected UDP: the same rule, with sockets that have no peer for listening ones.
//!
//! A pod that deceives this (a client bound to the port of its own listener, by `SO_REUSEPORT`) is not what ending is for:
//! it gets a look more. It is no way around a verdict on new connections.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
};

use rules::{Direction, Identity, L4Verdict, Protocol};

use crate::{
    endpoint::Peer,
    pod_net::{Flow, Opener, Transport},
    policy::{EndpointState, World},
    redirect::{ACCEPTED_SOCKET, ALLOWED_SOCKET, OWN_SOCKET},
};

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    /// Cannot be told yet.
    Undecided,
    Ends {
        direction: Direction,
        /// It is not denied, but needs HTTP rules and passes the proxy by.
        needs_proxy: bool,
    },
}

/// Where a pod's sockets listen.
#[derive(Debug, Default)]
pub(super) struct Listening {
    any: HashSet<(u8, u16)>,
    at: HashSet<(u8, SocketAddr)>,
}

impl Listening {
    pub(super) fn add(&mut self, flow: &Flow) {
        let protocol = flow.transport.number();
        if flow.local.ip().is_unspecified() {
            self.any.insert((protocol, flow.local.port()));
        } else {
            self.at.insert((protocol, flow.local));
        }
    }

    fn accepted(&self, flow: &Flow) -> bool {
        let protocol = flow.transport.number();
        self.any.contains(&(protocol, flow.local.port())) || self.at.contains(&(protocol, flow.local))
    }
}

/// What a pod's connections are judged by.
#[derive(Debug)]
pub(super) struct Judge<'w> {
    pub(super) world: &'w World,
    pub(super) endpoint: &'w EndpointState,
    pub(super) host_allowed: bool,
    pub(super) listening: Listening,
    /// There will be another look.
    pub(super) patient: bool,
}

impl Judge<'_> {
    pub(super) fn peer(&self, address: IpAddr) -> &Peer {
        self.world.ipcache.lookup(address)
    }

    pub(super) fn fate(&self, flow: &Flow) -> Fate {
        if flow.mark == OWN_SOCKET || self.is_own_traffic(flow) {
            return Fate::Stays;
        }
        let probable = if self.listening.accepted(flow) { Direction::Ingress } else { Direction::Egress };
        let marked = match flow.mark {
            ALLOWED_SOCKET => Some(Opener::Local),
            ACCEPTED_SOCKET => Some(Opener::Remote),
            _ => None,
        };
        let direction = match (flow.opener.or(marked), flow.transport) {
            (Some(Opener::Local), _) => Direction::Egress,
            (Some(Opener::Remote), _) => Direction::Ingress,
            (None, Transport::Udp) => probable,
            (None, Transport::Tcp) => {
                let agree =
                    self.ends(flow, Direction::Egress).is_some() == self.ends(flow, Direction::Ingress).is_some();
                if self.patient && !agree {
                    return Fate::Undecided;
                }
                probable
            }
        };
        match self.ends(flow, direction) {
            None => Fate::Stays,
            // It may be the proxy's own, which will take it.
            Some(true) if flow.half_open => Fate::Undecided,
            Some(needs_proxy) => Fate::Ends { direction, needs_proxy },
        }
    }

    /// The pod's traffic to itself is never judged. Connections that were redirected are of that kind: they go to the
    /// proxy's ports at the pod's own address, and from the proxy to the application at that address.
    fn is_own_traffic(&self, flow: &Flow) -> bool {
        let remote = flow.remote.ip();
        let is_loopback = remote.is_loopback() || remote.is_unspecified();
        // A link-local address is nobody's but who has it.
        is_loopback || remote == flow.local.ip() || self.peer(remote).id == self.endpoint.peer.id
    }

    /// As the kernel's entries have it: `None` is allowed, `Some(true)` needs the proxy, `Some(false)` is denied.
    fn ends(&self, flow: &Flow, direction: Direction) -> Option<bool> {
        let peer = self.peer(flow.remote.ip()).identity();
        let port = match direction {
            Direction::Egress => flow.remote.port(),
            Direction::Ingress if peer == Identity::HOST && self.host_allowed => return None,
            Direction::Ingress => flow.local.port(),
        };
        let protocol = Protocol::from_number(flow.transport.number());
        match self.endpoint.direction(direction).l4(peer, protocol, port) {
            L4Verdict::NotEnforced | L4Verdict::Allowed(_) => None,
            L4Verdict::Redirect => Some(true),
            L4Verdict::Denied(_) => Some(false),
        }
    }
}

#[cfg(test)]
mod tests;
