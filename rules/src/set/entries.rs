//! From tables to what the kernel is given.
//!
//! The kernel looks a peer's identity up, longest prefix first, and "any" only when there is nothing for that identity: so
//! an identity that has entries has all of its own. What beats what is settled in the tables; each entry's precedence says
//! it once more, in Cilium's terms, for who looks at the map and for tests. Start at [`all`].

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use super::{
    Cell, Judged,
    table::{Interval, Intervals, Tables, WITH_PORTS},
};
use crate::{
    identity::Identity,
    verdict::{Protocol, RuleRef},
};

/// Lowest byte of a precedence, as in Cilium: what no rule decides.
const UNDECIDED: u32 = 0;
/// What a rule allows.
const ALLOW: u32 = 1;
/// What a rule of an audited policy would deny, and others allow. Cilium has no such class; its redirects without a priority
/// are 2.
const AUDIT: u32 = 3;
/// What requests decide: 255 less the priority of Cilium's listener for HTTP.
const HTTP: u32 = 255 - 101;
/// What a rule denies.
const DENY: u32 = 255;
/// Highest three bytes of a precedence, as in Cilium: of the first priority, and of the one below it.
const FIRST: u32 = 0xffff_ff00;
const SECOND: u32 = 0xffff_fe00;

/// What the kernel does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// It passes.
    Allow,
    /// It passes, and is told: what denies it is not enforced.
    Audit,
    /// It goes to the proxy.
    Redirect,
    /// It is refused.
    Deny,
}

/// One line for the kernel's policy map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapEntry {
    /// The other side; `None` is any that has no entry of its own.
    pub identity: Option<Identity>,
    /// Layer 4.
    pub protocol: Protocol,
    /// Destination ports, or types of messages: those that agree with this one in `port_bits`.
    pub port: u16,
    /// How many leading bits of the port count: 16 is one port (or type), 0 is every one.
    pub port_bits: u8,
    /// What is done.
    pub action: Action,
    /// What would decide if an identity's own entries and those of any were both looked up, as Cilium does: the greater.
    /// Three bytes of priority (less is greater; only "any" beside Calico's ordered rules has the second) and one of class:
    /// 255 what a rule denies, 154 what requests decide, 3 what a rule of an audited policy would deny, 1 what a rule
    /// allows, 0 what no rule decides.
    pub precedence: u32,
    /// The rule that decides; `None`: none does, or requests do.
    pub rule: Option<Arc<RuleRef>>,
}

/// What becomes of a connection, as the kernel is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Outcome {
    action: Action,
    class: u32,
    rule: Option<Arc<RuleRef>>,
}

/// What a table says of some ports.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    protocol: Protocol,
    port: u16,
    port_bits: u8,
    outcome: Outcome,
}

impl Cell {
    fn outcome(&self) -> Outcome {
        let (action, rule) = match self.connection() {
            Some(Judged::Denied(rule, _)) => (Action::Deny, rule),
            Some(Judged::Allowed(rule)) => (Action::Allow, rule),
            Some(Judged::Audited(rule, _)) => (Action::Audit, rule),
            None => (Action::Redirect, None),
        };
        Outcome { action, class: self.class(), rule }
    }

    fn class(&self) -> u32 {
        match (self, self.connection()) {
            (Self::Audited(inner, _), _) if matches!(inner.connection(), Some(Judged::Allowed(_))) => AUDIT,
            // Whether it is enforced is no question of precedence.
            (Self::Lenient(inner) | Self::Audited(inner, _), _) => inner.class(),
            (_, None) => HTTP,
            (_, Some(Judged::Denied(Some(_), _))) => DENY,
            (_, Some(Judged::Audited(..))) => AUDIT,
            (_, Some(Judged::Allowed(Some(_)))) => ALLOW,
            (_, Some(Judged::Denied(None, _) | Judged::Allowed(None))) => UNDECIDED,
        }
    }
}

impl Line {
    /// Whether it does not depend on requests.
    pub(super) fn is_settled(&self) -> bool {
        self.outcome.action != Action::Redirect
    }
}

impl Outcome {
    /// Whether the kernel does the same without an entry.
    fn goes_without_saying(&self) -> bool {
        self.action == Action::Deny && self.rule.is_none()
    }
}

/// Sorted, one entry per key. `ordered`: an identity's own entries may be weaker than those of any, and count all the same.
pub(super) fn all(tables: &Tables, ordered: bool) -> Vec<MapEntry> {
    let of_any = if ordered { SECOND } else { FIRST };
    let mut entries: Vec<MapEntry> = of_table(None, tables.of_others().lines(), true, of_any).collect();
    // Where nobody may pass, an identity needs no entry to say so.
    let is_closed = entries.is_empty();
    // Its number is "any" to the kernel: what is not known has no entry of its own.
    for (peer, table) in tables.peers().filter(|(peer, _)| *peer != Identity::UNKNOWN) {
        entries.extend(of_table(Some(peer), table.lines(), is_closed, FIRST));
    }
    entries
}

