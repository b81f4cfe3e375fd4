//! What can be told of a pattern without matching anything: how it may begin, whether a query may follow.
//!
//! Start at [`admits_query`].

use regex_syntax::hir::{Class, Hir, HirKind};

use crate::pattern::{Form, Pattern};

/// A class of more bytes than this was not written for one of them.
const MAX_LISTED: usize = 64;

/// Whether a path with a query may match: `?` is written out, or the end leaves room for it.
pub(super) fn admits_query(pattern: &Pattern) -> bool {
    match pattern.form() {
        Form::Literal(literal) => literal.contains(&b'?'),
        Form::OneOf(literals) => literals.iter().any(|literal| literal.contains(&b'?')),
        Form::Prefix(_) => true,
        Form::Regex => pattern.tree().is_none_or(|hir| names_query(&hir) || ends_open(&hir)),
    }
}

/// Whether a value that begins with `/` may match.
pub(super) fn may_begin_with_slash(pattern: &Pattern) -> bool {
    match pattern.form() {
        Form::Literal(literal) => literal.starts_with(b"/"),
        Form::OneOf(literals) => literals.iter().any(|literal| literal.starts_with(b"/")),
        Form::Prefix(prefix) => prefix.is_empty() || prefix.starts_with(b"/"),
        Form::Regex => pattern.tree().is_none_or(|hir| begins(&hir)),
    }
}

/// Letters around the first dot that stands unescaped between two word characters: `v1.0`.
pub(super) fn dot_between_letters(text: &str) -> Option<String> {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut before = None;
    let mut in_class = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let after = letters.peek().copied().filter(|after| is_word(*after));
        match letter {
            '\\' => {
                letters.next();
            }
            '[' => in_class = true,
            ']' => in_class = false,
            '.' if !in_class => {
                if let (Some(before), Some(after)) = (before, after) {
                    return Some(format!("{before}.{after}"));
                }
            }
            _ => {}
        }
        before = Some(letter).filter(|letter| is_word(*letter) && !in_class);
    }
    None
}

fn class_has(class: &Class, byte: u8) -> bool {
    match class {
        Class::Bytes(class) => class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&byte)),
        Class::Unicode(class) => {
            class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&char::from(byte)))
        }
    }
}

/// Bytes of a class; many when it is one of characters.
fn class_size(class: &Class) -> usize {
    match class {
        Class::Bytes(class) => class.ranges().iter().map(regex_syntax::hir::ClassBytesRange::len).sum(),
        Class::Unicode(_) => usize::MAX,
    }
}

/// Whether `?` itself is asked for somewhere.
fn names_query(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => false,
        HirKind::Literal(literal) => literal.0.contains(&b'?'),
        HirKind::Class(class) => class_has(class, b'?') && class_size(class) <= MAX_LISTED,
        HirKind::Repetition(repetition) => names_query(&repetition.sub),
        HirKind::Capture(capture) => names_query(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().any(names_query),
    }
}

/// Whether the last byte may be `?`.
fn ends_open(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => false,
        HirKind::Literal(literal) => literal.0.last() == Some(&b'?'),
        HirKind::Class(class) => class_has(class, b'?'),
        HirKind::Repetition(repetition) => ends_open(&repetition.sub),
        HirKind::Capture(capture) => ends_open(&capture.sub),
        HirKind::Concat(parts) => at_edge(parts.iter().rev(), ends_open),
        HirKind::Alternation(parts) => parts.iter().any(ends_open),
    }
}

/// Whether the first byte may be `/`.
fn begins(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => false,
        HirKind::Literal(literal) => literal.0.first() == Some(&b'/'),
        HirKind::Class(class) => class_has(class, b'/'),
        HirKind::Repetition(repetition) => begins(&repetition.sub),
        HirKind::Capture(capture) => begins(&capture.sub),
        HirKind::Concat(parts) => at_edge(parts.iter(), begins),
        HirKind::Alternation(parts) => parts.iter().any(begins),
    }
}

/// Whether it holds for the first part, or for one behind parts that may be empty.
fn at_edge<'h>(parts: impl Iterator<Item = &'h Hir>, holds: impl Fn(&Hir) -> bool) -> bool {
    for part in parts {
        if holds(part) {
            return true;
        }
        if part.properties().minimum_len() != Some(0) {
            return false;
        }
    }
    false
}
