//! What needs `CAP_NET_RAW`: packets of any shape, and all that an interface sees.

use std::{io::Read, net::SocketAddr, os::fd::AsRawFd};

use anyhow::{Context, Result, bail};
use nix::{
    ifaddrs::getifaddrs,
    sys::socket::{MsgFlags, sendto},
};
use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Record, failed, say};
use crate::packet::hex;

/// `IPPROTO_RAW`: the sender writes the IP header too.
const WHOLE_PACKET: i32 = 255;
/// `ETH_P_ALL` in network byte order.
const EVERY_FRAME: i32 = 0x0300;

/// Sends an IP packet by a raw socket.
pub(super) fn packet(destination: &str, bytes: &str) -> Result<Value> {
    let destination: std::net::IpAddr = destination.parse().with_context(|| destination.to_owned())?;
    let domain = if destination.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(WHOLE_PACKET)))?;
    socket.set_broadcast(true)?;
    if destination.is_multicast() {
        // No route says where to.
        socket.bind_device(Some(b"eth0"))?;
    }
    Ok(match socket.send_to(&decode(bytes)?, &SocketAddr::new(destination, 0).into()) {
        Ok(_) => json!({ "result": "sent" }),
        Err(error) => failed("send", &error),
    })
}

/// Sends a frame by a packet socket.
pub(super) fn frame(interface: &str, bytes: &str) -> Result<Value> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(EVERY_FRAME)))?;
    let mut addresses = getifaddrs()?.filter(|found| found.interface_name == interface);
    let place = addresses.find_map(|found| found.address?.as_link_addr().copied());
    let Some(place) = place else { bail!("{interface}: no such interface") };
    Ok(match sendto(socket.as_raw_fd(), &decode(bytes)?, &place, MsgFlags::empty()) {
        Ok(_) => json!({ "result": "sent" }),
        Err(error) => failed("send", &error.into()),
    })
}

/// Records every frame of every interface.
pub(super) fn sniff(record: &Record) -> Result<()> {
    let mut socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(EVERY_FRAME)))?;
    say("ready")?;
    let mut buffer = vec![0; 70_000];
    loop {
        let length = socket.read(&mut buffer)?;
        record.write(&json!(hex(buffer.get(..length).unwrap_or_default())))?;
    }
}

fn decode(text: &str) -> Result<Vec<u8>> {
    let digits: Vec<char> = text.chars().collect();
    let byte =
        |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).with_context(|| text.to_owned());
    digits.chunks(2).map(byte).collect()
}
