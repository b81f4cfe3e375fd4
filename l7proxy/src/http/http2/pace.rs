//! How fast one client may have long paths recorded: a byte of it can be a whole path of its table, and each request's records
//! wait a moment before they are written.
//!
//! Start at [`Pace::take`].

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Bytes of paths.
const BYTES: usize = 256 << 10;
/// In so long.
const TIME: Duration = Duration::from_millis(20);

/// Of one client.
#[derive(Debug)]
pub(super) struct Pace {
    left: usize,
    since: Instant,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { left: BYTES, since: Instant::now(), pause: None }
    }

    /// The clock is read only when all is used up.
    pub(super) fn take(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
        if self.left == 0 {
            let now = Instant::now();
            let until = self.since + TIME;
            if now < until {
                self.pause = Some(Box::pin(sleep_until(until)));
            }
            (self.left, self.since) = (BYTES, until.max(now));
        }
    }

    pub(super) fn pauses(&self) -> bool {
        self.pause.is_some()
    }

    /// Ready when it may go on.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(pause) = &mut self.pause else { return Poll::Ready(()) };
        let is_over = pause.as_mut().poll(cx);
        if is_over.is_ready() {
            self.pause = None;
        }
        is_over
    }
}
