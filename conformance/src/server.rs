//! Servers and clients of `conformance-pod`, seen from a test.
//!
//! Owns how they are started and how their reports are read. Start at [`http`] and [`connect`].

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use anyhow::{Context, Result};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    node::{Network, Place},
    process::{self, Process},
};

/// A server inside a pod; it ends with this value.
#[derive(Debug)]
pub struct Server {
    _process: Process,
    directory: TempDir,
}

/// What a server saw of one request or connection.
#[derive(Clone, Debug, Deserialize)]
pub struct Seen {
    /// Method; empty below HTTP.
    #[serde(default)]
    pub method: String,
    /// Request target.
    #[serde(default)]
    pub target: String,
    /// Header lines in their order.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Bytes of the body.
    #[serde(default)]
    pub body: u64,
    /// The client, says `accept()`.
    pub accepted: SocketAddr,
    /// The client, says `getpeername()`.
    pub peer: SocketAddr,
    /// The server's own end.
    pub local: SocketAddr,
}

/// How a connection ended, says the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct End {
    /// The client.
    pub peer: SocketAddr,
    /// Nothing at an orderly end.
    pub errno: Option<i32>,
}

/// What became of an attempt.
#[derive(Clone, Debug, Deserialize)]
pub struct Outcome {
    /// `connected`, `answered`, `silent` or `failed`.
    pub result: String,
    /// The call that failed.
    #[serde(default)]
    pub call: String,
    /// With which errno.
    pub errno: Option<i32>,
    /// The destination, says `getpeername()`.
    pub peer: Option<SocketAddr>,
    /// The own end.
    pub local: Option<SocketAddr>,
    /// What came back.
    pub reply: Option<String>,
    /// The status of an answer.
    pub status: Option<u16>,
    /// What the tests' server says of the request that it answered.
    pub served: Option<Seen>,
    /// What came back in a datagram.
    pub text: Option<String>,
    /// And from where.
    pub from: Option<SocketAddr>,
}

impl Outcome {
    /// The call said "connection refused".
    #[must_use]
    pub fn is_refused(&self) -> bool {
        const ECONNREFUSED: i32 = 111;
        self.result == "failed" && self.errno == Some(ECONNREFUSED)
    }

    /// The connection was ended from outside: here by this end's kernel, or by the other end's.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        const ECONNABORTED: i32 = 103;
        const ECONNRESET: i32 = 104;
        self.result == "failed" && matches!(self.errno, Some(ECONNABORTED | ECONNRESET))
    }

    /// What was sent came back.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.result == "answered"
    }
}

impl Server {
    fn start(pod: &Place, kind: &str, address: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut command = pod.command(program()?);
        command.args([kind, address]).arg(directory.path().join("seen"));
        Ok(Self { _process: Process::spawn_ready(&mut command)?, directory })
    }

    /// Everything that reached it.
    pub fn seen(&self) -> Result<Vec<Seen>> {
        self.lines("seen")
    }

    /// How connections ended, of a TCP server.
    pub fn ended(&self) -> Result<Vec<End>> {
        self.lines("seen.ends")
    }

    fn lines<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<T>> {
        let text = fs::read_to_string(self.directory.path().join(name))?;
        text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }
}

/// An HTTP server on every address of the pod.
pub fn http(pod: &Place, port: u16) -> Result<Server> {
    Server::start(pod, "http-server", &format!("0.0.0.0:{port}"))
}

/// An HTTP/2 server (by prior knowledge) on every IPv4 address of the pod.
pub fn http2(pod: &Place, port: u16) -> Result<Server> {
    Server::start(pod, "http2-server", &format!("0.0.0.0:{port}"))
}

/// An HTTP server on one address, for example `[::]:8080`.
pub fn http_at(pod: &Place, address: &str) -> Result<Server> {
    Server::start(pod, "http-server", address)
}

/// The same on a listener with `IPPROTO_MPTCP`, as Go's are by default.
pub fn mptcp(pod: &Place, address: &str) -> Result<Server> {
    Server::start(pod, "mptcp-server", address)
}

/// A server that sends back what it gets.
pub fn tcp(pod: &Place, address: &str) -> Result<Server> {
    Server::start(pod, "tcp-server", address)
}

/// The same for one connection; nobody listens once it is there.
pub fn tcp_of_one(pod: &Place, address: &str) -> Result<Server> {
    Server::start(pod, "tcp-server-of-one", address)
}

/// The same with datagrams; it records nothing.
pub fn udp(pod: &Place, address: &str) -> Result<Process> {
    Process::spawn_ready(pod.command(program()?).args(["udp-server", address]))
}

