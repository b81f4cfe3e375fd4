//! The control loop: reads what is asked for, makes it so, answers `status`, ends in order.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rules::Direction;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time,
};

use super::{
    Assembled, Assembler, DirectionStatus, EndpointStatus, KernelStatus, RunError, Status, Workers,
    pods::{LocalPod, open_listeners, open_namespace},
    refusals,
};
use crate::{
    accept::Door,
    admin,
    config::{Config, Endpoint},
    endpoint::EndpointId,
    flow,
    metrics::Counters,
    policy::Store,
    redirect::{Desired, REDIRECT, Redirect, Refusals},
    source::{
        Versions,
        standalone::{self, Input},
        watch::Watch,
    },
};

/// What is in flight at the end has this long.
const DRAIN: Duration = Duration::from_secs(30);
/// After a change was seen: others that belong to it come right behind.
const SETTLE: Duration = Duration::from_millis(5);

/// Everything that the control loop knows.
#[derive(Debug)]
pub(super) struct Control {
    file: PathBuf,
    config: Config,
    assembler: Assembler,
    versions: Versions,
    store: Arc<Store>,
    counters: Arc<Counters>,
    /// Pods that are enrolled.
    pods: BTreeMap<String, LocalPod>,
    /// Pods that are not, and why.
    failed: BTreeMap<String, String>,
    revision: u64,
    ready: bool,
    /// What is wrong with the newest configuration.
    errors: Vec<String>,
}

impl Control {
    /// Checks all that can be checked before anything is attached.
    pub(super) fn new(file: &Path, input: &Input, counters: Arc<Counters>) -> Result<Self, RunError> {
        let versions = Versions::default().next(&input.manifests, 1).with_secrets(input.config.secrets.as_deref());
        let mut lines = versions.problems();
        for endpoint in &input.config.endpoints {
            if let Some(Err(error)) =
                endpoint.namespace_path().map(|place| open_namespace(&endpoint.pod, &place.path()))
            {
                lines.push(error);
            }
        }
        if !lines.is_empty() {
            return Err(RunError { lines });
        }
        for line in versions.errors() {
            tracing::error!("{line}");
        }
        Ok(Self {
            file: file.to_path_buf(),
            config: input.config.clone(),
            assembler: Assembler::default(),
            versions,
            store: Arc::new(Store::default()),
            counters,
            pods: BTreeMap::new(),
            failed: BTreeMap::new(),
            revision: 0,
            ready: false,
            errors: Vec::new(),
        })
    }

    /// Until told to stop.
    pub(super) async fn run(
        mut self,
        input: Input,
        mut redirect: Redirect,
        workers: &Workers,
        flows: flow::Sink,
    ) -> Result<(), RunError> {
        let mut refusals = redirect.refusals().map_err(|error| RunError::of(&error))?;
        let mut stop = Stop::new().map_err(|error| RunError::of(&error))?;
        let mut hangup = signal(SignalKind::hangup()).map_err(|error| RunError::of(&error))?;
        let (asked, mut questions) = mpsc::channel(16);
        let admin = admin::serve(&self.config.admin.socket, asked).map_err(|error| RunError::of(&error))?;
        let mut watch = Watch::new().map_err(|error| RunError::of(&error))?;
        self.sync(&mut redirect, workers).await?;
        drop(input);
        self.follow(&mut watch);
        self.ready = true;
        tracing::info!(revision = self.revision, endpoints = self.pods.len(), "ready");
        loop {
            tokio::select! {
                biased;
                () = stop.asked() => break,
                changed = next_change(&mut watch, &mut hangup) => {
                    changed.map_err(|error| RunError::of(&error))?;
                    time::sleep(SETTLE).await;
                    watch.forget().map_err(|error| RunError::of(&error))?;
                    // A directory of a secret that is new is watched before it is read.
                    self.follow(&mut watch);
                    self.reload(&mut redirect, workers).await?;
                    self.follow(&mut watch);
                }
                Some(question) = questions.recv() => question.answer(&self.status(&redirect)),
                drained = drain_refusals(&mut refusals, &self.store, &flows) => drained.map_err(|error| RunError::of(&error))?,
            }
        }
        self.ready = false;
        drop(admin);
        self.stop(workers).await;
        Ok(())
    }

