use http::{HeaderMap, HeaderValue, header};

use super::*;
use crate::{
    pattern::full_match,
    policy::{Kind, PolicyKey},
    request::PathOptions,
    verdict::MatchType,
};

fn rule(index: usize, method: &str, path: &str) -> CompiledRule {
    let pattern = |text: &str| (!text.is_empty()).then(|| full_match(text).unwrap());
    let rule = HttpRule { method: pattern(method), path: pattern(path), ..HttpRule::default() };
    let policy = PolicyKey { kind: Kind::CiliumNetworkPolicy, namespace: String::new(), name: String::new() };
    let reference = RuleRef {
        policy: Arc::new(policy),
        rule: index.to_string(),
        summary: String::new(),
        log: None,
        matches: MatchType::None,
    };
    CompiledRule { rule: Arc::new(rule), reference: Arc::new(reference) }
}

fn matcher(rules: &[(&str, &str)]) -> HttpMatcher {
    HttpMatcher::new(rules.iter().enumerate().map(|(index, (method, path))| rule(index, method, path)).collect())
}

fn with_view<T>(method: &str, path: &str, ask: impl FnOnce(&RequestView<'_>) -> T) -> T {
    let mut headers = HeaderMap::new();
    let host = if method == "CONNECT" { path } else { "h" };
    headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
    ask(&RequestView::new(method, path.as_bytes(), false, &headers, &PathOptions::default()).unwrap())
}

/// The rule that is found, by its place.
fn find(matcher: &HttpMatcher, method: &str, path: &str) -> Option<usize> {
    with_view(method, path, |view| matcher.judge(view).ok().map(|rule| rule.reference.rule.parse().unwrap()))
}

#[test]
fn no_pattern_of_a_path_is_about_a_tunnel() {
    for path in [".*", "", "/?.*", "(|/a)", "[^/]*", "^$"] {
        let rules = matcher(&[("CONNECT", path)]);
        let expected = path.is_empty().then_some(0);
        assert_eq!(find(&rules, "CONNECT", "h:80"), expected, "{path:?}: empty is no pattern");
    }
}

#[test]
fn every_form_of_a_path_is_found() {
    let matcher = matcher(&[
        ("GET", "/a/.*"),
        ("", "/a/b"),
        ("POST|PUT", "/a/b"),
        ("", "/[0-9]+"),
        ("DELETE", ""),
        ("GET", "/x|/y"),
        ("P.*", "/a/c"),
        ("", "/a"),
        ("", ".*z"),
    ]);
    for (method, path, expected) in [
        ("GET", "/a/b", Some(0)),
        ("PUT", "/a/b", Some(1)),
        ("POST", "/a/b/c", None),
        ("POST", "/42", Some(3)),
        ("POST", "/42x", None),
        ("DELETE", "/anything", Some(4)),
        ("GET", "/y", Some(5)),
        ("GET", "/yy", None),
        ("PATCH", "/a/c", Some(6)),
        ("GET", "/a", Some(7)),
        ("GET", "/b/yz", Some(8)),
        ("GET", "/", None),
    ] {
        assert_eq!(find(&matcher, method, path), expected, "{method} {path}");
    }
}

#[test]
fn the_first_rule_is_the_one_that_is_named() {
    let matcher = matcher(&[("", "/a.+"), ("", "/ab"), ("", "/a.*"), ("", "")]);
    assert_eq!(find(&matcher, "GET", "/ab"), Some(0));
    assert_eq!(find(&matcher, "GET", "/a"), Some(2));
    assert_eq!(find(&matcher, "GET", "/"), Some(3));
}

#[test]
fn splitting_keeps_every_path() {
    let paths = ["/abc", "/ab", "/abd", "/a", "/", "/abcd", "/b", "/abc/d", "/abx"];
    let rules: Vec<(&str, &str)> = paths.iter().map(|path| ("", *path)).collect();
    let matcher = matcher(&rules);
    for (index, path) in paths.iter().enumerate() {
        assert_eq!(find(&matcher, "GET", path), Some(index), "{path}");
    }
    for path in ["/abcde", "/c", "/abc/", "/abxx"] {
        assert_eq!(find(&matcher, "GET", path), None, "{path}");
    }
}

#[test]
fn the_nearest_rule_is_of_a_close_path() {
    let mut rules: Vec<(String, String)> =
        (0..1000).map(|index| ("GET".to_owned(), format!("/service{index:04}/read"))).collect();
    rules.push(("POST".to_owned(), "/service0500/write".to_owned()));
    let rules: Vec<(&str, &str)> = rules.iter().map(|(method, path)| (method.as_str(), path.as_str())).collect();
    let matcher = matcher(&rules);
    let nearest = |method: &str, path: &str| {
        with_view(method, path, |view| {
            let (rule, missed) = matcher.judge(view).unwrap_err().unwrap();
            (rule.reference.rule.parse::<usize>().unwrap(), missed.field)
        })
    };
    assert_eq!(nearest("POST", "/service0042/read"), (42, "method".to_owned()));
    assert_eq!(nearest("POST", "/service0500/writ"), (1000, "path".to_owned()));
    assert_eq!(nearest("GET", "/service0500/write"), (1000, "method".to_owned()));
}

#[test]
fn many_patterns_are_found_each_by_itself() {
    // Words of their own, a word in common, none, and more positions than are asked one by one.
    let mut rules: Vec<(String, String)> = Vec::new();
    for index in 0..40 {
        rules.push(("GET".to_owned(), format!("/own/r{index:02}/[0-9]+")));
        rules.push(("GET".to_owned(), format!("/common/[a-z]{{{}}}", index + 1)));
        rules.push(("GET".to_owned(), format!("/[0-9]{{{}}}", index + 1)));
        rules.push(("GET".to_owned(), format!("/long/[a-z]{{{}}}", index + 65)));
    }
    let rules: Vec<(&str, &str)> = rules.iter().map(|(method, path)| (method.as_str(), path.as_str())).collect();
    let matcher = matcher(&rules);
    for index in 0..40 {
        let paths = [
            format!("/own/r{index:02}/42"),
            format!("/common/{}", "x".repeat(index + 1)),
            format!("/{}", "7".repeat(index + 1)),
            format!("/long/{}", "x".repeat(index + 65)),
        ];
        for (form, path) in paths.iter().enumerate() {
            assert_eq!(find(&matcher, "GET", path), Some(index * 4 + form), "{path}");
            assert_eq!(find(&matcher, "PUT", path), None, "{path}");
            assert_eq!(find(&matcher, "GET", &format!("{path}!")), None, "{path}");
        }
    }
}

#[test]
fn the_nearest_pattern_has_a_word_of_the_path() {
    let rules: Vec<String> = (0..1000).map(|index| format!("/[a-z]+/r{index:04}/[0-9]+")).collect();
    let rules: Vec<(&str, &str)> = rules.iter().map(|path| ("GET", path.as_str())).collect();
    let matcher = matcher(&rules);
    let nearest = |path: &str| {
        with_view("GET", path, |view| {
            let (rule, missed) = matcher.judge(view).unwrap_err().unwrap();
            (rule.reference.rule.parse::<usize>().unwrap(), missed.field)
        })
    };
    assert_eq!(nearest("/service/r0700/x"), (700, "path".to_owned()));
    assert_eq!(nearest("/service/none/x"), (0, "path".to_owned()));
}
