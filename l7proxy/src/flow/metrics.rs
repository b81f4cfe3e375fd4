//! Hubble's metrics, made of records by the thread that writes them.
//!
//! Owns which series a record counts in. A record costs a look into a cache and an addition for each of its series: texts of
//! labels are made when a series is new to the cache. Never makes more series of a metric than it may have; what a client or a
//! server invents cannot. Start at [`Metrics::count`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use super::{LostSource, Record};
use crate::{
    config::FlowMetric,
    metrics::{Counters, Family, Source},
};

mod cache;
mod context;
mod handlers;
mod methods;
mod seen;
mod series;

use self::{
    cache::{Cache, Effects},
    handlers::{ByRule, Handler},
    seen::{Seen, Wanted},
    series::Room,
};

/// Series of one metric, where the configuration does not say how many.
pub const SERIES: usize = 10_000;

/// Counts records. One thread has it; what it counted is read through [`Metrics::source`].
#[derive(Debug)]
pub struct Metrics {
    handlers: Arc<Handlers>,
    cache: Cache,
    wanted: Wanted,
}

/// What there is to read.
#[derive(Debug)]
struct Handlers {
    hubble: Vec<Handler>,
    by_rule: ByRule,
    lost: Arc<LostEvents>,
}

/// Records that are missing, by where they were lost.
#[derive(Debug, Default)]
pub struct LostEvents([AtomicU64; 3]);

impl Metrics {
    /// `wanted`: which; `series`: how many each may have.
    #[must_use]
    pub fn new(wanted: &[FlowMetric], series: usize, counters: &Arc<Counters>) -> Self {
        let room = Room { most: series, counters: Arc::clone(counters) };
        let hubble: Vec<Handler> = wanted.iter().filter_map(|metric| Handler::new(metric, &room)).collect();
        let wanted = Wanted {
            addresses: wanted.iter().any(|metric| metric.context.asks_addresses()),
            port: hubble.iter().any(Handler::asks_port),
        };
        let handlers = Handlers { hubble, by_rule: ByRule::new(&room), lost: Arc::default() };
        Self { handlers: Arc::new(handlers), cache: Cache::new(), wanted }
    }

    /// For who answers scrapes.
    #[must_use]
    pub fn source(&self) -> Arc<dyn Source> {
        Arc::<Handlers>::clone(&self.handlers)
    }

    /// For who loses records beside the one that writes them.
    #[must_use]
    pub fn lost_events(&self) -> Arc<LostEvents> {
        Arc::clone(&self.handlers.lost)
    }

    /// Counts a record.
    pub fn count(&mut self, record: &Record) {
        if let Record::Lost(lost) = record {
            return self.handlers.lost.add(lost.source, lost.count);
        }
        let Some(seen) = Seen::of(record, self.wanted) else { return };
        let (repeats, nanoseconds) = match record {
            Record::Drop(refusal) => (refusal.repeats, 0),
            Record::Response(http) => (0, http.latency_ns),
            Record::Request(_) | Record::Connection(_) | Record::Lost(_) => (0, 0),
        };
        if let Some(effects) = self.cache.get(&seen) {
            return effects.apply(repeats, nanoseconds);
        }
        let (effects, tidied) = self.handlers.effects(&seen, record.time());
        if tidied {
            // What is in it may count in series that nobody reads any more.
            self.cache.clear();
        }
        effects.apply(repeats, nanoseconds);
        self.cache.put(&seen, effects);
    }
}

impl Handlers {
    /// What such a record counts in, and whether series were given up for it.
    fn effects(&self, seen: &Seen<'_>, now: SystemTime) -> (Effects, bool) {
        let mut effects = Effects::default();
        for handler in &self.hubble {
            handler.effects(seen, now, &mut effects);
        }
        self.by_rule.effects(seen, now, &mut effects);
        let tidied = effects.tidied;
        (effects, tidied)
    }
}

impl Source for Handlers {
    fn families(&self) -> Vec<Family> {
        let hubble = self.hubble.iter().flat_map(Handler::families);
        hubble.chain(self.by_rule.families()).chain(self.lost.families()).collect()
    }
}

impl LostEvents {
    const SOURCES: [(LostSource, &str); 3] = [
        (LostSource::PerfEventRingBuffer, "perf_event_ring_buffer"),
        (LostSource::ObserverEventsQueue, "observer_events_queue"),
        (LostSource::HubbleRingBuffer, "hubble_ring_buffer"),
    ];

    /// So many more.
    pub fn add(&self, source: LostSource, count: u64) {
        let places = Self::SOURCES.iter().zip(&self.0);
        for (_, place) in places.filter(|((known, _), _)| *known == source) {
            place.fetch_add(count, Ordering::Relaxed);
        }
    }

    fn families(&self) -> Vec<Family> {
        let mut family = Family::counter("hubble_lost_events_total", "Number of lost events");
        for ((_, name), count) in Self::SOURCES.iter().zip(&self.0) {
            family = family.with(&[("source", name)], count.load(Ordering::Relaxed));
        }
        vec![family]
    }
}

#[cfg(test)]
mod tests;
