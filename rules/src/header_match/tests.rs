use std::sync::Arc;

use super::*;
use crate::header_effects::{HeaderEdit, HeaderEffects, HeaderNote};

fn header(otherwise: Otherwise, value: &'static str) -> HeaderMatch {
    let value = (!value.is_empty()).then(|| HeaderValue::from_static(value));
    HeaderMatch { name: HeaderName::from_static("x-key"), value, secret: None, resolved: None, otherwise }
}

fn with_secret(otherwise: Otherwise, value: &'static str, secret: Option<&str>) -> HeaderMatch {
    let name = SecretName { namespace: "n".to_owned(), name: "s".to_owned() };
    let held = secret.and_then(|secret| Secret::new(&Arc::from(secret.as_bytes())));
    let secrets = held.map(|held| (name.clone(), held)).into_iter().collect();
    HeaderMatch { secret: Some(name), ..header(otherwise, value) }.with_secrets(&secrets)
}

fn headers(values: &[&'static str]) -> HeaderMap {
    values.iter().map(|value| (HeaderName::from_static("x-key"), HeaderValue::from_static(value))).collect()
}

fn effects(header: &HeaderMatch, values: &[&'static str]) -> HeaderEffects {
    let mut collector = Collector::default();
    header.act(&headers(values), &mut collector);
    collector.finish()
}

/// Edits, values missing, values rejected.
type Told = (String, Vec<String>, Vec<String>);

fn told(header: &HeaderMatch, values: &[&'static str]) -> Told {
    let HeaderEffects { edits, notes } = effects(header, values);
    let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
    let edit = |edit: &HeaderEdit| match edit {
        HeaderEdit::Remove(name) => format!("-{name}"),
        HeaderEdit::Set(name, value) => format!("={name}: {}", text(value)),
        HeaderEdit::Append(name, value) => format!("+{name}: {}", text(value)),
    };
    let edits: Vec<String> = edits.iter().map(edit).collect();
    let notes = notes.map(|notes| (*notes).clone()).unwrap_or_default();
    let values = |notes: Vec<HeaderNote>| notes.into_iter().map(|note| note.value).collect();
    (edits.join(" "), values(notes.missing), values(notes.rejected))
}

fn said(edit: &str, missing: &[&str], rejected: &[&str]) -> Told {
    let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    (edit.to_owned(), owned(missing), owned(rejected))
}

#[test]
fn without_action_it_is_a_condition() {
    let value = header(Otherwise::Fail, "1");
    for (values, holds) in [
        (&["1"][..], true),
        (&["1", "1"], true),
        (&[], false),
        (&["2"], false),
        (&["11"], false),
        (&["1", "2"], false),
        (&["2", "1"], false),
        (&["1,1"], false),
    ] {
        assert_eq!(value.holds(&headers(values)), holds, "{values:?}");
    }
    let presence = header(Otherwise::Fail, "");
    assert!(presence.holds(&headers(&[""])) && presence.holds(&headers(&["1", "2"])) && !presence.holds(&headers(&[])));
    assert!(!value.acts() && !presence.acts());
}

#[test]
fn what_matches_is_left_alone() {
    for otherwise in [Otherwise::Fail, Otherwise::Log, Otherwise::Add, Otherwise::Delete, Otherwise::Replace] {
        for values in [&["1"][..], &["1", "1"]] {
            assert_eq!(effects(&header(otherwise, "1"), values), HeaderEffects::default(), "{otherwise:?}");
        }
        assert_eq!(effects(&header(otherwise, ""), &["1", "2"]), HeaderEffects::default(), "{otherwise:?}");
    }
}

#[test]
fn each_action_does_what_the_table_says() {
    for (otherwise, absent, wrong, half) in [
        (Otherwise::Log, said("", &["1"], &[]), said("", &["1"], &[]), said("", &["1"], &[])),
        (
            Otherwise::Add,
            said("+x-key: 1", &["1"], &[]),
            said("+x-key: 1", &["1"], &[]),
            said("+x-key: 1", &["1"], &[]),
        ),
        (Otherwise::Delete, said("", &[], &[]), said("-x-key", &[], &["2"]), said("-x-key", &[], &["3"])),
        (
            Otherwise::Replace,
            said("=x-key: 1", &["1"], &[]),
            said("=x-key: 1", &["1"], &["2"]),
            said("=x-key: 1", &["1"], &["3"]),
        ),
    ] {
        let header = header(otherwise, "1");
        assert!(header.acts());
        for (values, expected) in [(&[][..], absent), (&["2"], wrong), (&["1", "3"], half)] {
            assert!(header.holds(&headers(values)), "the rule matches all the same");
            assert_eq!(told(&header, values), expected, "{otherwise:?} {values:?}");
        }
    }
}

#[test]
fn a_secret_is_compared_and_never_shown() {
    let secret = with_secret(Otherwise::Fail, "", Some("hush"));
    assert!(secret.acts() && secret.holds(&headers(&["hush"])) && !secret.holds(&headers(&["other"])));
    assert_eq!(told(&secret, &["other"]), said("", &[REDACTED], &[]));
    let replaced = with_secret(Otherwise::Replace, "", Some("hush"));
    assert_eq!(told(&replaced, &["hush!"]), said("=x-key: hush", &[REDACTED], &[REDACTED]));
    let deleted = with_secret(Otherwise::Delete, "", Some("hush"));
    assert_eq!(told(&deleted, &["2"]), said("-x-key", &[], &[REDACTED]));
    for header in [&secret, &replaced, &deleted] {
        let seen = format!("{header:?} {} {} {:?}", header.text(), header.summary(), effects(header, &["2"]));
        assert!(!seen.contains("hush"), "{seen}");
    }
    assert_eq!(replaced.summary(), "x-key: secret n/s else REPLACE");
}

#[test]
fn the_secret_wins_and_the_value_stands_in() {
    let both = with_secret(Otherwise::Fail, "plain", Some("hush"));
    assert!(both.holds(&headers(&["hush"])) && !both.holds(&headers(&["plain"])));
    let fallback = with_secret(Otherwise::Fail, "plain", None);
    assert!(fallback.holds(&headers(&["plain"])) && !fallback.holds(&headers(&["hush"])));
    let rejected = told(&with_secret(Otherwise::Replace, "plain", None), &["hush"]);
    assert_eq!(rejected, said("=x-key: plain", &[REDACTED], &[REDACTED]), "a client may still send the secret");
}

#[test]
fn without_its_secret_nothing_holds_and_nothing_is_done() {
    for otherwise in [Otherwise::Fail, Otherwise::Log, Otherwise::Add, Otherwise::Delete, Otherwise::Replace] {
        let header = with_secret(otherwise, "", None);
        for values in [&[][..], &[""], &["1"], &["1", "2"]] {
            assert!(!header.holds(&headers(values)), "{otherwise:?} {values:?}");
            assert_eq!(effects(&header, values), HeaderEffects::default());
        }
    }
}

#[test]
fn what_a_record_shows_is_bounded() {
    let long = "v".repeat(10_000);
    let mut map = HeaderMap::new();
    for index in 0..100 {
        map.append("x-key", HeaderValue::from_str(&format!("{index:03}{long}")).unwrap());
    }
    let mut collector = Collector::default();
    header(Otherwise::Delete, "1").act(&map, &mut collector);
    let notes = collector.finish().notes.unwrap();
    assert!(notes.rejected.len() == 32 && notes.rejected.iter().all(|note| note.value.len() == 259));
}
