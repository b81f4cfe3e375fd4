//! Typed reading of the tree: each step names its field, and every problem is kept.
//!
//! Owns what counts as a text, a list, a map. Must never take one for the other. Start at [`Reader::keys`].

use super::{
    FieldError,
    yaml::{Node, Value},
};

/// Words longer than this are not compared with known ones, and are cut where they are shown.
const MAX_WORD: usize = 64;

/// Collects what is wrong.
#[derive(Debug)]
pub(crate) struct Reader<'e> {
    errors: &'e mut Vec<FieldError>,
    /// Bytes of automata that this policy's patterns may still take.
    pub(crate) automata: usize,
    /// Of the policy; empty when it has none.
    pub(crate) namespace: String,
}

impl<'e> Reader<'e> {
    /// `automata`: how many bytes the patterns of this policy may take together.
    pub(crate) fn new(errors: &'e mut Vec<FieldError>, automata: usize) -> Self {
        Self { errors, automata, namespace: String::new() }
    }

    pub(crate) fn error(&mut self, line: usize, field: &str, reason: impl Into<String>) {
        self.errors.push(FieldError { line, field: field.to_owned(), reason: reason.into() });
    }

    /// How many problems were told so far.
    pub(crate) fn told(&self) -> usize {
        self.errors.len()
    }

    /// Refuses keys of a map that are neither `known` nor, with their reason, `refused`.
    pub(crate) fn keys(&mut self, node: &Node, path: &str, known: &[&str], refused: &[(&str, &str)]) -> bool {
        let Value::Map(entries) = &node.value else {
            self.mistyped(node, path, "a map");
            return false;
        };
        for (key, value) in entries {
            if known.contains(&key.text.as_str()) || matches!(value.value, Value::Fault(_)) {
                continue;
            }
            let field = join(path, shown(&key.text));
            if let Some((_, reason)) = refused.iter().find(|(name, _)| *name == key.text) {
                // An explicit null asks for nothing.
                if !value.is_null() {
                    self.error(key.line, &field, *reason);
                }
                continue;
            }
            let all = known.iter().copied().chain(refused.iter().map(|(name, _)| *name));
            let reason = match nearest(&key.text, all) {
                Some(name) => format!("unknown field; did you mean {name}?"),
                None => format!("unknown field; known here: {}", known.join(", ")),
            };
            self.error(key.line, &field, reason);
        }
        true
    }

    /// Refuses one field as a whole, on the line of its key. An explicit null asks for nothing.
    pub(super) fn unsupported(&mut self, node: &Node, path: &str, key: &str, reason: &str) {
        let found = node.entries().iter().find(|(name, value)| name.text == key && !value.is_null());
        if let Some((name, _)) = found {
            self.error(name.line, &join(path, key), reason);
        }
    }

    /// The items of a list. `None` when it is absent, null or no list.
    pub(crate) fn list<'n>(&mut self, node: &'n Node, path: &str, key: &str) -> Option<&'n [Node]> {
        let value = node.present(key)?;
        if let Value::List(items) = &value.value {
            return Some(items);
        }
        self.mistyped(value, &join(path, key), "a list");
        None
    }

    /// A text. `None` when it is absent, null or no text.
    pub(crate) fn text<'n>(&mut self, node: &'n Node, path: &str, key: &str) -> Option<&'n str> {
        self.scalar(node.present(key)?, &join(path, key))
    }

    /// A text that stands in a list or is a value of a map. Numbers and truth values must be in quotes, as the API server
    /// wants them.
    pub(crate) fn scalar<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n str> {
        let Value::Scalar { text, plain } = &node.value else {
            self.mistyped(node, path, "a text");
            return None;
        };
        if *plain && is_not_text(text) {
            self.error(node.line, path, format!("{text} is not a text; write it in quotes: \"{text}\""));
            return None;
        }
        Some(text)
    }

    /// Says that a value is not what it must be; faults of the tree were told already.
    pub(crate) fn mistyped(&mut self, node: &Node, path: &str, wanted: &str) {
        let is = match node.value {
            Value::Fault(_) => return,
            Value::Null => "is empty",
            Value::Scalar { .. } => "is a single value",
            Value::List(_) => "is a list",
            Value::Map(_) => "is a map",
        };
        self.error(node.line, path, format!("{is}; write {wanted}"));
    }
}

/// `spec` and `egress` → `spec.egress`.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The beginning of a word that may be of any length.
fn shown(word: &str) -> &str {
    word.char_indices().nth(MAX_WORD).and_then(|(end, _)| word.get(..end)).unwrap_or(word)
}

/// What YAML 1.1 and 1.2 take for a number or a truth value.
fn is_not_text(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let unsigned = lower.trim_start_matches(['-', '+']);
    let digits = unsigned.replace('_', "");
    matches!(lower.as_str(), "true" | "false" | "yes" | "no" | "on" | "off")
        || matches!(unsigned, ".inf" | ".nan")
        || (unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
            && digits.bytes().any(|b| b.is_ascii_digit())
            && (digits.parse::<f64>().is_ok() || has_base(&digits)))
}

/// `0x1f`, `0o17`, `0b1`.
fn has_base(digits: &str) -> bool {
    [("0x", 16), ("0o", 8), ("0b", 2)].iter().any(|(prefix, base)| {
        digits
            .strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|digit| digit.is_digit(*base)))
    })
}

/// The word of `all` that `word` was probably meant to be.
pub(crate) fn nearest<'w>(word: &str, all: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    if word.len() > MAX_WORD {
        return None;
    }
    let (best, edits) = all.map(|known| (known, distance(known, word))).min_by_key(|(_, edits)| *edits)?;
    // Two edits make any short word any other.
    let most = if best.len() < 5 { 1 } else { 2 };
    (edits <= most).then_some(best)
}

/// Edits between two words; the case of letters is none.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_truth_values_are_no_text() {
        for text in
            ["80", "8080.5", "-1", "1e3", "0x1F", "0o17", "1_000", "010", ".5", "true", "No", "ON", ".inf", "+7"]
        {
            assert!(is_not_text(text), "{text}");
        }
        for text in ["http", "a1", "10.0.0.1", "10.0.0.0/8", "0xzz", "n", "y", "1a", "e3", "", ".", "-", "::1", "12:30"]
        {
            assert!(!is_not_text(text), "{text}");
        }
    }

    #[test]
    fn slips_are_recognised_and_other_words_not() {
        let known = || ["ingress", "egress", "key"].into_iter();
        assert_eq!(nearest("egres", known()), Some("egress"));
        assert_eq!(nearest("Ingress", known()), Some("ingress"));
        assert_eq!(nearest("spec", known()), None);
        assert_eq!(nearest("by", known()), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), known()), None);
    }
}
