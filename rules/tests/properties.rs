//! What must hold of all policies and all requests: generated ones are judged a second time by `rules::oracle`.
//!
//! A hundred thousand cases where `CI` is set, a twentieth of them elsewhere.

#![cfg(feature = "oracle")]
#![expect(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what can not be read, or is not there, is a failure"
)]

#[path = "properties/answer.rs"]
mod answer;
#[path = "properties/explained.rs"]
mod explained;
#[path = "properties/fronted.rs"]
mod fronted;
#[path = "properties/generate.rs"]
mod generate;
#[path = "properties/model.rs"]
mod model;
#[path = "properties/narrow.rs"]
mod narrow;
#[path = "properties/policy_map.rs"]
mod policy_map;
#[path = "properties/sharing.rs"]
mod sharing;
#[path = "properties/together.rs"]
mod together;

use std::{
    cell::Cell,
    env,
    io::{self, Write as _},
    sync::Arc,
};

use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{Config, TestCaseResult, TestRunner},
};
use rules::{
    InForce, PathOptions, RequestView, full_match,
    manifest::{self, Document},
    oracle::{self, Connects},
};

use self::{
    answer::{answers, edits, in_force, oracles, valid},
    model::Policy,
};

/// Cases of each property where `CI` is set.
const ORACLE: u32 = 5_000;
const ORDER: u32 = 2_500;
const NARROWING: u32 = 3_000;
const REFUSED: u32 = 2_500;
const PATTERNS: u32 = 13_000;
const TOGETHER: u32 = 2_000;
const SHARING: u32 = 1_500;
const SERVICES: u32 = 2_000;
const NORMAL_FORM: u32 = 41_500;
const TEXTS: u32 = 21_000;
const EXPLAINED: u32 = 4_000;
const MUTATIONS: u32 = 2_000;
const OF_MEANING: u32 = ORACLE + ORDER + NARROWING + REFUSED + SHARING + SERVICES;
const OF_TEXTS: u32 = PATTERNS + TOGETHER + NORMAL_FORM + TEXTS + EXPLAINED + MUTATIONS;
const _: () = assert!(OF_MEANING + OF_TEXTS == 100_000, "cases where CI is set");

fn check<S: Strategy>(name: &str, cases: u32, strategy: &S, test: impl Fn(S::Value) -> TestCaseResult) {
    let cases = if env::var_os("CI").is_some() { cases } else { cases / 20 };
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let ran = Cell::new(0_u32);
    let result = TestRunner::new(config).run(strategy, |value| {
        ran.set(ran.get() + 1);
        test(value)
    });
    // Not by a macro: libtest hides what those write.
    let mut out = io::stderr().lock();
    writeln!(out, "{name}: {} cases", ran.get()).expect("standard error");
    if let Err(error) = result {
        panic!("{name}: {error}");
    }
}

#[test]
fn verdicts_are_the_oracles() {
    let strategy = (generate::world(), vec(generate::refused(), 0..2));
    // Each answer below HTTP; requests of redirected connections that pass, and that do not.
    let seen: [Cell<u32>; 6] = Default::default();
    let edited = Cell::new(0_u32);
    check("verdicts_are_the_oracles", ORACLE, &strategy, |(mut world, refused)| {
        world.policies.extend(refused);
        let known = generate::known(&world.pods);
        let policies = in_force(&model::manifest(&world.policies));
        let answers = answers(&world, &known, &policies);
        for (connects, passes) in &answers {
            let kinds = [Connects::NotEnforced, Connects::Allowed, Connects::Redirect, Connects::Denied];
            let of_kind = kinds.iter().map(|kind| u32::from(kind == connects));
            let passed = passes.iter().filter(|_| *connects == Connects::Redirect);
            let (passed, refused): (Vec<bool>, Vec<bool>) = passed.partition(|passes| **passes);
            let of_requests = [u32::from(!passed.is_empty()), u32::from(!refused.is_empty())];
            seen.iter().zip(of_kind.chain(of_requests)).for_each(|(seen, more)| seen.set(seen.get() + more));
        }
        prop_assert_eq!(answers, oracles(&world, &known, &policies));
        let edits = edits(&world, &known, &policies);
        edited.set(edited.get() + edits.iter().map(|(is, _)| u32::from(!is.is_empty())).sum::<u32>());
        for (is, wanted) in edits {
            prop_assert_eq!(is, wanted);
        }
        Ok(())
    });
    assert!(edited.get() >= ORACLE / 20 / 10, "hardly any request is edited: {edited:?}");
    assert!(seen.iter().all(|seen| seen.get() >= ORACLE / 20 / 10), "an answer is hardly ever given: {seen:?}");
}

