//! Clients that cost more than requests do: each is shed, with a record and a counter, and nobody else notices.

use std::time::Duration;

use l7proxy::http::Limits;

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, ENHANCE_YOUR_CALM, HEADERS, PING, PRIORITY, REFUSED_STREAM, RST_STREAM, SETTINGS,
    WHOLE, WINDOW_UPDATE, connect, field, frame, get, gone_away, next, pseudo, was_reset,
};
use crate::{
    stage::{Stage, told},
    wire::Wire,
};

fn tight() -> Stage {
    Stage::with(Limits { resets: 10, control_frames: 50, ..Limits::default() })
}

/// Sends all of it, wanted or not.
fn flood(wire: &mut Wire, bytes: &[u8]) {
    if let Err(error) = wire.try_send(bytes) {
        assert!(error.kind() != std::io::ErrorKind::WouldBlock, "{error}");
    }
}

/// Others are served as before.
fn others_are_served(stage: &Stage) {
    let mut other = connect(stage);
    other.send(get(1, "/write"));
    loop {
        let answer = next(&mut other);
        if answer.kind == DATA {
            assert_eq!(answer.payload, b"Access denied\r\n");
            return;
        }
    }
}

#[track_caller]
fn is_shed(stage: Stage, mut wire: Wire, reason: &str) {
    assert_eq!(gone_away(&mut wire), ENHANCE_YOUR_CALM, "{reason}");
    assert!(stage.reached("http2_floods", 1) > 0, "{reason}");
    others_are_served(&stage);
    let records = told(&stage.records(4));
    assert!(records.iter().any(|record| record.starts_with("DROPPED") && record.ends_with(reason)), "{records:?}");
}

#[test]
fn rapid_reset() {
    let stage = tight();
    let mut wire = connect(&stage);
    let one = |stream| [get(stream, "/write"), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat();
    let all: Vec<u8> = (0..2000).flat_map(|at| one(2 * at + 1)).collect();
    flood(&mut wire, &all);
    is_shed(stage, wire, "too-many-resets");
}

#[test]
fn resets_below_the_limit() {
    let stage = Stage::new();
    let mut wire = connect(&stage);
    let one = |stream| [get(stream, "/any"), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat();
    let all: Vec<u8> = (0..400).flat_map(|at| one(2 * at + 1)).collect();
    wire.send(&all);
    wire.send(get(1001, "/write"));
    while next(&mut wire).stream != 1001 {}
    assert_eq!(stage.counter("http2_floods"), 0);
    assert_eq!(told(&stage.records(802)).len(), 802, "two each");
}

#[test]
fn frames_that_carry_nothing() {
    for (name, one) in [
        ("PING", frame(PING, 0, 0, &[7; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[])),
        ("PRIORITY", frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 16])),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("unknown", frame(0xfa, 0, 0, &[1])),
    ] {
        let stage = tight();
        let mut wire = connect(&stage);
        flood(&mut wire, &one.repeat(1000));
        assert_eq!(gone_away(&mut wire), ENHANCE_YOUR_CALM, "{name}");
        assert_eq!(stage.reached("http2_floods", 1), 1, "{name}");
        others_are_served(&stage);
        assert_eq!(
            told(&stage.records(4))[..2],
            ["DROPPED  / too-many-control-frames", "ERROR  / 429 too-many-control-frames"],
            "{name}"
        );
    }
}

#[test]
fn empty_data() {
    let stage = tight();
    let mut wire = connect(&stage);
    wire.send(frame(HEADERS, END_HEADERS, 1, &pseudo("POST", "/any")));
    flood(&mut wire, &frame(DATA, 0, 1, &[]).repeat(1000));
    is_shed(stage, wire, "too-many-control-frames");
}

#[test]
fn tiny_data_waits_with_nobody() {
    let stage = Stage::new();
    let mut wire = connect(&stage);
    wire.send(frame(HEADERS, END_HEADERS, 1, &pseudo("POST", "/any")));
    // The server does not read: what was sent is in its socket.
    wire.send(frame(DATA, 0, 1, &[7]).repeat(20_000));
    wire.send(get(3, "/write"));
    while next(&mut wire).stream != 3 {}
    let mut server = stage.accept();
    server.skip(20_000 * 10);
    assert_eq!(stage.counter("http2_floods"), 0);
}

#[test]
fn too_much_in_front_of_a_tunnel() {
    let stage = Stage::new();
    let mut wire = connect(&stage);
    let tunnel = [field(":method", "CONNECT"), field(":authority", "inside:22")].concat();
    wire.send(frame(HEADERS, END_HEADERS, 1, &tunnel));
    // More than its window, and the server did not agree.
    wire.send(frame(DATA, 0, 1, &[7; 16 << 10]).repeat(5));
    assert_eq!(was_reset(&mut wire, 1), ENHANCE_YOUR_CALM);
    others_are_served(&stage);
    assert_eq!(told(&stage.records(4))[1], "ERROR CONNECT / 429 http2-flood");
}

#[test]
fn a_head_in_too_many_frames() {
    let stage = Stage::new();
    let mut wire = connect(&stage);
    wire.send(frame(HEADERS, 0, 1, &pseudo("GET", "/any")));
    flood(&mut wire, &frame(CONTINUATION, 0, 1, &field("x", "y")).repeat(1000));
    is_shed(stage, wire, "http2-flood");
}

#[test]
fn a_head_that_unpacks_to_too_much() {
    let stage = Stage::new();
    let mut wire = connect(&stage);
    // Into the table once (its first entry is number 62), and then one byte for each 3,900.
    let big = [&[0x40, 1, b'x', 127, 0xbd, 0x1d][..], &[b'a'; 3900]].concat();
    let block = [pseudo("GET", "/any"), big, vec![0xbe; 2000]].concat();
    wire.send(frame(HEADERS, WHOLE, 1, &block));
    is_shed(stage, wire, "http2-flood");
}

#[test]
fn a_head_that_is_somewhat_too_large() {
    let stage = Stage::new();
    let mut wire = connect(&stage);
    let mut block = pseudo("GET", "/any");
    for _ in 0..7 {
        block.extend(field("x", &"a".repeat(10_000)));
    }
    let mut pieces = block.chunks(16_000).peekable();
    wire.send(frame(HEADERS, 1, 1, pieces.next().unwrap()));
    while let Some(piece) = pieces.next() {
        wire.send(frame(CONTINUATION, if pieces.peek().is_none() { END_HEADERS } else { 0 }, 1, piece));
    }
    while next(&mut wire).stream != 1 {}
    assert_eq!(stage.reached("requests_too_large", 1), 1);
    assert_eq!(told(&stage.records(2)), ["DROPPED  / head-too-large", "FORWARDED  / 431"]);
}

#[test]
fn more_streams_than_may_be_open() {
    let stage = Stage::with(Limits { streams: 3, ..Limits::default() });
    let mut wire = connect(&stage);
    for stream in [1, 3, 5, 7, 9] {
        wire.send(frame(HEADERS, END_HEADERS, stream, &pseudo("POST", "/any")));
    }
    assert_eq!(was_reset(&mut wire, 7), REFUSED_STREAM);
    assert_eq!(was_reset(&mut wire, 9), REFUSED_STREAM);
    assert_eq!(stage.reached("streams_refused", 2), 2);
    drop(wire);
    let mut told = told(&stage.records(10));
    told.sort();
    let expected = [
        "DROPPED  / too-many-streams",
        "DROPPED  / too-many-streams",
        "ERROR  / 429 too-many-streams",
        "ERROR  / 429 too-many-streams",
    ];
    assert_eq!(told[..4], expected);
    assert_eq!(told.len(), 10, "{told:?}");
}

#[test]
fn streams_that_we_are_made_to_reset() {
    let stage = Stage::new();
    let mut wire = connect(&stage);
    let mut all = Vec::new();
    for at in 0..200 {
        let stream = 2 * at + 1;
        all.extend(frame(HEADERS, END_HEADERS, stream, &pseudo("POST", "/any")));
        all.extend(frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]));
    }
    flood(&mut wire, &all);
    is_shed(stage, wire, "http2-flood");
}

