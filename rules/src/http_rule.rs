//! One entry of `rules.http`: what must hold of a request. Absent means no constraint; all that is present must hold.

use http::{HeaderMap, HeaderName};

use crate::{
    header_effects::Collector, header_match::HeaderMatch, pattern::Pattern, policy::Line, request::RequestView,
};

/// Where its fields stand; where it stands itself for those that it has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    pub(crate) rule: Line,
    pub(crate) method: Line,
    pub(crate) path: Line,
    pub(crate) host: Line,
    pub(crate) headers: Line,
}

/// One `http` rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HttpRule {
    pub(crate) lines: Lines,
    /// `egress[0].toPorts[0].rules.http[1]`.
    pub(crate) path_in_spec: String,
    pub(crate) method: Option<Pattern>,
    pub(crate) path: Option<Pattern>,
    pub(crate) host: Option<Pattern>,
    pub(crate) headers: Vec<HeaderRule>,
    pub(crate) header_matches: Vec<HeaderMatch>,
}

/// One entry of `headers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderRule {
    /// As written.
    pub(crate) text: String,
    /// `None`: the text names no header that could exist, so the rule never holds (as in Cilium).
    pub(crate) name: Option<HeaderName>,
    /// `None`: the header must be there.
    pub(crate) value: Option<Vec<u8>>,
}

impl HeaderRule {
    /// Cilium's form: `Name: value` or `Name value` asks for a value, `Name` for presence. Split at the first space;
    /// colons at the end of the name go; the value is taken as it is.
    pub(crate) fn parse(text: &str) -> Self {
        let (name, value) = match text.split_once(' ') {
            Some((name, value)) => (name.trim_end_matches(':'), Some(value.as_bytes().to_vec())),
            None => (text, None),
        };
        let name = HeaderName::from_bytes(name.as_bytes()).ok();
        Self { text: text.to_owned(), name, value }
    }

    pub(crate) fn holds(&self, headers: &HeaderMap) -> bool {
        let Some(name) = &self.name else { return false };
        let mut values = headers.get_all(name).iter().peekable();
        if values.peek().is_none() {
            return false;
        }
        // Each instance on its own: joined with commas, a second instance could hide (CVE-2026-26308's class).
        self.value.as_ref().is_none_or(|wanted| values.all(|value| value.as_bytes() == wanted.as_slice()))
    }
}

/// A field of a rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub(crate) field: String,
    pub(crate) expected: String,
}

/// A field of a rule.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field {
    Method,
    Path,
    Host,
    /// By its place among the rule's headers.
    Header(usize),
    /// One of `headerMatches`, by its place.
    HeaderMatch(usize),
}

/// How far a rule is from holding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Missed {
    /// Fields that do not hold.
    pub(crate) count: usize,
    /// Fields that do.
    pub(crate) holding: usize,
    /// The first that does not.
    pub(crate) first: Option<Field>,
}

impl Missed {
    /// `holds`: `None` when the rule does not ask for the field.
    fn consider(&mut self, field: Field, holds: Option<bool>) {
        match holds {
            None => {}
            Some(true) => self.holding = self.holding.saturating_add(1),
            Some(false) => {
                self.count = self.count.saturating_add(1);
                self.first = self.first.or(Some(field));
            }
        }
    }
}

impl HttpRule {
    /// Whether the request is one that the rule allows, when its path is known to be.
    pub(crate) fn holds_besides_path(&self, view: &RequestView<'_>) -> bool {
        self.conditions_hold(view) && self.header_matches.iter().all(|header| header.holds(view.headers()))
    }

    /// Besides its path and its header matches that act.
    fn conditions_hold(&self, view: &RequestView<'_>) -> bool {
        let fits = |pattern: &Option<Pattern>, value: &str| {
            pattern.as_ref().is_none_or(|pattern| pattern.matches(value.as_bytes()))
        };
        fits(&self.method, view.method())
            && fits(&self.host, view.host())
            && self.headers.iter().all(|header| header.holds(view.headers()))
            && self.header_matches.iter().all(|header| header.acts() || header.holds(view.headers()))
    }

    /// Whether it asks for headers.
    pub(crate) fn asks_headers(&self) -> bool {
        !self.headers.is_empty() || self.header_matches.iter().any(HeaderMatch::may_fail)
    }

    /// Whether a request that it matches may be edited, or recorded in more than its name.
    pub(crate) fn acts(&self) -> bool {
        self.header_matches.iter().any(HeaderMatch::acts)
    }