#[test]
fn what_is_told_of_a_denial_is_so() {
    let seen = Cell::new(explained::Seen::default());
    check("what_is_told_of_a_denial_is_so", EXPLAINED, &generate::world(), |mut world| {
        // Where nothing is under default deny, nothing is denied for want of a rule.
        by_default(&mut world.policies);
        let known = generate::known(&world.pods);
        let mut so_far = seen.get();
        explained::check(&world, &known, &valid(&world.policies), &mut so_far)?;
        seen.set(so_far);
        Ok(())
    });
    let explained::Seen { connections, requests, ports, methods, paths, acts } = seen.get();
    let rare = [connections, requests, ports, methods, paths, acts].into_iter().any(|seen| seen < EXPLAINED / 20 / 40);
    assert!(!rare, "hardly ever asked: {:?}", seen.get());
}

#[test]
fn a_service_is_what_is_behind_it() {
    let seen = Cell::new(fronted::Seen::default());
    let targets = vec((0..1000_usize, select(vec![80_u16, 80, 81, 443])), 0..4);
    check("a_service_is_what_is_behind_it", SERVICES, &(generate::world(), targets), |(world, targets)| {
        let known = generate::known(&world.pods);
        let mut so_far = seen.get();
        fronted::check(&world, &known, &valid(&world.policies), &targets, &mut so_far)?;
        seen.set(so_far);
        Ok(())
    });
    let fronted::Seen { allowed, denied, mixed, passed, refused } = seen.get();
    let rare = [allowed, denied, mixed, passed, refused].into_iter().any(|seen| seen < SERVICES / 20 / 20);
    assert!(!rare, "hardly ever seen: {:?}", seen.get());
}

#[test]
fn order_does_not_matter() {
    check("order_does_not_matter", ORDER, &(generate::world(), 0..6_usize), |(world, turn)| {
        let known = generate::known(&world.pods);
        let mut turned = world.policies.clone();
        turn_around(&mut turned, turn);
        let (policies, turned) = (valid(&world.policies), valid(&turned));
        prop_assert_eq!(answers(&world, &known, &policies), answers(&world, &known, &turned));
        prop_assert_eq!(edits(&world, &known, &policies), edits(&world, &known, &turned));
        Ok(())
    });
}

/// Takes `enableDefaultDeny` away.
fn by_default(policies: &mut [Policy]) {
    for policy in policies {
        policy.default_deny = [None; 2];
    }
}

/// Every list in another order.
fn turn_around(policies: &mut [Policy], turn: usize) {
    fn other<T>(list: &mut [T], turn: usize) {
        if turn.is_multiple_of(2) {
            list.reverse();
        }
        let middle = turn % list.len().max(1);
        list.rotate_left(middle);
    }
    for policy in policies.iter_mut() {
        let Policy { ingress, egress, ingress_deny, egress_deny, .. } = policy;
        for entries in [ingress, egress, ingress_deny, egress_deny] {
            for entry in entries.iter_mut() {
                match &mut entry.peers {
                    model::Peers::Absent => {}
                    model::Peers::Endpoints(selectors) => other(selectors, turn),
                    model::Peers::Cidrs(texts) | model::Peers::CidrSet(texts) | model::Peers::Entities(texts) => {
                        other(texts, turn);
                    }
                }
                for rule in entry.ports.iter_mut().flatten() {
                    other(&mut rule.ports, turn);
                    rule.http.iter_mut().for_each(|rules| other(rules, turn));
                }
                entry.ports.iter_mut().for_each(|rules| other(rules, turn));
                entry.icmps.iter_mut().for_each(|messages| other(messages, turn));
                other(&mut entry.icmps, turn);
            }
            other(entries, turn);
        }
    }
    other(policies, turn);
}

