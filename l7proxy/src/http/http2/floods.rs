//! What one side of a connection may send that carries nothing: as many at once as in a second, and then so many a second.
//!
//! Start at [`Floods`].

use tokio::time::Instant;

use crate::{http::Limits, reject::Limit};

/// Control frames that one frame of a message may bring along: windows given back, pings that measure.
const BROUGHT_ALONG: u32 = 4;
/// Streams that break the protocol or are one too many.
const BROKEN_STREAMS: u32 = 100;

/// Of one side.
#[derive(Debug)]
pub(super) struct Floods {
    resets: Bucket,
    control: Bucket,
    broken: Bucket,
}

impl Floods {
    pub(super) fn new(limits: &Limits) -> Self {
        let (resets, control) = (Bucket::new(limits.resets), Bucket::new(limits.control_frames));
        Self { resets, control, broken: Bucket::new(BROKEN_STREAMS) }
    }

    /// A frame of a message, either way.
    pub(super) fn message(&mut self) {
        self.control.give(BROUGHT_ALONG);
    }

    pub(super) fn control(&mut self) -> Result<(), Limit> {
        self.control.take(Limit::ControlFrames)
    }

    pub(super) fn reset(&mut self) -> Result<(), Limit> {
        self.resets.take(Limit::Resets)
    }

    /// A stream that we had to reset because of what it was.
    pub(super) fn broken(&mut self) -> Result<(), Limit> {
        self.broken.take(Limit::Flood)
    }
}

/// So many a second, and as many at once.
#[derive(Debug)]
struct Bucket {
    rate: u32,
    left: u32,
    since: Instant,
}

impl Bucket {
    fn new(rate: u32) -> Self {
        Self { rate, left: rate, since: Instant::now() }
    }

    fn give(&mut self, more: u32) {
        self.left = self.left.saturating_add(more).min(self.rate);
    }

    /// The clock is read only when it is empty.
    fn take(&mut self, limit: Limit) -> Result<(), Limit> {
        if self.left == 0 {
            let now = Instant::now();
            let earned = now.duration_since(self.since).as_millis().saturating_mul(self.rate.into()) / 1000;
            if earned > 0 {
                self.since = now;
                self.give(u32::try_from(earned).unwrap_or(u32::MAX));
            }
        }
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.map(drop).ok_or(limit)
    }
}
