//! Words of a pattern without which no value matches it: where none of them is, the pattern need not be asked.
//!
//! In lower case, and to be looked for in values in lower case: so a word stands for all its spellings. Must never ask for
//! what a value that matches may lack; asking for less is only slower. Start at [`required`].

use std::collections::BTreeSet;

use regex_syntax::hir::{Class, ClassBytes, ClassBytesRange, Hir, HirKind, Repetition};

/// Every value has one of these in it.
pub(crate) type AnyOf = BTreeSet<Vec<u8>>;

/// So many words may stand for one part.
const MAX_WORDS: usize = 8;
/// A shorter word is in most paths.
const MIN_BYTES: usize = 3;
/// Of a longer word, its end counts.
const MAX_BYTES: usize = 64;
/// So many parts of a pattern have words.
const MAX_PARTS: usize = 8;

/// For some parts of `body`: every value that matches has one of its words in it.
pub(super) fn required(body: &Hir) -> Box<[AnyOf]> {
    let mut parts = part(body).into_required();
    parts.truncate(MAX_PARTS);
    parts.into()
}

/// What is known of the values of a part.
enum Part {
    /// All of a value is one of these, which are not too many.
    Exactly(AnyOf),
    /// A value has a word of each in it.
    With(Vec<AnyOf>),
}

impl Part {
    const UNKNOWN: Self = Self::With(Vec::new());

    fn into_required(self) -> Vec<AnyOf> {
        match self {
            Self::Exactly(words) => useful(words).into_iter().collect(),
            Self::With(required) => required,
        }
    }
}

/// Words that are worth being looked for.
fn useful(words: AnyOf) -> Option<AnyOf> {
    let is_useful = !words.is_empty() && words.iter().all(|word| word.len() >= MIN_BYTES);
    let end = |word: Vec<u8>| word.get(word.len().saturating_sub(MAX_BYTES)..).map(<[u8]>::to_vec);
    is_useful.then(|| words.into_iter().filter_map(end).collect())
}

fn part(hir: &Hir) -> Part {
    match hir.kind() {
        // A place in a value has no bytes.
        HirKind::Empty | HirKind::Look(_) => Part::Exactly([Vec::new()].into()),
        HirKind::Literal(literal) => Part::Exactly([literal.0.to_ascii_lowercase()].into()),
        HirKind::Class(Class::Bytes(class)) => bytes(class).map_or(Part::UNKNOWN, Part::Exactly),
        HirKind::Class(Class::Unicode(_)) => Part::UNKNOWN,
        HirKind::Capture(capture) => part(&capture.sub),
        HirKind::Repetition(repetition) => repeated(repetition),
        HirKind::Concat(parts) => concat(parts),
        HirKind::Alternation(parts) => alternation(parts),
    }
}

/// The bytes of a class that was written for a few of them.
fn bytes(class: &ClassBytes) -> Option<AnyOf> {
    let size: usize = class.ranges().iter().map(ClassBytesRange::len).sum();
    // Both cases of each.
    if size > MAX_WORDS.saturating_mul(2) {
        return None;
    }
    let bytes = class.ranges().iter().flat_map(|range| range.start()..=range.end());
    let bytes: AnyOf = bytes.map(|byte| vec![byte.to_ascii_lowercase()]).collect();
    (!bytes.is_empty() && bytes.len() <= MAX_WORDS).then_some(bytes)
}

fn repeated(repetition: &Repetition) -> Part {
    match (repetition.min, repetition.max, part(&repetition.sub)) {
        (0, Some(1), Part::Exactly(mut words)) if words.len() < MAX_WORDS => {
            words.insert(Vec::new());
            Part::Exactly(words)
        }
        (0, _, _) => Part::UNKNOWN,
        (_, _, part) => Part::With(part.into_required()),
    }
}

