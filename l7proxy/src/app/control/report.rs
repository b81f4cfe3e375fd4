//! What `l7proxy status` is told.

use std::collections::BTreeMap;

use rules::Direction;

use super::Control;
use crate::{
    app::{DirectionStatus, EndpointStatus, Status, assemble, existing::Existing, status},
    endpoint::EndpointId,
    redirect::{Guard, REDIRECT, Redirect},
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
            let reason = self.pods.reason(&endpoint.pod);
            let guard = self.pods.get(&endpoint.pod).and_then(|local| redirect.guard(local.netns.cookie()));
            Some(EndpointStatus {
                policies: status::applied(&self.assembler, &self.versions, &state.peer),
                pod: endpoint.pod.clone(),
                id,
                identity: state.peer.identity,
                ingress: direction(Direction::Ingress),
                egress: direction(Direction::Egress),
                backstop: guard.map(ToString::to_string),
                unguarded: guard.is_some_and(Guard::lacks_some),
                state: reason.as_ref().map_or("ready", |reason| reason.state),
                error: reason.map(|reason| reason.text),
            })
        });
        let mut errors = self.errors.clone();
        errors.extend(self.versions.problems());
        errors.extend(self.existing.iter().flat_map(Existing::problems));
        let mut counters: BTreeMap<_, _> = self.counters.snapshot().into_iter().collect();
        counters.extend(self.existing.iter().map(|existing| (status::PENDING, existing.pending())));
        match redirect.counters() {
            Ok(kernel) => counters.extend(kernel),
            Err(error) => errors.push(error.to_string()),
        }
        let kernel = status::kernel(redirect, &mut errors);
        let mut not_enforced = status::not_enforced(&self.config);
        not_enforced.extend(self.existing.iter().flat_map(|existing| status::existing(existing.lacking())));
        Status {
            ready: self.ready,
            revision: self.revision,
            pid: std::process::id(),
            endpoints: endpoints.collect(),
            policies: self.versions.status(),
            errors,
            skipped: self.versions.skipped().iter().map(ToString::to_string).collect(),
            kernel,
            hubble: self.api.status(&self.config.flows),
            path_relaxed: self.config.proxy.path.relaxed(),
            not_enforced,
            counters,
        }
    }
}
