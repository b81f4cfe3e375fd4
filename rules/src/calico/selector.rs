//! Calico's selector expressions: `app == "web" && has(team)`.
//!
//! Owns what an expression means and its canonical form. Must never hold an expression that was not understood to its
//! last letter. Start at [`Selector::parse`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

mod cover;
mod parse;

/// Letters that an expression may have.
pub(crate) const MAX_LETTERS: usize = 8192;
/// Parentheses may be nested this deep.
const MAX_NESTING: usize = 32;

/// Something that has labels.
pub(crate) trait LabelView {
    /// The value of a label, `None` when it has no such label.
    fn value(&self, key: &str) -> Option<&str>;
}

impl LabelView for BTreeMap<String, String> {
    fn value(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

/// Why a text is no expression. Shown as `column 7: …; write …`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {reason}")]
pub(crate) struct SelectorError {
    /// Letter of the expression, from 1.
    pub(crate) column: usize,
    /// What is wrong and what to write instead.
    pub(crate) reason: String,
}

/// An expression in its canonical form: sets sorted, no needless parentheses, at most one `!` before anything. Shown as
/// an expression that means the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selector(Expr);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expr {
    All,
    /// What has no namespace.
    Global,
    Has(String),
    Label(String, Test),
    Not(Box<Expr>),
    /// At least two, none of them `And`.
    And(Vec<Expr>),
    /// At least two, none of them `Or`.
    Or(Vec<Expr>),
}

/// What is asked of one label's value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Is(String),
    IsNot(String),
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Contains(String),
    StartsWith(String),
    EndsWith(String),
}

impl Selector {
    /// Reads an expression; a blank one is `all()`.
    pub(crate) fn parse(text: &str) -> Result<Self, SelectorError> {
        parse::parse(text).map(Self)
    }

    /// `all()`.
    pub(crate) fn all() -> Self {
        Self(Expr::All)
    }

    /// Whether what has these labels is selected.
    pub(crate) fn matches(&self, labels: &impl LabelView) -> bool {
        self.0.holds(labels)
    }

    /// Whether it asks for a label whose key is one of those.
    pub(crate) fn asks(&self, is_one: impl Fn(&str) -> bool) -> bool {
        self.0.asks(&is_one)
    }

    /// Whether it is `global()` and nothing else.
    pub(crate) fn is_global(&self) -> bool {
        self.0 == Expr::Global
    }

    /// Whether `global()` is anywhere in it.
    pub(crate) fn names_global(&self) -> bool {
        self.0.names_global()
    }

    /// Asks the same of labels that are known under `prefix`.
    pub(crate) fn prefixed(self, prefix: &str) -> Self {
        Self(self.0.map(&|leaf| match leaf {
            Expr::Has(key) => Expr::Has(format!("{prefix}{key}")),
            Expr::Label(key, test) => Expr::Label(format!("{prefix}{key}"), test),
            other @ (Expr::All | Expr::Global | Expr::Not(_) | Expr::And(_) | Expr::Or(_)) => other,
        }))
    }

    /// As it was before [`Self::prefixed`].
    pub(crate) fn without_prefix(self, prefix: &str) -> Self {
        let bare = |key: String| key.strip_prefix(prefix).map(str::to_owned).unwrap_or(key);
        Self(self.0.map(&|leaf| match leaf {
            Expr::Has(key) => Expr::Has(bare(key)),
            Expr::Label(key, test) => Expr::Label(bare(key), test),
            other @ (Expr::All | Expr::Global | Expr::Not(_) | Expr::And(_) | Expr::Or(_)) => other,
        }))
    }

    /// `all()` becomes "has the label `key`", and `global()` "has not".
    pub(crate) fn all_that_has(self, key: &str) -> Self {
        Self(self.0.map(&|leaf| match leaf {
            Expr::All => Expr::Has(key.to_owned()),
            Expr::Global => Expr::Has(key.to_owned()).not(),
            other @ (Expr::Has(_) | Expr::Label(..) | Expr::Not(_) | Expr::And(_) | Expr::Or(_)) => other,
        }))
    }
}

impl Expr {
    fn not(self) -> Self {
        match self {
            Self::Not(inner) => *inner,
            other @ (Self::All | Self::Global | Self::Has(_) | Self::Label(..) | Self::And(_) | Self::Or(_)) => {
                Self::Not(Box::new(other))
            }
        }
    }

    /// All of `parts`, of which there is at least one.
    fn and(parts: Vec<Self>) -> Self {
        let mut flat = Vec::new();
        for part in parts {
            match part {
                Self::And(inner) => flat.extend(inner),
                other @ (Self::All | Self::Global | Self::Has(_) | Self::Label(..) | Self::Not(_) | Self::Or(_)) => {
                    flat.push(other);
                }
            }
        }
        Self::single(flat, Self::And)
    }

