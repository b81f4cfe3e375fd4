//! What calls cost, for benches: CPU time of the thread that makes them. Each line of input runs one batch and is answered
//! with its nanoseconds, so that whoever asks can run batches of several programs in turn.
//!
//! A packet that is sent to another namespace of this machine is received in the same thread, so the cost of every program on
//! its way is in the figure.

use std::{
    io::{self, BufRead, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::time::{ClockId, clock_gettime};
use socket2::{Domain, Protocol, Socket, Type};

use super::say;

/// Asks the echo server for its own CPU time.
const ASK: u8 = b'?';

/// Runs one command.
pub(super) fn run(words: &[&str]) -> Result<()> {
    match words {
        ["connect", address, count] => connect(address, count.parse().context("number of calls")?),
        ["udp", first, span, count] => {
            udp(first, span.parse().context("addresses")?, count.parse().context("number of calls")?)
        }
        ["echo", address, size, count] => {
            echo(address, size.parse().context("bytes")?, count.parse().context("round trips")?)
        }
        ["echo-server", address, size] => echo_server(address, size.parse().context("bytes")?),
        _ => bail!("effort {}: is nothing that can be measured", words.join(" ")),
    }
}

/// Runs one batch for each line.
fn batches(mut batch: impl FnMut() -> Result<u64>) -> Result<()> {
    say("ready")?;
    for line in io::stdin().lock().lines() {
        line?;
        say(&batch()?.to_string())?;
    }
    Ok(())
}

/// Nanoseconds of this thread.
fn cpu() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, rest) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or_default().saturating_mul(1_000_000_000).saturating_add(rest.unwrap_or_default())
}

/// `connect()` of as many TCP sockets, which are made before and reset after. Those that are refused count too.
fn connect(address: &str, count: usize) -> Result<()> {
    let address: SocketAddr = address.parse().with_context(|| address.to_owned())?;
    batches(|| {
        let socket = || -> io::Result<Socket> {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_linger(Some(Duration::ZERO))?;
            Ok(socket)
        };
        let sockets: Vec<Socket> = (0..count).map(|_| socket()).collect::<io::Result<_>>()?;
        let target = address.into();
        let before = cpu();
        for socket in &sockets {
            match socket.connect(&target) {
                Err(error) if error.kind() != io::ErrorKind::ConnectionRefused => return Err(error.into()),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(cpu().saturating_sub(before))
    })
}

/// `connect()` of one UDP socket, to each of `span` addresses from `first` on, in an order that jumps about.
fn udp(first: &str, span: u32, count: u32) -> Result<()> {
    let first: SocketAddr = first.parse().with_context(|| first.to_owned())?;
    let IpAddr::V4(base) = first.ip() else { bail!("{first}: give an IPv4 address") };
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let targets: Vec<SocketAddr> = (0..count)
        .map(|index| (Ipv4Addr::from(u32::from(base) + index.wrapping_mul(7919) % span), first.port()).into())
        .collect();
    batches(|| {
        let before = cpu();
        for target in &targets {
            socket.connect(target)?;
        }
        Ok(cpu().saturating_sub(before))
    })
}

/// Echoes what one client says.
fn echo_server(address: &str, size: usize) -> Result<()> {
    let listener = TcpListener::bind(address).with_context(|| address.to_owned())?;
    say("ready")?;
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut message = vec![0; size];
    loop {
        stream.read_exact(&mut message)?;
        if message.first() == Some(&ASK) {
            let time = cpu().to_be_bytes();
            message.iter_mut().zip(time).for_each(|(byte, of_time)| *byte = of_time);
        }
        stream.write_all(&message)?;
    }
}

/// Round trips on one connection: what they cost both ends.
fn echo(address: &str, size: usize, count: usize) -> Result<()> {
    let mut stream = TcpStream::connect(address).with_context(|| address.to_owned())?;
    stream.set_nodelay(true)?;
    let mut message = vec![0; size];
    let mut say_and_hear = |first: u8| -> Result<u64> {
        message.fill(0);
        message.splice(..1, [first]);
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        let time = message.first_chunk().copied().context("a message has at least 8 bytes")?;
        Ok(u64::from_be_bytes(time))
    };
    batches(|| {
        let (theirs, ours) = (say_and_hear(ASK)?, cpu());
        for _ in 0..count {
            say_and_hear(0)?;
        }
        let ours = cpu().saturating_sub(ours);
        Ok(ours.saturating_add(say_and_hear(ASK)?.saturating_sub(theirs)))
    })
}
