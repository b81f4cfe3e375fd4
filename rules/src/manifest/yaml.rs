//! YAML as a tree that remembers lines. Bounded; no anchors, so no text grows when it is read.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use super::FieldError;

/// Maps and lists may be nested this deep.
const MAX_DEPTH: usize = 64;
/// A text may have this many values.
const MAX_NODES: usize = 4_000_000;

/// A value and where it begins.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Null,
    Scalar {
        text: String,
        /// Not in quotes: may be meant as a number or a truth value.
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Debug)]
pub(super) struct Key {
    pub(super) line: usize,
    pub(super) text: String,
}

/// A document, and what is wrong with its form though it could be read.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) root: Node,
    pub(super) errors: Vec<FieldError>,
}

impl Node {
    /// The value of a key, `None` also when this is no map.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|(known, _)| known.text == key).map(|(_, node)| node)
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    pub(super) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            Value::Null | Value::Scalar { .. } | Value::Map(_) => &[],
        }
    }
}

/// Every document of `text`. After an error in the YAML itself nothing more can be read.
pub(super) fn parse(text: &str) -> Vec<Result<Parsed, FieldError>> {
    let mut documents = Vec::new();
    let mut builder = Builder { parser: Parser::new_from_str(text), nodes: 0, errors: Vec::new() };
    loop {
        match builder.next() {
            Ok((Event::DocumentStart(_), _)) => match builder.document() {
                Ok(parsed) => documents.push(Ok(parsed)),
                Err(error) => {
                    documents.push(Err(error));
                    return documents;
                }
            },
            Ok((Event::StreamEnd, _)) => return documents,
            Ok(_) => {}
            Err(error) => {
                documents.push(Err(error));
                return documents;
            }
        }
    }
}

struct Builder<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    nodes: usize,
    errors: Vec<FieldError>,
}

impl<'t> Builder<'t> {
    fn next(&mut self) -> Result<(Event<'t>, usize), FieldError> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, span.start.line())),
            Some(Err(error)) => Err(broken(&error)),
            None => Ok((Event::StreamEnd, 0)),
        }
    }

    fn document(&mut self) -> Result<Parsed, FieldError> {
        let first = self.next()?;
        let root = self.node(first, 0)?;
        Ok(Parsed { root, errors: std::mem::take(&mut self.errors) })
    }

    fn node(&mut self, (event, line): (Event<'t>, usize), depth: usize) -> Result<Node, FieldError> {
        self.nodes = self.nodes.saturating_add(1);
        if depth > MAX_DEPTH {
            return Err(problem(line, format!("nested deeper than {MAX_DEPTH}; no policy needs that")));
        }
        if self.nodes > MAX_NODES {
            return Err(problem(line, format!("more than {MAX_NODES} values; split the file")));
        }
        let value = match event {
            Event::Scalar(text, style, ..) => scalar(text.into_owned(), style),
            Event::SequenceStart(..) => self.list(depth)?,
            Event::MappingStart(..) => self.map(depth)?,
            Event::Alias(_) => {
                self.errors
                    .push(problem(line, "anchors and aliases are not supported; write the value out".to_owned()));
                Value::Null
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => Value::Null,
        };
        Ok(Node { line, value })
    }

    fn list(&mut self, depth: usize) -> Result<Value, FieldError> {
        let mut items = Vec::new();
        loop {
            let next = self.next()?;
            if matches!(next.0, Event::SequenceEnd | Event::StreamEnd) {
                return Ok(Value::List(items));
            }
            items.push(self.node(next, depth.saturating_add(1))?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, FieldError> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut known = std::collections::HashMap::new();
        loop {
            let next = self.next()?;
            if matches!(next.0, Event::MappingEnd | Event::StreamEnd) {
                return Ok(Value::Map(entries));
            }
            let key = self.node(next, depth.saturating_add(1))?;
            let after = self.next()?;
            let value = self.node(after, depth.saturating_add(1))?;
            let Some(text) = key.text().map(str::to_owned) else {
                self.errors.push(problem(key.line, "a key must be plain text".to_owned()));
                continue;
            };
            if let Some(first) = known.insert(text.clone(), key.line) {
                let reason = format!("key {text:?} is already on line {first}; give it once");
                self.errors.push(problem(key.line, reason));
            }
            entries.push((Key { line: key.line, text }, value));
        }
    }
}

fn scalar(text: String, style: ScalarStyle) -> Value {
    let plain = style == ScalarStyle::Plain;
    if plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL") {
        return Value::Null;
    }
    Value::Scalar { text, plain }
}

fn broken(error: &ScanError) -> FieldError {
    problem(error.marker().line(), format!("not YAML: {}; what follows was not read", error.info()))
}

fn problem(line: usize, reason: String) -> FieldError {
    FieldError { line, field: String::new(), reason }
}