/// The same for one client, on a socket that gets connected to it.
pub fn udp_of_one(pod: &Place, address: &str) -> Result<Process> {
    Process::spawn_ready(pod.command(program()?).args(["udp-server-of-one", address]))
}

/// Connects from inside a pod and, with a text, talks.
pub fn connect(pod: &Place, address: impl Into<SocketAddr>, text: Option<&str>) -> Result<Outcome> {
    attempt(pod, "connect", address.into(), text)
}

/// One request on a socket of the given kind (`pod/socket.rs`). `bind` is what a bound one is bound to, and where one that
/// connects again was connected before.
pub fn dial(pod: &Place, kind: &str, target: SocketAddr, path: &str, bind: SocketAddr) -> Result<Outcome> {
    let mut command = pod.command(program()?);
    command.args(["dial", kind, &target.to_string(), path, &bind.to_string()]);
    let report = process::output(&mut command)?;
    serde_json::from_str(&report).with_context(|| report.clone())
}

/// Sends one datagram from an unconnected socket.
pub fn udp_send<A: Into<SocketAddr>>(pod: &Place, address: A, text: &str) -> Result<Outcome> {
    attempt(pod, "udp-send", address.into(), Some(text))
}

/// Sends one datagram from a connected socket.
pub fn udp_connect<A: Into<SocketAddr>>(pod: &Place, address: A, text: &str) -> Result<Outcome> {
    attempt(pod, "udp-connect", address.into(), Some(text))
}

/// Connects with every mark that a process would try.
pub fn connect_marked(pod: &Place, address: impl Into<SocketAddr>) -> Result<Outcome> {
    attempt(pod, "connect-marked", address.into(), None)
}

/// Connects from inside another namespace by a socket that was made in the pod's.
pub fn connect_moved(pod: &Place, other: &Place, address: impl Into<SocketAddr>) -> Result<Outcome> {
    let mut command = pod.command(program()?);
    command.arg("connect-moved").arg(other.netns().path()).arg(address.into().to_string());
    let report = process::output(&mut command)?;
    serde_json::from_str(&report).with_context(|| report.clone())
}

/// Calls (`tcp`, `udp`, `udp-connect`, or `udp-ports`, each time the next one) again and again; how many were refused.
pub fn calls(pod: &Place, kind: &str, address: impl Into<SocketAddr>, count: u64) -> Result<u64> {
    let mut command = pod.command(program()?);
    let report = process::output(command.args(["calls", kind, &address.into().to_string(), &count.to_string()]))?;
    let report: Value = serde_json::from_str(&report).with_context(|| report.clone())?;
    report.get("refused").and_then(Value::as_u64).context("the number of refused calls")
}

/// Makes so many sockets in a network namespace of its own, which ends with that.
pub fn sockets(network: &Network, number: u32) -> Result<()> {
    let mut command = network.command("unshare");
    command.arg("--net").arg(program()?).args(["sockets", &number.to_string()]);
    process::output(&mut command).map(drop)
}

/// An ICMP request of type `kind` from a `raw`, `ping` or `connected` socket.
pub fn ping(pod: &Place, address: impl Into<IpAddr>, how: &str, kind: u8, text: &str) -> Result<Outcome> {
    let mut command = pod.command(program()?);
    command.args(["ping", &address.into().to_string(), how, &kind.to_string(), text]);
    let report = process::output(&mut command)?;
    serde_json::from_str(&report).with_context(|| report.clone())
}

fn attempt(pod: &Place, kind: &str, address: SocketAddr, text: Option<&str>) -> Result<Outcome> {
    let mut command = pod.command(program()?);
    let report = process::output(command.args([kind, &address.to_string()]).args(text))?;
    serde_json::from_str(&report).with_context(|| report.clone())
}

/// Clients in a loop inside a pod, until finished.
#[derive(Debug)]
pub struct Load(Process);

/// Answers in their order; equal ones that followed each other are counted.
pub type Runs = Vec<(String, u64)>;

/// What a load saw.
#[derive(Clone, Debug, Deserialize)]
pub struct Answers {
    /// One list per client.
    pub clients: Vec<Runs>,
}

impl Load {
    /// Starts them.
    pub fn start(pod: &Place, address: impl Into<SocketAddr>, path: &str, clients: usize) -> Result<Self> {
        let mut command = pod.command(program()?);
        command.args(["load", &address.into().to_string(), path, &clients.to_string()]);
        Ok(Self(Process::spawn_ready(&mut command)?))
    }

