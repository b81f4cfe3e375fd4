//! What needs `CAP_NET_RAW`: packets of any shape, and all that an interface sees.

use std::{
    io::{self, Read},
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

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
/// A flood ends after this time, whatever happens to its test.
const LONGEST: Duration = Duration::from_mins(1);
/// Some thousand packets a second.
const PAUSE: Duration = Duration::from_micros(200);
/// `ETH_P_ALL` in network byte order.
const EVERY_FRAME: i32 = 0x0300;

/// Sends an IP packet by a raw socket.
pub(super) fn packet(destination: &str, bytes: &str) -> Result<Value> {
    let destination: IpAddr = destination.parse().with_context(|| destination.to_owned())?;
    let socket = raw_socket(destination)?;
    Ok(match socket.send_to(&decode(bytes)?, &SocketAddr::new(destination, 0).into()) {
        Ok(_) => json!({ "result": "sent" }),
        Err(error) => failed("send", &error),
    })
}

/// Sends an IP packet again and again, until its input ends; says how often.
pub(super) fn flood(destination: &str, bytes: &str) -> Result<()> {
    let destination: IpAddr = destination.parse().with_context(|| destination.to_owned())?;
    let (socket, bytes) = (raw_socket(destination)?, decode(bytes)?);
    let stop = AtomicBool::new(false);
    say("ready")?;
    let sent = thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let begin = Instant::now();
            let mut sent = 0_u64;
            while !stop.load(Ordering::Relaxed) && begin.elapsed() < LONGEST {
                // A full queue is no reason to end.
                sent += u64::from(socket.send_to(&bytes, &SocketAddr::new(destination, 0).into()).is_ok());
                thread::sleep(PAUSE);
            }
            sent
        });
        // Its end is the sign to stop; what it says is of no interest.
        drop(io::copy(&mut io::stdin().lock(), &mut io::sink()));
        stop.store(true, Ordering::Relaxed);
        sending.join().unwrap_or_default()
    });
    say(&sent.to_string())
}

fn raw_socket(destination: IpAddr) -> io::Result<Socket> {
    let domain = if destination.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(WHOLE_PACKET)))?;
    socket.set_broadcast(true)?;
    if destination.is_multicast() {
        // No route says where to.
        socket.bind_device(Some(b"eth0"))?;
    }
    Ok(socket)
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
