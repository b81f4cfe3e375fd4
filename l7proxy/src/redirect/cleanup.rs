//! The way back to a clean node.
//!
//! Owns what is removed, and that nobody is using it. Start at [`cleanup`].

use std::{fs, io, path::Path};

use rustix::mount::{UnmountFlags, unmount};

use super::{
    RedirectError,
    attach::{MAP_PREFIX, NEW_PREFIX, pinned, pins, remove},
    claim::Claim,
};
use crate::sys;

/// Removes every pin below `directory` and, when it is a mount of its own, the mount. Says how many links were removed.
pub fn cleanup(directory: &Path) -> Result<usize, RedirectError> {
    let mut removed = 0;
    // Whatever is mounted there: one that was killed may have left more than one mount.
    while sys::is_bpffs(directory) {
        let Some(_claim) = Claim::of_existing(directory)? else {
            return Err(RedirectError::InUse { pins: directory.to_path_buf() });
        };
        let links = pins(directory)?;
        for pin in &links {
            remove(pin)?;
        }
        removed += links.len();
        for pin in pinned(directory, &[MAP_PREFIX, NEW_PREFIX])? {
            remove(&pin)?;
        }
        let parent = directory.parent().unwrap_or(Path::new("/"));
        if sys::is_bpffs(parent) {
            // Not ours: the directory above is a bpf file system too.
            break;
        }
        unmount(directory, UnmountFlags::DETACH)
            .map_err(|error| RedirectError::path(directory, "unmount the bpf file system")(error.into()))?;
    }
    match fs::remove_dir(directory) {
        Ok(()) => Ok(removed),
        // Somebody else's files are none of ours.
        Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::DirectoryNotEmpty].contains(&error.kind()) => {
            Ok(removed)
        }
        Err(error) => Err(RedirectError::path(directory, "remove the directory")(error)),
    }
}
