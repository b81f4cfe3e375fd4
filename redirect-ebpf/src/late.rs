//! Redirected connections that ended lately: what still comes of one (an acknowledgement, a reset) is no try to reach the
//! proxy's ports by another way.
//!
//! Must never let anything pass: it only decides whether a packet that is dropped is told as refused. Start at [`is_late`].

use redirect_abi::ConnKey;

use crate::{event::now, flows::sum, maps::ENDED};

/// Seconds: TIME_WAIT, and as long again for what is sent once more.
const LATE: u32 = 120;

/// A redirected connection is over.
#[inline(always)]
pub fn ended(key: &ConnKey) {
    let sum = of(key);
    if let Some(slot) = ENDED.get_ptr_mut(sum & 4095) {
        // SAFETY: one word is written.
        unsafe { *slot = u64::from(sum) << 32 | u64::from(seconds()) };
    }
}

/// Whether it, or another one of the same sum, is over since not long.
#[inline(always)]
pub fn is_late(key: &ConnKey) -> bool {
    let sum = of(key);
    let is = |slot: &u64| (*slot >> 32) as u32 == sum && seconds().wrapping_sub(*slot as u32) < LATE;
    ENDED.get(sum & 4095).is_some_and(is)
}

#[inline(always)]
fn of(key: &ConnKey) -> u32 {
    sum(key.cookie as u32, &key.source, u32::from(key.source_port) << 16 | u32::from(key.port))
}

#[inline(always)]
fn seconds() -> u32 {
    (now() / 1_000_000_000) as u32
}