    /// What its header matches do, when its path holds. When it does not match for one of them alone: only which.
    pub(crate) fn act(&self, view: &RequestView<'_>, collector: &mut Collector) {
        if !self.conditions_hold(view) {
            return;
        }
        let headers = view.headers();
        let acting = || self.header_matches.iter().filter(|header| header.acts());
        let matches = acting().all(|header| header.holds(headers));
        acting().filter(|header| matches || !header.holds(headers)).for_each(|header| header.act(headers, collector));
    }

    /// Whether it asks for headers, and holds but for them.
    pub(crate) fn holds_but_for_headers(&self, view: &RequestView<'_>) -> bool {
        let fits = |pattern: &Option<Pattern>, value: &str| {
            pattern.as_ref().is_none_or(|pattern| pattern.matches(value.as_bytes()))
        };
        self.asks_headers()
            && fits(&self.method, view.method())
            && (view.has_path() || self.path.is_none())
            && fits(&self.path, view.path())
            && fits(&self.host, view.host())
    }

    /// How many fields there are to hold.
    pub(crate) fn fields(&self) -> usize {
        let patterns = [&self.method, &self.path, &self.host];
        let headers = self.headers.len().saturating_add(self.header_matches.len());
        patterns.into_iter().flatten().count().saturating_add(headers)
    }

    /// What does not hold; whether the path does is known.
    pub(crate) fn missed(&self, view: &RequestView<'_>, path_fits: bool) -> Missed {
        let fits = |pattern: &Pattern, value: &str| pattern.matches(value.as_bytes());
        let mut missed = Missed { count: 0, holding: 0, first: None };
        missed.consider(Field::Method, self.method.as_ref().map(|method| fits(method, view.method())));
        missed.consider(Field::Path, self.path.as_ref().map(|_| path_fits));
        missed.consider(Field::Host, self.host.as_ref().map(|host| fits(host, view.host())));
        for (index, header) in self.headers.iter().enumerate() {
            missed.consider(Field::Header(index), Some(header.holds(view.headers())));
        }
        for (index, header) in self.header_matches.iter().enumerate() {
            missed.consider(Field::HeaderMatch(index), Some(header.holds(view.headers())));
        }
        missed
    }

    /// What `field` asks for, in words.
    pub(crate) fn mismatch(&self, field: Field) -> Mismatch {
        let (field, pattern) = match field {
            Field::Method => ("method", &self.method),
            Field::Path => ("path", &self.path),
            Field::Host => ("host", &self.host),
            Field::Header(index) => {
                let text = self.headers.get(index).map_or("", |header| header.text.as_str());
                let name = text.split(' ').next().unwrap_or_default().trim_end_matches(':');
                return Mismatch { field: format!("header {name}"), expected: text.to_owned() };
            }
            Field::HeaderMatch(index) => {
                let header = self.header_matches.get(index);
                let field = format!("header {}", header.map_or("", |header| header.name.as_str()));
                return Mismatch { field, expected: header.map(HeaderMatch::text).unwrap_or_default() };
            }
        };
        let expected = pattern.as_ref().map_or("", Pattern::as_str);
        Mismatch { field: field.to_owned(), expected: expected.to_owned() }
    }

    /// `GET /api/.* host=..`.
    pub(crate) fn summary(&self) -> String {
        let mut parts = Vec::new();
        parts.push(self.method.as_ref().map_or("*", Pattern::as_str).to_owned());
        parts.push(self.path.as_ref().map_or("*", Pattern::as_str).to_owned());
        if let Some(host) = &self.host {
            parts.push(format!("host={}", host.as_str()));
        }
        parts.extend(self.headers.iter().map(|header| format!("[{}]", header.text)));
        parts.extend(self.header_matches.iter().map(|header| format!("[{}]", header.summary())));
        parts.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn holds(rule: &str, headers: &[(&'static str, &'static str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        HeaderRule::parse(rule).holds(&map)
    }

    #[test]
    fn header_texts_mean_what_cilium_means() {
        assert!(holds("X-Key: true", &[("x-key", "true")]));
        assert!(holds("X-Key true", &[("x-key", "true")]));
        assert!(!holds("X-Key: true", &[("x-key", "TRUE")]));
        assert!(holds("X-Key", &[("x-key", "")]));
        assert!(holds("X-Key: a b", &[("x-key", "a b")]));
        assert!(!holds("X-Key:true", &[("x-key", "true")]), "no space: a header of that very name");
        assert!(!holds("X-Key", &[]));
    }

    #[test]
    fn every_instance_must_have_the_value() {
        assert!(!holds("X-Key: 42", &[("x-key", "42"), ("x-key", "43")]));
        assert!(holds("X-Key: 42", &[("x-key", "42"), ("x-key", "42")]));
    }
}
