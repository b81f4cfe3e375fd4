//! Bodies stream, at the pace of the slower side, and end as they ended.

use std::thread;

use crate::{
    stage::{OK, Stage, told},
    wire::{End, Wire},
};

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const EXPECTING: &str = "POST /any HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

#[test]
fn what_nobody_reads_is_not_taken() {
    const MOST: usize = 256 << 20;
    let stage = Stage::new();
    let mut client = stage.client();
    client.send(format!("POST /any HTTP/1.1\r\nHost: h\r\nContent-Length: {MOST}\r\n\r\n"));
    let mut server = stage.accept();
    server.head();
    let block = vec![b'x'; 1 << 20];
    let mut sent = 0;
    client.set_patience_ms(300);
    while sent < MOST && client.try_send(&block).is_ok() {
        sent += block.len();
    }
    // What the kernel's buffers of two connections hold, and little more.
    assert!(sent < 64 << 20, "{sent} bytes were taken while nobody read");
}

#[test]
fn denied_requests_are_not_taken_from_who_does_not_read() {
    const MOST: usize = 8 << 20;
    let stage = Stage::new();
    let mut client = Wire::connect_small(stage.front());
    let block = "GET /write HTTP/1.1\r\nHost: h\r\n\r\n".repeat(1000);
    let mut sent = 0;
    client.set_patience_ms(1000);
    while sent < MOST && client.try_send(&block).is_ok() {
        sent += block.len();
    }
    // One thread serves all: what was there before these was looked at.
    let mut other = stage.client();
    for _ in 0..100 {
        other.send("GET /write HTTP/1.1\r\nHost: h\r\n\r\n");
        other.until("Access denied\r\n");
    }
    // Their answers fill the kernel's buffers (4 MiB), and little more.
    let denied = stage.counter("requests_denied");
    assert!(denied < 100_000, "{denied} requests were answered while nobody read");
}

#[test]
fn an_answer_is_not_lost_to_the_reset_behind_it() {
    let stage = Stage::new();
    let (mut client, mut server) = half_sent(&stage);
    let answer = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno";
    server.send(answer);
    client.until("\r\n\r\nno");
    server.abort();
    assert_eq!(client.rest(), (String::new(), End::Closed));
}

#[test]
fn interim_answers_that_nobody_reads_are_not_taken() {
    const MOST: usize = 256 << 20;
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("GET /read HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut server = stage.accept();
    server.head();
    let interim = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n";
    let block = interim.repeat((1 << 20) / interim.len());
    let mut sent = 0;
    server.set_patience_ms(300);
    while sent < MOST && server.try_send(&block).is_ok() {
        sent += block.len();
    }
    assert!(sent < 64 << 20, "{sent} bytes were taken while nobody read");
    assert_eq!(client.head(), interim, "what was taken arrives");
}

#[test]
fn large_bodies_pass_whole_both_ways() {
    const LENGTH: usize = 8 << 20;
    let stage = Stage::new();
    let mut client = stage.client();
    let mut server = thread::scope(|scope| {
        scope.spawn(|| {
            client.send(format!("POST /any HTTP/1.1\r\nHost: h\r\nContent-Length: {LENGTH}\r\n\r\n"));
            client.send(vec![b'x'; LENGTH]);
        });
        let mut server = stage.accept();
        server.head();
        server.skip(LENGTH);
        server
    });
    thread::scope(|scope| {
        scope.spawn(|| {
            server.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
            server.send(vec![b'x'; LENGTH]);
        });
        client.head();
        client.skip(LENGTH);
    });
}

#[test]
fn parts_arrive_as_they_are_sent() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("POST /any HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut server = stage.accept();
    server.head();
    client.send("5\r\nhello\r\n");
    assert_eq!(server.exactly(10), "5\r\nhello\r\n");
    client.send("0\r\n\r\n");
    assert_eq!(server.exactly(5), "0\r\n\r\n");
    server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.head();
    server.send("7\r\ndata: 1\r\n");
    assert_eq!(client.exactly(12), "7\r\ndata: 1\r\n");
    server.send("0\r\n\r\n");
    assert_eq!(client.exactly(5), "0\r\n\r\n");
}

#[test]
fn trailers_arrive() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("GET /read HTTP/1.1\r\nHost: h\r\nTE: trailers\r\n\r\n");
    let mut server = stage.accept();
    server.head();
    let answer =
        "HTTP/1.1 200 OK\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-sum: 1\r\n\r\n";
    server.send(answer);
    assert_eq!(client.exactly(answer.len()).to_lowercase(), answer.to_lowercase());
}

