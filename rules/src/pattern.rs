//! The only place that builds a regular expression: full match, on the syntax tree, with a size limit.
//!
//! Owns what a pattern means: RE2's syntax, as Envoy reads it. Must never accept what RE2 would read otherwise. Start at
//! [`full_match`].

use std::{borrow::Cow, fmt, sync::OnceLock};

use regex_automata::{meta::Regex, nfa::thompson};
use regex_syntax::{
    ParserBuilder,
    ast::{self, ClassSetBinaryOp, ClassSetItem, Flag, FlagsItemKind, Visitor},
    hir::{Class, Hir, HirKind, Look, Repetition},
};

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
    Regex(Box<Lazy>),
}

/// An anchored syntax tree whose automaton is only built when it is asked on its own: path patterns are asked together.
#[derive(Clone)]
struct Lazy {
    tree: Hir,
    /// Bytes of its automaton's smallest form.
    memory: usize,
    regex: OnceLock<Option<Regex>>,
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
    /// Anything else, anchored.
    Regex(&'p Hir),
}

impl Pattern {
    /// Whether all of `value` matches.
    #[must_use]
    pub fn matches(&self, value: &[u8]) -> bool {
        match &self.matcher {
            Matcher::Literal(literal) => **literal == *value,
            Matcher::OneOf(literals) => literals.iter().any(|literal| **literal == *value),
            Matcher::Prefix(prefix) => value.strip_prefix(&**prefix).is_some_and(|rest| !rest.contains(&b'\n')),
            Matcher::Regex(lazy) => {
                let regex = lazy.regex.get_or_init(|| regex(&lazy.tree));
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
            Matcher::Regex(lazy) => Form::Regex(&lazy.tree),
        }
    }

    /// Bytes that its automaton takes.
    pub(crate) fn memory(&self) -> usize {
        match &self.matcher {
            Matcher::Literal(_) | Matcher::OneOf(_) | Matcher::Prefix(_) => 0,
            Matcher::Regex(lazy) => lazy.memory,
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
    let text = pattern;
    let pattern = &*literal_braces(pattern);
    refuse_other_dialect(pattern)?;
    let mut parser = ParserBuilder::new().unicode(false).utf8(false).nest_limit(MAX_NESTING).build();
    let body = parser.parse(pattern).map_err(|error| PatternError::Syntax(short(&error)))?;
    let matcher = if let Some(matcher) = plain(&body) {
        matcher
    } else {
        let tree = anchored(body);
        let memory = automaton_bytes(&tree)?;
        Matcher::Regex(Box::new(Lazy { tree, memory, regex: OnceLock::new() }))
    };
    Ok(Pattern { text: text.to_owned(), matcher })
}

/// RE2 takes `{` for itself where it begins no repetition, as in `/users/{id}`; Rust's syntax wants it escaped there.
fn literal_braces(pattern: &str) -> Cow<'_, str> {
    if !pattern.contains('{') {
        return Cow::Borrowed(pattern);
    }
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(next) = rest.chars().next() {
        let length = match next {
            '\\' => escape_length(rest),
            '{' if !in_class && !begins_repetition(rest) => {
                out.push('\\');
                1
            }
            _ => next.len_utf8(),
        };
        in_class = match next {
            '[' => true,
            ']' => false,
            _ => in_class,
        };
        let (taken, left) = rest.split_at_checked(length).unwrap_or((rest, ""));
        out.push_str(taken);
        rest = left;
    }
    Cow::Owned(out)
}

/// `\x`, or all of `\x{41}` and `\p{Greek}`, whose braces are the escape's own.
fn escape_length(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    let Some((at, escaped)) = chars.next() else { return text.len() };
    let end = at.saturating_add(escaped.len_utf8());
    let own = matches!(escaped, 'x' | 'p' | 'P') && text.get(end..).is_some_and(|rest| rest.starts_with('{'));
    if own { text.find('}').map_or(text.len(), |brace| brace.saturating_add(1)) } else { end }
}

/// `{2}`, `{2,}` or `{2,3}`.
fn begins_repetition(text: &str) -> bool {
    let inside = text.strip_prefix('{').and_then(|text| text.split_once('}')).map(|(inside, _)| inside);
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    inside.is_some_and(|inside| match inside.split_once(',') {
        None => number(inside),
        Some((from, to)) => number(from) && (to.is_empty() || number(to)),
    })
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

/// What Rust's syntax has and RE2 has not, or reads differently: a policy must mean the same to both.
fn refuse_other_dialect(pattern: &str) -> Result<(), PatternError> {
    let tree = ast::parse::ParserBuilder::new().nest_limit(MAX_NESTING).build().parse(pattern);
    let tree = tree
        .map_err(|error| PatternError::Syntax(format!("{} at column {}", error.kind(), error.span().start.column)))?;
    ast::visit(&tree, Dialect)
}

struct Dialect;

impl Visitor for Dialect {
    type Output = ();
    type Err = PatternError;

    fn finish(self) -> Result<(), PatternError> {
        Ok(())
    }

    fn visit_pre(&mut self, ast: &ast::Ast) -> Result<(), PatternError> {
        let flags = match ast {
            ast::Ast::Flags(set) => Some(&set.flags),
            ast::Ast::Group(group) => group.flags(),
            ast::Ast::Assertion(assertion) => return assertion_of_re2(&assertion.kind),
            ast::Ast::Repetition(repetition) => return repetition_of_re2(repetition),
            ast::Ast::Literal(literal) => return literal_of_re2(literal),
            ast::Ast::Empty(_)
            | ast::Ast::Dot(_)
            | ast::Ast::ClassUnicode(_)
            | ast::Ast::ClassPerl(_)
            | ast::Ast::ClassBracketed(_)
            | ast::Ast::Alternation(_)
            | ast::Ast::Concat(_) => None,
        };
        let foreign = |flag: &Flag| matches!(flag, Flag::IgnoreWhitespace | Flag::Unicode | Flag::CRLF);
        let items = flags.map(|flags| flags.items.as_slice()).unwrap_or_default();
        let found = items.iter().any(|item| matches!(&item.kind, FlagsItemKind::Flag(flag) if foreign(flag)));
        if found { Err(PatternError::NotRe2("a flag other than i, m, s, U")) } else { Ok(()) }
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), PatternError> {
        match item {
            ClassSetItem::Bracketed(_) => Err(PatternError::NotRe2("a [class] inside a [class]")),
            ClassSetItem::Literal(literal) => literal_of_re2(literal),
            ClassSetItem::Range(range) => literal_of_re2(&range.start).and_then(|()| literal_of_re2(&range.end)),
            ClassSetItem::Empty(_)
            | ClassSetItem::Ascii(_)
            | ClassSetItem::Unicode(_)
            | ClassSetItem::Perl(_)
            | ClassSetItem::Union(_) => Ok(()),
        }
    }

    fn visit_class_set_binary_op_pre(&mut self, _: &ClassSetBinaryOp) -> Result<(), PatternError> {
        Err(PatternError::NotRe2("&&, -- or ~~ inside a [class]"))
    }
}

fn literal_of_re2(literal: &ast::Literal) -> Result<(), PatternError> {
    use ast::{HexLiteralKind as Hex, LiteralKind as Kind};
    match &literal.kind {
        Kind::HexFixed(Hex::UnicodeShort | Hex::UnicodeLong) | Kind::HexBrace(Hex::UnicodeShort | Hex::UnicodeLong) => {
            Err(PatternError::NotRe2("\\u or \\U"))
        }
        Kind::Verbatim
        | Kind::Meta
        | Kind::Superfluous
        | Kind::Octal
        | Kind::HexFixed(Hex::X)
        | Kind::HexBrace(Hex::X)
        | Kind::Special(_) => Ok(()),
    }
}

fn repetition_of_re2(repetition: &ast::Repetition) -> Result<(), PatternError> {
    use ast::{RepetitionKind, RepetitionRange};
    if matches!(*repetition.ast, ast::Ast::Repetition(_)) {
        return Err(PatternError::NotRe2("a repetition of a repetition without a group, like ** or {2}{3},"));
    }
    let most = match &repetition.op.kind {
        RepetitionKind::ZeroOrOne | RepetitionKind::ZeroOrMore | RepetitionKind::OneOrMore => 0,
        RepetitionKind::Range(
            RepetitionRange::Exactly(most) | RepetitionRange::AtLeast(most) | RepetitionRange::Bounded(_, most),
        ) => *most,
    };
    if most > MAX_REPEAT { Err(PatternError::Repeat(most)) } else { Ok(()) }
}

fn assertion_of_re2(kind: &ast::AssertionKind) -> Result<(), PatternError> {
    use ast::AssertionKind as K;
    match kind {
        K::StartLine | K::EndLine | K::StartText | K::EndText | K::WordBoundary | K::NotWordBoundary => Ok(()),
        K::WordBoundaryStart
        | K::WordBoundaryEnd
        | K::WordBoundaryStartAngle
        | K::WordBoundaryEndAngle
        | K::WordBoundaryStartHalf
        | K::WordBoundaryEndHalf => Err(PatternError::NotRe2("\\< \\> \\b{..}")),
    }
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
