//! Says when a file that was read may have changed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
};

use inotify::{Inotify, WatchDescriptor, WatchMask};
use tokio::io::unix::AsyncFd;

use super::{secrets, standalone};
use crate::sys;

/// Bytes for one read of events.
const BUFFER: usize = 4096;

/// Watches the directories of files, so that replacing by rename is seen too.
#[derive(Debug)]
pub struct Watch {
    inotify: AsyncFd<Inotify>,
    /// Directory → whose changes count there.
    directories: BTreeMap<PathBuf, Names>,
    /// What the kernel calls a directory.
    watched: HashMap<WatchDescriptor, PathBuf>,
}

/// Names in a directory.
#[derive(Debug, Default)]
struct Names {
    /// These.
    files: BTreeSet<OsString>,
    /// And everything that may be a manifest.
    manifests: bool,
    /// Everything, hidden names too: a mounted secret changes by the rename of a hidden one.
    all: bool,
}

impl Names {
    fn counts(&self, name: Option<&OsStr>) -> bool {
        // An event without a name is about the directory itself.
        name.is_none_or(|name| {
            self.all || self.files.contains(name) || (self.manifests && standalone::is_manifest(Path::new(name)))
        })
    }
}

fn not_watched(directory: &Path, error: &io::Error) -> String {
    format!("{}: cannot be watched: {error}; changes are read on SIGHUP only", directory.display())
}

impl Watch {
    /// Watches nothing yet.
    pub fn new() -> io::Result<Self> {
        let inotify = sys::register(Inotify::init()?)?;
        Ok(Self { inotify, directories: BTreeMap::new(), watched: HashMap::new() })
    }

    /// Watches `paths` from now on: the manifests of a directory, a file by its name. What cannot be watched is told.
    pub fn follow<'a>(&mut self, paths: impl IntoIterator<Item = &'a Path>) -> Vec<String> {
        let mut problems = Vec::new();
        for path in paths {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let is_directory = path.is_dir();
            let directory = if is_directory { path } else { parent };
            if !self.directories.contains_key(directory)
                && let Err(error) = self.watch(directory)
            {
                problems.push(not_watched(directory, &error));
                continue;
            }
            let names = self.directories.entry(directory.to_path_buf()).or_default();
            names.manifests |= is_directory;
            names.files.extend(path.file_name().filter(|_| !is_directory).map(OsStr::to_os_string));
        }
        problems
    }

    /// Watches the directory of secrets and everything in it. Asked again, it finds what is new.
    pub fn follow_secrets(&mut self, directory: Option<&Path>) -> Vec<String> {
        let mut problems = Vec::new();
        for directory in directory.map(secrets::directories).unwrap_or_default() {
            // Also one that is watched: it may have been removed and made again.
            match self.watch(&directory) {
                Ok(()) => self.directories.entry(directory).or_default().all = true,
                Err(error) => problems.push(not_watched(&directory, &error)),
            }
        }
        problems
    }

    fn watch(&mut self, directory: &Path) -> io::Result<()> {
        // Not IN_MODIFY: a file that is being written is read when its writer closes it.
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::DELETE
            | WatchMask::CREATE;
        let descriptor = self.inotify.get_ref().watches().add(directory, mask)?;
        self.watched.insert(descriptor, directory.to_path_buf());
        Ok(())
    }

    /// Reads what happened; says whether something of it counts, or `None` when nothing happened.
    fn read(&mut self) -> io::Result<Option<bool>> {
        let mut buffer = [0; BUFFER];
        match self.inotify.get_mut().read_events(&mut buffer) {
            Ok(events) => {
                let mut any = None;
                for event in events {
                    let directory = self.watched.get(&event.wd);
                    let names = directory.and_then(|directory| self.directories.get(directory));
                    // What is not known (an overflow of the queue) may have been anything.
                    let counts = names.is_none_or(|names| names.counts(event.name));
                    any = Some(any.unwrap_or(false) || counts);
                }
                Ok(any)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Forgets what changed until now: it is about to be read.
    pub fn forget(&mut self) -> io::Result<()> {
        while self.read()?.is_some() {}
        Ok(())
    }

    /// Waits until something changed that counts. May be dropped at any await without losing a change.
    pub async fn changed(&mut self) -> io::Result<()> {
        loop {
            match self.read()? {
                Some(true) => return Ok(()),
                Some(false) => {}
                None => {
                    let mut ready = self.inotify.readable().await?;
                    ready.clear_ready();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
