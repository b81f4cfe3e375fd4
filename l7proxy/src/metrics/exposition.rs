//! From values to the text that Prometheus reads.
//!
//! Owns the order of what is told. Never tells a name twice, nor a label twice in a line: each part of the process names its
//! own metrics. Start at [`Exposition::text`].

use std::{fmt, sync::Arc};

use prometheus::{
    TextEncoder,
    proto::{self, MetricType},
};

use super::Histogram;

/// What every metric of ours begins with.
const PREFIX: &str = "l7proxy_";

/// A metric with all its series.
#[derive(Debug)]
pub struct Family(proto::MetricFamily);

/// A part of the process that has something to tell.
pub trait Source: Send + Sync {
    /// What it is now.
    fn families(&self) -> Vec<Family>;
}

/// All parts of the process.
#[derive(Clone, Default)]
pub struct Exposition(Vec<Arc<dyn Source>>);

impl Family {
    /// Something that only grows.
    #[must_use]
    pub fn counter(name: impl Into<String>, help: &str) -> Self {
        Self::new(name.into(), help, MetricType::COUNTER)
    }

    /// Something that comes and goes.
    #[must_use]
    pub fn gauge(name: impl Into<String>, help: &str) -> Self {
        Self::new(name.into(), help, MetricType::GAUGE)
    }

    /// Something that is distributed.
    #[must_use]
    pub fn histogram(name: impl Into<String>, help: &str) -> Self {
        Self::new(name.into(), help, MetricType::HISTOGRAM)
    }

    /// One of our counters, without labels.
    #[must_use]
    pub fn own_counter(name: &str, help: &str, value: u64) -> Self {
        Self::counter(format!("{PREFIX}{name}_total"), help).with(&[], value)
    }

    fn new(name: String, help: &str, kind: MetricType) -> Self {
        let mut family = proto::MetricFamily::default();
        family.set_name(name);
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        Self(family)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// With one more series.
    #[must_use]
    pub fn with(mut self, labels: &[(&str, &str)], value: u64) -> Self {
        self.add_count(labels, value);
        self
    }

    /// One more series.
    pub fn add_count(&mut self, labels: &[(&str, &str)], value: u64) {
        let value = number(value);
        let mut metric = proto::Metric::default();
        if self.0.get_field_type() == MetricType::COUNTER {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.push(labels, metric);
    }

    /// One more series of a histogram.
    pub fn add_histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram) {
        let mut metric = proto::Metric::default();
        metric.set_histogram(histogram.proto());
        self.push(labels, metric);
    }

    /// Labels are in the order of their names, as Go's library writes them.
    fn push(&mut self, labels: &[(&str, &str)], mut metric: proto::Metric) {
        let mut pairs: Vec<proto::LabelPair> = labels.iter().map(|(name, value)| pair(name, value)).collect();
        pairs.sort_by(|one, other| one.name().cmp(other.name()));
        metric.set_label(pairs);
        self.0.mut_metric().push(metric);
    }

    fn sort(&mut self) {
        let values = |metric: &proto::Metric| -> Vec<String> {
            metric.get_label().iter().map(|label| label.value().to_owned()).collect()
        };
        self.0.mut_metric().sort_by_cached_key(values);
    }
}

fn pair(name: &str, value: &str) -> proto::LabelPair {
    let mut pair = proto::LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

/// As the format has numbers: exact up to 2^53.
#[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "the format has no other numbers")]
pub(super) fn number(value: u64) -> f64 {
    value as f64
}

/// One number that somebody else keeps.
#[derive(Clone)]
pub struct Gauge {
    name: &'static str,
    help: &'static str,
    read: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Gauge {
    /// Read at each scrape. The name is without our prefix.
    pub fn new(name: &'static str, help: &'static str, read: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { name, help, read: Arc::new(read) }
    }
}

impl Source for Gauge {
    fn families(&self) -> Vec<Family> {
        vec![Family::gauge(format!("{PREFIX}{}", self.name), self.help).with(&[], (self.read)())]
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Exposition {
    /// One more part.
    pub fn add(&mut self, source: Arc<dyn Source>) {
        self.0.push(source);
    }

    /// Everything, with `more` that is known for this scrape alone: in the order of names, and of label values. Metrics without
    /// a series are left out.
    pub fn text(&self, more: Vec<Family>) -> Result<String, prometheus::Error> {
        let mut families: Vec<Family> = self.0.iter().flat_map(|source| source.families()).chain(more).collect();
        families.retain(|family| !family.0.get_metric().is_empty());
        families.sort_by(|one, other| one.name().cmp(other.name()));
        families.iter_mut().for_each(Family::sort);
        let families: Vec<proto::MetricFamily> = families.into_iter().map(|family| family.0).collect();
        TextEncoder::new().encode_to_string(&families)
    }
}

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sources", self.0.len())
    }
}
