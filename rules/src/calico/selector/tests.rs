use proptest::prelude::*;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn holds(expression: &str, pairs: &[(&str, &str)]) -> bool {
    Selector::parse(expression).unwrap_or_else(|error| panic!("{expression}: {error}")).matches(&labels(pairs))
}

fn canonical(expression: &str) -> String {
    Selector::parse(expression).unwrap_or_else(|error| panic!("{expression}: {error}")).to_string()
}

#[test]
fn operators_mean_what_the_grammar_says() {
    let web: &[(&str, &str)] = &[("app", "web"), ("tier", "")];
    for (expression, selected, without) in [
        ("app == 'web'", true, false),
        ("app == \"db\"", false, false),
        ("app != 'web'", false, true),
        ("app != 'db'", true, true),
        ("app in {'web', 'db'}", true, false),
        ("app in {'db'}", false, false),
        ("app in {}", false, false),
        ("app not in {'web'}", false, true),
        ("app not in {'db'}", true, true),
        ("app not in {}", true, true),
        ("app contains 'e'", true, false),
        ("app contains ''", true, false),
        ("app starts with 'w'", true, false),
        ("app starts with 'e'", false, false),
        ("app ends with 'eb'", true, false),
        ("app ends with 'w'", false, false),
        ("has(app)", true, false),
        ("!has(app)", false, true),
        ("tier == ''", true, false),
        ("all()", true, true),
        ("!all()", false, false),
        ("", true, true),
        (" \t", true, true),
        ("!!has(app)", true, false),
        ("!!!has(app)", false, true),
        // `!` binds to the operation that follows.
        ("!app in {'web'}", false, true),
        ("! app == 'db'", true, true),
        ("!(app == 'web' && has(tier))", false, true),
    ] {
        assert_eq!(holds(expression, web), selected, "{expression}");
        assert_eq!(holds(expression, &[]), without, "{expression} of nothing");
    }
}

#[test]
fn not_binds_tighter_than_and_and_that_tighter_than_or() {
    for (expression, same) in [
        ("has(a) || has(b) && has(c)", "has(a) || (has(b) && has(c))"),
        ("has(a) && has(b) || has(c)", "(has(a) && has(b)) || has(c)"),
        ("!has(a) && has(b)", "(!has(a)) && has(b)"),
        ("!has(a) || has(b)", "(!has(a)) || has(b)"),
    ] {
        for bits in 0..8_u8 {
            let names: Vec<(&str, &str)> = ["a", "b", "c"]
                .into_iter()
                .enumerate()
                .filter(|(i, _)| bits >> i & 1 == 1)
                .map(|(_, n)| (n, ""))
                .collect();
            assert_eq!(holds(expression, &names), holds(same, &names), "{expression} with {names:?}");
        }
    }
}

