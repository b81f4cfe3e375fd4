//! `cargo xtask bench hubble`: what it costs to be watched, and whether a reader that reads gets every record.
//!
//! Owns the limits. Start at [`run`].

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    Bencher,
    gate::{self, Judged},
    middle, range,
    redirect::isolated,
    sorted,
};
use crate::{repo::Repo, say};

/// Of each load, and how often: a machine's pace changes within a minute, so short ones side by side.
const SECONDS: &str = "5";
const ROUNDS: &str = "13";
/// The long look: seconds of following alone.
const LONG: &str = "120";

/// How many times the CPU time of a request may be what it is with nobody looking.
const MOST: [(&str, f64); 2] = [("follower", 1.10), ("export", 1.25)];

/// Hubble's command line, if it is installed.
pub(super) fn program(repo: &Repo) -> Option<PathBuf> {
    Some(repo.tools().join("bin/hubble")).filter(|program| program.is_file())
}

/// Whether every limit is kept.
pub(super) fn run(repo: &Repo, bencher: &Bencher) -> Result<bool> {
    let hubble = program(repo).context("Hubble's command line is not there")?;
    let (hubble, peers) = (hubble.display().to_string(), repo.path("benches/peers").display().to_string());
    let mut judged = Vec::new();
    say(format_args!("\n5,000 requests a second for {SECONDS} s, {ROUNDS} times each; then followed for {LONG} s"))?;
    let found = isolated(repo, bencher, &["followers", SECONDS, ROUNDS, &hubble, &peers])?;
    let long = isolated(repo, bencher, &["followers", LONG, "0", &hubble, &peers])?;
    judged.extend(costs(&found)?);
    judged.extend([losses(&found, SECONDS)?, losses(&long, LONG)?]);
    bencher.write("hubble.json", &format!("{:#}\n", json!({ "costs": found, "long": long })))?;
    gate::tell(&judged)
}

/// Of each round by itself: a machine's pace changes from one to the next.
fn costs(found: &Value) -> Result<Vec<Judged>> {
    let of = |name: &str| numbers(found, name, "cpuMicroseconds").collect::<Vec<_>>();
    let alone: Vec<f64> =
        of("alone").as_chunks().0.iter().map(|[before, after]| f64::midpoint(*before, *after)).collect();
    say(format_args!("with nobody looking: {} µs of CPU per request", range(&sorted(alone.iter().copied()), 1)))?;
    let judge = |(name, most): (&str, f64)| -> Result<Judged> {
        let ratios = sorted(of(name).into_iter().zip(&alone).map(|(cost, alone)| cost / alone));
        let ratio = middle(&ratios).with_context(|| format!("nothing of {name}"))?;
        let all = range(&ratios, 2);
        let text = format!("{name}: {ratio:.2} times the CPU of a request with nobody looking ({all}), most {most:.2}");
        Ok(Judged { text, kept: ratio <= most, decides: true })
    };
    MOST.into_iter().map(judge).collect()
}

fn losses(found: &Value, seconds: &str) -> Result<Judged> {
    let sum = |figure| numbers(found, "follower", figure).sum::<f64>();
    let (requests, read, lost) = (sum("requests"), sum("read"), sum("lost"));
    anyhow::ensure!(requests > 0.0, "nothing was asked");
    let text =
        format!("followed for {seconds} s: {read:.0} records of {requests:.0} requests were read, {lost:.0} lost");
    Ok(Judged { text, kept: lost == 0.0 && read >= 2.0 * requests, decides: true })
}

fn numbers<'f>(found: &'f Value, name: &str, figure: &'f str) -> impl Iterator<Item = f64> + 'f {
    let rounds = found.get(name).and_then(Value::as_array).into_iter().flatten();
    rounds.filter_map(move |round| round.get(figure)?.as_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_and_a_loss_decide() {
        let found = |cost: f64, lost: u32| {
            let alone = json!([{ "cpuMicroseconds": 19.0 }, { "cpuMicroseconds": 21.0 }]);
            let follower = json!([{ "cpuMicroseconds": cost, "requests": 10, "read": 20 - lost, "lost": lost }]);
            json!({ "alone": alone, "follower": follower, "export": [{ "cpuMicroseconds": cost }] })
        };
        let kept = |cost| -> Vec<bool> { costs(&found(cost, 0)).unwrap().iter().map(|one| one.kept).collect() };
        assert_eq!((kept(22.0), kept(23.0), kept(26.0)), (vec![true, true], vec![false, true], vec![false, false]));
        assert!(losses(&found(20.0, 0), "1").unwrap().kept);
        assert!(!losses(&found(20.0, 1), "1").unwrap().kept);
        assert!(losses(&json!({}), "1").is_err() && costs(&json!({})).is_err(), "nothing was measured");
    }
}
