//! Text → expression, by descent.
//!
//! Owns the grammar. Must never recurse deeper than its bound, nor skip a letter that it did not understand. Start at
//! [`parse`].

use std::collections::BTreeSet;

use super::{Expr, MAX_LETTERS, MAX_NESTING, SelectorError, Test};

/// Letters of a label's name.
const MAX_LABEL: usize = 512;
/// Letters of a wrong word that an error shows.
const MAX_SHOWN: usize = 64;

/// All of `text`, or why not.
pub(super) fn parse(text: &str) -> Result<Expr, SelectorError> {
    let mut parser = Parser { text, rest: text };
    let letters = text.chars().count();
    if letters > MAX_LETTERS {
        return Err(parser.error(format!("has {letters} letters, the most is {MAX_LETTERS}; write it shorter")));
    }
    parser.skip_blanks();
    if parser.rest.is_empty() {
        return Ok(Expr::All);
    }
    let expr = parser.or(0)?;
    parser.skip_blanks();
    if parser.rest.is_empty() {
        return Ok(expr);
    }
    Err(match parser.rest.chars().next() {
        Some(')') => parser.error("a parenthesis is closed that was never opened; remove it"),
        Some('&' | '|') => parser.error("is no operator; write && or ||"),
        _ => parser.error(format!("{} is not expected here; write && or || before it", parser.shown())),
    })
}

type Step<T> = Result<T, SelectorError>;

struct Parser<'t> {
    text: &'t str,
    rest: &'t str,
}

