//! The control loop: reads what is asked for, makes it so, answers `status`, ends in order.
//!
//! Owns what this process knows of its pods. Never touches a request. Start at [`Control::run`]; the order of a change is
//! in `sync.rs`, what happens between two processes in `hand_over.rs`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{self, MissedTickBehavior},
};

use super::{
    Assembler, RuleIds, RunError, Scraped, Workers,
    api::{Api, News},
    arrivals::Arrivals,
    connections,
    existing::Existing,
    pods::namespace_error,
    refusals::Telling,
    roster::{self, Roster},
};
use crate::{
    admin::{self, Callers, Question, Served},
    config::{self, Config},
    flow,
    metrics::Counters,
    pod_net::PodNetns,
    policy::Store,
    redirect::{Claim, Connections, Redirect},
    source::{
        Versions,
        standalone::{self, Input},
        watch::Watch,
    },
};

mod hand_over;
mod report;
mod signals;
mod sync;

use self::{
    hand_over::{HandedOver, LOOK, Retiring},
    signals::{Stop, next_change},
    sync::{Asked, Ground},
};

/// What is in flight at the end has this long.
const DRAIN: Duration = Duration::from_secs(30);
/// After a change was seen: others that belong to it come right behind.
const SETTLE: Duration = Duration::from_millis(5);

/// What may come in at any time.
struct Inbox {
    stop: Stop,
    questions: mpsc::Receiver<Question>,
    kernel: Kernel,
}

/// What the kernel tells.
struct Kernel {
    refusals: Telling,
    connections: Connections,
}

impl Inbox {
    fn new(redirect: &mut Redirect, questions: mpsc::Receiver<Question>) -> Result<Self, RunError> {
        let stop = Stop::new().map_err(|error| RunError::of(&error))?;
        let refusals = Telling::new(redirect).map_err(|error| RunError::of(&error))?;
        let connections = redirect.connections().map_err(|error| RunError::of(&error))?;
        Ok(Self { stop, questions, kernel: Kernel { refusals, connections } })
    }
}

impl Kernel {
    /// Waits for something, and records it.
    async fn told(
        &mut self,
        redirect: &Redirect,
        store: &Store,
        ids: &RuleIds,
        flows: &flow::Sink,
    ) -> Result<(), RunError> {
        let told = tokio::select! {
            biased;
            told = self.refusals.drain(redirect, store, ids, flows) => told,
            told = connections::drain(&mut self.connections, store, ids, flows) => told,
        };
        told.map_err(|error| RunError::of(&error))
    }
}

/// Everything that the control loop knows.
#[derive(Debug)]
pub(super) struct Control {
    file: PathBuf,
    config: Config,
    assembler: Assembler,
    versions: Versions,
    store: Arc<Store>,
    counters: Arc<Counters>,
    api: Api,
    news: News,
    /// Pods that are enrolled, and those that are not yet or no more.
    pods: Roster,
    /// What the kernel shall hold, but for which of the pods are enrolled.
    asked: Asked,
    /// What that was made of.
    before: Option<Ground>,
    /// Ends connections that are older than the policy; `None`: they are left.
    existing: Option<Existing>,
    revision: u64,
    ready: bool,
    /// What is wrong with the newest configuration.
    errors: Vec<String>,
    /// The right to change what is pinned; `None`: another process has it, and this one only serves what it still has.
    claim: Option<Claim>,
    /// Pods that the process before had enrolled, while this one takes over.
    inherited: Vec<String>,
    /// Where metrics are told.
    scraped: Option<Scraped>,
}

impl Control {
    /// Checks all that can be checked before anything is attached.
    pub(super) fn new(file: &Path, input: &Input, counters: Arc<Counters>, api: Api) -> Result<Self, RunError> {
        let versions = Versions::default().next(&input.manifests, 1).with_secrets(input.config.secrets.as_deref());
        let mut lines = versions.problems();
        for endpoint in &input.config.endpoints {
            let Some(path) = endpoint.namespace_path().map(|place| place.path()) else { continue };
            // What is not there yet may come.
            if let Err(error) = PodNetns::open(&path)
                && !roster::may_come(&path, &error)
            {
                lines.push(namespace_error(&endpoint.pod, &path, &error));
            }
        }
        if !lines.is_empty() {
            return Err(RunError { lines });
        }
        Ok(Self {
            file: file.to_path_buf(),
            config: input.config.clone(),
            assembler: Assembler::default(),
            versions,
            store: Arc::new(Store::default()),
            counters,
            api,
            news: News::default(),
            pods: Roster::default(),
            asked: Asked::default(),
            before: None,
            existing: None,
            revision: 0,
            ready: false,
            errors: Vec::new(),
            claim: None,
            inherited: Vec::new(),
            scraped: None,
        })
    }

    /// Until told to stop, or replaced. Without a `claim` it takes over from the process that has it.
    pub(super) async fn run(
        mut self,
        mut redirect: Redirect,
        workers: &Workers,
        flows: flow::Sink,
        claim: Option<Claim>,
        scraped: Scraped,
    ) -> Result<(), RunError> {
        self.scraped = Some(scraped);
        let served = self.until_stopped(&mut redirect, workers, &flows, claim).await;
        self.ready = false;
        self.claim = None;
        // Also after an error: threads that nobody stops would keep the process, which does nothing any more.
        self.stop(workers).await;
        let finished = served?.finish(&redirect, &self.store, self.assembler.rules(), &flows);
        finished.map_err(|error| RunError::of(&error))
    }

