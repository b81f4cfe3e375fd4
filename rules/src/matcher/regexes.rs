//! Patterns of paths that are neither a literal nor a prefix, and the rules of each.
//!
//! Most have words without which they do not match: these are tried one by one, and only where a path has such a word. The
//! others are asked together, unless they are few. Start at [`Regexes::matches`].

use std::collections::HashMap;

use regex_syntax::hir::Hir;

use super::{
    Buckets, Few, MAX_NEAREST,
    automaton::Automaton,
    bucket::Bucket,
    filter::{Filter, MAX_CROWD},
};
use crate::pattern::Pattern;

type Rules = (Pattern, Bucket);

/// Collects patterns.
#[derive(Default)]
pub(super) struct Builder<'p> {
    by_text: HashMap<&'p str, usize>,
    all: Vec<Rules>,
}

impl<'p> Builder<'p> {
    /// The rules of one pattern.
    pub(super) fn bucket(&mut self, pattern: &'p Pattern) -> &mut Bucket {
        let next = self.all.len();
        let index = *self.by_text.entry(pattern.as_str()).or_insert(next);
        if index == next {
            self.all.push((pattern.clone(), Bucket::default()));
        }
        #[expect(clippy::indexing_slicing, reason = "it was added above, or before")]
        &mut self.all[index].1
    }

    /// `None`: there are no patterns.
    pub(super) fn build(self) -> Option<Regexes> {
        if self.all.is_empty() {
            return None;
        }
        let required = self.all.iter().map(|(pattern, _)| pattern.required());
        let (filter, others) = Filter::new(required.map(Option::unwrap_or_default));
        let automaton = self.together(&others);
        let mut first = Few::new();
        for (_, bucket) in self.all.iter().take(MAX_NEAREST) {
            bucket.first(MAX_NEAREST, &mut first);
        }
        first.sort_unstable();
        Some(Regexes { all: self.all.into(), filter, others: others.into(), automaton, first: first.as_slice().into() })
    }

    /// `None`: these are better tried one by one, or too large together.
    fn together(&self, patterns: &[usize]) -> Option<Automaton> {
        let patterns = || patterns.iter().filter_map(|index| self.all.get(*index)).map(|(pattern, _)| pattern);
        if patterns().count() <= MAX_CROWD && patterns().all(|pattern| pattern.required().is_some()) {
            return None;
        }
        let trees: Option<Vec<Hir>> = patterns().map(Pattern::tree).collect();
        trees.as_deref().and_then(Automaton::new)
    }
}

#[derive(Debug)]
pub(super) struct Regexes {
    all: Box<[Rules]>,
    filter: Option<Filter>,
    /// Those that the filter is not about.
    others: Box<[usize]>,
    /// The others together. `None`: they are tried one by one.
    automaton: Option<Automaton>,
    /// The first rules of the first patterns.
    first: Box<[usize]>,
}

impl Regexes {
    /// Adds to `fitting` the rules of every pattern that matches all of `path`, and to `near` those of patterns that do not
    /// but have a word in common with it.
    pub(super) fn matches<'r>(&'r self, path: &[u8], fitting: &mut Buckets<'r>, near: &mut Buckets<'r>) {
        let at = |index: &usize| self.all.get(*index);
        let candidates = self.filter.as_ref().map(|filter| filter.candidates(path)).unwrap_or_default();
        for (pattern, bucket) in candidates.iter().filter_map(at) {
            if pattern.matches(path) { fitting.push(bucket) } else { near.push(bucket) }
        }
        let Some(automaton) = &self.automaton else {
            let others = self.others.iter().filter_map(at).filter(|(pattern, _)| pattern.matches(path));
            return others.for_each(|(_, bucket)| fitting.push(bucket));
        };
        automaton.matches(path, |place| {
            if let Some((_, bucket)) = self.others.get(place).and_then(at) {
                fitting.push(bucket);
            }
        });
    }

    /// The first rules in order, no more than [`MAX_NEAREST`].
    pub(super) fn first(&self) -> &[usize] {
        &self.first
    }
}
