//! How many connections are served at once, and whose.
//!
//! There is an end to them before descriptors or memory end, so that it is the greedy who are shed: the last twentieth of all
//! places is for pods that have less than an equal share. Counts, and never waits. Start at [`Share::take`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::sys;

/// One in so many places is for pods with less than an equal share.
const KEPT: usize = 20;
/// Descriptors for everything but connections.
const OTHER_DESCRIPTORS: u64 = 512;
/// How long what is known of this process's memory counts.
const KNOWN_FOR: Duration = Duration::from_millis(100);
/// Of memory where nobody says how much.
pub const MEMORY: u64 = 1 << 30;

/// All places of the process.
#[derive(Debug)]
pub struct Places {
    most: usize,
    taken: AtomicUsize,
    /// Pods that have a share.
    pods: AtomicUsize,
    memory: Memory,
}

/// A pod's.
#[derive(Debug)]
pub struct Share {
    all: Arc<Places>,
    taken: AtomicUsize,
}

/// A connection's; free again on drop.
#[derive(Debug)]
pub struct Taken(Arc<Share>);

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// All are taken, or all that this pod may have beside others.
    Connections,
    /// This process has as much memory as it may.
    Memory,
}

/// How many connections a process may serve that may have so many descriptors: each takes two.
#[must_use]
pub fn of_descriptors(descriptors: Option<u64>) -> usize {
    let all = descriptors.unwrap_or(u64::MAX).saturating_sub(OTHER_DESCRIPTORS) / 2;
    usize::try_from(all).unwrap_or(usize::MAX).max(1)
}

impl Places {
    /// `most` connections, while the process has no more than `memory` bytes resident.
    #[must_use]
    pub fn new(most: usize, memory: u64) -> Arc<Self> {
        let memory =
            Memory { most: memory, begin: Instant::now(), asked: AtomicU64::new(0), resident: AtomicU64::new(0) };
        Arc::new(Self { most, taken: AtomicUsize::new(0), pods: AtomicUsize::new(0), memory })
    }

    /// One more pod shares them, as long as this lives.
    #[must_use]
    pub fn share(self: &Arc<Self>) -> Arc<Share> {
        self.pods.fetch_add(1, Ordering::Relaxed);
        Arc::new(Share { all: Arc::clone(self), taken: AtomicUsize::new(0) })
    }

    /// Whether one more may be taken when so many are, by a pod that has `own` of them.
    fn has_room(&self, taken: usize, own: usize) -> bool {
        let share = self.most / self.pods.load(Ordering::Relaxed).max(1);
        let free = self.most.saturating_sub(taken);
        free > 0 && (free > self.most.div_ceil(KEPT) || own < share)
    }
}

impl Share {
    /// A place for one more connection.
    pub fn take(self: &Arc<Self>) -> Result<Taken, Full> {
        if self.all.memory.is_full() {
            return Err(Full::Memory);
        }
        let (taken, own) = (self.all.taken.fetch_add(1, Ordering::Relaxed), self.taken.fetch_add(1, Ordering::Relaxed));
        let place = Taken(Arc::clone(self));
        if self.all.has_room(taken, own) { Ok(place) } else { Err(Full::Connections) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.all.pods.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
        self.0.all.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What this process has resident, asked again now and then.
#[derive(Debug)]
struct Memory {
    most: u64,
    begin: Instant,
    /// Milliseconds from the beginning to the last time.
    asked: AtomicU64,
    resident: AtomicU64,
}

impl Memory {
    fn is_full(&self) -> bool {
        let now = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let asked = self.asked.load(Ordering::Relaxed);
        let known_for = u64::try_from(KNOWN_FOR.as_millis()).unwrap_or(u64::MAX);
        let is_due = self.resident.load(Ordering::Relaxed) == 0 || now.saturating_sub(asked) >= known_for;
        if is_due && self.asked.compare_exchange(asked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            match sys::resident_memory() {
                Ok(bytes) => self.resident.store(bytes, Ordering::Relaxed),
                Err(error) => tracing::warn!(%error, "/proc/self/statm: memory is not known"),
            }
        }
        self.resident.load(Ordering::Relaxed) > self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(share: &Arc<Share>, count: usize) -> Vec<Taken> {
        (0..count).map_while(|_| share.take().ok()).collect()
    }

    #[test]
    fn the_greedy_leave_room_for_others() {
        let places = Places::new(100, u64::MAX);
        let (greedy, modest) = (places.share(), places.share());
        let mut held = take(&greedy, 1_000);
        assert_eq!(held.len(), 95);
        assert_eq!(greedy.take().err(), Some(Full::Connections));
        let others = take(&modest, 1_000);
        assert_eq!(others.len(), 5, "there is no more than all");
        drop(others);
        held.truncate(40);
        assert_eq!(take(&greedy, 1_000).len(), 55, "what ended is free again");
        assert_eq!(take(&modest, 1_000).len(), 55, "more than an equal share, but for what is kept for the greedy");
    }

    #[test]
    fn a_pod_that_went_has_no_share() {
        let places = Places::new(10, u64::MAX);
        let (one, other) = (places.share(), places.share());
        let held = take(&other, 3);
        drop(other);
        assert_eq!(places.pods.load(Ordering::Relaxed), 2, "its connections are not over");
        drop(held);
        assert_eq!(take(&one, 100).len(), 10, "alone it has them all");
    }

    #[test]
    fn there_is_an_end_to_memory() {
        assert_eq!(Places::new(10, 1).share().take().err(), Some(Full::Memory));
        assert!(Places::new(10, 1 << 40).share().take().is_ok());
    }

    #[test]
    fn each_connection_takes_two_descriptors() {
        assert_eq!([of_descriptors(Some(20_000)), of_descriptors(Some(100))], [9_744, 1]);
        assert!(of_descriptors(None) > 1 << 40);
    }
}
