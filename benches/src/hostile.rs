//! Patterns that are meant to cost: each is refused by its size, or takes time that grows as the value does.

use anyhow::{Context, Result};
use rules::full_match;
use serde_json::{Value, json};

/// Too large, each in its way.
const TOO_LARGE: [&str; 5] =
    ["/(a{1000}){1000}", "/((a{100}){100}){100}", "/[a-z]{1001}", "/(\\w{500}|\\d{500}){900}", "/(.{1000}){30}"];
/// What makes an engine that goes back over its steps take exponential time.
const SLOW: [&str; 5] = ["/(a*)*b", "/(a|aa)+b", "/(a|a)*b", "/(.*a){20}b", "/(a+)+(a+)+b"];

/// Which patterns that ought to be refused are not; and asks the others for a value of `length` bytes, `times` times.
pub(crate) fn run(length: usize, times: u32) -> Result<Value> {
    let long = format!("/{}", "(a|b)".repeat(4000));
    let patterns = TOO_LARGE.into_iter().chain([long.as_str()]);
    let taken: Vec<String> = patterns.filter(|pattern| full_match(pattern).is_ok()).map(str::to_owned).collect();
    let path = format!("/{}", "a".repeat(length));
    let mut matches = 0_u64;
    for pattern in SLOW {
        let pattern = full_match(pattern).with_context(|| format!("{pattern}: is refused"))?;
        for _ in 0..times {
            matches += u64::from(pattern.matches(path.as_bytes()));
        }
    }
    Ok(json!({ "taken": taken, "matches": matches }))
}
