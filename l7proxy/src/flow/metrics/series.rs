//! The series of one metric: as many as it may have.
//!
//! What finds no room counts in the series whose labels are all `other`, so that sums stay right. When there is no room, series
//! that counted nothing for a while are given up: those of pods that are gone must not keep out those of pods that came. Label
//! sets are compared by their values: the library's own tables compare a hash of all values in one, in which `a`, `bc` is
//! `ab`, `c`. Start at [`Table::get`].

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use crate::metrics::{Counters, Family, Histogram, count};

/// Value of every label of what found no room.
const OTHER: &str = "other";
/// A series that counted nothing for so long may be given up.
const QUIET: Duration = Duration::from_mins(10);

/// What a table may have.
#[derive(Clone, Debug)]
pub(super) struct Room {
    pub(super) most: usize,
    pub(super) counters: Arc<Counters>,
}

/// What a series counts with.
pub(super) trait Value: Default {
    /// How often it counted.
    fn count(&self) -> u64;
    /// An empty metric.
    fn family(name: &str, help: &str) -> Family;
    /// Its line.
    fn add(&self, labels: &[(&str, &str)], family: &mut Family);
}

/// A metric.
pub(super) struct Table<V> {
    name: &'static str,
    help: &'static str,
    labels: Vec<&'static str>,
    room: Room,
    filled: Mutex<Filled<V>>,
}

struct Filled<V> {
    series: HashMap<Vec<String>, Series<V>>,
    other: Option<Arc<V>>,
    /// When the counts were looked at.
    looked: Option<SystemTime>,
}

struct Series<V> {
    value: Arc<V>,
    /// How often it had counted then.
    before: u64,
}

impl<V: Value> Table<V> {
    pub(super) fn new(name: &'static str, help: &'static str, labels: Vec<&'static str>, room: &Room) -> Self {
        let filled = Filled { series: HashMap::new(), other: None, looked: None };
        Self { name, help, labels, room: room.clone(), filled: Mutex::new(filled) }
    }

    /// The series of these values, in the order of the labels; and whether others were given up for it.
    pub(super) fn get(&self, values: Vec<String>, now: SystemTime) -> (Arc<V>, bool) {
        let mut filled = self.lock();
        if let Some(series) = filled.series.get(&values) {
            return (Arc::clone(&series.value), false);
        }
        let tidied = filled.series.len() >= self.room.most && filled.tidy(now);
        if filled.series.len() >= self.room.most {
            count(&self.room.counters.metrics_series_dropped);
            return (Arc::clone(filled.other.get_or_insert_default()), tidied);
        }
        let value = Arc::<V>::default();
        filled.series.insert(values, Series { value: Arc::clone(&value), before: 0 });
        (value, tidied)
    }

    pub(super) fn family(&self) -> Family {
        let filled = self.lock();
        let mut family = V::family(self.name, self.help);
        for (values, series) in &filled.series {
            let labels: Vec<(&str, &str)> =
                self.labels.iter().copied().zip(values.iter().map(String::as_str)).collect();
            series.value.add(&labels, &mut family);
        }
        if let Some(other) = &filled.other {
            let labels: Vec<(&str, &str)> = self.labels.iter().map(|label| (*label, OTHER)).collect();
            other.add(&labels, &mut family);
        }
        family
    }

    fn lock(&self) -> MutexGuard<'_, Filled<V>> {
        self.filled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: Value> Filled<V> {
    /// Gives up what counted nothing since the last look; whether there was any. The first look only looks.
    fn tidy(&mut self, now: SystemTime) -> bool {
        let since = self.looked.map(|looked| now.duration_since(looked).unwrap_or_default());
        if since.is_some_and(|since| since < QUIET) {
            return false;
        }
        let before = self.series.len();
        if since.is_some() {
            self.series.retain(|_, series| series.value.count() != series.before);
        }
        for series in self.series.values_mut() {
            series.before = series.value.count();
        }
        self.looked = Some(now);
        self.series.len() < before
    }
}

impl Value for AtomicU64 {
    fn count(&self) -> u64 {
        self.load(Ordering::Relaxed)
    }

    fn family(name: &str, help: &str) -> Family {
        Family::counter(name, help)
    }

    fn add(&self, labels: &[(&str, &str)], family: &mut Family) {
        family.add_count(labels, self.load(Ordering::Relaxed));
    }
}

impl Value for Histogram {
    fn count(&self) -> u64 {
        Self::count(self)
    }

    fn family(name: &str, help: &str) -> Family {
        Family::histogram(name, help)
    }

    fn add(&self, labels: &[(&str, &str)], family: &mut Family) {
        family.add_histogram(labels, self);
    }
}

impl<V> fmt::Debug for Table<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
