//! One look at all sockets of a pod.

use std::{io, net::SocketAddr, os::fd::AsFd, sync::atomic::Ordering, time::SystemTime};

use rules::Direction;

use super::{
    Shared, Target,
    fate::{Fate, Judge, Listening},
};
use crate::{
    flow::{DropReason, DropRecord, Record},
    metrics::count,
    pod_net::{Diag, Flow, Kind, PodNetns, Transport},
    policy::{EndpointState, World},
};

/// Of TCP's flags: what the other side of an ended connection gets.
const RST: u8 = 4;

/// A look is about to begin.
pub(super) struct Sweep<'s> {
    pub(super) target: &'s Target,
    /// What cannot be told now may be left for the next one.
    pub(super) patient: bool,
    pub(super) shared: &'s Shared,
}

/// What it found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    pub(super) ended: usize,
    pub(super) undecided: usize,
}

impl Sweep<'_> {
    pub(super) fn run(&self, netns: &PodNetns) -> io::Result<Found> {
        let world = self.shared.store.current();
        let mut found = Found::default();
        let Some(endpoint) = world.endpoints.get(&self.target.endpoint) else { return Ok(found) };
        if [Direction::Ingress, Direction::Egress].iter().all(|direction| !endpoint.direction(*direction).enforced()) {
            return Ok(found);
        }
        let mut diag = Diag::open(netns)?;
        let own = self.shared.own.as_fd();
        let transports = [Transport::Tcp, Transport::Udp].into_iter();
        for transport in transports.filter(|transport| !self.shared.lacking.contains(transport)) {
            let mut listening = Listening::default();
            diag.each(transport, Kind::Listening, own, |flow, _hand| {
                listening.add(flow);
                Ok(())
            })?;
            let judge = Judge {
                world: &world,
                endpoint,
                host_allowed: self.target.host_allowed,
                listening,
                patient: self.patient,
            };
            diag.each(transport, Kind::Connected, own, |flow, hand| {
                if self.shared.stopped.load(Ordering::Relaxed) {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                match judge.fate(flow) {
                    Fate::Stays => {}
                    Fate::Undecided => found.undecided += 1,
                    Fate::Ends { direction, needs_proxy } => {
                        if hand.end(flow)? {
                            found.ended += 1;
                            count(&self.shared.counters.existing_connections_ended);
                            self.record(flow, direction, needs_proxy, &world, endpoint);
                        }
                    }
                }
                Ok(())
            })?;
        }
        Ok(found)
    }

    /// As of a connection that is refused.
    fn record(&self, flow: &Flow, direction: Direction, needs_proxy: bool, world: &World, endpoint: &EndpointState) {
        #[expect(clippy::disallowed_methods, reason = "this is where the connection ends")]
        let now = SystemTime::now();
        let other = world.ipcache.lookup(flow.remote.ip());
        let [source, destination] = world.ends(self.target.endpoint, direction, flow.local, flow.remote);
        let port = SocketAddr::port(&destination.1);
        let protocol = flow.transport.number();
        let denial = endpoint.direction(direction).denial_of(other.identity(), protocol, port);
        let (reason, detail) = match &denial.rule {
            _ if needs_proxy => (DropReason::PolicyDenied, "ended-needs-http-rules"),
            Some(_) => (DropReason::PolicyDeny, "ended-policy-changed"),
            None => (DropReason::PolicyDenied, "ended-policy-changed"),
        };
        self.shared.flows.emit(Record::Drop(Box::new(DropRecord {
            time: now,
            direction,
            protocol,
            source,
            destination,
            denied_by: denial.denied_by,
            rule: denial.rule,
            tier: denial.tier,
            // Of a connection that needs HTTP rules no rule was missed.
            nearest: denial.nearest.filter(|_| !needs_proxy),
            audit: false,
            flags: if flow.transport == Transport::Tcp { RST } else { 0 },
            backends: None,
            repeats: 0,
            process: None,
            reason,
            detail,
            revision: world.revision,
            is_verdict: false,
        })));
    }
}
