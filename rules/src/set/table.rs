//! From a peer, a protocol and a port to what applies there.
//!
//! Peers that the same grants are about share a table, also those of other endpoints. Start at [`Tables::new`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    Cell, Grant, Otherwise, PeerSet, Shared,
    entries::{self, Line},
};
use crate::{identity::Identity, same::Same, verdict::Protocol};

/// Protocols with ports, and those whose types are taken for ports.
pub(super) const WITH_PORTS: [Protocol; 5] =
    [Protocol::Tcp, Protocol::Udp, Protocol::Sctp, Protocol::Icmp, Protocol::Icmp6];

/// Every peer's table.
#[derive(Debug)]
pub(crate) struct Tables {
    /// Peers that grants name, sorted; the others have the first table.
    by_peer: Vec<(Identity, usize)>,
    /// Never empty.
    tables: Vec<Arc<Table>>,
}

/// What applies to one peer.
#[derive(Debug)]
pub(crate) struct Table {
    /// The first begins at 0. In the order of [`WITH_PORTS`].
    ports: [Intervals; 5],
    /// Protocols without ports.
    other: Arc<Cell>,
    /// For the kernel.
    lines: Vec<Line>,
}

/// What applies when both must allow.
pub(super) fn both(one: &Arc<Cell>, other: &Arc<Cell>) -> Cell {
    match (&**one, &**other) {
        (Cell::Denied(rule), _) | (_, Cell::Denied(rule)) => Cell::Denied(rule.clone()),
        (Cell::Allowed(one), Cell::Allowed(other)) => Cell::Allowed(one.clone().or_else(|| other.clone())),
        (Cell::Allowed(None), decides) | (decides, Cell::Allowed(None)) => decides.clone(),
        (_, _) => Cell::Both(Arc::clone(one), Arc::clone(other)),
    }
}

/// What applies from one port up to the next interval.
#[derive(Debug)]
pub(super) struct Interval {
    pub(super) first: u16,
    pub(super) cell: Arc<Cell>,
}

pub(super) type Intervals = Vec<Interval>;

impl Tables {
    pub(super) fn new(otherwise: Otherwise, grants: &[Arc<Grant>], shared: &mut Shared) -> Self {
        let mut of_peer: BTreeMap<Identity, Vec<usize>> = BTreeMap::new();
        let mut of_all = Vec::new();
        for (index, grant) in grants.iter().enumerate() {
            match &grant.peers {
                PeerSet::Any => of_all.push(index),
                PeerSet::Only(peers) => peers.iter().for_each(|peer| of_peer.entry(*peer).or_default().push(index)),
            }
        }
        let mut table = |indexes: &[usize]| {
            let grants = indexes.iter().filter_map(|index| grants.get(*index)).cloned();
            shared.table(otherwise, grants.map(Same).collect())
        };
        let mut tables = vec![table(&of_all)];
        let mut known: HashMap<Vec<usize>, usize> = HashMap::new();
        let mut by_peer = Vec::new();
        for (peer, mut indexes) in of_peer {
            indexes.extend(&of_all);
            indexes.sort_unstable();
            let next = tables.len();
            let index = *known.entry(indexes).or_insert_with_key(|indexes| {
                tables.push(table(indexes));
                next
            });
            by_peer.push((peer, index));
        }
        Self { by_peer, tables }
    }

    /// From tables that were made elsewhere; `others` is of the peers without one.
    pub(crate) fn of_peers(others: Table, of_peers: impl IntoIterator<Item = (Identity, Table)>) -> Self {
        let mut tables = vec![Arc::new(others)];
        let mut by_peer = Vec::new();
        for (peer, table) in of_peers {
            by_peer.push((peer, tables.len()));
            tables.push(Arc::new(table));
        }
        by_peer.sort_unstable();
        Self { by_peer, tables }
    }

    /// Another peer's.
    pub(super) fn insert(&mut self, peer: Identity, table: Table) {
        let at = self.by_peer.partition_point(|(known, _)| *known < peer);
        self.by_peer.insert(at, (peer, self.tables.len()));
        self.tables.push(Arc::new(table));
    }

    /// Tables in which both must allow.
    pub(super) fn and(&self, other: &Self) -> Self {
        let mut known: HashMap<(usize, usize), usize> = HashMap::new();
        let mut tables = vec![Arc::new(self.of_others().and(other.of_others()))];
        let named = self.by_peer.iter().chain(&other.by_peer).map(|(peer, _)| *peer);
        let mut by_peer = Vec::new();
        for peer in named.collect::<BTreeSet<Identity>>() {
            let next = tables.len();
            let index = *known.entry((self.index(peer), other.index(peer))).or_insert_with(|| {
                tables.push(Arc::new(self.of(peer).and(other.of(peer))));
                next
            });
            by_peer.push((peer, index));
        }
        Self { by_peer, tables }
    }

