//! From grants to cells, matchers and tables, each made once for all endpoints that have the same grants.
//!
//! Owns what grants mean together: deny beats requests, requests beat allow. Must never decide by the order of grants what
//! they mean. Start at [`Shared::table`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    Cell, Grant, HttpMatcher, Otherwise,
    table::{Interval, Intervals, Table, WITH_PORTS},
};
use crate::{matcher::CompiledRule, policy::Effect, same::Same, verdict::Protocol};

/// Grants, in the order of the policies.
type Grants = Vec<Same<Grant>>;
/// Lists of HTTP rules.
type Lists = Vec<Same<[CompiledRule]>>;
/// What was made of grants, by what becomes of the rest.
type Made<T> = [HashMap<Grants, Arc<T>>; 3];

/// What was made already, by what it is made of.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    tables: Made<Table>,
    cells: Made<Cell>,
    matchers: HashMap<Lists, Arc<HttpMatcher>>,
}

#[expect(clippy::mutable_key_type, reason = "keys are compared by where they are, not by what is in them")]
fn of<T>([pass, audit, deny]: &mut Made<T>, otherwise: Otherwise) -> &mut HashMap<Grants, Arc<T>> {
    match otherwise {
        Otherwise::Pass => pass,
        Otherwise::Audit => audit,
        Otherwise::Deny => deny,
    }
}

/// Grants that begin and end at a port.
#[derive(Default)]
struct Change {
    begin: Vec<usize>,
    end: Vec<usize>,
}

impl Shared {
    /// What applies to peers that `grants` are about, and no others.
    pub(super) fn table(&mut self, otherwise: Otherwise, grants: Grants) -> Arc<Table> {
        if let Some(known) = of(&mut self.tables, otherwise).get(&grants) {
            return Arc::clone(known);
        }
        let portless = grants.iter().filter(|grant| grant.0.protocol == Protocol::Any).cloned().collect();
        let ports = WITH_PORTS.map(|protocol| self.intervals(otherwise, protocol, &grants));
        let table = Arc::new(Table::new(ports, self.cell(otherwise, portless)));
        of(&mut self.tables, otherwise).insert(grants, Arc::clone(&table));
        table
    }

    /// Goes through the ports once: at each where a grant begins or ends, what is active changes.
    fn intervals(&mut self, otherwise: Otherwise, protocol: Protocol, grants: &[Same<Grant>]) -> Intervals {
        let mut changes: BTreeMap<u16, Change> = BTreeMap::from([(0, Change::default())]);
        for (index, grant) in grants.iter().enumerate().filter(|(_, grant)| grant.0.covers_protocol(protocol)) {
            changes.entry(grant.0.ports.first).or_default().begin.push(index);
            if let Some(end) = grant.0.ports.last.checked_add(1) {
                changes.entry(end).or_default().end.push(index);
            }
        }
        let mut active: BTreeSet<usize> = BTreeSet::new();
        let mut intervals = Intervals::new();
        for (first, Change { begin, end }) in changes {
            for index in &end {
                active.remove(index);
            }
            active.extend(begin);
            let cell = self.cell(otherwise, active.iter().filter_map(|index| grants.get(*index)).cloned().collect());
            if intervals.last().is_none_or(|last| !Arc::ptr_eq(&last.cell, &cell)) {
                intervals.push(Interval { first, cell });
            }
        }
        intervals
    }

    fn cell(&mut self, otherwise: Otherwise, grants: Grants) -> Arc<Cell> {
        if let Some(known) = of(&mut self.cells, otherwise).get(&grants) {
            return Arc::clone(known);
        }
        let cell = Arc::new(self.decide(otherwise, &grants));
        of(&mut self.cells, otherwise).insert(grants, Arc::clone(&cell));
        cell
    }

    /// Deny beats what is judged by request, and that beats allow, as Cilium's precedence has it.
    fn decide(&mut self, otherwise: Otherwise, grants: &[Same<Grant>]) -> Cell {
        let denies = |audit| {
            let denying = grants.iter().find(|grant| grant.0.effect == Effect::Deny && grant.0.audit == audit);
            denying.map(|grant| Arc::clone(&grant.0.rule))
        };
        if let Some(rule) = denies(false) {
            return Cell::Denied(Some(rule));
        }
        let allowing = || grants.iter().map(|grant| &*grant.0).filter(|grant| grant.effect == Effect::Allow);
        let whole = allowing().find(|grant| grant.http.is_none());
        let pass = otherwise == Otherwise::Pass;
        let open = whole.map(|grant| Some(Arc::clone(&grant.rule))).or(pass.then_some(None));
        let has_http = allowing().any(|grant| grant.http.is_some());
        let acts = allowing().filter_map(|grant| grant.http.as_ref()).flat_map(|rules| rules.iter());
        let acts = acts.map(|compiled| &compiled.rule).any(|rule| rule.acts());
        let cell = match open {
            Some(rule) if has_http => Cell::Seen(rule, acts.then(|| self.matcher(allowing()))),
            Some(rule) => Cell::Allowed(rule),
            None if has_http => Cell::Requests(self.matcher(allowing())),
            None => Cell::Denied(None),
        };
        let cell = if otherwise == Otherwise::Audit { Cell::Lenient(Arc::new(cell)) } else { cell };
        match denies(true) {
            Some(rule) => Cell::Audited(Arc::new(cell), rule),
            None => cell,
        }
    }

    fn matcher<'g>(&mut self, grants: impl Iterator<Item = &'g Grant>) -> Arc<HttpMatcher> {
        // Ports of one entry share its rules: each list counts once.
        let mut lists = Lists::new();
        for http in grants.filter_map(|grant| grant.http.as_ref()) {
            let list = Same(Arc::clone(http));
            if !lists.contains(&list) {
                lists.push(list);
            }
        }
        let rules = |lists: &Lists| lists.iter().flat_map(|list| list.0.iter().cloned()).collect();
        let matcher = self.matchers.entry(lists);
        Arc::clone(matcher.or_insert_with_key(|lists| Arc::new(HttpMatcher::new(rules(lists)))))
    }
}
