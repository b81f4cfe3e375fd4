//! Numbers of rules in the kernel's entries, and whose they are when a refusal brings one back.
//!
//! A rule that is still the same keeps its number over changes of its policy, so its entries need not be written. A number
//! is never given to another rule, and what it stood for stays known for a while after it went out of force: refusals may
//! be read late. Start at [`RuleIds::id`].

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use rules::RuleRef;

/// Rules out of force that stay known. The ring of refusals holds a tenth of this.
const REMEMBERED: usize = 65_536;

/// Rules by number, and the other way round.
#[derive(Debug, Default)]
pub struct RuleIds {
    ids: HashMap<Arc<RuleRef>, u32>,
    known: HashMap<u32, KnownRule>,
    /// Those in force, sorted.
    used: Vec<u32>,
    /// Those out of force, with the last revision in which they were in force.
    retired: BTreeSet<(u64, u32)>,
    last: u32,
}

/// A rule that is in force, or was not long ago.
#[derive(Debug)]
pub struct KnownRule {
    /// The rule.
    pub rule: Arc<RuleRef>,
    /// The last revision in which it was in force; `None`: it is.
    pub until: Option<u64>,
}

impl RuleIds {
    /// The number of a rule, never 0; 0 when there are no numbers left.
    pub(super) fn id(&mut self, rule: &Arc<RuleRef>) -> u32 {
        if let Some(id) = self.ids.get(rule) {
            return *id;
        }
        let Some(id) = self.last.checked_add(1) else { return 0 };
        self.last = id;
        self.ids.insert(Arc::clone(rule), id);
        self.known.insert(id, KnownRule { rule: Arc::clone(rule), until: None });
        id
    }

    /// The numbers that entries of `revision` have, and no others.
    pub(super) fn in_force(&mut self, mut used: Vec<u32>, revision: u64) {
        used.sort_unstable();
        used.dedup();
        let before = revision.saturating_sub(1);
        for id in self.used.iter().filter(|id| used.binary_search(id).is_err()) {
            if let Some(known) = self.known.get_mut(id) {
                self.retired.insert((before, *id));
                known.until = Some(before);
            }
        }
        for id in used.iter().filter(|id| self.used.binary_search(id).is_err()) {
            if let Some(known) = self.known.get_mut(id)
                && let Some(until) = known.until.take()
            {
                self.retired.remove(&(until, *id));
            }
        }
        self.used = used;
        while self.retired.len() > REMEMBERED
            && let Some((_, id)) = self.retired.pop_first()
        {
            if let Some(known) = self.known.remove(&id) {
                self.ids.remove(&known.rule);
            }
        }
    }

    /// The rule of a number.
    #[must_use]
    pub fn rule(&self, id: u32) -> Option<&KnownRule> {
        self.known.get(&id)
    }
}

#[cfg(test)]
mod tests {
    use rules::{Kind, MatchType, PolicyKey};

    use super::*;

    fn rule(name: &str) -> Arc<RuleRef> {
        let key = PolicyKey { kind: Kind::CiliumNetworkPolicy, namespace: "n".to_owned(), name: name.to_owned() };
        let (rule, summary) = ("egress[0]".to_owned(), "anybody".to_owned());
        Arc::new(RuleRef { policy: Arc::new(key), rule, summary, log: None, matches: MatchType::None })
    }

    #[test]
    fn a_number_is_one_rule_s_for_ever() {
        let mut ids = RuleIds::default();
        let (a, b) = (ids.id(&rule("a")), ids.id(&rule("b")));
        assert!(a != 0 && a != b);
        ids.in_force(vec![b, a, a], 1);
        ids.in_force(vec![b], 5);
        let until = |ids: &RuleIds, id| ids.rule(id).unwrap().until;
        assert_eq!((until(&ids, a), until(&ids, b)), (Some(4), None));
        assert_eq!(ids.rule(a).unwrap().rule, rule("a"), "still known");
        assert_eq!(ids.id(&rule("a")), a, "the same rule again");
        ids.in_force(vec![a, b], 6);
        assert_eq!(until(&ids, a), None);
        ids.last = u32::MAX;
        assert_eq!(ids.id(&rule("c")), 0, "rather none than one that was another's");
        assert!(ids.rule(0).is_none());
    }

    #[test]
    fn what_is_long_out_of_force_is_forgotten() {
        let mut ids = RuleIds::default();
        let kept = ids.id(&rule("kept"));
        ids.in_force(vec![kept], 1);
        let gone: Vec<u32> = (0..=REMEMBERED).map(|number| ids.id(&rule(&number.to_string()))).collect();
        ids.in_force(gone.iter().copied().chain([kept]).collect(), 2);
        ids.in_force(gone.iter().copied().take(1).chain([kept]).collect(), 3);
        assert!(gone.iter().all(|id| ids.rule(*id).is_some()), "as many as are remembered");
        ids.in_force(vec![kept], 4);
        assert_eq!(gone.iter().filter(|id| ids.rule(**id).is_none()).count(), 1);
        assert!(ids.rule(kept).is_some());
        let again = ids.id(&rule("1"));
        assert!(gone[1] == again || !gone.contains(&again), "forgotten, it gets a number that was nobody's");
    }
}