impl Parser<'_> {
    fn error(&self, reason: impl Into<String>) -> SelectorError {
        self.error_at(self.rest, reason)
    }

    /// An error at what was still to be read at the time.
    fn error_at(&self, rest: &str, reason: impl Into<String>) -> SelectorError {
        let read = self.text.len().saturating_sub(rest.len());
        let letters = self.text.get(..read).unwrap_or_default().chars().count();
        SelectorError { column: letters.saturating_add(1), reason: reason.into() }
    }

    /// The word that is next, for errors.
    fn shown(&self) -> String {
        let word: String = self.rest.chars().take_while(|letter| is_label_letter(*letter)).take(MAX_SHOWN).collect();
        match self.rest.chars().next() {
            None => "the end".to_owned(),
            Some('\n' | '\r') => {
                "a line break (write the expression on one line; in YAML `>-` instead of `>`)".to_owned()
            }
            Some(first) if word.is_empty() => format!("{first:?}"),
            Some(_) => word,
        }
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// Takes `token` after blanks, if it is there.
    fn take(&mut self, token: &str) -> bool {
        self.skip_blanks();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Takes a word that is not the beginning of a longer one.
    fn take_word(&mut self, word: &str) -> bool {
        self.skip_blanks();
        let ends = |rest: &&str| !rest.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_');
        match self.rest.strip_prefix(word).filter(ends) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// `token`, after blanks, and then the end of its parentheses.
    fn take_call(&mut self, token: &str) -> bool {
        self.skip_blanks();
        let inside = self.rest.strip_prefix(token).and_then(|rest| rest.strip_prefix('('));
        match inside.and_then(|rest| rest.trim_start_matches([' ', '\t']).strip_prefix(')')) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn or(&mut self, depth: usize) -> Step<Expr> {
        let mut parts = vec![self.and(depth)?];
        while self.take("||") {
            parts.push(self.and(depth)?);
        }
        Ok(Expr::or(parts))
    }

    fn and(&mut self, depth: usize) -> Step<Expr> {
        let mut parts = vec![self.unary(depth)?];
        while self.take("&&") {
            parts.push(self.unary(depth)?);
        }
        Ok(Expr::and(parts))
    }

    fn unary(&mut self, depth: usize) -> Step<Expr> {
        let mut negated = false;
        while self.take("!") {
            negated = !negated;
        }
        let expr = self.operation(depth)?;
        Ok(if negated { expr.not() } else { expr })
    }

    fn operation(&mut self, depth: usize) -> Step<Expr> {
        self.skip_blanks();
        let start = self.rest;
        if self.take("(") {
            if depth >= MAX_NESTING {
                return Err(self.error_at(start, format!("nested deeper than {MAX_NESTING}; write it flatter")));
            }
            if self.take(")") {
                return Err(self.error_at(start, "() holds nothing; write all() for everything"));
            }
            let inner = self.or(depth.saturating_add(1))?;
            return if self.take(")") {
                Ok(inner)
            } else if self.rest.is_empty() {
                Err(self.error_at(start, "this parenthesis is never closed; write ) behind its expression"))
            } else {
                Err(self.error(format!("{} is not expected here; write &&, || or )", self.shown())))
            };
        }
        if self.take_call("all") {
            return Ok(Expr::All);
        }
        if self.take_call("global") {
            return Ok(Expr::Global);
        }
        if self.take("has(") {
            let key = self.label("has( needs a label's name")?;
            return if self.take(")") {
                Ok(Expr::Has(key))
            } else {
                Err(self.error(format!("{} is not expected here; write ) behind the label's name", self.shown())))
            };
        }
        let key = self.label("a condition is missing")?;
        let test = self.test(start, &key)?;
        Ok(Expr::Label(key, test))
    }

    /// `missing`: what is wrong when there is no label.
    fn label(&mut self, missing: &str) -> Step<String> {
        self.skip_blanks();
        let start = self.rest;
        let end = start.find(|letter: char| !is_label_letter(letter)).unwrap_or(start.len());
        let Some((label, rest)) = start.split_at_checked(end) else { return Err(self.error(missing)) };
        if label.is_empty() {
            let reason = match start.chars().next() {
                None => format!("{missing} at the end; write for example app == \"web\""),
                Some('\'' | '"') => {
                    "a text stands where a label's name must be; write the name without quotes".to_owned()
                }
                Some('&' | '|' | ')') => format!("{missing} before this; write for example app == \"web\""),
                Some('=' | '{') => "a label's name is missing before this; write for example app == \"web\"".to_owned(),
                Some(_) => {
                    format!(
                        "{} is no part of a label's name; write letters, digits, '_', '.', '/' or '-'",
                        self.shown()
                    )
                }
            };
            return Err(self.error(reason));
        }
        if label.len() > MAX_LABEL {
            return Err(self.error(format!("a label's name of {} letters; the most is {MAX_LABEL}", label.len())));
        }
        self.rest = rest;
        Ok(label.to_owned())
    }

    /// What stands behind the label `key`, which was read at `start`.
    fn test(&mut self, start: &str, key: &str) -> Step<Test> {
        if self.take("==") {
            return self.string("==").map(Test::Is);
        }
        if self.take("!=") {
            return self.string("!=").map(Test::IsNot);
        }
        if self.take_word("in") {
            return self.set("in").map(Test::In);
        }
        if self.take_word("notin") {
            return self.set("not in").map(Test::NotIn);
        }
        if self.take_word("contains") {
            return self.string("contains").map(Test::Contains);
        }
        if self.take_word("startswith") {
            return self.string("starts with").map(Test::StartsWith);
        }
        if self.take_word("endswith") {
            return self.string("ends with").map(Test::EndsWith);
        }
        self.skip_blanks();
        let operator = self.rest;
        for (first, second) in [("not", "in"), ("starts", "with"), ("ends", "with")] {
            if !self.take_word(first) {
                continue;
            }
            if !self.take_word(second) {
                return Err(self.error_at(operator, format!("{first} is no operator; write `{first} {second}`")));
            }
            return match first {
                "not" => self.set("not in").map(Test::NotIn),
                "starts" => self.string("starts with").map(Test::StartsWith),
                _ => self.string("ends with").map(Test::EndsWith),
            };
        }
        let shown: String = key.chars().take(MAX_SHOWN).collect();
        Err(match operator.chars().next() {
            None | Some(')' | '&' | '|') => {
                self.error_at(start, format!("the label {shown} stands alone; write has({shown}) or {shown} == \"…\""))
            }
            Some('=') => self.error("= is no operator; write =="),
            Some('(') => self.error_at(start, format!("{shown} is no function; write has(…), all() or global()")),
            Some(_) => {
                let known = "==, !=, in, not in, contains, starts with or ends with";
                self.error(format!("{} is no operator; write {known}", self.shown()))
            }
        })
    }

    /// A text in quotes; there are no escapes.
    fn string(&mut self, operator: &str) -> Step<String> {
        self.skip_blanks();
        let start = self.rest;
        let mut letters = start.chars();
        let quote = match letters.next() {
            Some(quote @ ('\'' | '"')) => quote,
            Some(letter) if is_label_letter(letter) => {
                let word = self.shown();
                let quotes = if word.len() < MAX_SHOWN { word.as_str() } else { "…" };
                return Err(self.error(format!(
                    "{word} is not in quotes, and a label cannot be compared with another label; write \"{quotes}\" if \
                     that text is meant"
                )));
            }
            _ => {
                let reason =
                    format!("{operator} needs a text in quotes, found {}; write \"…\" behind it", self.shown());
                return Err(self.error(reason));
            }
        };
        let Some((value, rest)) = letters.as_str().split_once(quote) else {
            return Err(self.error(format!("the text that begins here never ends; write {quote} behind it")));
        };
        self.rest = rest;
        Ok(value.to_owned())
    }

    fn set(&mut self, operator: &str) -> Step<BTreeSet<String>> {
        self.skip_blanks();
        let start = self.rest;
        if !self.take("{") {
            let found = self.shown();
            return Err(self.error(format!("{operator} needs a set, found {found}; write {operator} {{\"a\", \"b\"}}")));
        }
        let mut values = BTreeSet::new();
        if self.take("}") {
            return Ok(values);
        }
        loop {
            values.insert(self.string("a set")?);
            if self.take("}") {
                return Ok(values);
            }
            if !self.take(",") {
                return Err(if self.rest.is_empty() {
                    self.error_at(start, "this set is never closed; write } behind its last text")
                } else {
                    self.error(format!("{} is not expected in a set; write , or }}", self.shown()))
                });
            }
        }
    }
}

fn is_label_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '/' | '-')
}
