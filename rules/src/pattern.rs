//! The only place that builds a regular expression: full match, on the syntax tree, with a size limit.
//!
//! Owns what a pattern means: RE2's syntax, as Envoy reads it. Must never accept what RE2 would read otherwise. Start at
//! [`full_match`].

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use regex_automata::{meta::Regex, nfa::thompson};
use regex_syntax::hir::{Class, Hir, HirKind, Look, Repetition, translate::TranslatorBuilder};

mod dialect;
mod positions;
mod required;

use self::positions::Positions;
pub(crate) use self::required::{AnyOf, shortest};

/// A pattern may have this many bytes.
pub const MAX_PATTERN_BYTES: usize = 16 << 10;
/// A pattern's automaton may have this many bytes. A pattern of the most bytes, all of them literal, needs half of it: a
/// tighter limit would refuse long lists of paths, as RE2's did in Cilium.
const MAX_AUTOMATON_BYTES: usize = 1 << 20;
/// The automata of one policy may have this many bytes together.
pub const MAX_AUTOMATA_BYTES: usize = 32 << 20;
/// A repetition may ask for this many, as in RE2.
const MAX_REPEAT: u32 = 1000;
/// So many words are compared one by one; more are an automaton's.
const MAX_WORDS: usize = 8;
/// Groups and repetitions may be nested this deep.
const MAX_NESTING: u32 = 100;

/// Why a text is no pattern. The text says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is too long.
    #[error("pattern has {0} bytes, more than {MAX_PATTERN_BYTES}; split it into several rules")]
    TooLong(usize),
    /// It does not parse, or its automaton would be too large.
    #[error("not a regular expression (RE2 syntax): {0}")]
    Syntax(String),
    /// RE2 repeats no more than a thousand times.
    #[error("repeats {0} times, more than {MAX_REPEAT}; write fewer")]
    Repeat(u32),
    /// It parses, but with another meaning than in RE2.
    #[error("{0} has another meaning in RE2; write it without")]
    NotRe2(&'static str),
}

/// A pattern that a whole value must match, in RE2's meaning (bytes, ASCII classes; `.` matches no line feed).
#[derive(Clone)]
pub struct Pattern {
    text: String,
    matcher: Matcher,
}

/// Some literals.
type Words = Box<[Box<[u8]>]>;

#[derive(Clone)]
enum Matcher {
    /// Exactly these bytes.
    Literal(Box<[u8]>),
    /// Exactly one of these: `GET|HEAD`.
    OneOf(Words),
    /// These bytes, then anything: the commonest form of a path.
    Prefix(Box<[u8]>),
    Regex(Arc<Expression>),
}

/// A pattern of no simple form.
struct Expression {
    /// Bytes of its automaton's smallest form.
    memory: usize,
    /// `None`: it is too large for them, or looks around.
    positions: Option<Positions>,
    /// What it is asked by instead; made when it is first asked.
    regex: OnceLock<Option<Regex>>,
    /// Of one that has positions.
    required: Box<[AnyOf]>,
}

/// What a pattern looks like from outside.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form<'p> {
    /// Exactly these bytes.
    Literal(&'p [u8]),
    /// Exactly one of these.
    OneOf(&'p [Box<[u8]>]),
    /// These bytes, then anything but a line feed.
    Prefix(&'p [u8]),
    /// Anything else.
    Regex,
}

impl Pattern {
    /// Whether all of `value` matches.
    #[must_use]
    pub fn matches(&self, value: &[u8]) -> bool {
        match &self.matcher {
            Matcher::Literal(literal) => **literal == *value,
            Matcher::OneOf(literals) => literals.iter().any(|literal| **literal == *value),
            Matcher::Prefix(prefix) => value.strip_prefix(&**prefix).is_some_and(|rest| !rest.contains(&b'\n')),
            Matcher::Regex(expression) => {
                if let Some(positions) = &expression.positions {
                    return positions.matches(value);
                }
                let regex = expression.regex.get_or_init(|| self.tree().as_ref().and_then(regex));
                // It was proved buildable before it was accepted.
                regex.as_ref().is_some_and(|regex| regex.is_match(value))
            }
        }
    }

    /// What it looks like.
    pub(crate) fn form(&self) -> Form<'_> {
        match &self.matcher {
            Matcher::Literal(literal) => Form::Literal(literal),
            Matcher::OneOf(literals) => Form::OneOf(literals),
            Matcher::Prefix(prefix) => Form::Prefix(prefix),
            Matcher::Regex(_) => Form::Regex,
        }
    }

    /// Its anchored syntax tree, read once more: few are ever asked for theirs.
    pub(crate) fn tree(&self) -> Option<Hir> {
        body(&self.text).ok().map(anchored)
    }

    /// For some parts of it: every value that matches has one of the words in it, in whatever case. `None`: it had better
    /// not be asked by itself.
    pub(crate) fn required(&self) -> Option<&[AnyOf]> {
        match &self.matcher {
            Matcher::Literal(_) | Matcher::OneOf(_) | Matcher::Prefix(_) => Some(&[]),
            Matcher::Regex(expression) => expression.positions.as_ref().map(|_| &*expression.required),
        }
    }

    /// Bytes that its automaton takes.
    pub(crate) fn memory(&self) -> usize {
        match &self.matcher {
            Matcher::Literal(_) | Matcher::OneOf(_) | Matcher::Prefix(_) => 0,
            Matcher::Regex(expression) => expression.memory,
        }
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.text).finish()
    }
}

