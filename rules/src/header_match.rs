//! One entry of `headerMatches`: the value that a header must have, and what is done to a request where it has another.
//!
//! Every instance of a repeated header must have the value. Must never show what came from a secret. Start at
//! [`HeaderMatch::holds`] (does the rule match) and [`HeaderMatch::act`] (what is done when it does).

use std::hint::black_box;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    header_effects::Collector,
    secret::{REDACTED, Secret, SecretName, Secrets},
};

/// `mismatch`: what is done when the header has not the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Otherwise {
    /// The rule does not match.
    Fail,
    /// It is recorded.
    Log,
    /// An instance with the value is added.
    Add,
    /// The header is removed.
    Delete,
    /// The header gets the value.
    Replace,
}

/// One entry of `headerMatches`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderMatch {
    pub(crate) name: HeaderName,
    /// Never empty. Beside a secret: what counts while that is not available.
    pub(crate) value: Option<HeaderValue>,
    pub(crate) secret: Option<SecretName>,
    /// What the secret holds, once it was handed in.
    pub(crate) resolved: Option<Secret>,
    pub(crate) otherwise: Otherwise,
}

/// What a header is compared with.
enum Wanted<'m> {
    /// The secret is not available: nothing ever holds.
    Never,
    Presence,
    Value(&'m HeaderValue),
}

impl HeaderMatch {
    fn wanted(&self) -> Wanted<'_> {
        let value = self.resolved.as_ref().map(Secret::value).or(self.value.as_ref());
        match value {
            Some(value) => Wanted::Value(value),
            None if self.secret.is_some() => Wanted::Never,
            None => Wanted::Presence,
        }
    }

    /// Whether it is more than a condition: it edits the request, or has something to record.
    pub(crate) fn acts(&self) -> bool {
        self.otherwise != Otherwise::Fail || self.secret.is_some()
    }

    /// Whether its rule may not match because of it.
    pub(crate) fn may_fail(&self) -> bool {
        self.otherwise == Otherwise::Fail || self.secret.is_some()
    }

    /// Whether a rule with it may match.
    pub(crate) fn holds(&self, headers: &HeaderMap) -> bool {
        match self.wanted() {
            Wanted::Never => false,
            Wanted::Presence | Wanted::Value(_) => self.otherwise != Otherwise::Fail || self.is_met(headers),
        }
    }

    fn is_met(&self, headers: &HeaderMap) -> bool {
        let values = headers.get_all(&self.name);
        match self.wanted() {
            Wanted::Never => false,
            Wanted::Presence => headers.contains_key(&self.name),
            Wanted::Value(wanted) => {
                headers.contains_key(&self.name) && values.iter().all(|value| is_same(value, wanted))
            }
        }
    }

    /// What is done to a request that its rule matches, or what there is to say when the rule fails on it.
    pub(crate) fn act(&self, headers: &HeaderMap, collector: &mut Collector) {
        let empty = HeaderValue::from_static("");
        let wanted = match self.wanted() {
            Wanted::Never => return,
            Wanted::Presence => &empty,
            Wanted::Value(value) => value,
        };
        if self.is_met(headers) {
            return;
        }
        match self.otherwise {
            Otherwise::Fail | Otherwise::Log => {}
            Otherwise::Add => collector.append(&self.name, wanted),
            Otherwise::Delete if headers.contains_key(&self.name) => collector.remove(&self.name),
            Otherwise::Delete => return,
            Otherwise::Replace => collector.set(&self.name, wanted),
        }
        if matches!(self.otherwise, Otherwise::Delete | Otherwise::Replace) {
            for value in headers.get_all(&self.name).iter().filter(|value| !is_same(value, wanted)) {
                collector.rejected(&self.name, self.shown(value));
            }
        }
        if self.otherwise != Otherwise::Delete {
            collector.missing(&self.name, self.shown(wanted));
        }
    }

    /// A client may have sent the secret itself: beside a secret no value is shown.
    fn shown<'v>(&self, value: &'v HeaderValue) -> &'v [u8] {
        if self.secret.is_some() { REDACTED.as_bytes() } else { value.as_bytes() }
    }

    /// `X-Key: value`, `X-Key: secret namespace/name`, `X-Key`.
    pub(crate) fn text(&self) -> String {
        let value = self.value.as_ref().map(|value| String::from_utf8_lossy(value.as_bytes()));
        match (&self.secret, value) {
            (Some(secret), _) => format!("{}: secret {secret}", self.name),
            (None, Some(value)) => format!("{}: {value}", self.name),
            (None, None) => self.name.to_string(),
        }
    }

    /// For summaries: with what is done otherwise.
    pub(crate) fn summary(&self) -> String {
        let otherwise = match self.otherwise {
            Otherwise::Fail => return self.text(),
            Otherwise::Log => "LOG",
            Otherwise::Add => "ADD",
            Otherwise::Delete => "DELETE",
            Otherwise::Replace => "REPLACE",
        };
        format!("{} else {otherwise}", self.text())
    }

    pub(crate) fn with_secrets(&self, secrets: &Secrets) -> Self {
        let resolved = self.secret.as_ref().and_then(|name| secrets.get(name)).cloned();
        Self { resolved, ..self.clone() }
    }
}

/// Takes as long for every value of the same length.
fn is_same(a: &HeaderValue, b: &HeaderValue) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let differing = || a.iter().zip(b).fold(0_u8, |differing, (x, y)| differing | (x ^ y));
    a.len() == b.len() && black_box(differing()) == 0
}

#[cfg(test)]
mod tests;
