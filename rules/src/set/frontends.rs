//! Services: what applies to a virtual address is what applies to every pod behind it.
//!
//! Nobody knows which of them a connection will come to, so all must allow it, and each request. Must never allow what one
//! of them would not be allowed. Start at [`Tables::with_frontends`].

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

use super::{
    Cell, DirectionPolicy,
    table::{Interval, Intervals, Table, Tables, WITH_PORTS, both},
};
use crate::{
    identity::Identity,
    resolve::{Frontend, Target},
    verdict::Protocol,
};

impl Tables {
    /// The same, that know the addresses of Services too.
    pub(super) fn with_frontends(mut self, frontends: &[Frontend]) -> Self {
        for frontend in frontends {
            let table = self.of_frontend(frontend);
            // Most Services are no concern of most policies.
            if !table.is_as_simple_as(self.of_others()) {
                self.insert(frontend.identity, table);
            }
        }
        self
    }

    fn of_frontend(&self, frontend: &Frontend) -> Table {
        let outside = self.of(frontend.otherwise);
        let ports = WITH_PORTS.map(|protocol| self.intervals_of(frontend, protocol, outside));
        Table::new(ports, Arc::clone(outside.shared(Protocol::Any, 0)))
    }

    fn intervals_of(&self, frontend: &Frontend, protocol: Protocol, outside: &Table) -> Intervals {
        let ports = || frontend.ports.iter().filter(|port| port.protocol == protocol);
        let mut starts: BTreeSet<u16> = outside.starts(protocol).collect();
        starts.extend(ports().flat_map(|port| [Some(port.port), port.port.checked_add(1)]).flatten());
        let cell = |start: u16| match ports().find(|port| port.port == start) {
            Some(port) => self.behind(protocol, &port.targets),
            None => Arc::clone(outside.shared(protocol, start)),
        };
        starts.into_iter().map(|first| Interval { first, cell: cell(first) }).collect()
    }

    /// What all of `targets` allow; nothing, where there is none.
    fn behind(&self, protocol: Protocol, targets: &[Target]) -> Arc<Cell> {
        let mut cells: Vec<&Arc<Cell>> = Vec::new();
        for target in targets {
            let cell = self.of(target.identity).shared(protocol, target.port);
            if !cells.iter().any(|known| known.is_same(cell)) {
                cells.push(cell);
            }
        }
        let all = cells.into_iter().cloned().reduce(|one, other| Arc::new(both(&one, &other)));
        all.unwrap_or_else(|| Arc::new(Cell::Denied(None)))
    }
}

impl Cell {
    /// Whether both are the very same, so that one of them says it all.
    fn is_same(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        Arc::ptr_eq(self, other)
            || matches!((&**self, &**other), (Self::Requests(one), Self::Requests(other)) if Arc::ptr_eq(one, other))
    }
}

impl DirectionPolicy {
    /// The same, that knows the addresses of Services too.
    pub(crate) fn fronted(self, frontends: Arc<[Frontend]>) -> Self {
        if !self.enforced || frontends.is_empty() {
            return self;
        }
        let tables = self.tables.with_frontends(&frontends);
        Self { tables, entries: OnceLock::new(), frontends, ..self }
    }

    /// Who a peer and a port stand for: themselves, or what is behind a Service.
    pub(super) fn targets(&self, peer: Identity, protocol: Protocol, port: u16) -> Vec<Target> {
        let Some(frontend) = self.frontend(peer) else { return vec![Target { identity: peer, port }] };
        let known = frontend.ports.iter().find(|known| known.protocol == protocol && known.port == port);
        known.map_or_else(|| vec![Target { identity: frontend.otherwise, port }], |known| known.targets.clone())
    }

    fn frontend(&self, peer: Identity) -> Option<&Frontend> {
        let found = self.frontends.binary_search_by_key(&peer, |frontend| frontend.identity);
        found.ok().and_then(|index| self.frontends.get(index))
    }

    /// The first of those that is denied.
    pub(super) fn denied_target(&self, peer: Identity, protocol: Protocol, port: u16) -> Option<Target> {
        if self.frontend(peer).is_none() {
            return Some(Target { identity: peer, port });
        }
        let targets = self.targets(peer, protocol, port);
        let is_denied = |target: &&Target| {
            let cell = self.tables.of(target.identity).cell(protocol, target.port);
            matches!(cell.connection(), Some(super::Judged::Denied(..) | super::Judged::Audited(..)))
        };
        targets.iter().find(is_denied).or(targets.first()).copied()
    }
}