fn concat(parts: &[Hir]) -> Part {
    let mut required = Vec::new();
    // What the last parts are together; and whether that is all.
    let mut run = AnyOf::from([Vec::new()]);
    let mut is_all = true;
    for next in parts.iter().map(part) {
        let (ended, next_run) = match next {
            Part::Exactly(words) if has_room(&run, &words) => (None, product(&run, &words)),
            Part::Exactly(words) => (Some(Vec::new()), words),
            Part::With(words) => (Some(words), [Vec::new()].into()),
        };
        let before = std::mem::replace(&mut run, next_run);
        if let Some(inside) = ended {
            is_all = false;
            required.extend(useful(before));
            required.extend(inside);
        }
    }
    if is_all {
        return Part::Exactly(run);
    }
    required.extend(useful(run));
    Part::With(required)
}

fn has_room(run: &AnyOf, words: &AnyOf) -> bool {
    run.len().saturating_mul(words.len()) <= MAX_WORDS && shortest(run) < MAX_BYTES
}

fn product(run: &AnyOf, words: &AnyOf) -> AnyOf {
    run.iter().flat_map(|begin| words.iter().map(|end| [begin.as_slice(), end].concat())).collect()
}

/// All of a few words, or for each choice the words that are longest.
fn alternation(parts: &[Hir]) -> Part {
    let few = |words: &AnyOf| words.len() <= MAX_WORDS;
    let (mut exactly, mut any) = (Some(AnyOf::new()), Some(AnyOf::new()));
    for part in parts.iter().map(part) {
        exactly = match (exactly, &part) {
            (Some(known), Part::Exactly(words)) => Some(&known | words).filter(few),
            (None, _) | (_, Part::With(_)) => None,
        };
        let longest = part.into_required().into_iter().max_by_key(shortest);
        any = any.zip(longest).map(|(known, words)| &known | &words).filter(few);
    }
    match (exactly, any) {
        (Some(words), _) => Part::Exactly(words),
        (None, Some(words)) => Part::With(vec![words]),
        (None, None) => Part::UNKNOWN,
    }
}

/// Bytes of the shortest word.
pub(crate) fn shortest(words: &AnyOf) -> usize {
    words.iter().map(Vec::len).min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::full_match;

    fn words(pattern: &str) -> Vec<Vec<String>> {
        let pattern = full_match(pattern).unwrap();
        let text = |word: &Vec<u8>| String::from_utf8(word.clone()).unwrap();
        pattern.required().unwrap().iter().map(|words| words.iter().map(text).collect()).collect()
    }

    #[test]
    fn words_are_those_without_which_nothing_matches() {
        for (pattern, wanted) in [
            ("/users/[0-9]+", &[&["/users/"][..]][..]),
            ("/Users/[0-9]+", &[&["/users/"]]),
            ("/users/[0-9]+/(edit|view)", &[&["/users/"], &["/edit", "/view"]]),
            ("/api/v[12]/r1/[a-z]+", &[&["/api/v1/r1/", "/api/v2/r1/"]]),
            ("(?i)/Users/.*", &[&["/users/"]]),
            ("/a(bc)?d/x+", &[&["/abcd/", "/ad/"]]),
            ("/(users|orders/[0-9]+)", &[&["orders/", "users"]]),
            ("(/users/x?)+", &[&["/users/", "/users/x"]]),
            ("(/users){2}", &[&["/users"]]),
            ("(/users)*", &[]),
            ("(/users)?", &[]),
            ("(/users){0,2}", &[]),
            ("/(users|.*)", &[]),
            ("/(users|[0-9]|)x", &[]),
            ("/[a-z]+/x", &[]),
            ("[^a]*", &[]),
        ] {
            assert_eq!(words(pattern), wanted, "{pattern}");
        }
    }

    #[test]
    fn words_are_few_and_short() {
        assert_eq!(words("/[abc]x[abc]yes[0-9]+"), [["/ax", "/bx", "/cx"], ["ayes", "byes", "cyes"]], "no nine words");
        let long = format!("/{}/[0-9]+", "a".repeat(1000));
        assert_eq!(words(&long), [[format!("{}/", "a".repeat(63))]]);
    }
}
