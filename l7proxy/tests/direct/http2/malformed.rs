//! What the HTTP library refuses by itself: it reaches nobody, and each request has its records.

use super::frames::{
    END_HEADERS, HEADERS, PROTOCOL_ERROR, WHOLE, connect, field, frame, get, gone_away, pseudo, was_reset,
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
        ("an entry that is not there", whole(&[0xff, 0xff, 0x01]), PROTOCOL_ERROR, "http2-protocol"),
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
