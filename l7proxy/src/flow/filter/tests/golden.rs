//! What Cilium's own code says of filters, selectors, patterns, expressions and URLs.
//!
//! `golden.jsonl` was written by Cilium 1.20.2 and Go 1.26: each line has what was asked and what it said.

use serde_json::{Value, json};

use super::{filter, node};
use crate::flow::filter::{Filters, labels, names, regexp::Budget, url};

const LINES: &str = include_str!("golden.jsonl");

fn text<'v>(row: &'v Value, field: &str) -> &'v str {
    row[field].as_str().unwrap_or_else(|| panic!("{field} of {row}"))
}

/// What we say of a row, as it says it.
fn ours(row: &Value) -> Value {
    let mut ours = row.clone();
    let mut set = |field: &str, value: Value| ours[field] = value;
    let error = |error: Option<String>| error.map_or(Value::Null, Value::from);
    if row["filter"].is_object() {
        set("error", error(Filters::new(&[filter(row["filter"].clone())], &[], &node()).err()));
    } else if row["selector"].is_string() {
        let labels: Vec<String> = serde_json::from_value(row["labels"].clone()).unwrap();
        set("matches", labels::selected(text(row, "selector"), &labels).into());
    } else if row["pattern"].is_string() {
        let pattern = names::Pattern::read(text(row, "pattern")).unwrap();
        set("matches", pattern.matches(text(row, "name")).into());
    } else if row["node_pattern"].is_string() {
        let patterns = [text(row, "node_pattern").to_owned()];
        set("matches", names::matches_node(&patterns, text(row, "node")).unwrap().into());
    } else if row["regexp"].is_string() {
        match Budget::default().compile(text(row, "regexp")) {
            Ok(regexp) => {
                ours = json!({"regexp": row["regexp"], "text": row["text"], "found": null});
                if let Some(text) = row["text"].as_str() {
                    ours["found"] = regexp.is_in(text).into();
                }
            }
            Err(error) => ours = json!({"regexp": row["regexp"], "error": error}),
        }
    } else {
        set("path", url::path(text(row, "url")).map_or(Value::Null, |path| path.into_owned().into()));
    }
    ours
}

#[test]
fn ours_is_what_cilium_says() {
    let rows: Vec<Value> = LINES.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let wrong: Vec<String> = rows
        .iter()
        .map(|row| (row, ours(row)))
        .filter(|(row, ours)| *row != ours)
        .map(|(row, ours)| format!("Cilium: {row}\n  ours: {ours}"))
        .collect();
    assert!(rows.len() > 1000, "{} rows", rows.len());
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}
