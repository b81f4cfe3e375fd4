//! The end of a process in order: told once, waited for by whoever told.
//!
//! Owns the signal and the count of who still works. Never closes anything itself. Start at [`new`].

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The side that tells.
#[derive(Debug)]
pub struct Drain {
    signal: CancellationToken,
    /// Nothing is ever sent: it ends when every watch is gone.
    everyone: mpsc::Receiver<()>,
    own: Watch,
}

/// The side that is told. While one lives, the drain is not over.
#[derive(Clone, Debug)]
pub struct Watch {
    signal: CancellationToken,
    _alive: mpsc::Sender<()>,
}

/// A drain and its first watch.
#[must_use]
pub fn new() -> (Drain, Watch) {
    let signal = CancellationToken::new();
    let (alive, everyone) = mpsc::channel(1);
    let watch = Watch { signal: signal.clone(), _alive: alive };
    (Drain { signal, everyone, own: watch.clone() }, watch)
}

impl Drain {
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
}