    /// One of `parts`, of which there is at least one.
    fn or(parts: Vec<Self>) -> Self {
        let mut flat = Vec::new();
        for part in parts {
            match part {
                Self::Or(inner) => flat.extend(inner),
                other @ (Self::All | Self::Global | Self::Has(_) | Self::Label(..) | Self::Not(_) | Self::And(_)) => {
                    flat.push(other);
                }
            }
        }
        Self::single(flat, Self::Or)
    }

    fn single(mut parts: Vec<Self>, many: fn(Vec<Self>) -> Self) -> Self {
        match parts.pop() {
            Some(only) if parts.is_empty() => only,
            last => {
                parts.extend(last);
                many(parts)
            }
        }
    }

    fn holds(&self, labels: &impl LabelView) -> bool {
        match self {
            Self::All => true,
            // Where it stands for itself nothing is known of namespaces; it is replaced before it is asked.
            Self::Global => false,
            Self::Has(key) => labels.value(key).is_some(),
            Self::Label(key, test) => test.holds(labels.value(key)),
            Self::Not(inner) => !inner.holds(labels),
            Self::And(parts) => parts.iter().all(|part| part.holds(labels)),
            Self::Or(parts) => parts.iter().any(|part| part.holds(labels)),
        }
    }

    fn asks(&self, is_one: &impl Fn(&str) -> bool) -> bool {
        match self {
            Self::All | Self::Global => false,
            Self::Has(key) | Self::Label(key, _) => is_one(key),
            Self::Not(inner) => inner.asks(is_one),
            Self::And(parts) | Self::Or(parts) => parts.iter().any(|part| part.asks(is_one)),
        }
    }

    fn names_global(&self) -> bool {
        match self {
            Self::Global => true,
            Self::All | Self::Has(_) | Self::Label(..) => false,
            Self::Not(inner) => inner.names_global(),
            Self::And(parts) | Self::Or(parts) => parts.iter().any(Self::names_global),
        }
    }

    /// The same with every leaf changed.
    fn map(self, change: &impl Fn(Self) -> Self) -> Self {
        let all = |parts: Vec<Self>| parts.into_iter().map(|part| part.map(change)).collect();
        match self {
            leaf @ (Self::All | Self::Global | Self::Has(_) | Self::Label(..)) => change(leaf),
            Self::Not(inner) => inner.map(change).not(),
            Self::And(parts) => Self::and(all(parts)),
            Self::Or(parts) => Self::or(all(parts)),
        }
    }
}

impl Test {
    /// A label that is not there is unlike every value.
    fn holds(&self, value: Option<&str>) -> bool {
        match self {
            Self::Is(wanted) => value == Some(wanted),
            Self::IsNot(other) => value != Some(other),
            Self::In(set) => value.is_some_and(|value| set.contains(value)),
            Self::NotIn(set) => value.is_none_or(|value| !set.contains(value)),
            Self::Contains(part) => value.is_some_and(|value| value.contains(part)),
            Self::StartsWith(start) => value.is_some_and(|value| value.starts_with(start)),
            Self::EndsWith(end) => value.is_some_and(|value| value.ends_with(end)),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all()"),
            Self::Global => f.write_str("global()"),
            Self::Has(key) => write!(f, "has({key})"),
            Self::Label(key, test) => write!(f, "{key} {test}"),
            Self::Not(inner) if matches!(**inner, Self::And(_) | Self::Or(_)) => write!(f, "!({inner})"),
            Self::Not(inner) => write!(f, "!{inner}"),
            Self::And(parts) => {
                for (index, part) in parts.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { " && " })?;
                    if matches!(part, Self::Or(_)) { write!(f, "({part})") } else { write!(f, "{part}") }?;
                }
                Ok(())
            }
            Self::Or(parts) => {
                for (index, part) in parts.iter().enumerate() {
                    write!(f, "{}{part}", if index == 0 { "" } else { " || " })?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = |f: &mut fmt::Formatter<'_>, operator: &str, values: &BTreeSet<String>| {
            let quoted: Vec<String> = values.iter().map(|value| quoted(value)).collect();
            write!(f, "{operator} {{{}}}", quoted.join(", "))
        };
        match self {
            Self::Is(value) => write!(f, "== {}", quoted(value)),
            Self::IsNot(value) => write!(f, "!= {}", quoted(value)),
            Self::In(values) => set(f, "in", values),
            Self::NotIn(values) => set(f, "not in", values),
            Self::Contains(value) => write!(f, "contains {}", quoted(value)),
            Self::StartsWith(value) => write!(f, "starts with {}", quoted(value)),
            Self::EndsWith(value) => write!(f, "ends with {}", quoted(value)),
        }
    }
}

/// There are no escapes: a value that was read has at most one kind of quotes in it.
fn quoted(value: &str) -> String {
    if value.contains('"') { format!("'{value}'") } else { format!("\"{value}\"") }
}

#[cfg(test)]
mod tests;
