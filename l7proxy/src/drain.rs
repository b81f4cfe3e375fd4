//! The end of a process in order: told once, waited for by whoever told.
//!
//! Two things can be told. *Retire*: what is new goes to another process, so keep no connection that could be made there, but
//! lose none. *Drain*: begin nothing.
//!
//! Owns the signals and the count of who still works. Never closes anything itself. Start at [`new`].

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::metrics::Gauge;

/// The side that tells.
#[derive(Debug)]
pub struct Drain {
    signal: CancellationToken,
    retire: CancellationToken,
    retires: Arc<AtomicBool>,
    open: Arc<AtomicUsize>,
    /// Nothing is ever sent: it ends when every watch is gone.
    everyone: mpsc::Receiver<()>,
    own: Watch,
}

/// The side that is told. While one lives, the drain is not over.
#[derive(Clone, Debug)]
pub struct Watch {
    signal: CancellationToken,
    retire: CancellationToken,
    /// What `retire` says, for those who ask with each answer: a token has a lock.
    retires: Arc<AtomicBool>,
    open: Arc<AtomicUsize>,
    _alive: mpsc::Sender<()>,
}

/// A connection that is being served, while it lives.
#[derive(Debug)]
pub struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// A drain and its first watch.
#[must_use]
pub fn new() -> (Drain, Watch) {
    let (signal, retire) = (CancellationToken::new(), CancellationToken::new());
    let (open, retires) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (alive, everyone) = mpsc::channel(1);
    let watch = Watch {
        signal: signal.clone(),
        retire: retire.clone(),
        retires: Arc::clone(&retires),
        open: Arc::clone(&open),
        _alive: alive,
    };
    (Drain { signal, retire, retires, open, everyone, own: watch.clone() }, watch)
}

impl Drain {
    /// From now on: keep no connection for the next request.
    pub fn retire(&self) {
        self.retires.store(true, Ordering::Release);
        self.retire.cancel();
    }

    /// Connections that are being served.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// The same, for metrics.
    #[must_use]
    pub fn gauge(&self) -> Gauge {
        let open = Arc::clone(&self.open);
        let read = move || u64::try_from(open.load(Ordering::Relaxed)).unwrap_or(u64::MAX);
        Gauge::new("connections_open", "Connections that are being served.", read)
    }

    /// From now on: finish what is in flight, begin nothing.
    pub fn start(&self) {
        self.signal.cancel();
    }

    /// Ready when every watch is gone.
    pub async fn wait(self) {
        let Self { mut everyone, own, .. } = self;
        drop(own);
        while everyone.recv().await.is_some() {}
    }
}

impl Watch {
    /// Ready when draining began.
    pub async fn draining(&self) {
        self.signal.cancelled().await;
    }

    /// Whether draining began.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.signal.is_cancelled()
    }

    /// Ready when draining or retiring began.
    pub async fn leaving(&self) {
        tokio::select! {
            () = self.signal.cancelled() => {}
            () = self.retire.cancelled() => {}
        }
    }

    /// Whether a connection is to end with its next answer.
    #[must_use]
    pub fn is_retiring(&self) -> bool {
        self.retires.load(Ordering::Acquire)
    }

    /// Counts a connection.
    #[must_use]
    pub fn count(&self) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(&self.open))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_ends_with_the_last_watch() {
        let (drain, watch) = new();
        let second = watch.clone();
        drain.start();
        watch.draining().await;
        drop(watch);
        let waiting = tokio::spawn(drain.wait());
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(second);
        waiting.await.unwrap();
    }

    #[test]
    fn connections_are_counted_while_they_live() {
        let (drain, watch) = new();
        let (first, second) = (watch.count(), watch.count());
        assert_eq!(drain.open(), 2);
        drop(first);
        assert_eq!(drain.open(), 1);
        drop(second);
        assert_eq!(drain.open(), 0);
        assert!(!watch.is_retiring());
        drain.retire();
        assert!(watch.is_retiring());
    }
}
