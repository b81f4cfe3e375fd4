//! What is refused gets an answer in its turn, and nothing of it reaches anybody.

use std::time::Duration;

use l7proxy::http::Limits;
use rules::PathOptions;

use crate::{
    stage::{OK, POLICY, Stage, told},
    wire::End,
};

const DENIED: &str =
    "HTTP/1.1 403 Forbidden\r\ncontent-type: text/plain\r\ncontent-length: 15\r\n\r\nAccess denied\r\n";

#[test]
fn a_denied_request_leaves_the_connection_usable() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("POST /write HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.exactly(DENIED.len()), DENIED);
    client.send("GET /write HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    assert_eq!(client.exactly(DENIED.len()), DENIED);
    assert!(!stage.was_dialled(), "nothing was allowed so far");
    client.send("GET /read HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut server = stage.accept();
    assert!(server.head().starts_with("GET /read "));
    server.send(OK);
    assert_eq!(client.exactly(OK.len()), OK);
    assert_eq!(
        told(&stage.records(6)),
        [
            "DROPPED POST /write no-rule",
            "FORWARDED POST /write 403",
            "DROPPED GET /write no-rule",
            "FORWARDED GET /write 403",
            "FORWARDED GET /read",
            "FORWARDED GET /read 200",
        ]
    );
}

#[test]
fn a_denied_head_request_has_no_body() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("HEAD /write HTTP/1.1\r\nHost: h\r\n\r\nGET /write HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.head(), DENIED.trim_end_matches("Access denied\r\n"));
    assert_eq!(client.exactly(DENIED.len()), DENIED);
}

#[test]
fn a_denied_body_is_not_read_without_end() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("POST /write HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000000\r\n\r\n");
    assert_eq!(client.exactly(DENIED.len()), DENIED);
    let block = vec![b'x'; 1 << 20];
    let ended = (0..64).any(|_| client.try_send(&block).is_err());
    assert!(ended, "64 MiB were taken");
    assert_eq!(stage.counter("denied_bodies_cut"), 1);
}

#[test]
fn who_waits_for_leave_and_is_denied_is_told_that_the_connection_ends() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("POST /write HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let (answer, end) = client.rest();
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("Access denied\r\n"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert_eq!(end, End::Closed);
}

#[test]
fn the_newest_policy_judges_each_request() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("GET /read HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut server = stage.accept();
    server.head();
    stage.publish(&POLICY.replace("/read.*", "/read|/other"));
    server.send(OK);
    assert_eq!(client.exactly(OK.len()), OK, "what is allowed is answered");
    client.send("GET /read/x HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.exactly(DENIED.len()), DENIED);
    client.send("GET /other HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(server.head().starts_with("GET /other "));
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let stage = Stage::new();
    let mut client = stage.client();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    client.send(get("/read/1") + &get("/write") + &get("/read/2") + &get("/a%2fb") + &get("/read/3"));
    let mut server = stage.accept();
    for path in ["/read/1", "/read/2"] {
        assert!(server.head().starts_with(&format!("GET {path} ")));
        server.send(OK);
    }
    let (answers, end) = client.rest();
    let statuses: Vec<&str> = answers.split("HTTP/1.1 ").skip(1).filter_map(|answer| answer.get(..3)).collect();
    assert_eq!((statuses, end), (vec!["200", "403", "200", "400"], End::Closed));
    let (more, _) = server.rest();
    assert_eq!(more, "", "nothing after the ambiguous one");
}

#[test]
fn what_is_relaxed_is_judged_and_forwarded_as_it_was_sent() {
    let stage = Stage::relaxed(PathOptions { allow_encoded_slash: true, ..PathOptions::default() });
    let mut client = stage.client();
    client.send("GET /read/a%2f..%2Fb HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut server = stage.accept();
    assert!(server.head().starts_with("GET /read/a%2f..%2Fb HTTP/1.1\r\n"));
    server.send(OK);
    client.exactly(OK.len());
    // No rule is about it, though one is about what it would be without escapes.
    client.send("GET /%2fread HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.exactly(DENIED.len()), DENIED);
    client.send("GET /read/a%5cb HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(client.rest().0.starts_with("HTTP/1.1 400 "), "another one is not relaxed");
    assert_eq!(server.rest().0, "");
}

#[test]
fn what_has_no_single_meaning_ends_both_sides() {
    for (request, told_as) in [
        ("GET /a%2fb HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a%2fb"),
        ("GET /read HTTP/1.1\r\n\r\n", "GET /read"),
        ("GET /read HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET /read"),
        ("GET /read HTTP/1.1\r\nHost: a b\r\n\r\n", "GET /read"),
        ("POST /any HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "POST /any"),
        ("POST /any HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "POST /any"),
        ("PUT /any HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", "PUT /any"),
        ("PUT /any/x HTTP/1.1\r\nHost : h\r\n\r\n", "PUT /any/x"),
        ("CONNECT h HTTP/1.1\r\nHost: h\r\n\r\n", "CONNECT /"),
    ] {
        let stage = Stage::new();
        let mut client = stage.client();
        client.send("GET /read HTTP/1.1\r\nHost: h\r\n\r\n");
        let mut server = stage.accept();
        server.head();
        server.send(OK);
        client.exactly(OK.len());
        client.send(request);
        client.send("GET /read/smuggled HTTP/1.1\r\nHost: h\r\n\r\n");
        let (answer, end) = client.rest();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{request:?}: {answer}");
        assert!(answer.contains("connection: close\r\n"), "{request:?}: {answer}");
        assert_eq!(end, End::Closed, "{request:?}: the answer is not lost to a reset");
        assert_eq!(server.rest().0, "", "{request:?}");
        let records = told(&stage.records(4));
        assert!(records[2].starts_with(&format!("DROPPED {told_as} ")), "{request:?}: {records:?}");
        assert_eq!(records[3], format!("FORWARDED {told_as} 400"), "{request:?}");
    }
}

#[test]
fn a_record_shows_as_much_as_is_known_of_what_is_no_request() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("\u{16}\u{3}\u{1}\u{2}");
    let (answer, _) = client.rest();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let records = stage.records(2);
    assert_eq!(records[0]["verdict"], "DROPPED");
    assert_eq!(records[0]["extensions"]["value"]["reason"], "not-http");
    assert_eq!(records[0]["l7"]["http"]["method"], "");
}

#[test]
fn broken_chunks_end_both_sides_with_a_reset() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("POST /any HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    let mut server = stage.accept();
    server.until("hello\r\n");
    client.send("x\r\n\r\n");
    assert_eq!(client.rest(), (String::new(), End::Reset));
    assert_eq!(server.rest(), (String::new(), End::Reset));
    assert_eq!(told(&stage.records(2)), ["FORWARDED POST /any", "ERROR POST /any 400 body-framing"]);
}

#[test]
fn too_much_is_told_as_such() {
    let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(9000));
    let many = format!("GET /read HTTP/1.1\r\nHost: h\r\n{}\r\n", "a: b\r\n".repeat(200));
    let large = format!("GET /read HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(70_000));
    for (request, status) in [(long, "414"), (many, "431"), (large, "431")] {
        let stage = Stage::new();
        let mut client = stage.client();
        client.send(request);
        let (answer, end) = client.rest();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert_eq!(end, End::Closed);
        assert_eq!(stage.counter("requests_too_large"), 1);
        assert!(!stage.was_dialled());
    }
}

#[test]
fn a_slow_head_is_given_up() {
    let limits = Limits { header_timeout: Duration::from_millis(50), ..Limits::default() };
    let stage = Stage::with(limits);
    let mut client = stage.client();
    client.send("GET /read HTTP/1.1\r\nHost");
    let (answer, _) = client.rest();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(stage.counter("heads_too_slow"), 1);
    assert_eq!(told(&stage.records(2)), ["DROPPED GET /read head-too-slow", "FORWARDED GET /read 408"]);
}

#[test]
fn a_grpc_client_is_told_in_its_own_way() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("POST /a.B/C HTTP/1.1\r\nHost: h\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n");
    let answer = client.head();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("grpc-status: 7\r\n"), "{answer}");
}
