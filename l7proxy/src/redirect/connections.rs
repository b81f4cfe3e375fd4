//! Connections that policy allows without the proxy, as the kernel tells of them.

use std::{fmt, net::SocketAddr};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use redirect_abi::Connection;
use tokio::io::unix::AsyncFd;

use super::{
    RedirectError,
    maps::{ip, take},
};
use crate::sys;

/// The ring of their beginnings and ends. Silent unless `Place::connections` asks for it.
pub struct Connections {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}

impl Connections {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, RedirectError> {
        let ring: RingBuf<MapData> = take(ebpf, "CONNECTIONS")?;
        let ring = sys::register(ring).map_err(RedirectError::io("CONNECTIONS"))?;
        Ok(Self { ring })
    }

    /// Waits until there are some and hands over each.
    pub async fn drain(&mut self, mut take: impl FnMut(&Connection)) -> Result<(), RedirectError> {
        let mut ready = self.ring.readable_mut().await.map_err(RedirectError::io("CONNECTIONS"))?;
        while let Some(item) = ready.get_inner_mut().next() {
            if let Some(connection) = Connection::from_bytes(&item) {
                take(&connection);
            }
        }
        ready.clear_ready();
        Ok(())
    }
}

/// The pod's side and the other one.
#[must_use]
pub fn ends(connection: &Connection) -> (SocketAddr, SocketAddr) {
    (
        SocketAddr::new(ip(connection.local), connection.local_port),
        SocketAddr::new(ip(connection.remote), connection.remote_port),
    )
}
