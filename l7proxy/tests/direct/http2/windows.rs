//! Windows and settings are the two ends' own: what one gives the other is told, and what is not passed on is given back.

use super::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PADDED, PING, SETTINGS, WHOLE, WINDOW_UPDATE, connect, field,
    frame, get, next, number, pseudo, serve, until,
};
use crate::{stage::Stage, wire::Wire};

const INITIAL_WINDOW: u16 = 4;
const STREAMS: u16 = 3;

fn settings(entries: &[(u16, u32)]) -> Vec<u8> {
    let entry = |(name, value): &(u16, u32)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &entries.iter().flat_map(entry).collect::<Vec<_>>())
}

fn window(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

fn ok(stream: u32, flags: u8) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &[0x88])
}

fn post(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &pseudo("POST", path))
}

/// Until the first of two kinds of frames.
fn first_of(wire: &mut Wire, kinds: [u8; 2]) -> Frame {
    loop {
        let frame = next(wire);
        if kinds.contains(&frame.kind) {
            return frame;
        }
    }
}

/// Whoever answers a ping has read all that came before it.
fn ping(wire: &mut Wire) {
    wire.send(frame(PING, 0, 0, b"question"));
    while until(wire, PING).payload != b"question" {}
}

#[test]
fn what_the_upstream_wants_holds_when_the_client_knows() {
    let stage = Stage::new();
    let mut client = connect(&stage);
    client.send(post(1, "/any"));
    let mut server = serve(&stage, &settings(&[(INITIAL_WINDOW, 10), (STREAMS, 7)]));
    until(&mut server, SETTINGS);
    let _ours = until(&mut client, SETTINGS);
    let _our_ack = until(&mut client, SETTINGS);
    let theirs = until(&mut client, SETTINGS);
    assert_eq!(theirs.payload, [0, 3, 0, 0, 0, 7, 0, 4, 0, 0, 0, 10]);
    client.send(frame(SETTINGS, ACK, 0, &[]));
    // The server's ACK is the client's second: what it sent before, it sent by the old window.
    client.send(frame(DATA, 0, 1, b"more than ten"));
    client.send(frame(SETTINGS, ACK, 0, &[]));
    let data = first_of(&mut server, [DATA, SETTINGS]);
    assert_eq!((data.kind, data.payload.as_slice()), (DATA, &b"more than ten"[..]));
    assert_eq!(first_of(&mut server, [DATA, SETTINGS]).flags, ACK);
}

#[test]
fn what_the_client_wants_holds_when_the_upstream_knows() {
    let stage = Stage::new();
    let mut client = connect(&stage);
    client.send(get(1, "/read"));
    let mut server = serve(&stage, &settings(&[]));
    until(&mut server, HEADERS);
    ping(&mut client);
    client.send(settings(&[(INITIAL_WINDOW, 10)]));
    loop {
        let asked = until(&mut server, SETTINGS);
        if asked.flags & ACK == 0 {
            assert_eq!(asked.payload, [0, 4, 0, 0, 0, 10]);
            break;
        }
    }
    server.send([ok(1, 0), frame(DATA, 0, 1, b"more than ten")].concat());
    // Two: of what we began with, and of this.
    server.send(frame(SETTINGS, ACK, 0, &[]).repeat(2));
    assert_eq!(first_of(&mut client, [DATA, SETTINGS]).kind, DATA);
    assert_eq!(first_of(&mut client, [DATA, SETTINGS]).flags, ACK);
}

#[test]
fn what_was_given_before_the_upstream_was_there() {
    let stage = Stage::new();
    let mut client = connect(&stage);
    client.send([settings(&[(INITIAL_WINDOW, 70_000)]), window(0, 1000), get(1, "/read"), window(1, 5)].concat());
    let mut server = serve(&stage, &settings(&[]));
    let wanted = until(&mut server, SETTINGS).payload;
    assert!(wanted.windows(6).any(|entry| entry == [0, 4, 0, 1, 0x11, 0x70]), "{wanted:?}");
    let given = until(&mut server, WINDOW_UPDATE);
    assert_eq!((given.stream, number(&given.payload)), (0, 1000));
    let given = until(&mut server, WINDOW_UPDATE);
    assert_eq!((given.stream, number(&given.payload)), (1, 5));
}

