//! Headers, compared by what their rules say; edits, by the table of Cilium's actions.
//!
//! Start at [`holds`] and [`edits`]. Secrets are not known here.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    HeaderEdit,
    header_match::{HeaderMatch, Otherwise},
    http_rule::HttpRule,
};

/// Whether everything that a rule says of headers holds.
pub(super) fn holds(rule: &HttpRule, headers: &HeaderMap) -> bool {
    for header in &rule.headers {
        // `Name: value`, `Name value` or `Name`.
        let (name, wanted) = match header.text.split_once(' ') {
            Some((name, value)) => (name.trim_end_matches(':'), Some(value.as_bytes())),
            None => (header.text.as_str(), None),
        };
        if !is(name, wanted, headers) {
            return false;
        }
    }
    for header in &rule.header_matches {
        let unknown = header.secret.is_some() && header.value.is_none();
        if unknown || (header.otherwise == Otherwise::Fail && !is_met(header, headers)) {
            return false;
        }
    }
    true
}

/// What a rule that matches does to a request, in no order.
pub(super) fn edits(rule: &HttpRule, headers: &HeaderMap) -> Vec<HeaderEdit> {
    let mut edits = Vec::new();
    for header in &rule.header_matches {
        if is_met(header, headers) {
            continue;
        }
        let name = || header.name.clone();
        let value = || header.value.clone().unwrap_or(HeaderValue::from_static(""));
        match header.otherwise {
            Otherwise::Fail | Otherwise::Log => {}
            Otherwise::Add => edits.push(HeaderEdit::Append(name(), value())),
            Otherwise::Replace => edits.push(HeaderEdit::Set(name(), value())),
            Otherwise::Delete => {
                if !instances(header.name.as_str(), headers).is_empty() {
                    edits.push(HeaderEdit::Remove(name()));
                }
            }
        }
    }
    edits
}

fn is_met(header: &HeaderMatch, headers: &HeaderMap) -> bool {
    is(header.name.as_str(), header.value.as_ref().map(HeaderValue::as_bytes), headers)
}

/// There, and every instance of it has the value.
fn is(name: &str, wanted: Option<&[u8]>, headers: &HeaderMap) -> bool {
    let found = instances(name, headers);
    !found.is_empty() && wanted.is_none_or(|wanted| found.iter().all(|value| *value == wanted))
}

fn instances<'h>(name: &str, headers: &'h HeaderMap) -> Vec<&'h [u8]> {
    let of_name = |(known, _): &(&HeaderName, &HeaderValue)| known.as_str().eq_ignore_ascii_case(name);
    headers.iter().filter(of_name).map(|(_, value)| value.as_bytes()).collect()
}