#[test]
fn other_spellings_are_the_same_expression() {
    for (written, shown) in [
        ("a notin{'x'}", r#"a not in {"x"}"#),
        ("a not\tin {'x'}", r#"a not in {"x"}"#),
        ("a startswith 'x'", r#"a starts with "x""#),
        ("a endswith'x'", r#"a ends with "x""#),
        ("a=='x'", r#"a == "x""#),
        ("a in {'c','a' , 'b','a'}", r#"a in {"a", "b", "c"}"#),
        ("a == '\"'", "a == '\"'"),
        ("(((has(a))))", "has(a)"),
        ("has( a )&&(has(b)&&has(c))", "has(a) && has(b) && has(c)"),
        ("!(has(a)||has(b)) && (has(c)||has(d))", "!(has(a) || has(b)) && (has(c) || has(d))"),
        ("!!has(a)", "has(a)"),
        ("all( )", "all()"),
        ("  ", "all()"),
        ("in in {'in'}", r#"in in {"in"}"#),
        ("not not in {'x'}", r#"not not in {"x"}"#),
        ("all == 'x' && has == 'y'", r#"all == "x" && has == "y""#),
        ("projectcalico.org/namespace == 'shop'", r#"projectcalico.org/namespace == "shop""#),
        ("a == 'ä ö'", "a == \"ä ö\""),
    ] {
        assert_eq!(canonical(written), shown);
        assert_eq!(canonical(shown), shown);
    }
}

#[test]
fn what_is_wrong_is_told_with_its_column() {
    let nested = format!("{}has(a){}", "(".repeat(40), ")".repeat(40));
    let long = format!("{} == 'x'", "a".repeat(600));
    for (expression, column, part) in [
        ("app", 1, "write has(app)"),
        ("has(a) && app", 11, "write has(app)"),
        ("b == b", 6, "write \"b\""),
        ("!", 2, "missing"),
        ("foo in \"\"", 8, "write in {"),
        ("foo in {'a'", 8, "never closed"),
        ("foo in {'a',}", 13, "\"…\""),
        ("foo in {'a' 'b'}", 13, ", or }"),
        ("foo in {a}", 9, "write \"a\""),
        ("foo == 'a", 8, "never ends"),
        ("foo == 'a\"", 8, "never ends"),
        ("(has(a)", 1, "never closed"),
        ("has(a", 6, "write )"),
        ("has()", 5, "label's name"),
        ("has(a))", 7, "never opened"),
        ("()", 1, "all()"),
        ("%", 1, "label's name"),
        ("has(a) &&", 10, "missing"),
        ("has(a) && && has(b)", 11, "missing"),
        ("|| has(a)", 1, "missing"),
        ("has(a) & has(b)", 8, "write &&"),
        ("has(a) has(b)", 8, "write &&"),
        ("a = 'b'", 3, "write =="),
        ("a ==", 5, "quotes"),
        ("a like 'b'", 3, "like is no operator"),
        ("a not 'b'", 3, "`not in`"),
        ("a inx {'b'}", 3, "inx"),
        ("some()", 1, "no function"),
        ("'a' == 'b'", 1, "without quotes"),
        ("ä == 'b'", 1, "label's name"),
        ("a == 'ä' x", 10, "x is not expected"),
        ("has(a)\n", 7, ">-"),
        (&nested, 33, "nested"),
        (&long, 1, "512"),
    ] {
        let error = Selector::parse(expression).expect_err(expression);
        assert_eq!(error.column, column, "{expression}: {error}");
        assert!(error.reason.contains(part), "{expression}: {error}");
        assert!(error.to_string().starts_with(&format!("column {column}: ")), "{error}");
    }
    assert!(Selector::parse(&format!("a == '{}'", "x".repeat(MAX_LETTERS))).is_err());
    assert!(Selector::parse(&format!("{}has(a)", "!".repeat(MAX_LETTERS - 6))).is_ok());
}

#[test]
fn selectors_of_namespaces_ask_prefixed_labels() {
    let of_namespaces = |text: &str| Selector::parse(text).unwrap().prefixed("pcns.").all_that_has("ns").to_string();
    assert_eq!(of_namespaces("team == 'a' || !has(b)"), r#"pcns.team == "a" || !has(pcns.b)"#);
    assert_eq!(of_namespaces("all()"), "has(ns)");
    assert_eq!(of_namespaces("global()"), "!has(ns)");
    assert!(Selector::parse("global()").unwrap().is_global());
    assert!(Selector::parse("!(has(a) && global())").unwrap().names_global());
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{0,3}", "[ -!#-~]{0,4}", "[a\"]{0,2}"]
}

pub(super) fn expr() -> impl Strategy<Value = Expr> {
    let key = || prop_oneof!["[abc]", "[a-zA-Z0-9_./-]{1,6}", Just("in".to_owned()), Just("not".to_owned())];
    let set = || proptest::collection::btree_set(value(), 0..4);
    let test = prop_oneof![
        value().prop_map(Test::Is),
        value().prop_map(Test::IsNot),
        set().prop_map(Test::In),
        set().prop_map(Test::NotIn),
        value().prop_map(Test::Contains),
        value().prop_map(Test::StartsWith),
        value().prop_map(Test::EndsWith),
    ];
    let leaf = prop_oneof![
        Just(Expr::All),
        Just(Expr::Global),
        key().prop_map(Expr::Has),
        (key(), test).prop_map(|(key, test)| Expr::Label(key, test)),
    ];
    leaf.prop_recursive(5, 24, 4, |inner| {
        let some = || proptest::collection::vec(inner.clone(), 1..4);
        prop_oneof![inner.clone().prop_map(Expr::not), some().prop_map(Expr::and), some().prop_map(Expr::or)]
    })
}

proptest! {
    #[test]
    fn what_is_shown_is_read_as_the_same(expr in expr()) {
        let shown = Selector(expr).to_string();
        prop_assert_eq!(canonical(&shown), shown);
    }

    #[test]
    fn what_is_shown_equals_what_it_shows(expr in expr()) {
        // A text with both kinds of quotes cannot be written, so none is made.
        let selector = Selector(expr);
        prop_assert_eq!(Selector::parse(&selector.to_string()).unwrap(), selector);
    }

    #[test]
    fn no_text_is_too_much(text in "\\PC*") {
        if let Ok(selector) = Selector::parse(&text) {
            prop_assert_eq!(Selector::parse(&selector.to_string()).unwrap(), selector);
        }
    }

    #[test]
    fn no_mixture_of_words_is_too_much(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "a", "==", "'x'", "\"", "!", "!=", "&&", "||", "(", ")", "in", "not", "{", "}", ",", "has(", "all()",
                "global()", "starts with", "contains", " ", "\t", "ü", "(((((((((((",
            ]),
            0..30,
        )
    ) {
        let text: String = words.concat();
        match Selector::parse(&text) {
            Ok(selector) => prop_assert_eq!(canonical(&selector.to_string()), selector.to_string()),
            Err(error) => prop_assert!(error.column.saturating_sub(1) <= text.chars().count()),
        }
    }
}
