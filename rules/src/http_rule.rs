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

    fn holds(&self, headers: &HeaderMap) -> bool {
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
        (!self.headers.is_empty() || self.header_matches.iter().any(HeaderMatch::may_fail))
            && fits(&self.method, view.method())
            && fits(&self.path, view.path())
            && fits(&self.host, view.host())
    }

    /// Every field that does not hold, and how many do.
    pub(crate) fn mismatches(&self, view: &RequestView<'_>) -> (Vec<Mismatch>, usize) {
        let mut missing = Vec::new();
        let mut holding = 0_usize;
        let mut consider = |holds: bool, field: &str, expected: &str| {
            if holds {
                holding = holding.saturating_add(1);
            } else {
                missing.push(Mismatch { field: field.to_owned(), expected: expected.to_owned() });
            }
        };
        let fields = [
            ("method", &self.method, view.method()),
            ("path", &self.path, view.path()),
            ("host", &self.host, view.host()),
        ];
        for (field, pattern, value) in fields {
            if let Some(pattern) = pattern {
                consider(pattern.matches(value.as_bytes()), field, pattern.as_str());
            }
        }
        for header in &self.headers {
            let name = header.text.split(' ').next().unwrap_or_default().trim_end_matches(':');
            consider(header.holds(view.headers()), &format!("header {name}"), &header.text);
        }
        for header in &self.header_matches {
            consider(header.holds(view.headers()), &format!("header {}", header.name), &header.text());
        }
        (missing, holding)
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
