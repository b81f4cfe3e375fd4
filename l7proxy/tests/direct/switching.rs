//! Requests to switch protocols: judged, switched only after 101, never a way around the rules.

use crate::{
    stage::{Stage, told},
    wire::End,
};

const UPGRADE: &str = "GET /read/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

#[test]
fn after_101_both_sides_talk_freely() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send(UPGRADE);
    let mut server = stage.accept();
    assert_eq!(server.head(), UPGRADE);
    server.send(format!("{SWITCHED}first"));
    assert_eq!(client.exactly(SWITCHED.len()), SWITCHED);
    assert_eq!(client.exactly(5), "first");
    client.send("\0\u{1}anything\r\n\r\n");
    assert_eq!(server.exactly(14), "\0\u{1}anything\r\n\r\n");
    client.finish();
    assert_eq!(server.rest(), (String::new(), End::Closed));
    server.send("last");
    drop(server);
    assert_eq!(client.rest(), ("last".to_owned(), End::Closed));
    assert_eq!(told(&stage.records(2)), ["FORWARDED GET /read/ws", "FORWARDED GET /read/ws 101"]);
}

#[test]
fn a_denied_one_is_denied() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send(UPGRADE.replace("/read", "/write"));
    client.until("Access denied\r\n");
    assert!(!stage.was_dialled());
}

#[test]
fn a_server_that_does_not_switch_goes_on_in_http() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send(UPGRADE);
    client.send("GET /write HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut server = stage.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    assert!(client.head().starts_with("HTTP/1.1 403 "), "what follows is judged");
}

#[test]
fn an_offer_of_http2_is_not_passed_on() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send(
        "GET /read HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    );
    let mut server = stage.accept();
    assert_eq!(server.head(), "GET /read HTTP/1.1\r\nHost: h\r\n\r\n");
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 200 "));
}
