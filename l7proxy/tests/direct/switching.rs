//! Requests to switch protocols and for tunnels: judged, switched only after 101 or 2xx, never a way around the rules.

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
fn an_answer_before_the_body_s_end_switches_nothing() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send(UPGRADE.replace("GET /read/ws", "POST /any").replace("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\nhe"));
    let mut server = stage.accept();
    server.until("he");
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    client.send("lloGET /write HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(server.exactly(3), "llo");
    assert!(client.head().starts_with("HTTP/1.1 403 "), "what follows is judged");
}

#[test]
fn head_may_ask_to_switch() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send(UPGRADE.replace("GET /read/ws", "HEAD /any"));
    let mut server = stage.accept();
    for _ in 0..2 {
        server.head();
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        server.send(answer);
        assert_eq!(client.exactly(answer.len()), answer);
        client.send("HEAD /any HTTP/1.1\r\nHost: h\r\n\r\n");
    }
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

const CONNECT: &str = "CONNECT inside:22 HTTP/1.1\r\nHost: inside:22\r\n\r\n";

#[test]
fn after_2xx_a_tunnel_carries_anything() {
    for status in ["200 Connection established", "299 Whatever"] {
        let stage = Stage::new();
        let mut client = stage.client();
        client.send(CONNECT);
        // Early data waits for the answer.
        client.send("early");
        let mut server = stage.accept();
        assert_eq!(server.head(), CONNECT);
        server.set_read_patience_ms(100);
        assert_eq!(server.try_exactly(1), None, "nothing before the answer");
        let granted = format!("HTTP/1.1 {status}\r\nX: y\r\n\r\n");
        server.send(format!("{granted}hello"));
        assert_eq!(client.exactly(granted.len()), granted);
        assert_eq!(client.exactly(5), "hello");
        server.set_read_patience_ms(20_000);
        assert_eq!(server.exactly(5), "early");
        client.send("GET /write HTTP/1.1\r\n\r\n");
        client.finish();
        assert_eq!(server.rest(), ("GET /write HTTP/1.1\r\n\r\n".to_owned(), End::Closed));
        server.send("last");
        drop(server);
        assert_eq!(client.rest(), ("last".to_owned(), End::Closed));
        assert_eq!(stage.counter("upgrades"), 1);
        let code = status.split(' ').next().unwrap();
        assert_eq!(told(&stage.records(2)), ["FORWARDED CONNECT /".to_owned(), format!("FORWARDED CONNECT / {code}")]);
    }
}

#[test]
fn a_denied_tunnel_is_denied() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send(CONNECT.replace("inside", "outside"));
    client.send("GET /write HTTP/1.1\r\nHost: h\r\n\r\n");
    client.until("Access denied\r\n");
    assert!(client.head().starts_with("HTTP/1.1 403 "), "what follows is judged as a request");
    assert!(!stage.was_dialled());
}

#[test]
fn a_tunnel_that_is_not_granted_goes_on_in_http() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send(CONNECT);
    client.send("GET /write HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut server = stage.accept();
    server.head();
    server.send("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno");
    assert!(client.head().starts_with("HTTP/1.1 407 "));
    assert_eq!(client.exactly(2), "no");
    assert!(client.head().starts_with("HTTP/1.1 403 "), "what follows is judged");
}

#[test]
fn a_tunnel_with_a_body_is_none() {
    for framing in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let stage = Stage::new();
        let mut client = stage.client();
        client.send(CONNECT.replace("\r\n\r\n", &format!("\r\n{framing}\r\n\r\n")));
        assert!(client.head().starts_with("HTTP/1.1 400 "));
        assert!(!stage.was_dialled());
        assert_eq!(told(&stage.records(2))[0], "DROPPED CONNECT / connect-body");
    }
}

#[test]
fn a_tunnel_with_204_is_one_to_some_and_none_to_others() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send(CONNECT);
    let mut server = stage.accept();
    server.head();
    server.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.rest(), (String::new(), End::Reset));
    assert_eq!(told(&stage.records(2))[1], "ERROR CONNECT / 502 upstream-protocol");
}
