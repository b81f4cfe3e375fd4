use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::redirect::entries::EntryKey;

/// The maps, as far as they are about policies.
struct Kernel {
    policy: BTreeMap<(u32, EntryKey), Entry>,
    room: usize,
    pods: BTreeMap<u64, u32>,
    /// Numbers that a program may be reading: those that pods were on since the last barrier.
    read: BTreeSet<u32>,
    writes: usize,
    /// The write that fails; none does after it was met.
    fails: Option<usize>,
}

impl Kernel {
    fn new(room: usize) -> (Policies, Self) {
        let kernel = Self {
            policy: BTreeMap::new(),
            room,
            pods: BTreeMap::new(),
            read: BTreeSet::new(),
            writes: 0,
            fails: None,
        };
        (Policies::new(room), kernel)
    }

    fn under(&self, number: u32) -> Vec<Entry> {
        let first = (number, EntryKey::default());
        self.policy.range(first..).take_while(|((known, _), _)| *known == number).map(|(_, entry)| *entry).collect()
    }

    /// Whether it was done.
    fn write(&mut self, number: u32, key: EntryKey, entry: Option<Entry>) -> bool {
        if self.fails.is_some_and(|at| at == self.writes) {
            self.fails = None;
            return false;
        }
        self.writes += 1;
        match entry {
            Some(entry) => drop(self.policy.insert((number, key), entry)),
            None => drop(self.policy.remove(&(number, key))),
        }
        assert!(!self.read.contains(&number), "written under {number}, which is in force");
        assert!(self.policy.len() <= self.room, "more than there is room for");
        true
    }

    fn switch(&mut self, pod: u64, number: Option<u32>) {
        match number {
            Some(number) => drop(self.pods.insert(pod, number)),
            None => drop(self.pods.remove(&pod)),
        }
        self.read.extend(number);
    }

    /// Nobody reads but what pods are on.
    fn barrier(&mut self) {
        self.read = self.pods.values().copied().collect();
    }

    fn remove_waste(&mut self, policies: &mut Policies) -> bool {
        while let Some((number, entry)) = policies.next_waste() {
            if !self.write(number, entry.key(), None) {
                return false;
            }
            policies.removed();
        }
        true
    }

    /// As `reconcile.rs` does it; says for how many pods there was no room.
    fn apply(&mut self, policies: &mut Policies, wanted: &BTreeMap<u64, Entries>) -> usize {
        let mut plan = policies.plan(wanted.iter().map(|(pod, entries)| (*pod, entries)));
        let emptied = self.remove_waste(policies);
        for change in std::mem::take(&mut plan.changes) {
            let (gone, written) = change.writes();
            let gone = gone.into_iter().map(|entry| (entry.key(), None));
            let mut writes = gone.chain(written.into_iter().map(|entry| (entry.key(), Some(entry))));
            let whole = emptied && writes.all(|(key, entry)| self.write(change.number, key, entry));
            policies.written(change, whole);
        }
        for pod in wanted.keys() {
            if let Some(number) = policies.number(&plan, *pod) {
                self.switch(*pod, Some(number));
                policies.switched(*pod, Some(number));
            }
        }
        let gone: Vec<u64> = self.pods.keys().copied().filter(|pod| !wanted.contains_key(pod)).collect();
        for pod in gone {
            self.switch(pod, None);
            policies.switched(pod, None);
        }
        self.barrier();
        policies.settle();
        self.remove_waste(policies);
        plan.left_out
    }
}

fn entry(identity: u32, port: u16, action: u8) -> Entry {
    Entry { direction: 1, identity, protocol: 6, port, port_bits: 16, action, precedence: 0, rule: 0 }
}

fn ports(ports: impl IntoIterator<Item = u16>) -> Entries {
    Entries::new(ports.into_iter().map(|port| entry(0, port, 1)))
}

fn some_entries(at_least: usize) -> impl Strategy<Value = Entries> {
    let entry = (0..3_u32, 0..6_u16, 1..4_u8).prop_map(|(identity, port, action)| entry(identity, port, action));
    vec(entry, at_least..12).prop_map(Entries::new)
}

/// Numbered from 0.
fn pods(entries: impl IntoIterator<Item = Entries>) -> BTreeMap<u64, Entries> {
    (0..).zip(entries).collect()
}

/// What pods want, and the write that fails.
type Step = (BTreeMap<u64, Entries>, Option<usize>);

