//! From grants to tables: peers that the same grants are about share one, ports that the same grants cover share a cell.
//!
//! Must never decide by the order of grants what they mean. Start at [`Tables::new`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{Cell, Grant, HttpMatcher, Otherwise, PeerSet};
use crate::{identity::Identity, policy::Effect, verdict::Protocol};

/// Protocols with ports, and those whose types are taken for ports.
pub(super) const WITH_PORTS: [Protocol; 5] =
    [Protocol::Tcp, Protocol::Udp, Protocol::Sctp, Protocol::Icmp, Protocol::Icmp6];

/// Every peer's table.
#[derive(Debug)]
pub(crate) struct Tables {
    /// Peers that grants name; the others have the first table.
    by_peer: HashMap<Identity, usize>,
    /// Never empty.
    tables: Vec<Table>,
}

/// What applies to one peer.
#[derive(Debug)]
pub(crate) struct Table {
    /// The first begins at 0. In the order of [`WITH_PORTS`].
    ports: [Intervals; 5],
    /// Protocols without ports.
    other: Arc<Cell>,
}

/// What applies when both must allow.
fn both(one: &Arc<Cell>, other: &Arc<Cell>) -> Cell {
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

type Intervals = Vec<Interval>;

impl Tables {
    pub(super) fn new(otherwise: Otherwise, grants: &[Grant]) -> Self {
        let mut of_peer: BTreeMap<Identity, Vec<usize>> = BTreeMap::new();
        let mut of_all = Vec::new();
        for (index, grant) in grants.iter().enumerate() {
            match &grant.peers {
                PeerSet::Any => of_all.push(index),
                PeerSet::Only(peers) => peers.iter().for_each(|peer| of_peer.entry(*peer).or_default().push(index)),
            }
        }
        let mut builder = Builder { otherwise, grants, cells: HashMap::new(), matchers: HashMap::new() };
        let mut tables = vec![builder.table(&of_all)];
        let mut known: HashMap<Vec<usize>, usize> = HashMap::new();
        let mut by_peer = HashMap::new();
        for (peer, mut indexes) in of_peer {
            indexes.extend(&of_all);
            indexes.sort_unstable();
            let next = tables.len();
            let table = *known.entry(indexes).or_insert_with_key(|indexes| {
                tables.push(builder.table(indexes));
                next
            });
            by_peer.insert(peer, table);
        }
        Self { by_peer, tables }
    }

    /// From tables that were made elsewhere; `others` is of the peers without one.
    pub(crate) fn of_peers(others: Table, of_peers: impl IntoIterator<Item = (Identity, Table)>) -> Self {
        let mut tables = vec![others];
        let mut by_peer = HashMap::new();
        for (peer, table) in of_peers {
            by_peer.insert(peer, tables.len());
            tables.push(table);
        }
        Self { by_peer, tables }
    }

    /// Tables in which both must allow.
    pub(super) fn and(&self, other: &Self) -> Self {
        let mut known: HashMap<(usize, usize), usize> = HashMap::new();
        let mut tables = vec![self.of_others().and(other.of_others())];
        let mut by_peer = HashMap::new();
        for peer in self.by_peer.keys().chain(other.by_peer.keys()) {
            let index = |tables: &Self| tables.by_peer.get(peer).copied().unwrap_or(0);
            let next = tables.len();
            let table = *known.entry((index(self), index(other))).or_insert_with(|| {
                tables.push(self.of(*peer).and(other.of(*peer)));
                next
            });
            by_peer.insert(*peer, table);
        }
        Self { by_peer, tables }
    }

    /// Tables whose denials pass and are told.
    pub(super) fn lenient(&self) -> Self {
        let tables = self.tables.iter().map(Table::lenient).collect();
        Self { by_peer: self.by_peer.clone(), tables }
    }

    pub(super) fn of(&self, peer: Identity) -> &Table {
        let index = self.by_peer.get(&peer).copied().unwrap_or(0);
        #[expect(clippy::indexing_slicing, reason = "both are made together, and there is always a first")]
        &self.tables[index]
    }

    /// The table of peers that no grant names.
    pub(super) fn of_others(&self) -> &Table {
        #[expect(clippy::indexing_slicing, reason = "there is always a first")]
        &self.tables[0]
    }

    /// Peers that grants name, in no order.
    pub(super) fn peers(&self) -> impl Iterator<Item = (Identity, &Table)> {
        self.by_peer.keys().map(|peer| (*peer, self.of(*peer)))
    }
}

impl Table {
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
        Self { ports, other: Arc::new(decide(Protocol::Any, 0)) }
    }

    fn lenient(&self) -> Self {
        let lenient = |cell: &Arc<Cell>| Arc::new(Cell::Lenient(Arc::clone(cell)));
        let interval = |known: &Interval| Interval { first: known.first, cell: lenient(&known.cell) };
        let ports = self.ports.each_ref().map(|intervals| intervals.iter().map(interval).collect());
        Self { ports, other: lenient(&self.other) }
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
        Self { ports, other: Arc::new(both(&self.other, &other.other)) }
    }

    fn shared(&self, protocol: Protocol, port: u16) -> &Arc<Cell> {
        let [tcp, udp, sctp, icmp, icmp6] = &self.ports;
        let intervals = match protocol {
            Protocol::Tcp => tcp,
            Protocol::Udp => udp,
            Protocol::Sctp => sctp,
            Protocol::Icmp => icmp,
            Protocol::Icmp6 => icmp6,
            Protocol::Any => return &self.other,
        };
        let after = intervals.partition_point(|interval| interval.first <= port);
        let last = after.checked_sub(1).and_then(|index| intervals.get(index));
        last.map_or(&self.other, |interval| &interval.cell)
    }

    pub(super) fn cell(&self, protocol: Protocol, port: u16) -> &Cell {
        self.shared(protocol, port)
    }

    pub(super) fn other(&self) -> &Cell {
        &self.other
    }

    /// Each protocol's ports.
    pub(super) fn protocols(&self) -> impl Iterator<Item = (Protocol, &Intervals)> {
        WITH_PORTS.into_iter().zip(&self.ports)
    }
}

