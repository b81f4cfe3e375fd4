//! Patterns of paths together in one automaton: a walk costs what the path is long, however many they are, as long as
//! what it has seen of them can be remembered.
//!
//! For patterns that no filter is about. Start at [`Automaton::matches`].

use std::fmt;

use regex_automata::{
    Anchored, Input, MatchKind,
    hybrid::dfa::{Cache, DFA, OverlappingState},
    nfa::thompson::{self, NFA},
    util::pool::Pool,
};
use regex_syntax::hir::Hir;

use crate::pattern::MAX_AUTOMATA_BYTES;

/// Bytes of states that each user of an automaton may remember; then it forgets and begins anew.
const CACHE_BYTES: usize = 4 << 20;

type MakeCache = Box<dyn Fn() -> Cache + Send + Sync>;

/// A lazily built automaton, and what its users remember of it.
pub(super) struct Automaton {
    dfa: DFA,
    caches: Pool<Cache, MakeCache>,
}

impl Automaton {
    /// Of anchored trees. `None`: together they are too large.
    pub(super) fn new(trees: &[Hir]) -> Option<Self> {
        let config = thompson::Config::new().utf8(false).nfa_size_limit(Some(MAX_AUTOMATA_BYTES));
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

    /// Gives the place of every tree that matches all of `path`.
    pub(super) fn matches(&self, path: &[u8], mut found: impl FnMut(usize)) {
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

impl fmt::Debug for Automaton {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Automaton").field("patterns", &self.dfa.pattern_len()).finish_non_exhaustive()
    }
}
