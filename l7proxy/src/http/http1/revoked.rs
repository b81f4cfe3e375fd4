//! How a connection's own task is told from outside that it has to look again, or to end.
//!
//! Start at [`Revoked::poll`].

use std::{
    cell::{Cell, RefCell},
    task::{Context, Poll, Waker},
};

/// Told to whoever serves a request, or a tunnel, that policy does not allow any more.
#[derive(Debug, Default)]
pub(super) struct Revoked {
    is_set: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Revoked {
    pub(super) fn set(&self) {
        self.is_set.set(true);
        self.wake();
    }

    /// Whoever waits for it looks at what else there is.
    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Ready when it was told.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_set.get() {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        if waker.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}