    /// Reads everything anew; what cannot be read stays as it was.
    async fn reload(&mut self, redirect: &mut Redirect, workers: &Workers) -> Result<(), RunError> {
        let manifests = match standalone::read(&self.file) {
            Ok(input) => {
                self.errors = fixed_changes(&self.config, &input.config);
                self.config = Config {
                    redirect: self.config.redirect.clone(),
                    flows: self.config.flows.clone(),
                    admin: self.config.admin.clone(),
                    proxy: self.config.proxy.clone(),
                    ..input.config
                };
                input.manifests
            }
            Err(error) => {
                self.errors = error.lines;
                standalone::read_manifests(&self.config.policies)
            }
        };
        let versions = self.versions.next(&manifests, self.revision + 1);
        self.versions = versions.with_secrets(self.config.secrets.as_deref());
        for line in self.errors.iter().chain(&self.versions.errors()) {
            tracing::error!("{line}");
        }
        self.sync(redirect, workers).await
    }

    /// Makes it so: listeners → policy for the data path → kernel; for what goes, the reverse.
    async fn sync(&mut self, redirect: &mut Redirect, workers: &Workers) -> Result<(), RunError> {
        self.revision += 1;
        let assembled = self.assembler.assemble(&self.config, &self.versions.in_force(), self.revision);
        let Assembled { world, pods, identities, cidrs } = assembled;
        let gone = self.open_pods(redirect, workers).await?;
        self.store.publish(world);
        let mut desired = Desired { identities, cidrs, ..Desired::default() };
        for (name, pod) in pods {
            if let Some(local) = self.pods.get(&name) {
                desired.pods.insert(local.netns.cookie(), pod);
            }
        }
        let sockets = |cookie: u64| {
            let local = self.pods.values().find(|local| local.netns.cookie() == cookie)?;
            Some(local.enrolment())
        };
        let failed = match redirect.apply(&desired, sockets) {
            Ok(failed) => failed,
            // The kernel keeps what it had or less; told, and tried again at the next change.
            Err(error) if self.revision > 1 => {
                tracing::error!(%error, "the kernel did not take all of the change");
                self.errors.push(error.to_string());
                Vec::new()
            }
            Err(error) => return Err(RunError::of(&error)),
        };
        for pod in failed {
            self.fail(pod.cookie, &pod.error.to_string());
        }
        for local in gone {
            local.closed.cancel();
        }
        Ok(())
    }

    /// Opens namespaces and listeners of pods that are new; gives those whose pods are gone, still open.
    async fn open_pods(&mut self, redirect: &Redirect, workers: &Workers) -> Result<Vec<LocalPod>, RunError> {
        let mut gone = Vec::new();
        let mut known = std::mem::take(&mut self.pods);
        self.failed.clear();
        for endpoint in &self.config.endpoints {
            let Some(place) = endpoint.namespace_path() else { continue };
            let netns = match open_namespace(&endpoint.pod, &place.path()) {
                Ok(netns) => netns,
                Err(error) => {
                    self.failed.insert(endpoint.pod.clone(), error);
                    continue;
                }
            };
            if let Some(mut local) = known.remove(&endpoint.pod) {
                if local.netns.cookie() == netns.cookie() {
                    local.look_around();
                    self.pods.insert(endpoint.pod.clone(), local);
                    continue;
                }
                gone.push(local);
            }
            match open_listeners(netns, redirect) {
                Ok(local) => {
                    self.pods.insert(endpoint.pod.clone(), local);
                }
                Err(error) => {
                    self.failed.insert(endpoint.pod.clone(), format!("{}: {error}", endpoint.pod));
                    continue;
                }
            }
            self.serve(&endpoint.pod, workers).await?;
        }
        gone.extend(known.into_values());
        Ok(gone)
    }

    /// Hands a pod's listeners to the workers.
    async fn serve(&self, pod: &str, workers: &Workers) -> Result<(), RunError> {
        let Some(local) = self.pods.get(pod) else { return Ok(()) };
        let Some(id) = self.assembler.endpoint(pod) else { return Ok(()) };
        let address = self.config.endpoints.iter().find(|endpoint| endpoint.pod == pod).and_then(Endpoint::ip4);
        let Some(address) = address else { return Ok(()) };
        for (direction, listener) in [(Direction::Ingress, &local.ingress), (Direction::Egress, &local.egress)] {
            let door = || Door {
                endpoint: EndpointId(id),
                direction,
                netns: Arc::clone(&local.netns),
                address,
                store: Arc::clone(&self.store),
            };
            workers.open(door, listener, &local.closed).await?;
        }
        Ok(())
    }

