//! One connection's view of the policy: the newest at each request.

use std::{net::IpAddr, sync::Arc};

use rules::{Direction, DirectionPolicy};
use tokio::sync::watch;

use super::{EndpointState, Store};
use crate::endpoint::{EndpointId, Peer};

/// What judges a request: taken anew for each.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Revision of the world that it was taken from.
    pub revision: u64,
    /// The local pod.
    pub endpoint: Arc<EndpointState>,
    /// The other side.
    pub peer: Arc<Peer>,
    direction: Direction,
}

impl Snapshot {
    /// The rules that apply to this connection.
    #[must_use]
    pub fn policy(&self) -> &DirectionPolicy {
        self.endpoint.direction(self.direction)
    }
}

/// Follows the store for one connection of one pod with one other side.
#[derive(Clone, Debug)]
pub struct Live {
    store: Arc<Store>,
    endpoint: EndpointId,
    direction: Direction,
    remote: IpAddr,
    newest: Option<Snapshot>,
}

impl Live {
    /// `remote` is the address of the other side: the original destination on egress, the client on ingress.
    #[must_use]
    pub fn new(store: Arc<Store>, endpoint: EndpointId, direction: Direction, remote: IpAddr) -> Self {
        Self { store, endpoint, direction, remote, newest: None }
    }

    /// Each new revision.
    #[must_use]
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.store.revisions()
    }

    /// The newest snapshot, or `None` when the pod is no longer known: then nothing may pass.
    pub fn current(&mut self) -> Option<&Snapshot> {
        let world = self.store.load();
        if self.newest.as_ref().is_none_or(|known| known.revision != world.revision) {
            self.newest = world.endpoints.get(&self.endpoint).map(|endpoint| Snapshot {
                revision: world.revision,
                endpoint: Arc::clone(endpoint),
                peer: Arc::clone(world.ipcache.lookup(self.remote)),
                direction: self.direction,
            });
        }
        self.newest.as_ref()
    }
}
