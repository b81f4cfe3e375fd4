//! Why, in full: every rule that was tried and what of it does not hold, and what is done to a request that passes.
//!
//! For people who ask (`l7proxy explain`), never for the data path: all of it looks at every rule. Must never say another
//! thing than the verdict, and must never show what a secret holds. Start at [`crate::DirectionPolicy::tried`].

use std::{borrow::Cow, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    calico::manifest::Object,
    header_effects::{Collector, HeaderEdit},
    header_match::{HeaderMatch, Otherwise},
    http_rule::{Field, HttpRule},
    manifest::Policy,
    policy::{Entry, Line},
    request::RequestView,
    secret::REDACTED,
    verdict::{Nearest, RuleRef},
};

/// Bytes of a header's value that are shown.
const MAX_SHOWN: usize = 256;

/// A rule that does not allow what was asked for, and all of it that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The rule.
    pub rule: Arc<RuleRef>,
    /// Never empty. The first is what [`Nearest`] names.
    pub missed: Vec<Missing>,
}

/// A field of a rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// As [`Nearest::field`].
    pub field: String,
    /// What the rule wants there.
    pub expected: String,
    /// What is there. `None`: no such header; of others, that it is not known here: only the caller can say who a peer is.
    pub found: Option<String>,
}

impl From<Nearest> for Tried {
    /// As far as it is known.
    fn from(nearest: Nearest) -> Self {
        let Nearest { rule, field, expected } = nearest;
        Self { rule, missed: vec![Missing { field, expected, found: None }] }
    }
}

/// What a rule does to a header of a request that it allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderAct {
    /// The rule.
    pub rule: Arc<RuleRef>,
    /// What is done.
    pub action: HeaderAction,
    /// The header.
    pub name: HeaderName,
    /// The value that it gets, or should have; `[redacted]` where a secret is named. `None` where it is removed.
    pub value: Option<String>,
}

/// `mismatch` of a header match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderAction {
    /// An instance is added.
    Add,
    /// The header is removed.
    Delete,
    /// The value takes the place of every other.
    Replace,
    /// Only the record tells.
    Log,
}

impl HeaderAction {
    /// As manifests have it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Delete => "DELETE",
            Self::Replace => "REPLACE",
            Self::Log => "LOG",
        }
    }
}

impl Policy {
    /// Line of one of its rules, by the place that a [`RuleRef`] names: `egress[0].toPorts[0].rules.http[1]`.
    #[must_use]
    pub fn line_of(&self, place: &str) -> Option<usize> {
        let sections = self.rules.iter().flat_map(|rule| [&rule.ingress, &rule.egress]);
        let of_entry = sections.flat_map(|section| &section.entries).find_map(|entry| of_entry(entry, place));
        of_entry.or_else(|| self.calico_line_of(place)).map(|line| line.0)
    }

    fn calico_line_of(&self, place: &str) -> Option<Line> {
        let Some(Object::Policy(policy)) = &self.calico else { return None };
        if place == "tier" {
            return Some(policy.lines.tier);
        }
        let mut rules = policy.ingress.iter().chain(&policy.egress).flatten();
        rules.find(|rule| rule.path == place).map(|rule| rule.line)
    }
}

fn of_entry(entry: &Entry, place: &str) -> Option<Line> {
    if entry.path == place {
        return Some(entry.line);
    }
    entry.ports.iter().flatten().find_map(|ports| {
        let http = || ports.http.iter().flatten().find(|rule| rule.path_in_spec == place).map(|rule| rule.lines.rule);
        if ports.path == place { Some(ports.line) } else { http() }
    })
}

impl HttpRule {
    /// Every field that does not hold; none when the rule does.
    pub(crate) fn missing(&self, view: &RequestView<'_>) -> Vec<Missing> {
        let mut missing = Vec::new();
        let texts = [
            (Field::Method, &self.method, view.method()),
            (Field::Path, &self.path, view.path()),
            (Field::Host, &self.host, view.host()),
        ];
        for (field, pattern, value) in texts {
            let is_there = view.has_path() || !matches!(field, Field::Path);
            if pattern.as_ref().is_some_and(|pattern| !is_there || !pattern.matches(value.as_bytes())) {
                missing.push(self.named(field, Some(value.to_owned())));
            }
        }
        let headers = view.headers();
        for (index, header) in self.headers.iter().enumerate().filter(|(_, header)| !header.holds(headers)) {
            let found = header.name.as_ref().and_then(|name| values(name, headers, false));
            missing.push(self.named(Field::Header(index), found));
        }
        for (index, header) in self.header_matches.iter().enumerate().filter(|(_, header)| !header.holds(headers)) {
            let found = values(&header.name, headers, header.secret.is_some());
            missing.push(self.named(Field::HeaderMatch(index), found));
        }
        missing
    }

    fn named(&self, field: Field, found: Option<String>) -> Missing {
        let mismatch = self.mismatch(field);
        Missing { field: mismatch.field, expected: mismatch.expected, found }
    }

    /// What each of its header matches does to a request; nothing when the rule does not hold.
    pub(crate) fn acts_on(&self, view: &RequestView<'_>) -> Vec<Act> {
        if !self.acts() || !self.missing(view).is_empty() {
            return Vec::new();
        }
        self.header_matches.iter().filter_map(|header| header.act_on(view.headers())).collect()
    }
}

/// What is done, to which header, and its value.
pub(crate) type Act = (HeaderAction, HeaderName, Option<String>);

impl HeaderMatch {
    fn act_on(&self, headers: &HeaderMap) -> Option<Act> {
        let mut collector = Collector::default();
        self.act(headers, &mut collector);
        let effects = collector.finish();
        let value = |value: &HeaderValue| Some(shown(value, value.is_sensitive()).into_owned());
        let (action, value) = match (effects.edits.first(), self.otherwise) {
            (Some(HeaderEdit::Append(_, added)), _) => (HeaderAction::Add, value(added)),
            (Some(HeaderEdit::Set(_, set)), _) => (HeaderAction::Replace, value(set)),
            (Some(HeaderEdit::Remove(_)), _) => (HeaderAction::Delete, None),
            (None, Otherwise::Log) => {
                let wanted = effects.notes?.missing.first()?.value.clone();
                (HeaderAction::Log, Some(wanted))
            }
            (None, Otherwise::Fail | Otherwise::Add | Otherwise::Delete | Otherwise::Replace) => return None,
        };
        Some((action, self.name.clone(), value))
    }
}

/// Every instance of a header, cut if it is long.
fn values(name: &HeaderName, headers: &HeaderMap, is_secret: bool) -> Option<String> {
    let values: Vec<Cow<'_, str>> = headers.get_all(name).iter().map(|value| shown(value, is_secret)).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn shown(value: &HeaderValue, is_secret: bool) -> Cow<'_, str> {
    let bytes = value.as_bytes();
    match bytes.get(..MAX_SHOWN) {
        _ if is_secret => Cow::Borrowed(REDACTED),
        Some(begin) if begin.len() < bytes.len() => Cow::Owned(format!("{}...", String::from_utf8_lossy(begin))),
        Some(_) | None => String::from_utf8_lossy(bytes),
    }
}