#[test]
fn a_narrower_rule_never_allows_more() {
    let strategy = (generate::world(), 0..1000_usize, select(narrow::WAYS.to_vec()));
    check("a_narrower_rule_never_allows_more", NARROWING, &strategy, |(mut world, pick, way)| {
        by_default(&mut world.policies);
        let known = generate::known(&world.pods);
        let mut narrowed = world.policies.clone();
        narrow::narrow(&mut narrowed, pick, way);
        let before = answers(&world, &known, &valid(&world.policies));
        let after = answers(&world, &known, &valid(&narrowed));
        for ((connected, passed), (connects, passes)) in before.iter().zip(&after) {
            prop_assert!(*connected != Connects::Denied || *connects == Connects::Denied, "{:?}", narrowed);
            prop_assert!(*connects != Connects::NotEnforced || *connected == Connects::NotEnforced);
            prop_assert!(passed.iter().zip(passes).all(|(passed, passes)| *passed || !*passes), "{:?}", narrowed);
        }
        Ok(())
    });
}

#[test]
fn a_refused_policy_allows_nothing_and_harms_no_other() {
    let name = "a_refused_policy_allows_nothing_and_harms_no_other";
    check(name, REFUSED, &(generate::world(), generate::refused()), |(mut world, refused)| {
        // Without default deny, an allowance changes nothing until another policy brings default deny along.
        by_default(&mut world.policies);
        let known = generate::known(&world.pods);
        let meant = answers(&world, &known, &valid(&[Policy { fault: None, ..refused.clone() }]));
        let alone = in_force(&model::manifest(&[refused]));
        prop_assert!(matches!(alone.as_slice(), [InForce::Refused(_)]), "{:?}", alone);
        let without = valid(&world.policies);
        let with: Vec<InForce> = without.iter().chain(&alone).cloned().collect();
        let (alone, without) = (answers(&world, &known, &alone), answers(&world, &known, &without));
        let with = answers(&world, &known, &with);
        for (((meant, alone), without), with) in meant.iter().zip(&alone).zip(&without).zip(&with) {
            prop_assert!(matches!(alone.0, Connects::NotEnforced | Connects::Denied));
            prop_assert!(alone.0 == Connects::Denied || meant.0 == Connects::NotEnforced, "selects less than it would");
            let free = without.0 == Connects::NotEnforced;
            prop_assert_eq!(if free { alone } else { without }, with);
        }
        Ok(())
    });
}

#[test]
fn what_endpoints_share_is_what_each_would_have_alone() {
    let strategy = (generate::world(), vec(generate::refused(), 0..2), sharing::strategy(), 0..8_usize);
    let name = "what_endpoints_share_is_what_each_would_have_alone";
    let (shares, differ) = (Cell::new(0_u32), Cell::new(0_u32));
    check(name, SHARING, &strategy, |(mut world, refused, (calico, pods, audited), gone)| {
        world.policies.extend(refused);
        let calico = calico.iter().enumerate().map(|(index, text)| text.replace("NAME", &format!("c{index}")));
        let text: String = calico.chain([sharing::AROUND.to_owned(), model::manifest(&world.policies)]).collect();
        let policies = in_force(&sharing::audited(&text, audited));
        let of_calico = policies.iter().filter(|policy| policy.key().name.contains(".c"));
        prop_assert!(of_calico.clone().all(|policy| matches!(policy, InForce::Policy(_))), "{:?}", policies);
        let everybody = sharing::Everybody::new(&pods, &policies);
        let together = everybody.together(&policies, &[]);
        for ((_, shared), alone) in together.iter().zip(everybody.alone(&policies)) {
            prop_assert_eq!(everybody.answers(shared, &world.requests), everybody.answers(&alone, &world.requests));
        }
        for (one, other) in together.iter().zip(together.iter().skip(1)) {
            prop_assert_eq!(
                one.0 == other.0,
                Arc::ptr_eq(&one.1.ingress, &other.1.ingress) && Arc::ptr_eq(&one.1.egress, &other.1.egress)
            );
            let counter = if one.0 == other.0 { &shares } else { &differ };
            counter.set(counter.get() + 1);
        }
        everybody.look_up_when_all_is_audited(&policies);
        // A policy goes, and what is remembered is shared by whom it is still right for.
        let stays = |policy: &&InForce| policy.concerns_every_pod() || policy.key().name != format!("p{gone}");
        let fewer: Vec<InForce> = policies.iter().filter(stays).cloned().collect();
        for ((_, shared), alone) in everybody.together(&fewer, &together).iter().zip(everybody.alone(&fewer)) {
            prop_assert_eq!(everybody.answers(shared, &world.requests), everybody.answers(&alone, &world.requests));
        }
        Ok(())
    });
    let least = SHARING / 20 / 10;
    assert!(shares.get() >= least && differ.get() >= least, "{shares:?} share, {differ:?} do not");
}

