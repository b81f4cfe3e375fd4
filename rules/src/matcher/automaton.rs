//! Patterns of paths that are neither a literal nor a prefix, together in one automaton: a walk costs what the path is
//! long, however many they are.

use std::{collections::HashMap, fmt};

use regex_automata::{
    Anchored, Input, MatchKind,
    hybrid::dfa::{Cache, DFA, OverlappingState},
    nfa::thompson::{self, NFA},
    util::pool::Pool,
};
use regex_syntax::hir::Hir;

use super::{MAX_NEAREST, bucket::Bucket};
use crate::pattern::{self, Pattern};

/// Bytes of states that each user of an automaton may remember; then it forgets and begins anew.
const CACHE_BYTES: usize = 4 << 20;

/// Collects patterns.
#[derive(Default)]
pub(super) struct Builder<'p> {
    by_text: HashMap<&'p str, usize>,
    texts: Vec<&'p str>,
    trees: Vec<&'p Hir>,
    buckets: Vec<Bucket>,
}

impl<'p> Builder<'p> {
    /// The rules of one pattern, whose tree is anchored.
    pub(super) fn bucket(&mut self, text: &'p str, tree: &'p Hir) -> &mut Bucket {
        let next = self.buckets.len();
        let index = *self.by_text.entry(text).or_insert(next);
        if index == next {
            self.texts.push(text);
            self.trees.push(tree);
            self.buckets.push(Bucket::default());
        }
        #[expect(clippy::indexing_slicing, reason = "it was added above, or before")]
        &mut self.buckets[index]
    }

    /// `None`: there are no patterns.
    pub(super) fn build(self) -> Option<Automaton> {
        if self.buckets.is_empty() {
            return None;
        }
        let engine = Engine::new(&self.trees);
        let single = if engine.is_some() {
            Vec::new()
        } else {
            self.texts.iter().filter_map(|text| pattern::full_match(text).ok()).collect()
        };
        let mut first = Vec::new();
        for bucket in self.buckets.iter().take(MAX_NEAREST) {
            bucket.first(MAX_NEAREST, &mut first);
        }
        first.sort_unstable();
        Some(Automaton { engine, single, buckets: self.buckets, first: first.into() })
    }
}

/// The automaton, and the rules of each of its patterns.
#[derive(Debug)]
pub(super) struct Automaton {
    /// `None`: together they are too large; then they are tried one by one.
    engine: Option<Engine>,
    single: Vec<Pattern>,
    buckets: Vec<Bucket>,
    /// The first rules of the first patterns.
    first: Box<[usize]>,
}

impl Automaton {
    /// Gives the rules of every pattern that matches all of `path`.
    pub(super) fn matches<'a>(&'a self, path: &[u8], consider: &mut impl FnMut(&'a Bucket)) {
        let mut found = |index: usize| {
            if let Some(bucket) = self.buckets.get(index) {
                consider(bucket);
            }
        };
        if let Some(engine) = &self.engine {
            return engine.matches(path, &mut found);
        }
        let matching = self.single.iter().enumerate().filter(|(_, pattern)| pattern.matches(path));
        matching.for_each(|(index, _)| found(index));
    }

    /// The first rules in order, no more than [`MAX_NEAREST`].
    pub(super) fn first(&self) -> &[usize] {
        &self.first
    }
}

type MakeCache = Box<dyn Fn() -> Cache + Send + Sync>;

/// A lazily built automaton, and what its users remember of it.
struct Engine {
    dfa: DFA,
    caches: Pool<Cache, MakeCache>,
}

impl Engine {
    fn new(trees: &[&Hir]) -> Option<Self> {
        let config = thompson::Config::new().utf8(false).nfa_size_limit(Some(pattern::MAX_AUTOMATA_BYTES));
        let nfa: NFA = thompson::Compiler::new().configure(config).build_many_from_hir(trees).ok()?;
        let config = DFA::config()
            .match_kind(MatchKind::All)
            .cache_capacity(CACHE_BYTES)
            .skip_cache_capacity_check(true)
            .unicode_word_boundary(false);
        let dfa = DFA::builder().configure(config).build_from_nfa(nfa).ok()?;
        let make: MakeCache = {
            let dfa = dfa.clone();
            Box::new(move || dfa.create_cache())
        };
        Some(Self { dfa, caches: Pool::new(make) })
    }

    fn matches(&self, path: &[u8], found: &mut impl FnMut(usize)) {
        let mut cache = self.caches.get();
        let input = Input::new(path).anchored(Anchored::Yes);
        let mut state = OverlappingState::start();
        loop {
            // It gives up on nothing: it has no quit bytes and may forget as often as it must.
            if self.dfa.try_search_overlapping_fwd(&mut cache, &input, &mut state).is_err() {
                return;
            }
            let Some(matched) = state.get_match() else { return };
            found(matched.pattern().as_usize());
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("patterns", &self.dfa.pattern_len()).finish_non_exhaustive()
    }
}
