//! Waiting for readiness of descriptors that are no sockets.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use tokio::io::unix::AsyncFd;

/// Registers `inner` with the runtime of this thread.
pub fn register<T: AsFd + AsRawFd>(inner: T) -> io::Result<AsyncFd<T>> {
    #[expect(unsafe_code, reason = "tokio cannot know that a descriptor stays the same while it is registered")]
    // SAFETY: `AsFd` promises an open descriptor for as long as `inner` lives, and the types that come here never
    // exchange it; `AsyncFd` owns `inner` and takes the registration back before it drops it.
    let registered = unsafe { AsyncFd::register(inner) };
    Ok(registered?)
}