/// Compiles `pattern` so that it must match a whole value. The anchors are put around the syntax tree: put around the
/// text, `a)|(?:b` would get out of them.
pub fn full_match(pattern: &str) -> Result<Pattern, PatternError> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(PatternError::TooLong(pattern.len()));
    }
    let body = body(pattern)?;
    let matcher = if let Some(matcher) = plain(&body) {
        matcher
    } else {
        let memory = automaton_bytes(&anchored(body.clone()))?;
        // What is too large when its repetitions are written out has been refused by now.
        let positions = Positions::new(&body);
        let required = positions.as_ref().map(|_| required::required(&body)).unwrap_or_default();
        Matcher::Regex(Arc::new(Expression { memory, positions, regex: OnceLock::new(), required }))
    };
    Ok(Pattern { text: pattern.to_owned(), matcher })
}

/// The syntax tree, without anchors at its ends: the whole value must match in any case.
fn body(pattern: &str) -> Result<Hir, PatternError> {
    let pattern = &*dialect::literal_braces(pattern);
    let mut translator = TranslatorBuilder::new().unicode(false).utf8(false).build();
    let body = translator.translate(pattern, &dialect::parse(pattern)?);
    let body = body.map_err(|error| PatternError::Syntax(short(&error)))?;
    let HirKind::Concat(parts) = body.kind() else { return Ok(body) };
    let is = |part: &Hir, look| matches!(part.kind(), HirKind::Look(found) if *found == look);
    let begin = parts.iter().take_while(|part| is(part, Look::Start)).count();
    let end = parts.iter().rev().take_while(|part| is(part, Look::End)).count();
    match parts.get(begin..parts.len().saturating_sub(end)) {
        Some(inside) if begin > 0 || end > 0 => Ok(Hir::concat(inside.to_vec())),
        _ => Ok(body),
    }
}

/// With anchors around the tree.
fn anchored(body: Hir) -> Hir {
    Hir::concat(vec![Hir::look(Look::Start), body, Hir::look(Look::End)])
}

/// Bytes of its automaton, if they are not too many.
fn automaton_bytes(tree: &Hir) -> Result<usize, PatternError> {
    let config = thompson::Config::new().utf8(false).nfa_size_limit(Some(MAX_AUTOMATON_BYTES));
    let nfa = thompson::Compiler::new().configure(config).build_from_hir(tree);
    let nfa = nfa.map_err(|error| {
        let limit =
            error.size_limit().map(|limit| format!("its automaton would exceed {limit} bytes; make it simpler"));
        PatternError::Syntax(limit.unwrap_or_else(|| short(&error)))
    })?;
    Ok(nfa.memory_usage())
}

fn regex(tree: &Hir) -> Option<Regex> {
    let limits = Regex::config().nfa_size_limit(Some(MAX_AUTOMATON_BYTES.saturating_mul(2)));
    Regex::builder().configure(limits).build_from_hir(tree).ok()
}

/// The forms that need no automaton.
fn plain(body: &Hir) -> Option<Matcher> {
    match body.kind() {
        HirKind::Empty => Some(Matcher::Literal(Box::default())),
        HirKind::Literal(literal) => Some(Matcher::Literal(literal.0.clone())),
        HirKind::Repetition(rest) if is_anything(rest) => Some(Matcher::Prefix(Box::default())),
        HirKind::Alternation(words) => {
            let literal =
                |word: &Hir| if let HirKind::Literal(literal) = word.kind() { Some(literal.0.clone()) } else { None };
            let words: Option<Words> = words.iter().map(literal).collect();
            words.filter(|words| words.len() <= MAX_WORDS).map(Matcher::OneOf)
        }
        HirKind::Concat(parts) => match parts.as_slice() {
            [first, second] => match (first.kind(), second.kind()) {
                (HirKind::Literal(literal), HirKind::Repetition(rest)) if is_anything(rest) => {
                    Some(Matcher::Prefix(literal.0.clone()))
                }
                _ => None,
            },
            _ => None,
        },
        HirKind::Class(_) | HirKind::Look(_) | HirKind::Repetition(_) | HirKind::Capture(_) => None,
    }
}

/// `.*`: every byte but a line feed, any number of times.
fn is_anything(rest: &Repetition) -> bool {
    let HirKind::Class(Class::Bytes(class)) = rest.sub.kind() else { return false };
    let ranges: Vec<(u8, u8)> = class.ranges().iter().map(|range| (range.start(), range.end())).collect();
    rest.min == 0 && rest.max.is_none() && ranges == [(0, b'\n' - 1), (b'\n' + 1, 255)]
}

/// The last line of an error: the libraries draw the pattern above it.
fn short(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    if let Some(source) = error.source() {
        text = source.to_string();
    }
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    line.trim().trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests;
