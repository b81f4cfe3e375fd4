//! What 10 KiB of a client's bytes may cost: at most 1 MiB is held at any moment, whatever they are.
//!
//! An allocator counts what this process holds, the test's own part included. It cannot be flaky the wrong way: what is not
//! there yet when it is looked at is not counted.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test, what is not as expected has failed"
)]

#[expect(dead_code, reason = "shared with the tests of whole connections, which ask for more")]
#[path = "../direct/http2/frames.rs"]
mod frames;
mod held;
mod http2;
#[expect(dead_code, reason = "shared with the tests of whole connections, which ask for more")]
#[path = "../direct/stage.rs"]
mod stage;
#[expect(dead_code, reason = "shared with the tests of whole connections, which ask for more")]
#[path = "../direct/wire.rs"]
mod wire;

use std::alloc::System;

use cap::Cap;

use crate::{stage::Stage, wire::Wire};

#[global_allocator]
static HELD: Cap<System> = Cap::new(System, usize::MAX);

/// What is sent.
const SENT: usize = 10 << 10;
/// What may be held for it.
const MOST: usize = 1 << 20;

/// A name, what stands in front, what is repeated up to [`SENT`], and what stands behind.
type Row = (&'static str, &'static str, &'static str, &'static str);

/// A name, and what is sent.
type Stream = (String, Vec<u8>);

const STREAMS: &[Row] = &[
    ("a value without end", "GET /any HTTP/1.1|Host: h|X: ", "x", ""),
    ("lines without end", "GET /any HTTP/1.1|Host: h|", "a:b|", ""),
    (
        "long lines",
        "GET /any HTTP/1.1|Host: h|",
        "X-123456789: 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890|",
        "|",
    ),
    ("a long value", "GET /any HTTP/1.1|Host: h|Cookie: ", "a=b; ", "||"),
    ("options", "GET /any HTTP/1.1|Host: h|Connection: ", "x,", "||"),
    ("codings", "GET /any HTTP/1.1|Host: h|Transfer-Encoding: ", "x,", "||"),
    ("upgrades", "GET /any HTTP/1.1|Host: h|Upgrade: ", "x,", "||"),
    ("a target without end", "GET /any/", "a/", ""),
    ("requests", "", "GET /any HTTP/1.1|Host: h||", ""),
    ("denied requests", "", "GET /write HTTP/1.1|Host: h||", ""),
    ("short requests", "", "A / HTTP/1.1|Host: h||", ""),
    ("a body", "POST /any HTTP/1.1|Host: h|Content-Length: 999999999||", "x", ""),
    ("a denied body", "POST /write HTTP/1.1|Host: h|Content-Length: 999999999||", "x", ""),
    ("chunks", "POST /any HTTP/1.1|Host: h|Transfer-Encoding: chunked||", "1|x|", ""),
    ("denied chunks", "POST /write HTTP/1.1|Host: h|Transfer-Encoding: chunked||", "1|x|", ""),
    ("extensions", "POST /any HTTP/1.1|Host: h|Transfer-Encoding: chunked||", "1;a=\"b\"|x|", ""),
    ("trailers", "POST /any HTTP/1.1|Host: h|Transfer-Encoding: chunked||0|", "a:b|", ""),
    ("behind an upgrade", "GET /any HTTP/1.1|Host: h|Upgrade: x||", "x", ""),
    ("behind the last request", "GET /any HTTP/1.0||", "x", ""),
    ("unasked", "POST /any HTTP/1.1|Host: h|Expect: 100-continue|Content-Length: 99999||", "x", ""),
    ("noise", "GET ", "\u{ff}", ""),
    ("empty lines", "", "|", ""),
];

/// Targets end with their line: they are as long as they may be.
const TARGETS: &[(&str, &str)] = &[
    ("segments", "a/"),
    ("escapes", "%61"),
    ("kept escapes", "%20"),
    ("dots", "a/../"),
    ("slashes", "/"),
    ("letters", "%c3%a9"),
    ("a query", "?"),
];

/// What is counted is the whole process's: one after the other.
#[test]
fn little_is_held() {
    held::little_is_held();
    ten_kib_hold_no_more_than_one_mib();
}

fn ten_kib_hold_no_more_than_one_mib() {
    let mut streams: Vec<Stream> = Vec::new();
    for (name, before, again, after) in STREAMS {
        let room = SENT.saturating_sub(bytes(before).len() + bytes(after).len());
        let times = room / bytes(again).len();
        streams.push(((*name).to_owned(), bytes(&format!("{before}{}{after}", again.repeat(times)))));
    }
    for (name, again) in TARGETS {
        let request = |method: &str| format!("{method} /any/{} HTTP/1.1|Host: h||", again.repeat(8000 / again.len()));
        streams.push(((*name).to_owned(), bytes(&request("GET"))));
    }
    streams.extend(http2::all());
    let mut greatest = 0;
    for (name, sent) in &streams {
        assert!(sent.len() <= SENT, "{name}: {} bytes", sent.len());
        let held = held_for(sent);
        assert!(held <= MOST, "{name}: {held} bytes are held for {}", sent.len());
        greatest = greatest.max(held);
    }
    assert!(greatest > SENT, "{greatest} bytes at most: nothing is counted");
}

/// The most that is held at any moment since the bytes were sent.
fn held_for(sent: &[u8]) -> usize {
    let stage = Stage::new();
    let mut other = stage.client();
    turn(&mut other);
    let mut client = stage.client();
    turn(&mut other);
    // The highest level so far must not hide a lower one: up to it, everything is taken.
    let ballast: Vec<u8> = Vec::with_capacity(HELD.max_allocated() - HELD.allocated());
    let before = HELD.max_allocated();
    // What is refused may not be taken whole.
    client.try_send(sent).ok();
    for _ in 0..3 {
        turn(&mut other);
    }
    let held = HELD.max_allocated() - before;
    drop(ballast);
    held
}

/// The data plane is one thread: when another client has an answer, what came before its request was looked at.
fn turn(other: &mut Wire) {
    other.send("GET /write HTTP/1.1\r\nHost: h\r\n\r\n");
    other.until("Access denied\r\n");
}

/// `|` is CR LF; each character is one byte.
fn bytes(text: &str) -> Vec<u8> {
    text.replace('|', "\r\n").chars().map(|letter| u8::try_from(letter).unwrap()).collect()
}
