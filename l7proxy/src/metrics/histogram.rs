//! How long things take, in the buckets that everybody's dashboards know.
//!
//! Counts in whole nanoseconds, so that sums are exact; one thread counts, any may look. Never fails. Start at
//! [`Histogram::observe`].

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::proto;

use super::exposition::number;

/// Upper bounds in nanoseconds: the ecosystem's default ones.
const BOUNDS: [u64; 11] = [
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];
const SECOND: f64 = 1e9;

/// Durations by how long they were.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS.len()],
    longer: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Histogram {
    /// One more.
    pub fn observe(&self, nanoseconds: u64) {
        let bucket = BOUNDS.iter().zip(&self.buckets).find(|(bound, _)| nanoseconds <= **bound);
        bucket.map_or(&self.longer, |(_, bucket)| bucket).fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().chain([&self.longer]).map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn proto(&self) -> proto::Histogram {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(BOUNDS.len());
        for (bound, bucket) in BOUNDS.iter().zip(&self.buckets) {
            count += bucket.load(Ordering::Relaxed);
            let mut shown = proto::Bucket::default();
            shown.set_upper_bound(number(*bound) / SECOND);
            shown.set_cumulative_count(count);
            buckets.push(shown);
        }
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(count + self.longer.load(Ordering::Relaxed));
        histogram.set_sample_sum(number(self.nanoseconds.load(Ordering::Relaxed)) / SECOND);
        histogram
    }
}
