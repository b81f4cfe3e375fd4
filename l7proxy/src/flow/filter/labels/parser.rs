//! Reads a selector: `a=b,!c,d in (e,f)`, in the words of Kubernetes' parser.
//!
//! Owns its grammar. Hubble first puts each key's source in front of it with a dot (`k8s:app` → `k8s.app`, `app` → `any.app`)
//! and lets Kubernetes read what comes out; so does this. Start at [`selector`].

#![expect(clippy::wildcard_enum_match_arm, reason = "what is not expected is told, whatever it is")]

use std::{iter::Peekable, str::Chars};

use super::{Operator, Requirement, Selector, go};

mod names;

use self::names::{key_problems, value_problems};

/// Reads `text`.
pub(super) fn selector(text: &str) -> Result<Selector, String> {
    let text = with_sources(text);
    let tokens = tokens(&text);
    let mut parser = Parser { tokens: &tokens };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            Token::Word(_) | Token::Not => {
                let requirement =
                    parser.requirement().map_err(|error| format!("unable to parse requirement: {error}"))?;
                requirements.push(requirement);
            }
            Token::End => return Ok(Selector(requirements)),
            other => return Err(format!("found '{}', expected: !, identifier, or 'end of string'", other.text())),
        }
        match parser.next() {
            Token::End => return Ok(Selector(requirements)),
            Token::Comma => {
                let next = parser.peek();
                if !matches!(next, Token::Word(_) | Token::Not) {
                    return Err(format!("found '{}', expected: identifier after ','", next.text()));
                }
            }
            other => return Err(format!("found '{}', expected: ',' or 'end of string'", other.text())),
        }
    }
}

/// With the source of each key as Kubernetes' parser can read it.
fn with_sources(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text.chars().peekable();
    while rest.peek().is_some() {
        take_while(&mut rest, &mut out, |letter| letter.is_whitespace() || letter == '!');
        let mut key = String::new();
        take_while(&mut rest, &mut key, |letter| !(letter.is_whitespace() || "=!,".contains(letter)));
        if !key.contains(':') {
            out.push_str("any.");
        }
        out.push_str(&key.replacen(':', ".", 1));
        let mut depth = 0_i32;
        for letter in rest.by_ref() {
            depth += i32::from(letter == '(') - i32::from(letter == ')');
            out.push(letter);
            if letter == ',' && depth == 0 {
                break;
            }
        }
    }
    out
}

fn take_while(rest: &mut Peekable<Chars<'_>>, out: &mut String, wanted: impl Fn(char) -> bool) {
    while let Some(letter) = rest.next_if(|letter| wanted(*letter)) {
        out.push(letter);
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    End,
    Word(String),
    Open,
    Close,
    Comma,
    Not,
    Equals,
    DoubleEquals,
    NotEquals,
    GreaterThan,
    LessThan,
    In,
    NotIn,
    /// Symbols that are none.
    Wrong(String),
}

impl Token {
    fn text(&self) -> String {
        match self {
            Self::End => "",
            Self::Word(word) => word,
            Self::Open => "(",
            Self::Close => ")",
            Self::Comma => ",",
            Self::Not => "!",
            Self::Equals => "=",
            Self::DoubleEquals => "==",
            Self::NotEquals => "!=",
            Self::GreaterThan => ">",
            Self::LessThan => "<",
            Self::In => "in",
            Self::NotIn => "notin",
            Self::Wrong(symbols) => return format!("error expected: keyword found '{symbols}'"),
        }
        .to_owned()
    }
}

fn is_symbol(letter: char) -> bool {
    "=!(),><".contains(letter)
}

/// Up to the end, which is the last one. A zero byte ends it too, as in Kubernetes.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.chars().peekable();
    loop {
        while rest.next_if(|letter| " \t\r\n".contains(*letter)).is_some() {}
        let token = match rest.peek() {
            None | Some('\0') => Token::End,
            Some(letter) if is_symbol(*letter) => symbol(&mut rest),
            Some(_) => {
                let mut word = String::new();
                take_while(&mut rest, &mut word, |letter| {
                    letter != '\0' && !is_symbol(letter) && !" \t\r\n".contains(letter)
                });
                // The zero byte that ended it is passed over.
                let _ = rest.next_if_eq(&'\0');
                match word.as_str() {
                    "in" => Token::In,
                    "notin" => Token::NotIn,
                    _ => Token::Word(word),
                }
            }
        };
        let is_end = token == Token::End;
        tokens.push(token);
        if is_end {
            return tokens;
        }
    }
}

/// The longest one, of at most two symbols.
fn symbol(rest: &mut Peekable<Chars<'_>>) -> Token {
    let first = rest.next().unwrap_or_default();
    let second = |rest: &mut Peekable<Chars<'_>>| rest.next_if_eq(&'=').is_some();
    match first {
        '(' => Token::Open,
        ')' => Token::Close,
        ',' => Token::Comma,
        '>' => Token::GreaterThan,
        '<' => Token::LessThan,
        '!' if second(rest) => Token::NotEquals,
        '!' => Token::Not,
        '=' if second(rest) => Token::DoubleEquals,
        '=' => Token::Equals,
        other => Token::Wrong(other.to_string()),
    }
}

struct Parser<'t> {
    tokens: &'t [Token],
}

/// What follows the end is the end.
const END: Token = Token::End;

