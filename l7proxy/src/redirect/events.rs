//! Refusals as they come from the kernel: one by one, and of many equal ones the number of those that did not.
//!
//! Owns which of them were handed on, so that each is once. Never decides what a record says. Start at [`Refusals::drain`].

use std::{collections::HashMap, fmt, future, net::SocketAddr, time::Duration};

use aya::{
    Ebpf,
    maps::{self, MapData, RingBuf},
};
use redirect_abi::{Refusal, Told, ToldKey};
use rustix::time::{ClockId, clock_gettime};
use tokio::{
    io::unix::AsyncFd,
    time::{Instant, sleep_until},
};

use super::{
    RedirectError,
    maps::{ip, take},
    reconcile::ignore_missing,
};
use crate::sys;

/// Between two looks at the numbers; for so long too the kernel's programs hand over few equal ones.
const EACH: Duration = Duration::from_secs(1);
/// What was not refused again for so long is forgotten.
const FORGET: Duration = Duration::from_secs(5);

/// The refusals of all hooks.
pub struct Refusals {
    ring: AsyncFd<RingBuf<MapData>>,
    numbers: Numbers,
    /// When the numbers are to be looked at; `None`: there are none.
    due: Option<Instant>,
}

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusals").field("due", &self.due).finish_non_exhaustive()
    }
}

impl Refusals {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, RedirectError> {
        let ring: RingBuf<MapData> = take(ebpf, "EVENTS")?;
        let ring =
            sys::register(ring).map_err(|error| RedirectError::Map { map: "EVENTS", reason: error.to_string() })?;
        let numbers = Numbers { told: take(ebpf, "TOLD")?, known: HashMap::new() };
        Ok(Self { ring, numbers, due: None })
    }

    /// Waits until there are some and hands over each, with the number of equal ones that were not handed over before it. Gives
    /// how many will never be, because the kernel had no room to say who they were.
    pub async fn drain(&mut self, mut take: impl FnMut(&Refusal, u64)) -> Result<u64, RedirectError> {
        let due = self.due;
        let time = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = time => self.settle(EACH, take),
            ready = self.ring.readable_mut() => {
                let mut ready = ready.map_err(RedirectError::io("EVENTS"))?;
                self.numbers.read(ready.get_inner_mut(), &mut take)?;
                ready.clear_ready();
                self.due.get_or_insert(Instant::now() + EACH);
                Ok(0)
            }
        }
    }

    /// Hands over what is left of refusals that did not go on for this long.
    pub fn settle(&mut self, quiet: Duration, mut take: impl FnMut(&Refusal, u64)) -> Result<u64, RedirectError> {
        // Who they are is said there.
        self.numbers.read(self.ring.get_mut(), &mut take)?;
        let lost = self.numbers.settle(quiet, &mut take)?;
        self.due = (!self.numbers.known.is_empty()).then(|| Instant::now() + EACH);
        Ok(lost)
    }
}

/// Of equal refusals, what the kernel counts and what was handed on.
struct Numbers {
    told: maps::HashMap<MapData, ToldKey, Told>,
    known: HashMap<ToldKey, Known>,
}

#[derive(Default)]
struct Known {
    /// Of [`Told::untold`], those that were handed on.
    counted: u64,
    /// The last one.
    last: Option<Refusal>,
}

impl Numbers {
    fn read(&mut self, ring: &mut RingBuf<MapData>, take: &mut impl FnMut(&Refusal, u64)) -> Result<(), RedirectError> {
        while let Some(item) = ring.next() {
            let Some(refusal) = Refusal::from_bytes(&item) else { continue };
            let key = refusal.key();
            let known = self.known.entry(key).or_default();
            // Before the first one there was none.
            let untold = if known.last.is_some() { told(&self.told, &key)?.untold } else { known.counted };
            take(&refusal, untold.saturating_sub(known.counted));
            *known = Known { counted: untold, last: Some(refusal) };
        }
        Ok(())
    }

    fn settle(&mut self, quiet: Duration, take: &mut impl FnMut(&Refusal, u64)) -> Result<u64, RedirectError> {
        // The clock of the kernel's programs.
        let now = Duration::try_from(clock_gettime(ClockId::MonotonicCoarse)).unwrap_or_default();
        let keys: Result<Vec<ToldKey>, _> = self.told.keys().collect();
        let mut lost = 0;
        for key in keys.map_err(RedirectError::map("TOLD"))? {
            let told = told(&self.told, &key)?;
            let idle = now.saturating_sub(Duration::from_nanos(told.at));
            let known = self.known.entry(key).or_default();
            let left = told.untold.saturating_sub(known.counted);
            match &known.last {
                // If it goes on, the next one says so.
                _ if left == 0 || idle < quiet => {}
                Some(refusal) => take(refusal, left - 1),
                None => lost += left,
            }
            if left == 0 && idle >= FORGET {
                ignore_missing(self.told.remove(&key), "TOLD")?;
                self.known.remove(&key);
            } else if idle >= quiet {
                known.counted = told.untold;
            }
        }
        Ok(lost)
    }
}

/// What the kernel counts of refusals like this; only this process removes an entry.
fn told(map: &maps::HashMap<MapData, ToldKey, Told>, key: &ToldKey) -> Result<Told, RedirectError> {
    match map.get(key, 0) {
        Err(maps::MapError::KeyNotFound) => Ok(Told::default()),
        result => result.map_err(RedirectError::map("TOLD")),
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

/// A command's name as the kernel gives it, empty when unknown.
#[must_use]
pub fn command(name: &[u8; 16]) -> String {
    let name: Vec<u8> = name.iter().copied().take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&name).into_owned()
}
