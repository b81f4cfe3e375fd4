//! Which HTTP a connection speaks is told by its first bytes.

use super::peers::{Client, get, run};
use crate::stage::{OK, Stage, told};

#[test]
fn a_preface_in_pieces_is_one() {
    let stage = Stage::new();
    let mut client = stage.client();
    for piece in ["PRI", " * HTTP/2.0\r\n\r\nS", "M\r\n\r\n"] {
        client.send(piece);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // SETTINGS, empty; then GET /write for h.
    client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    client.send(b"\0\0\x0d\x01\x05\0\0\0\x01\x82\x86\x44\x06/write\x41\x01h");
    let settings = client.exactly(9);
    assert_eq!(settings.as_bytes()[3], 4, "the server's own SETTINGS: {settings:?}");
    assert_eq!(told(&stage.records(2)), ["DROPPED GET /write no-rule", "FORWARDED GET /write 403"]);
}

#[test]
fn what_begins_like_one_may_be_another() {
    for pieces in [
        ["P", "OST /any HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"],
        ["PR", "OPFIND /any HTTP/1.1\r\nHost: h\r\n\r\n"],
    ] {
        let stage = Stage::new();
        let mut client = stage.client();
        client.send(pieces[0]);
        std::thread::sleep(std::time::Duration::from_millis(10));
        client.send(pieces[1]);
        let mut server = stage.accept();
        assert_eq!(server.head(), pieces.concat());
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.exactly(OK.len()).to_lowercase(), OK.to_lowercase());
    }
}

#[test]
fn a_preface_that_does_not_go_on_is_refused() {
    let limits = l7proxy::http::Limits { header_timeout: std::time::Duration::from_millis(100), ..Default::default() };
    let stage = Stage::with(limits);
    let mut client = stage.client();
    client.send("PRI * HT");
    assert!(client.head().starts_with("HTTP/1.1 408 "));
    assert_eq!(told(&stage.records(2))[0], "DROPPED PRI /* head-too-slow");
}

#[test]
fn each_connection_has_its_own() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::connect(&stage).await;
        let mut old = stage.client();
        old.send("GET /write HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(client.ask(get("/write")).await.unwrap().status(), 403);
        assert!(old.head().starts_with("HTTP/1.1 403 "));
    });
}
