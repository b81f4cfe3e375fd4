//! The Hubble API: records, peers and health for the command `hubble`, Relay and grpcurl.
//!
//! Owns a thread with a runtime of its own, so that no client can slow a request. Reads what others keep ([`Sources`]) and
//! never writes to it. Start at [`Hubble::start`]; `service.rs` has the table of calls, `get_flows.rs` what costs.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    runtime::{self, Runtime},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time,
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    config::{Config, Flows},
    flow::{Namespaces, NodeNames, Rings},
    metrics::Counters,
    socket_file::{self, SocketFile},
};

mod agent;
mod call;
mod calls;
mod connection;
mod get_flows;
mod lost;
mod observer;
mod peers;
mod service;
mod tls;
mod window;

pub use agent::{AgentEvent, AgentEvents, EndpointEvent, PolicyEvent};
pub use calls::Calls;

use self::{
    connection::Accepting,
    observer::Observer,
    service::{Health, Service},
    tls::Tls,
};

/// Owner and group may read records.
const SOCKET_MODE: u32 = 0o660;
/// Between two tries to get the address that another process has until it hears that it is replaced.
const AGAIN: Duration = Duration::from_millis(5);
/// So many of them, and it is somebody else.
const TRIES: u32 = 2000;
/// Commands that may wait for the thread: more than a process gives it.
const COMMANDS: usize = 64;
/// What is being answered has this long at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Looks for the last records that matched, at once: each is on a thread of its own.
const SEARCHES: usize = 2;

/// What is told to clients.
#[derive(Clone, Debug)]
pub struct Sources {
    /// What this node is called.
    pub node: NodeNames,
    /// Records.
    pub rings: Arc<Rings>,
    /// Namespaces of records.
    pub namespaces: Arc<Namespaces>,
    /// What this process did.
    pub events: Arc<AgentEvents>,
}

/// What clients may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Streams at once, of all connections.
    pub streams: usize,
    /// Bytes that a client sends in a call.
    pub request_bytes: usize,
    /// How long a client may take until it speaks HTTP/2.
    pub handshake: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 128, streams: 128, request_bytes: 1 << 20, handshake: Duration::from_secs(10) }
    }
}

/// Why the API is not served: where, what, and what to do.
#[derive(Debug)]
pub struct HubbleError(String);

impl fmt::Display for HubbleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for HubbleError {}

/// The API, while it is served. Dropping it ends it: who is being answered gets what there is, for two seconds.
#[derive(Debug)]
pub struct Hubble {
    flows: Flows,
    state: Mutex<State>,
    connections: Places,
    streams: Places,
    calls: Calls,
}

#[derive(Debug)]
struct State {
    /// Without it the thread ends.
    commands: Option<mpsc::Sender<Command>>,
    thread: Option<JoinHandle<()>>,
    file: Option<SocketFile>,
}

/// Of so many.
#[derive(Clone, Debug)]
struct Places {
    free: Arc<Semaphore>,
    all: usize,
}

impl Places {
    fn new(all: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(all)), all }
    }

    fn taken(&self) -> usize {
        self.all.saturating_sub(self.free.available_permits())
    }

    fn take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).try_acquire_owned().ok()
    }

    /// Ready when nobody has one.
    async fn all_free(&self) {
        let all = u32::try_from(self.all).unwrap_or(u32::MAX);
        // It is never closed.
        drop(self.free.acquire_many(all).await);
    }
}

#[derive(Debug)]
enum Command {
    Unix(std::os::unix::net::UnixListener),
    Tcp(TcpListener),
    /// Another process has it for a moment longer.
    TcpLater(SocketAddr),
}

impl Hubble {
    /// Checks what the configuration says of the API, and makes its thread. Nobody is answered before [`Self::listen`].
    pub fn start(
        config: &Config,
        sources: Sources,
        limits: Limits,
        counters: Arc<Counters>,
    ) -> Result<Self, HubbleError> {
        let tls =
            config.flows.tls.as_ref().map(Tls::load).transpose().map_err(|error| HubbleError(error.to_string()))?;
        let failed = |error: &dyn fmt::Display| HubbleError(format!("the Hubble API's thread: {error}; see ulimit -u"));
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("hubble-search")
            .max_blocking_threads(SEARCHES)
            .build()
            .map_err(|error| failed(&error))?;
        let stop = CancellationToken::new();
        let observer = Arc::new(Observer::new(config, sources, Arc::clone(&counters), stop.clone()));
        let (service, health) = Service::new(observer, limits, Arc::clone(&counters))
            .map_err(|error| HubbleError(format!("the Hubble API's reflection: {error}; this is a defect")))?;
        let (connections, streams, calls) =
            (Places::new(limits.connections), service.streams.clone(), service.calls.clone());
        let accepting = Accepting { service, places: connections.clone(), limits, counters, stop };
        let (sender, commands) = mpsc::channel(COMMANDS);
        let serving = Serving { accepting, health, tls };
        let thread = thread::Builder::new()
            .name("hubble".to_owned())
            .spawn(move || serving.run(runtime, commands))
            .map_err(|error| failed(&error))?;
        let state = State { commands: Some(sender), thread: Some(thread), file: None };
        Ok(Self { flows: config.flows.clone(), state: Mutex::new(state), connections, streams, calls })
    }