fn changes() -> impl Strategy<Value = Vec<Step>> {
    let wanted = (vec(some_entries(0), 3), vec(option::weighted(0.9, 0..3_usize), 6)).prop_map(|(entries, picks)| {
        let of = |(pod, pick): (u64, Option<usize>)| Some((pod, entries[pick?].clone()));
        (0..).zip(picks).filter_map(of).collect()
    });
    vec((wanted, option::weighted(0.2, 0..20_usize)), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_in_force_is_old_or_new(changes in changes(), room in 10..60_usize) {
        let (mut policies, mut kernel) = Kernel::new(room);
        for (wanted, fails) in changes {
            let before: BTreeMap<u64, Vec<Entry>> =
                kernel.pods.iter().map(|(pod, number)| (*pod, kernel.under(*number))).collect();
            kernel.fails = fails.map(|more| kernel.writes + more);
            let left_out = kernel.apply(&mut policies, &wanted);
            let failed = fails.is_some() && kernel.fails.is_none();
            for (pod, entries) in &wanted {
                let is = kernel.pods.get(pod).map(|number| kernel.under(*number));
                let as_wanted = is.as_deref() == Some(entries.lines());
                prop_assert!(as_wanted || ((failed || left_out > 0) && is.as_ref() == before.get(pod)));
            }
            prop_assert!(kernel.pods.keys().all(|pod| wanted.contains_key(pod)));
            prop_assert_eq!(policies.figures().entries, kernel.policy.len(), "nothing is forgotten");
            let (figures, of_pods) = (policies.figures(), kernel.pods.values().collect::<BTreeSet<_>>().len());
            prop_assert_eq!(figures.in_force, of_pods);
            prop_assert!(figures.standby <= of_pods, "one each at most");
        }
        kernel.fails = None;
        kernel.apply(&mut policies, &BTreeMap::new());
        kernel.apply(&mut policies, &BTreeMap::new());
        prop_assert!(kernel.policy.is_empty(), "nobody is left, and nothing of theirs");
    }

    #[test]
    fn a_change_writes_what_differs_from_two_changes_before(
        versions in vec(some_entries(1), 3..8),
    ) {
        let (mut policies, mut kernel) = Kernel::new(1_000);
        let mut held: [Entries; 2] = Default::default();
        for version in &versions {
            let before = kernel.writes;
            kernel.apply(&mut policies, &pods([version.clone(), version.clone(), version.clone()]));
            if held[1] == *version {
                prop_assert_eq!(kernel.writes, before, "nothing changed");
                continue;
            }
            let (gone, written) = difference(&held[0], version);
            prop_assert_eq!(kernel.writes - before, gone.len() + written.len());
            held.rotate_left(1);
            held[1] = version.clone();
        }
    }
}

#[test]
fn one_entry_more_is_few_writes_among_thousands() {
    let (mut policies, mut kernel) = Kernel::new(100_000);
    let all = |last: u16| pods(vec![ports(1..=last); 100]);
    kernel.apply(&mut policies, &all(5_000));
    assert_eq!(kernel.writes, 5_000, "once for 100 pods");
    kernel.apply(&mut policies, &all(5_001));
    assert_eq!(kernel.writes, 5_000 + 5_001, "the first version before is kept from now on");
    kernel.apply(&mut policies, &all(5_002));
    assert_eq!(kernel.writes, 5_000 + 5_001 + 2);
    kernel.apply(&mut policies, &all(5_003));
    assert_eq!(kernel.writes, 5_000 + 5_001 + 4);
    let expected = PolicyFigures { in_force: 1, standby: 1, entries: 5_003 + 5_002, shed: 0 };
    assert_eq!(policies.figures(), expected);
}

#[test]
fn pods_part_and_meet_again() {
    let (mut policies, mut kernel) = Kernel::new(1_000);
    kernel.apply(&mut policies, &pods([ports(1..9), ports(1..9), ports(1..9)]));
    kernel.apply(&mut policies, &pods([ports(1..9), ports(1..9), ports(1..10)]));
    assert_eq!(policies.figures(), PolicyFigures { in_force: 2, standby: 0, entries: 17, shed: 0 });
    let before = kernel.writes;
    kernel.apply(&mut policies, &pods([ports(1..9), ports(1..9), ports(1..9)]));
    assert_eq!(kernel.writes - before, 9, "it joins the others, and what it had is removed");
    assert_eq!(policies.figures(), PolicyFigures { in_force: 1, standby: 0, entries: 8, shed: 0 });
}

#[test]
fn without_room_the_versions_before_go_first_and_what_is_in_force_stays() {
    let (mut policies, mut kernel) = Kernel::new(100);
    kernel.apply(&mut policies, &pods([ports(1..=30), ports(101..=105)]));
    kernel.apply(&mut policies, &pods([ports(1..=31), ports(101..=105)]));
    assert_eq!(policies.figures(), PolicyFigures { in_force: 2, standby: 1, entries: 30 + 31 + 5, shed: 0 });
    assert_eq!(kernel.apply(&mut policies, &pods([ports(1..=31), ports(101..=160)])), 0);
    assert_eq!(policies.figures(), PolicyFigures { in_force: 2, standby: 1, entries: 31 + 60 + 5, shed: 1 });
    assert_eq!(kernel.apply(&mut policies, &pods([ports(1..=90), ports(101..=160)])), 1);
    assert_eq!(kernel.under(kernel.pods[&0]), ports(1..=31).lines(), "it keeps what it had");
    assert_eq!(kernel.apply(&mut policies, &pods([ports(1..=32), ports(101..=160)])), 1, "there is no room for both");
    assert_eq!(kernel.apply(&mut policies, &pods([ports(1..=9), ports(101..=160)])), 0);
}

#[test]
fn numbers_in_use_are_not_given_again() {
    let (mut policies, mut kernel) = Kernel::new(1_000);
    policies.last_number = u32::MAX - 1;
    kernel.apply(&mut policies, &pods([ports([1]), ports([2])]));
    assert_eq!(kernel.pods.values().copied().collect::<BTreeSet<u32>>(), BTreeSet::from([1, u32::MAX]), "never 0");
    policies.last_number = u32::MAX - 1;
    kernel.apply(&mut policies, &pods([ports([1]), ports([2]), ports([3])]));
    assert_eq!(kernel.pods[&2], 2);
}
