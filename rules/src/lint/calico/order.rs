//! Policies of one tier and one order, of which only the name says which is asked first, where that makes a difference.
//!
//! Must never tell of policies that may be asked in either order. Start at [`policy`].

use super::{Given, cover};
use crate::{
    calico::policy::{Action, Policy, Rule},
    lint::{FindingKind, Findings},
    verdict::Direction,
};

/// Tells of the policy that is asked later.
pub(super) fn policy(policy: &Policy, given: &Given<'_>, findings: &mut Findings) {
    let subject = policy.subject.as_selector();
    for other in &given.policies {
        let is_before = (other.short_name(), &other.key) < (policy.short_name(), &policy.key);
        if !is_before || other.tier != policy.tier || other.order != policy.order {
            continue;
        }
        let others = other.subject.as_selector();
        if !others.covers(&subject) && !subject.covers(&others) {
            continue;
        }
        let differing = [Direction::Ingress, Direction::Egress]
            .into_iter()
            .find_map(|direction| differing(other.rules_of(direction), policy.rules_of(direction)));
        if let Some((first, rule)) = differing {
            let order = policy.order.0.map_or("no order".to_owned(), |order| format!("the order {order}"));
            let text = format!(
                "has {order}, as {} has: {} of that one is asked before {} of this one only because of its name; write \
                 different orders",
                other.key, first.path, rule.path
            );
            findings.add(policy.lines.order, "order", FindingKind::SameOrder, text);
        }
    }
}

/// Two rules of which one is about all that the other one is about, and does something else.
fn differing<'r>(rules: &'r [Rule], others: &'r [Rule]) -> Option<(&'r Rule, &'r Rule)> {
    let decides = |rule: &&Rule| rule.action != Action::Log;
    let pairs =
        rules.iter().filter(decides).flat_map(|rule| others.iter().filter(decides).map(move |other| (rule, other)));
    let mut pairs = pairs.filter(|(rule, other)| rule.action != other.action);
    pairs.find(|(rule, other)| cover::covers(rule, other) || cover::covers(other, rule))
}
