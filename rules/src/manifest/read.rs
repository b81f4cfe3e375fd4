//! Typed reading of the tree: each step names its field, and every problem is kept.

use super::{
    FieldError,
    yaml::{Node, Value},
};

/// Collects what is wrong.
pub(super) struct Reader<'e> {
    errors: &'e mut Vec<FieldError>,
}

impl<'e> Reader<'e> {
    pub(super) fn new(errors: &'e mut Vec<FieldError>) -> Self {
        Self { errors }
    }

    pub(super) fn error(&mut self, line: usize, field: &str, reason: impl Into<String>) {
        self.errors.push(FieldError { line, field: field.to_owned(), reason: reason.into() });
    }

    /// Refuses keys of a map that are neither `known` nor, with their reason, `refused`.
    pub(super) fn keys(&mut self, node: &Node, path: &str, known: &[&str], refused: &[(&str, &str)]) -> bool {
        let Value::Map(entries) = &node.value else {
            self.error(node.line, path, format!("{}; write a map", describe(node)));
            return false;
        };
        for (key, value) in entries {
            let field = join(path, &key.text);
            if known.contains(&key.text.as_str()) {
                continue;
            }
            if let Some((_, reason)) = refused.iter().find(|(name, _)| *name == key.text) {
                // An explicit null asks for nothing.
                if !matches!(value.value, Value::Null) {
                    self.error(key.line, &field, *reason);
                }
                continue;
            }
            let all = known.iter().copied().chain(refused.iter().map(|(name, _)| *name));
            let hint = all.min_by_key(|name| distance(name, &key.text)).filter(|name| distance(name, &key.text) <= 2);
            let reason = match hint {
                Some(name) => format!("unknown field; did you mean {name}?"),
                None => format!("unknown field; known here: {}", known.join(", ")),
            };
            self.error(key.line, &field, reason);
        }
        true
    }

    /// The items of a list. `None` when it is absent, null or no list.
    pub(super) fn list<'n>(&mut self, node: &'n Node, path: &str, key: &str) -> Option<&'n [Node]> {
        let value = node.get(key)?;
        match &value.value {
            Value::List(items) => Some(items),
            Value::Null => None,
            Value::Scalar { .. } | Value::Map(_) => {
                self.error(value.line, &join(path, key), format!("{}; write a list", describe(value)));
                None
            }
        }
    }

    /// A text. `None` when it is absent, null or no text.
    pub(super) fn text<'n>(&mut self, node: &'n Node, path: &str, key: &str) -> Option<&'n str> {
        let value = node.get(key)?;
        if matches!(value.value, Value::Null) {
            return None;
        }
        self.scalar(value, &join(path, key))
    }

    /// A text that stands in a list or is a value of a map. Numbers and truth values must be in quotes, as the API server
    /// wants them.
    pub(super) fn scalar<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n str> {
        let Value::Scalar { text, plain } = &node.value else {
            self.error(node.line, path, format!("{}; write a text", describe(node)));
            return None;
        };
        if *plain && is_not_text(text) {
            self.error(node.line, path, format!("{text} is not a text; write it in quotes: \"{text}\""));
            return None;
        }
        Some(text)
    }
}

/// `spec` and `egress` → `spec.egress`.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn describe(node: &Node) -> &'static str {
    match node.value {
        Value::Null => "is empty",
        Value::Scalar { .. } => "is a single value",
        Value::List(_) => "is a list",
        Value::Map(_) => "is a map",
    }
}

/// What YAML 1.1 and 1.2 take for a number or a truth value.
fn is_not_text(text: &str) -> bool {
    matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE")
        || text.parse::<f64>().is_ok_and(|_| text.bytes().any(|b| b.is_ascii_digit()))
}

/// Edits between two words, for "did you mean".
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i.saturating_add(1);
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (slot, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let change = diagonal.saturating_add(usize::from(!x.eq_ignore_ascii_case(&y)));
            diagonal = *slot;
            left = change.min(left.saturating_add(1)).min(slot.saturating_add(1));
            *slot = left;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}
