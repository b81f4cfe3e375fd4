//! Whose the pins are: one process at a time may change what is pinned.
//!
//! Owns the lock, which is on the directory of pins itself, so that it ends with the process however that ends and leaves
//! nothing behind. Must never be held by a process that does not write to the kernel. Start at [`Claim::take`].

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::RedirectError;
use crate::sys;

/// The right to change what is pinned, until it is dropped.
#[derive(Debug)]
pub struct Claim {
    _directory: File,
}

impl Claim {
    /// Makes the directory for pins if it is not there; `None`: another process has the right.
    pub fn take(pins: &Path) -> Result<Option<Self>, RedirectError> {
        prepare(pins)?;
        Self::of_existing(pins)
    }

    /// The same of a directory that must be there.
    pub(super) fn of_existing(pins: &Path) -> Result<Option<Self>, RedirectError> {
        loop {
            let directory = open(pins)?;
            match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(RedirectError::path(pins, "lock the directory for pins")(error.into())),
            }
            // It may have been unmounted since it was opened, or mounted over.
            if is_at(&directory, pins).map_err(RedirectError::path(pins, "read the directory for pins"))? {
                return Ok(Some(Self { _directory: directory }));
            }
        }
    }
}

/// A directory on a bpf file system, mounted there by the first who comes.
fn prepare(pins: &Path) -> Result<(), RedirectError> {
    fs::create_dir_all(pins).map_err(RedirectError::path(pins, "make the directory for pins"))?;
    if sys::is_bpffs(pins) {
        return Ok(());
    }
    // What lies below the mount: two that start at the same time mount once.
    let below = open(pins)?;
    let locked = flock(&below, FlockOperation::LockExclusive);
    locked.map_err(|error| RedirectError::path(pins, "lock the directory for pins")(error.into()))?;
    if !sys::is_bpffs(pins) {
        sys::mount_bpffs(pins).map_err(RedirectError::path(pins, "mount a bpf file system"))?;
    }
    Ok(())
}

fn open(pins: &Path) -> Result<File, RedirectError> {
    File::open(pins).map_err(RedirectError::path(PathBuf::from(pins), "open the directory for pins"))
}

fn is_at(directory: &File, path: &Path) -> io::Result<bool> {
    let (there, here) = (path.metadata()?, directory.metadata()?);
    Ok((there.dev(), there.ino()) == (here.dev(), here.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let first = Claim::of_existing(directory.path()).unwrap();
        assert!(first.is_some());
        assert!(Claim::of_existing(directory.path()).unwrap().is_none());
        drop(first);
        assert!(Claim::of_existing(directory.path()).unwrap().is_some());
    }
}
