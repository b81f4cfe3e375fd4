//! The newest flows, in memory: what the API reads.
//!
//! Owns two rings, bounded by bytes: denials have one of their own, which allows cannot push them out of. Never lets a reader
//! hold up the writer: under the lock flows are packed and blocks are handed out, no more. Start at [`Rings::append`] and
//! [`Reader::next`].

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

use super::{Flow, LostRecord, Record, Verdict};

mod block;
mod numbers;
mod pack;
mod phrases;
mod reader;
mod shape;
mod shared;
mod unpack;

use self::{
    block::Ring,
    numbers::long,
    reader::{Place, latest},
};
pub use reader::Reader;

/// Flows that are packed under one hold of the lock.
const PIECE: usize = 256;
/// What the rate is told of.
const MINUTE: u64 = 60;
/// Bytes of a flow, where there is none to tell.
const USUAL: usize = 100;

/// How many bytes flows may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingConfig {
    /// Those that were forwarded.
    pub bytes: usize,
    /// All others.
    pub deny_bytes: usize,
}

impl Default for RingConfig {
    /// A minute at 5,000 requests per second, and more.
    fn default() -> Self {
        Self { bytes: 48 << 20, deny_bytes: 16 << 20 }
    }
}

/// Where a reader starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest flows. Of a full ring, those are left out that are overwritten next.
    Oldest,
    /// With those that come.
    Now,
    /// At the first flow of this time or a later one.
    Since(SystemTime),
}

/// What a reader is given.
#[derive(Debug)]
pub enum Item {
    /// A flow.
    Flow(Flow),
    /// The reader was overtaken: as many were overwritten before it came to them.
    Lost(LostRecord),
}

/// Which flows are wanted.
pub type Wanted<'w> = dyn Fn(&Flow) -> bool + 'w;

/// What is told of the rings.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RingStats {
    /// Flows that can be read.
    pub readable: u64,
    /// How many there would be if the rings were full of such flows.
    pub capacity: u64,
    /// Flows since the start.
    pub seen: u64,
    /// Flows that were overwritten.
    pub evicted: u64,
    /// When the oldest was that can be read.
    pub oldest: Option<SystemTime>,
    /// Flows per second, in the last minute.
    pub rate: f64,
    /// Bytes that they take.
    pub bytes: usize,
}

/// The newest flows. One thread writes, others read.
#[derive(Debug)]
pub struct Rings {
    state: Mutex<State>,
    /// Number of the newest flow, for who has read it.
    newest: AtomicU64,
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    /// Of those that were forwarded, and of others.
    rings: [Ring; 2],
    newest: u64,
    rate: Rate,
}

impl Rings {
    /// Empty ones.
    #[must_use]
    pub fn new(config: RingConfig) -> Arc<Self> {
        let rings = [config.bytes, config.deny_bytes].map(Ring::new);
        let state = Mutex::new(State { rings, newest: 0, rate: Rate::default() });
        Arc::new(Self { state, newest: AtomicU64::new(0), changed: watch::Sender::new(0) })
    }

    /// Takes flows in, whose numbers and times grow, and wakes who waits for them.
    pub fn append(&self, flows: Vec<Flow>) {
        let Some(newest) = flows.last().map(|flow| flow.number) else { return };
        let mut evicted = Vec::new();
        let mut flows = flows.into_iter().peekable();
        while flows.peek().is_some() {
            let mut state = self.lock();
            let State { rings: [allows, denies], newest, rate } = &mut *state;
            for flow in flows.by_ref().take(PIECE) {
                *newest = flow.number;
                rate.add(flow.time);
                let ring = if is_denial(&flow.record) { &mut *denies } else { &mut *allows };
                ring.push(flow, &mut evicted);
            }
            self.newest.store(*newest, Ordering::Release);
            drop(state);
            // Takes its time: outside the lock.
            evicted.clear();
        }
        self.changed.send_replace(newest);
    }

    /// Number of the newest flow, to wait for the next one.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Reads from a place on.
    #[must_use]
    pub fn reader(self: &Arc<Self>, from: Start) -> Reader {
        let place = match from {
            Start::Oldest => Place::Oldest,
            Start::Now => Place::Now,
            Start::Since(time) => Place::Time(time),
        };
        Reader::new(Arc::clone(self), &place)
    }

    /// Reads the last `count` flows that are wanted, of those up to number `newest`, with those between them, and what comes after
    /// them.
    #[must_use]
    pub fn latest(self: &Arc<Self>, count: u64, newest: u64, wanted: &Wanted<'_>) -> Reader {
        let readable: u64 = self.lock().rings.iter().map(|ring| ring.flows().1).sum();
        let place = if count >= readable { Place::Oldest } else { Place::Number(latest(self, count, newest, wanted)) };
        Reader::new(Arc::clone(self), &place)
    }

    /// What there is now.
    #[must_use]
    pub fn stats(&self) -> RingStats {
        #[expect(clippy::disallowed_methods, reason = "the rate is that of the last minute")]
        let now = SystemTime::now();
        self.stats_at(now)
    }

    fn stats_at(&self, now: SystemTime) -> RingStats {
        let state = self.lock();
        let mut told = RingStats { rate: state.rate.at(now), ..RingStats::default() };
        for ring in &state.rings {
            let (evicted, readable) = ring.flows();
            let (bytes, bound) = (ring.bytes(), ring.bound());
            let each = long(bytes).checked_div(readable).map_or(long(USUAL), |each| each.max(1));
            told.readable += readable;
            told.capacity += readable.max(long(bound) / each);
            told.seen += evicted + readable;
            told.evicted += evicted;
            told.oldest = [told.oldest, ring.oldest_time()].into_iter().flatten().min();
            told.bytes += bytes;
        }
        told
    }

    fn newest(&self) -> u64 {
        self.newest.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What is in it is whole at any time.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether allows must not push it out.
fn is_denial(record: &Record) -> bool {
    match record {
        Record::Request(http) | Record::Response(http) => !matches!(http.verdict, Verdict::Forwarded(_)),
        Record::Drop(_) => true,
        Record::Connection(_) | Record::Lost(_) => false,
    }
}

/// How many flows there were in each of the last seconds.
#[derive(Debug, Default)]
struct Rate {
    seconds: VecDeque<(u64, u64)>,
    first: Option<SystemTime>,
}

impl Rate {
    fn add(&mut self, time: SystemTime) {
        let second = second(time);
        self.first.get_or_insert(time);
        match self.seconds.back_mut() {
            Some((last, flows)) if *last >= second => *flows += 1,
            _ => {
                self.seconds.push_back((second, 1));
                while self.seconds.front().is_some_and(|(first, _)| *first + MINUTE <= second) {
                    self.seconds.pop_front();
                }
            }
        }
    }

    /// Per second of the last minute, or of the time since the first flow, if that is less.
    fn at(&self, now: SystemTime) -> f64 {
        let minute = second(now).saturating_sub(MINUTE)..;
        let flows: u64 =
            self.seconds.iter().filter(|(second, _)| minute.contains(&(second + 1))).map(|(_, of)| of).sum();
        let since = self.first.and_then(|first| now.duration_since(first).ok()).unwrap_or_default();
        let seconds = since.clamp(Duration::from_secs(1), Duration::from_secs(MINUTE)).as_secs_f64();
        f64::from(u32::try_from(flows).unwrap_or(u32::MAX)) / seconds
    }
}

fn second(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
