//! Datagrams.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{failed, say, tcp::PATIENCE};

/// Sends every datagram back to where it came from.
pub(super) fn serve(address: &str) -> Result<()> {
    let socket = UdpSocket::bind(address).with_context(|| address.to_owned())?;
    say("ready")?;
    let mut buffer = [0; 2048];
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        // The answer may be refused by policy; the next datagram may not.
        drop(socket.send_to(buffer.get(..length).unwrap_or_default(), from));
    }
}

/// The same for whoever is first, on a socket that is connected to that one from then on.
pub(super) fn serve_one(address: &str) -> Result<()> {
    let socket = UdpSocket::bind(address).with_context(|| address.to_owned())?;
    say("ready")?;
    let mut buffer = [0; 2048];
    let (mut length, from) = socket.recv_from(&mut buffer)?;
    socket.connect(from).context("connect to the client")?;
    loop {
        // As above.
        drop(socket.send(buffer.get(..length).unwrap_or_default()));
        length = socket.recv(&mut buffer)?;
    }
}

fn socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(PATIENCE / 5))?;
    Ok(socket)
}

/// So many sockets, one after the other.
pub(super) fn sockets(number: u32) -> Result<()> {
    for _ in 0..number {
        drop(UdpSocket::bind("0.0.0.0:0")?);
    }
    Ok(())
}

pub(super) fn connected(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket(address)?;
    socket.connect(address)?;
    Ok(socket)
}

/// Sends a datagram and waits for the answer; `silent` when none comes.
pub(super) fn send(address: &str, text: &str, connected: bool) -> Result<Value> {
    let address: SocketAddr = address.parse().with_context(|| address.to_owned())?;
    let socket = socket(address)?;
    let sent = if connected {
        if let Err(error) = socket.connect(address) {
            return Ok(failed("connect", &error));
        }
        socket.send(text.as_bytes())
    } else {
        socket.send_to(text.as_bytes(), address)
    };
    if let Err(error) = sent {
        return Ok(failed("send", &error));
    }
    let mut buffer = [0; 2048];
    match socket.recv_from(&mut buffer) {
        Ok((length, from)) => {
            let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
            Ok(json!({ "result": "answered", "text": text, "from": from }))
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Ok(json!({ "result": "silent" }))
        }
        Err(error) => Ok(failed("receive", &error)),
    }
}
