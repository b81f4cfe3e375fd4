//! Calico's policies: rules that are never asked, never match, or decide by what nobody knows; tiers and orders that are not
//! what they seem to be.
//!
//! Start at [`policy`].

use std::sync::Arc;

use super::{FindingKind, Findings};
use crate::{
    calico::{
        http::Http,
        manifest::Object,
        policy::{Action, Policy, Rule, Tier},
    },
    identity::Identities,
    manifest,
    verdict::Direction,
};

mod cover;
mod never;
mod order;
mod peers;

pub(super) use self::peers::Known;

/// Everything of Calico's that was given.
pub(super) struct Given<'p> {
    policies: Vec<&'p Arc<Policy>>,
    tiers: Vec<&'p Tier>,
    /// Whom selectors may select, when that is known.
    known: Option<Known>,
}

impl<'p> Given<'p> {
    pub(super) fn of(policies: &[&'p manifest::Policy], identities: Option<&Identities>) -> Self {
        let (mut given, mut sets) = (Self { policies: Vec::new(), tiers: Vec::new(), known: None }, Vec::new());
        for policy in policies {
            match &policy.calico {
                Some(Object::Policy(policy)) => given.policies.push(policy),
                Some(Object::Tier(tier)) => given.tiers.push(tier),
                Some(Object::NetworkSet(set)) => sets.push(set.clone()),
                None => {}
            }
        }
        given.known = identities.map(|identities| Known::new(identities, sets));
        given
    }

    fn has_tier(&self, name: &str) -> bool {
        self.tiers.iter().any(|tier| tier.name == name) || Tier::built_in().iter().any(|tier| tier.name == name)
    }
}

/// Everything about one policy.
pub(super) fn policy(policy: &manifest::Policy, given: &Given<'_>, findings: &mut Findings) {
    let Some(Object::Policy(policy)) = &policy.calico else { return };
    if !given.has_tier(&policy.tier) {
        let text = format!(
            "denies everything that it applies to: there is no tier {} among what was given; write the Tier, or another tier",
            policy.tier
        );
        findings.add(policy.lines.tier, "tier", FindingKind::NoTier, text);
    }
    for (direction, name) in [(Direction::Ingress, "Ingress"), (Direction::Egress, "Egress")] {
        if let Some(line) = policy.without_effect(direction) {
            let text = format!("has no effect: types leaves {name} out; add it there, or remove these rules");
            findings.add(line, &name.to_lowercase(), FindingKind::NoEffect, text);
        }
        rules(policy, policy.rules_of(direction), findings);
    }
    order::policy(policy, given, findings);
    if let Some(known) = &given.known {
        known.policy(policy, findings);
    }
}

fn rules(policy: &Policy, rules: &[Rule], findings: &mut Findings) {
    for (index, rule) in rules.iter().enumerate() {
        if rule.action == Action::Log {
            let text = "notes nothing here: every verdict has a record; remove it";
            findings.add(rule.line, &rule.path, FindingKind::NoEffect, text);
        }
        let told = findings.found.len();
        never::rule(rule, findings);
        // What never matches is covered by anything.
        if findings.found.len() == told {
            shadowed(policy, rule, rules.get(..index).unwrap_or_default(), findings);
        }
        if let Some(http) = &rule.http {
            head(rule, http, rules, findings);
        }
    }
}

fn shadowed(policy: &Policy, rule: &Rule, earlier: &[Rule], findings: &mut Findings) {
    // What is audited denies nothing, and the next rule is asked.
    let decides = |rule: &&Rule| rule.action != Action::Log && !(policy.audit && rule.action == Action::Deny);
    if let Some(first) = earlier.iter().filter(decides).find(|first| cover::covers(first, rule)) {
        let text = format!(
            "is never asked: {} (line {}) is about all that this rule is about, and decides; remove it, or move it up",
            first.path, first.line.0
        );
        findings.add(rule.line, &rule.path, FindingKind::Shadowed, text);
    }
}

fn head(rule: &Rule, http: &Http, siblings: &[Rule], findings: &mut Findings) {
    let admits = |http: &Http, wanted: &str| {
        http.methods.is_empty() || http.methods.iter().any(|method| method == "*" || method == wanted)
    };
    let elsewhere = || {
        let mut allowing = siblings.iter().filter(|sibling| sibling.action == Action::Allow);
        allowing.any(|sibling| sibling.http.as_ref().is_none_or(|http| admits(http, "HEAD")))
    };
    if admits(http, "GET") && !admits(http, "HEAD") && !elsewhere() {
        let text = "allows GET and not HEAD, which asks for the same without a body; add HEAD to allow both";
        findings.add(rule.line, &format!("{}.http.methods", rule.path), FindingKind::NoHead, text);
    }
}

#[cfg(test)]
mod tests;
