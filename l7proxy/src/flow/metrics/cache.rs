//! What records like this one count in.
//!
//! Each place holds the ends and the rule themselves, so that their addresses are nobody else's: what is found is never another
//! record's. One that needs another's place takes it. Start at [`Cache::get`].

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rules::{PolicyKey, RuleRef};

use super::seen::{By, Facts, Seen};
use crate::{endpoint::Peer, metrics::Histogram};

/// Kinds of records that are remembered; a power of two.
const PLACES: usize = 4096;

pub(super) struct Cache {
    places: Vec<Option<Box<Known>>>,
}

struct Known {
    source: Arc<Peer>,
    destination: Arc<Peer>,
    by: Held,
    facts: Facts,
    effects: Effects,
}

enum Held {
    Nobody,
    Rule(Arc<RuleRef>),
    Policies(Arc<[Arc<PolicyKey>]>),
}

/// What a record counts in.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// One more in each.
    pub(super) counters: Vec<Arc<AtomicU64>>,
    /// One more, and as many as were not told.
    pub(super) drops: Option<Arc<AtomicU64>>,
    /// How long it took.
    pub(super) durations: Option<Arc<Histogram>>,
    /// Series were given up.
    pub(super) tidied: bool,
}

impl Effects {
    pub(super) fn apply(&self, repeats: u64, nanoseconds: u64) {
        for counter in &self.counters {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(drops) = &self.drops {
            drops.fetch_add(repeats.saturating_add(1), Ordering::Relaxed);
        }
        if let Some(durations) = &self.durations {
            durations.observe(nanoseconds);
        }
    }
}

impl Cache {
    pub(super) fn new() -> Self {
        Self { places: (0..PLACES).map(|_| None).collect() }
    }

    pub(super) fn get(&self, seen: &Seen<'_>) -> Option<&Effects> {
        let known = self.places.get(place(seen))?.as_deref()?;
        known.is(seen).then_some(&known.effects)
    }

    pub(super) fn put(&mut self, seen: &Seen<'_>, effects: Effects) {
        if let Some(place) = self.places.get_mut(place(seen)) {
            let by = match seen.by {
                By::Nobody => Held::Nobody,
                By::Rule(rule) => Held::Rule(Arc::clone(rule)),
                By::Policies(policies) => Held::Policies(Arc::clone(policies)),
            };
            let (source, destination) = (Arc::clone(&seen.source.0), Arc::clone(&seen.destination.0));
            *place = Some(Box::new(Known { source, destination, by, facts: seen.facts, effects }));
        }
    }

    pub(super) fn clear(&mut self) {
        self.places.iter_mut().for_each(|place| *place = None);
    }
}

impl Known {
    fn is(&self, seen: &Seen<'_>) -> bool {
        let by = match (&self.by, seen.by) {
            (Held::Nobody, By::Nobody) => true,
            (Held::Rule(held), By::Rule(rule)) => Arc::ptr_eq(held, rule),
            (Held::Policies(held), By::Policies(policies)) => Arc::ptr_eq(held, policies),
            (Held::Nobody | Held::Rule(_) | Held::Policies(_), _) => false,
        };
        by && Arc::ptr_eq(&self.source, &seen.source.0)
            && Arc::ptr_eq(&self.destination, &seen.destination.0)
            && self.facts == seen.facts
    }
}

/// Equal records have the same.
fn place(seen: &Seen<'_>) -> usize {
    let Facts { event, direction, verdict, method, status, port, addresses, .. } = &seen.facts;
    let by = match seen.by {
        By::Nobody => 0,
        By::Rule(rule) => Arc::as_ptr(rule).addr(),
        By::Policies(policies) => Arc::as_ptr(policies).cast::<u8>().addr(),
    };
    let kinds = [usize::from(*status), usize::from(*port), kind(*event), kind(*direction), kind(*verdict)];
    let first = method.as_bytes().first().map_or(0, |byte| usize::from(*byte));
    let parts = [Arc::as_ptr(&seen.source.0).addr(), Arc::as_ptr(&seen.destination.0).addr(), by, first + method.len()];
    let addresses = addresses.iter().flatten().flat_map(|address| match address {
        IpAddr::V4(four) => [four.to_bits().into(), 0],
        IpAddr::V6(six) => [six.to_bits(), six.to_bits() >> 64],
    });
    let mut hash: u64 = 0;
    for part in parts.into_iter().chain(kinds) {
        hash = mix(hash, u64::try_from(part).unwrap_or_default());
    }
    for part in addresses {
        hash = mix(hash, u64::try_from(part & u128::from(u64::MAX)).unwrap_or_default());
    }
    usize::try_from(hash >> 32).unwrap_or_default() % PLACES
}

fn kind(value: impl Into<Kind>) -> usize {
    value.into().0
}

struct Kind(usize);

macro_rules! kinds {
    ($($type:ty),*) => {
        $(impl From<$type> for Kind {
            #[expect(clippy::as_conversions, reason = "an enum without fields")]
            fn from(value: $type) -> Self {
                Self(value as usize)
            }
        })*
    };
}

kinds!(super::seen::Event, crate::flow::said::Shown, rules::Direction);

fn mix(hash: u64, part: u64) -> u64 {
    (hash.rotate_left(5) ^ part).wrapping_mul(0x517c_c1b7_2722_0a95)
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} kinds of records", self.places.iter().flatten().count())
    }
}
