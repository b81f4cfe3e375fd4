//! Says when a file that was read may have changed.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use inotify::{Inotify, WatchMask};
use tokio::io::unix::AsyncFd;

use crate::sys;

/// Bytes for one read of events.
const BUFFER: usize = 4096;

/// Watches the directories of files, so that replacing by rename is seen too.
#[derive(Debug)]
pub struct Watch {
    inotify: AsyncFd<Inotify>,
    directories: BTreeSet<PathBuf>,
}

impl Watch {
    /// Watches nothing yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self { inotify: sys::register(Inotify::init()?)?, directories: BTreeSet::new() })
    }

    /// Watches `paths` from now on: a directory itself, a file through its directory. What cannot be watched is told.
    pub fn follow<'a>(&mut self, paths: impl IntoIterator<Item = &'a Path>) -> Vec<String> {
        let mut problems = Vec::new();
        for path in paths {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let directory = if path.is_dir() { path } else { parent };
            if self.directories.contains(directory) {
                continue;
            }
            // Not IN_MODIFY: a file that is being written is read when its writer closes it.
            let mask = WatchMask::CLOSE_WRITE
                | WatchMask::MOVED_TO
                | WatchMask::MOVED_FROM
                | WatchMask::DELETE
                | WatchMask::CREATE;
            match self.inotify.get_ref().watches().add(directory, mask) {
                Ok(_) => {
                    self.directories.insert(directory.to_path_buf());
                }
                Err(error) => problems.push(format!(
                    "{}: cannot be watched: {error}; changes are read on SIGHUP only",
                    directory.display()
                )),
            }
        }
        problems
    }

    /// Forgets what changed until now: it is about to be read.
    pub fn forget(&mut self) -> io::Result<()> {
        let mut buffer = [0; BUFFER];
        loop {
            match self.inotify.get_mut().read_events(&mut buffer).map(Iterator::count) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until something changed. May be dropped at any await without losing a change.
    pub async fn changed(&mut self) -> io::Result<()> {
        let mut buffer = [0; BUFFER];
        loop {
            let mut ready = self.inotify.readable_mut().await?;
            let seen = ready.get_inner_mut().read_events(&mut buffer).map(Iterator::count);
            match seen {
                Ok(0) => ready.clear_ready(),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) => return Err(error),
            }
        }
    }
}