#[test]
fn leave_to_send_comes_from_the_server() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send(EXPECTING);
    let mut server = stage.accept();
    assert_eq!(server.head(), EXPECTING);
    server.send(CONTINUE);
    assert_eq!(client.head(), CONTINUE);
    client.send("hello");
    assert_eq!(server.exactly(5), "hello");
    server.send(OK);
    assert_eq!(client.head(), OK);
}

#[test]
fn a_server_may_answer_instead_of_giving_leave() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send(EXPECTING);
    let mut server = stage.accept();
    server.head();
    server.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 417 "));
}

#[test]
fn a_body_that_did_not_wait_is_not_held_back() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send(format!("{EXPECTING}hello"));
    let mut server = stage.accept();
    server.head();
    assert_eq!(server.exactly(5), "hello");
    server.send(OK);
    let answer = client.head();
    assert!(answer == OK || answer == CONTINUE, "{answer}");
}

#[test]
fn a_client_that_waited_in_vain_may_send() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send(EXPECTING);
    let mut server = stage.accept();
    server.head();
    client.send("hello");
    assert_eq!(server.exactly(5), "hello");
    server.send(OK);
    let answer = client.until(OK);
    assert!(answer == OK || answer == format!("{CONTINUE}{OK}"), "{answer}");
}

/// A request in the middle of its body, at the server already.
fn half_sent(stage: &Stage) -> (Wire, Wire) {
    let mut client = stage.client();
    client.send("POST /any HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhello");
    let mut server = stage.accept();
    server.until("hello");
    (client, server)
}

#[test]
fn half_a_request_stays_half() {
    let stage = Stage::new();
    let (client, mut server) = half_sent(&stage);
    client.finish();
    let (more, end) = server.rest();
    assert_eq!((more.as_str(), end), ("", End::Reset));
    assert_eq!(told(&stage.records(2)), ["FORWARDED POST /any", "ERROR POST /any 499 client-left"]);
}

#[test]
fn a_client_that_resets_is_to_blame() {
    let stage = Stage::new();
    let (client, mut server) = half_sent(&stage);
    client.abort();
    assert_eq!(server.rest(), (String::new(), End::Reset));
    assert_eq!(told(&stage.records(2)), ["FORWARDED POST /any", "ERROR POST /any 499 client-left"]);
}

#[test]
fn a_client_that_does_not_wait_for_its_answer_is_to_blame() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("GET /read HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut server = stage.accept();
    server.head();
    client.abort();
    assert_eq!(server.rest().0, "");
    assert_eq!(told(&stage.records(2)), ["FORWARDED GET /read", "ERROR GET /read 499 client-left"]);
}

#[test]
fn half_an_answer_stays_half() {
    for headers in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let stage = Stage::new();
        let mut client = stage.client();
        client.send("GET /read HTTP/1.1\r\nHost: h\r\n\r\n");
        let mut server = stage.accept();
        server.head();
        server.send(format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n5\r\nhello\r\n"));
        client.until("hello\r\n");
        drop(server);
        let (more, end) = client.rest();
        assert_eq!((more.as_str(), end), ("", End::Reset), "{headers}");
    }
}

#[test]
fn a_server_may_answer_before_it_read_all() {
    let stage = Stage::new();
    let (mut client, mut server) = half_sent(&stage);
    server.send("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno");
    let answer = client.until("\r\n\r\nno");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(told(&stage.records(2)), ["FORWARDED POST /any", "FORWARDED POST /any 413"]);
}

#[test]
fn a_body_may_come_behind_an_answer_that_gave_no_leave() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send(EXPECTING);
    let mut server = stage.accept();
    server.head();
    let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno";
    server.send(answer);
    client.exactly(answer.len());
    client.send("hello");
    assert_eq!(server.exactly(5), "hello");
    client.send("GET /read/next HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(server.head(), "GET /read/next HTTP/1.1\r\nHost: h\r\n\r\n");
    server.send(OK);
    assert_eq!(client.exactly(OK.len()), OK);
}

#[test]
fn a_body_goes_on_behind_an_answer_that_came_early() {
    // More than the kernel takes for a server that does not read, less than it and the data plane's buffers.
    const LENGTH: usize = 600 << 10;
    let stage = Stage::new();
    let mut client = stage.client();
    client.send(format!("POST /any HTTP/1.1\r\nHost: h\r\nContent-Length: {LENGTH}\r\n\r\n"));
    let mut server = stage.accept();
    server.head();
    server.send(OK);
    assert_eq!(client.exactly(OK.len()), OK);
    client.send(vec![b'x'; LENGTH]);
    client.finish();
    // One thread serves all: what was there before these was looked at.
    let mut other = stage.client();
    for _ in 0..3 {
        other.send("GET /write HTTP/1.1\r\nHost: h\r\n\r\n");
        other.until("Access denied\r\n");
    }
    server.skip(LENGTH);
    drop(server);
    assert_eq!(client.rest(), (String::new(), End::Closed));
}
