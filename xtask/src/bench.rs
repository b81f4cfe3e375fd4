//! `cargo xtask bench`: what the program costs, as tables, a JSON file and pictures in `target/bench/`.
//!
//! Owns what is measured and how it is judged. Counted instructions, bytes that are refused, bounds of growth and ratios
//! within one run decide; time and memory of this machine are told and never judge. Start at [`run`].

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::Value;

use crate::{
    build,
    repo::{self, Repo},
    say,
};

mod count;
pub(crate) mod envoy;
mod figures;
mod gate;
mod http;
mod hubble;
mod plot;
mod redirect;
mod rules;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Bench {
    /// Decisions and compilation of rules, beside Envoy's RBAC filter
    Rules,
    /// What the kernel side costs pods, beside pods without it; needs root
    Redirect,
    /// Requests through the proxy, beside Envoy, HAProxy and nginx; needs root
    Http,
    /// What it costs to be watched by Hubble's command line; needs root
    Hubble,
}

/// The program that does the work, and where results go.
#[derive(Debug)]
pub(crate) struct Bencher {
    program: PathBuf,
    results: PathBuf,
}

/// Measures; says whether every limit is kept.
pub(crate) fn run(repo: &Repo, names: &[Bench]) -> Result<bool> {
    let names = if names.is_empty() { Bench::value_variants() } else { names };
    if names.contains(&Bench::Rules) && !count::is_installed() {
        bail!("valgrind is not in PATH, and without it no instruction is counted; run `cargo xtask setup --bench`");
    }
    if names.contains(&Bench::Hubble) && hubble::program(repo).is_none() {
        bail!("Hubble's command line is not in {}; run `cargo xtask setup`", repo.tools().display());
    }
    // First what may say that something else is missing.
    if names.iter().any(|name| *name != Bench::Rules) {
        build::run(repo)?;
    }
    repo::run(repo.cargo().args(["build", "--release", "--package", "benches"]))?;
    let results = repo.target().join("bench");
    fs::create_dir_all(&results).with_context(|| format!("{}: cannot be made", results.display()))?;
    let bencher = Bencher { program: repo.target().join("release/benches"), results };
    let mut kept = true;
    for name in names {
        kept &= match name {
            Bench::Rules => rules::run(&bencher, envoy::find(repo).as_deref())?,
            Bench::Redirect => redirect::run(repo, &bencher)?,
            Bench::Http => http::run(repo, &bencher)?,
            Bench::Hubble => hubble::run(repo, &bencher)?,
        };
    }
    Ok(kept)
}

impl Bencher {
    /// What a command says, without valgrind.
    fn ask(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        let output = command.output().with_context(|| format!("{}: cannot be started", repo::shown(&command)))?;
        if !output.status.success() {
            bail!("`{}`: {}", repo::shown(&command), String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).with_context(|| format!("`{}`: is no JSON", repo::shown(&command)))
    }

    /// One number of what a command says.
    fn number(&self, arguments: &[&str], field: &str) -> Result<f64> {
        number(&self.ask(arguments)?, field).with_context(|| arguments.join(" "))
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.results.join(name);
        fs::write(&path, text).with_context(|| format!("{}: cannot be written", path.display()))?;
        say(format_args!("written: {}", path.display()))?;
        Ok(())
    }
}

fn number(found: &Value, field: &str) -> Result<f64> {
    found.get(field).and_then(Value::as_f64).with_context(|| format!("{field}: is not told"))
}

fn sorted(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers
}

/// Of numbers that are sorted the least and the most.
fn range(sorted: &[f64], digits: usize) -> String {
    match (sorted.first(), sorted.last()) {
        (Some(least), Some(most)) => format!("{least:.digits$}–{most:.digits$}"),
        _ => "no".to_owned(),
    }
}

/// Of numbers that are sorted the median.
fn middle(sorted: &[f64]) -> Option<f64> {
    sorted.get(sorted.len() / 2).copied()
}
