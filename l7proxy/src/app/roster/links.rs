//! The interfaces of a pod, which come after its namespace.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::unix::AsyncFd,
    sync::Notify,
    task::JoinHandle,
    time::{self, Instant},
};

use crate::{
    pod_net::{self, PodNetns},
    sys,
};

/// Changes that follow each other are one, whatever a pod does to its interfaces. And the kernel shows an interface before
/// it knows the other end of it.
const SOON: Duration = Duration::from_millis(20);
/// Once more, for what took longer.
const LATER: Duration = Duration::from_millis(500);

/// Says when the interfaces of a pod have changed.
#[derive(Debug)]
pub(super) struct Links {
    changed: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Links {
    /// `signs` is told when they have. To be called before anybody looks at them.
    pub(super) fn watch(netns: &PodNetns, signs: &Arc<Notify>) -> io::Result<Self> {
        let socket = sys::register(netns.link_changes()?)?;
        let changed = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(follow(socket, Arc::clone(&changed), Arc::clone(signs)));
        Ok(Self { changed, task })
    }

    /// Whether they have, since this was asked.
    pub(super) fn have_changed(&self) -> bool {
        self.changed.swap(false, Ordering::Relaxed)
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        // Until it is gone its socket keeps the namespace; that is at the runtime's next turn.
        self.task.abort();
    }
}

async fn follow(socket: AsyncFd<OwnedFd>, changed: Arc<AtomicBool>, signs: Arc<Notify>) {
    let (mut due, mut is_last) = (None, false);
    loop {
        let pause = async {
            match due {
                Some(due) => time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = pause => {
                changed.store(true, Ordering::Relaxed);
                signs.notify_one();
                due = (!is_last).then(|| Instant::now() + LATER);
                is_last = true;
            }
            read = forget(&socket) => {
                if let Err(error) = read {
                    return tracing::warn!(%error, "interfaces of a pod are not followed any more");
                }
                if due.is_none() || is_last {
                    due = Some(Instant::now() + SOON);
                    is_last = false;
                }
            }
        }
    }
}

async fn forget(socket: &AsyncFd<OwnedFd>) -> io::Result<()> {
    let mut ready = socket.readable().await?;
    pod_net::forget_changes(socket.get_ref().as_fd())?;
    ready.clear_ready();
    Ok(())
}
