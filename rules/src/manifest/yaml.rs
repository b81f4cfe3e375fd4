//! YAML as a tree that remembers lines. Bounded; no aliases, so no text grows when it is read.
//!
//! Owns what a text may cost. Must never let one document's fault reach another: what is wrong with a value stays in the
//! tree, where its field can be named. Start at [`parse`].

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, StrInput};

use super::FieldError;

/// A text may have this many bytes: fifty times what the API server takes for one object.
pub const MAX_TEXT_BYTES: usize = 64 << 20;
/// A text may have this many documents.
pub const MAX_DOCUMENTS: usize = 20_000;
/// Maps and lists may be nested this deep.
pub const MAX_DEPTH: usize = 64;
/// A text may have this many values.
pub const MAX_VALUES: usize = 500_000;

/// A value and where it begins.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) value: Value,
}

#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Scalar {
        text: String,
        /// Not in quotes: may be meant as a number or a truth value.
        plain: bool,
    },
    List(Vec<Node>),
    /// In the order of the text; a key may be there twice, see [`Node::faults`].
    Map(Vec<(Key, Node)>),
    /// Something that has no value here, and why.
    Fault(&'static str),
}

#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) line: usize,
    pub(crate) text: String,
}

impl Node {
    /// The value of a key, `None` also when this is no map.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|(known, _)| known.text == key).map(|(_, node)| node)
    }

    /// The value of a key unless it is absent or null.
    pub(crate) fn present(&self, key: &str) -> Option<&Self> {
        self.get(key).filter(|value| !value.is_null())
    }

    /// Line of the value of a key; where it is absent, of this node.
    pub(crate) fn line_of(&self, key: &str) -> usize {
        self.get(key).map_or(self.line, |value| value.line)
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            Value::Null | Value::List(_) | Value::Map(_) | Value::Fault(_) => None,
        }
    }

    pub(crate) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            Value::Null | Value::Scalar { .. } | Value::Map(_) | Value::Fault(_) => &[],
        }
    }

    pub(crate) fn entries(&self) -> &[(Key, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            Value::Null | Value::Scalar { .. } | Value::List(_) | Value::Fault(_) => &[],
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// Everything in this tree that has no value: aliases, tags, keys that are no text or stand there twice.
    pub(crate) fn faults(&self, path: &str, errors: &mut Vec<FieldError>) {
        match &self.value {
            Value::Null | Value::Scalar { .. } => {}
            Value::Fault(reason) => errors.push(problem(self.line, path, *reason)),
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    item.faults(&format!("{path}[{index}]"), errors);
                }
            }
            Value::Map(entries) => {
                let mut known: HashMap<&str, usize> = HashMap::new();
                for (key, value) in entries {
                    let path = super::read::join(path, &key.text);
                    if let Some(first) = known.insert(&key.text, key.line) {
                        let reason = format!("is already on line {first}; write it once");
                        errors.push(problem(key.line, &path, reason));
                    }
                    value.faults(&path, errors);
                }
            }
        }
    }
}

/// Every document of `text`: its tree, or why it is none. A broken document harms no other: no value of YAML can hold a
/// line that begins with `---` (YAML 1.2 §9.1.2), so documents are told apart before they are read.
pub(crate) fn parse(text: &str) -> Vec<Result<Node, FieldError>> {
    let mut documents = Vec::new();
    if text.len() > MAX_TEXT_BYTES {
        let reason = format!("has {} bytes, the most is {MAX_TEXT_BYTES}; split the file", text.len());
        documents.push(Err(problem(1, "", reason)));
        return documents;
    }
    let mut values = 0;
    for (line, part) in parts(text) {
        if documents.len() >= MAX_DOCUMENTS {
            let reason = format!("more than {MAX_DOCUMENTS} documents; split the file; what follows was not read");
            documents.push(Err(problem(line, "", reason)));
            return documents;
        }
        let parser = Parser::new_from_str(part);
        let before = line.saturating_sub(1);
        let last = before.saturating_add(part.lines().count().max(1));
        let mut builder = Builder { parser, before, last, values };
        builder.documents(&mut documents);
        values = builder.values;
    }
    documents
}

