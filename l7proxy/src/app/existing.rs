//! Connections that are older than the policy in force: those that it does not allow are ended.
//!
//! Owns when a pod's sockets are looked through and which of them end. Never touches the proxy's own sockets, nor what goes
//! through the proxy: that is judged at its next request. Works on a thread of its own, because a pod may have very many
//! sockets. Start at [`Existing::judge`]; what ends is decided in `existing/fate.rs`.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    endpoint::EndpointId,
    flow,
    metrics::{Counters, count},
    pod_net::{Diag, PodNetns, Transport},
    policy::Store,
    redirect::{Hold, RedirectError},
};

mod fate;
mod sweep;

use self::sweep::{Found, Sweep};

/// Between two looks at the same pod.
const PAUSE: Duration = Duration::from_secs(1);
/// Looks at a pod after a change, at most: by then the kernel has given up what was half open before it.
const LOOKS: u32 = 64;
/// Looks at a pod after a change, at least: a `connect()` may stand between its verdict and the table of sockets.
const LEAST_LOOKS: u32 = 2;

/// A pod whose sockets are to be looked through.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) endpoint: EndpointId,
    /// Not held: a namespace may end at any time.
    pub(super) netns: Weak<PodNetns>,
    /// The node itself may enter, whatever policy says.
    pub(super) host_allowed: bool,
}

#[derive(Debug)]
struct Job {
    target: Target,
    due: Instant,
    /// Looks before this one.
    looks: u32,
}

/// A line for `status`, and whose.
type Problem = (Weak<PodNetns>, String);

/// Pods by the cookie of their namespace: no more than there are.
#[derive(Debug, Default)]
struct State {
    jobs: BTreeMap<u64, Job>,
    /// The one whose job is being done.
    busy: Option<u64>,
    /// What went wrong the last time, for as long as the pod is there.
    problems: BTreeMap<u64, Problem>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Set with the state locked, so that nobody begins to wait after it.
    stopped: AtomicBool,
    /// The map that marks the proxy's own sockets.
    own: OwnedFd,
    /// Protocols whose sockets this kernel cannot end.
    lacking: Vec<Transport>,
    store: Arc<Store>,
    flows: flow::Sink,
    counters: Arc<Counters>,
}

/// The thread that looks. It ends with this value.
#[derive(Debug)]
pub(super) struct Existing {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Existing {
    /// `own` is the map that marks the proxy's own sockets; what is held of a pod is let go by `hold` after the first look.
    pub(super) fn start(
        own: OwnedFd,
        hold: Option<Hold>,
        store: Arc<Store>,
        flows: flow::Sink,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let mut lacking = Vec::new();
        for transport in [Transport::Tcp, Transport::Udp] {
            match Diag::here().and_then(|mut diag| diag.can_end(transport, own.as_fd())) {
                Ok(true) => {}
                Ok(false) => lacking.push(transport),
                Err(error) => {
                    tracing::warn!(%error, ?transport, "sock_diag");
                    lacking.push(transport);
                }
            }
        }
        let state = Mutex::new(State::default());
        let shared = Arc::new(Shared {
            state,
            changed: Condvar::new(),
            stopped: AtomicBool::new(false),
            own,
            lacking,
            store,
            flows,
            counters,
        });
        let works = Arc::clone(&shared);
        let thread = thread::Builder::new().name("existing".to_owned()).spawn(move || works.work(hold))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The sockets of these pods, by cookie, are judged by the newest policy, now and until nothing is open.
    pub(super) fn judge(&self, targets: impl IntoIterator<Item = (u64, Target)>) {
        let now = Instant::now();
        let mut state = self.shared.lock();
        state.jobs.extend(targets.into_iter().map(|(cookie, target)| (cookie, Job { target, due: now, looks: 0 })));
        self.shared.changed.notify_one();
    }

    /// Lines for `status`.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut state = self.shared.lock();
        state.problems.retain(|_, (netns, _)| netns.strong_count() > 0);
        state.problems.values().map(|(_, line)| line.clone()).collect()
    }

    /// Pods that will be looked at, or are just now.
    pub(super) fn pending(&self) -> u64 {
        let state = self.shared.lock();
        let busy = state.busy.filter(|cookie| !state.jobs.contains_key(cookie));
        (state.jobs.len() + usize::from(busy.is_some())).try_into().unwrap_or(u64::MAX)
    }

    /// Protocols whose sockets this kernel cannot end.
    pub(super) fn lacking(&self) -> &[Transport] {
        &self.shared.lacking
    }
}

impl Drop for Existing {
    fn drop(&mut self) {
        let state = self.shared.lock();
        self.shared.stopped.store(true, Ordering::Relaxed);
        drop(state);
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread for existing connections panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, mut hold: Option<Hold>) {
        while let Some((cookie, job)) = self.next() {
            let sweep = Sweep { target: &job.target, patient: job.looks + 1 < LEAST_LOOKS, shared: self };
            // A pod that is gone has no sockets left to end.
            let mut result = job.target.netns.upgrade().map(|netns| sweep.run(&netns));
            if let (Some(hold), Some(Ok(_))) = (&mut hold, &result)
                && let Err(error) = self.release(hold, cookie, job.target.endpoint)
            {
                result = Some(Err(io::Error::other(error.to_string())));
            }
            self.finish(cookie, job, result);
        }
    }

    /// Nothing is left of what the pod began before it was judged: what it sends need not be held any more.
    fn release(&self, hold: &mut Hold, cookie: u64, endpoint: EndpointId) -> Result<(), RedirectError> {
        hold.release(cookie)?;
        // It may have been removed meanwhile, which is published before the kernel is told.
        if self.store.current().endpoints.contains_key(&endpoint) { Ok(()) } else { hold.keep(cookie) }
    }

    /// The job that is due first, as soon as it is; `None` at the end.
    fn next(&self) -> Option<(u64, Job)> {
        let mut state = self.lock();
        loop {
            if self.stopped.load(Ordering::Relaxed) {
                return None;
            }
            let first = state.jobs.iter().min_by_key(|(_, job)| job.due).map(|(cookie, job)| (*cookie, job.due));
            let now = Instant::now();
            let wait = |state, time| self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0;
            state = match first {
                Some((cookie, due)) if due <= now => {
                    state.busy = Some(cookie);
                    return state.jobs.remove_entry(&cookie);
                }
                Some((_, due)) => wait(state, due.saturating_duration_since(now)),
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Looks again where something may have been missed.
    fn finish(&self, cookie: u64, job: Job, result: Option<io::Result<Found>>) {
        let looks = job.looks + 1;
        let mut state = self.lock();
        state.busy = None;
        let again = match result {
            None => {
                state.problems.remove(&cookie);
                false
            }
            Some(Ok(found)) => {
                count(&self.counters.existing_looks);
                state.problems.remove(&cookie);
                looks < LEAST_LOOKS || found.ended > 0 || found.undecided > 0
            }
            Some(Err(error)) => {
                count(&self.counters.existing_looks_failed);
                let endpoint = job.target.endpoint.0;
                let line = format!("existing connections of endpoint {endpoint} were not all judged: {error}");
                tracing::warn!("{line}");
                state.problems.insert(cookie, (Weak::clone(&job.target.netns), line));
                true
            }
        };
        if again && looks < LOOKS {
            // A change that came meanwhile has its own job, which is due at once.
            state.jobs.entry(cookie).or_insert(Job { due: Instant::now() + PAUSE, looks, ..job });
        }
    }
}
