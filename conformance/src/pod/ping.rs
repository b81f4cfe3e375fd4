//! Echo requests, as `ping` sends them: by a ping socket, or by a raw one.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Instant,
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};

use super::{failed, tcp::PATIENCE};
use crate::packet::icmp;

/// Of a raw socket's requests; a ping socket has its own.
const ID: u32 = 0x4c37_0001;

/// Sends a request of type `kind` and waits for what comes back; `silent` when nothing does. `how`: `raw`, `ping`, or
/// `connected`, which is a ping socket too.
pub(super) fn send(address: &str, how: &str, kind: &str, text: &str) -> Result<Value> {
    let address: IpAddr = address.parse().with_context(|| address.to_owned())?;
    let kind: u8 = kind.parse().with_context(|| kind.to_owned())?;
    let is_raw = how == "raw";
    let (domain, protocol) =
        if address.is_ipv4() { (Domain::IPV4, Protocol::ICMPV4) } else { (Domain::IPV6, Protocol::ICMPV6) };
    let socket = match Socket::new(domain, if is_raw { Type::RAW } else { Type::DGRAM }, Some(protocol)) {
        // The standard library asks no socket what it is.
        Ok(socket) => UdpSocket::from(socket),
        Err(error) => return Ok(failed("socket", &error)),
    };
    socket.set_read_timeout(Some(PATIENCE / 5))?;
    let to = SocketAddr::new(address, 0);
    if how == "connected"
        && let Err(error) = socket.connect(to)
    {
        return Ok(failed("connect", &error));
    }
    // The kernel writes the checksum of IPv6 itself, and that of a ping socket.
    let message = icmp(kind, 0, ID, text.as_bytes());
    let sent = if how == "connected" { socket.send(&message) } else { socket.send_to(&message, to) };
    if let Err(error) = sent {
        return Ok(failed("send", &error));
    }
    let reply = if address.is_ipv4() && kind == 8 { 0 } else { kind + 1 };
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE / 5 {
        let mut buffer = [0; 2048];
        let (length, from) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => break,
            Err(error) => return Ok(failed("receive", &error)),
        };
        let header = if is_raw && address.is_ipv4() { 20 } else { 0 };
        let bytes = buffer.get(header..length).unwrap_or_default();
        // A raw socket hears everything that its kernel does.
        if bytes.first() == Some(&reply) && from.ip() == address {
            let text = String::from_utf8_lossy(bytes.get(8..).unwrap_or_default()).into_owned();
            return Ok(json!({ "result": "answered", "text": text, "from": to }));
        }
    }
    Ok(json!({ "result": "silent" }))
}