    fn fail(&mut self, cookie: u64, error: &str) {
        let name = self.pods.iter().find(|(_, local)| local.netns.cookie() == cookie).map(|(name, _)| name.clone());
        if let Some(name) = name {
            tracing::error!(pod = name, error, "not enrolled");
            if let Some(local) = self.pods.remove(&name) {
                local.closed.cancel();
            }
            self.failed.insert(name, error.to_owned());
        }
    }

    fn follow(&self, watch: &mut Watch) {
        let files = self.config.policies.iter().map(PathBuf::as_path).chain([self.file.as_path()]);
        let secrets = watch.follow_secrets(self.config.secrets.as_deref());
        for problem in watch.follow(files).into_iter().chain(secrets) {
            tracing::warn!("{problem}");
        }
    }

    /// Stop accepting → what is in flight finishes → deadline → reset. What is pinned stays: closed, not open.
    async fn stop(&mut self, workers: &Workers) {
        tracing::info!("draining");
        if time::timeout(DRAIN, workers.drain()).await.is_err() {
            tracing::warn!(seconds = DRAIN.as_secs(), "connections were still open at the deadline: reset");
        }
        for local in std::mem::take(&mut self.pods).into_values() {
            local.closed.cancel();
        }
    }

    fn status(&self, redirect: &Redirect) -> Status {
        let world = self.store.current();
        let endpoints = self.config.endpoints.iter().filter_map(|endpoint| {
            let id = self.assembler.endpoint(&endpoint.pod)?;
            let state = world.endpoints.get(&EndpointId(id))?;
            let direction = |direction: Direction| {
                let policy = state.direction(direction);
                let redirects = policy.entries().iter().filter(|entry| super::assemble::action(entry) == REDIRECT);
                DirectionStatus { enforced: policy.enforced(), redirects: redirects.count() }
            };
            let error = self.failed.get(&endpoint.pod).cloned();
            let guard = self.pods.get(&endpoint.pod).and_then(|local| redirect.guard(local.netns.cookie()));
            Some(EndpointStatus {
                pod: endpoint.pod.clone(),
                id,
                identity: state.peer.identity,
                ingress: direction(Direction::Ingress),
                egress: direction(Direction::Egress),
                backstop: guard.map(ToString::to_string),
                state: if error.is_none() { "ready" } else { "error" },
                error,
            })
        });
        let mut errors = self.errors.clone();
        errors.extend(self.versions.problems());
        let mut counters: BTreeMap<_, _> = self.counters.snapshot().into_iter().collect();
        match redirect.counters() {
            Ok(kernel) => counters.extend(kernel),
            Err(error) => errors.push(error.to_string()),
        }
        Status {
            ready: self.ready,
            revision: self.revision,
            pid: std::process::id(),
            endpoints: endpoints.collect(),
            policies: self.versions.status(),
            errors,
            skipped: self.versions.skipped().iter().map(ToString::to_string).collect(),
            kernel: KernelStatus { links: redirect.link_count(), features: redirect.features() },
            not_enforced: super::status::not_enforced(&self.config),
            counters,
        }
    }
}

/// Waits for SIGHUP or a change of a file. Awaits nothing after it saw one: dropped then, it would lose it.
async fn next_change(watch: &mut Watch, hangup: &mut Signal) -> std::io::Result<()> {
    tokio::select! {
        changed = watch.changed() => changed,
        _ = hangup.recv() => Ok(()),
    }
}

async fn drain_refusals(refusals: &mut Refusals, store: &Store, flows: &flow::Sink) -> std::io::Result<()> {
    refusals
        .drain(|refusal| {
            #[expect(
                clippy::disallowed_methods,
                reason = "the hook took no time; this is where the event is first seen"
            )]
            let now = SystemTime::now();
            refusals::record(refusal, &store.current(), flows, now);
        })
        .await
}

/// Sections that a running process cannot change, and were changed.
fn fixed_changes(before: &Config, after: &Config) -> Vec<String> {
    let sections = [
        ("redirect", before.redirect != after.redirect),
        ("flows", before.flows != after.flows),
        ("admin", before.admin != after.admin),
        ("proxy", before.proxy != after.proxy),
    ];
    let changed = sections.into_iter().filter(|(_, changed)| *changed);
    changed.map(|(name, _)| format!("{name}: changed; takes effect after a restart")).collect()
}

/// SIGTERM or SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