/// The text between lines that begin with `---`, each with the number of its first line.
fn parts(text: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let (mut rest, mut first) = (text, 1_usize);
    let (mut end, mut line) = (0_usize, 1_usize);
    for whole in text.split_inclusive('\n') {
        let marker = whole
            .strip_prefix("---")
            .is_some_and(|after| after.is_empty() || after.starts_with([' ', '\t', '\r', '\n']));
        if marker && let Some((part, after)) = rest.split_at_checked(end) {
            if holds_something(part) {
                parts.push((first, part));
            }
            (rest, first, end) = (after, line, 0);
        }
        end = end.saturating_add(whole.len());
        line = line.saturating_add(1);
    }
    if holds_something(rest) {
        parts.push((first, rest));
    }
    parts
}

/// Whether there is more than comments, directives and markers.
fn holds_something(part: &str) -> bool {
    let is_nothing = |line: &str| matches!(line, "" | "---" | "...") || line.starts_with(['#', '%']);
    !part.trim_start_matches('\u{feff}').lines().all(|line| is_nothing(line.trim()))
}

struct Builder<'t> {
    parser: Parser<'t, StrInput<'t>>,
    /// Lines of the text before this part.
    before: usize,
    /// Line of the text on which this part ends.
    last: usize,
    values: usize,
}

impl<'t> Builder<'t> {
    /// After an error in the YAML itself nothing more of this part can be read.
    fn documents(&mut self, documents: &mut Vec<Result<Node, FieldError>>) {
        loop {
            let document = match self.next() {
                Ok((Event::DocumentStart(_), _)) => self.document(),
                Ok((Event::StreamEnd, _)) => return,
                Ok(_) => continue,
                Err(error) => Err(error),
            };
            let broken = document.is_err();
            documents.push(document);
            if broken {
                return;
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, usize), FieldError> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, self.before.saturating_add(span.start.line()))),
            Some(Err(error)) => Err(self.broken(&error)),
            None => Ok((Event::StreamEnd, self.before)),
        }
    }

    fn document(&mut self) -> Result<Node, FieldError> {
        let first = self.next()?;
        self.node(first, 0)
    }

    fn node(&mut self, (event, line): (Event<'t>, usize), depth: usize) -> Result<Node, FieldError> {
        self.values = self.values.saturating_add(1);
        if depth > MAX_DEPTH {
            return Err(problem(line, "", format!("nested deeper than {MAX_DEPTH}; no policy needs that")));
        }
        if self.values > MAX_VALUES {
            return Err(problem(line, "", format!("more than {MAX_VALUES} values; split the file")));
        }
        let (tag, value) = match event {
            Event::Scalar(text, style, _, tag) => (tag, scalar(text.into_owned(), style)),
            Event::SequenceStart(_, tag) => (tag, self.list(depth)?),
            Event::MappingStart(_, tag) => (tag, self.map(depth)?),
            Event::Alias(_) => (None, Value::Fault("anchors and aliases are not supported; write the value out")),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => (None, Value::Null),
        };
        let tagged = tag.is_some().then_some(Value::Fault("tags (!..) are not supported; write the value without"));
        Ok(Node { line, value: tagged.unwrap_or(value) })
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
        let mut entries = Vec::new();
        loop {
            let next = self.next()?;
            if matches!(next.0, Event::MappingEnd | Event::StreamEnd) {
                return Ok(Value::Map(entries));
            }
            let key = self.node(next, depth.saturating_add(1))?;
            let after = self.next()?;
            let mut value = self.node(after, depth.saturating_add(1))?;
            let text = if let Some(text) = key.text() {
                text.to_owned()
            } else {
                value.value = Value::Fault("a key must be plain text");
                "?".to_owned()
            };
            entries.push((Key { line: key.line, text }, value));
        }
    }

    fn broken(&self, error: &ScanError) -> FieldError {
        // At the end of the text the parser is one line further.
        let line = self.before.saturating_add(error.marker().line());
        problem(line.min(self.last), "", format!("not YAML: {}; the rest of this document was not read", error.info()))
    }
}

fn scalar(text: String, style: ScalarStyle) -> Value {
    let plain = style == ScalarStyle::Plain;
    if plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL") {
        return Value::Null;
    }
    Value::Scalar { text, plain }
}

fn problem(line: usize, field: &str, reason: impl Into<String>) -> FieldError {
    FieldError { line, field: field.to_owned(), reason: reason.into() }
}
