//! What is missing from a stream, told once a second.
//!
//! Owns the sum of what was not told yet. Must never forget a record that is missing. Start at [`Losses::add`].

use std::time::{Duration, Instant};

use crate::flow::LostRecord;

/// At most one message in this time.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// Of one stream.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// One sum for each source, the oldest first.
    waiting: Vec<LostRecord>,
    told: Option<Instant>,
}

impl Losses {
    pub(super) fn add(&mut self, lost: LostRecord) {
        match self.waiting.iter_mut().find(|sum| sum.source == lost.source) {
            Some(sum) => {
                sum.count = sum.count.saturating_add(lost.count);
                sum.first = sum.first.min(lost.first);
                sum.last = sum.last.max(lost.last);
            }
            None => self.waiting.push(lost),
        }
    }

    /// What may be told now.
    pub(super) fn take(&mut self, now: Instant) -> Option<LostRecord> {
        if self.waiting.is_empty() || self.due().is_some_and(|due| now < due) {
            return None;
        }
        self.told = Some(now);
        Some(self.waiting.remove(0))
    }

    /// All of it: the stream ends.
    pub(super) fn take_all(&mut self) -> Vec<LostRecord> {
        std::mem::take(&mut self.waiting)
    }

    /// When something may be told, if something waits; in the past: now.
    pub(super) fn next(&self) -> Option<Instant> {
        if self.waiting.is_empty() { None } else { Some(self.due().unwrap_or_else(Instant::now)) }
    }

    fn due(&self) -> Option<Instant> {
        self.told.and_then(|told| told.checked_add(EVERY))
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::flow::LostSource;

    fn lost(source: LostSource, count: u64, at: u64) -> LostRecord {
        let time = UNIX_EPOCH + Duration::from_secs(at);
        LostRecord { source, count, first: time, last: time }
    }

    #[test]
    fn one_is_told_in_a_second_and_the_rest_is_summed() {
        let mut losses = Losses::default();
        let start = Instant::now();
        assert_eq!((losses.take(start), losses.next()), (None, None));
        losses.add(lost(LostSource::HubbleRingBuffer, 3, 10));
        assert_eq!(losses.take(start).unwrap().count, 3);
        losses.add(lost(LostSource::HubbleRingBuffer, 4, 12));
        losses.add(lost(LostSource::HubbleRingBuffer, 5, 11));
        losses.add(lost(LostSource::ObserverEventsQueue, 1, 9));
        assert_eq!(losses.take(start + EVERY / 2), None);
        assert_eq!(losses.next(), Some(start + EVERY));
        let sum = losses.take(start + EVERY).unwrap();
        let (first, last) = (UNIX_EPOCH + Duration::from_secs(11), UNIX_EPOCH + Duration::from_secs(12));
        assert_eq!(sum, LostRecord { source: LostSource::HubbleRingBuffer, count: 9, first, last });
        assert_eq!(losses.take(start + EVERY), None);
        assert_eq!(losses.take_all(), [lost(LostSource::ObserverEventsQueue, 1, 9)]);
        assert_eq!(losses.next(), None);
    }
}