#[test]
fn padding_is_not_passed_on_and_given_back() {
    let stage = Stage::new();
    let mut client = connect(&stage);
    let padded = |flags| frame(DATA, flags | PADDED, 1, b"\x04helloxxxx");
    client.send([post(1, "/any"), padded(0)].concat());
    let mut server = serve(&stage, &settings(&[]));
    assert_eq!(until(&mut server, DATA).payload, b"hello");
    let mut given: Vec<_> =
        (0..2).map(|_| until(&mut client, WINDOW_UPDATE)).map(|it| (it.stream, it.payload[3])).collect();
    given.sort_unstable();
    assert_eq!(given, [(0, 5), (1, 5)]);
    server.send([ok(1, 0), padded(END_STREAM)].concat());
    assert_eq!(until(&mut client, DATA).payload, b"hello");
    let given = until(&mut server, WINDOW_UPDATE);
    assert_eq!((given.stream, given.payload[3]), (0, 5), "the stream is over");
}

#[test]
fn a_body_that_goes_nowhere_is_given_back() {
    let stage = Stage::new();
    let mut client = connect(&stage);
    client.send([post(1, "/write"), frame(DATA, 0, 1, &[0; 1000]), frame(DATA, 0, 1, &[0; 500])].concat());
    assert_eq!(number(&until(&mut client, WINDOW_UPDATE).payload), 1000);
    assert_eq!(number(&until(&mut client, WINDOW_UPDATE).payload), 500);
    assert!(!stage.was_dialled());
}

#[test]
fn an_answer_of_ours_waits_for_the_window() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send([&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings(&[(INITIAL_WINDOW, 5)])].concat());
    client.send([get(1, "/write"), get(3, "/write")].concat());
    for stream in [1, 3] {
        let part = until(&mut client, DATA);
        assert_eq!((part.stream, part.flags, part.payload.as_slice()), (stream, 0, &b"Acces"[..]));
    }
    client.send(window(3, 100));
    let rest = until(&mut client, DATA);
    assert_eq!((rest.stream, rest.flags, rest.payload.as_slice()), (3, END_STREAM, &b"s denied\r\n"[..]));
    client.send(settings(&[(INITIAL_WINDOW, 7)]));
    assert_eq!(until(&mut client, DATA).payload, b"s ");
    client.send(window(1, 100));
    assert_eq!(until(&mut client, DATA).payload, b"denied\r\n");
}

/// Bytes of bodies up to the answer to a ping.
fn bodies(client: &mut Wire) -> usize {
    client.send(frame(PING, 0, 0, b"question"));
    let mut length = 0;
    loop {
        let frame = next(client);
        if frame.kind == DATA {
            length += frame.payload.len();
        } else if frame.kind == PING && frame.payload == b"question" {
            return length;
        }
    }
}

#[test]
fn answers_of_ours_do_not_use_up_what_the_upstream_may_send() {
    const OURS: usize = 15;
    let stage = Stage::new();
    let mut client = connect(&stage);
    client.send([settings(&[(INITIAL_WINDOW, 100_000)]), get(1, "/write"), get(3, "/write")].concat());
    assert_eq!(bodies(&mut client), 2 * OURS, "before the upstream is there");
    client.send(get(5, "/read"));
    let mut server = serve(&stage, &settings(&[]));
    until(&mut server, HEADERS);
    client.send(get(7, "/write"));
    assert_eq!(bodies(&mut client), OURS, "and after");
    let body: Vec<u8> = (0..5).flat_map(|_| frame(DATA, 0, 5, &[7; 13_107])).collect();
    server.send([ok(5, 0), body].concat());
    let mut came = 0;
    while came < 65_535 - 3 * OURS {
        came += until(&mut client, DATA).payload.len();
    }
    assert_eq!(came + bodies(&mut client), 65_535 - 3 * OURS, "no more than the window");
    client.send(window(0, 100));
    assert_eq!(until(&mut client, DATA).payload.len(), 3 * OURS, "the rest");
    let given = until(&mut server, WINDOW_UPDATE);
    assert_eq!((given.stream, number(&given.payload)), (0, 55), "what is left of the hundred");
}

#[test]
fn a_secret_and_the_order_of_all_fields_stay() {
    let stage = Stage::new();
    let mut client = connect(&stage);
    let mut secret = field("x-key", "1");
    secret[0] = 0x10;
    let fields = [field("b", "1"), field("a", "2"), secret, field("b", "3")].concat();
    client.send(frame(HEADERS, WHOLE, 1, &[pseudo("GET", "/any"), fields.clone()].concat()));
    let mut server = serve(&stage, &settings(&[]));
    let head = until(&mut server, HEADERS);
    assert!(head.payload.ends_with(&fields), "{head:?}");
    server.send(frame(HEADERS, WHOLE, 1, &[&[0x88][..], &fields].concat()));
    assert!(until(&mut client, HEADERS).payload.ends_with(&fields));
}
