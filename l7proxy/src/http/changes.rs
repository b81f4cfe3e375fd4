//! What the connections of one worker are told: changes of policy, and that the process ends.
//!
//! Start at [`Changes::add`].

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    rc::{Rc, Weak},
    time::Duration,
};

use tokio::{sync::watch, task, time};

use super::Worker;
use crate::drain;

/// Connections after which others have their turn.
const TURN: usize = 256;

/// What had time enough to end by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// What has no end that is worth waiting for.
    Tunnels,
    /// Everything.
    All,
}

/// Who wants to know.
pub(super) trait Changed {
    /// Policy is another one: what is `due` and not allowed any more ends.
    fn policy_changed(&self, due: Due);

    /// The process ends: nothing new is begun. (Who looks at the drain by itself need not be told.)
    fn leave(&self) {}
}

type Open = BTreeMap<u64, Weak<dyn Changed>>;

/// The connections of one worker.
#[derive(Default)]
pub struct Changes {
    /// Requests that policy does not allow any more are ended after so long; `None`: nothing is.
    grace: Option<Duration>,
    open: RefCell<Open>,
    next: Cell<u64>,
    watched: Cell<bool>,
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { grace, open, .. } = self;
        f.debug_struct("Changes").field("grace", grace).field("open", &open.borrow().len()).finish_non_exhaustive()
    }
}

/// While it lives, its connection is told.
#[derive(Debug)]
pub(super) struct Told {
    worker: Rc<Worker>,
    number: u64,
}

impl Drop for Told {
    fn drop(&mut self) {
        self.worker.changes.open.borrow_mut().remove(&self.number);
    }
}

impl Changes {
    /// Requests that are under way and not allowed any more have `grace`, so that what is as good as answered is not lost;
    /// tunnels have none. `None`: nothing is ended.
    #[must_use]
    pub fn new(grace: Option<Duration>) -> Self {
        Self { grace, ..Self::default() }
    }

    /// Whether what is under way and not allowed any more is ended.
    #[must_use]
    pub fn ends(&self) -> bool {
        self.grace.is_some()
    }

    /// Tells `who` of each new one of `revisions`, and of the process' end.
    pub(super) fn add(worker: &Rc<Worker>, who: Weak<dyn Changed>, revisions: watch::Receiver<u64>) -> Told {
        let changes = &worker.changes;
        let number = changes.next.replace(changes.next.get() + 1);
        changes.open.borrow_mut().insert(number, who);
        if !changes.watched.replace(true) {
            task::spawn_local(watch_drain(Rc::downgrade(worker), worker.drain.clone()));
            if let Some(grace) = changes.grace {
                task::spawn_local(watch(Rc::downgrade(worker), revisions, grace));
            }
        }
        Told { worker: Rc::clone(worker), number }
    }

    async fn tell(&self, what: impl Fn(&dyn Changed)) {
        let open: Vec<_> = self.open.borrow().values().cloned().collect();
        for some in open.chunks(TURN) {
            some.iter().filter_map(Weak::upgrade).for_each(|who| what(&*who));
            task::yield_now().await;
        }
    }
}

async fn watch_drain(worker: Weak<Worker>, drain: drain::Watch) {
    drain.draining().await;
    if let Some(worker) = worker.upgrade() {
        worker.changes.tell(|who| who.leave()).await;
    }
}

async fn watch(worker: Weak<Worker>, mut revisions: watch::Receiver<u64>, grace: Duration) {
    while revisions.changed().await.is_ok() {
        for due in [Due::Tunnels, Due::All] {
            let Some(worker) = worker.upgrade() else { return };
            worker.changes.tell(|who| who.policy_changed(due)).await;
            drop(worker);
            if due == Due::Tunnels {
                time::sleep(grace).await;
            }
        }
    }
}
