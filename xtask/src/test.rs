//! `cargo xtask test`: every test layer, each with its duration and its number of tests.
//!
//! Owns the list of layers and what each runs. Must never let a layer that cannot run pass for one that did: it is told
//! as skipped, and with `CI=true` it is a failure unless the layer is optional. Start at [`run`].

use std::{
    env,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::ValueEnum;

use crate::{build, repo::Repo, say, setup};

mod count;
mod layer;

use self::count::Count;

/// From the cheapest to the dearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Layer {
    /// rustfmt
    Fmt,
    /// clippy with every warning denied
    Clippy,
    /// Tests beside the code, and examples in documentation
    Unit,
    /// Tables and properties of rules/tests
    Rules,
    /// The program in one process, without namespaces
    Inprocess,
    /// Requests and answers directly and through the proxy, with nginx, Node, Go and hyper
    Transparency,
    /// Our rules and Cilium's own policy code, asked the same
    Cilium,
    /// The real binary, eBPF and all, with pods made of network namespaces
    Netns,
    /// Licences, duplicates and sources of dependencies, where cargo-deny is installed
    Deny,
}

/// How a layer went.
#[derive(Debug)]
enum Outcome {
    Ran { count: Count, ok: bool },
    Skipped(String),
}

struct Line {
    layer: Layer,
    took: Duration,
    outcome: Outcome,
}

/// Runs the layers and says whether all of them passed.
pub(crate) fn run(repo: &Repo, layers: &[Layer]) -> Result<bool> {
    let ci = env::var_os("CI").is_some_and(|value| value == "true");
    let layers = if layers.is_empty() { Layer::value_variants() } else { layers };
    if layers.contains(&Layer::Netns) {
        setup::run(repo)?;
        setup::judges::install(repo)?;
        setup::programs::install(repo)?;
        setup::suites::install(repo)?;
        build::run(repo)?;
    }
    let mut lines = Vec::new();
    for &layer in layers {
        say(format_args!("\n== {}", layer.name()))?;
        let begin = Instant::now();
        let outcome = layer::run(repo, layer)?;
        if let Outcome::Skipped(why) = &outcome {
            say(format_args!("SKIPPED: {}: {why}", layer.name()))?;
        }
        lines.push(Line { layer, took: begin.elapsed(), outcome });
    }
    report(&lines, ci)
}

impl Layer {
    fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Unit => "unit",
            Self::Rules => "rules",
            Self::Inprocess => "inprocess",
            Self::Transparency => "transparency",
            Self::Cilium => "cilium",
            Self::Netns => "netns",
            Self::Deny => "deny",
        }
    }

    /// Whether CI may do without it.
    fn is_optional(self) -> bool {
        self == Self::Deny
    }
}

fn report(lines: &[Line], ci: bool) -> Result<bool> {
    let (mut passed, mut failed) = (0, 0);
    say(format_args!("\n{:<12} {:>8} {:>7} {:>7}", "layer", "time", "passed", "failed"))?;
    for Line { layer, took, outcome } in lines {
        let (count, note) = match outcome {
            Outcome::Ran { count, ok } => {
                // A layer without tests, or one that broke off, counts as one thing that failed.
                let broke = u64::from(!ok && count.failed == 0);
                (Count { failed: count.failed + broke, ..*count }, if *ok { "" } else { "  FAILED" }.to_owned())
            }
            Outcome::Skipped(why) => {
                let failed = u64::from(ci && !layer.is_optional());
                let note = if failed > 0 { "must not be skipped in CI" } else { "not a failure here" };
                (Count { failed, ..Count::default() }, format!("  SKIPPED: {why} ({note})"))
            }
        };
        passed += count.passed;
        failed += count.failed;
        let took = format!("{:.1} s", took.as_secs_f64());
        say(format_args!("{:<12} {took:>8} {:>7} {:>7}{note}", layer.name(), count.passed, count.failed))?;
    }
    say(format_args!("\n{passed} passed, {failed} failed"))?;
    Ok(failed == 0)
}