#[test]
fn a_slow_head() {
    let stage = Stage::with(Limits { header_timeout: Duration::from_millis(100), ..Limits::default() });
    let mut wire = connect(&stage);
    wire.send(get(1, "/write"));
    wire.send(frame(HEADERS, 0, 3, &pseudo("GET", "/any")));
    assert_eq!(gone_away(&mut wire), ENHANCE_YOUR_CALM);
    assert_eq!(stage.reached("heads_too_slow", 1), 1);
    assert_eq!(told(&stage.records(4))[2..], ["DROPPED  / head-too-slow", "ERROR  / 408 head-too-slow"]);
}

#[test]
fn half_a_head() {
    let stage = Stage::with(Limits { header_timeout: Duration::from_millis(100), ..Limits::default() });
    let mut wire = connect(&stage);
    let whole = get(1, "/any");
    wire.send(&whole[..whole.len() - 1]);
    assert_eq!(gone_away(&mut wire), ENHANCE_YOUR_CALM);
    assert_eq!(told(&stage.records(2))[0], "DROPPED  / head-too-slow");
}

#[test]
fn a_slow_body_is_nobodys_business() {
    let stage = Stage::with(Limits { header_timeout: Duration::from_millis(100), ..Limits::default() });
    let mut wire = connect(&stage);
    wire.send(frame(HEADERS, END_HEADERS, 1, &pseudo("POST", "/any")));
    wire.send(&frame(DATA, 0, 1, b"abc")[..10]);
    std::thread::sleep(Duration::from_millis(300));
    wire.send(frame(PING, 0, 0, &[7; 8]).get(..0).unwrap());
    wire.send(b"bc");
    wire.send(get(3, "/write"));
    loop {
        let answer = next(&mut wire);
        if answer.kind == HEADERS && answer.stream == 3 {
            break;
        }
    }
    assert_eq!(stage.counter("heads_too_slow"), 0);
}