/// Grants that begin and end at a port.
#[derive(Default)]
struct Change {
    begin: Vec<usize>,
    end: Vec<usize>,
}

/// Cells and matchers that were made already, by the grants that they are made of.
struct Builder<'g> {
    otherwise: Otherwise,
    grants: &'g [Grant],
    cells: HashMap<Vec<usize>, Arc<Cell>>,
    /// By the first grant of each list of HTTP rules in it.
    matchers: HashMap<Vec<usize>, Arc<HttpMatcher>>,
}

impl<'g> Builder<'g> {
    /// `indexes` of grants, ascending.
    fn table(&mut self, indexes: &[usize]) -> Table {
        let grants = self.grants;
        let portless: Vec<usize> = indexes
            .iter()
            .copied()
            .filter(|index| grants.get(*index).is_some_and(|grant| grant.protocol == Protocol::Any))
            .collect();
        Table { ports: WITH_PORTS.map(|protocol| self.intervals(protocol, indexes)), other: self.cell(portless) }
    }

    /// Goes through the ports once: at each where a grant begins or ends, what is active changes.
    fn intervals(&mut self, protocol: Protocol, indexes: &[usize]) -> Intervals {
        let mut changes: BTreeMap<u16, Change> = BTreeMap::from([(0, Change::default())]);
        for index in indexes {
            let Some(grant) = self.grants.get(*index).filter(|grant| grant.covers_protocol(protocol)) else { continue };
            changes.entry(grant.ports.first).or_default().begin.push(*index);
            if let Some(end) = grant.ports.last.checked_add(1) {
                changes.entry(end).or_default().end.push(*index);
            }
        }
        let mut active: BTreeSet<usize> = BTreeSet::new();
        let mut intervals = Intervals::new();
        for (first, Change { begin, end }) in changes {
            active.retain(|index| !end.contains(index));
            active.extend(begin);
            let cell = self.cell(active.iter().copied().collect());
            if intervals.last().is_none_or(|last| !Arc::ptr_eq(&last.cell, &cell)) {
                intervals.push(Interval { first, cell });
            }
        }
        intervals
    }

    fn cell(&mut self, indexes: Vec<usize>) -> Arc<Cell> {
        if let Some(known) = self.cells.get(&indexes) {
            return Arc::clone(known);
        }
        let cell = Arc::new(self.decide(&indexes));
        self.cells.insert(indexes, Arc::clone(&cell));
        cell
    }

    /// Deny beats what is judged by request, and that beats allow, as Cilium's precedence has it.
    fn decide(&mut self, indexes: &[usize]) -> Cell {
        let active: Vec<(usize, &'g Grant)> =
            indexes.iter().filter_map(|index| self.grants.get(*index).map(|grant| (*index, grant))).collect();
        let denies = |audit| {
            let denying = active.iter().find(|(_, grant)| grant.effect == Effect::Deny && grant.audit == audit);
            denying.map(|(_, grant)| Arc::clone(&grant.rule))
        };
        if let Some(rule) = denies(false) {
            return Cell::Denied(Some(rule));
        }
        let allowing: Vec<(usize, &'g Grant)> =
            active.iter().copied().filter(|(_, grant)| grant.effect == Effect::Allow).collect();
        let whole = allowing.iter().find(|(_, grant)| grant.http.is_none());
        let pass = self.otherwise == Otherwise::Pass;
        let open = whole.map(|(_, grant)| Some(Arc::clone(&grant.rule))).or(pass.then_some(None));
        let has_http = allowing.iter().any(|(_, grant)| grant.http.is_some());
        let acts = allowing.iter().filter_map(|(_, grant)| grant.http.as_ref()).flat_map(|rules| rules.iter());
        let acts = acts.map(|compiled| &compiled.rule).any(|rule| rule.acts());
        let cell = match open {
            Some(rule) if has_http => Cell::Seen(rule, acts.then(|| self.matcher(&allowing))),
            Some(rule) => Cell::Allowed(rule),
            None if has_http => Cell::Requests(self.matcher(&allowing)),
            None => Cell::Denied(None),
        };
        let cell = if self.otherwise == Otherwise::Audit { Cell::Lenient(Arc::new(cell)) } else { cell };
        match denies(true) {
            Some(rule) => Cell::Audited(Arc::new(cell), rule),
            None => cell,
        }
    }

    fn matcher(&mut self, active: &[(usize, &'g Grant)]) -> Arc<HttpMatcher> {
        // Ports of one entry share its rules: each list counts once.
        let mut lists: Vec<(usize, &super::HttpRules)> = Vec::new();
        for (index, grant) in active {
            let Some(http) = &grant.http else { continue };
            if !lists.iter().any(|(_, known)| Arc::ptr_eq(known, http)) {
                let first =
                    self.grants.iter().position(|grant| grant.http.as_ref().is_some_and(|h| Arc::ptr_eq(h, http)));
                lists.push((first.unwrap_or(*index), http));
            }
        }
        let key: Vec<usize> = lists.iter().map(|(first, _)| *first).collect();
        let rules = || lists.iter().flat_map(|(_, http)| http.iter().cloned()).collect();
        Arc::clone(self.matchers.entry(key).or_insert_with(|| Arc::new(HttpMatcher::new(rules()))))
    }
}
