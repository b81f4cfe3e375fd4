//! What is in force now: one immutable [`World`] per revision, swapped whole.
//!
//! Owns publication of policy to the data path. Never compiles a policy and never touches the kernel.
//! Start at [`Store`]; a connection reads it through [`Live`].

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use rules::{Direction, DirectionPolicy, EndpointPolicy};
use tokio::sync::watch;

use crate::endpoint::{End, EndpointId, IpCache, Peer};

mod live;

pub use live::{Live, Snapshot};

/// A local pod and its policy at one revision.
#[derive(Debug)]
pub struct EndpointState {
    /// The pod as records show it.
    pub peer: Arc<Peer>,
    /// What its policies mean.
    pub policy: EndpointPolicy,
}

impl EndpointState {
    /// The rules of one direction.
    #[must_use]
    pub fn direction(&self, direction: Direction) -> &DirectionPolicy {
        self.policy.direction(direction)
    }
}

/// Everything that a verdict depends on, at one revision.
#[derive(Debug, Default)]
pub struct World {
    /// Grows by one with each change of policies, pods or addresses.
    pub revision: u64,
    /// Address → identity.
    pub ipcache: IpCache,
    /// Pods of this node.
    pub endpoints: HashMap<EndpointId, Arc<EndpointState>>,
}

impl World {
    /// Source and destination of what a pod of this node sends (egress) or gets.
    #[must_use]
    pub fn ends(&self, pod: EndpointId, direction: Direction, local: SocketAddr, remote: SocketAddr) -> [End; 2] {
        let own = self.endpoints.get(&pod).map_or_else(|| self.ipcache.lookup(local.ip()), |endpoint| &endpoint.peer);
        let (own, other) = ((Arc::clone(own), local), (Arc::clone(self.ipcache.lookup(remote.ip())), remote));
        match direction {
            Direction::Egress => [own, other],
            Direction::Ingress => [other, own],
        }
    }
}

/// The published world. Reading never blocks; one writer.
#[derive(Debug, Default)]
pub struct Store {
    world: ArcSwap<World>,
    /// The newest revision, for those who wait for changes.
    revisions: watch::Sender<u64>,
}

impl Store {
    /// The world of this moment.
    #[must_use]
    pub fn current(&self) -> Arc<World> {
        self.world.load_full()
    }

    /// Puts `world` in force: the next request is judged by it.
    pub fn publish(&self, world: World) {
        let revision = world.revision;
        self.world.store(Arc::new(world));
        self.revisions.send_replace(revision);
    }

    fn revisions(&self) -> watch::Receiver<u64> {
        self.revisions.subscribe()
    }

    fn load(&self) -> arc_swap::Guard<Arc<World>> {
        self.world.load()
    }
}
