//! What `l7proxy status` is told.

use std::collections::BTreeMap;

use rules::Direction;

use super::Control;
use crate::{
    app::{DirectionStatus, EndpointStatus, Status, assemble, status},
    endpoint::EndpointId,
    redirect::{REDIRECT, Redirect},
};

impl Control {
    pub(super) fn status(&self, redirect: &Redirect) -> Status {
        let world = self.store.current();
        let endpoints = self.config.endpoints.iter().filter_map(|endpoint| {
            let id = self.assembler.endpoint(&endpoint.pod)?;
            let state = world.endpoints.get(&EndpointId(id))?;
            let direction = |direction: Direction| {
                let policy = state.direction(direction);
                let redirects = policy.entries().iter().filter(|entry| assemble::action(entry) == REDIRECT);
                DirectionStatus { enforced: policy.enforced(), redirects: redirects.count() }
            };
            let error = self.failed.get(&endpoint.pod).cloned();
            Some(EndpointStatus {
                policies: status::applied(&self.assembler, &self.versions, &state.peer),
                pod: endpoint.pod.clone(),
                id,
                identity: state.peer.identity,
                ingress: direction(Direction::Ingress),
                egress: direction(Direction::Egress),
                state: if error.is_none() { "ready" } else { "error" },
                error,
            })
        });
        let mut errors = self.errors.clone();
        errors.extend(self.versions.problems());
        let mut counters: BTreeMap<_, _> = self.counters.snapshot().into_iter().collect();
        match redirect.counters() {
            Ok(kernel) => counters.extend(kernel),
            Err(error) => errors.push(error.to_string()),
        }
        Status {
            ready: self.ready,
            revision: self.revision,
            pid: std::process::id(),
            endpoints: endpoints.collect(),
            policies: self.versions.status(),
            errors,
            skipped: self.versions.skipped().iter().map(ToString::to_string).collect(),
            kernel: status::kernel(redirect),
            not_enforced: status::not_enforced(&self.config),
            counters,
        }
    }
}
