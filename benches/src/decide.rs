//! Decisions: the view of a request and its verdict, as often as is asked for.

use std::{hint::black_box, time::Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use http::HeaderMap;
use rules::{PathOptions, RequestView, Verdict};
use serde_json::{Map, Value, json};

use crate::rule_set::{self, Kind, PORT, Server, Target};

/// How many requests are decided.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Amounts {
    /// Requests that the first rule allows
    #[arg(long, default_value_t = 0)]
    first: u32,
    /// Requests that the last rule allows
    #[arg(long, default_value_t = 0)]
    last: u32,
    /// Requests that no rule allows
    #[arg(long, default_value_t = 0)]
    none: u32,
    /// Requests that each rule allows in its turn
    #[arg(long, default_value_t = 0)]
    each: u32,
}

/// Nanoseconds of a decision, by target.
pub(crate) fn run(kind: Kind, rules: u32, amounts: Amounts) -> Result<Value> {
    let server = Server::new(&rule_set::parse(&kind.manifest(rules))?);
    let headers = rule_set::headers();
    let mut found = Map::new();
    let targets = [
        ("first", Target::First, amounts.first),
        ("last", Target::Last, amounts.last),
        ("none", Target::None, amounts.none),
    ];
    for (name, target, times) in targets {
        let path = kind.path(target, rules);
        // Also the first of its kind, which builds what is built on demand.
        ensure!(is_allowed(&server, &path, &headers)? == (target != Target::None), "{path}: has the wrong verdict");
        found.insert(name.to_owned(), json!(nanoseconds(&server, &[path], times, &headers)?));
    }
    if amounts.each > 0 {
        let paths: Vec<String> = (0..rules).map(|rule| kind.path_of(rule)).collect();
        found.insert("each".to_owned(), json!(nanoseconds(&server, &paths, amounts.each, &headers)?));
    }
    Ok(Value::Object(found))
}

/// Of each of `times` decisions, on average.
fn nanoseconds(server: &Server, paths: &[String], times: u32, headers: &HeaderMap) -> Result<f64> {
    let requests: u32 = times.max(1);
    let paths = paths.iter().cycle().take(usize::try_from(times)?);
    let begin = Instant::now();
    for path in paths {
        is_allowed(server, black_box(path), headers)?;
    }
    Ok(begin.elapsed().as_secs_f64() * 1e9 / f64::from(requests))
}

/// What is measured.
#[inline(never)]
fn is_allowed(server: &Server, path: &str, headers: &HeaderMap) -> Result<bool> {
    let view = RequestView::new("GET", path.as_bytes(), false, headers, &PathOptions::default());
    let view = view.context("the request is malformed")?;
    let verdict = black_box(server.policy.ingress.evaluate(server.client, PORT, &view));
    Ok(matches!(verdict, Verdict::Allow(_)))
}
