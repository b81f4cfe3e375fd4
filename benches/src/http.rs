//! The proxy beside others: the same load, origin and rules, one pinned worker each, in turn.
//!
//! A figure is the CPU time of the proxy's process alone. Owns what is measured. Must never judge a figure: limits are xtask's.
//! Start at [`run`].

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use conformance::process::output;
use serde_json::{Map, Value, json};

mod followers;
mod peer;
mod readers;
mod relay;
mod stage;

pub(crate) use self::{followers::run as followers, readers::readers, relay::relay};
use self::{
    peer::Peer,
    stage::{PATH, Stage},
};

/// Connections of `wrk`.
const CONNECTIONS: u32 = 64;
const SECONDS: u32 = 3;
/// Of `h2load`, over HTTP/2: connections and streams of each.
const HTTP2: [u32; 2] = [8, 16];
const HTTP2_REQUESTS: u32 = 40_000;
/// Requests in a second, one after the other, and how many.
const PACE: u32 = 1_000;
const PACED: u32 = 3_000;
/// Bytes of the large body.
const LARGE: u64 = 1 << 30;

/// What is asked of the proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Load {
    /// Keep-alive connections over HTTP/1.1, as fast as it goes
    Http1,
    /// The same with records of what the others log, of policy and of identities
    Fields,
    /// Streams over HTTP/2, as fast as it goes
    Http2,
    /// A thousand requests a second over HTTP/1.1
    Paced,
    /// One body of 1 GiB
    Large,
}

/// What was measured in a round, by name.
type Figure = Map<String, Value>;
/// One of them.
type Number<'n> = (&'n str, Option<f64>);

/// Each peer's figures, a list for each round. `envoy`: its program, if there is one.
pub(crate) fn run(load: Load, rounds: u32, envoy: Option<&Path>, peers: &Path) -> Result<Value> {
    let mut stage = Stage::new(peers.to_path_buf(), load == Load::Http2)?;
    if load == Load::Fields {
        stage.record_few_fields();
    }
    if load == Load::Large {
        stage.make_large(LARGE)?;
    }
    let compared = compared(load, envoy);
    let running: Result<Vec<Peer>> = compared.into_iter().map(|kind| stage.start(kind)).collect();
    let running = running?;
    let mut figures = Map::new();
    // The first round warms up.
    for round in 0..=rounds {
        for peer in &running {
            let before = peer.cpu()?;
            let (requests, mut figure) = stage.ask(peer, load)?;
            let nanoseconds = peer.cpu()? - before;
            figure.extend([
                ("cpuMicroseconds".to_owned(), json!(per(nanoseconds, requests) / 1e3)),
                ("cpuNanosecondsPerByte".to_owned(), json!(per(nanoseconds, LARGE))),
                ("residentMib".to_owned(), json!(peer.resident()?)),
            ]);
            let list = figures.entry(peer.name()).or_insert_with(|| json!([]));
            if let (true, Some(list)) = (round > 0, list.as_array_mut()) {
                list.push(figure.into());
            }
        }
    }
    Ok(figures.into())
}

#[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "a figure of three digits")]
fn per(amount: u64, of: u64) -> f64 {
    amount as f64 / of.max(1) as f64
}

/// Who can do it.
fn compared(load: Load, envoy: Option<&Path>) -> Vec<peer::Kind> {
    use peer::Kind::{Direct, Envoy, Haproxy, L7proxy, Nginx, Relay};
    let envoy = envoy.map(|program| Envoy(program.to_path_buf()));
    let others = match load {
        Load::Http1 | Load::Fields | Load::Paced | Load::Large => vec![Haproxy, Nginx, Relay],
        Load::Http2 => vec![Relay],
    };
    [Direct].into_iter().chain(envoy).chain(others).chain([L7proxy]).collect()
}

impl Stage {
    /// How many requests were answered, and what the client says of them.
    fn ask(&self, peer: &Peer, load: Load) -> Result<(u64, Figure)> {
        let url = format!("http://{}{PATH}", peer.target());
        match load {
            Load::Http1 | Load::Fields => {
                let mut command = self.client(peer, "wrk");
                command.args(["-t1", "--latency", &format!("-c{CONNECTIONS}"), &format!("-d{SECONDS}s"), &url]);
                wrk(&output(&mut command)?).with_context(|| peer.name())
            }
            Load::Http2 => {
                let [connections, streams] = HTTP2.map(|number| number.to_string());
                self.h2load(peer, &["-c", &connections, "-m", &streams, "-n", &HTTP2_REQUESTS.to_string(), &url])
            }
            Load::Paced => {
                let (pace, requests) = (PACE.to_string(), PACED.to_string());
                self.h2load(peer, &["--h1", "-c", "1", "--rps", &pace, "-n", &requests, &url])
            }
            Load::Large => {
                let mut command = self.client(peer, "curl");
                let url = format!("http://{}/api/v1/read/large", peer.target());
                command.args(["--silent", "--show-error", "--fail", "--output", "/dev/null"]);
                command.args(["--write-out", "%{size_download} %{time_total}", &url]);
                let told = output(&mut command)?;
                let (size, time) = told.split_once(' ').context("curl says something else")?;
                ensure!(size.parse() == Ok(LARGE), "{}: {size} bytes arrived", peer.name());
                Ok((1, figure([("seconds", Some(time.trim().parse()?))])))
            }
        }
    }

