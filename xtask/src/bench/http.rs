//! `cargo xtask bench http`: the proxy beside Envoy, HAProxy, nginx and a relay that parses nothing.
//!
//! Owns the limits. Ratios of one run and memory decide; rates and times of this machine are told. Start at [`run`].

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::{
    Bencher, envoy,
    gate::{self, Judged},
    middle, range,
    redirect::isolated,
    sorted,
};
use crate::{repo::Repo, say};

const ROUNDS: &str = "5";
/// Clients that hold a connection each. Two descriptors of the proxy each: what a process may have at least is 20,000 here
/// and there.
const HELD: &str = "9000";

/// What is measured, and how many times another's CPU time ours may be. `decides`: else it is told.
struct Load {
    name: &'static str,
    title: &'static str,
    figure: &'static str,
    unit: &'static str,
    decides: bool,
    most: &'static [(&'static str, f64)],
}

const LOADS: [Load; 5] = [
    Load {
        name: "http1",
        title: "HTTP/1.1, 64 connections, records of all fields",
        figure: "cpuMicroseconds",
        unit: "CPU µs per request",
        decides: false,
        most: &[("envoy", 0.36), ("haproxy", 0.90)],
    },
    Load {
        name: "fields",
        title: "HTTP/1.1, 64 connections, records of what the others log, the policy and identities",
        figure: "cpuMicroseconds",
        unit: "CPU µs per request",
        decides: true,
        most: &[("envoy", 0.36), ("haproxy", 0.90)],
    },
    Load {
        name: "http2",
        title: "HTTP/2, 8 connections of 16 streams",
        figure: "cpuMicroseconds",
        unit: "CPU µs per request",
        decides: true,
        most: &[("envoy", 0.28)],
    },
    Load {
        name: "paced",
        title: "HTTP/1.1, 1,000 requests a second",
        figure: "medianMicroseconds",
        unit: "median µs",
        decides: true,
        most: &[],
    },
    Load {
        name: "large",
        title: "a body of 1 GiB",
        figure: "cpuNanosecondsPerByte",
        unit: "CPU ns per byte",
        decides: true,
        most: &[("relay", 1.3)],
    },
];

/// Median latency that the proxy may add at 1,000 requests a second, in microseconds. Where processors sleep between requests, to
/// be woken twice takes longer, whoever is woken: there it is what comes on top of the relay that decides.
const MOST_ADDED: f64 = 60.0;
const MOST_ABOVE_RELAY: f64 = 20.0;
/// MiB with 30 pods.
const MOST_IDLE: f64 = 20.0;
/// KiB of an idle connection.
const MOST_OF_IDLE_CONNECTION: f64 = 10.0;
/// MiB with all the clients that do not read.
const MOST_SLOW: f64 = 256.0;

/// Whether every limit is kept.
pub(super) fn run(repo: &Repo, bencher: &Bencher) -> Result<bool> {
    let envoy = envoy::find(repo);
    if envoy.is_none() {
        say("Envoy is not installed: it is left out (`cargo xtask setup --bench` installs it)")?;
    }
    let peers = repo.path("benches/peers").display().to_string();
    let mut all = Map::new();
    let mut judged = Vec::new();
    for load in &LOADS {
        say(format_args!("\n{}", load.title))?;
        let program = envoy.as_ref().map(|program| program.display().to_string());
        let mut arguments = vec!["http", load.name, ROUNDS, &peers];
        arguments.extend(program.as_deref());
        let found = isolated(repo, bencher, &arguments)?;
        table(&found, load)?;
        judged.extend(ratios(&found, load)?);
        all.insert(load.name.to_owned(), found);
    }
    judged.extend(added(all.get("paced"))?);
    say(format_args!("\nmemory, {HELD} connections"))?;
    let held = isolated(repo, bencher, &["held", HELD, &peers])?;
    judged.extend(memory(&held)?);
    all.insert("memory".to_owned(), held);
    bencher.write("http.json", &format!("{:#}\n", json!(all)))?;
    gate::tell(&judged)
}

/// A line for each peer: the median of each figure, with the least and the most of what is judged.
fn table(found: &Value, load: &Load) -> Result<()> {
    say(format_args!(
        "{:<10} {:>24} {:>8} {:>12} {:>9} {:>9} {:>8}",
        "", load.unit, "/ Envoy", "requests/s", "p50 µs", "p99 µs", "MiB"
    ))?;
    let envoy = median(found, "envoy", load.figure);
    for peer in found.as_object().into_iter().flatten().map(|(name, _)| name) {
        let numbers = numbers(found, peer, load.figure);
        let own = middle(&numbers);
        let range = own.map(|own| format!("{own:.2} ({})", range(&numbers, 2))).unwrap_or_default();
        let ratio = own.zip(envoy).map(|(own, envoy)| format!("{:.2}", own / envoy));
        let of = |name, digits: usize| {
            median(found, peer, name).map(|number| format!("{number:.digits$}")).unwrap_or_default()
        };
        say(format_args!(
            "{peer:<10} {range:>24} {:>8} {:>12} {:>9} {:>9} {:>8}",
            ratio.unwrap_or_default(),
            of("requestsPerSecond", 0),
            of("medianMicroseconds", 0),
            of("p99Microseconds", 0),
            of("residentMib", 1)
        ))?;
    }
    Ok(())
}

