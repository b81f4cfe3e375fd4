//! Upstreams that fail: the client gets what comes nearest to being without us, the record says who it was.

use crate::{
    stage::{OK, Stage, told},
    wire::{End, Wire},
};

const GET: &str = "GET /read HTTP/1.1\r\nHost: h\r\n\r\n";

/// A client and a server with one request between them.
fn asked(stage: &Stage) -> (Wire, Wire) {
    let mut client = stage.client();
    client.send(GET);
    let mut server = stage.accept();
    server.head();
    (client, server)
}

#[test]
fn nobody_listens() {
    let mut stage = Stage::new();
    stage.close_upstream();
    let mut client = stage.client();
    client.send(GET);
    assert_eq!(client.rest(), (String::new(), End::Reset));
    assert_eq!(stage.counter("upstream_failures"), 1);
    assert_eq!(told(&stage.records(2)), ["FORWARDED GET /read", "ERROR GET /read 502 upstream-connect"]);
}

#[test]
fn it_closes_instead_of_answering() {
    let stage = Stage::new();
    let (mut client, server) = asked(&stage);
    drop(server);
    assert_eq!(client.rest(), (String::new(), End::Reset));
    assert!(!stage.was_dialled(), "nothing is tried twice");
    assert_eq!(told(&stage.records(2)), ["FORWARDED GET /read", "ERROR GET /read 502 upstream-closed"]);
}

#[test]
fn it_answers_with_something_else() {
    for answer in [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ] {
        let stage = Stage::new();
        let (mut client, mut server) = asked(&stage);
        server.send(answer);
        assert_eq!(client.rest(), (String::new(), End::Reset), "{answer:?}");
        assert_eq!(
            told(&stage.records(2)),
            ["FORWARDED GET /read", "ERROR GET /read 502 upstream-protocol"],
            "{answer:?}"
        );
    }
}

#[test]
fn an_idle_connection_that_it_closes_is_closed() {
    let stage = Stage::new();
    let (mut client, mut server) = asked(&stage);
    server.send(OK);
    client.exactly(OK.len());
    drop(server);
    assert_eq!(client.rest(), (String::new(), End::Closed));
}

#[test]
fn it_is_closed_when_the_client_leaves() {
    let stage = Stage::new();
    let (mut client, mut server) = asked(&stage);
    server.send(OK);
    client.exactly(OK.len());
    drop(client);
    assert_eq!(server.rest().0, "");
}

#[test]
fn it_is_told_when_the_client_waits_no_longer() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send(GET.repeat(2));
    client.finish();
    let mut server = stage.accept();
    server.head();
    server.send(OK);
    server.head();
    assert_eq!(server.rest(), (String::new(), End::Closed), "not before the last request");
    drop(server);
    assert_eq!(client.rest(), (OK.to_owned(), End::Reset));
    assert_eq!(told(&stage.records(4))[3], "ERROR GET /read 499 client-left");
}

#[test]
fn what_it_says_after_its_answer_belongs_to_nobody() {
    let stage = Stage::new();
    let (mut client, mut server) = asked(&stage);
    server.send(format!("{OK}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"));
    client.exactly(OK.len());
    // The next request must not get an answer that was there before it.
    let sent = client.try_send(GET);
    let (answer, _) = client.rest();
    assert!(!answer.contains("forged"), "{sent:?} {answer}");
}

/// As it would be without us: what it makes of it is its own doing.
#[test]
fn one_of_http_1_0_is_sent_what_the_client_sends() {
    let stage = Stage::new();
    let (mut client, mut server) = asked(&stage);
    let answer = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n";
    server.send(answer);
    client.exactly(answer.len());
    let request = "POST /any HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    client.send(request);
    assert_eq!(server.exactly(request.len()), request);
}
