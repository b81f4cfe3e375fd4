//! A second reading of patterns: sets of positions, no automaton.
//!
//! Owns the commonest part of RE2's syntax. Must never guess: what it does not know has no answer. Start at
//! [`full_match`].

use std::{collections::BTreeSet, iter::Peekable, str::Bytes};

/// Whether all of `value` matches `pattern`; `None` when the pattern is of a form that is not known here. Known are bytes,
/// `.`, `[..]`, `\` before punctuation, `^`, `$`, `|`, `*`, `+`, `?`, `{n}` and `{n,m}` of digits (also lazy), `(..)`,
/// `(?:..)`, and `(?i)` in front of all.
#[must_use]
pub fn full_match(pattern: &str, value: &[u8]) -> Option<bool> {
    if let Some(pattern) = pattern.strip_prefix("(?i)") {
        return full_match(&pattern.to_ascii_lowercase(), &value.to_ascii_lowercase());
    }
    let mut reader = Reader { rest: pattern.bytes().peekable() };
    let tree = reader.choice()?;
    if reader.rest.next().is_some() {
        return None;
    }
    Some(tree.ends(value, &BTreeSet::from([0])).contains(&value.len()))
}

enum Tree {
    /// One byte in any of these ranges; or in none.
    Byte {
        ranges: Vec<(u8, u8)>,
        negated: bool,
    },
    Start,
    End,
    Sequence(Vec<Tree>),
    Choice(Vec<Tree>),
    /// At least and at most so often; `None`: however often.
    Repeat(Box<Tree>, Times),
}

/// The least and the most.
type Times = (u8, Option<u8>);

/// Positions in a value.
type Positions = BTreeSet<usize>;

impl Tree {
    /// Where a match that begins at one of `starts` may end.
    fn ends(&self, value: &[u8], starts: &Positions) -> Positions {
        match self {
            Self::Byte { ranges, negated } => {
                let fits = |at: usize| {
                    let within = |byte: &u8| ranges.iter().any(|(from, to)| from <= byte && byte <= to);
                    value.get(at).is_some_and(|byte| within(byte) != *negated)
                };
                starts.iter().filter(|at| fits(**at)).map(|at| at.saturating_add(1)).collect()
            }
            Self::Start => starts.iter().copied().filter(|at| *at == 0).collect(),
            Self::End => starts.iter().copied().filter(|at| *at == value.len()).collect(),
            Self::Sequence(parts) => parts.iter().fold(starts.clone(), |at, part| part.ends(value, &at)),
            Self::Choice(choices) => choices.iter().flat_map(|choice| choice.ends(value, starts)).collect(),
            Self::Repeat(part, (least, most)) => {
                let mut known = (0..*least).fold(starts.clone(), |at, _| part.ends(value, &at));
                let mut more = most.map(|most| most.saturating_sub(*least));
                while more != Some(0) {
                    let grown = &part.ends(value, &known) | &known;
                    if grown == known {
                        break;
                    }
                    known = grown;
                    more = more.map(|more| more.saturating_sub(1));
                }
                known
            }
        }
    }
}

struct Reader<'p> {
    rest: Peekable<Bytes<'p>>,
}