#[test]
fn patterns_match_what_the_oracle_matches() {
    let values = vec(select(vec!["/", "a", "b", ".", "\n", "c", "/a"]), 0..6).prop_map(|parts| parts.concat());
    let strategy = (generate::pattern(), vec(values, 4));
    check("patterns_match_what_the_oracle_matches", PATTERNS, &strategy, |(pattern, values)| {
        let compiled = full_match(&pattern).map_err(|error| TestCaseError::fail(error.to_string()))?;
        for value in values {
            let wanted = oracle::full_match(&pattern, value.as_bytes());
            prop_assert_eq!(Some(compiled.matches(value.as_bytes())), wanted, "{:?} {:?}", pattern, value);
        }
        Ok(())
    });
}

#[test]
fn many_patterns_together_match_what_each_matches() {
    // Paths that some pattern matches, and that none does.
    let seen: [Cell<u32>; 2] = Default::default();
    let name = "many_patterns_together_match_what_each_matches";
    check(name, TOGETHER, &together::patterns(), |(patterns, paths)| {
        let server = together::Server::new(&patterns);
        let patterns = together::compiled(patterns);
        for path in paths {
            let (found, path) = server.allows(&path);
            let of_kind = &seen[usize::from(found.is_none())];
            of_kind.set(of_kind.get() + 1);
            prop_assert_eq!([found, found], together::first(&patterns, &path), "{:?} of {:?}", path, patterns);
        }
        Ok(())
    });
    assert!(seen.iter().all(|seen| seen.get() >= TOGETHER / 20), "an answer is hardly ever given: {seen:?}");
}

fn targets() -> impl Strategy<Value = String> {
    let fine = vec![
        "/", "/", "/", "//", "/.", "/..", "a", "B", ".", "%2e", "%2E", "%41", "%7e", "%25", "2e", "%32", "%65", "%20",
        "%c3%a9", "%3b", "%3F", "-_~", "?", "*",
    ];
    let doubtful = vec![
        "%2f", "%5c", "%0a", "%00", "%c3", "%ff", "%", "%zz", ";", "..;", "#", "\\", "é", " ", "<", "\u{7f}", "%2500",
        "%252e", "%252F", "..",
    ];
    let word = prop_oneof![8 => select(fine), 1 => select(doubtful)];
    let path = vec(word, 0..9).prop_map(|words| words.concat());
    let origin = prop_oneof![
        6 => Just("/"),
        2 => Just("http://h/"),
        1 => select(vec!["", "http://h", "HTTPS://h:80/", "http://H/", "http://u@h/"]),
    ];
    (origin, path).prop_map(|(origin, path)| format!("{origin}{path}"))
}

fn options() -> impl Strategy<Value = PathOptions> {
    any::<[bool; 7]>().prop_map(|[slashes, parameters, slash, backslash, control, double, bytes]| PathOptions {
        merge_slashes: slashes,
        allow_path_parameters: parameters,
        allow_encoded_slash: slash,
        allow_encoded_backslash: backslash,
        allow_encoded_control: control,
        allow_double_encoding: double,
        allow_non_utf8: bytes,
    })
}