    /// Stops them and says what they saw.
    pub fn finish(self) -> Result<Answers> {
        let report = self.0.finish()?;
        serde_json::from_str(&report).with_context(|| report.clone())
    }
}

/// Many open connections of one client inside a pod.
#[derive(Debug)]
pub struct Crowd(Process);

/// What became of many connections.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Tally {
    /// Requests that were answered with 200.
    pub good: usize,
    /// How often each call failed with each errno, or an answer was another one.
    pub failed: BTreeMap<String, usize>,
}

impl Crowd {
    /// Makes `count` connections to each target, all bound to the same if anything, with a request on each.
    pub fn open(
        pod: &Place,
        path: &str,
        count: usize,
        bind: Option<SocketAddr>,
        targets: &[SocketAddr],
    ) -> Result<(Self, Tally)> {
        let mut command = pod.command(program()?);
        let bind = bind.unwrap_or_else(|| SocketAddr::from(([0; 4], 0)));
        command.args(["crowd", path, &count.to_string(), &bind.to_string()]);
        let mut crowd = Self(Process::spawn_ready(command.args(targets.iter().map(ToString::to_string)))?);
        let tally = tally(&crowd.0.line()?)?;
        Ok((crowd, tally))
    }

    /// One more request on each connection.
    pub fn again(&mut self) -> Result<Tally> {
        tally(&self.0.ask("")?)
    }
}

fn tally(line: &str) -> Result<Tally> {
    serde_json::from_str(line).with_context(|| line.to_owned())
}

/// Answers very many clients; it records nothing.
pub fn crowd(pod: &Place, addresses: &[SocketAddr]) -> Result<Process> {
    let mut command = pod.command(program()?);
    Process::spawn_ready(command.arg("crowd-server").args(addresses.iter().map(ToString::to_string)))
}

/// Who closes a connection first, and waits for the other's last packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// The client, after the answer.
    Client,
    /// The server, after its answer.
    Server,
}

/// Connections one after the other, each with one request.
pub fn sequence(pod: &Place, path: &str, count: usize, first: First, target: SocketAddr) -> Result<Tally> {
    let first = if first == First::Client { "client" } else { "server" };
    let mut command = pod.command(program()?);
    tally(&process::output(command.args(["sequence", path, &count.to_string(), first, &target.to_string()]))?)
}

/// One open connection of a client inside a pod.
#[derive(Debug)]
pub struct Held(Process);

impl Held {
    /// Connects; every request on it asks for `path`.
    pub fn open(pod: &Place, address: impl Into<SocketAddr>, path: &str) -> Result<Self> {
        let mut command = pod.command(program()?);
        Ok(Self(Process::spawn_ready(command.args(["hold", &address.into().to_string(), path]))?))
    }

    /// One more request on the same connection: its status, or why there was none.
    pub fn request(&mut self) -> Result<Value> {
        let answer = self.0.ask("")?;
        serde_json::from_str(&answer).with_context(|| answer.clone())
    }
}

/// One open connection of a client inside a pod to a server that sends back what it gets.
#[derive(Debug)]
pub struct Talk(Process);

impl Talk {
    /// Over TCP.
    pub fn tcp(pod: &Place, address: impl Into<SocketAddr>) -> Result<Self> {
        Self::open(pod, "talk", address.into())
    }

    /// Over a connected socket of UDP.
    pub fn udp(pod: &Place, address: impl Into<SocketAddr>) -> Result<Self> {
        Self::open(pod, "udp-talk", address.into())
    }

    fn open(pod: &Place, kind: &str, address: SocketAddr) -> Result<Self> {
        let mut command = pod.command(program()?);
        Ok(Self(Process::spawn_ready(command.args([kind, &address.to_string()]))?))
    }

    /// A word there and back.
    pub fn word(&mut self) -> Result<Outcome> {
        self.say("word")
    }

    /// Any text there and back.
    pub fn say(&mut self, text: &str) -> Result<Outcome> {
        let report = self.0.ask(text)?;
        serde_json::from_str(&report).with_context(|| report.clone())
    }
}

/// The program that runs in pods.
pub fn program() -> Result<PathBuf> {
    beside("conformance-pod")
}

/// A program of this package, which cargo built with the tests.
pub(crate) fn beside(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    // Beside it, or, of a test, above it.
    let places = own.ancestors().skip(1).take(2).map(|place| place.join(name));
    let program = places.clone().find(|program| program.is_file()).or(places.last());
    let program = program.context("this program has no directory")?;
    anyhow::ensure!(program.is_file(), "{}: is not there; run the tests by cargo", program.display());
    Ok(program)
}
