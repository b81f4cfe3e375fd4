//! From a manifest's text to what can be asked, once.

use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    memory,
    rule_set::{self, Kind, Server},
};

/// Milliseconds of parsing and resolving, and KiB that the process had before and at most.
pub(crate) fn run(kind: Kind, rules: u32) -> Result<Value> {
    let text = kind.manifest(rules);
    let before = memory::peak_kib()?;
    let begin = Instant::now();
    let policies = rule_set::parse(&text)?;
    let parsed = begin.elapsed();
    let server = Server::new(&policies);
    let resolved = begin.elapsed().saturating_sub(parsed);
    let after = memory::peak_kib()?;
    drop((policies, server));
    Ok(json!({
        "parse_ms": parsed.as_secs_f64() * 1e3,
        "resolve_ms": resolved.as_secs_f64() * 1e3,
        "text_kib": text.len() / 1024,
        "before_kib": before,
        "peak_kib": after,
    }))
}
