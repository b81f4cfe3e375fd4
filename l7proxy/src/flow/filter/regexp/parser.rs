//! Reads Go's syntax of regular expressions, step by step as `regexp/syntax` does, so that both take the same and say the same
//! of what they do not take. Rust's own syntax differs: `\d`, `[[a]`, `{`, `\Q`, `\z` mean something else or nothing there.
//!
//! Owns syntax and meaning. Captures and greed make no difference to whether something is found. Start at [`parse`].

use regex_syntax::hir::{Class, ClassUnicode, Dot, Hir, Look, Repetition};

use super::class;

mod escape;

/// A repetition may ask for this many, also in another one.
const MAX_REPEAT: u32 = 1000;
/// Groups and repetitions may be nested this deep.
const MAX_NESTING: u32 = 100;

/// `error parsing regexp: <what>: <where>`
pub(super) fn error(what: &str, place: &str) -> String {
    format!("error parsing regexp: {what}: `{place}`")
}

/// Its tree.
pub(super) fn parse(pattern: &str) -> Result<Hir, String> {
    let mut parser = Parser { whole: pattern, rest: pattern, group: Group::default(), around: Vec::new() };
    let mut repeated = None;
    while let Some(letter) = parser.rest.chars().next() {
        repeated = parser.step(letter, repeated)?;
    }
    if parser.around.is_empty() {
        parser.group.alternatives().map(|item| item.tree).ok_or_else(|| error(TOO_DEEP, pattern))
    } else {
        Err(error("missing closing )", pattern))
    }
}

const TOO_DEEP: &str = "expression nests too deeply";

#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    is_folded: bool,
    is_multi_line: bool,
    dot_is_all: bool,
}

/// A part of the expression.
#[derive(Debug)]
struct Item {
    tree: Hir,
    /// How deep it is nested.
    height: u32,
    /// How often its innermost part is written out.
    repeats: u32,
}

impl Item {
    fn of(tree: Hir) -> Self {
        Self { tree, height: 1, repeats: 1 }
    }
}

/// What stands between two parentheses, as far as it was read.
#[derive(Debug, Default)]
struct Group {
    flags: Flags,
    before_bars: Vec<Item>,
    items: Vec<Item>,
}

impl Group {
    fn bar(&mut self) {
        let item = joined(std::mem::take(&mut self.items), Hir::concat);
        self.before_bars.push(item);
    }

    /// `None`: it is nested too deep.
    fn alternatives(mut self) -> Option<Item> {
        self.bar();
        let mut item = joined(self.before_bars, Hir::alternation);
        item.height += 1;
        (item.height <= MAX_NESTING).then_some(item)
    }
}

fn joined(items: Vec<Item>, join: impl FnOnce(Vec<Hir>) -> Hir) -> Item {
    let height = items.iter().map(|item| item.height).max().unwrap_or_default();
    let repeats = items.iter().map(|item| item.repeats).max().unwrap_or(1);
    Item { tree: join(items.into_iter().map(|item| item.tree).collect()), height, repeats }
}

struct Parser<'p> {
    whole: &'p str,
    rest: &'p str,
    group: Group,
    around: Vec<Group>,
}

/// What `long` has before `short`, its end.
fn before<'t>(long: &'t str, short: &str) -> &'t str {
    long.strip_suffix(short).unwrap_or(long)
}

