//! All HTTP rules of one port and peer as one thing to ask: what an answer costs does not grow with their number.
//!
//! Owns the index from a path to the few rules whose path fits; only those are compared field by field. Must never answer
//! otherwise than comparing rule by rule would. Start at [`HttpMatcher::judge`].

use std::{cmp::Reverse, sync::Arc};

use smallvec::SmallVec;

use crate::{
    header_effects::{Collector, HeaderEffects},
    http_rule::{Field, HttpRule, Mismatch},
    request::RequestView,
    verdict::RuleRef,
};

mod automaton;
mod bucket;
mod explain;
mod filter;
mod regexes;
mod trie;

use self::{
    bucket::Bucket,
    regexes::Regexes,
    trie::{Node, Trie},
};
use crate::pattern::Form;

/// Rules that are looked at to explain a denial.
const MAX_NEAREST: usize = 32;

/// A rule that does not hold, and what it misses.
type Nearest<'m> = (&'m CompiledRule, Mismatch);

/// Indexes of rules.
type Few = SmallVec<[usize; MAX_NEAREST]>;

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
    regexes: Option<Regexes>,
    /// Rules for every path.
    any: Bucket,
    /// The rules whose header matches act: each of them that holds counts, not only the first.
    acting: Option<Box<Self>>,
    /// Fields of the rule that has most.
    most_fields: usize,
    /// A rule asks for headers.
    asks_headers: bool,
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
        let mut regexes = regexes::Builder::default();
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
                Form::Regex => regexes.bucket(path).add(index, method),
            }
        }
        let regexes = regexes.build();
        let most_fields = rules.iter().map(|compiled| compiled.rule.fields()).max().unwrap_or_default();
        let asks_headers = rules.iter().any(|compiled| compiled.rule.asks_headers());
        Self { rules, trie, regexes, any, acting: None, most_fields, asks_headers }
    }

    /// Whether what is judged depends on headers.
    pub(crate) fn asks_headers(&self) -> bool {
        self.asks_headers
    }

    /// The first rule that holds. When none does: the one that comes nearest.
    pub(crate) fn judge(&self, view: &RequestView<'_>) -> Result<&CompiledRule, Option<Nearest<'_>>> {
        let found = self.find(view);
        let mut best: Option<(usize, &CompiledRule)> = None;
        for bucket in &found.fitting {
            for list in bucket.lists(view.method()) {
                for index in list.iter().copied() {
                    // They come in order.
                    if best.is_some_and(|(best, _)| best <= index) {
                        break;
                    }
                    best = self
                        .rules
                        .get(index)
                        .filter(|one| one.rule.holds_besides_path(view))
                        .map(|one| (index, one))
                        .or(best);
                }
            }
        }
        best.map(|(_, rule)| rule).ok_or_else(|| self.nearest(view, &found))
    }

    /// The first rule that holds but for the headers that it asks for. Looks at all of them.
    pub(crate) fn find_but_for_headers(&self, view: &RequestView<'_>) -> Option<&CompiledRule> {
        self.rules.iter().find(|compiled| compiled.rule.holds_but_for_headers(view))
    }

    /// What the header matches of all rules that hold do. Costs nothing where no rule's act.
    pub(crate) fn effects(&self, view: &RequestView<'_>) -> HeaderEffects {
        let Some(acting) = &self.acting else { return HeaderEffects::default() };
        let mut collector = Collector::default();
        for list in acting.find(view).fitting.iter().flat_map(|bucket| bucket.lists(view.method())) {
            for compiled in list.iter().filter_map(|index| acting.rules.get(*index)) {
                compiled.rule.act(view, &mut collector);
            }
        }
        collector.finish()
    }

    /// Fewest fields missed; among those, most fields that hold; among those, a path that is close; among those, the first.
    /// Looks at a bounded number of rules.
    fn nearest(&self, view: &RequestView<'_>, found: &Found<'_>) -> Option<Nearest<'_>> {
        let mut close = Few::new();
        found.fitting.iter().for_each(|bucket| bucket.first(MAX_NEAREST, &mut close));
        let fitting = close.len();
        found.near.iter().for_each(|bucket| bucket.first(MAX_NEAREST, &mut close));
        if close.len() < MAX_NEAREST {
            self.trie.around(found.deepest, MAX_NEAREST, &mut close);
        }
        // With room left, all rules whose path fits came first; without, there are no others.
        let (fitting, _) = close.split_at_checked(fitting).unwrap_or_default();
        let mut best: Option<Candidate<'_>> = None;
        for index in close.iter().copied() {
            self.compare(view, Place { index, is_far: false }, fitting.contains(&index), &mut best);
        }
        let room = MAX_NEAREST.saturating_sub(close.len());
        let of_patterns = self.regexes.as_ref().map(Regexes::first).unwrap_or_default();
        for index in of_patterns.iter().copied().take(room) {
            let place = Place { index, is_far: true };
            // They come in order: nothing after a rule that is one field away is nearer.
            if best.as_ref().is_some_and(|best| best.is_one_field_away && best.rank.2 <= place) {
                break;
            }
            self.compare(view, place, fitting.contains(&index), &mut best);
        }
        best.map(|best| (best.compiled, best.compiled.rule.mismatch(best.first)))
    }

    /// Puts a rule into `best` if it is nearer.
    fn compare<'m>(&'m self, view: &RequestView<'_>, place: Place, path_fits: bool, best: &mut Option<Candidate<'m>>) {
        let Some(compiled) = self.rules.get(place.index) else { return };
        let missed = compiled.rule.missed(view, path_fits);
        let Some(first) = missed.first else { return };
        let rank = (missed.count, Reverse(missed.holding), place);
        if best.as_ref().is_none_or(|best| rank < best.rank) {
            let is_one_field_away = missed.count == 1 && missed.holding.saturating_add(1) == self.most_fields;
            *best = Some(Candidate { rank, is_one_field_away, compiled, first });
        }
    }

    fn find(&self, view: &RequestView<'_>) -> Found<'_> {
        let path = view.path().as_bytes();
        let mut found = Found::default();
        // A tunnel has no path: no pattern of one is about it, also not one that the empty text matches.
        if view.has_path() {
            found.deepest = self.trie.walk(path, &mut found.fitting);
        }
        if let Some(regexes) = self.regexes.as_ref().filter(|_| view.has_path()) {
            regexes.matches(path, &mut found.fitting, &mut found.near);
        }
        found.fitting.push(&self.any);
        found
    }
}

type Buckets<'m> = SmallVec<[&'m Bucket; 4]>;

/// What a request's path leads to.
#[derive(Default)]
struct Found<'m> {
    /// Rules for this path.
    fitting: Buckets<'m>,
    /// Rules by patterns that do not match, but have a word in common with it.
    near: Buckets<'m>,
    /// Where it leaves the trie.
    deepest: Option<&'m Node>,
}

/// Of a rule among those that are compared: first come those whose path is close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    is_far: bool,
    index: usize,
}

/// A denied request's nearest rule so far; the smallest rank is nearest.
struct Candidate<'m> {
    /// Fields that are missed, those that hold, and its place.
    rank: (usize, Reverse<usize>, Place),
    /// It has as many fields as any rule, and but one is missed.
    is_one_field_away: bool,
    compiled: &'m CompiledRule,
    /// The first field that is missed.
    first: Field,
}

#[cfg(test)]
mod tests;
