//! What decided, as records name it: rules, the ends of tiers, and the rule that came nearest.
//!
//! Owns the words. What many peers and ports have in common is made once. Must never decide anything. Start at
//! [`Reasons::why`].

use std::{cell::RefCell, collections::HashMap, ptr, sync::Arc};

use crate::{
    calico::{
        evaluate::{At, Denied, Layer as Tiers, LayerTier, Miss, Packet},
        party::NetworkSets,
        policy::{Policy, Rule},
    },
    set::{Cell, Closed, Judged, Ordered, Unallowed},
    verdict::{Direction, MatchType, Nearest, RuleRef},
};

/// Of one endpoint and direction.
pub(super) struct Reasons<'a> {
    tiers: &'a Tiers,
    sets: &'a NetworkSets,
    direction: Direction,
    known: RefCell<Known>,
}

/// What was made already.
#[derive(Default)]
struct Known {
    rules: HashMap<RuleKey, Arc<RuleRef>>,
    closed: HashMap<*const LayerTier, Arc<Closed>>,
    settled: HashMap<Settled, Arc<Ordered>>,
}

/// A rule, and what of it is not clear, if anything.
type RuleKey = (*const Policy, usize, String);

/// Whether it is denied, by which rule or by whom else, and what came nearest. What the pointers name is kept beside them.
type Settled = (bool, *const RuleRef, *const Closed, Option<(*const RuleRef, String, String)>);

/// The rule that denies, or what there is to say without one.
type Why = (Option<Arc<RuleRef>>, Unallowed);

impl<'a> Reasons<'a> {
    pub(super) fn new(tiers: &'a Tiers, sets: &'a NetworkSets, direction: Direction) -> Self {
        Self { tiers, sets, direction, known: RefCell::default() }
    }

    pub(super) fn rule<'l>(&self, at: At<'l>) -> Option<&'l Rule> {
        at.policy.rules_of(self.direction).get(at.rule)
    }

    /// A rule as records name it.
    pub(super) fn refer(&self, at: At<'_>) -> Arc<RuleRef> {
        self.refer_with(at, String::new())
    }

    /// `note`: what is not clear of it.
    fn refer_with(&self, at: At<'_>, note: String) -> Arc<RuleRef> {
        let mut known = self.known.borrow_mut();
        let key = (Arc::as_ptr(at.policy), at.rule, note);
        if let Some(rule) = known.rules.get(&key) {
            return Arc::clone(rule);
        }
        let rule = self.rule(at);
        let mut summary = rule.map(Rule::summary).unwrap_or_default();
        if !key.2.is_empty() {
            summary = format!("{summary}; {}", key.2);
        }
        let matches = rule.map(|rule| rule.match_type(self.direction)).unwrap_or_default();
        let rule = rule.map(|rule| rule.path.clone()).unwrap_or_default();
        let rule = Arc::new(RuleRef { policy: Arc::clone(&at.policy.key), rule, summary, log: None, matches });
        known.rules.insert(key, Arc::clone(&rule));
        rule
    }

    /// Why a packet is denied.
    pub(super) fn why(&self, denied: Denied<'_>, packet: &Packet<'_>) -> Why {
        let by = |rule: Arc<RuleRef>| (Some(rule), Unallowed::default());
        match denied {
            Denied::Rule(at) => by(self.refer(at)),
            Denied::Unclear(Miss { at, field, truth }) => {
                let (field, _) = self.rule(at).map(|rule| rule.missed(field, packet, truth)).unwrap_or_default();
                by(self.refer_with(at, format!("nobody knows whether {field} holds")))
            }
            Denied::NoTier(policy) => {
                let summary = format!("there is no tier {}, so nobody can say when this policy is asked", policy.tier);
                let (policy, rule) = (Arc::clone(&policy.key), "tier".to_owned());
                let matches = MatchType::None;
                by(Arc::new(RuleRef { policy, rule, summary, log: None, matches }))
            }
            Denied::TierEnd(tier) => {
                let nearest = self.tiers.nearest(tier, packet, self.sets).and_then(|miss| {
                    let (field, expected) = self.rule(miss.at)?.missed(miss.field, packet, miss.truth);
                    Some(Nearest { rule: self.refer(miss.at), field, expected })
                });
                (None, Unallowed { nearest, by: Some(self.closed(tier)) })
            }
            Denied::NoProfile => (None, Unallowed::default()),
        }
    }

    /// Who is behind the end of a tier: those that are enforced, if any is.
    fn closed(&self, tier: &LayerTier) -> Arc<Closed> {
        let closed = || {
            let deny = tier.policies.iter().filter(|policy| !policy.audit || !tier.is_enforced());
            let policies = deny.map(|policy| Arc::clone(&policy.key)).collect();
            Arc::new(Closed { policies, tier: Some(tier.tier.name.as_str().into()) })
        };
        Arc::clone(self.known.borrow_mut().closed.entry(ptr::from_ref(tier)).or_insert_with(closed))
    }

    /// What no request changes.
    pub(super) fn settled(&self, last: Judged) -> Cell {
        let (denied, rule, unallowed) = match &last {
            Judged::Allowed(rule) => return Cell::Allowed(rule.clone()),
            Judged::Denied(Some(rule), _) => return Cell::Denied(Some(Arc::clone(rule))),
            Judged::Denied(None, unallowed) => (true, ptr::null(), unallowed),
            Judged::Audited(rule, unallowed) => (false, rule.as_ref().map_or(ptr::null(), Arc::as_ptr), unallowed),
        };
        let nearest = unallowed.nearest.as_ref();
        let nearest = nearest.map(|miss| (Arc::as_ptr(&miss.rule), miss.field.clone(), miss.expected.clone()));
        let key = (denied, rule, unallowed.by.as_ref().map_or(ptr::null(), Arc::as_ptr), nearest);
        let mut known = self.known.borrow_mut();
        let ordered = || Arc::new(Ordered { allow: Vec::new(), told: None, last });
        Cell::Ordered(Arc::clone(known.settled.entry(key).or_insert_with(ordered)))
    }
}
