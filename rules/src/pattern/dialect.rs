//! Where RE2 and Rust's syntax differ: what RE2 takes is made readable, what the two read differently is refused.
//!
//! Must never let through what means one thing here and another in RE2. Start at [`parse`].

use std::borrow::Cow;

use regex_syntax::ast::{self, ClassSetBinaryOp, ClassSetItem, Flag, FlagsItemKind, Visitor};

use super::{MAX_NESTING, MAX_REPEAT, PatternError};

/// Reads a pattern. What Rust's syntax has and RE2 has not, or reads differently, is an error: a policy must mean the same
/// to both.
pub(super) fn parse(pattern: &str) -> Result<ast::Ast, PatternError> {
    let tree = ast::parse::ParserBuilder::new().nest_limit(MAX_NESTING).build().parse(pattern);
    let tree = tree
        .map_err(|error| PatternError::Syntax(format!("{} at column {}", error.kind(), error.span().start.column)))?;
    ast::visit(&tree, Dialect)?;
    Ok(tree)
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

/// RE2 takes `{` for itself where it begins no repetition, as in `/users/{id}`; Rust's syntax wants it escaped there.
pub(super) fn literal_braces(pattern: &str) -> Cow<'_, str> {
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
