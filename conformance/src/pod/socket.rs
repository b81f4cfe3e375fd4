//! Every kind of TCP socket that an application may make.
//!
//! Owns the kinds and how each connects. Must never help a call that failed. Start at [`Kind`].

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use rustix::net::{connect_unspec, netdevice::name_to_index};
use serde_json::{Value, json};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{
    failed,
    http::{self, Client},
    tcp::PATIENCE,
};

/// `MSG_FASTOPEN`: connect and send at once.
const MSG_FASTOPEN: i32 = 0x2000_0000;
/// Options that have no safe wrapper: (level, name) of each.
const TCP_FASTOPEN_CONNECT: (i32, i32) = (6, 30);
const IP_UNICAST_IF: (i32, i32) = (0, 50);
const IPV6_UNICAST_IF: (i32, i32) = (41, 76);
const BACKLOG: i32 = 1024;

/// A way to make a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `socket`, `connect`.
    Plain,
    /// `O_NONBLOCK`, `connect`, `poll`, `SO_ERROR`: what a connect with a time-out does.
    NonBlocking,
    /// `bind` to an own address, a port, or both, then `connect`.
    Bound,
    /// `SO_BINDTODEVICE`.
    Device,
    /// `IP_UNICAST_IF`.
    UnicastIf,
    /// `sendto(MSG_FASTOPEN)`.
    FastOpen,
    /// `TCP_FASTOPEN_CONNECT`: the SYN leaves with the first write.
    FastOpenConnect,
    /// `IPPROTO_MPTCP`.
    Mptcp,
    /// `connect` to the first address, `connect(AF_UNSPEC)`, then `connect`.
    Again,
    /// The same with `IPPROTO_MPTCP`.
    MptcpAgain,
}

impl Kind {
    fn named(name: &str) -> Result<Self> {
        Ok(match name {
            "plain" => Self::Plain,
            "non-blocking" => Self::NonBlocking,
            "bound" => Self::Bound,
            "device" => Self::Device,
            "unicast-if" => Self::UnicastIf,
            "fast-open" => Self::FastOpen,
            "fast-open-connect" => Self::FastOpenConnect,
            "mptcp" => Self::Mptcp,
            "again" => Self::Again,
            "mptcp-again" => Self::MptcpAgain,
            _ => bail!("{name:?}: no such kind of socket"),
        })
    }
}

/// A call that failed.
struct Failed(&'static str, io::Error);

/// Gives the name of the call to its error.
fn call<T>(name: &'static str, result: io::Result<T>) -> Result<T, Failed> {
    result.map_err(|error| Failed(name, error))
}

/// A listener of the given protocol.
pub(super) fn listen(address: &str, protocol: Protocol) -> io::Result<TcpListener> {
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(protocol))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Connects in the way of `kind`, asks for `path`, and says what both ends are called and what came back. `bind` is
/// what a bound socket is bound to, and the first address of one that connects again; else it does not count.
pub(super) fn dial(kind: &str, address: &str, path: &str, bind: &str) -> Result<Value> {
    let kind = Kind::named(kind)?;
    let address: SocketAddr = address.parse().with_context(|| address.to_owned())?;
    let bind: SocketAddr = bind.parse().with_context(|| bind.to_owned())?;
    Ok(match converse(kind, address, path, bind) {
        Ok(answer) => answer,
        Err(Failed(call, error)) => failed(call, &error),
    })
}

fn converse(kind: Kind, address: SocketAddr, path: &str, bind: SocketAddr) -> Result<Value, Failed> {
    let protocol = if matches!(kind, Kind::Mptcp | Kind::MptcpAgain) { Protocol::MPTCP } else { Protocol::TCP };
    let socket = call("socket", Socket::new(Domain::for_address(address), Type::STREAM, Some(protocol)))?;
    prepare(kind, &socket, address, bind)?;
    let request = http::request(path, address);
    let target = SockAddr::from(address);
    match kind {
        Kind::FastOpen => {
            call("send", socket.send_to_with_flags(request.as_bytes(), &target, MSG_FASTOPEN))?;
        }
        Kind::NonBlocking => call("connect", socket.connect_timeout(&target, PATIENCE))?,
        Kind::Plain
        | Kind::Bound
        | Kind::Device
        | Kind::UnicastIf
        | Kind::FastOpenConnect
        | Kind::Mptcp
        | Kind::Again
        | Kind::MptcpAgain => call("connect", socket.connect(&target))?,
    }
    let stream = TcpStream::from(socket);
    // Before a fast open is answered there is no peer yet.
    let early = stream.peer_addr().ok();
    let mut client = call("setsockopt", Client::on(stream, address))?;
    if kind != Kind::FastOpen {
        call("send", client.ask(path))?;
    }
    let (status, body) = call("receive", client.answer())?;
    // Only the tests' own server answers with JSON.
    let served: Option<Value> = serde_json::from_str(&body).ok();
    let peer = call("getpeername", client.stream().peer_addr())?;
    let local = call("getsockname", client.stream().local_addr())?;
    if early.is_some_and(|early| early != peer) {
        return Err(Failed("getpeername", io::Error::other(format!("it was {early:?} and became {peer}"))));
    }
    Ok(json!({ "result": "answered", "status": status, "peer": peer, "local": local, "served": served }))
}

/// What comes before the connection.
fn prepare(kind: Kind, socket: &Socket, address: SocketAddr, bind: SocketAddr) -> Result<(), Failed> {
    match kind {
        Kind::Plain | Kind::NonBlocking | Kind::FastOpen | Kind::Mptcp => Ok(()),
        Kind::Bound => {
            call("setsockopt", socket.set_reuse_address(true)).and_then(|()| call("bind", socket.bind(&bind.into())))
        }
        Kind::Device => call("setsockopt", socket.bind_device(Some(b"eth0"))),
        Kind::UnicastIf => {
            let option = if address.is_ipv4() { IP_UNICAST_IF } else { IPV6_UNICAST_IF };
            call("setsockopt", interface(socket).and_then(|index| set_option(socket, option, index.to_be())))
        }
        Kind::FastOpenConnect => call("setsockopt", set_option(socket, TCP_FASTOPEN_CONNECT, 1)),
        Kind::Again | Kind::MptcpAgain => {
            call("first connect", socket.connect(&bind.into()))?;
            call("disconnect", connect_unspec(socket).map_err(io::Error::from))
        }
    }
}

/// Number of the pod's network interface.
fn interface(socket: &Socket) -> io::Result<i32> {
    i32::try_from(name_to_index(socket, "eth0")?).map_err(io::Error::other)
}

/// Sets an integer option that no crate has a safe wrapper for; perl sees the socket as its input.
fn set_option(socket: &Socket, (level, name): (i32, i32), value: i32) -> io::Result<()> {
    let script = "setsockopt(STDIN, $ARGV[0], $ARGV[1], pack('i', $ARGV[2])) or die \"$!\\n\"";
    let numbers = [level, name, value].map(|number| number.to_string());
    let status = Command::new("perl")
        .args(["-e", script])
        .args(numbers)
        .stdin(Stdio::from(OwnedFd::from(socket.try_clone()?)))
        .status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("perl could not set the option")) }
}
