//! All HTTP rules of one port and peer as one thing to ask: what an answer costs does not grow with their number.
//!
//! Owns the index from a path to the few rules whose path fits; only those are compared field by field. Must never answer
//! otherwise than comparing rule by rule would. Start at [`HttpMatcher::find`].

use std::{cmp::Reverse, sync::Arc};

use crate::{
    header_effects::{Collector, HeaderEffects},
    http_rule::{Field, HttpRule, Mismatch},
    request::RequestView,
    verdict::RuleRef,
};

mod automaton;
mod bucket;
mod explain;
mod trie;

use self::{
    automaton::Automaton,
    bucket::Bucket,
    trie::{Node, Trie},
};
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
    /// Fields of the rule that has most.
    most_fields: usize,
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
        let most_fields = rules.iter().map(|compiled| compiled.rule.fields()).max().unwrap_or_default();
        Self { rules, trie, automaton, any, acting: None, most_fields }
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
        let mut candidates = Vec::with_capacity(MAX_NEAREST);
        let deepest = self.buckets(view, |bucket| bucket.first(MAX_NEAREST, &mut candidates));
        let with_path = candidates.len();
        self.any.first(MAX_NEAREST, &mut candidates);
        if candidates.len() < MAX_NEAREST {
            self.trie.around(deepest, MAX_NEAREST, &mut candidates);
        }
        // With room left, all rules whose path fits came first; without, there are no others.
        let (fitting, _) = candidates.split_at_checked(with_path).unwrap_or_default();
        let mut best: Option<Candidate<'_>> = None;
        for index in candidates.iter().copied() {
            self.compare(view, index, fitting.contains(&index), &mut best);
        }
        let room = MAX_NEAREST.saturating_sub(candidates.len());
        let of_patterns = self.automaton.as_ref().map(Automaton::first).unwrap_or_default();
        for index in of_patterns.iter().copied().take(room) {
            // They come in order: nothing after a rule that is one field away is nearer.
            if best.as_ref().is_some_and(|best| best.is_one_field_away && best.rank.2 <= index) {
                break;
            }
            self.compare(view, index, fitting.contains(&index), &mut best);
        }
        best.map(|best| (best.compiled, best.compiled.rule.mismatch(best.first)))
    }

    /// Puts the rule at `index` into `best` if it is nearer.
    fn compare<'m>(&'m self, view: &RequestView<'_>, index: usize, path_fits: bool, best: &mut Option<Candidate<'m>>) {
        let Some(compiled) = self.rules.get(index) else { return };
        let missed = compiled.rule.missed(view, path_fits);
        let Some(first) = missed.first else { return };
        let rank = (missed.count, Reverse(missed.holding), index);
        if best.as_ref().is_none_or(|best| rank < best.rank) {
            let is_one_field_away = missed.count == 1 && missed.holding.saturating_add(1) == self.most_fields;
            *best = Some(Candidate { rank, is_one_field_away, compiled, first });
        }
    }

    /// Every bucket of rules that name this path; and where the path leaves the trie.
    fn buckets<'m>(&'m self, view: &RequestView<'_>, mut consider: impl FnMut(&'m Bucket)) -> Option<&'m Node> {
        let path = view.path().as_bytes();
        let deepest = self.trie.walk(path, &mut consider);
        if let Some(automaton) = &self.automaton {
            automaton.matches(path, &mut consider);
        }
        deepest
    }
}

/// A denied request's nearest rule so far; the smallest rank is nearest.
struct Candidate<'m> {
    /// Fields that are missed, those that hold, and its place.
    rank: (usize, Reverse<usize>, usize),
    /// It has as many fields as any rule, and but one is missed.
    is_one_field_away: bool,
    compiled: &'m CompiledRule,
    /// The first field that is missed.
    first: Field,
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
