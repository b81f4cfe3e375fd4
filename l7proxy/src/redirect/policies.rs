//! What is filed in the policy maps under which number, and how many pods are on each.
//!
//! Pods that may do the same share a number. A number that pods are on is never written to: a change goes to another one,
//! and each pod is switched to it in one write. The number that pods were on before stays as their standby: the next
//! change only writes what differs from it. Decides and mirrors, and never writes itself. Start at [`Policies::plan`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::entries::{Entries, Entry, difference};

/// Entries under one number.
#[derive(Debug)]
struct Table {
    holds: Entries,
    /// How many pods are on it.
    pods: usize,
    /// The number that these pods were on before.
    standby: Option<u32>,
}

/// Entries under a number that is of no use any more.
#[derive(Debug)]
struct Waste {
    number: u32,
    entries: Vec<Entry>,
}

/// A mirror of the policy maps.
#[derive(Debug)]
pub(super) struct Policies {
    /// Those that pods are on, and their standbys.
    tables: BTreeMap<u32, Table>,
    of_pod: HashMap<u64, u32>,
    waste: Vec<Waste>,
    /// Each number that was just filled, and the one that its pods come from.
    formers: Vec<(u32, u32)>,
    last_number: u32,
    room: usize,
    shed: u64,
}

/// What is to be filed under a number that no pod is on.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) number: u32,
    before: Entries,
    holds: Entries,
    /// The number that its pods come from, all of them.
    former: Option<u32>,
}

impl Change {
    /// What goes and what is written, to be done in this order.
    pub(super) fn writes(&self) -> (Vec<Entry>, Vec<Entry>) {
        difference(&self.before, &self.holds)
    }
}

/// What is to be written, and which number each pod is to be on then.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) changes: Vec<Change>,
    numbers: HashMap<u64, u32>,
    /// How many pods there is no room for.
    pub(super) left_out: usize,
}

/// Figures for `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyFigures {
    /// Policies that pods are on.
    pub in_force: usize,
    /// Versions before them that are kept for the next change.
    pub standby: usize,
    /// Entries of all of them.
    pub entries: usize,
    /// Versions before that were given up for want of room.
    pub shed: u64,
}

/// Pods that want the same.
struct Group<'w> {
    entries: &'w Entries,
    pods: Vec<u64>,
}

impl Policies {
    /// `room`: entries that each of them may have.
    pub(super) fn new(room: usize) -> Self {
        Self {
            tables: BTreeMap::new(),
            of_pod: HashMap::new(),
            waste: Vec::new(),
            formers: Vec::new(),
            last_number: 0,
            room,
            shed: 0,
        }
    }

