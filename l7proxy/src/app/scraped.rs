//! Where metrics are told, and what is told there.
//!
//! Owns the address from the start of the process to the moment at which another one takes over. Makes no metric itself: each
//! part of the process names its own. Start at [`Scraped::new`].

use std::sync::Arc;

use super::RunError;
use crate::{
    admin::{Address, Callers, Listening, Scrapes},
    config::{Config, FlowMetric},
    flow::{self, Metrics},
    metrics::{Build, Counters, Exposition, Process, Source},
};

/// The address and all that is told at it; nothing where none is configured.
#[derive(Debug)]
pub(super) struct Scraped {
    address: Option<Address>,
    exposition: Exposition,
    counters: Arc<Counters>,
    listening: Option<Listening>,
}

impl Scraped {
    /// Takes the address; with `beside`, beside the process that is taken over from.
    pub(super) fn new(config: &Config, counters: &Arc<Counters>, beside: bool) -> Result<Self, RunError> {
        let address = config.admin.metrics.map(|address| Address::bind(address, beside)).transpose();
        let address = address.map_err(|error| RunError::of(&error))?;
        let mut exposition = Exposition::default();
        exposition.add(Arc::<Counters>::clone(counters));
        exposition.add(Arc::new(Build));
        exposition.add(Arc::new(Process));
        Ok(Self { address, exposition, counters: Arc::clone(counters), listening: None })
    }

    /// With metrics of what is written, if anybody could read them.
    pub(super) fn count(&mut self, writer: flow::Writer, config: &Config) -> flow::Writer {
        if self.address.is_none() {
            return writer;
        }
        let wanted = config.flows.metrics.clone().unwrap_or_else(FlowMetric::defaults);
        let metrics = Metrics::new(&wanted, config.flows.metrics_series.unwrap_or(flow::SERIES), &self.counters);
        self.exposition.add(metrics.source());
        writer.with_metrics(metrics)
    }

    /// One more part of the process.
    pub(super) fn add(&mut self, source: impl Source + 'static) {
        self.exposition.add(Arc::new(source));
    }

    /// Answers from now on, until dropped.
    pub(super) fn listen(&mut self, callers: &Callers) -> Result<(), RunError> {
        let Some(address) = self.address.take() else { return Ok(()) };
        let scrapes = Scrapes::new(callers.questions.clone(), self.exposition.clone(), Arc::clone(&self.counters));
        self.listening = Some(address.listen(scrapes).map_err(|error| RunError::of(&error))?);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
