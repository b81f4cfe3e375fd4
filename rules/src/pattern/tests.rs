use super::*;

fn matches(pattern: &str, value: &str) -> bool {
    full_match(pattern).unwrap().matches(value.as_bytes())
}

#[test]
fn the_whole_value_must_match() {
    assert!(matches("/public", "/public"));
    assert!(!matches("/public", "/public/x"));
    assert!(!matches("GET", "GETX"));
    assert!(matches("/foo|/foobar", "/foobar"));
    assert!(!matches("^/a|/b$", "/a/b"));
    assert!(matches("^/a|/b$", "/b"));
    assert!(!matches("(?m)^/a$", "x\n/a"));
    assert!(matches("(?i)get", "GeT"));
    assert!(matches("/a/.*", "/a/b?c=d"));
    assert!(!matches("/a/.*", "/a/b\nc"));
    assert!(matches(".*", ""));
    assert!(matches("/[0-9]+", "/42"));
}

#[test]
fn an_unbalanced_alternative_does_not_get_out_of_the_anchors() {
    assert!(full_match("a)|(?:b").is_err());
}

#[test]
fn classes_are_ascii_as_in_re2() {
    assert!(!matches(r"/\w+", "/é"));
    assert!(matches(r"/\w+", "/e_1"));
}

#[test]
fn common_forms_need_no_automaton() {
    assert!(matches!(full_match("/api/v1").unwrap().matcher, Matcher::Literal(_)));
    assert!(matches!(full_match("/api/v1/.*").unwrap().matcher, Matcher::Prefix(_)));
    assert!(matches!(full_match(r"/api/v1\.0").unwrap().matcher, Matcher::Literal(_)));
    assert!(matches!(full_match("GET|HEAD").unwrap().matcher, Matcher::OneOf(_)));
    assert!(matches("GET|HEAD|OPTIONS", "HEAD") && !matches("GET|HEAD", "GETHEAD"));
    assert!(matches!(full_match("^/api/v1$").unwrap().matcher, Matcher::Literal(_)));
    assert!(matches!(full_match("^/api/.*").unwrap().matcher, Matcher::Prefix(_)));
    assert!(matches!(full_match("/api/.+").unwrap().matcher, Matcher::Regex(_)));
}

#[test]
fn what_has_too_many_positions_or_looks_around_matches_the_same() {
    let has_positions = |pattern: &str| full_match(pattern).unwrap().required().is_some();
    for (pattern, is_small) in [
        ("/x[a-z]{64}", true),
        ("/x[a-z]{65}", false),
        ("/x([a-z]{32}){2}", true),
        ("/x([a-z]{33})?[a-z]{32}", false),
        ("/x[a-z]{64}|/y", false),
        ("^/x.+$", true),
        ("(^/x|/y)$", false),
        (r"/x\b.*", false),
    ] {
        assert_eq!(has_positions(pattern), is_small, "{pattern}");
    }
    let value = |letters: usize| format!("/x{}", "a".repeat(letters));
    for (pattern, lengths) in
        [("/x[a-z]{64}", [64, 64]), ("/x[a-z]{65}", [65, 65]), ("/x([a-z]{33})?[a-z]{32}", [32, 65])]
    {
        let matching: Vec<usize> = (0..70).filter(|length| matches(pattern, &value(*length))).collect();
        let lengths: std::collections::BTreeSet<usize> = lengths.into();
        assert_eq!(matching, Vec::from_iter(lengths), "{pattern}");
    }
    assert!(matches(r"/x\b.*", "/x-a") && !matches(r"/x\b.*", "/xa"));
}

#[test]
fn repetitions_are_counted() {
    for (pattern, most) in
        [("/(ab){2,3}", 5), ("/(ab){2}", 5), ("/(ab){0,1}", 5), ("/(ab){2,}", 9), ("/((ab){1,2}){2}", 9)]
    {
        let found: Vec<usize> =
            (0..most).filter(|times| matches(pattern, &format!("/{}", "ab".repeat(*times)))).collect();
        let wanted: &[usize] = match pattern {
            "/(ab){2,3}" => &[2, 3],
            "/(ab){2}" => &[2],
            "/(ab){0,1}" => &[0, 1],
            "/(ab){2,}" => &[2, 3, 4, 5, 6, 7, 8],
            _ => &[2, 3, 4],
        };
        assert_eq!(found, wanted, "{pattern}");
        assert!(!matches(pattern, "/aba") && !matches(pattern, "/abb"), "{pattern}");
    }
}

#[test]
fn what_is_no_pattern_is_an_error_with_a_reason() {
    for (pattern, reason) in [("(", "unclosed group"), ("*", "repetition operator missing expression")] {
        let error = full_match(pattern).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert_eq!(full_match(&"a".repeat(1 << 20)), Err(PatternError::TooLong(1 << 20)));
    assert!(full_match("((((a{100}){100}){100}){100})").unwrap_err().to_string().contains("exceed"));
}

#[test]
fn another_dialect_is_refused() {
    for pattern in [
        "[a&&b]",
        "[[a]b]",
        "(?x) a",
        r"\<a",
        "(?u)a",
        "a**",
        "a{2}{3}",
        "a+{2}",
        r"\u0069",
        r"[\u{69}]",
        r"[a-\U00000069]",
    ] {
        assert!(matches!(full_match(pattern), Err(PatternError::NotRe2(_))), "{pattern}");
    }
    assert_eq!(full_match("a{1001}"), Err(PatternError::Repeat(1001)));
    assert_eq!(full_match("a{2,1001}"), Err(PatternError::Repeat(1001)));
    full_match("a{1000}").unwrap();
    full_match("(a*)*").unwrap();
}

#[test]
fn a_brace_that_repeats_nothing_is_itself() {
    assert!(matches("/users/{id}", "/users/{id}"));
    assert!(matches("a{,5}", "a{,5}"));
    assert!(matches("a{ 2}", "a{ 2}"));
    assert!(matches(r"\x{41}{2}", "AA"));
    assert!(matches(r"\{2}", "{2}"));
    assert!(matches("[{]{2}", "{{"));
    assert!(matches("a{1,2}b{3,}", "aabbbb"));
    assert!(matches("{", "{"));
    assert!(full_match("{2}").is_err(), "repeats nothing");
}
