//! From tables to what the kernel is given.
//!
//! The kernel looks a peer's identity up, longest prefix first, and "any" only when there is nothing for that identity: so
//! an identity that has entries has all of its own. Start at [`all`].

use super::{
    Cell, Judged,
    table::{Interval, Table, Tables},
};
use crate::{identity::Identity, verdict::Protocol};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
}

impl Cell {
    fn action(&self) -> Action {
        match self.connection() {
            Some(Judged::Denied(..)) => Action::Deny,
            Some(Judged::Allowed(_)) => Action::Allow,
            Some(Judged::Audited(..)) => Action::Audit,
            None => Action::Redirect,
        }
    }
}

/// Sorted, one entry per key.
pub(super) fn all(tables: &Tables) -> Vec<MapEntry> {
    let mut entries = Vec::new();
    of_table(None, tables.of_others(), Some(Action::Deny), &mut entries);
    // Where nobody may pass, an identity needs no entry to say so.
    let otherwise = if entries.is_empty() { Some(Action::Deny) } else { None };
    // Its number is "any" to the kernel: what is not known has no entry of its own.
    for (peer, table) in tables.peers().filter(|(peer, _)| *peer != Identity::UNKNOWN) {
        of_table(Some(peer), table, otherwise, &mut entries);
    }
    entries.sort_unstable();
    entries
}

/// `otherwise`: what happens without an entry.
fn of_table(identity: Option<Identity>, table: &Table, otherwise: Option<Action>, entries: &mut Vec<MapEntry>) {
    let entry = |protocol, port, port_bits, action| MapEntry { identity, protocol, port, port_bits, action };
    let other = table.other().action();
    if otherwise != Some(other) {
        entries.push(entry(Protocol::Any, 0, 0, other));
    }
    for (protocol, intervals) in table.protocols() {
        let runs = runs(intervals);
        let most = widest(&runs);
        if most != other {
            entries.push(entry(protocol, 0, 0, most));
        }
        for run in runs.iter().filter(|run| run.action != most) {
            prefixes(run.first, run.last, |port, bits| entries.push(entry(protocol, port, bits, run.action)));
        }
    }
}

/// Ports with the same action.
struct Run {
    first: u16,
    last: u16,
    action: Action,
}

fn runs(intervals: &[Interval]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for Interval { first, cell } in intervals {
        let action = cell.action();
        if runs.last().is_some_and(|last| last.action == action) {
            continue;
        }
        if let Some(before) = runs.last_mut() {
            before.last = first.saturating_sub(1);
        }
        runs.push(Run { first: *first, last: u16::MAX, action });
    }
    runs
}

/// The action of most ports; of equals, the strictest.
fn widest(runs: &[Run]) -> Action {
    let ports = |wanted: Action| -> u32 {
        let of_action = runs.iter().filter(|run| run.action == wanted);
        of_action.map(|run| u32::from(run.last).saturating_sub(run.first.into()).saturating_add(1)).sum()
    };
    let actions = [Action::Allow, Action::Audit, Action::Redirect, Action::Deny];
    actions.into_iter().max_by_key(|action| ports(*action)).unwrap_or(Action::Deny)
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
