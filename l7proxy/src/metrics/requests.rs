//! Requests, counted when they come, not only when they are answered.
//!
//! Each thread that serves requests counts in a place of its own, so that none waits for another one's cache lines. Never
//! knows more of a request than its direction and protocol. Start at [`Requests::counts`].

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use rules::Direction;

use super::Family;

/// Protocols of requests, as records name them.
pub const PROTOCOLS: [&str; 3] = ["HTTP/1", "HTTP/1.1", "HTTP/2"];
const DIRECTIONS: [(Direction, &str); 2] = [(Direction::Ingress, "ingress"), (Direction::Egress, "egress")];

/// Of all threads.
#[derive(Debug, Default)]
pub struct Requests(Mutex<Vec<Arc<RequestCounts>>>);

/// Of one thread.
#[derive(Debug, Default)]
pub struct RequestCounts {
    ingress: Way,
    egress: Way,
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    came: [AtomicU64; PROTOCOLS.len()],
    ended: AtomicU64,
}

impl Requests {
    /// A place for one more thread.
    #[must_use]
    pub fn counts(&self) -> Arc<RequestCounts> {
        let counts = Arc::<RequestCounts>::default();
        self.lock().push(Arc::clone(&counts));
        counts
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<RequestCounts>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn families(&self) -> Vec<Family> {
        let mut came = Family::counter(
            "l7proxy_http_requests_total",
            "Requests that came, also those that are not answered yet, or never will be.",
        );
        let mut under_way = Family::gauge(
            "l7proxy_http_requests_in_flight",
            "Requests that came, and neither got the head of their answer (of gRPC its trailers) nor ended.",
        );
        let threads = self.lock().clone();
        for (direction, name) in DIRECTIONS {
            let ways = || threads.iter().map(|thread| thread.way(direction));
            // Ends first: what comes in between is under way, and never less than nothing.
            let ended: u64 = ways().map(|way| way.ended.load(Ordering::Acquire)).sum();
            let mut all = 0;
            for (index, protocol) in PROTOCOLS.into_iter().enumerate() {
                let of_protocol = |way: &Way| way.came.get(index).map_or(0, |came| came.load(Ordering::Relaxed));
                let count: u64 = ways().map(of_protocol).sum();
                came = came.with(&[("direction", name), ("protocol", protocol)], count);
                all += count;
            }
            under_way = under_way.with(&[("direction", name)], all.saturating_sub(ended));
        }
        vec![came, under_way]
    }
}

impl RequestCounts {
    /// A request came; what it speaks is one of [`PROTOCOLS`].
    pub fn came(&self, direction: Direction, protocol: &str) {
        // Most speak the second.
        let index = if protocol == PROTOCOLS[1] { 1 } else { usize::from(protocol == PROTOCOLS[2]) * 2 };
        if let Some(count) = self.way(direction).came.get(index) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Its answer began, or it ended without one.
    pub fn ended(&self, direction: Direction) {
        self.way(direction).ended.fetch_add(1, Ordering::Release);
    }

    fn way(&self, direction: Direction) -> &Way {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}
