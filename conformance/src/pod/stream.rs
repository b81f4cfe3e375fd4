//! Streams that last: a tunnel after `Upgrade`, and an answer that comes drop by drop.
//!
//! Owns both ends of them. Start at [`tunnel`] and [`drip`].

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{say, tcp::PATIENCE};

/// Between two drops.
const DROP: Duration = Duration::from_millis(20);

/// The server's end of a tunnel: what comes goes back.
pub(super) fn echo(input: &mut impl Read, output: &mut impl Write) -> io::Result<()> {
    output.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")?;
    io::copy(input, output).map(drop)
}

/// The server's end of an answer of so many drops.
pub(super) fn drops(output: &mut impl Write, count: u32) -> io::Result<()> {
    output.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    for _ in 0..count {
        output.write_all(b"4\r\ndrop\r\n")?;
        output.flush()?;
        thread::sleep(DROP);
    }
    output.write_all(b"0\r\n\r\n")
}

/// A tunnel; each line of the input goes there and back.
pub(super) fn tunnel(address: &str, path: &str) -> Result<()> {
    let mut stream = begin(address, path, "Connection: upgrade\r\nUpgrade: echo\r\n", "101")?;
    say("ready")?;
    for line in io::stdin().lock().lines() {
        let line = line? + "\n";
        let mut back = String::new();
        let answer = match stream.get_mut().write_all(line.as_bytes()).and_then(|()| stream.read_line(&mut back)) {
            Ok(_) => json!({ "back": back == line }),
            Err(error) => json!({ "error": error.to_string() }),
        };
        say(&answer.to_string())?;
    }
    Ok(())
}

/// One request; says how many bytes its answer had, chunks' framing included, and whether it was whole.
pub(super) fn drip(address: &str, path: &str) -> Result<()> {
    let mut stream = begin(address, path, "Connection: close\r\n", "200")?;
    say("ready")?;
    let mut body = Vec::new();
    let error = stream.read_to_end(&mut body).err().map(|error| error.to_string());
    let drops = body.windows(4).filter(|four| four == b"drop").count();
    say(&json!({ "drops": drops, "whole": body.ends_with(b"0\r\n\r\n"), "error": error }).to_string())
}

fn begin(address: &str, path: &str, headers: &str, status: &str) -> Result<BufReader<TcpStream>> {
    let address: SocketAddr = address.parse().with_context(|| address.to_owned())?;
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n").as_bytes())?;
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first)?;
    if first.split(' ').nth(1) != Some(status) {
        bail!("{first:?} and not {status}");
    }
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            bail!("the answer's head ended early");
        }
    }
    Ok(stream)
}