impl<'t> Parser<'t> {
    /// The next one; where it cannot be an operator, `in` and `notin` are words.
    fn peek(&self) -> Token {
        match self.tokens.first().unwrap_or(&END) {
            Token::In => Token::Word("in".to_owned()),
            Token::NotIn => Token::Word("notin".to_owned()),
            other => other.clone(),
        }
    }

    fn next(&mut self) -> Token {
        let next = self.peek();
        self.tokens = self.tokens.get(1..).unwrap_or_default();
        next
    }

    /// The next one as it is.
    fn operator(&mut self) -> &'t Token {
        let (first, rest) = self.tokens.split_first().unwrap_or((&END, &[]));
        self.tokens = rest;
        first
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut token = self.next();
        let is_negated = token == Token::Not;
        if is_negated {
            token = self.next();
        }
        let Token::Word(key) = token else { return Err(format!("found '{}', expected: identifier", token.text())) };
        let problems = key_problems(&key);
        if !problems.is_empty() {
            return Err(format!("<nil>: Invalid value: {}: {}", go::quote(&key), problems.join("; ")));
        }
        let (source, name) = key.split_once('.').unwrap_or(("any", &key));
        let requirement = |operator| Ok(Requirement { source: source.to_owned(), key: name.to_owned(), operator });
        if is_negated {
            return requirement(Operator::DoesNotExist);
        }
        if matches!(self.peek(), Token::End | Token::Comma) {
            return requirement(Operator::Exists);
        }
        let operator = self.operator();
        match operator {
            Token::In | Token::NotIn => {
                let values = self.values()?;
                check_values(&key, &values)?;
                requirement(if *operator == Token::In { Operator::In(values) } else { Operator::NotIn(values) })
            }
            Token::Equals | Token::DoubleEquals | Token::NotEquals => {
                let values = vec![self.value()?];
                check_values(&key, &values)?;
                requirement(if *operator == Token::NotEquals { Operator::NotIn(values) } else { Operator::In(values) })
            }
            Token::GreaterThan | Token::LessThan => {
                let value = self.value()?;
                let number = number(&key, value)?;
                let is_greater = *operator == Token::GreaterThan;
                requirement(if is_greater { Operator::GreaterThan(number) } else { Operator::LessThan(number) })
            }
            other => Err(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", other.text())),
        }
    }

    /// `(a,b)`, sorted and each once, as they are told when one is wrong.
    fn values(&mut self) -> Result<Vec<String>, String> {
        let open = self.next();
        if open != Token::Open {
            return Err(format!("found '{}' expected: '('", open.text()));
        }
        let first = self.peek();
        let mut values = match first {
            Token::Word(_) | Token::Comma => {
                let values = self.list()?;
                if self.next() != Token::Close {
                    return Err(format!("found '{}', expected: ')'", first.text()));
                }
                values
            }
            Token::Close => {
                self.next();
                vec![String::new()]
            }
            other => return Err(format!("found '{}', expected: ',', ')' or identifier", other.text())),
        };
        values.sort_unstable();
        values.dedup();
        Ok(values)
    }

    /// Where nothing stands between commas is the empty value.
    fn list(&mut self) -> Result<Vec<String>, String> {
        let mut values = Vec::new();
        loop {
            match self.next() {
                Token::Word(word) => {
                    values.push(word);
                    match self.peek() {
                        Token::Comma => {}
                        Token::Close => return Ok(values),
                        other => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
                    }
                }
                Token::Comma => {
                    if values.is_empty() {
                        values.push(String::new());
                    }
                    match self.peek() {
                        Token::Close => {
                            values.push(String::new());
                            return Ok(values);
                        }
                        Token::Comma => values.push(String::new()),
                        _ => {}
                    }
                }
                other => return Err(format!("found '{}', expected: ',', or identifier", other.text())),
            }
        }
    }

    /// What stands behind `=`.
    fn value(&mut self) -> Result<String, String> {
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.next() {
            Token::Word(word) => Ok(word),
            other => Err(format!("found '{}', expected: identifier", other.text())),
        }
    }
}

fn check_values(key: &str, values: &[String]) -> Result<(), String> {
    problems(values.iter().enumerate().filter_map(|(index, value)| wrong_value(key, index, value)).collect())
}

fn wrong_value(key: &str, index: usize, value: &str) -> Option<String> {
    let problems = value_problems(value);
    let place = format!("values[{index}][{key}]: Invalid value: {}", go::quote(value));
    (!problems.is_empty()).then(|| format!("{place}: {}", problems.join("; ")))
}

/// What a value is compared with.
fn number(key: &str, value: String) -> Result<i64, String> {
    let number = value.parse();
    let mut wrong = Vec::new();
    if number.is_err() {
        let quoted = go::quote(&value);
        let reason = "for 'Gt', 'Lt' operators, the value must be an integer";
        wrong.push(format!("values[0]: Invalid value: {quoted}: {reason}"));
    }
    wrong.extend(wrong_value(key, 0, &value));
    problems(wrong)?;
    number.map_err(|_| value)
}

/// As Kubernetes puts several errors together.
fn problems(mut wrong: Vec<String>) -> Result<(), String> {
    match wrong.as_slice() {
        [] => Ok(()),
        [_] => Err(wrong.remove(0)),
        _ => Err(format!("[{}]", wrong.join(", "))),
    }
}
