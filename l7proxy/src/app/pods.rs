//! What this process holds of each enrolled pod: its namespace and two listeners in it.

use std::{io, mem, net::TcpListener, os::fd::AsFd, path::Path, sync::Arc};

use tokio_util::sync::CancellationToken;

use crate::{
    pod_net::{Exit, PodNetns},
    redirect::{Enrolment, Redirect},
};

/// A pod's namespace, its listeners and its ways out while it is enrolled.
#[derive(Debug)]
pub(super) struct LocalPod {
    pub(super) netns: Arc<PodNetns>,
    pub(super) ingress: TcpListener,
    pub(super) egress: TcpListener,
    pub(super) exits: Vec<Exit>,
    pub(super) closed: CancellationToken,
}

impl LocalPod {
    /// Looks for its ways out anew, and says whether there are others; what cannot be seen stays as it was.
    pub(super) fn look_around(&mut self) -> bool {
        match self.netns.exits() {
            Ok(exits) => mem::replace(&mut self.exits, exits) != self.exits,
            Err(error) => {
                tracing::warn!(cookie = self.netns.cookie(), %error, "interfaces cannot be listed");
                false
            }
        }
    }

    /// What the kernel side needs of it.
    pub(super) fn enrolment(&self) -> Enrolment<'_> {
        Enrolment {
            netns: self.netns.as_fd(),
            ingress: self.ingress.as_fd(),
            egress: self.egress.as_fd(),
            exits: &self.exits,
        }
    }
}

/// The line that says why a namespace cannot be opened.
pub(super) fn namespace_error(pod: &str, path: &Path, error: &io::Error) -> String {
    format!("{pod}: network namespace {}: {error}; give the netns file or pid of a running pod", path.display())
}
/// Both listeners, marked as our own before anything can reach them.
pub(super) fn open_listeners(netns: Arc<PodNetns>, redirect: &Redirect) -> Result<LocalPod, String> {
    let mut maps = redirect.data_maps().map_err(|error| error.to_string())?;
    let mut listen = || -> io::Result<TcpListener> {
        let listener = netns.listen()?;
        maps.mark_own(&listener)?;
        Ok(listener)
    };
    let open = |error: io::Error| format!("listener in its network namespace: {error}");
    let exits = netns.exits().map_err(|error| format!("interfaces of its network namespace: {error}"))?;
    let ingress = listen().map_err(open)?;
    let egress = listen().map_err(open)?;
    Ok(LocalPod { netns, ingress, egress, exits, closed: CancellationToken::new() })
}
