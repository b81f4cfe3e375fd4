//! ghz: many calls of gRPC at once, of a server that it asks for its types by reflection.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::tools;

/// At once.
const CONCURRENCY: &str = "20";

/// What it says of its calls.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Calls {
    /// All of them.
    pub count: u64,
    /// By code.
    pub status_code_distribution: BTreeMap<String, u64>,
}

/// Where it is, if it is installed.
#[must_use]
pub fn program() -> Option<PathBuf> {
    tools::find("bin/ghz")
}

/// So many calls of a server without TLS, each with these data.
pub fn run(address: &str, call: &str, data: &str, number: u64) -> Result<Calls> {
    let number = number.to_string();
    let how = ["--insecure", "--total", &number, "--concurrency", CONCURRENCY, "--format", "json"];
    let what = ["--call", call, "--data", data, address];
    let said = tools::run(&program().context("ghz is not installed")?, &[&how[..], &what].concat())?;
    ensure!(said.is_well(), "{said:#?}");
    serde_json::from_str(&said.out).with_context(|| said.out.clone())
}
