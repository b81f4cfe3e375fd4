//! Accept loops: one per worker, pod and direction.
//!
//! Owns the step from an accepted socket to a connection whose original destination is known. Never guesses one: what
//! the kernel side did not send here is reset. Start at [`Door::open`].

use std::{
    cell::RefCell,
    collections::BTreeSet,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use rules::{Direction, Protocol};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time,
};
use tokio_util::sync::CancellationToken;

mod places;

pub use places::{Full, MEMORY, Places, Share, Taken, of_descriptors};

use crate::{
    endpoint::{End, EndpointId},
    flow::{Allowed, ConnectionRecord, DropReason, DropRecord, Ends, Record},
    http::{self, Connection, Worker},
    metrics::count,
    pod_net::PodNetns,
    policy::{Live, Store, World},
    redirect::{DataMaps, Original},
    sys,
    upstream::{Dialer, Leg, Side},
};

/// Pause after an accept that failed for want of something (descriptors, memory).
const PAUSE: Duration = Duration::from_millis(20);

/// What a worker needs to serve one direction of one pod.
#[derive(Debug)]
pub struct Door {
    /// The pod.
    pub endpoint: EndpointId,
    /// Which way its connections go.
    pub direction: Direction,
    /// Its namespace.
    pub netns: Arc<PodNetns>,
    /// Where the newest policy is.
    pub store: Arc<Store>,
    /// How many connections it may have beside others.
    pub share: Arc<Share>,
    /// Each connection has a record.
    pub tells: bool,
}

