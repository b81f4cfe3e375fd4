//! Plain TCP.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Record, failed, say};

pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Connects by a socket with a mark, as a process with `CAP_NET_ADMIN` may set it; says with which one it got through.
pub(super) fn marked(address: &str) -> Result<Value> {
    let address: SocketAddr = address.parse().with_context(|| address.to_owned())?;
    for mark in (0..=16).chain([0x0f00, 0xffff, u32::MAX]) {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_mark(mark)?;
        if socket.connect_timeout(&address.into(), PATIENCE).is_ok() {
            return Ok(json!({ "result": "connected", "text": mark.to_string() }));
        }
    }
    Ok(json!({ "result": "refused" }))
}

/// Connects by a socket that was made here, from inside the namespace of another process or file.
pub(super) fn moved(netns: &str, address: &str) -> Result<Value> {
    let address: SocketAddr = address.parse().with_context(|| address.to_owned())?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    let netns = File::open(netns).with_context(|| netns.to_owned())?;
    rustix::thread::move_into_link_name_space(netns.as_fd(), Some(rustix::thread::LinkNameSpaceType::Network))?;
    Ok(match socket.connect_timeout(&address.into(), PATIENCE) {
        Ok(()) => json!({ "result": "connected" }),
        Err(error) => failed("connect", &error),
    })
}

/// Calls again and again, by `udp-ports` each time the next port; says how many were refused.
pub(super) fn calls(kind: &str, address: &str, count: u64) -> Result<Value> {
    let address: SocketAddr = address.parse().with_context(|| address.to_owned())?;
    let any = SocketAddr::new(if address.is_ipv4() { [0; 4].into() } else { [0; 16].into() }, 0);
    let socket = UdpSocket::bind(any)?;
    let mut refused = 0;
    for n in 0..count {
        let result = match kind {
            "udp-ports" => {
                let port = address.port().wrapping_add(u16::try_from(n).unwrap_or_default());
                socket.send_to(b"call", SocketAddr::new(address.ip(), port)).map(drop)
            }
            "tcp" => TcpStream::connect_timeout(&address, PATIENCE).map(drop),
            "udp" => socket.send_to(b"call", address).map(drop),
            "udp-connect" => socket.connect(address),
            _ => bail!("tcp, udp, udp-ports or udp-connect"),
        };
        refused += u64::from(result.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused));
    }
    Ok(json!({ "result": "called", "refused": refused }))
}

/// Sends back what it gets. Records the client's address as `accept()` and as `getpeername()` give it, and beside that file
/// how each connection ended.
pub(super) fn serve(address: &str, record: &Path) -> Result<()> {
    let listener = TcpListener::bind(address).with_context(|| address.to_owned())?;
    let (begun, ended) = records(record)?;
    say("ready")?;
    thread::scope(|scope| {
        loop {
            let stream = accept(&listener, &begun)?;
            let ended = &ended;
            // A client that resets in the middle is part of some tests.
            scope.spawn(move || drop(echo(&stream, ended)));
        }
    })
}

/// The same for one connection: once it is there, nobody listens any more.
pub(super) fn serve_one(address: &str, record: &Path) -> Result<()> {
    let listener = TcpListener::bind(address).with_context(|| address.to_owned())?;
    let (begun, ended) = records(record)?;
    say("ready")?;
    let stream = accept(&listener, &begun)?;
    drop(listener);
    Ok(echo(&stream, &ended)?)
}

fn records(path: &Path) -> Result<(Record, Record)> {
    Ok((Record::open(path)?, Record::open(&path.with_extension("ends"))?))
}

fn accept(listener: &TcpListener, begun: &Record) -> io::Result<TcpStream> {
    let (stream, accepted) = listener.accept()?;
    begun.write(&json!({ "accepted": accepted, "peer": stream.peer_addr()?, "local": stream.local_addr()? }))?;
    Ok(stream)
}

fn echo(mut stream: &TcpStream, ended: &Record) -> io::Result<()> {
    let peer = stream.peer_addr()?;
    // Not by splice: it loses the errno of a reset.
    let mut buffer = [0; 2048];
    let result = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(length) => stream.write_all(buffer.get(..length).unwrap_or_default())?,
            Err(error) => break Err(error),
        }
    };
    ended.write(&json!({ "peer": peer, "errno": result.err().and_then(|error| error.raw_os_error()) }))
}

/// Connects, says what both ends are called, and with a text also what came back for it.
pub(super) fn connect(address: &str, text: Option<&str>) -> Result<Value> {
    let address: SocketAddr = address.parse().with_context(|| address.to_owned())?;
    let mut stream = match TcpStream::connect_timeout(&address, PATIENCE) {
        Ok(stream) => stream,
        Err(error) => return Ok(failed("connect", &error)),
    };
    let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
    let Some(text) = text else { return Ok(json!({ "result": "connected", "peer": peer, "local": local })) };
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reply = String::new();
    let talked = stream
        .write_all(text.as_bytes())
        .and_then(|()| stream.shutdown(Shutdown::Write))
        .and_then(|()| stream.read_to_string(&mut reply));
    Ok(match talked {
        Ok(_) => json!({ "result": "connected", "peer": peer, "local": local, "reply": reply }),
        Err(error) => failed("read", &error),
    })
}
