//! One request of the corpus on a connection of its own: what the client received, and how it ended.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use crate::{
    corpus::{Request, Way},
    message,
};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Closed,
    Reset,
}

#[derive(Debug)]
pub(crate) struct Received {
    /// What was sent for it.
    pub(crate) sent: Vec<u8>,
    pub(crate) bytes: Vec<u8>,
    /// The server closed although the client might have gone on.
    pub(crate) by_server: bool,
    pub(crate) end: End,
}

pub(crate) fn run(address: SocketAddr, request: &Request) -> Received {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut received = Received { sent: request.head.clone(), bytes: Vec::new(), by_server: true, end: End::Closed };
    stream.write_all(&request.head).unwrap();
    let mut is_open = true;
    if request.way == Way::Waits {
        while is_open && !received.bytes.ends_with(b"\r\n\r\n") {
            is_open = read(&mut stream, &mut received, request);
        }
    }
    if !is_answered(&received.bytes, request, false) {
        // A server that refused may not take it any more: then that is what is compared.
        stream.write_all(&request.body).ok();
        received.sent.extend_from_slice(&request.body);
    }
    if request.way == Way::Finishes {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    while is_open && !is_answered(&received.bytes, request, false) {
        is_open = read(&mut stream, &mut received, request);
    }
    if is_open {
        is_open = is_left_open(&mut stream, &mut received, request);
    }
    if is_open {
        received.by_server = false;
        stream.shutdown(Shutdown::Write).ok();
        while read(&mut stream, &mut received, request) {}
    }
    received
}

/// Whether the server says that it leaves the connection open; if not, its end is read.
fn is_left_open(stream: &mut TcpStream, received: &mut Received, request: &Request) -> bool {
    let answers = message::read(&received.bytes, true, &request.heads(), false);
    let stays = answers.last().is_some_and(|answer| {
        let options = answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("connection"));
        let options: Vec<String> = options.map(|(_, value)| value.to_ascii_lowercase()).collect();
        let says = |word: &str| options.iter().any(|option| option.contains(word));
        !says("close") && (!answer.start.starts_with("HTTP/1.0") || says("keep-alive"))
    });
    if !stays {
        while read(stream, received, request) {}
    }
    stays
}

fn is_answered(bytes: &[u8], request: &Request, is_over: bool) -> bool {
    let answers = message::read(bytes, true, &request.heads(), is_over);
    answers.iter().filter(|answer| answer.is_whole && !answer.is_interim()).count() >= request.heads().len()
}

/// Whether there may be more.
fn read(stream: &mut TcpStream, received: &mut Received, request: &Request) -> bool {
    let mut buffer = vec![0; 64 << 10];
    match stream.read(&mut buffer) {
        Ok(0) => false,
        Ok(length) => {
            received.bytes.extend_from_slice(&buffer[..length]);
            true
        }
        Err(error) if error.kind() == ErrorKind::Interrupted => true,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {
            received.end = End::Reset;
            false
        }
        Err(error) => panic!("{}: {error} after {}", request.name, received.bytes.escape_ascii()),
    }
}
