//! `cargo xtask bench redirect`: what the kernel side costs a pod, as ratios of CPU time in one run, and its memory.
//!
//! Owns the limits. Everything runs in namespaces of its own. Start at [`run`].

use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{
    Bencher,
    gate::{self, Judged},
    middle, number, sorted,
};
use crate::{
    repo::{self, Repo},
    say,
};

const ROUNDS: &str = "100";
/// Where memory and processors come to lie moves a ratio by some hundredths, for as long as processes live: connects are
/// measured with so many sets of them, and the median counts.
const SETS: usize = 5;
const ROUNDS_OF_SET: &str = "40";

/// A case, and how many times the cost of the case beside it it may have.
const MOST: [(&str, f64); 5] = [
    ("connect, redirected", 1.15),
    ("connect, allowed", 1.08),
    ("connect, denied", 0.2),
    ("64-byte round trip, allowed", 1.03),
    ("16-KiB round trip, allowed", 1.03),
];
/// A lookup among many may cost so many times one among one.
const MOST_OF_LOOKUP: f64 = 1.1;
/// All maps, with 110 pods, 10,000 identities and 100,000 entries.
const MOST_MIB: f64 = 64.0;

/// Sizes of what is looked up in.
const IDENTITIES: [u32; 4] = [1, 100, 10_000, 100_000];
const CIDRS: [u32; 3] = [1, 100, 10_000];

/// Whether every limit is kept.
pub(super) fn run(repo: &Repo, bencher: &Bencher) -> Result<bool> {
    repo::run(repo.cargo().args(["build", "--release", "--package", "conformance", "--bins"]))?;
    let ask = |arguments: &[&str]| isolated(repo, bencher, arguments);
    say("measuring connects and round trips")?;
    let sets: Result<Vec<Value>> = (0..SETS).map(|_| ask(&["connects", ROUNDS_OF_SET])).collect();
    let connects = median_of(&sets?);
    say(format_args!("\n{:<32} {:>10} {:>8}", "CPU time", "ns", "ratio"))?;
    for (name, figure) in connects.as_object().into_iter().flatten() {
        let (time, ratio) = (number(figure, "nanoseconds")?, number(figure, "ratio")?);
        say(format_args!("{name:<32} {time:>10.0} {ratio:>8.3}"))?;
    }
    let mut judged = Vec::new();
    for (name, most) in MOST {
        let ratio = number(connects.get(name).context("a case is missing")?, "ratio").context(name)?;
        judged.push(limit(format!("{name}: {ratio:.3} times, most {most}"), ratio <= most));
    }
    let mut lookups = Vec::new();
    for (among, sizes) in [("identities", &IDENTITIES[..]), ("cidrs", &CIDRS[..])] {
        curve(&ask, among, sizes, &mut lookups, &mut judged)?;
    }
    let full = ask(&["lookups", "identities", "10000", "1", "--ports", "10", "--pods", "110"])?;
    let (mib, entries) = (number(&full, "bytes")? / 1_048_576.0, number(&full, "entries")?);
    let text = format!("all maps with 110 pods, 10,000 identities, {entries} entries: {mib:.1} MiB, most {MOST_MIB}");
    judged.push(limit(text, mib <= MOST_MIB));
    let all = json!({ "connects": connects, "lookups": lookups, "memory": full });
    bencher.write("redirect.json", &format!("{all:#}\n"))?;
    gate::tell(&judged)
}

/// Each figure's median over all sets.
fn median_of(sets: &[Value]) -> Value {
    let names = sets.first().and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name);
    let median =
        |name: &str, field: &str| middle(&sorted(sets.iter().filter_map(|set| set.get(name)?.get(field)?.as_f64())));
    let figure = |name: &String| {
        let (time, ratio) = (median(name, "nanoseconds"), median(name, "ratio"));
        (name.clone(), json!({ "nanoseconds": time, "ratio": ratio }))
    };
    names.map(figure).collect::<serde_json::Map<_, _>>().into()
}

fn limit(text: String, kept: bool) -> Judged {
    Judged { text, kept, decides: true }
}

/// Lookups among more and more.
fn curve(
    ask: &impl Fn(&[&str]) -> Result<Value>,
    among: &'static str,
    sizes: &[u32],
    found: &mut Vec<Value>,
    judged: &mut Vec<Judged>,
) -> Result<()> {
    let mut first = None;
    for size in sizes {
        let figures = ask(&["lookups", among, &size.to_string(), ROUNDS])?;
        let time = |name: &str| number(figures.get(name).context("a case is missing")?, "nanoseconds");
        let (hot, cold) = (time("hot")?, time("cold")?);
        let base = *first.get_or_insert(hot);
        let mib = number(&figures, "bytes")? / 1_048_576.0;
        let text = format!(
            "a UDP connect among {size} {among}: {hot:.0} ns to one of them, {cold:.0} ns to all in turn; maps {mib:.1} MiB"
        );
        judged
            .push(limit(format!("{text}; most {:.0} ns to one", base * MOST_OF_LOOKUP), hot <= base * MOST_OF_LOOKUP));
        found.push(json!({ "among": among, "count": size, "figures": figures }));
    }
    Ok(())
}

/// What a command says that runs in namespaces of its own.
pub(super) fn isolated(repo: &Repo, bencher: &Bencher, arguments: &[&str]) -> Result<Value> {
    let mut command = Command::new(repo.path(".ci/in-netns"));
    command.arg(&bencher.program).args(arguments).env("L7PROXY", repo.proxy());
    let output = command.output().with_context(|| format!("{}: cannot be started", repo::shown(&command)))?;
    if !output.status.success() {
        bail!("`{}`: {}", repo::shown(&command), String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("`{}`: is no JSON", repo::shown(&command)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_each_figure_counts() {
        let set = |time: f64, ratio: f64| json!({ "connect": { "nanoseconds": time, "ratio": ratio } });
        let found = median_of(&[set(3.0, 1.9), set(1.0, 1.0), set(2.0, 1.1)]);
        assert_eq!(found, set(2.0, 1.1));
    }
}
