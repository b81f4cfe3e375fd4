//! `cargo xtask bench rules`: measures, prints, judges.
//!
//! Owns the order of measurements. Start at [`run`].

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{
    Bencher,
    count::instructions,
    figures::{Change, Compilation, Decision, Figures, Hostile, KINDS, SIZES, TARGETS},
    gate, number, plot,
};
use crate::say;

/// Decisions of each target in the run that others are compared with: what is built on demand is built by then.
const BASE: &str = "1000";
/// Decisions of one target in another run, and how many more these are.
const MORE: &str = "6000";
const COUNTED: u64 = 5_000;
/// Decisions that are timed, and how often; the best round counts.
const TIMED: &str = "200000";
const ROUNDS: u32 = 3;

/// Whether every limit that decides is kept.
pub(super) fn run(bencher: &Bencher, envoy: Option<&Path>) -> Result<bool> {
    if envoy.is_none() {
        say("SKIPPED: Envoy's curve: no envoy in ENVOY, PATH or .tools; `cargo xtask setup --bench` installs it")?;
    }
    let figures = measure(bencher, envoy)?;
    print(&figures)?;
    bencher.write("rules.json", &format!("{:#}\n", figures.json()))?;
    bencher.write("rules.svg", &plot::picture(&figures))?;
    gate::tell(&gate::judge(&figures))
}

fn measure(bencher: &Bencher, envoy: Option<&Path>) -> Result<Figures> {
    let (mut decisions, mut each, mut compilations) = (Vec::new(), Vec::new(), Vec::new());
    for kind in KINDS {
        for rules in SIZES {
            say(format_args!("measuring {rules} {kind} rules"))?;
            let base = instructions(
                bencher,
                &["decide", kind, &rules.to_string(), "--first", BASE, "--last", BASE, "--none", BASE],
            )?;
            decisions.extend(of_rules(bencher, kind, rules, base, envoy)?);
            if Some(&rules) == SIZES.last() {
                let rules = rules.to_string();
                each.push((kind, bencher.number(&["decide", kind, &rules, "--each", TIMED], "each")?));
                compilations.push(compilation(bencher, kind, &rules, base)?);
            }
        }
    }
    let mut changes = Vec::new();
    for (name, more) in [
        ("one policy of 100 changes, 1,000 pods, 10 under each", &[][..]),
        ("one policy of 100 changes, 1,000 pods, all under each", &["--all"][..]),
    ] {
        let arguments: Vec<&str> = ["change", "1000", "100"].iter().chain(more).copied().collect();
        changes.push(Change { name, milliseconds: bencher.number(&arguments, "change_ms")? });
    }
    Ok(Figures { decisions, each, compilations, changes, hostile: hostile(bencher)? })
}

/// The points of one kind and number of rules; `base` is what a run of the least decisions takes.
fn of_rules(
    bencher: &Bencher,
    kind: &'static str,
    rules: u32,
    base: u64,
    envoy: Option<&Path>,
) -> Result<Vec<Decision>> {
    let size = rules.to_string();
    let mut times = [f64::INFINITY; 3];
    for _ in 0..ROUNDS {
        let found = bencher.ask(&["decide", kind, &size, "--first", TIMED, "--last", TIMED, "--none", TIMED])?;
        for (target, best) in TARGETS.into_iter().zip(&mut times) {
            *best = best.min(number(&found, target)?);
        }
    }
    let of_envoy = match envoy {
        Some(program) => bencher.ask(&["envoy", &program.to_string_lossy(), kind, &size])?,
        None => Value::Null,
    };
    let mut points = Vec::new();
    for (target, nanoseconds) in TARGETS.into_iter().zip(times) {
        let amount = |of: &str| if of == target { MORE } else { BASE };
        let [first, last, none] = TARGETS.map(amount);
        let counted =
            instructions(bencher, &["decide", kind, &size, "--first", first, "--last", last, "--none", none])?;
        points.push(Decision {
            kind,
            rules,
            target,
            instructions: counted.saturating_sub(base) / COUNTED,
            nanoseconds,
            envoy_microseconds: of_envoy.get(target).and_then(Value::as_f64),
        });
    }
    Ok(points)
}

fn compilation(bencher: &Bencher, kind: &'static str, rules: &str, instructions: u64) -> Result<Compilation> {
    let mut best = f64::INFINITY;
    let mut peak = 0.0;
    for _ in 0..ROUNDS {
        let found = bencher.ask(&["compile", kind, rules])?;
        best = best.min(number(&found, "parse_ms")? + number(&found, "resolve_ms")?);
        peak = number(&found, "peak_kib")? / 1024.0;
    }
    let rules = rules.parse().context("no number of rules")?;
    Ok(Compilation { kind, rules, instructions, milliseconds: best, peak_mib: peak })
}

fn hostile(bencher: &Bencher) -> Result<Hostile> {
    // A request line has no more than 8,192 bytes.
    let counted = |length: &str| -> Result<u64> {
        let base = instructions(bencher, &["hostile", length, "10"])?;
        Ok(instructions(bencher, &["hostile", length, "110"])?.saturating_sub(base) / 100)
    };
    let counts = [counted("4000")?, counted("8000")?];
    let found = bencher.ask(&["hostile", "1", "1"])?;
    let taken = found.get("taken").and_then(Value::as_array).context("hostile: says no patterns")?;
    let taken = taken.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    Ok(Hostile { taken, instructions: counts })
}

fn print(figures: &Figures) -> Result<()> {
    say("\na decision, view and verdict; Envoy: CPU of its process for a request, and what of it is above one rule")?;
    say(format_args!(
        "{:<8} {:<6} {:>7} {:>12} {:>8} {:>12} {:>12}",
        "kind", "meets", "rules", "instructions", "ns", "Envoy µs", "above 1"
    ))?;
    for kind in KINDS {
        for target in TARGETS {
            let curve = figures.curve(kind, target);
            let first = curve.first().and_then(|point| point.envoy_microseconds);
            for point in &curve {
                let shown = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
                let above = point.envoy_microseconds.zip(first).map(|(all, first)| all - first);
                say(format_args!(
                    "{kind:<8} {target:<6} {:>7} {:>12} {:>8.0} {:>12} {:>12}",
                    point.rules,
                    point.instructions,
                    point.nanoseconds,
                    shown(point.envoy_microseconds),
                    shown(above)
                ))?;
            }
        }
    }
    for (kind, time) in &figures.each {
        say(format_args!("{kind}: {time:.0} ns when each of 10,000 rules is met in its turn (information)"))?;
    }
    say("")?;
    Ok(())
}