impl<'p> Parser<'p> {
    /// Reads one thing. `repeated`: what stood there when the thing before was a repetition.
    fn step(&mut self, letter: char, repeated: Option<&'p str>) -> Result<Option<&'p str>, String> {
        let begin = self.rest;
        match letter {
            '(' if begin.starts_with("(?") => self.flags()?,
            '(' => {
                self.skip(1);
                self.open();
            }
            ')' => {
                self.skip(1);
                self.close()?;
            }
            '|' => {
                self.skip(1);
                self.group.bar();
            }
            '^' if self.group.flags.is_multi_line => self.look(1, Look::StartLF),
            '^' => self.look(1, Look::Start),
            '$' if self.group.flags.is_multi_line => self.look(1, Look::EndLF),
            '$' => self.look(1, Look::End),
            '.' => {
                self.skip(1);
                let dot = if self.group.flags.dot_is_all { Dot::AnyChar } else { Dot::AnyCharExceptLF };
                self.push(Hir::dot(dot));
            }
            '[' => self.class()?,
            '*' | '+' | '?' => {
                self.skip(1);
                let (min, max) = match letter {
                    '*' => (0, None),
                    '+' => (1, None),
                    _ => (0, Some(1)),
                };
                self.repeat((min, max, false), begin, repeated)?;
                return Ok(Some(begin));
            }
            '{' => {
                let Some(((min, max), rest)) = counts(begin) else {
                    self.skip(1);
                    self.letter('{'.into());
                    return Ok(None);
                };
                self.rest = rest;
                if min > MAX_REPEAT || max.is_some_and(|max| max > MAX_REPEAT || min > max) {
                    return Err(error("invalid repeat count", before(begin, rest)));
                }
                self.repeat((min, max, true), begin, repeated)?;
                return Ok(Some(begin));
            }
            '\\' => self.escaped()?,
            other => {
                self.skip(other.len_utf8());
                self.letter(other.into());
            }
        }
        Ok(None)
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn push(&mut self, tree: Hir) {
        self.group.items.push(Item::of(tree));
    }

    fn look(&mut self, bytes: usize, look: Look) {
        self.skip(bytes);
        self.push(Hir::look(look));
    }

    fn letter(&mut self, code: u32) {
        let mut class = class::range(code, code);
        if self.group.flags.is_folded {
            // The tables are built in.
            drop(class.try_case_fold_simple());
        }
        self.push(Hir::class(Class::Unicode(class)));
    }

    fn push_class(&mut self, class: ClassUnicode) {
        self.push(Hir::class(Class::Unicode(class)));
    }

    fn open(&mut self) {
        let inner = Group { flags: self.group.flags, ..Group::default() };
        self.around.push(std::mem::replace(&mut self.group, inner));
    }

    fn close(&mut self) -> Result<(), String> {
        let outer = self.around.pop().ok_or_else(|| error("unexpected )", self.whole))?;
        let item = std::mem::replace(&mut self.group, outer).alternatives();
        self.group.items.push(item.ok_or_else(|| error(TOO_DEEP, self.whole))?);
        Ok(())
    }

    /// Of the thing before. `begin`: where its operator stands.
    fn repeat(
        &mut self,
        (min, max, is_count): (u32, Option<u32>, bool),
        begin: &str,
        repeated: Option<&str>,
    ) -> Result<(), String> {
        if self.rest.starts_with('?') {
            self.skip(1);
        }
        if let Some(repeated) = repeated {
            return Err(error("invalid nested repetition operator", before(repeated, self.rest)));
        }
        let operator = before(begin, self.rest);
        let Some(item) = self.group.items.pop() else {
            return Err(error("missing argument to repetition operator", operator));
        };
        let Item { tree, height, mut repeats } = item;
        if is_count {
            repeats = match max.unwrap_or(min) {
                0 if max.is_some() => 1,
                times => repeats * times.max(1),
            };
            if repeats > MAX_REPEAT {
                return Err(error("invalid repeat count", operator));
            }
        }
        if height >= MAX_NESTING {
            return Err(error(TOO_DEEP, self.whole));
        }
        let tree = Hir::repetition(Repetition { min, max, greedy: true, sub: Box::new(tree) });
        self.group.items.push(Item { tree, height: height + 1, repeats });
        Ok(())
    }

    /// `(?i)`, `(?i:`, `(?P<name>`, `(?<name>`.
    fn flags(&mut self) -> Result<(), String> {
        let begin = self.rest;
        let is_long = |text: &str| begin.len() > text.len() && begin.starts_with(text);
        if let Some(prefix) = ["(?P<", "(?<"].into_iter().find(|text| is_long(text)) {
            let wrong = |place| Err(error("invalid named capture", place));
            let Some(end) = begin.find('>') else { return wrong(begin) };
            let name = begin.get(prefix.len()..end).unwrap_or_default();
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return wrong(begin.get(..=end).unwrap_or(begin));
            }
            self.skip(end + 1);
            self.open();
            return Ok(());
        }
        self.skip(2);
        let (mut flags, mut is_negated, mut has_flag) = (self.group.flags, false, false);
        while let Some(letter) = self.rest.chars().next() {
            self.skip(letter.len_utf8());
            match letter {
                'i' => flags.is_folded = !is_negated,
                'm' => flags.is_multi_line = !is_negated,
                's' => flags.dot_is_all = !is_negated,
                'U' => {}
                '-' if !is_negated => {
                    (is_negated, has_flag) = (true, false);
                    continue;
                }
                ':' | ')' if has_flag || !is_negated => {
                    if letter == ':' {
                        self.open();
                    }
                    self.group.flags = flags;
                    return Ok(());
                }
                _ => break,
            }
            has_flag = true;
        }
        Err(error("invalid or unsupported Perl syntax", before(begin, self.rest)))
    }
}

/// How often at least and at most.
type Counts = (u32, Option<u32>);

/// `{2}`, `{2,}`, `{2,3}`, and what follows.
fn counts(text: &str) -> Option<(Counts, &str)> {
    let (inside, rest) = text.strip_prefix('{')?.split_once('}')?;
    // What is too large to be read is too large.
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_plain = text.len() == 1 || !text.starts_with('0');
        (is_number && is_plain).then(|| text.parse::<u32>().unwrap_or(u32::MAX))
    };
    let counts = match inside.split_once(',') {
        None => number(inside).map(|times| (times, Some(times)))?,
        Some((min, "")) => (number(min)?, None),
        Some((min, max)) => (number(min)?, Some(number(max)?)),
    };
    Some((counts, rest))
}