#[test]
fn the_normal_form_is_its_own_normal_form() {
    let hosts = select(vec![Some("h"), Some("h"), Some("h:80"), None]);
    let strategy = (select(vec!["GET", "OPTIONS"]), targets(), hosts, any::<bool>(), options());
    let accepted = Cell::new(0_u32);
    check(
        "the_normal_form_is_its_own_normal_form",
        NORMAL_FORM,
        &strategy,
        |(method, target, host, http10, options)| {
            let mut headers = http::HeaderMap::new();
            headers.extend(host.map(|host| (http::header::HOST, http::HeaderValue::from_static(host))));
            let Ok(view) = RequestView::new(method, target.as_bytes(), http10, &headers, &options) else {
                return Ok(());
            };
            accepted.set(accepted.get() + 1);
            let forwarded = view.forward_target().into_owned();
            prop_assert_eq!(view.changed(), forwarded != target, "{:?}", forwarded);
            let again = RequestView::new(method, forwarded.as_bytes(), http10, &headers, &options);
            let again = again.map_err(|error| TestCaseError::fail(format!("{forwarded:?}: {error}")))?;
            prop_assert_eq!(again.path(), view.path());
            prop_assert_eq!(again.host(), view.host());
            prop_assert!(!again.changed(), "{:?}", forwarded);
            if target.starts_with('/') && !view.host().is_empty() {
                let none = http::HeaderMap::new();
                let over_http2 = RequestView::http2(method, Some(view.host()), target.as_bytes(), &none, &options);
                let over_http2 = over_http2.map_err(|error| TestCaseError::fail(format!("{target:?}: {error}")))?;
                prop_assert_eq!((over_http2.path(), over_http2.host()), (view.path(), view.host()));
            }
            let path = view.path().split('?').next().unwrap_or_default();
            prop_assert!(path == "*" || path.starts_with('/'), "{:?}", path);
            // Neither for what cuts segments at `;`.
            let names = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
            prop_assert!(names.into_iter().all(|name| name != "." && name != ".."), "{:?}", path);
            prop_assert!(!path.contains(';') || options.allow_path_parameters, "{:?}", path);
            prop_assert!(!options.merge_slashes || !path.contains("//"), "{:?}", path);
            let escapes = path.split('%').skip(1).filter_map(|after| u8::from_str_radix(after.get(..2)?, 16).ok());
            let lower = path.to_ascii_lowercase();
            let is_double = ["%252e", "%252f", "%255c"].iter().any(|twice| lower.contains(twice));
            prop_assert!(!is_double || options.allow_double_encoding, "{:?}", path);
            prop_assert!(!lower.contains("%2500"), "{:?}", path);
            for byte in escapes {
                prop_assert!(!byte.is_ascii_alphanumeric() && !b"-._~".contains(&byte) && byte != 0, "{:?}", path);
                prop_assert!(byte != b'/' || options.allow_encoded_slash, "{:?}", path);
                prop_assert!(byte != b'\\' || options.allow_encoded_backslash, "{:?}", path);
                prop_assert!(!byte.is_ascii_control() || options.allow_encoded_control, "{:?}", path);
            }
            Ok(())
        },
    );
    assert!(accepted.get() > NORMAL_FORM / 20 / 5, "too few targets are accepted: {}", accepted.get());
}

#[test]
fn no_text_makes_the_parser_panic() {
    let words = vec![
        "\n",
        "\n  ",
        "---\n",
        "...\n",
        "- ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "\"",
        "'",
        "|\n",
        "&a ",
        "*a",
        "!x ",
        "? ",
        "#",
        "\t",
        "apiVersion: cilium.io/v2",
        "kind: CiliumNetworkPolicy",
        "kind: List",
        "metadata: {name: p}",
        "spec:",
        "specs:",
        "items:",
        "endpointSelector: {}",
        "ingress:",
        "egress: [{}]",
        "toPorts:",
        "ports:",
        "port: ",
        "\"80\"",
        "rules: {http: [{path: ",
        "null",
        "~",
        "1e9",
        "\u{feff}",
        "\u{0}",
        "é",
        "<<: ",
        "%YAML 1.2\n",
    ];
    let strategy = prop_oneof![any::<String>(), vec(select(words), 0..30).prop_map(|words| words.concat())];
    check("no_text_makes_the_parser_panic", TEXTS, &strategy, |text| {
        drop(manifest::parse(&text));
        Ok(())
    });
}

#[test]
fn no_mutation_of_a_manifest_makes_the_parser_panic() {
    let insertions =
        vec!["", "\n", "  ", "{", "}", "[", "]", ":", "- ", "\"", "'", "&a ", "*a", "\u{0}", "é", "---\n", "null"];
    let mutation = (any::<prop::sample::Index>(), 0..20_usize, select(insertions));
    let strategy = (generate::world(), vec(mutation, 1..4));
    check("no_mutation_of_a_manifest_makes_the_parser_panic", MUTATIONS, &strategy, |(world, mutations)| {
        let mut text: Vec<char> = model::manifest(&world.policies).chars().collect();
        for (at, removed, inserted) in mutations {
            let at = at.index(text.len().max(1)).min(text.len());
            let end = (at + removed).min(text.len());
            text.splice(at..end, inserted.chars());
        }
        let documents = manifest::parse(&text.into_iter().collect::<String>());
        let policies: Vec<InForce> = documents
            .into_iter()
            .filter_map(|document| match document {
                Document::Policy(policy) => Some(InForce::Policy(policy)),
                Document::Refused(refused) => Some(InForce::Refused(refused)),
                Document::Unattributable { .. } | Document::Skipped { .. } => None,
            })
            .collect();
        let known = generate::known(&world.pods);
        let answers = answers(&world, &known, &policies);
        prop_assert_eq!(answers.len(), world.connections.len());
        Ok(())
    });
}
