//! One connection that stays open: each line of input is a text that the other side is to send back.

use std::{
    io::{self, BufRead, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
};

use anyhow::{Context, Result};
use serde_json::json;

use super::{failed, say, tcp, udp};

/// A text there and back, on a connection that is open.
trait Line {
    fn local(&self) -> io::Result<SocketAddr>;
    fn put(&mut self, text: &[u8]) -> io::Result<()>;
    /// As much as was sent.
    fn get(&mut self, text: &mut [u8]) -> io::Result<()>;
}

impl Line for TcpStream {
    fn local(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }

    fn put(&mut self, text: &[u8]) -> io::Result<()> {
        self.write_all(text)
    }

    fn get(&mut self, text: &mut [u8]) -> io::Result<()> {
        self.read_exact(text)
    }
}

impl Line for UdpSocket {
    fn local(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }

    fn put(&mut self, text: &[u8]) -> io::Result<()> {
        self.send(text).map(drop)
    }

    fn get(&mut self, text: &mut [u8]) -> io::Result<()> {
        self.recv(text).map(drop)
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
        let mut text = order?.into_bytes();
        let report = match (line.local(), line.put(&text)) {
            (Err(error), _) => failed("getsockname", &error),
            (_, Err(error)) => failed("write", &error),
            (Ok(local), Ok(())) => match line.get(&mut text) {
                Ok(()) => json!({ "result": "answered", "local": local, "text": String::from_utf8_lossy(&text) }),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    json!({ "result": "silent", "local": local })
                }
                Err(error) => failed("read", &error),
            },
        };
        say(&report.to_string())?;
    }
    Ok(())
}
