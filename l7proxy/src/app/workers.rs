//! The data workers: threads with a runtime, state and kernel handles of their own.

use std::{
    cell::RefCell,
    net::TcpListener,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use tokio::{
    runtime::{self, LocalOptions},
    sync::mpsc,
    task,
};
use tokio_util::sync::CancellationToken;

use super::{RunError, assemble, limits};
use crate::{
    accept::{Door, Places, Share},
    config::Config,
    drain::{self, Drain},
    flow,
    metrics::{Counters, Gauge},
    redirect::{DataMaps, Redirect},
};

/// Commands that may wait for a worker; more than pods can change at once.
const COMMANDS: usize = 1024;

enum Command {
    Open { door: Door, listener: TcpListener, closed: CancellationToken },
}

/// All data workers.
#[derive(Debug)]
pub(super) struct Workers {
    commands: Mutex<Vec<mpsc::Sender<Command>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    drain: Mutex<Option<Drain>>,
    places: Arc<Places>,
    open: Gauge,
}

impl Workers {
    pub(super) fn start(
        config: &Config,
        redirect: &Redirect,
        flows: &flow::Sink,
        counters: &Arc<Counters>,
    ) -> Result<Self, RunError> {
        let (drain, watch) = drain::new();
        let open = drain.gauge();
        let mut commands = Vec::new();
        let mut threads = Vec::new();
        for index in 0..config.proxy.workers {
            let (sender, receiver) = mpsc::channel(COMMANDS);
            let maps = redirect.data_maps().map_err(|error| RunError::of(&error))?;
            let seed = Seed {
                flows: flows.lane(config.proxy.workers),
                counters: Arc::clone(counters),
                watch: watch.clone(),
                config: config.clone(),
            };
            let thread = thread::Builder::new()
                .name(format!("data-{index}"))
                .spawn(move || seed.work(maps, receiver))
                .map_err(|error| RunError::of(&error))?;
            commands.push(sender);
            threads.push(thread);
        }
        let places = limits::places(&config.proxy.limits);
        let (commands, threads) = (Mutex::new(commands), Mutex::new(threads));
        Ok(Self { commands, threads, drain: Mutex::new(Some(drain)), places, open })
    }

    /// What one more pod may have of what all share.
    pub(super) fn share(&self) -> Arc<Share> {
        self.places.share()
    }

    /// Every worker accepts from `listener`, until `closed`.
    pub(super) async fn open(
        &self,
        door: impl Fn() -> Door,
        listener: &TcpListener,
        closed: &CancellationToken,
    ) -> Result<(), RunError> {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for sender in commands {
            let listener = listener.try_clone().map_err(|error| RunError::of(&error))?;
            let command = Command::Open { door: door(), listener, closed: closed.clone() };
            sender.send(command).await.map_err(|_| RunError::one("a data worker ended; restart the process"))?;
        }
        Ok(())
    }

    /// What is new goes to another process: connections end with their next answer.
    pub(super) fn retire(&self) {
        if let Some(drain) = &*self.drain.lock().unwrap_or_else(PoisonError::into_inner) {
            drain.retire();
        }
    }

    /// Connections that are being served.
    pub(super) fn connections(&self) -> usize {
        self.drain.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, Drain::open)
    }

    /// The same, for metrics.
    pub(super) fn open_connections(&self) -> Gauge {
        self.open.clone()
    }

    /// Stops accepting, and closes connections that are idle.
    pub(super) fn close(&self) {
        if let Some(drain) = &*self.drain.lock().unwrap_or_else(PoisonError::into_inner) {
            drain.start();
        }
    }

    /// Stops accepting; ready when what was in flight is finished.
    pub(super) async fn drain(&self) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let drain = self.drain.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(drain) = drain {
            drain.start();
            drain.wait().await;
        }
    }

    /// Waits for the threads; a worker that panicked was logged by the hook.
    pub(super) fn join(&self) {
        let threads: Vec<_> = self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a data worker panicked");
            }
        }
    }
}

/// What a worker's own state is made of, on its own thread.
struct Seed {
    flows: flow::Sink,
    counters: Arc<Counters>,
    watch: drain::Watch,
    config: Config,
}

impl Seed {
    fn work(self, maps: DataMaps, mut commands: mpsc::Receiver<Command>) {
        let runtime = match runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
            Ok(runtime) => runtime,
            Err(error) => return tracing::error!(%error, "data worker's runtime"),
        };
        let maps = Rc::new(RefCell::new(maps));
        let worker = Rc::new(assemble::worker(&self.config, self.flows, self.counters, self.watch));
        runtime.block_on(async move {
            let mut doors = task::JoinSet::new();
            while let Some(Command::Open { door, listener, closed }) = commands.recv().await {
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => {
                        doors.spawn_local(door.open(listener, Rc::clone(&maps), Rc::clone(&worker), closed));
                    }
                    Err(error) => tracing::error!(%error, "listener"),
                }
            }
            while doors.join_next().await.is_some() {}
        });
    }
}
