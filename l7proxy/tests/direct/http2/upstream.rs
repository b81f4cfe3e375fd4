//! What an upstream may do to its client's connection, and when it gets what.

use std::net::TcpListener;

use super::{
    frames::{
        DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PROTOCOL_ERROR, REFUSED_STREAM, RST_STREAM, SETTINGS,
        WHOLE, connect, field, frame, get, next, number, pseudo, serve, until, was_reset,
    },
    peers::{Client, Server, code, run},
};
use crate::{
    stage::{Stage, told},
    wire::{End, Wire},
};

/// An upstream that wants nothing.
const GREETING: [u8; 9] = [0, 0, 0, SETTINGS, 0, 0, 0, 0, 0];

#[test]
fn requests_wait_for_its_word_in_their_order() {
    let stage = Stage::new();
    let mut client = connect(&stage);
    client.send(get(1, "/read"));
    client.send([frame(HEADERS, END_HEADERS, 3, &pseudo("POST", "/any")), frame(DATA, 0, 3, b"hello")].concat());
    client.send(frame(HEADERS, WHOLE | END_STREAM, 5, &pseudo("POST", "/any")));
    client.send([get(7, "/write"), get(9, "/read")].concat());
    // What is denied does not wait.
    while next(&mut client).stream != 7 {}
    let mut server = serve(&stage, &[]);
    assert_eq!(until(&mut server, HEADERS).stream, 1);
    server.send(frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 2]));
    assert_eq!(until(&mut server, HEADERS).stream, 3);
    assert_eq!(until(&mut server, DATA).payload, b"hello");
    client.send(frame(RST_STREAM, 0, 5, &[0, 0, 0, 8]));
    client.send(frame(DATA, END_STREAM, 3, b"world"));
    assert_eq!(until(&mut server, DATA).payload, b"world");
    server.send(frame(HEADERS, WHOLE, 1, &[0x88]));
    assert_eq!(until(&mut server, HEADERS).stream, 9, "the one between was taken back");
    assert_eq!(stage.counter("clients_failed"), 1);
}

#[test]
fn nothing_overtakes_what_waits() {
    let stage = Stage::new();
    let mut client = connect(&stage);
    let fields = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/any")];
    let chat: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
    client.send(frame(HEADERS, END_HEADERS, 1, &[chat, field(":authority", "api")].concat()));
    client.send(get(3, "/read"));
    // Whether it is offered is not known yet.
    let mut server = serve(&stage, &[]);
    assert_eq!(until(&mut server, SETTINGS).stream, 0);
    server.send(frame(SETTINGS, 0, 0, &[0, 8, 0, 0, 0, 1]));
    assert_eq!(until(&mut server, HEADERS).stream, 1);
    assert_eq!(until(&mut server, HEADERS).stream, 3);
}

#[test]
fn a_tunnel_that_its_client_closed_at_once() {
    let stage = Stage::new();
    let mut client = connect(&stage);
    let tunnel = [field(":method", "CONNECT"), field(":authority", "inside:22")].concat();
    client.send(frame(HEADERS, WHOLE, 1, &tunnel));
    let mut server = serve(&stage, &GREETING);
    assert_eq!(until(&mut server, HEADERS).flags, WHOLE);
    server.send(frame(HEADERS, END_HEADERS, 1, &[0x88]));
    until(&mut client, HEADERS);
    client.send(get(3, "/read"));
    loop {
        let frame = next(&mut server);
        assert!(frame.kind != DATA, "nothing follows the end: {frame:?}");
        if frame.stream == 3 {
            break;
        }
    }
    assert_eq!(stage.counter("upgrades"), 1);
}

#[test]
fn a_connection_that_failed_is_made_again_for_a_new_request() {
    let mut stage = Stage::new();
    let address = stage.upstream.local_addr().unwrap();
    stage.close_upstream();
    run(async {
        let mut client = Client::connect(&stage).await;
        assert_eq!(code(client.ask(super::peers::get("/read")).await), h2::Reason::REFUSED_STREAM);
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let (asked, _server) = tokio::join!(client.ask(super::peers::get("/read")), async {
            let mut server = Server::with(listener, &h2::server::Builder::new()).await;
            server.serve().await;
            server
        });
        assert_eq!(asked.unwrap().status(), 200);
    });
    assert_eq!(stage.counter("upstream_failures"), 1);
}

