//! Changes of policy, told to the connections of one worker that have something under way.
//!
//! Start at [`Changes::add`].

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    rc::{Rc, Weak},
};

use tokio::{sync::watch, task};

use super::Worker;

/// Connections after which others have their turn.
const TURN: usize = 256;

/// Who wants to know.
pub(super) trait Changed {
    /// Policy is another one.
    fn policy_changed(&self);
}

type Open = BTreeMap<u64, Weak<dyn Changed>>;

/// The connections of one worker.
#[derive(Default)]
pub struct Changes {
    /// Whether what policy does not allow any more is ended.
    ends: bool,
    open: RefCell<Open>,
    next: Cell<u64>,
    watched: Cell<bool>,
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ends, open, .. } = self;
        f.debug_struct("Changes").field("ends", ends).field("open", &open.borrow().len()).finish_non_exhaustive()
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
    /// `ends`: what is under way and not allowed any more is ended.
    #[must_use]
    pub fn new(ends: bool) -> Self {
        Self { ends, ..Self::default() }
    }

    /// Whether what is under way and not allowed any more is ended.
    #[must_use]
    pub fn ends(&self) -> bool {
        self.ends
    }

    /// Tells `who` of each new one of `revisions`.
    pub(super) fn add(worker: &Rc<Worker>, who: Weak<dyn Changed>, revisions: watch::Receiver<u64>) -> Told {
        let changes = &worker.changes;
        let number = changes.next.replace(changes.next.get() + 1);
        changes.open.borrow_mut().insert(number, who);
        if changes.ends && !changes.watched.replace(true) {
            task::spawn_local(watch(Rc::downgrade(worker), revisions));
        }
        Told { worker: Rc::clone(worker), number }
    }

    async fn tell(&self) {
        let open: Vec<_> = self.open.borrow().values().cloned().collect();
        for some in open.chunks(TURN) {
            some.iter().filter_map(Weak::upgrade).for_each(|who| who.policy_changed());
            task::yield_now().await;
        }
    }
}

async fn watch(worker: Weak<Worker>, mut revisions: watch::Receiver<u64>) {
    while revisions.changed().await.is_ok() {
        let Some(worker) = worker.upgrade() else { return };
        worker.changes.tell().await;
    }
}
