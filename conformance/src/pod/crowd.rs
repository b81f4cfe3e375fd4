//! Many connections: held at once, or one after the other.
//!
//! Owns how they are made and how their failures are counted. Must never try anything twice. Start at [`hold`] and
//! [`sequence`].

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
};

use anyhow::{Context, Result};
use rustix::{
    event::epoll,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    http::{self, Client},
    say,
    tcp::PATIENCE,
};

/// How often each thing went wrong: the call and its errno.
#[derive(Default)]
struct Count {
    good: usize,
    failed: BTreeMap<String, usize>,
}

impl Count {
    fn take<T>(&mut self, call: &str, result: io::Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let errno = error.raw_os_error().map_or_else(|| error.to_string(), |errno| errno.to_string());
                *self.failed.entry(format!("{call} {errno}")).or_default() += 1;
                None
            }
        }
    }

    fn report(&self) -> Value {
        json!({ "good": self.good, "failed": self.failed })
    }
}

/// As many file descriptors as this process may have.
fn raise_limit() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("file descriptors")
}

/// Makes `count` connections to each address, bound to `bind` if that says anything, with a request on each. Says what
/// became of them, holds them, and at the next line of its input makes one more request on each and says how that went.
pub(super) fn hold(path: &str, count: usize, bind: &str, addresses: &[&str]) -> Result<()> {
    raise_limit()?;
    let bind: SocketAddr = bind.parse().with_context(|| bind.to_owned())?;
    let addresses: Vec<SocketAddr> = addresses
        .iter()
        .map(|address| address.parse().with_context(|| (*address).to_owned()))
        .collect::<Result<_>>()?;
    say("ready")?;
    let mut held = Vec::new();
    let mut opened = Count::default();
    // Addresses take turns, as in an application that talks to all of them.
    for address in (0..count).flat_map(|_| &addresses) {
        let Some(stream) = opened.take("connect", connect(*address, bind)) else { continue };
        let client =
            Client::on(stream, *address).and_then(|mut client| client.get(path).map(|status| (client, status)));
        if let Some((client, status)) = opened.take("request", client) {
            note(&mut opened, status);
            held.push(client);
        }
    }
    say(&opened.report().to_string())?;
    io::stdin().read_line(&mut String::new())?;
    let mut again = Count::default();
    for client in &mut held {
        if let Some(status) = again.take("request", client.get(path)) {
            note(&mut again, status);
        }
    }
    say(&again.report().to_string())
}

fn note(count: &mut Count, status: u16) {
    if status == 200 {
        count.good += 1;
    } else {
        *count.failed.entry(format!("status {status}")).or_default() += 1;
    }
}

fn connect(address: SocketAddr, bind: SocketAddr) -> io::Result<TcpStream> {
    if bind.port() == 0 && bind.ip().is_unspecified() {
        return TcpStream::connect(address);
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&bind.into())?;
    socket.connect(&address.into())?;
    Ok(socket.into())
}

/// `count` connections one after the other, each with one request; the client closes first, or (`close`) the server.
pub(super) fn sequence(path: &str, count: usize, close: bool, address: &str) -> Result<Value> {
    let address: SocketAddr = address.parse().with_context(|| address.to_owned())?;
    let mut seen = Count::default();
    for _ in 0..count {
        let Some(stream) = seen.take("connect", TcpStream::connect(address)) else { continue };
        let status = if close {
            last_request(stream, path, address)
        } else {
            Client::on(stream, address).and_then(|mut client| client.get(path))
        };
        if let Some(status) = seen.take("request", status) {
            note(&mut seen, status);
        }
    }
    Ok(seen.report())
}

/// One request, and its answer to the end of the stream.
fn last_request(mut stream: TcpStream, path: &str, address: SocketAddr) -> io::Result<u16> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = http::request(path, address).replacen("\r\n", "\r\nConnection: close\r\n", 1);
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::Error::other(answer))
}

/// Answers every request of very many clients with the same, in one thread; listens on every address that is given.
pub(super) fn serve(addresses: &[&str]) -> Result<()> {
    raise_limit()?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut listeners = Vec::new();
    for address in addresses {
        let listener = TcpListener::bind(address).with_context(|| (*address).to_owned())?;
        listener.set_nonblocking(true)?;
        epoll::add(&poll, &listener, number(listeners.len())?, epoll::EventFlags::IN)?;
        listeners.push(listener);
    }
    say("ready")?;
    let mut clients: BTreeMap<u64, Visitor> = BTreeMap::new();
    let mut next = u64::try_from(listeners.len())?;
    let mut events = Vec::with_capacity(1024);
    loop {
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            let key = event.data.u64();
            if let Some(listener) = usize::try_from(key).ok().and_then(|key| listeners.get(key)) {
                // Another thread may have been quicker, or the client gone.
                let Ok((stream, _)) = listener.accept() else { continue };
                stream.set_nonblocking(true)?;
                epoll::add(&poll, &stream, epoll::EventData::new_u64(next), epoll::EventFlags::IN)?;
                clients.insert(next, Visitor { stream, seen: Vec::new() });
                next += 1;
            } else if clients.get_mut(&key).is_some_and(|visitor| !visitor.answer()) {
                clients.remove(&key);
            }
        }
    }
}

fn number(index: usize) -> Result<epoll::EventData> {
    Ok(epoll::EventData::new_u64(u64::try_from(index)?))
}

/// A client of [`serve`], and what it sent that was not answered yet.
struct Visitor {
    stream: TcpStream,
    seen: Vec<u8>,
}

impl Visitor {
    /// Reads what there is and answers each head; whether the client is still there.
    fn answer(&mut self) -> bool {
        let mut buffer = [0; 2048];
        match self.stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(length) => self.seen.extend(buffer.get(..length).unwrap_or_default()),
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
        while let Some(end) = self.seen.windows(4).position(|four| four == b"\r\n\r\n") {
            self.seen.drain(..end + 4);
            if self.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                return false;
            }
        }
        true
    }
}
