//! Refusals as they come from the kernel.

use std::{fmt, io, net::SocketAddr};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use redirect_abi::Refusal;
use tokio::io::unix::AsyncFd;

use super::{RedirectError, maps::ip};
use crate::sys;

/// The ring that the hooks write refusals to.
pub struct Refusals {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusals").finish_non_exhaustive()
    }
}

impl Refusals {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, RedirectError> {
        let map = ebpf.take_map("EVENTS").ok_or(RedirectError::NoObject)?;
        let ring = RingBuf::try_from(map).map_err(RedirectError::map("EVENTS"))?;
        let ring =
            sys::register(ring).map_err(|error| RedirectError::Map { map: "EVENTS", reason: error.to_string() })?;
        Ok(Self { ring })
    }

    /// Waits until there are some and hands over each; what cannot be read is skipped.
    pub async fn drain(&mut self, mut take: impl FnMut(&Refusal)) -> io::Result<()> {
        let mut ready = self.ring.readable_mut().await?;
        let ring = ready.get_inner_mut();
        while let Some(item) = ring.next() {
            if let Some(refusal) = Refusal::from_bytes(&item) {
                take(&refusal);
            }
        }
        ready.clear_ready();
        Ok(())
    }
}

/// Local side of a refusal.
#[must_use]
pub fn local(refusal: &Refusal) -> SocketAddr {
    SocketAddr::new(ip(refusal.local), refusal.local_port)
}

/// The other side of a refusal.
#[must_use]
pub fn remote(refusal: &Refusal) -> SocketAddr {
    SocketAddr::new(ip(refusal.remote), refusal.remote_port)
}

/// Command name of the process that asked, empty when unknown.
#[must_use]
pub fn command(refusal: &Refusal) -> String {
    let name: Vec<u8> = refusal.command.iter().copied().take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&name).into_owned()
}
