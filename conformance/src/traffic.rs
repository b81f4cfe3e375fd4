//! Traffic in both directions while something happens to the proxy, and what became of all of it.
//!
//! Owns the count of what was sent: every request can be told apart. Start at [`Volley`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::{node::Place, process::Process, server::program};

/// Clients inside a pod, until finished: new connections at a rate, and kept ones.
#[derive(Debug)]
pub struct Volley {
    process: Process,
    tag: String,
}

/// What became of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Tally {
    /// One for each thread.
    pub threads: Vec<Thread>,
    /// How long it took.
    pub seconds: f64,
    #[serde(skip)]
    tag: String,
}

/// What became of one thread's requests.
#[derive(Clone, Debug, Deserialize)]
pub struct Thread {
    /// `newN`, `keptN`, or `closed` for attempts to connect where nobody may.
    pub name: String,
    /// How many there were.
    pub requests: u64,
    /// Answers, or why there was none.
    pub seen: BTreeMap<String, u64>,
    /// Requests that had another answer than 200 and 403 in turn.
    pub lost: Vec<Lost>,
}

/// A request that had another answer than policy says, or none.
#[derive(Clone, Debug, Deserialize)]
pub struct Lost {
    /// The how manieth of its thread.
    pub number: u64,
    /// When all was well for the last time: its connection was begun, or had its last answer. As of [`now`].
    pub since: u64,
    /// When it was known to be lost.
    pub until: u64,
    /// The answer, or why there was none.
    pub what: String,
}

impl Lost {
    /// It was answered, and not as policy says.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        self.what.parse::<u16>().is_ok()
    }
}

/// Milliseconds, to be compared between processes.
#[expect(clippy::disallowed_methods, reason = "a test's own clock")]
#[must_use]
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}

impl Volley {
    /// Starts it. `tag` is in every path: `/read/TAG/…` and `/write/TAG/…` in turn.
    pub fn start(
        pod: &Place,
        address: impl Into<SocketAddr>,
        rate: u32,
        tag: &str,
        closed: Option<SocketAddr>,
    ) -> Result<Self> {
        let mut command = pod.command(program()?);
        command.args(["volley", &address.into().to_string(), &rate.to_string(), tag]);
        command.args(closed.map(|closed| closed.to_string()));
        Ok(Self { process: Process::spawn_ready(&mut command)?, tag: tag.to_owned() })
    }

    /// Stops it and says what became of it.
    pub fn finish(self) -> Result<Tally> {
        let report = self.process.finish()?;
        let tally: Tally = serde_json::from_str(&report).with_context(|| report.clone())?;
        Ok(Tally { tag: self.tag, ..tally })
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests = |kind: &str| -> u64 {
            self.threads.iter().filter(|thread| thread.name.starts_with(kind)).map(|thread| thread.requests).sum()
        };
        let (new, kept, closed) = (requests("new"), requests("kept"), requests("closed"));
        write!(f, "{new} requests on new connections, {kept} on kept ones, {closed} attempts, in {:.1} s", self.seconds)
    }
}

impl Tally {
    fn asking(&self) -> impl Iterator<Item = &Thread> {
        self.threads.iter().filter(|thread| thread.name != "closed")
    }

    /// Paths of all requests, those that policy allows or those that it does not.
    #[must_use]
    pub fn paths(&self, allowed: bool) -> BTreeSet<String> {
        let what = if allowed { "read" } else { "write" };
        let numbers = |thread: &Thread| (u64::from(!allowed)..thread.requests).step_by(2);
        let path = |thread: &Thread, number: u64| format!("/{what}/{}/{}/{number}", self.tag, thread.name);
        self.asking().flat_map(|thread| numbers(thread).map(move |number| path(thread, number))).collect()
    }

    /// Requests that had another answer than policy says, or none, with the names of their threads.
    #[must_use]
    pub fn lost(&self) -> Vec<(&str, &Lost)> {
        self.asking().flat_map(|thread| thread.lost.iter().map(|lost| (thread.name.as_str(), lost))).collect()
    }

    /// How many requests there were.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.asking().map(|thread| thread.requests).sum()
    }

    /// Attempts to connect where nobody may, and what became of them.
    #[must_use]
    pub fn closed(&self) -> Option<&Thread> {
        self.threads.iter().find(|thread| thread.name == "closed")
    }
}

/// A tunnel after `Upgrade` between a pod and a server.
#[derive(Debug)]
pub struct Tunnel(Process);

impl Tunnel {
    /// Opens it.
    pub fn open(pod: &Place, address: impl Into<SocketAddr>, path: &str) -> Result<Self> {
        let mut command = pod.command(program()?);
        Ok(Self(Process::spawn_ready(command.args(["tunnel", &address.into().to_string(), path]))?))
    }

    /// Whether a word comes back as it went.
    pub fn word(&mut self, word: &str) -> Result<bool> {
        let answer = self.0.ask(word)?;
        let answer: Value = serde_json::from_str(&answer).with_context(|| answer.clone())?;
        Ok(answer.get("back").and_then(Value::as_bool).unwrap_or_default())
    }
}

/// An answer that comes drop by drop.
#[derive(Debug)]
pub struct Drip(Process);

impl Drip {
    /// Begins it: its head has come.
    pub fn open(pod: &Place, address: impl Into<SocketAddr>, path: &str) -> Result<Self> {
        let mut command = pod.command(program()?);
        Ok(Self(Process::spawn_ready(command.args(["drip", &address.into().to_string(), path]))?))
    }

    /// Waits for its end; how many drops came, if all of it did.
    pub fn finish(self) -> Result<Option<u64>> {
        let report = self.0.finish()?;
        let report: Value = serde_json::from_str(&report).with_context(|| report.clone())?;
        let is_whole = report.get("whole").and_then(Value::as_bool).unwrap_or_default();
        Ok(report.get("drops").and_then(Value::as_u64).filter(|_| is_whole))
    }
}