    /// Answers from now on. What another process has is an error, unless that one is `taken` over from: then the socket is ours
    /// at once, and the address as soon as the other one lets go of it.
    pub fn listen(&self, taken: bool) -> Result<(), HubbleError> {
        if let Some(address) = self.flows.listen {
            let command = match TcpListener::bind(address) {
                Ok(listener) => Command::Tcp(listener),
                Err(error) if taken && error.kind() == io::ErrorKind::AddrInUse => Command::TcpLater(address),
                Err(error) => {
                    let advice = "give an address of this node and a port that nobody else has";
                    return Err(HubbleError(format!("flows.listen: {address}: {error}; {advice}")));
                }
            };
            self.state().tell(command);
            if self.flows.tls.is_none() && !address.ip().is_loopback() {
                tracing::warn!(%address, "flows.listen: records are sent without encryption; flows.tls gives it");
            }
        }
        self.take_place(taken)
    }

    /// Answers at the socket again, if another process has put its own there and is gone.
    pub fn keep_place(&self) -> Result<(), HubbleError> {
        if self.state().file.as_ref().is_some_and(|file| !file.is_in_place()) { self.take_place(true) } else { Ok(()) }
    }

    fn take_place(&self, taken: bool) -> Result<(), HubbleError> {
        let Some(path) = &self.flows.socket else { return Ok(()) };
        let at = |error: io::Error| HubbleError(at_socket(path, &error));
        let (listener, file) = socket_file::bind(path, SOCKET_MODE, taken).map_err(at)?;
        let mut state = self.state();
        state.tell(Command::Unix(listener));
        state.file = Some(file);
        Ok(())
    }

    /// Another process answers now: ends everything here, so that clients ask there.
    pub fn retire(&self) {
        let mut state = self.state();
        if let Some(file) = &mut state.file {
            file.leave();
        }
        state.commands = None;
    }

    /// Connections and streams of now.
    #[must_use]
    pub fn open(&self) -> (usize, usize) {
        (self.connections.taken(), self.streams.taken())
    }

    /// Calls, for metrics.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.calls.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is in it is whole at any time.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hubble {
    fn drop(&mut self) {
        let mut state = self.state();
        state.commands = None;
        let thread = state.thread.take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the Hubble API's thread panicked");
        }
    }
}

impl State {
    fn tell(&self, command: Command) {
        // A thread that has ended answers nobody any more, and its panic is told.
        if let Some(commands) = &self.commands {
            commands.try_send(command).ok();
        }
    }
}

fn at_socket(path: &Path, error: &io::Error) -> String {
    format!("flows.socket: {}: {error}; give a path in a directory that can be written", path.display())
}

/// The thread.
struct Serving {
    accepting: Accepting,
    health: Health,
    tls: Option<Tls>,
}

impl Serving {
    fn run(mut self, runtime: Runtime, mut commands: mpsc::Receiver<Command>) {
        runtime.block_on(async {
            self.health.is_well().await;
            while let Some(command) = commands.recv().await {
                self.obey(command);
            }
            self.accepting.stop.cancel();
            if time::timeout(LAST_WORDS, self.accepting.places.all_free()).await.is_err() {
                tracing::debug!("clients of the Hubble API were cut off");
            }
        });
        runtime.shutdown_background();
    }

    fn obey(&mut self, command: Command) {
        let accepting = self.accepting.clone();
        match command {
            Command::Unix(listener) => match tokio::net::UnixListener::from_std(listener) {
                Ok(listener) => drop(tokio::spawn(accepting.unix(listener))),
                Err(error) => tracing::error!(%error, "flows.socket"),
            },
            Command::Tcp(listener) => drop(tokio::spawn(accept_tcp(accepting, listener, self.tls.take()))),
            Command::TcpLater(address) => {
                let tls = self.tls.take();
                drop(tokio::spawn(async move {
                    if let Some(listener) = free(address, &accepting.stop).await {
                        accept_tcp(accepting, listener, tls).await;
                    }
                }));
            }
        }
    }
}

async fn accept_tcp(accepting: Accepting, listener: TcpListener, tls: Option<Tls>) {
    let listener = listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
    match listener {
        Ok(listener) => accepting.tcp(listener, tls).await,
        Err(error) => tracing::error!(%error, "flows.listen"),
    }
}

/// The address, as soon as the process before let go of it.
async fn free(address: SocketAddr, stop: &CancellationToken) -> Option<TcpListener> {
    let mut tries = 0_u32;
    while !stop.is_cancelled() {
        match TcpListener::bind(address) {
            Ok(listener) => return Some(listener),
            Err(error) if tries == 0 => tracing::info!(%address, %error, "flows.listen: waits for the process before"),
            Err(error) if tries == TRIES => {
                tracing::error!(%address, %error, "flows.listen: nobody is answered there; somebody else has it");
            }
            Err(_) => {}
        }
        tries = tries.saturating_add(1);
        time::sleep(AGAIN).await;
    }
    None
}

/// What is told to who is cut off.
fn ended() -> Status {
    Status::unavailable("this process ends or is replaced; connect again")
}

#[cfg(test)]
mod tests;
