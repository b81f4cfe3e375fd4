//! Namespaces that were seen lately, for who asks for their names.
//!
//! Owns when each was seen last. Must never cost a record more than a look at a few addresses. Start at
//! [`Namespaces::note`].

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use super::{Flow, Record};
use crate::endpoint::Peer;

/// How long a namespace is remembered.
const REMEMBERED: Duration = Duration::from_hours(1);
/// Between two looks for what is to be forgotten.
const SWEEP: Duration = Duration::from_mins(5);
/// Namespaces that are remembered: far more than a cluster has.
const ROOM: usize = 16_384;

/// `(cluster, namespace)` and when it was seen last.
#[derive(Debug, Default)]
pub struct Namespaces(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    seen: BTreeMap<(String, String), SystemTime>,
    swept: Option<SystemTime>,
}

impl Namespaces {
    /// Remembers those of both ends of each record.
    pub fn note(&self, flows: &[Flow]) {
        let Some(now) = flows.last().map(|flow| flow.time) else { return };
        // Records of a connection share its ends.
        let mut looked_at = HashSet::new();
        let peers = flows.iter().flat_map(|flow| peers(&flow.record).into_iter().flatten());
        let new: Vec<_> = peers.filter(|peer| looked_at.insert(Arc::as_ptr(peer))).collect();
        let mut known = self.known();
        for peer in new.into_iter().filter(|peer| !peer.namespace.is_empty()) {
            let name = (peer.cluster.clone(), peer.namespace.clone());
            if known.seen.len() < ROOM || known.seen.contains_key(&name) {
                known.seen.insert(name, now);
            }
        }
        known.sweep(now);
    }

    /// `(cluster, namespace)` of those that were seen in the last hour, sorted.
    #[must_use]
    pub fn seen(&self) -> Vec<(String, String)> {
        #[expect(clippy::disallowed_methods, reason = "what was seen long ago is left out")]
        self.seen_at(SystemTime::now())
    }

    fn seen_at(&self, now: SystemTime) -> Vec<(String, String)> {
        let known = self.known();
        known.seen.iter().filter(|(_, seen)| !is_old(**seen, now)).map(|(name, _)| name.clone()).collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // What is in it is whole at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn sweep(&mut self, now: SystemTime) {
        let is_due = |swept: SystemTime| now.duration_since(swept).is_ok_and(|since| since >= SWEEP);
        if self.swept.is_none_or(is_due) {
            self.swept = Some(now);
            self.seen.retain(|_, seen| !is_old(*seen, now));
        }
    }
}

fn is_old(seen: SystemTime, now: SystemTime) -> bool {
    now.duration_since(seen).is_ok_and(|since| since > REMEMBERED)
}

fn peers(record: &Record) -> Option<[&Arc<Peer>; 2]> {
    Some(match record {
        Record::Request(http) | Record::Response(http) => [&http.asked.ends.source.0, &http.asked.ends.destination.0],
        Record::Drop(refusal) => [&refusal.source.0, &refusal.destination.0],
        Record::Connection(connection) => [&connection.ends.source.0, &connection.ends.destination.0],
        Record::Lost(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use rules::Direction;

    use super::*;
    use crate::flow::{ConnectionRecord, Ends};

    /// A connection between pods of two namespaces; none: nobody's.
    fn between(source: &str, destination: &str, time: SystemTime) -> Flow {
        let end = |namespace: &str| {
            let peer = Peer { cluster: "cluster1".to_owned(), namespace: namespace.to_owned(), ..Peer::default() };
            (Arc::new(peer), ([10, 0, 0, 1], 80).into())
        };
        let ends = Ends { direction: Direction::Egress, source: end(source), destination: end(destination) };
        let record = ConnectionRecord { time, ends, rule: None, process: None, end: None, allowed: None, revision: 1 };
        Flow { number: 1, time, headers: crate::flow::Headers::default(), record: Record::Connection(Box::new(record)) }
    }

    fn seen(namespaces: &Namespaces, now: SystemTime) -> Vec<String> {
        namespaces.seen_at(now).into_iter().map(|(cluster, namespace)| format!("{cluster}/{namespace}")).collect()
    }

    #[test]
    fn a_namespace_is_forgotten_after_an_hour() {
        let namespaces = Namespaces::default();
        let (start, minute) = (SystemTime::UNIX_EPOCH, Duration::from_mins(1));
        namespaces.note(&[between("shop", "payments", start)]);
        namespaces.note(&[between("shop", "", start + minute)]);
        assert_eq!(seen(&namespaces, start), ["cluster1/payments", "cluster1/shop"]);
        assert_eq!(seen(&namespaces, start + 60 * minute), ["cluster1/payments", "cluster1/shop"]);
        assert_eq!(seen(&namespaces, start + 61 * minute), ["cluster1/shop"]);
        assert_eq!(seen(&namespaces, start + 62 * minute), [""; 0]);
        namespaces.note(&[between("other", "", start + 70 * minute)]);
        assert_eq!(namespaces.known().seen.len(), 1, "what is old takes no room");
    }
}
