//! What this process holds of each enrolled pod: its namespace and listeners in it.

use std::{
    collections::BTreeMap,
    io, mem,
    net::{IpAddr, TcpListener},
    os::fd::AsFd,
    path::Path,
    sync::Arc,
};

use rules::Direction;
use tokio_util::sync::CancellationToken;

use crate::{
    pod_net::{Exit, Family, PodNetns},
    redirect::{self, Enrolment, LISTENER_EGRESS, LISTENER_V6, Redirect},
};

/// A pod's namespace, its listeners and its ways out while it is enrolled.
#[derive(Debug)]
pub(super) struct LocalPod {
    pub(super) netns: Arc<PodNetns>,
    egress_port: u16,
    pub(super) listeners: Vec<Listener>,
    pub(super) exits: Vec<Exit>,
    pub(super) closed: CancellationToken,
}

/// One listener: connections of one family and one direction.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) direction: Direction,
    family: Family,
    pub(super) socket: TcpListener,
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
        let listeners = self.listeners.iter().map(|listener| (listener.kind(), listener.socket.as_fd())).collect();
        let egress_port = self.egress_port;
        Enrolment { netns: self.netns.as_fd(), egress_port, listeners, exits: &self.exits }
    }
}

impl Listener {
    fn kind(&self) -> u64 {
        let egress = if self.direction == Direction::Egress { LISTENER_EGRESS } else { 0 };
        let six = if self.family == Family::V6 { LISTENER_V6 } else { 0 };
        egress | six
    }
}

/// Link-local addresses, by the cookies of pods: nobody configures them, and packets to them are the pod's too. What two
/// pods have is nobody's, and refused.
pub(super) fn link_local<'p>(pods: impl Iterator<Item = &'p LocalPod>) -> BTreeMap<u64, Vec<IpAddr>> {
    let mut owners: BTreeMap<IpAddr, Vec<u64>> = BTreeMap::new();
    for netns in pods.map(|local| &local.netns) {
        match netns.link_local_addresses() {
            Ok(addresses) => {
                for six in addresses {
                    owners.entry(six.into()).or_default().push(netns.cookie());
                }
            }
            Err(error) => tracing::warn!(%error, "link-local addresses of a pod: packets to them are refused"),
        }
    }
    let mut found: BTreeMap<u64, Vec<IpAddr>> = BTreeMap::new();
    for (address, cookies) in owners {
        if let [cookie] = cookies.as_slice() {
            found.entry(*cookie).or_default().push(address);
        }
    }
    found
}

/// The line that says why a namespace cannot be opened.
pub(super) fn namespace_error(pod: &str, path: &Path, error: &io::Error) -> String {
    format!("{pod}: network namespace {}: {error}; give the netns file or pid of a running pod", path.display())
}

/// All listeners, marked as our own before anything can reach them.
pub(super) fn open_listeners(
    netns: Arc<PodNetns>,
    addresses: &[IpAddr],
    redirect: &Redirect,
) -> Result<LocalPod, String> {
    let mut maps = redirect.data_maps().map_err(|error| error.to_string())?;
    let local = netns.local_port_range().map_err(|error| format!("its local ports: {error}"))?;
    let ports = redirect::egress_ports(&local);
    // On the same ports, so that they take none of those that the pod's connections get.
    let mut listen = |direction, family| -> io::Result<Listener> {
        let socket = netns.listen(family, ports.clone())?;
        maps.mark_own(&socket)?;
        Ok(Listener { direction, family, socket })
    };
    let exits = netns.exits().map_err(|error| format!("interfaces of its network namespace: {error}"))?;
    let mut listeners = Vec::new();
    for family in [Family::V4, Family::V6] {
        for direction in [Direction::Ingress, Direction::Egress] {
            match listen(direction, family) {
                Ok(listener) => listeners.push(listener),
                // A kernel may be without a family that the pod has no address of.
                Err(_) if !addresses.iter().any(|address| Family::of(*address) == family) => {}
                Err(error) => return Err(format!("listener in its network namespace ({family:?}): {error}")),
            }
        }
    }
    Ok(LocalPod { netns, egress_port: ports.start, listeners, exits, closed: CancellationToken::new() })
}
