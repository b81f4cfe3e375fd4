//! What tells that a pod's namespace may have come or gone.
//!
//! Owns the signs: names in the directories of namespaces' files, first sockets, what pods' own watches tell, and the time to
//! look where there is no sign. Never looks itself. Start at [`Arrivals::changed`].

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time};

use crate::{
    config::Endpoint,
    pod_net::NetnsPath,
    redirect::{RedirectError, Strangers},
    source::watch::Watch,
};

/// After a look that found nothing, for looks for the same reason.
const QUIET: Duration = Duration::from_millis(5);

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// A file came or went.
    File,
    /// A namespace that is not known made a socket.
    Socket,
    /// A process ended, interfaces changed, or it is time.
    Other,
}

/// All signs.
#[derive(Debug)]
pub(super) struct Arrivals {
    files: Watch,
    pods: Arc<Notify>,
    sockets: Strangers,
    /// A socket was seen, and nobody looked since.
    seen: bool,
    /// Before it is of no use to look for sockets' sake.
    quiet: Option<Instant>,
}

impl Arrivals {
    /// `pods` is told of what is known of those that are there.
    pub(super) fn new(pods: Arc<Notify>, sockets: Strangers) -> io::Result<Self> {
        Ok(Self { files: Watch::new()?, pods, sockets, seen: false, quiet: None })
    }

    /// Whether sockets of unknown namespaces are signs, that is, whether a pod is waited for. `true`: they are from now on, so
    /// whoever looked before has to look again.
    pub(super) fn await_sockets(&mut self, wanted: bool) -> Result<bool, RedirectError> {
        self.sockets.tell(wanted)
    }

    /// A look for a socket's sake found nothing: other namespaces than those that are waited for come as well, and may be
    /// many.
    pub(super) fn in_vain(&mut self, now: Instant) {
        self.quiet = Some(now + QUIET);
    }

    /// Watches for the files of these pods, and for no others any more. Lines for what cannot be watched. To be called before
    /// looking for the files, and after each sign of a file: its directory may be new.
    pub(super) fn follow(&mut self, endpoints: &[Endpoint]) -> Vec<String> {
        // A watch of its own each time: it would remember the names of all pods that ever were.
        match Watch::new() {
            Ok(files) => self.files = files,
            Err(error) => return vec![format!("namespaces that come are not seen but by their first socket: {error}")],
        }
        let files = endpoints.iter().filter_map(|endpoint| match endpoint.namespace_path() {
            Some(NetnsPath::File(path)) => Some(nearest(&path)),
            Some(NetnsPath::Pid(_)) | None => None,
        });
        let files: Vec<PathBuf> = files.collect();
        self.files.follow(files.iter().map(PathBuf::as_path))
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
            () = self.pods.notified() => Ok(Sign::Other),
            seen = socket(&mut self.sockets, &mut self.seen, self.quiet) => seen.map(|()| Sign::Socket),
            () = due => Ok(Sign::Other),
        }
    }
}

async fn socket(sockets: &mut Strangers, seen: &mut bool, quiet: Option<Instant>) -> io::Result<()> {
    if !*seen {
        sockets.seen().await?;
        *seen = true;
    }
    if let Some(quiet) = quiet {
        time::sleep_until(quiet.into()).await;
    }
    *seen = false;
    Ok(())
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
