//! What each pod's policies mean: shared by pods to which the same applies, and kept for as long as nothing changes that it
//! was made of.
//!
//! Must never keep what could have another meaning now: whatever is not a policy of a few pods makes everything anew.
//! Start at [`Resolved::begin`] and [`Sharing::of`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use rules::{
    Applying, DirectionPolicy, EndpointPolicy, Identity, InForce, Labels, PortNames, Resolver, RuleRef, Subject,
};

use super::{assemble, rule_ids::RuleIds};
use crate::{
    config::Config,
    endpoint::Peer,
    policy::EndpointState,
    redirect::{DesiredPod, Entries},
};

/// What everything depends on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Basis {
    pub(super) config: Config,
    /// How many identities there are: a new one may be selected by anything.
    pub(super) identities: usize,
    pub(super) named_ports: BTreeMap<Identity, PortNames>,
}

/// What pods share to which the same applies.
#[derive(Debug)]
pub(super) struct Shared {
    applying: Applying,
    pub(super) policy: EndpointPolicy,
    pub(super) entries: Entries,
    /// Numbers of rules in the entries.
    rules: Vec<u32>,
}

/// A pod for the data path and for the kernel.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) shared: Arc<Shared>,
    pub(super) state: Arc<EndpointState>,
    pub(super) desired: DesiredPod,
}

#[derive(Debug, Default)]
pub(super) struct Resolved {
    basis: Option<Basis>,
    policies: Vec<InForce>,
    made: HashMap<String, Made>,
    /// Policies that came, went or changed; `None`: everything did.
    changed: Option<Vec<InForce>>,
}

impl Resolved {
    /// Compares with the last time.
    pub(super) fn begin(&mut self, basis: Basis, policies: &[InForce]) {
        let same = self.basis.as_ref() == Some(&basis);
        let pointers = |policies: &[InForce]| -> BTreeSet<_> { policies.iter().map(InForce::pointer).collect() };
        let (before, now) = (pointers(&self.policies), pointers(policies));
        let gone = self.policies.iter().filter(|policy| !now.contains(&policy.pointer()));
        let come = policies.iter().filter(|policy| !before.contains(&policy.pointer()));
        let changed: Vec<InForce> = gone.chain(come).cloned().collect();
        self.changed = (same && !changed.iter().any(InForce::concerns_every_pod)).then_some(changed);
        self.basis = Some(basis);
        self.policies = policies.to_vec();
    }

    /// What `pod` was the last time, if it is the same now.
    pub(super) fn kept(&self, pod: &str, peer: &Peer, labels: &Labels) -> Option<&Made> {
        let changed = self.changed.as_ref()?;
        let made = self.made.get(pod).filter(|made| *made.state.peer == *peer)?;
        (!changed.iter().any(|policy| policy.selects(labels))).then_some(made)
    }

    /// What every pod is now.
    pub(super) fn keep(&mut self, made: HashMap<String, Made>) {
        self.made = made;
    }
}

/// What pods of one revision share.
pub(super) struct Sharing<'a> {
    resolver: Resolver<'a>,
    ids: &'a mut RuleIds,
    /// By where both directions are.
    known: HashMap<[*const DirectionPolicy; 2], Arc<Shared>>,
    /// By where the rule is, which what is known keeps there.
    numbers: HashMap<*const RuleRef, u32>,
}

impl<'a> Sharing<'a> {
    /// `kept`: what pods are that are not made anew.
    pub(super) fn new<'k>(
        resolver: Resolver<'a>,
        ids: &'a mut RuleIds,
        kept: impl Iterator<Item = &'k Arc<Shared>>,
    ) -> Self {
        let mut sharing = Self { resolver, ids, known: HashMap::new(), numbers: HashMap::new() };
        for shared in kept {
            if sharing.known.insert(place(&shared.policy), Arc::clone(shared)).is_none() {
                sharing.resolver.remember(&shared.applying, &shared.policy);
            }
        }
        sharing
    }

    /// What `subject` is now.
    pub(super) fn of(&mut self, subject: &Subject<'_>) -> Arc<Shared> {
        let applying = self.resolver.applying(subject);
        let policy = self.resolver.policy(&applying);
        let Self { ids, numbers, .. } = self;
        let shared = self.known.entry(place(&policy)).or_insert_with(|| {
            let number = |rule: &Arc<RuleRef>| *numbers.entry(Arc::as_ptr(rule)).or_insert_with(|| ids.id(rule));
            let entries = assemble::entries(&policy, number);
            let rules = entries.lines().iter().map(|line| line.rule).filter(|rule| *rule != 0).collect();
            Arc::new(Shared { applying, policy, entries, rules })
        });
        Arc::clone(shared)
    }

    /// Rules whose numbers are not in use are out of force from `revision` on.
    pub(super) fn finish(self, revision: u64) {
        let used = self.known.values().flat_map(|shared| shared.rules.iter().copied()).collect();
        self.ids.in_force(used, revision);
    }
}

fn place(policy: &EndpointPolicy) -> [*const DirectionPolicy; 2] {
    [Arc::as_ptr(&policy.ingress), Arc::as_ptr(&policy.egress)]
}
