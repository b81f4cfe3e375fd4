//! What tells that a pod's namespace may have come or gone.
//!
//! Owns the signs: names in the directories of namespaces' files, ends of processes, and the time to look where there is no
//! sign. Never looks itself. Start at [`Arrivals::changed`].

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use tokio::{sync::Notify, time};

use crate::{config::Endpoint, pod_net::NetnsPath, source::watch::Watch};

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// A file came or went.
    File,
    /// A process ended, or it is time.
    Other,
}

/// All signs.
#[derive(Debug)]
pub(super) struct Arrivals {
    files: Watch,
    processes: Arc<Notify>,
}

impl Arrivals {
    /// `processes` is told when one ended.
    pub(super) fn new(processes: Arc<Notify>) -> io::Result<Self> {
        Ok(Self { files: Watch::new()?, processes })
    }

    /// Watches for the files of these pods, and for no others any more. Lines for what cannot be watched. To be called before
    /// looking for the files, and after each sign of a file: its directory may be new.
    pub(super) fn follow(&mut self, endpoints: &[Endpoint]) -> io::Result<Vec<String>> {
        // A watch of its own each time: it would remember the names of all pods that ever were.
        self.files = Watch::new()?;
        let files = endpoints.iter().filter_map(|endpoint| match endpoint.namespace_path() {
            Some(NetnsPath::File(path)) => Some(nearest(&path)),
            Some(NetnsPath::Pid(_)) | None => None,
        });
        let files: Vec<PathBuf> = files.collect();
        Ok(self.files.follow(files.iter().map(PathBuf::as_path)))
    }

    /// Waits for a sign, until `due` at the latest. May be dropped at any await without losing one.
    pub(super) async fn changed(&mut self, due: Option<Instant>) -> io::Result<Sign> {
        let due = async {
            match due {
                Some(due) => time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = self.files.changed() => changed.map(|()| Sign::File),
            () = self.processes.notified() => Ok(Sign::Other),
            () = due => Ok(Sign::Other),
        }
    }
}

/// The file, or the nearest of the directories that lead to it and are not there.
fn nearest(path: &Path) -> PathBuf {
    let missing = path.ancestors().take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists());
    missing.last().unwrap_or(path).to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_directory_that_is_missing_is_waited_for() {
        let there = tempfile::tempdir().unwrap();
        let path = there.path().join("run/netns/a");
        assert_eq!(nearest(&path), there.path().join("run"));
        std::fs::create_dir_all(there.path().join("run/netns")).unwrap();
        assert_eq!(nearest(&path), path);
        std::fs::write(&path, "").unwrap();
        assert_eq!(nearest(&path), path);
    }
}
