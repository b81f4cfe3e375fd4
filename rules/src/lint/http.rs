//! One HTTP rule: what its patterns leave out, let in, or can never match.
//!
//! Start at [`rule`].

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};

use super::{FindingKind, Findings, pattern};
use crate::{
    http_rule::HttpRule,
    pattern::{Form, Pattern},
    request::{PathOptions, RequestView, is_authority},
};

/// RFC 9110 §9, and PATCH.
pub(super) const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// `siblings`: all rules of the same list.
pub(super) fn rule(rule: &HttpRule, siblings: &[Arc<HttpRule>], findings: &mut Findings) {
    if let Some(pattern) = &rule.method {
        method(rule, pattern, siblings, findings);
    }
    if let Some(pattern) = &rule.path {
        path(rule, pattern, findings);
    }
    if let Some(pattern) = &rule.host {
        host(rule, pattern, findings);
    }
    for (index, header) in rule.headers.iter().enumerate().filter(|(_, header)| header.name.is_none()) {
        let name = header.text.split(' ').next().unwrap_or_default();
        let text = format!("never holds: {name:?} is no header's name; write \"Name: value\", or Name alone");
        let field = format!("{}.headers[{index}]", rule.path_in_spec);
        findings.add(rule.lines.headers, &field, FindingKind::NeverMatches, text);
    }
}

fn method(rule: &HttpRule, pattern: &Pattern, siblings: &[Arc<HttpRule>], findings: &mut Findings) {
    let field = format!("{}.method", rule.path_in_spec);
    for word in words(pattern) {
        let upper = word.to_ascii_uppercase();
        if upper != word && METHODS.contains(&upper.as_str()) {
            let text = format!("never matches {upper}: methods are compared with their case; write {upper}");
            findings.add(rule.lines.method, &field, FindingKind::NeverMatches, text);
        }
    }
    let admits = |pattern: &Pattern, method: &str| pattern.matches(method.as_bytes());
    let head_elsewhere = || {
        siblings.iter().any(|sibling| {
            sibling.method.as_ref().is_none_or(|pattern| admits(pattern, "HEAD"))
                && (sibling.path.is_none() || sibling.path == rule.path)
                && (sibling.host.is_none() || sibling.host == rule.host)
                && sibling.headers.iter().all(|header| rule.headers.contains(header))
                && sibling.header_matches.iter().all(|header| rule.header_matches.contains(header))
        })
    };
    if admits(pattern, "GET") && !admits(pattern, "HEAD") && !head_elsewhere() {
        let text = "allows GET and not HEAD, which asks for the same without a body; write GET|HEAD to allow both";
        findings.add(rule.lines.method, &field, FindingKind::NoHead, text);
    }
}

fn path(rule: &HttpRule, pattern: &Pattern, findings: &mut Findings) {
    let field = format!("{}.path", rule.path_in_spec);
    let mut add = |kind, text: String| findings.add(rule.lines.path, &field, kind, text);
    if let Some(reason) = impossible_path(pattern) {
        return add(FindingKind::NeverMatches, reason);
    }
    if !pattern::admits_query(pattern) {
        let text = "matches no request with a query; end it with (\\?.*)? to allow one";
        add(FindingKind::NoQuery, text.to_owned());
    }
    any_character(pattern, add);
}

fn host(rule: &HttpRule, pattern: &Pattern, findings: &mut Findings) {
    let field = format!("{}.host", rule.path_in_spec);
    let mut add = |kind, text: String| findings.add(rule.lines.host, &field, kind, text);
    let words = words(pattern);
    if let Some(word) = words.first().filter(|_| words.iter().all(|word| !is_authority(word))) {
        let text = format!("never matches: {word:?} is no host; write a name or an address, with :port if it has one");
        return add(FindingKind::NeverMatches, text);
    }
    any_character(pattern, add);
}

fn any_character(pattern: &Pattern, mut add: impl FnMut(FindingKind, String)) {
    if let Some(around) = pattern::dot_between_letters(pattern.as_str()) {
        let text = format!("the dot in {around:?} matches any character; write \\. for a dot");
        add(FindingKind::AnyCharacter, text);
    }
}

/// Why no request has such a path.
fn impossible_path(pattern: &Pattern) -> Option<String> {
    if !pattern::may_begin_with_slash(pattern) && !pattern.matches(b"*") {
        let text = pattern.as_str();
        return Some(format!("never matches: a path begins with /; write /{}", text.trim_start_matches('^')));
    }
    let words = words(pattern);
    let mut reasons = Vec::new();
    for word in &words {
        reasons.push(not_normal(word)?);
    }
    reasons.into_iter().next()
}

/// Why no request has exactly this path in its normal form, whatever is relaxed.
fn not_normal(path: &str) -> Option<String> {
    let options = PathOptions {
        merge_slashes: false,
        allow_path_parameters: true,
        allow_encoded_slash: true,
        allow_encoded_backslash: true,
        allow_encoded_control: true,
        allow_double_encoding: true,
        allow_non_utf8: true,
    };
    let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("host"))]);
    match RequestView::new("OPTIONS", path.as_bytes(), false, &headers, &options) {
        Ok(view) if view.path() == path => None,
        Ok(view) => Some(format!("never matches: paths are compared in their normal form; write {}", view.path())),
        Err(malformed) => Some(format!("never matches: such a request is refused ({malformed}); write another path")),
    }
}

/// The values that a pattern matches, when they are a list; none otherwise.
fn words(pattern: &Pattern) -> Vec<String> {
    let text = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
    match pattern.form() {
        Form::Literal(word) => vec![text(word)],
        Form::OneOf(words) => words.iter().map(|word| text(word)).collect(),
        Form::Prefix(_) | Form::Regex => Vec::new(),
    }
}