/// What an upstream may answer that is none.
#[test]
fn broken_answers() {
    let ok = |fields: &[u8]| [&[0x88][..], fields].concat();
    let head = |flags: u8, block: &[u8]| frame(HEADERS, END_HEADERS | flags, 1, block);
    let cases = [
        ("no status", head(0, &field("x", "y"))),
        ("two", head(0, &ok(&[0x88]))),
        ("a status that is none", head(0, &field(":status", "2x0"))),
        ("a pseudo-header of requests", head(0, &ok(&field(":path", "/")))),
        ("connection", head(0, &ok(&field("connection", "close")))),
        ("transfer-encoding", head(0, &ok(&field("transfer-encoding", "chunked")))),
        ("two lengths", head(0, &ok(&[field("content-length", "1"), field("content-length", "1")].concat()))),
        ("a length that is none", head(0, &ok(&field("content-length", "+1")))),
        ("a length without a body", head(END_STREAM, &ok(&field("content-length", "1")))),
        ("another protocol", head(0, &field(":status", "101"))),
        ("an interim answer that ends", head(END_STREAM, &field(":status", "103"))),
        ("a body without a head", frame(DATA, 0, 1, b"x")),
    ];
    for (name, bytes) in cases {
        let stage = Stage::new();
        let mut client = connect(&stage);
        client.send(get(1, "/read"));
        let mut server = serve(&stage, &GREETING);
        until(&mut server, HEADERS);
        server.send(bytes);
        assert_eq!(was_reset(&mut client, 1), PROTOCOL_ERROR, "{name}");
        assert_eq!(was_reset(&mut server, 1), PROTOCOL_ERROR, "{name}");
        // The connection stays.
        client.send(get(3, "/read"));
        assert_eq!(until(&mut server, HEADERS).stream, 3, "{name}");
        assert_eq!(told(&stage.records(3))[1], "ERROR GET /read 502 upstream-protocol", "{name}");
    }
}

#[test]
fn bodies_that_are_not_as_they_were_said() {
    let length = |value| [&[0x88][..], &field("content-length", value)].concat();
    let head = |value| frame(HEADERS, END_HEADERS, 1, &length(value));
    for (name, bytes, passed) in [
        ("too long", [head("2"), frame(DATA, 0, 1, b"abc")].concat(), 0),
        ("too short", [head("4"), frame(DATA, 0, 1, b"abc"), frame(DATA, END_STREAM, 1, b"")].concat(), 3),
        ("trailers too early", [head("4"), frame(HEADERS, WHOLE, 1, &field("x", "y"))].concat(), 0),
        ("trailers that are none", [head("0"), frame(HEADERS, WHOLE, 1, &[0x88])].concat(), 0),
        ("trailers without an end", [head("0"), frame(HEADERS, END_HEADERS, 1, &field("x", "y"))].concat(), 0),
    ] {
        let stage = Stage::new();
        let mut client = connect(&stage);
        client.send(get(1, "/read"));
        let mut server = serve(&stage, &GREETING);
        until(&mut server, HEADERS);
        server.send(bytes);
        let mut came = 0;
        let reset = loop {
            let frame = next(&mut client);
            match frame.kind {
                DATA => came += frame.payload.len(),
                RST_STREAM => break frame,
                _ => {}
            }
        };
        assert_eq!((came, number(&reset.payload)), (passed, PROTOCOL_ERROR), "{name}");
        assert_eq!(was_reset(&mut server, 1), PROTOCOL_ERROR, "{name}");
    }
}

/// What no connection survives: the client's ends as its own would, and records blame the upstream.
#[test]
fn what_breaks_the_connection() {
    for (name, bytes) in [
        ("a push", frame(5, END_HEADERS, 1, &[0, 0, 0, 2, 0x82])),
        ("a flood of pings", frame(PING, 0, 0, b"question").repeat(2000)),
        ("a flood of settings", frame(SETTINGS, 0, 0, &[]).repeat(2000)),
        (
            "a flood of empty bodies",
            [frame(HEADERS, END_HEADERS, 1, &[0x88]), frame(DATA, 0, 1, b"").repeat(2000)].concat(),
        ),
        ("a stream that is not there", frame(HEADERS, END_HEADERS, 3, &[0x88])),
        ("a table entry that is not there", frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 1])),
        ("upper case", frame(HEADERS, END_HEADERS, 1, &field("X", "y"))),
        ("a frame that is too large", vec![0, 0x40, 1, DATA, 0, 0, 0, 0, 1]),
    ] {
        let stage = Stage::new();
        let mut client = connect(&stage);
        client.send(get(1, "/read"));
        let mut server = serve(&stage, &GREETING);
        until(&mut server, HEADERS);
        // It may be gone before all of it was sent.
        server.try_send(&bytes).ok();
        assert_eq!(client.rest_bytes().1, End::Reset, "{name}");
        if !name.contains("bodies") {
            assert_eq!(told(&stage.records(2))[1], "ERROR GET /read 502 upstream-protocol", "{name}");
        }
    }
}

