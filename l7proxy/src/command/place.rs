//! Where policies and their rules are written.
//!
//! Owns `file:line` of a rule. Start at [`Places::of`].

use std::{fmt, path::Path, sync::Arc};

use rules::{InForce, RuleRef};

use crate::source::{Fault, Placed};

/// Every policy that is in force.
pub(super) struct Places(Vec<Placed>);

/// Shown as `file:line`.
pub(super) struct Place<'p> {
    pub(super) file: &'p Path,
    /// From 1; of the policy, where the rule's own is not known.
    pub(super) line: usize,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

impl Places {
    pub(super) fn new(placed: Vec<Placed>) -> Self {
        Self(placed)
    }

    /// Where a rule stands.
    pub(super) fn of(&self, rule: &RuleRef) -> Option<Place<'_>> {
        let named = || self.0.iter().filter(|placed| **placed.in_force.key() == *rule.policy);
        // Two documents may have one name; each has its own value of it.
        let exact = named().find(|placed| Arc::ptr_eq(placed.in_force.key(), &rule.policy));
        let placed = exact.or_else(|| named().next())?;
        let line = match &placed.in_force {
            InForce::Policy(policy) => policy.line_of(&rule.rule).unwrap_or_else(|| policy.line()),
            InForce::Refused(refused) => refused.line,
        };
        Some(Place { file: &placed.file, line })
    }

    /// Why a policy is not valid, if it is not: it allows nothing then.
    pub(super) fn refused(&self, policy: &str) -> Option<&[Fault]> {
        let is_refused = |placed: &&Placed| matches!(&placed.in_force, InForce::Refused(refused) if refused.key.to_string() == policy);
        self.0.iter().find(is_refused).map(|placed| placed.errors.as_slice())
    }
}
