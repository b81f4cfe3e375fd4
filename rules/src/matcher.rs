//! All HTTP rules of one port and peer as one thing to ask: what an answer costs does not grow with their number.
//!
//! Owns the index from a path to the few rules whose path fits; only those are compared field by field. Must never answer
//! otherwise than comparing rule by rule would. Start at [`HttpMatcher::find`].

use std::sync::Arc;

use crate::{
    header_effects::{Collector, HeaderEffects},
    http_rule::{HttpRule, Mismatch},
    request::RequestView,
    verdict::RuleRef,
};

mod automaton;
mod bucket;
mod trie;

use self::{automaton::Automaton, bucket::Bucket, trie::Trie};
use crate::pattern::Form;

/// Rules that are looked at to explain a denial.
const MAX_NEAREST: usize = 32;

/// An HTTP rule and its name.
#[derive(Clone, Debug)]
pub(crate) struct CompiledRule {
    pub(crate) rule: Arc<HttpRule>,
    pub(crate) reference: Arc<RuleRef>,
}

/// Rules of which one must hold. The first that holds, in their order, is the one that is named.
#[derive(Debug)]
pub(crate) struct HttpMatcher {
    rules: Vec<CompiledRule>,
    /// Rules by a path, or by what a path begins with.
    trie: Trie,
    /// Rules by other patterns of a path.
    automaton: Option<Automaton>,
    /// Rules for every path.
    any: Bucket,
    /// The rules whose header matches act: each of them that holds counts, not only the first.
    acting: Option<Box<Self>>,
}

impl HttpMatcher {
    pub(crate) fn new(rules: Vec<CompiledRule>) -> Self {
        let acting: Vec<CompiledRule> = rules.iter().filter(|compiled| compiled.rule.acts()).cloned().collect();
        let acting = (!acting.is_empty()).then(|| Box::new(Self::index(acting)));
        Self { acting, ..Self::index(rules) }
    }

    fn index(rules: Vec<CompiledRule>) -> Self {
        let mut trie = Trie::default();
        let mut any = Bucket::default();
        let mut patterns = automaton::Builder::default();
        for (index, compiled) in rules.iter().enumerate() {
            let method = compiled.rule.method.as_ref();
            let Some(path) = &compiled.rule.path else {
                any.add(index, method);
                continue;
            };
            match path.form() {
                Form::Literal(literal) => trie.exact(literal).add(index, method),
                Form::OneOf(literals) => literals.iter().for_each(|literal| trie.exact(literal).add(index, method)),
                Form::Prefix(prefix) => trie.prefix(prefix).add(index, method),
                Form::Regex(hir) => patterns.bucket(path.as_str(), hir).add(index, method),
            }
        }
        let automaton = patterns.build();
        Self { rules, trie, automaton, any, acting: None }
    }

    /// The first rule that holds.
    pub(crate) fn find(&self, view: &RequestView<'_>) -> Option<&CompiledRule> {
        let mut search = Search { matcher: self, view, best: None };
        search.consider(&self.any);
        self.buckets(view, |bucket| search.consider(bucket));
        search.best.and_then(|index| self.rules.get(index))
    }

    /// The first rule that holds but for the headers that it asks for. Looks at all of them.
    pub(crate) fn find_but_for_headers(&self, view: &RequestView<'_>) -> Option<&CompiledRule> {
        self.rules.iter().find(|compiled| compiled.rule.holds_but_for_headers(view))
    }

    /// What the header matches of all rules that hold do. Costs nothing where no rule's act.
    pub(crate) fn effects(&self, view: &RequestView<'_>) -> HeaderEffects {
        let Some(acting) = &self.acting else { return HeaderEffects::default() };
        let mut collector = Collector::default();
        let mut consider = |bucket: &Bucket| {
            for compiled in bucket.lists(view.method()).flatten().filter_map(|index| acting.rules.get(*index)) {
                compiled.rule.act(view, &mut collector);
            }
        };
        consider(&acting.any);
        acting.buckets(view, consider);
        collector.finish()
    }

    /// Of the rules whose path is closest, the one of which least is missing: fewest fields missed; among those, most
    /// fields that hold; among those, the first. Looks at a bounded number of rules.
    pub(crate) fn nearest(&self, view: &RequestView<'_>) -> Option<(&CompiledRule, Mismatch)> {
        let mut candidates = Vec::new();
        self.buckets(view, |bucket| bucket.first(MAX_NEAREST, &mut candidates));
        self.any.first(MAX_NEAREST, &mut candidates);
        if candidates.len() < MAX_NEAREST {
            self.trie.around(view.path().as_bytes(), MAX_NEAREST, &mut candidates);
        }
        if let Some(automaton) = self.automaton.as_ref().filter(|_| candidates.len() < MAX_NEAREST) {
            automaton.first(MAX_NEAREST, &mut candidates);
        }
        candidates.sort_unstable();
        candidates.dedup();
        let mut best: Option<Candidate<'_>> = None;
        for compiled in candidates.iter().filter_map(|index| self.rules.get(*index)) {
            let (missed, holding) = compiled.rule.mismatches(view);
            let rank = (missed.len(), usize::MAX.saturating_sub(holding));
            if best.as_ref().is_some_and(|known| known.rank <= rank) {
                continue;
            }
            let candidate = |first| Candidate { rank, compiled, first };
            best = missed.into_iter().next().map(candidate).or(best);
        }
        best.map(|best| (best.compiled, best.first))
    }

    /// Every bucket of rules that name this path.
    fn buckets<'m>(&'m self, view: &RequestView<'_>, mut consider: impl FnMut(&'m Bucket)) {
        let path = view.path().as_bytes();
        self.trie.walk(path, &mut consider);
        if let Some(automaton) = &self.automaton {
            automaton.matches(path, &mut consider);
        }
    }
}

/// A denied request's nearest rule so far; the smallest rank is nearest.
struct Candidate<'m> {
    rank: (usize, usize),
    compiled: &'m CompiledRule,
    /// The first field that is missed.
    first: Mismatch,
}

/// The first rule that holds, so far.
struct Search<'m, 'v> {
    matcher: &'m HttpMatcher,
    view: &'v RequestView<'v>,
    best: Option<usize>,
}

impl Search<'_, '_> {
    fn consider(&mut self, bucket: &Bucket) {
        for list in bucket.lists(self.view.method()) {
            let better = list.iter().take_while(|index| self.best.is_none_or(|best| **index < best));
            let holds = |index: &&usize| {
                self.matcher.rules.get(**index).is_some_and(|compiled| compiled.rule.holds_besides_path(self.view))
            };
            if let Some(index) = better.copied().find(|index| holds(&index)) {
                self.best = Some(index);
            }
        }
    }
}

#[cfg(test)]
mod tests;
