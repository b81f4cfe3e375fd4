//! Classes of letters: `[a-z]`, `\d`, `[:alpha:]`, `\p{Greek}`.
//!
//! Owns which letters are in them. Start at [`perl`].

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

/// Letters from the first to the last. What is half a pair of UTF-16 is in no text.
pub(super) fn range(first: u32, last: u32) -> ClassUnicode {
    let up = |code| char::from_u32(code).unwrap_or('\u{e000}');
    let down = |code| char::from_u32(code).unwrap_or('\u{d7ff}');
    let (first, last) = (up(first), down(last));
    ClassUnicode::new((first <= last).then(|| ClassUnicodeRange::new(first, last)))
}

fn of(ranges: &[(char, char)]) -> ClassUnicode {
    ClassUnicode::new(ranges.iter().map(|(first, last)| ClassUnicodeRange::new(*first, *last)))
}

/// Of what stands behind a backslash: `d`, `S`.
pub(super) fn perl(letter: char, is_folded: bool) -> Option<ClassUnicode> {
    let class = match letter.to_ascii_lowercase() {
        'd' => of(&[('0', '9')]),
        's' => of(&[('\t', '\n'), ('\u{c}', '\r'), (' ', ' ')]),
        'w' => of(&[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')]),
        _ => return None,
    };
    Some(finished(class, is_folded, letter.is_ascii_uppercase()))
}

/// Of what stands in `[:alpha:]`.
pub(super) fn posix(name: &str, is_folded: bool) -> Option<ClassUnicode> {
    let (is_negated, name) = name.strip_prefix('^').map_or((false, name), |name| (true, name));
    let class = match name {
        "alnum" => of(&[('0', '9'), ('A', 'Z'), ('a', 'z')]),
        "alpha" => of(&[('A', 'Z'), ('a', 'z')]),
        "ascii" => of(&[('\0', '\u{7f}')]),
        "blank" => of(&[('\t', '\t'), (' ', ' ')]),
        "cntrl" => of(&[('\0', '\u{1f}'), ('\u{7f}', '\u{7f}')]),
        "digit" => of(&[('0', '9')]),
        "graph" => of(&[('!', '~')]),
        "lower" => of(&[('a', 'z')]),
        "print" => of(&[(' ', '~')]),
        "punct" => of(&[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')]),
        "space" => of(&[('\t', '\r'), (' ', ' ')]),
        "upper" => of(&[('A', 'Z')]),
        "word" => of(&[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')]),
        "xdigit" => of(&[('0', '9'), ('A', 'F'), ('a', 'f')]),
        _ => return None,
    };
    Some(finished(class, is_folded, is_negated))
}

/// Of a category or script of Unicode.
pub(super) fn unicode(name: &str, is_folded: bool, is_negated: bool) -> Option<ClassUnicode> {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_- ".contains(&byte)) {
        return None;
    }
    let tree = ["gc", "sc"].iter().find_map(|kind| regex_syntax::parse(&format!("\\p{{{kind}={name}}}")).ok())?;
    let HirKind::Class(Class::Unicode(class)) = tree.into_kind() else { return None };
    Some(finished(class, is_folded, is_negated))
}

fn finished(mut class: ClassUnicode, is_folded: bool, is_negated: bool) -> ClassUnicode {
    if is_folded {
        // The tables are built in.
        drop(class.try_case_fold_simple());
    }
    if is_negated {
        class.negate();
    }
    class
}