fn ratios(found: &Value, load: &Load) -> Result<Vec<Judged>> {
    let own = median(found, "l7proxy", load.figure).with_context(|| format!("{}: nothing of l7proxy", load.name))?;
    let judge = |(peer, most): &(&str, f64)| {
        let text = |said: String| format!("{}: {said}", load.title);
        match median(found, peer, load.figure) {
            Some(other) => {
                let ratio = own / other;
                let text = text(format!("{ratio:.2} times {peer}'s {}, most {most}", load.unit));
                Judged { text, kept: ratio <= *most, decides: load.decides }
            }
            None => Judged { text: text(format!("not compared, {peer} is not there")), kept: false, decides: false },
        }
    };
    Ok(load.most.iter().map(judge).collect())
}

fn added(paced: Option<&Value>) -> Result<Vec<Judged>> {
    let of = |peer| paced.and_then(|paced| median(paced, peer, "medianMicroseconds")).context("no latency");
    let direct = of("direct")?;
    let (added, least) = (of("l7proxy")? - direct, of("relay")? - direct);
    let above = added - least;
    let what = "at 1,000 requests a second";
    let all =
        format!("median latency added {what}: {added:.0} µs, most {MOST_ADDED:.0} µs (the relay adds {least:.0} µs)");
    let more = format!("above what the relay adds {what}: {above:.0} µs, most {MOST_ABOVE_RELAY:.0} µs");
    Ok(vec![
        Judged { text: all, kept: added <= MOST_ADDED, decides: false },
        Judged { text: more, kept: above <= MOST_ABOVE_RELAY, decides: true },
    ])
}

fn memory(held: &Value) -> Result<Vec<Judged>> {
    let of = |pointer: &str| held.pointer(pointer).and_then(Value::as_f64).with_context(|| pointer.to_owned());
    let connections = of("/connections")?;
    let (idle, kept) = (of("/keepAlive/beforeMib")?, of("/keepAlive/mib")?);
    let each = (kept - idle) * 1024.0 / connections;
    let slow = of("/slowReaders/mib")?;
    let judge = |text, kept| Judged { text, kept, decides: true };
    Ok(vec![
        judge(format!("idle with 30 pods: {idle:.1} MiB, most {MOST_IDLE} MiB"), idle <= MOST_IDLE),
        judge(
            format!("an idle connection: {each:.1} KiB, most {MOST_OF_IDLE_CONNECTION} KiB"),
            each <= MOST_OF_IDLE_CONNECTION,
        ),
        judge(format!("{connections} slow readers: {slow:.0} MiB, most {MOST_SLOW:.0} MiB"), slow <= MOST_SLOW),
    ])
}

/// Of all rounds, sorted.
fn numbers(found: &Value, peer: &str, figure: &str) -> Vec<f64> {
    let rounds = found.get(peer).and_then(Value::as_array).into_iter().flatten();
    sorted(rounds.filter_map(|round| round.get(figure)?.as_f64()))
}

fn median(found: &Value, peer: &str, figure: &str) -> Option<f64> {
    middle(&numbers(found, peer, figure))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(own: f64) -> Value {
        let rounds = |number: f64| json!([{ "cpuMicroseconds": number }, { "cpuMicroseconds": number * 9.0 }]);
        json!({ "envoy": rounds(100.0), "haproxy": rounds(40.0), "l7proxy": rounds(own) })
    }

    #[test]
    fn latency_is_judged_by_what_comes_on_top_of_the_relay() {
        let rounds = |number: f64| json!([{ "medianMicroseconds": number }]);
        let kept = |direct, relay, own| -> Vec<bool> {
            let found = json!({ "direct": rounds(direct), "relay": rounds(relay), "l7proxy": rounds(own) });
            added(Some(&found)).unwrap().iter().map(|one| one.kept).collect()
        };
        assert_eq!(kept(100.0, 140.0, 160.0), [true, true]);
        assert_eq!(kept(100.0, 220.0, 240.0), [false, true]);
        assert_eq!(kept(100.0, 130.0, 160.0), [true, false]);
        assert!(added(None).is_err(), "nothing was measured");
    }

    #[test]
    fn a_ratio_decides_and_a_peer_that_is_not_there_does_not() {
        let kept = |own| -> Vec<bool> { ratios(&found(own), &LOADS[0]).unwrap().iter().map(|one| one.kept).collect() };
        assert_eq!(kept(36.0), [true, true]);
        assert_eq!(kept(36.1), [false, false]);
        let alone = json!({ "l7proxy": [{ "cpuMicroseconds": 1.0 }] });
        assert!(ratios(&alone, &LOADS[0]).unwrap().iter().all(|one| !one.kept && !one.decides));
        assert!(ratios(&json!({}), &LOADS[0]).is_err(), "nothing was measured");
    }
}