impl Door {
    /// Accepts until `closed`, then drops the listener and ends the pod's connections: while one socket of it is held,
    /// the kernel keeps the namespace.
    pub async fn open(
        self,
        listener: TcpListener,
        maps: Rc<RefCell<DataMaps>>,
        worker: Rc<Worker>,
        closed: CancellationToken,
    ) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = closed.cancelled() => break,
                () = worker.drain.draining() => break,
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, client)) => self.serve(stream, client, &maps, &worker, &mut connections),
                Err(error) => {
                    worker.counters.accept_errors.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%error, "accept");
                    time::sleep(PAUSE).await;
                }
            }
        }
        if !closed.is_cancelled() {
            // Who is in the queue was let in.
            for (stream, client) in waiting(listener) {
                self.serve(stream, client, &maps, &worker, &mut connections);
            }
        }
        loop {
            tokio::select! {
                biased;
                () = closed.cancelled() => return connections.shutdown().await,
                ended = connections.join_next() => if ended.is_none() { return },
            }
        }
    }

    fn serve(
        &self,
        stream: TcpStream,
        client: SocketAddr,
        maps: &Rc<RefCell<DataMaps>>,
        worker: &Rc<Worker>,
        connections: &mut JoinSet<()>,
    ) {
        let Some(connection) = self.admit(&stream, client, maps, worker) else { return };
        match self.share.take() {
            Ok(place) => {
                if self.tells {
                    self.tell(&connection, worker);
                }
                connections.spawn_local(http::serve(stream, connection, Rc::clone(worker), place));
            }
            Err(full) => self.shed(&stream, &connection, full, worker),
        }
    }

    /// Records that policy sends it here, and whose rules.
    fn tell(&self, connection: &Connection, worker: &Worker) {
        let world = self.store.current();
        let [source, destination] = self.ends(&world, connection);
        let other = if self.direction == Direction::Egress { &destination } else { &source };
        let judging = world.endpoints.get(&self.endpoint).map(|endpoint| {
            let policy = endpoint.direction(self.direction);
            policy.judging(other.0.identity(), Protocol::Tcp, connection.original.port())
        });
        let judging = judging.unwrap_or_default();
        let policies: BTreeSet<_> = judging.iter().map(|rule| Arc::clone(&rule.policy)).collect();
        #[expect(clippy::disallowed_methods, reason = "this is where it happens")]
        let time = SystemTime::now();
        worker.flows.emit(Record::Connection(Box::new(ConnectionRecord {
            time,
            ends: Ends { direction: self.direction, source, destination },
            rule: judging.into_iter().next(),
            process: None,
            allowed: Some(Allowed::Redirected(policies.into_iter().collect())),
            end: None,
            revision: world.revision,
        })));
    }

    fn ends(&self, world: &World, connection: &Connection) -> [End; 2] {
        let (local, remote) = match self.direction {
            Direction::Egress => (connection.client, connection.original),
            Direction::Ingress => (connection.original, connection.client),
        };
        world.ends(self.endpoint, self.direction, local, remote)
    }

    /// There is no place: a reset, and a record.
    fn shed(&self, stream: &TcpStream, connection: &Connection, full: Full, worker: &Worker) {
        let (counter, detail) = match full {
            Full::Connections => (&worker.counters.connections_shed, "too-many-connections"),
            Full::Memory => (&worker.counters.connections_shed_for_memory, "out-of-memory"),
        };
        count(counter);
        if let Err(error) = sys::abort_on_close(stream) {
            tracing::debug!(%error, "reset");
        }
        let world = self.store.current();
        let [source, destination] = self.ends(&world, connection);
        #[expect(clippy::disallowed_methods, reason = "this is where it happens")]
        let time = SystemTime::now();
        worker.flows.emit(Record::Drop(Box::new(DropRecord {
            time,
            direction: self.direction,
            protocol: Protocol::Tcp.number(),
            source,
            destination,
            denied_by: Arc::default(),
            rule: None,
            tier: None,
            nearest: None,
            audit: false,
            process: None,
            reason: DropReason::Unknown,
            detail,
            flags: 0,
            backends: None,
            repeats: 0,
            revision: world.revision,
            is_verdict: false,
        })));
    }

    /// `None`: nobody knows where it wanted to go; it is reset.
    fn admit(
        &self,
        stream: &TcpStream,
        client: SocketAddr,
        maps: &Rc<RefCell<DataMaps>>,
        worker: &Worker,
    ) -> Option<Connection> {
        let Original { address: original, source } = match self.original(stream, client, &maps.borrow()) {
            Ok(Some(original)) => original,
            // It failed while it waited, and the kernel side forgot it.
            Ok(None) if let Ok(Some(error)) = stream.take_error() => {
                tracing::debug!(%error, %client, "connection that was aborted before it was accepted");
                return None;
            }
            unknown => {
                worker.counters.connections_not_redirected.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(?unknown, %client, endpoint = self.endpoint.0, "connection that was not redirected: reset");
                if let Err(error) = sys::abort_on_close(stream) {
                    tracing::debug!(%error, "reset");
                }
                return None;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "nodelay");
        }
        let (remote, side) = match self.direction {
            Direction::Egress => (original.ip(), Side::Client(source)),
            Direction::Ingress => (client.ip(), Side::Server(client)),
        };
        let leg = Leg { netns: Arc::clone(&self.netns), maps: Rc::clone(maps), side };
        Some(Connection {
            direction: self.direction,
            client,
            original,
            live: Live::new(Arc::clone(&self.store), self.endpoint, self.direction, remote),
            dialer: Dialer::in_pod(original, leg),
        })
    }

    fn original(&self, stream: &TcpStream, client: SocketAddr, maps: &DataMaps) -> io::Result<Option<Original>> {
        let local = stream.local_addr()?;
        Ok(match self.direction {
            Direction::Egress => maps.original(self.netns.cookie(), client, local),
            // Steered connections keep the address they were made to; the listener's own is loopback.
            Direction::Ingress => (!local.ip().is_loopback()).then_some(Original { address: local, source: None }),
        })
    }
}

/// Connections that wait in a listener's queue; the listener is dropped with them.
fn waiting(listener: TcpListener) -> impl Iterator<Item = (TcpStream, SocketAddr)> {
    let listener = listener.into_std();
    // Non-blocking, as it was: it ends with the queue.
    let accept = move || {
        let (stream, client) = listener.as_ref().ok()?.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        Some((TcpStream::from_std(stream).ok()?, client))
    };
    std::iter::from_fn(accept)
}