    /// What must be written so that each pod can be on a number that holds what is `wanted` for it. Each change must be
    /// told to [`Self::written`].
    pub(super) fn plan<'w>(&mut self, wanted: impl IntoIterator<Item = (u64, &'w Entries)>) -> Plan {
        let in_force: HashMap<&Entries, u32> = self.in_force().map(|(number, table)| (&table.holds, *number)).collect();
        let (known, new): (Vec<Group<'_>>, Vec<Group<'_>>) =
            groups(wanted).into_iter().partition(|group| in_force.contains_key(group.entries));
        let mut plan = Plan::default();
        for group in &known {
            let number = in_force.get(group.entries).copied();
            plan.numbers.extend(group.pods.iter().filter_map(|pod| Some((*pod, number?))));
        }
        let mut staying: HashSet<u32> = plan.numbers.values().copied().collect();
        for group in &new {
            let mut numbers = group.pods.iter().filter_map(|pod| self.of_pod.get(pod)).copied();
            // Of one that somebody stays on, nobody takes the standby; and nobody takes it twice.
            let former = numbers.find(|number| !staying.contains(number));
            staying.extend(former);
            let change = self.change(group.entries, former);
            plan.numbers.extend(group.pods.iter().map(|pod| (*pod, change.number)));
            plan.changes.push(change);
        }
        self.make_room(&mut plan);
        plan
    }

    /// Takes the standby of `former` for it, if there is one.
    fn change(&mut self, holds: &Entries, former: Option<u32>) -> Change {
        let standby = former.and_then(|number| self.tables.get_mut(&number)?.standby.take());
        let table = standby.and_then(|number| Some((number, self.tables.remove(&number)?.holds)));
        let (number, before) = table.unwrap_or_else(|| (self.next_number(), Entries::default()));
        Change { number, before, holds: holds.clone(), former }
    }

    fn next_number(&mut self) -> u32 {
        loop {
            self.last_number = self.last_number.wrapping_add(1).max(1);
            let number = self.last_number;
            if !self.tables.contains_key(&number) && self.waste.iter().all(|waste| waste.number != number) {
                return number;
            }
        }
    }

    /// Gives up standbys until all of `plan` fits, the largest first; then what still does not fit.
    fn make_room(&mut self, plan: &mut Plan) {
        let most = |change: &Change| change.before.lines().len().max(change.holds.lines().len());
        let mut needed = self.held().saturating_add(plan.changes.iter().map(most).sum());
        while needed > self.room {
            let standby = self.tables.iter().filter(|(_, table)| table.pods == 0);
            let Some(number) = standby.max_by_key(|(_, table)| table.holds.lines().len()).map(|(number, _)| *number)
            else {
                break;
            };
            needed = needed.saturating_sub(self.discard(number));
            self.shed = self.shed.saturating_add(1);
        }
        // As few as possible have to do without.
        plan.changes.sort_by_key(most);
        while needed > self.room
            && let Some(change) = plan.changes.pop()
        {
            needed = needed.saturating_sub(most(&change));
            let pods = plan.numbers.len();
            plan.numbers.retain(|_, number| *number != change.number);
            plan.left_out = plan.left_out.saturating_add(pods.saturating_sub(plan.numbers.len()));
            self.waste.push(Waste { number: change.number, entries: change.before.lines().to_vec() });
        }
    }

    /// Takes a table out of use; says how many entries it has.
    fn discard(&mut self, number: u32) -> usize {
        let Some(table) = self.tables.remove(&number) else { return 0 };
        for other in self.tables.values_mut().filter(|other| other.standby == Some(number)) {
            other.standby = None;
        }
        self.waste.push(Waste { number, entries: table.holds.lines().to_vec() });
        table.holds.lines().len()
    }

    /// A change was written; or only a part of it, and nobody knows which.
    pub(super) fn written(&mut self, change: Change, whole: bool) {
        let Change { number, before, holds, former } = change;
        if whole {
            self.tables.insert(number, Table { holds, pods: 0, standby: None });
            self.formers.extend(former.map(|former| (number, former)));
        } else {
            let keys: BTreeMap<_, _> =
                before.lines().iter().chain(holds.lines()).map(|one| (one.key(), *one)).collect();
            self.waste.push(Waste { number, entries: keys.into_values().collect() });
        }
    }

    /// The number of a plan for a pod, if it holds what the pod is to have.
    pub(super) fn number(&self, plan: &Plan, pod: u64) -> Option<u32> {
        plan.numbers.get(&pod).copied().filter(|number| self.tables.contains_key(number))
    }

    /// The number that a pod is on.
    pub(super) fn of_pod(&self, pod: u64) -> Option<u32> {
        self.of_pod.get(&pod).copied()
    }

    /// A pod was switched to a number, or is gone.
    pub(super) fn switched(&mut self, pod: u64, number: Option<u32>) {
        let before = self.of_pod.remove(&pod);
        if let Some(table) = before.and_then(|number| self.tables.get_mut(&number)) {
            table.pods = table.pods.saturating_sub(1);
        }
        if let Some(number) = number {
            self.of_pod.insert(pod, number);
            if let Some(table) = self.tables.get_mut(&number) {
                table.pods = table.pods.saturating_add(1);
            }
        }
    }

    /// All pods were switched, and no program reads what they were on: that becomes their standby, or waste.
    pub(super) fn settle(&mut self) {
        let is_empty = |tables: &BTreeMap<u32, Table>, number| tables.get(&number).is_some_and(|table| table.pods == 0);
        for (number, former) in std::mem::take(&mut self.formers) {
            if is_empty(&self.tables, former)
                && let Some(table) = self.tables.get_mut(&number)
            {
                table.standby = Some(former);
            }
        }
        let used = |(number, table): (&u32, &Table)| [Some(*number), table.standby];
        let used: BTreeSet<u32> = self.in_force().flat_map(used).flatten().collect();
        let unused: Vec<u32> = self.tables.keys().copied().filter(|number| !used.contains(number)).collect();
        for number in unused {
            self.discard(number);
        }
    }

    /// An entry to be removed now, and the number that it is filed under.
    pub(super) fn next_waste(&mut self) -> Option<(u32, Entry)> {
        while self.waste.last().is_some_and(|waste| waste.entries.is_empty()) {
            self.waste.pop();
        }
        let waste = self.waste.last()?;
        waste.entries.last().map(|entry| (waste.number, *entry))
    }

    /// What [`Self::next_waste`] gave is removed.
    pub(super) fn removed(&mut self) {
        if let Some(waste) = self.waste.last_mut() {
            waste.entries.pop();
        }
    }

    pub(super) fn figures(&self) -> PolicyFigures {
        let in_force = self.in_force().count();
        let standby = self.tables.len().saturating_sub(in_force);
        PolicyFigures { in_force, standby, entries: self.held(), shed: self.shed }
    }

    fn in_force(&self) -> impl Iterator<Item = (&u32, &Table)> {
        self.tables.iter().filter(|(_, table)| table.pods > 0)
    }

    /// Entries that are in the map.
    fn held(&self) -> usize {
        let tables = self.tables.values().map(|table| table.holds.lines().len());
        tables.chain(self.waste.iter().map(|waste| waste.entries.len())).sum()
    }
}

/// Pods by what they want, larger groups first.
fn groups<'w>(wanted: impl IntoIterator<Item = (u64, &'w Entries)>) -> Vec<Group<'w>> {
    let mut of_entries: HashMap<&Entries, Vec<u64>> = HashMap::new();
    for (pod, entries) in wanted {
        of_entries.entry(entries).or_default().push(pod);
    }
    let mut groups: Vec<Group<'_>> = of_entries.into_iter().map(|(entries, pods)| Group { entries, pods }).collect();
    // The same order whatever the hashes are.
    groups.sort_unstable_by_key(|group| (std::cmp::Reverse(group.pods.len()), group.pods.iter().min().copied()));
    groups
}

#[cfg(test)]
mod tests;
