//! The process that a pod is named by.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use tokio::{sync::Notify, task::JoinHandle};

use crate::sys;

/// A process that is watched, whoever has its number later.
#[derive(Debug)]
pub(super) struct Process {
    handle: OwnedFd,
    task: JoinHandle<()>,
}

impl Process {
    /// `ended` is told when it is gone.
    pub(super) fn watch(number: u32, ended: &Arc<Notify>) -> io::Result<Self> {
        let pid = i32::try_from(number).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
        let handle = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| match error {
            rustix::io::Errno::SRCH => io::ErrorKind::NotFound.into(),
            other => io::Error::from(other),
        })?;
        let readable = sys::register(handle.try_clone()?)?;
        let ended = Arc::clone(ended);
        let task = tokio::spawn(async move {
            match readable.readable().await {
                Ok(_) => ended.notify_one(),
                Err(error) => tracing::warn!(%error, "pidfd"),
            }
        });
        Ok(Self { handle, task })
    }

    pub(super) fn has_ended(&self) -> bool {
        let fd = self.handle.as_fd();
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // What cannot be asked is taken for there: its pod stays judged.
        poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.task.abort();
    }
}