/// `is_closed`: without an entry nothing passes.
fn of_table(
    identity: Option<Identity>,
    lines: &[Line],
    is_closed: bool,
    priority: u32,
) -> impl Iterator<Item = MapEntry> {
    // Others stand for what is unlike the first.
    let said = move |line: &&Line| !is_closed || line.protocol != Protocol::Any || !line.outcome.goes_without_saying();
    lines.iter().filter(said).map(move |line| {
        let Line { protocol, port, port_bits, ref outcome } = *line;
        let Outcome { action, class, rule } = outcome.clone();
        MapEntry { identity, protocol, port, port_bits, action, precedence: priority | class, rule }
    })
}

/// The first is of every protocol; sorted, each protocol and block of ports once.
pub(super) fn lines(ports: &[Intervals; WITH_PORTS.len()], other: &Cell) -> Vec<Line> {
    let other = other.outcome();
    let mut lines = Vec::new();
    let line =
        |protocol, port, port_bits, outcome: &Outcome| Line { protocol, port, port_bits, outcome: outcome.clone() };
    for (protocol, intervals) in WITH_PORTS.into_iter().zip(ports) {
        let runs = runs(intervals);
        let most = widest(&runs).unwrap_or(&other);
        if *most != other {
            lines.push(line(protocol, 0, 0, most));
        }
        for run in runs.iter().filter(|run| run.outcome != *most) {
            prefixes(run.first, run.last, |port, bits| lines.push(line(protocol, port, bits, &run.outcome)));
        }
    }
    lines.push(line(Protocol::Any, 0, 0, &other));
    lines.sort_unstable_by_key(|line| (line.protocol, line.port, line.port_bits));
    lines
}

/// Ports of which the same becomes.
struct Run {
    first: u16,
    last: u16,
    outcome: Outcome,
}

fn runs(intervals: &[Interval]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for Interval { first, cell } in intervals {
        let outcome = cell.outcome();
        if runs.last().is_some_and(|last| last.outcome == outcome) {
            continue;
        }
        if let Some(before) = runs.last_mut() {
            before.last = first.saturating_sub(1);
        }
        runs.push(Run { first: *first, last: u16::MAX, outcome });
    }
    runs
}

/// What becomes of most ports; of equals, the strictest, then the first.
fn widest(runs: &[Run]) -> Option<&Outcome> {
    let mut ports: HashMap<&Outcome, (u32, u16)> = HashMap::new();
    for run in runs {
        let (count, _) = ports.entry(&run.outcome).or_insert((0, run.first));
        *count = count.saturating_add(u32::from(run.last).saturating_sub(run.first.into()).saturating_add(1));
    }
    let most = ports.into_iter().max_by_key(|(outcome, (count, first))| (*count, outcome.action, Reverse(*first)));
    most.map(|(outcome, _)| outcome)
}

/// The fewest prefixes that cover `first` to `last`, as Cilium cuts port ranges.
fn prefixes(first: u16, last: u16, mut give: impl FnMut(u16, u8)) {
    let (mut at, last) = (u32::from(first), u32::from(last));
    while at <= last {
        // The largest block that begins here and does not reach too far.
        let aligned = at.trailing_zeros().min(16);
        let fitting = (last.saturating_sub(at).saturating_add(1)).ilog2();
        let size = aligned.min(fitting);
        let bits = u8::try_from(16_u32.saturating_sub(size)).unwrap_or(16);
        give(u16::try_from(at).unwrap_or(u16::MAX), bits);
        at = at.saturating_add(1 << size);
    }
}

#[cfg(test)]
mod tests {
    fn cut(first: u16, last: u16) -> Vec<(u16, u8)> {
        let mut prefixes = Vec::new();
        super::prefixes(first, last, |port, bits| prefixes.push((port, bits)));
        prefixes
    }

    #[test]
    fn ranges_are_cut_into_prefixes() {
        assert_eq!(cut(80, 80), [(80, 16)]);
        assert_eq!(cut(64, 127), [(64, 10)]);
        assert_eq!(cut(5, 10), [(5, 16), (6, 15), (8, 15), (10, 16)]);
        assert_eq!(cut(0, 65535), [(0, 0)]);
        assert_eq!(cut(65535, 65535), [(65535, 16)]);
        for (first, last) in [(1, 65535), (1024, 65534), (3, 3), (0, 1)] {
            let covered: u32 = cut(first, last).iter().map(|(_, bits)| 1_u32 << (16 - bits)).sum();
            assert_eq!(covered, u32::from(last) - u32::from(first) + 1);
        }
    }
}