    fn h2load(&self, peer: &Peer, arguments: &[&str]) -> Result<(u64, Figure)> {
        let log = self.path("h2load.log");
        if log.exists() {
            fs::remove_file(&log)?;
        }
        let mut command = self.client(peer, "h2load");
        command.args(["-t1", "--log-file"]).arg(&log).args(arguments);
        let told = output(&mut command)?;
        requests(&fs::read_to_string(&log)?).with_context(|| format!("{}: {told}", peer.name()))
    }
}

fn figure<const N: usize>(numbers: [Number<'_>; N]) -> Figure {
    numbers.into_iter().map(|(name, number)| (name.to_owned(), json!(number))).collect()
}

/// What `wrk --latency` says.
fn wrk(told: &str) -> Result<(u64, Figure)> {
    ensure!(!told.contains("Non-2xx") && !told.contains("Socket errors"), "not all were answered: {told}");
    let line = |begins: &str| {
        let line = told.lines().find_map(|line| line.trim().strip_prefix(begins));
        line.map(str::trim).with_context(|| format!("wrk does not say {begins:?}: {told}"))
    };
    let rate: f64 = line("Requests/sec:")?.parse()?;
    let counted = told.lines().find_map(|line| line.trim().split_once(" requests in "));
    let requests: u64 = counted.context("wrk counts no requests")?.0.parse()?;
    let (median, late) = (microseconds(line("50%")?)?, microseconds(line("99%")?)?);
    let figures = [("requestsPerSecond", rate), ("medianMicroseconds", median), ("p99Microseconds", late)];
    Ok((requests, figure(figures.map(|(name, number)| (name, Some(number))))))
}

/// `1.23ms`, `45.00us` or `1.00s`.
fn microseconds(text: &str) -> Result<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    let of = |(unit, factor): &(&str, f64)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor);
    units.iter().find_map(of).with_context(|| format!("{text:?} is no time"))
}

/// The log of `h2load`: start, status and duration of each request, times in microseconds.
fn requests(log: &str) -> Result<(u64, Figure)> {
    let mut durations = Vec::new();
    let (mut first, mut last) = (f64::INFINITY, 0.0_f64);
    for line in log.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[start, status, duration] = fields.as_slice() else { anyhow::bail!("{line:?} is no request") };
        ensure!(status == "200", "a request was answered with {status}");
        let (start, duration): (f64, f64) = (start.parse()?, duration.parse()?);
        (first, last) = (first.min(start), last.max(start + duration));
        durations.push(duration);
    }
    ensure!(!durations.is_empty(), "no request was answered");
    durations.sort_by(f64::total_cmp);
    let at = |percent: usize| durations.get(durations.len() * percent / 100).copied();
    let count = u32::try_from(durations.len())?;
    let rate = f64::from(count) / (last - first) * 1e6;
    let figures = [("requestsPerSecond", Some(rate)), ("medianMicroseconds", at(50)), ("p99Microseconds", at(99))];
    Ok((count.into(), figure(figures)))
}

/// Resident memory: with 30 pods, with so many idle connections, and with so many clients that do not read.
pub(crate) fn memory(connections: u32, peers: &Path) -> Result<Value> {
    let mut figures = Figure::from_iter([("connections".to_owned(), json!(connections))]);
    for (name, reads) in [("keepAlive", true), ("slowReaders", false)] {
        // Each time a new process: what it once had it may keep.
        let mut stage = Stage::new(peers.to_path_buf(), false)?;
        stage.make_large(LARGE)?;
        stage.more_pods(29)?;
        let peer = stage.start(peer::Kind::L7proxy)?;
        let before = peer.resident()?;
        let _clients = stage.clients(&peer, connections, reads)?;
        figures.insert(name.to_owned(), json!({ "beforeMib": before, "mib": peer.resident()? }));
    }
    Ok(figures.into())
}