impl Reader<'_> {
    fn take(&mut self, byte: u8) -> bool {
        self.rest.next_if_eq(&byte).is_some()
    }

    fn choice(&mut self) -> Option<Tree> {
        let mut choices = vec![self.sequence()?];
        while self.take(b'|') {
            choices.push(self.sequence()?);
        }
        Some(Tree::Choice(choices))
    }

    fn sequence(&mut self) -> Option<Tree> {
        let mut parts = Vec::new();
        while self.rest.peek().is_some_and(|next| !matches!(next, b'|' | b')')) {
            parts.push(self.repeated()?);
        }
        Some(Tree::Sequence(parts))
    }

    fn repeated(&mut self) -> Option<Tree> {
        let part = self.part()?;
        let times = match self.rest.peek() {
            Some(b'*') => (0, None),
            Some(b'+') => (1, None),
            Some(b'?') => (0, Some(1)),
            Some(b'{') => self.counts()?,
            _ => return Some(part),
        };
        self.rest.next();
        // Lazy: of a whole match nobody can tell.
        self.take(b'?');
        match self.rest.peek() {
            Some(b'*' | b'+' | b'?' | b'{') => None,
            _ => Some(Tree::Repeat(Box::new(part), times)),
        }
    }

    /// Up to the closing brace, which is left.
    fn counts(&mut self) -> Option<Times> {
        self.rest.next();
        let least = self.digit()?;
        let most = if self.take(b',') { self.digit()? } else { least };
        (least <= most && self.rest.peek() == Some(&b'}')).then_some((least, Some(most)))
    }

    fn digit(&mut self) -> Option<u8> {
        self.rest.next().filter(u8::is_ascii_digit).and_then(|digit| digit.checked_sub(b'0'))
    }

    fn part(&mut self) -> Option<Tree> {
        let one = |byte| Some(Tree::Byte { ranges: vec![(byte, byte)], negated: false });
        match self.rest.next()? {
            b'.' => Some(Tree::Byte { ranges: vec![(b'\n', b'\n')], negated: true }),
            b'^' => Some(Tree::Start),
            b'$' => Some(Tree::End),
            b'[' => self.class(),
            b'(' => {
                if self.take(b'?') && !self.take(b':') {
                    return None;
                }
                let inside = self.choice()?;
                self.take(b')').then_some(inside)
            }
            b'\\' => self.rest.next().filter(u8::is_ascii_punctuation).and_then(one),
            b'{' | b'}' | b']' | b'*' | b'+' | b'?' => None,
            byte => Some(byte).filter(u8::is_ascii).and_then(one),
        }
    }

    /// Letters, digits, `/`, `.`, and ranges of them.
    fn class(&mut self) -> Option<Tree> {
        let negated = self.take(b'^');
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_');
        let mut ranges = Vec::new();
        while !self.take(b']') {
            let from = self.rest.next().filter(plain)?;
            let to = if self.take(b'-') { self.rest.next().filter(plain)? } else { from };
            if from > to {
                return None;
            }
            ranges.push((from, to));
        }
        (!ranges.is_empty()).then_some(Tree::Byte { ranges, negated })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_it_knows_and_nothing_else() {
        for (pattern, value, wanted) in [
            ("", "", Some(true)),
            ("a|ab", "ab", Some(true)),
            ("a|ab", "abc", Some(false)),
            ("(a|ab)(c|bcd)", "abcd", Some(true)),
            ("/a(/.*)?", "/a/b", Some(true)),
            ("/a(/.*)?", "/ab", Some(false)),
            ("/.*", "/\n", Some(false)),
            ("[a-c/]+?", "a/c", Some(true)),
            ("[^a]", "a", Some(false)),
            ("^/a|/b$", "/a/b", Some(false)),
            (r"a\.b", "axb", Some(false)),
            ("(a*)*", "aaa", Some(true)),
            ("a{2}b{0,2}", "aab", Some(true)),
            ("a{2}", "a", Some(false)),
            ("(a|b){1,2}", "ba", Some(true)),
            ("(a|b){1,2}", "bab", Some(false)),
            ("a{2,1}", "aa", None),
            ("a{2}{3}", "aaaaaa", None),
            ("a{2,}", "aa", None),
            ("(?i)[a-c]B", "Cb", Some(true)),
            ("(?i)[^a]", "A", Some(false)),
            ("a(?i)b", "aB", None),
            ("a)", "a", None),
            ("(a", "a", None),
            ("a**", "a", None),
            (r"\w", "w", None),
        ] {
            assert_eq!(full_match(pattern, value.as_bytes()), wanted, "{pattern} {value:?}");
        }
    }
}
