//! Requests that can be told apart, on new connections and on kept ones, until told to stop: what became of each.
//!
//! Owns the pace and the count. Must never try anything twice: what is lost is reported as lost. Start at [`run`].

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{http::Client, say};

/// Nobody goes on longer than this, whatever happens to the test.
const LONGEST: Duration = Duration::from_mins(5);
/// Threads that make a new connection for each request.
const NEW: u32 = 16;
/// Threads that keep their connection until the other side says that it closes it.
const KEPT: u32 = 5;
/// Between two requests on a kept connection, and between two attempts to connect where nobody may.
const THINK: Duration = Duration::from_millis(20);

/// What one thread did. Request number n of it asked for `/read/TAG/NAME/n`, or for `/write/…` where n is odd.
#[derive(Default)]
struct Tally {
    name: String,
    requests: u64,
    /// Answers, or why there was none, and how often.
    seen: BTreeMap<String, u64>,
    /// Requests that had another answer than policy says, or none.
    lost: Vec<Value>,
}

/// `rate` new connections a second to `address`, and kept ones beside them; and, if there is such a port, attempts to connect
/// to `closed`.
pub(super) fn run(address: &str, rate: u32, tag: &str, closed: Option<&str>) -> Result<()> {
    let address: SocketAddr = address.parse().with_context(|| address.to_owned())?;
    let closed: Option<SocketAddr> =
        closed.map(|closed| closed.parse().with_context(|| closed.to_owned())).transpose()?;
    let stop = AtomicBool::new(false);
    let begin = Instant::now();
    let pace = Duration::from_secs(1) * NEW / rate.max(1);
    say("ready")?;
    let tallies: Vec<Tally> = thread::scope(|scope| {
        let go_on = || !stop.load(Ordering::Relaxed) && begin.elapsed() < LONGEST;
        let mut running = Vec::new();
        for number in 0..NEW {
            running.push(scope.spawn(move || each_on_its_own(address, tag, &format!("new{number}"), pace, go_on)));
        }
        for number in 0..KEPT {
            running.push(scope.spawn(move || one_after_the_other(address, tag, &format!("kept{number}"), go_on)));
        }
        if let Some(closed) = closed {
            running.push(scope.spawn(move || attempts(closed, go_on)));
        }
        drop(io::copy(&mut io::stdin().lock(), &mut io::sink()));
        stop.store(true, Ordering::Relaxed);
        running.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
    });
    let threads: Vec<Value> = tallies
        .into_iter()
        .map(|tally| json!({ "name": tally.name, "requests": tally.requests, "seen": tally.seen, "lost": tally.lost }))
        .collect();
    say(&json!({ "threads": threads, "seconds": begin.elapsed().as_secs_f64() }).to_string())
}

fn path(tag: &str, name: &str, number: u64) -> String {
    let what = if number.is_multiple_of(2) { "read" } else { "write" };
    format!("/{what}/{tag}/{name}/{number}")
}

impl Tally {
    fn of(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// `since`: when all was well for the last time.
    fn take(&mut self, since: u64, answer: &io::Result<u16>) {
        let number = self.requests;
        self.requests += 1;
        let text = match answer {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        // What policy says: 200 and 403 in turn.
        let expected = if number.is_multiple_of(2) { 200 } else { 403 };
        if answer.as_ref().ok() != Some(&expected) {
            self.lost.push(json!({ "number": number, "since": since, "until": now(), "what": text }));
        }
        *self.seen.entry(text).or_default() += 1;
    }
}

fn each_on_its_own(address: SocketAddr, tag: &str, name: &str, pace: Duration, go_on: impl Fn() -> bool) -> Tally {
    let mut tally = Tally::of(name);
    let mut due = Instant::now();
    while go_on() {
        let since = now();
        let answer = Client::connect(address).and_then(|mut client| client.get(&path(tag, name, tally.requests)));
        tally.take(since, &answer);
        due += pace;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    tally
}

fn one_after_the_other(address: SocketAddr, tag: &str, name: &str, go_on: impl Fn() -> bool) -> Tally {
    let mut tally = Tally::of(name);
    let mut kept: Option<Client> = None;
    let mut since = now();
    while go_on() {
        if kept.is_none() {
            since = now();
        }
        let client = kept.take().map_or_else(|| Client::connect(address), Ok);
        let answer = client.and_then(|mut client| {
            let status = client.get(&path(tag, name, tally.requests))?;
            kept = client.is_kept().then_some(client);
            Ok(status)
        });
        tally.take(since, &answer);
        since = now();
        thread::sleep(THINK);
    }
    tally
}

/// Connects to where policy lets nobody connect to.
fn attempts(address: SocketAddr, go_on: impl Fn() -> bool) -> Tally {
    let mut tally = Tally::of("closed");
    while go_on() {
        tally.requests += 1;
        let text = match TcpStream::connect(address) {
            Ok(_) => "connected".to_owned(),
            Err(error) => error.raw_os_error().map_or_else(|| error.to_string(), |errno| errno.to_string()),
        };
        *tally.seen.entry(text).or_default() += 1;
        thread::sleep(THINK);
    }
    tally
}

/// Milliseconds that a test can compare with its own.
fn now() -> u64 {
    crate::traffic::now()
}
