//! One connection that stays open: each line of input is a word that the other side is to send back.

use std::{
    io::{self, BufRead, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
};

use anyhow::{Context, Result};
use serde_json::json;

use super::{failed, say, tcp, udp};

const WORD: &[u8] = b"word";

/// A word there and back, on a connection that is open.
trait Line {
    fn local(&self) -> io::Result<SocketAddr>;
    fn put(&mut self) -> io::Result<()>;
    fn get(&mut self) -> io::Result<()>;
}

impl Line for TcpStream {
    fn local(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }

    fn put(&mut self) -> io::Result<()> {
        self.write_all(WORD)
    }

    fn get(&mut self) -> io::Result<()> {
        self.read_exact(&mut [0; WORD.len()])
    }
}

impl Line for UdpSocket {
    fn local(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }

    fn put(&mut self) -> io::Result<()> {
        self.send(WORD).map(drop)
    }

    fn get(&mut self) -> io::Result<()> {
        self.recv(&mut [0; WORD.len()]).map(drop)
    }
}

/// Over TCP.
pub(super) fn tcp(address: &str) -> Result<()> {
    let address: SocketAddr = address.parse().with_context(|| address.to_owned())?;
    let stream = TcpStream::connect_timeout(&address, tcp::PATIENCE).context("connect")?;
    stream.set_read_timeout(Some(tcp::PATIENCE))?;
    talk(stream)
}

/// Over a connected socket of UDP.
pub(super) fn udp(address: &str) -> Result<()> {
    let socket = udp::connected(address.parse().with_context(|| address.to_owned())?).context("connect")?;
    talk(socket)
}

fn talk(mut line: impl Line) -> Result<()> {
    say("ready")?;
    for order in io::stdin().lock().lines() {
        order?;
        let report = match (line.local(), line.put()) {
            (Err(error), _) => failed("getsockname", &error),
            (_, Err(error)) => failed("write", &error),
            (Ok(local), Ok(())) => match line.get() {
                Ok(()) => json!({ "result": "answered", "local": local }),
                Err(error) => failed("read", &error),
            },
        };
        say(&report.to_string())?;
    }
    Ok(())
}
