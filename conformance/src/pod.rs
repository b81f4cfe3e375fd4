//! What `conformance-pod` does inside a pod: simple servers that say exactly what they saw, and clients that say exactly
//! what happened to them.
//!
//! Owns the forms of these reports. Passes on what `accept()` and `getpeername()` say: it is what an application is told.
//! Start at [`run`]; every way of making a connection is in `socket.rs`.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::Path,
    sync::Mutex,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use socket2::Protocol;

mod crowd;
mod effort;
mod http;
mod http2;
mod load;
mod ping;
mod raw;
mod socket;
mod stream;
mod talk;
mod tcp;
mod udp;
mod volley;

/// Runs one command.
pub fn run(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["http-server", address, record] => serve_http(address, Protocol::TCP, record),
        ["http2-server", address, record] => {
            let listener = socket::listen(address, Protocol::TCP).with_context(|| (*address).to_owned())?;
            http2::serve(listener, Record::open(Path::new(record))?)
        }
        ["mptcp-server", address, record] => serve_http(address, Protocol::MPTCP, record),
        ["tcp-server", address, record] => tcp::serve(address, Path::new(record)),
        ["tcp-server-of-one", address, record] => tcp::serve_one(address, Path::new(record)),
        ["udp-server", address] => udp::serve(address),
        ["udp-server-of-one", address] => udp::serve_one(address),
        ["connect", address] => report(&tcp::connect(address, None)?),
        ["connect", address, text] => report(&tcp::connect(address, Some(text))?),
        ["dial", kind, address, path, bind] => report(&socket::dial(kind, address, path, bind)?),
        ["hold", address, path] => http::hold(address, path),
        ["udp-send", address, text] => report(&udp::send(address, text, false)?),
        ["udp-connect", address, text] => report(&udp::send(address, text, true)?),
        ["connect-marked", address] => report(&tcp::marked(address)?),
        ["connect-moved", netns, address] => report(&tcp::moved(netns, address)?),
        ["calls", kind, address, count] => {
            report(&tcp::calls(kind, address, count.parse().context("number of calls")?)?)
        }
        ["sockets", number] => udp::sockets(number.parse().context("number of sockets")?),
        ["talk", address] => talk::tcp(address),
        ["udp-talk", address] => talk::udp(address),
        ["ping", address, how, kind, text] => report(&ping::send(address, how, kind, text)?),
        ["packet", destination, bytes] => report(&raw::packet(destination, bytes)?),
        ["flood", destination, bytes] => raw::flood(destination, bytes),
        ["frame", interface, bytes] => report(&raw::frame(interface, bytes)?),
        ["sniff", record] => raw::sniff(&Record::open(Path::new(record))?),
        ["crowd", path, count, bind, addresses @ ..] => {
            crowd::hold(path, count.parse().context("number of connections")?, bind, addresses)
        }
        ["crowd-server", addresses @ ..] => crowd::serve(addresses),
        ["sequence", path, count, first, address] => report(&crowd::sequence(
            path,
            count.parse().context("number of connections")?,
            *first == "server",
            address,
        )?),
        ["effort", what @ ..] => effort::run(what),
        ["volley", address, rate, tag, closed @ ..] => {
            volley::run(address, rate.parse().context("connections a second")?, tag, closed.first().copied())
        }
        ["tunnel", address, path] => stream::tunnel(address, path),
        ["drip", address, path] => stream::drip(address, path),
        ["load", address, path, clients] => load::run(address, path, clients.parse().context("number of clients")?),
        _ => bail!(
            "usage: conformance-pod http-server|http2-server|mptcp-server|tcp-server|tcp-server-of-one ADDRESS RECORD | \
             udp-server|udp-server-of-one ADDRESS | connect ADDRESS [TEXT] | connect-marked ADDRESS | \
             connect-moved NETNS ADDRESS | dial KIND ADDRESS PATH BIND | \
             hold ADDRESS PATH | udp-send|udp-connect ADDRESS TEXT | talk|udp-talk ADDRESS | \
             calls tcp|udp|udp-ports|udp-connect ADDRESS COUNT | sockets NUMBER | ping ADDRESS raw|ping|connected TYPE TEXT | packet|flood ADDRESS HEX | frame INTERFACE HEX | \
             sniff RECORD | load ADDRESS PATH CLIENTS | crowd PATH COUNT BIND ADDRESS... | crowd-server ADDRESS... | \
             effort connect ADDRESS COUNT | effort udp ADDRESS SPAN COUNT | effort echo-server ADDRESS SIZE | \
             effort echo ADDRESS SIZE COUNT | \
             sequence PATH COUNT client|server ADDRESS | volley ADDRESS RATE TAG [CLOSED] | tunnel|drip ADDRESS PATH"
        ),
    }
}

fn serve_http(address: &str, protocol: Protocol, record: &str) -> Result<()> {
    let listener = socket::listen(address, protocol).with_context(|| address.to_owned())?;
    http::serve(&listener, &Record::open(Path::new(record))?)
}

fn report(value: &Value) -> Result<()> {
    say(&value.to_string())
}

fn say(line: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

/// What a failed call says: its name and its errno.
fn failed(call: &str, error: &io::Error) -> Value {
    json!({ "result": "failed", "call": call, "errno": error.raw_os_error(), "error": error.to_string() })
}

/// A file with one JSON line per thing that was seen.
struct Record(Mutex<std::fs::File>);

impl Record {
    fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self(Mutex::new(file.with_context(|| path.display().to_string())?)))
    }

    fn write(&self, value: &Value) -> io::Result<()> {
        let mut file = self.0.lock().map_err(|_poisoned| io::Error::other("a writer panicked"))?;
        file.write_all(format!("{value}\n").as_bytes())
    }
}
