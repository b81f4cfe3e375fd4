//! Regular expressions of clients, in the meaning of Go's `regexp` package (RE2): found anywhere in a text.
//!
//! Owns their bounds: who may ask for flows may be hostile. Those of policies are another's: `rules::full_match`.
//! Start at [`Budget::compile`].

use regex_automata::meta;

mod class;
mod parser;

/// Expressions of one request.
const MAX_EXPRESSIONS: usize = 64;
/// Bytes that the automaton of one may have.
const MAX_AUTOMATON_BYTES: usize = 256 << 10;
/// Bytes that all of one request may have.
const MAX_AUTOMATA_BYTES: usize = 2 << 20;
/// Bytes that one may keep of what it found out while it searched.
const MAX_CACHE_BYTES: usize = 256 << 10;

/// One that is compiled.
#[derive(Debug)]
pub(super) struct Regexp(meta::Regex);

impl Regexp {
    /// Whether it is found somewhere in `text`.
    pub(super) fn is_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// What the expressions of a request have used up.
#[derive(Debug, Default)]
pub(super) struct Budget {
    expressions: usize,
    bytes: usize,
}

impl Budget {
    /// Compiles `pattern`, or says what is wrong in Go's words.
    pub(super) fn compile(&mut self, pattern: &str) -> Result<Regexp, String> {
        let too_large = || parser::error("expression too large", pattern);
        self.expressions += 1;
        if self.expressions > MAX_EXPRESSIONS {
            return Err(format!("more than {MAX_EXPRESSIONS} regular expressions; join them with |"));
        }
        let tree = parser::parse(pattern)?;
        let config = meta::Config::new()
            .nfa_size_limit(Some(MAX_AUTOMATON_BYTES))
            .hybrid_cache_capacity(MAX_CACHE_BYTES)
            .onepass(false)
            .dfa(false);
        // A tree that was read is refused for its size only.
        let regex = meta::Builder::new().configure(config).build_from_hir(&tree).map_err(|_| too_large())?;
        self.bytes += regex.memory_usage();
        if self.bytes > MAX_AUTOMATA_BYTES { Err(too_large()) } else { Ok(Regexp(regex)) }
    }
}