    async fn until_stopped(
        &mut self,
        redirect: &mut Redirect,
        workers: &Workers,
        flows: &flow::Sink,
        claim: Option<Claim>,
    ) -> Result<Telling, RunError> {
        let mut hangup = signal(SignalKind::hangup()).map_err(|error| RunError::of(&error))?;
        let (asked, questions) = mpsc::channel(16);
        let (came, mut successors) = mpsc::channel(1);
        let callers = Callers { questions: asked, successors: came };
        let mut inbox = Inbox::new(redirect, questions)?;
        // Before anything is read that counts: what changes while it is read is read again.
        let mut watch = Watch::new().map_err(|error| RunError::of(&error))?;
        self.follow(&mut watch);
        let strangers = redirect.strangers().map_err(|error| RunError::of(&error))?;
        let mut arrivals = Arrivals::new(self.pods.signs(), strangers).map_err(|error| RunError::of(&error))?;
        self.existing = self.start_existing(redirect, flows)?;
        let taken = claim.is_none();
        self.claim = claim;
        let mut admin = self.begin(redirect, workers, &mut arrivals, &callers).await?;
        self.follow(&mut watch);
        self.ready = true;
        tracing::info!(revision = self.revision, endpoints = self.pods.iter().count(), taken, "ready");
        let mut retiring: Option<Retiring> = None;
        let mut look = time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = inbox.stop.asked() => break,
                changed = next_change(&mut watch, &mut hangup) => {
                    changed.map_err(|error| RunError::of(&error))?;
                    time::sleep(SETTLE).await;
                    watch.forget().map_err(|error| RunError::of(&error))?;
                    // A directory of a secret that is new is watched before it is read.
                    self.follow(&mut watch);
                    self.reload(redirect, workers, &mut arrivals).await?;
                    self.follow(&mut watch);
                }
                sign = arrivals.changed(self.pods.due()) => {
                    let sign = sign.map_err(|error| RunError::of(&error))?;
                    self.look(sign, redirect, workers, &mut arrivals).await?;
                }
                Some(successor) = successors.recv(), if retiring.is_none() => {
                    match self.hand_over(successor, redirect, &mut inbox, flows).await? {
                        HandedOver::Replaced(begun) => retiring = Some(begun),
                        HandedOver::No if admin.is_in_place() => {}
                        HandedOver::No => admin = self.serve_admin(&callers, true)?,
                        HandedOver::Stop => break,
                    }
                }
                Some(question) = inbox.questions.recv() => question.answer(&self.status(redirect)),
                told = inbox.kernel.told(redirect, &self.store, self.assembler.rules(), flows) => told?,
                // Last: refusals of before are recorded.
                _ = look.tick(), if retiring.is_some() => {
                    if retiring.as_mut().is_some_and(|retiring| retiring.is_over(workers, Instant::now())) {
                        break;
                    }
                }
            }
        }
        if retiring.is_some() {
            admin.leave_file();
        }
        Ok(inbox.kernel.refusals)
    }

    /// Makes everything so for the first time, and answers questions from then on.
    async fn begin(
        &mut self,
        redirect: &mut Redirect,
        workers: &Workers,
        arrivals: &mut Arrivals,
        callers: &Callers,
    ) -> Result<Served, RunError> {
        if self.claim.is_some() {
            let admin = self.serve_admin(callers, false)?;
            self.serve_metrics(callers)?;
            self.reload(redirect, workers, arrivals).await?;
            return Ok(admin);
        }
        let predecessor = self.begin_take_over().await?;
        self.reload(redirect, workers, arrivals).await?;
        let admin = self.serve_admin(callers, true)?;
        self.api.listen(true)?;
        self.serve_metrics(callers)?;
        predecessor.taken().await;
        Ok(admin)
    }

    fn serve_metrics(&mut self, callers: &Callers) -> Result<(), RunError> {
        let listened = self.scraped.as_mut().map(|scraped| scraped.listen(callers));
        listened.unwrap_or(Ok(()))
    }

    fn serve_admin(&self, callers: &Callers, taken: bool) -> Result<Served, RunError> {
        admin::serve(&self.config.admin.socket, callers.clone(), taken).map_err(|error| RunError::of(&error))
    }

    fn start_existing(&self, redirect: &Redirect, flows: &flow::Sink) -> Result<Option<Existing>, RunError> {
        if self.config.redirect.existing == config::Existing::Leave {
            return Ok(None);
        }
        let own = redirect.own_sockets().map_err(|error| RunError::of(&error))?;
        let hold = redirect.hold().map_err(|error| RunError::of(&error))?;
        let holds = hold.is_some();
        let (store, counters) = (Arc::clone(&self.store), Arc::clone(&self.counters));
        let existing = Existing::start(own, hold, store, flows.clone(), counters);
        let existing = existing.map_err(|error| RunError::of(&error))?;
        if holds && !existing.lacking().is_empty() {
            return Err(RunError::one(
                "redirect.unenrolled: hold: this kernel cannot end what was held and is not allowed; that needs \
                 CONFIG_INET_DIAG_DESTROY: write deny, or allow",
            ));
        }
        Ok(Some(existing))
    }

    /// Reads everything anew; what cannot be read stays as it was.
    async fn reload(
        &mut self,
        redirect: &mut Redirect,
        workers: &Workers,
        arrivals: &mut Arrivals,
    ) -> Result<(), RunError> {
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
        self.await_pods(arrivals);
        self.sync(redirect, workers, arrivals).await
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
        self.pods.close();
    }
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