#[test]
fn what_it_says_last_is_passed_on() {
    let stage = Stage::new();
    let mut client = connect(&stage);
    client.send(get(1, "/read"));
    let mut server = serve(&stage, &GREETING);
    until(&mut server, HEADERS);
    client.send(get(3, "/read/3"));
    until(&mut server, HEADERS);
    server.send(frame(GOAWAY, 0, 0, b"\0\0\0\x01\0\0\0\x0benough"));
    assert_eq!(was_reset(&mut client, 3), REFUSED_STREAM);
    assert_eq!(until(&mut client, GOAWAY).payload, b"\0\0\0\x01\0\0\0\x0benough");
    server.send(frame(HEADERS, WHOLE, 1, &[0x88]));
    assert_eq!(until(&mut client, HEADERS).stream, 1, "what it took it answers");
    drop(server);
    assert_eq!(client.rest_bytes().1, End::Closed);
    let told = told(&stage.records(4));
    assert!(told.contains(&"ERROR GET /read/3 502 upstream-refused".to_owned()), "{told:?}");
}

#[test]
fn what_is_unknown_is_not_passed_on() {
    let stage = Stage::new();
    let mut client = connect(&stage);
    client.send([get(1, "/read"), frame(0xfa, 0xff, 1, b"x"), frame(2, 0, 1, &[0, 0, 0, 0, 16])].concat());
    let mut server = serve(&stage, &GREETING);
    until(&mut server, HEADERS);
    client.send(get(3, "/read"));
    loop {
        let frame = next(&mut server);
        assert!(frame.kind != 0xfa && frame.kind != 2, "{frame:?}");
        if frame.kind == HEADERS {
            break;
        }
    }
}

/// Everything is written before anything is read, by a client whose server answers meanwhile.
#[test]
fn a_client_that_writes_all_before_it_reads() {
    const MIB: usize = 64;
    let stage = Stage::new();
    let mut client = connect(&stage);
    client.send([frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]), frame(8, 0, 0, &[0x7f, 0, 0, 0])].concat());
    client.send(frame(HEADERS, END_HEADERS, 1, &pseudo("POST", "/any")));
    let mut server = serve(&stage, &frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]));
    until(&mut server, HEADERS);
    let body = frame(DATA, 0, 1, &[7; 16 << 10]).repeat(64);
    let read = |wire: &mut Wire| {
        let mut left = MIB << 20;
        while left > 0 {
            left -= until(wire, DATA).payload.len();
        }
    };
    let mut reader = server.again();
    std::thread::scope(|scope| {
        scope.spawn(|| read(&mut reader));
        scope.spawn(|| {
            server.send(frame(HEADERS, END_HEADERS, 1, &[0x88]));
            (0..MIB).for_each(|_| server.send(&body));
        });
        (0..MIB).for_each(|_| client.send(&body));
        read(&mut client);
    });
}

/// 10 MiB that nobody reads: what is held is bounded by not reading the upstream.
#[test]
fn a_client_that_does_not_read_stops_the_upstream() {
    let stage = Stage::new();
    let mut client = connect(&stage);
    // Windows that never end.
    client.send([frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]), frame(8, 0, 0, &[0x7f, 0, 0, 0])].concat());
    client.send(get(1, "/read"));
    let mut server = serve(&stage, &GREETING);
    until(&mut server, HEADERS);
    server.send(frame(HEADERS, END_HEADERS, 1, &[0x88]));
    server.set_patience_ms(300);
    let body = frame(DATA, 0, 1, &[7; 16 << 10]).repeat(64);
    let taken = (0..100).take_while(|_| server.try_send(&body).is_ok()).count();
    assert!(taken < 50, "{taken} MiB");
}
