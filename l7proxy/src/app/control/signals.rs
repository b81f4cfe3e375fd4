//! What the control loop waits for beside questions and refusals: changes, and the wish that it ends.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::source::watch::Watch;

/// Waits for SIGHUP or a change of a file. Awaits nothing after it saw one: dropped then, it would lose it.
pub(super) async fn next_change(watch: &mut Watch, hangup: &mut Signal) -> std::io::Result<()> {
    tokio::select! {
        changed = watch.changed() => changed,
        _ = hangup.recv() => Ok(()),
    }
}

/// SIGTERM or SIGINT.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
