//! A small HTTP/1.1 server and client that hide nothing.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Record, say, stream, tcp::PATIENCE};

/// Records every request head with the client's address, and answers with the same as JSON.
pub(super) fn serve(listener: &TcpListener, record: &Record) -> Result<()> {
    say("ready")?;
    thread::scope(|scope| {
        loop {
            let (stream, accepted) = listener.accept()?;
            // A client that goes away in the middle is part of some tests.
            scope.spawn(move || drop(converse(&stream, accepted, record)));
        }
    })
}

fn converse(stream: &TcpStream, accepted: SocketAddr, record: &Record) -> io::Result<()> {
    let mut input = BufReader::new(stream);
    let mut output = stream;
    while let Some(Head { line, headers }) = head(&mut input)? {
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let length = body_length(&headers);
        let body = io::copy(&mut input.by_ref().take(length), &mut io::sink())?;
        let seen = json!({
            "method": method,
            "target": target,
            "headers": headers,
            "body": body,
            "accepted": accepted,
            "peer": stream.peer_addr()?,
            "local": stream.local_addr()?,
        });
        record.write(&seen)?;
        if let Some(count) = target.strip_prefix("/read/drip/") {
            stream::drops(&mut output, count.parse().unwrap_or_default())?;
            break;
        }
        if headers.iter().any(|(name, value)| name.eq_ignore_ascii_case("upgrade") && value == "echo") {
            return stream::echo(&mut input, &mut output);
        }
        let body = if method == "HEAD" { String::new() } else { seen.to_string() };
        let head = "HTTP/1.1 200 OK\r\nX-Served-By: Conformance\r\ncontent-type: application/json\r\n";
        write!(output, "{head}Content-Length: {}\r\n\r\n{body}", seen.to_string().len())?;
        if headers.iter().any(|(name, value)| name.eq_ignore_ascii_case("connection") && value == "close") {
            break;
        }
    }
    Ok(())
}

/// First line, and header lines as they came.
struct Head {
    line: String,
    headers: Vec<(String, String)>,
}

/// The next head, or nothing at the end of the stream.
fn head(input: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        if input.read_line(&mut header)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let header = header.trim_end();
        if header.is_empty() {
            return Ok(Some(Head { line: line.trim_end().to_owned(), headers }));
        }
        let (name, value) = header.split_once(':').unwrap_or((header, ""));
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

fn body_length(headers: &[(String, String)]) -> u64 {
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

/// A request without a body.
pub(super) fn request(path: &str, host: SocketAddr) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// A client with one connection.
pub(super) struct Client {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
    /// The other side did not say that it closes the connection.
    kept: bool,
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::on(TcpStream::connect_timeout(&address, PATIENCE)?, address)
    }

    /// On a connection that was made elsewhere.
    pub(super) fn on(stream: TcpStream, address: SocketAddr) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), address, kept: true })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    pub(super) fn ask(&mut self, path: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(request(path, self.address).as_bytes())
    }

    /// One request and the status of its whole answer.
    pub(super) fn get(&mut self, path: &str) -> io::Result<u16> {
        self.ask(path)?;
        self.status()
    }

    /// Whether there may be one more request.
    pub(super) fn is_kept(&self) -> bool {
        self.kept
    }

    fn status(&mut self) -> io::Result<u16> {
        self.answer().map(|(status, _)| status)
    }

    /// Status and body of the next answer, of which all has come.
    pub(super) fn answer(&mut self) -> io::Result<(u16, String)> {
        let Head { line, headers } = head(&mut self.stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let closes = |(name, value): &(String, String)| name.eq_ignore_ascii_case("connection") && value == "close";
        self.kept &= !headers.iter().any(closes);
        let length = body_length(&headers);
        let mut body = String::new();
        self.stream.by_ref().take(length).read_to_string(&mut body)?;
        if u64::try_from(body.len()).is_ok_and(|got| got < length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.map(|status| (status, body)).ok_or_else(|| io::Error::other(line))
    }
}

/// Keeps one connection open; each line of its input is one more request on it.
pub(super) fn hold(address: &str, path: &str) -> Result<()> {
    let address: SocketAddr = address.parse().with_context(|| address.to_owned())?;
    let mut client = Client::connect(address).context("connect")?;
    say("ready")?;
    for line in io::stdin().lock().lines() {
        line?;
        let answer: Value = match client.get(path) {
            Ok(status) => json!({ "status": status }),
            Err(error) => json!({ "error": error.to_string() }),
        };
        say(&answer.to_string())?;
    }
    Ok(())
}
