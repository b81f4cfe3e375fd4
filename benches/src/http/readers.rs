//! Clients that stay: idle after an answer, or in the middle of one that they do not read.
//!
//! Start at [`readers`].

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Of an answer, so many bytes are read at most.
const HEAD: usize = 1024;

/// Makes `count` connections with a request on each, says `ready`, and holds them until its input ends. With `path` of a
/// large answer each is in the middle of it then.
pub(crate) fn readers(target: SocketAddr, path: &str, count: u32) -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("file descriptors")?;
    let mut held = Vec::new();
    for number in 0..count {
        let mut stream = TcpStream::connect(target).with_context(|| format!("connection {number} to {target}"))?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: api\r\n\r\n").as_bytes())?;
        let mut bytes = [0; HEAD];
        let length = stream.read(&mut bytes)?;
        let answer = bytes.get(..length).unwrap_or_default();
        ensure!(answer.starts_with(b"HTTP/1.1 200"), "answered with {:?}", String::from_utf8_lossy(answer));
        held.push(stream);
    }
    writeln!(io::stdout(), "ready")?;
    io::stdin().read_to_end(&mut Vec::new())?;
    drop(held);
    Ok(())
}
