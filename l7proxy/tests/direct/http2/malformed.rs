//! What is no request: it reaches nobody, and each has its records.

use super::frames::{
    COMPRESSION_ERROR, DATA, END_HEADERS, END_STREAM, HEADERS, PRIORITIZED, PROTOCOL_ERROR, RST_STREAM, SETTINGS,
    WHOLE, connect, field, frame, get, gone_away, next, number, pseudo, serve, was_reset,
};
use crate::stage::{Stage, told};

#[test]
fn broken_heads() {
    let request = |fields: Vec<u8>| [pseudo("GET", "/any"), fields].concat();
    for (name, block) in [
        ("connection", request(field("connection", "close"))),
        ("transfer-encoding", request(field("transfer-encoding", "chunked"))),
        ("upgrade", request(field("upgrade", "websocket"))),
        ("keep-alive", request(field("keep-alive", "1"))),
        ("te", request(field("te", "gzip"))),
        ("repeated", request(field(":path", "/any"))),
        ("late", [field("x", "y"), pseudo("GET", "/any")].concat()),
        ("unknown pseudo-header", request(field(":status", "200"))),
        ("no method", [field(":scheme", "http"), field(":path", "/any"), field(":authority", "api")].concat()),
        ("no scheme", [field(":method", "GET"), field(":path", "/any"), field(":authority", "api")].concat()),
        ("empty path", pseudo("GET", "")),
        ("lengths that differ", request([field("content-length", "0"), field("content-length", "1")].concat())),
        ("a length that is no number", request(field("content-length", "+0"))),
        ("a length without a body", request(field("content-length", "5"))),
    ] {
        let stage = Stage::new();
        let mut wire = connect(&stage);
        wire.send(frame(HEADERS, WHOLE, 1, &block));
        assert_eq!(was_reset(&mut wire, 1), PROTOCOL_ERROR, "{name}");
        assert!(!stage.was_dialled(), "{name}");
        assert_eq!(stage.reached("requests_malformed", 1), 1, "{name}");
        assert_eq!(told(&stage.records(2)), ["DROPPED  / http2-protocol", "ERROR  / 400 http2-protocol"], "{name}");
    }
}

#[test]
fn what_breaks_the_connection() {
    let request = |fields: Vec<u8>| [pseudo("GET", "/any"), fields].concat();
    let whole = |block: &[u8]| frame(HEADERS, WHOLE, 1, block);
    for (name, bytes, code, reason) in [
        ("upper case", whole(&request(field("X", "y"))), PROTOCOL_ERROR, "http2-protocol"),
        ("a line feed in a value", whole(&request(field("x", "a\nb"))), PROTOCOL_ERROR, "http2-protocol"),
        ("a NUL in a value", whole(&request(field("x", "a\0b"))), PROTOCOL_ERROR, "http2-protocol"),
        ("a colon in a name", whole(&request(field("a:b", "c"))), PROTOCOL_ERROR, "http2-protocol"),
        ("an entry that is not there", whole(&[0xff, 0xff, 0x01]), COMPRESSION_ERROR, "http2-compression"),
        (
            "a stream of the server's",
            frame(HEADERS, WHOLE, 2, &pseudo("GET", "/any")),
            PROTOCOL_ERROR,
            "http2-protocol",
        ),
        (
            "a frame between",
            [frame(HEADERS, 0, 1, &pseudo("GET", "/any")), get(3, "/any")].concat(),
            PROTOCOL_ERROR,
            "http2-protocol",
        ),
    ] {
        let stage = Stage::new();
        let mut wire = connect(&stage);
        wire.send(bytes);
        assert_eq!(gone_away(&mut wire), code, "{name}");
        assert!(!stage.was_dialled(), "{name}");
        assert_eq!(told(&stage.records(2))[0], format!("DROPPED  / {reason}"), "{name}");
    }
}

/// The head was forwarded already: both sides are told, and the others are not concerned.
#[test]
fn bodies_that_are_not_as_they_were_said() {
    let head = |length: &str| {
        let block = [pseudo("POST", "/any"), field("content-length", length)].concat();
        frame(HEADERS, END_HEADERS, 1, &block)
    };
    let trailers = |flags: u8, block: &[u8]| frame(HEADERS, END_HEADERS | flags, 1, block);
    for (name, bytes, passed) in [
        ("too long", [head("2"), frame(DATA, 0, 1, b"abc")].concat(), 0),
        ("too long at last", [head("2"), frame(DATA, 0, 1, b"ab"), frame(DATA, END_STREAM, 1, b"c")].concat(), 2),
        ("too short", [head("4"), frame(DATA, END_STREAM, 1, b"abc")].concat(), 0),
        ("too short before trailers", [head("4"), trailers(END_STREAM, &field("x", "y"))].concat(), 0),
        ("trailers without an end", [head("0"), trailers(0, &field("x", "y"))].concat(), 0),
        ("trailers that are none", [head("0"), trailers(END_STREAM, &pseudo("GET", "/"))].concat(), 0),
        ("trailers of a connection", [head("0"), trailers(END_STREAM, &field("connection", "x"))].concat(), 0),
    ] {
        let stage = Stage::new();
        let mut client = connect(&stage);
        client.send(bytes);
        assert_eq!(was_reset(&mut client, 1), PROTOCOL_ERROR, "{name}");
        let mut server = serve(&stage, &frame(SETTINGS, 0, 0, &[]));
        let mut came = 0;
        loop {
            let frame = next(&mut server);
            match frame.kind {
                DATA => came += frame.payload.len(),
                RST_STREAM => break assert_eq!(number(&frame.payload), PROTOCOL_ERROR, "{name}"),
                _ => {}
            }
        }
        assert_eq!(came, passed, "{name}");
        assert_eq!(told(&stage.records(2))[1], "ERROR POST /any 400 body-framing", "{name}");
    }
}

#[test]
fn a_head_that_depends_on_itself() {
    let stage = Stage::new();
    let mut client = connect(&stage);
    let block = [&[0, 0, 0, 1, 0][..], &pseudo("GET", "/any")].concat();
    client.send(frame(HEADERS, WHOLE | PRIORITIZED, 1, &block));
    assert_eq!(was_reset(&mut client, 1), PROTOCOL_ERROR);
    assert!(!stage.was_dialled());
    assert_eq!(told(&stage.records(2))[1], "ERROR  / 400 http2-protocol");
}

#[test]
fn a_request_whose_client_is_gone_before_anybody_read_it() {
    let stage = Stage::new();
    let mut wire = connect(&stage);
    wire.send([get(1, "/write"), frame(HEADERS, END_HEADERS, 3, &pseudo("POST", "/write"))].concat());
    wire.finish();
    wire.rest_bytes();
    // Whether they were read before the end was seen is a matter of time: two records each it is.
    assert_eq!(stage.records(4).len(), 4);
}
