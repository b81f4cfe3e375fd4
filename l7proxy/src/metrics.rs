//! Counters of this process, and their way to Prometheus. Every limit and every loss has one.
//!
//! Owns names, values, and the text of all of them. Never labels them with anything from a request. Start at [`Counters`]; what
//! a scrape gets is made by [`Exposition`].

use std::sync::atomic::{AtomicU64, Ordering};

mod exposition;
mod histogram;
mod process;
mod requests;

pub use exposition::{Exposition, Family, Gauge, Source};
pub use histogram::Histogram;
pub use process::{Build, Process};
pub use requests::{PROTOCOLS, RequestCounts, Requests};

macro_rules! counters {
    ($($(#[doc = $help:literal])+ $name:ident,)*) => {
        /// Counters by name, shared by all threads.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[doc = $help])+ pub $name: AtomicU64,)*
            /// Requests, as they come and go.
            pub requests: Requests,
        }

        impl Counters {
            /// Every counter with its value of now.
            #[must_use]
            pub fn snapshot(&self) -> Vec<Count> {
                vec![$((stringify!($name), self.$name.load(Ordering::Relaxed)),)*]
            }
        }

        /// What each counter counts.
        const HELP: &[(&str, &str)] = &[$((stringify!($name), concat!($($help),+)),)*];
    };
}

/// A counter's name and value.
pub type Count = (&'static str, u64);

counters! {
    /// Connections that were served.
    connections,
    /// Connections that the kernel side did not send here; reset.
    connections_not_redirected,
    /// Connections that there was no place for; reset.
    connections_shed,
    /// Connections that were reset because this process had as much memory as it may.
    connections_shed_for_memory,
    /// Accepts that failed.
    accept_errors,
    /// Requests that policy allowed.
    requests_forwarded,
    /// Requests that policy would have denied, and only audits.
    requests_audited,
    /// Requests that policy denied.
    requests_denied,
    /// Requests without a single meaning, answered with 400.
    requests_malformed,
    /// Requests over a limit of size.
    requests_too_large,
    /// Heads that took too long.
    heads_too_slow,
    /// HTTP/2 streams over the number that may be open at once.
    streams_refused,
    /// HTTP/2 streams that began after their client was told that no more is taken.
    streams_going_away,
    /// HTTP/2 connections that were ended for what they flooded us with, and their streams that nobody had read.
    http2_floods,
    /// Allowed requests that the upstream refused, reset or did not answer.
    upstream_failures,
    /// Allowed requests whose client left, or broke its own framing, in the middle of the body.
    clients_failed,
    /// Denied requests whose body was longer than what is read of one; their connection was closed.
    denied_bodies_cut,
    /// Connections, and HTTP/2 streams, that became tunnels.
    upgrades,
    /// Requests and tunnels that were under way when policy changed to not allow them, and were ended.
    requests_ended,
    /// Connections that were older than the policy that does not allow them, and were ended.
    existing_connections_ended,
    /// Looks at all sockets of a pod for such connections.
    existing_looks,
    /// Looks for such connections that failed.
    existing_looks_failed,
    /// Records of allowed requests for which there was no room.
    records_lost_forwarded,
    /// Records of denials for which there was no room.
    records_lost_dropped,
    /// Records that could not be written.
    records_write_errors,
    /// Connections to the Hubble API that there was no place for.
    hubble_connections_refused,
    /// Connections to the Hubble API whose client had no right, no certificate, or took too long.
    hubble_handshakes_failed,
    /// Streams of the Hubble API over the number that may be open at once.
    hubble_streams_refused,
    /// Calls of the Hubble API whose client sent more than it may.
    hubble_requests_too_large,
    /// Records that clients of the Hubble API did not read before newer ones took their place.
    hubble_flows_lost,
    /// Events of the agent that clients did not read before newer ones took their place.
    hubble_agent_events_lost,
    /// Label sets of metrics that found no room under the cap, each time that one was met; their flows are in the series `other`.
    metrics_series_dropped,
    /// Connections for metrics that were closed because there were too many; the oldest one is.
    metrics_connections_shed,
}

/// Adds one.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Source for Counters {
    fn families(&self) -> Vec<Family> {
        let help = |name| HELP.iter().find(|(known, _)| *known == name).map_or("", |(_, help)| help.trim());
        let mut families: Vec<Family> =
            self.snapshot().into_iter().map(|(name, value)| Family::own_counter(name, help(name), value)).collect();
        families.extend(self.requests.families());
        families
    }
}

#[cfg(test)]
mod tests;
