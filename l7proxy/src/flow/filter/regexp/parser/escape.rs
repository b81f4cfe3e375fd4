//! What stands behind a backslash, and in brackets.

use regex_syntax::hir::{ClassUnicode, Look};

use super::{Parser, before, class, error};

impl Parser<'_> {
    /// Outside of brackets.
    pub(super) fn escaped(&mut self) -> Result<(), String> {
        let begin = self.rest;
        match begin.chars().nth(1) {
            Some('A') => self.look(2, Look::Start),
            Some('z') => self.look(2, Look::End),
            Some('b') => self.look(2, Look::WordAscii),
            Some('B') => self.look(2, Look::WordAsciiNegate),
            Some('C') => return Err(error(ESCAPE, "\\C")),
            Some('Q') => {
                self.skip(2);
                let (literal, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
                self.rest = rest;
                literal.chars().for_each(|letter| self.letter(letter.into()));
            }
            _ => {
                if let Some(class) = self.unicode_class()?.or_else(|| self.perl_class()) {
                    self.push_class(class);
                } else {
                    let code = self.escape()?;
                    self.letter(code);
                }
            }
        }
        Ok(())
    }

    /// `\pL`, `\p{Greek}`, `\P{^Greek}`.
    fn unicode_class(&mut self) -> Result<Option<ClassUnicode>, String> {
        let begin = self.rest;
        let Some(rest) = begin.strip_prefix("\\p").or_else(|| begin.strip_prefix("\\P")) else { return Ok(None) };
        let first = rest.chars().next().ok_or_else(|| error(RANGE, begin))?;
        let mut is_negated = begin.starts_with("\\P");
        let (name, rest) = match rest.strip_prefix('{') {
            Some(rest) => rest.split_once('}').ok_or_else(|| error(RANGE, begin))?,
            None => rest.split_at_checked(first.len_utf8()).unwrap_or((rest, "")),
        };
        self.rest = rest;
        let place = before(begin, rest);
        let name = name.strip_prefix('^').inspect(|_| is_negated = !is_negated).unwrap_or(name);
        let class = class::unicode(name, self.group.flags.is_folded, is_negated);
        class.map(Some).ok_or_else(|| error(RANGE, place))
    }

    /// `\d`.
    fn perl_class(&mut self) -> Option<ClassUnicode> {
        let letter = self.rest.strip_prefix('\\')?.chars().next()?;
        let class = class::perl(letter, self.group.flags.is_folded)?;
        self.skip(2);
        Some(class)
    }

    /// `[:alpha:]`.
    fn posix_class(&mut self) -> Result<Option<ClassUnicode>, String> {
        let begin = self.rest;
        let Some((name, rest)) = begin.strip_prefix("[:").and_then(|rest| rest.split_once(":]")) else {
            return Ok(None);
        };
        self.rest = rest;
        let class = class::posix(name, self.group.flags.is_folded);
        class.map(Some).ok_or_else(|| error(RANGE, before(begin, rest)))
    }

    /// `[a-z]`.
    pub(super) fn class(&mut self) -> Result<(), String> {
        let begin = self.rest;
        self.skip(1);
        let is_negated = self.rest.starts_with('^');
        if is_negated {
            self.skip(1);
        }
        let mut all = ClassUnicode::empty();
        let mut is_first = true;
        while is_first || !self.rest.starts_with(']') {
            is_first = false;
            if let Some(class) = self.posix_class()? {
                all.union(&class);
            } else if let Some(class) = self.unicode_class()?.or_else(|| self.perl_class()) {
                all.union(&class);
            } else {
                all.union(&self.range(begin)?);
            }
        }
        self.skip(1);
        if self.group.flags.is_folded {
            // The tables are built in.
            drop(all.try_case_fold_simple());
        }
        if is_negated {
            all.negate();
        }
        self.push_class(all);
        Ok(())
    }

    /// One letter, or `a-z`.
    fn range(&mut self, class: &str) -> Result<ClassUnicode, String> {
        let begin = self.rest;
        let first = self.class_letter(class)?;
        let mut last = first;
        if self.rest.len() >= 2 && self.rest.starts_with('-') && !self.rest.starts_with("-]") {
            self.skip(1);
            last = self.class_letter(class)?;
            if last < first {
                return Err(error(RANGE, before(begin, self.rest)));
            }
        }
        Ok(class::range(first, last))
    }

    fn class_letter(&mut self, class: &str) -> Result<u32, String> {
        match self.rest.chars().next() {
            None => Err(error("missing closing ]", class)),
            Some('\\') => self.escape(),
            Some(letter) => {
                self.skip(letter.len_utf8());
                Ok(letter.into())
            }
        }
    }

    /// A letter behind a backslash.
    fn escape(&mut self) -> Result<u32, String> {
        let begin = self.rest;
        self.skip(1);
        let Some(letter) = self.rest.chars().next() else {
            return Err(error("trailing backslash at end of expression", ""));
        };
        self.skip(letter.len_utf8());
        let is_octal = |text: &str| text.starts_with(|next: char| ('0'..='7').contains(&next));
        let code = match letter {
            'a' => Some(7),
            'f' => Some(12),
            'n' => Some(10),
            'r' => Some(13),
            't' => Some(9),
            'v' => Some(11),
            'x' => self.hexadecimal(),
            '0' => Some(self.octal(0)),
            // One digit alone would be what was captured before.
            '1'..='7' if is_octal(self.rest) => Some(self.octal(letter.to_digit(8).unwrap_or_default())),
            other => (other.is_ascii() && !other.is_ascii_alphanumeric()).then(|| other.into()),
        };
        code.ok_or_else(|| error(ESCAPE, before(begin, self.rest)))
    }

    /// Up to two more digits.
    fn octal(&mut self, mut code: u32) -> u32 {
        for _ in 0..2 {
            let Some(digit) = self.rest.chars().next().and_then(|next| next.to_digit(8)) else { break };
            code = code * 8 + digit;
            self.skip(1);
        }
        code
    }

    /// `41` or `{41}`.
    fn hexadecimal(&mut self) -> Option<u32> {
        let mut next = || {
            let letter = self.rest.chars().next()?;
            self.skip(letter.len_utf8());
            Some(letter)
        };
        let first = next()?;
        if first != '{' {
            // Go takes the second letter before it looks at the first.
            let second = next()?;
            return Some(first.to_digit(16)? * 16 + second.to_digit(16)?);
        }
        let (mut code, mut has_digit) = (0_u32, false);
        loop {
            match next()? {
                '}' => return has_digit.then_some(code),
                letter => code = code * 16 + letter.to_digit(16)?,
            }
            has_digit = true;
            if code > u32::from(char::MAX) {
                return None;
            }
        }
    }
}

const ESCAPE: &str = "invalid escape sequence";
const RANGE: &str = "invalid character class range";