    /// Tables whose denials pass and are told.
    pub(super) fn lenient(&self) -> Self {
        let tables = self.tables.iter().map(|table| Arc::new(table.lenient())).collect();
        Self { by_peer: self.by_peer.clone(), tables }
    }

    fn index(&self, peer: Identity) -> usize {
        let found = self.by_peer.binary_search_by_key(&peer, |(known, _)| *known).ok();
        found.and_then(|at| self.by_peer.get(at)).map_or(0, |(_, index)| *index)
    }

    pub(super) fn of(&self, peer: Identity) -> &Table {
        #[expect(clippy::indexing_slicing, reason = "both are made together, and there is always a first")]
        &self.tables[self.index(peer)]
    }

    /// The table of peers that no grant names.
    pub(super) fn of_others(&self) -> &Table {
        #[expect(clippy::indexing_slicing, reason = "there is always a first")]
        &self.tables[0]
    }

    /// Peers that grants name, sorted.
    pub(super) fn peers(&self) -> impl Iterator<Item = (Identity, &Table)> {
        let of = |(peer, index): &(Identity, usize)| self.tables.get(*index).map(|table| (*peer, &**table));
        self.by_peer.iter().filter_map(of)
    }
}

impl Table {
    /// In the order of [`WITH_PORTS`]; `other` is of protocols without ports.
    pub(super) fn new(ports: [Intervals; 5], other: Arc<Cell>) -> Self {
        let lines = entries::lines(&ports, &other);
        Self { ports, other, lines }
    }

    /// `decide` is asked for each protocol with ports at each of the ports where something changes, for each with types
    /// at each of the types where something does, and for all others once.
    pub(crate) fn decided(
        ports: &BTreeSet<u16>,
        types: &BTreeSet<u16>,
        mut decide: impl FnMut(Protocol, u16) -> Cell,
    ) -> Self {
        let ports = WITH_PORTS.map(|protocol| {
            let interval = |first: &u16| Interval { first: *first, cell: Arc::new(decide(protocol, *first)) };
            let starts = if protocol.has_types() { types } else { ports };
            starts.iter().map(interval).collect()
        });
        Self::new(ports, Arc::new(decide(Protocol::Any, 0)))
    }

    fn lenient(&self) -> Self {
        let lenient = |cell: &Arc<Cell>| Arc::new(Cell::Lenient(Arc::clone(cell)));
        let interval = |known: &Interval| Interval { first: known.first, cell: lenient(&known.cell) };
        let ports = self.ports.each_ref().map(|intervals| intervals.iter().map(interval).collect());
        Self::new(ports, lenient(&self.other))
    }

    fn and(&self, other: &Self) -> Self {
        let starts = |protocol: usize| -> BTreeSet<u16> {
            let intervals =
                |table: &Self| table.ports.get(protocol).into_iter().flatten().map(|one| one.first).collect();
            let (one, more): (BTreeSet<u16>, BTreeSet<u16>) = (intervals(self), intervals(other));
            one.into_iter().chain(more).collect()
        };
        let mut index = 0;
        let ports = WITH_PORTS.map(|protocol| {
            let starts = starts(index);
            index = index.saturating_add(1);
            let both = |port| Arc::new(both(self.shared(protocol, port), other.shared(protocol, port)));
            starts.into_iter().map(|first| Interval { first, cell: both(first) }).collect()
        });
        Self::new(ports, Arc::new(both(&self.other, &other.other)))
    }

    pub(super) fn shared(&self, protocol: Protocol, port: u16) -> &Arc<Cell> {
        let intervals = self.intervals(protocol);
        let after = intervals.partition_point(|interval| interval.first <= port);
        let last = after.checked_sub(1).and_then(|index| intervals.get(index));
        last.map_or(&self.other, |interval| &interval.cell)
    }

    /// None for what has no ports.
    fn intervals(&self, protocol: Protocol) -> &[Interval] {
        let [tcp, udp, sctp, icmp, icmp6] = &self.ports;
        match protocol {
            Protocol::Tcp => tcp,
            Protocol::Udp => udp,
            Protocol::Sctp => sctp,
            Protocol::Icmp => icmp,
            Protocol::Icmp6 => icmp6,
            Protocol::Any => &[],
        }
    }

    /// Ports at which something else applies than before.
    pub(super) fn starts(&self, protocol: Protocol) -> impl Iterator<Item = u16> {
        self.intervals(protocol).iter().map(|interval| interval.first)
    }

    /// Whether neither asks for requests, and both say the same of each connection.
    pub(super) fn is_as_simple_as(&self, other: &Self) -> bool {
        self.lines == other.lines && self.lines.iter().all(Line::is_settled)
    }

    pub(super) fn cell(&self, protocol: Protocol, port: u16) -> &Cell {
        self.shared(protocol, port)
    }

    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }
}
