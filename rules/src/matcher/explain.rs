//! Every rule of a matcher, and what of it does not hold.
//!
//! Looks at all of them: for people who ask. Must never name another rule first than [`HttpMatcher::judge`] does.

use std::{cmp::Reverse, sync::Arc};

use super::{CompiledRule, HttpMatcher};
use crate::{
    explain::{HeaderAct, Tried},
    request::RequestView,
};

impl HttpMatcher {
    /// The nearest rule; then those of which fewer fields are missed; of those, whose path shares the longer beginning with
    /// the request's; of those, in their order.
    pub(crate) fn tried(&self, view: &RequestView<'_>) -> Vec<Tried> {
        let nearest = self.judge(view).err().flatten().map(|(compiled, _)| Arc::as_ptr(&compiled.reference));
        let tried = |compiled: &CompiledRule| {
            let missed = compiled.rule.missing(view);
            let is_nearest = nearest == Some(Arc::as_ptr(&compiled.reference));
            let rank = (!is_nearest, missed.len(), Reverse(shared_beginning(compiled, view.path())));
            (rank, Tried { rule: Arc::clone(&compiled.reference), missed })
        };
        let mut all: Vec<_> = self.rules.iter().map(tried).filter(|(_, tried)| !tried.missed.is_empty()).collect();
        all.sort_by_key(|(rank, _)| *rank);
        all.into_iter().map(|(_, tried)| tried).collect()
    }

    /// What the header matches of all rules that hold do.
    pub(crate) fn acts(&self, view: &RequestView<'_>) -> Vec<HeaderAct> {
        let of_rule = |compiled: &CompiledRule| -> Vec<HeaderAct> {
            let act = |(action, name, value)| HeaderAct { rule: Arc::clone(&compiled.reference), action, name, value };
            compiled.rule.acts_on(view).into_iter().map(act).collect()
        };
        self.rules.iter().flat_map(of_rule).collect()
    }
}

/// Bytes at the beginning of the path that the rule's pattern has too; all of them when it matches or is for every path.
fn shared_beginning(compiled: &CompiledRule, path: &str) -> usize {
    match &compiled.rule.path {
        Some(pattern) if !pattern.matches(path.as_bytes()) => {
            pattern.as_str().bytes().zip(path.bytes()).take_while(|(a, b)| a == b).count()
        }
        Some(_) | None => path.len(),
    }
}
