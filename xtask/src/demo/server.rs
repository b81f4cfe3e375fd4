//! The internal API of the demo: says 200 to whatever reaches it.
//!
//! Owns nothing else; the demo is about what does not reach it. Start at [`serve`].

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    thread,
};

use anyhow::{Context, Result};
use serde_json::json;

use crate::say;

/// Serves until killed; says `ready` once every port is open.
pub(crate) fn serve(ports: &[u16]) -> Result<()> {
    let listen = |port: &u16| TcpListener::bind(("0.0.0.0", *port)).with_context(|| format!("port {port}"));
    let listeners = ports.iter().map(listen).collect::<Result<Vec<_>>>()?;
    say("ready")?;
    thread::scope(|scope| {
        for listener in &listeners {
            scope.spawn(move || {
                for stream in listener.incoming().flatten() {
                    // A client that goes away in the middle is its own business.
                    scope.spawn(move || drop(answer(&stream)));
                }
            });
        }
    });
    Ok(())
}

fn answer(stream: &TcpStream) -> io::Result<()> {
    let client = stream.peer_addr()?;
    let mut head = BufReader::new(stream).lines();
    let line = head.next().transpose()?.unwrap_or_default();
    while head.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let body = json!({ "request": line, "client": client.to_string() });
    let body = format!("{body}\n");
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}
