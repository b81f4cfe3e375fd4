//! Namespaces that no pod is enrolled for, as the kernel tells of them.

use std::{fmt, io};

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, RingBuf},
};
use redirect_abi::Stranger;
use tokio::io::unix::AsyncFd;

use super::{RedirectError, maps::take, reconcile::ignore_missing};
use crate::sys;

/// The ring of first sockets. Silent until it is asked to tell.
pub struct Strangers {
    ring: AsyncFd<RingBuf<MapData>>,
    awaited: Array<MapData, u32>,
    is_awaited: bool,
}

impl fmt::Debug for Strangers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Strangers").field("is_awaited", &self.is_awaited).finish_non_exhaustive()
    }
}

/// Lets go what is held of namespaces.
#[derive(Debug)]
pub struct Hold(pub(super) HashMap<MapData, u64, u32>);

impl Hold {
    /// What the namespace with this cookie sends goes out from now on.
    pub fn release(&mut self, cookie: u64) -> Result<(), RedirectError> {
        self.0.insert(cookie, 1, 0).map_err(RedirectError::map("RELEASED"))
    }

    /// It is held again.
    pub fn keep(&mut self, cookie: u64) -> Result<(), RedirectError> {
        ignore_missing(self.0.remove(&cookie), "RELEASED")
    }
}

impl Strangers {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, RedirectError> {
        let ring: RingBuf<MapData> = take(ebpf, "STRANGERS")?;
        let ring =
            sys::register(ring).map_err(|error| RedirectError::Map { map: "STRANGERS", reason: error.to_string() })?;
        Ok(Self { ring, awaited: take(ebpf, "AWAITED")?, is_awaited: false })
    }

    /// Whether the kernel is to tell. Gives whether it tells from now on and did not before: what came earlier was not told.
    pub fn tell(&mut self, wanted: bool) -> Result<bool, RedirectError> {
        if self.is_awaited == wanted {
            return Ok(false);
        }
        self.awaited.set(0, u32::from(wanted), 0).map_err(RedirectError::map("AWAITED"))?;
        self.is_awaited = wanted;
        Ok(wanted)
    }

    /// Waits until a namespace was told that is not known. How many sockets of how many there are does not matter to who
    /// looks for pods, so all of them are taken.
    pub async fn seen(&mut self) -> io::Result<()> {
        let mut ready = self.ring.readable_mut().await?;
        while let Some(item) = ready.get_inner_mut().next() {
            if let Some(Stranger { cookie, pid, .. }) = Stranger::from_bytes(&item) {
                tracing::debug!(cookie, pid, "a socket of a namespace that is not known");
            }
        }
        ready.clear_ready();
        Ok(())
    }
}
