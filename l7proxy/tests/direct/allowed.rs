//! Allowed traffic arrives unchanged.

use crate::{
    stage::{OK, Stage},
    wire::End,
};

/// Sends `request` and gives what reached the server, whole, together with the answer that reached the client.
fn exchange(request: &str, answer: &str) -> (String, String) {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send(request);
    let mut server = stage.accept();
    let seen = server.exactly(request.len());
    server.send(answer);
    let got = client.exactly(answer.len());
    drop(client);
    let (more, _) = server.rest();
    (seen + &more, got)
}

#[test]
fn requests_arrive_byte_for_byte() {
    for request in [
        "GET /read HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /read?x=1&y=%20%c3%a9 HTTP/1.1\r\nhOsT: h:8080\r\nACCEPT: */*\r\nx-MiXeD-Case: 1\r\nX-Obs: \u{e9}\u{e8}\r\n\r\n",
        "GET http://h/read HTTP/1.1\r\nHost: h\r\nVia: a\r\nForwarded: for=b\r\nX-Forwarded-For: c\r\nTE: trailers\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: h\r\nEmpty:\r\n\r\n",
        "HEAD /any HTTP/1.1\r\nHost: h\r\nCookie: a=b; c=d\r\n\r\n",
        "M-SEARCH /any|{}^\" HTTP/1.1\r\nHost: h\r\nAuthorization: Basic eDp5\r\n\r\n",
        "GET /any HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        "POST /any HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
        "DELETE /any HTTP/1.1\r\nHost: h\r\nConnection: close\r\nDate: now\r\n\r\n",
        "POST /any HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "GET /any HTTP/1.0\r\nHost: h\r\n\r\n",
        "GET /any HTTP/1.0\r\n\r\n",
    ] {
        let answer = if request.starts_with("HEAD") { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" } else { OK };
        let (seen, _) = exchange(request, if request.contains("/1.0") { "" } else { answer });
        assert_eq!(seen, request);
    }
}

#[test]
fn answers_arrive_byte_for_byte() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 Fine, thank you\r\nSERVER: x\r\nx-MiXeD: 1\r\nDate: Tue\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 204 No Content\r\nX: y\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 299 Our own\r\nContent-Length: 0\r\n\r\n",
    ] {
        assert_eq!(exchange("GET /read HTTP/1.1\r\nHost: h\r\n\r\n", answer).1, answer);
    }
}

#[test]
fn an_answer_without_length_ends_with_its_connection() {
    for (version, headers) in [("1.1", "Connection: close\r\n"), ("1.0", ""), ("1.1", "")] {
        let stage = Stage::new();
        let mut client = stage.client();
        client.send("GET /read HTTP/1.1\r\nHost: h\r\n\r\n");
        let mut server = stage.accept();
        server.head();
        server.send(format!("HTTP/{version} 200 OK\r\n{headers}\r\nhello"));
        drop(server);
        assert_eq!(client.rest(), (format!("HTTP/{version} 200 OK\r\n{headers}\r\nhello"), End::Closed));
    }
}

#[test]
fn a_client_of_http_1_0_is_served_as_such() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("GET /read HTTP/1.0\r\n\r\n");
    let mut server = stage.accept();
    assert_eq!(server.head(), "GET /read HTTP/1.0\r\n\r\n");
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.rest(), ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(), End::Closed));
}

#[test]
fn a_server_of_http_1_0_ends_the_connection_as_it_would_without_us() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("GET /read HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut server = stage.accept();
    server.head();
    server.send("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
    drop(server);
    assert_eq!(client.rest(), ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(), End::Closed));
}

#[test]
fn a_server_of_http_1_0_may_keep_the_connection() {
    let stage = Stage::new();
    let mut client = stage.client();
    let mut server = None;
    for _ in 0..2 {
        client.send("GET /read HTTP/1.1\r\nHost: h\r\n\r\n");
        let server = server.get_or_insert_with(|| stage.accept());
        server.head();
        let answer = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok";
        server.send(answer);
        assert_eq!(client.exactly(answer.len()), answer);
    }
}

#[test]
fn a_connection_carries_many_requests_to_one_upstream() {
    let stage = Stage::new();
    let mut client = stage.client();
    let mut server = None;
    for index in 0..5 {
        client.send(format!("GET /read/{index} HTTP/1.1\r\nHost: h\r\n\r\n"));
        let server = server.get_or_insert_with(|| stage.accept());
        assert!(server.head().starts_with(&format!("GET /read/{index} ")));
        server.send(OK);
        assert_eq!(client.exactly(OK.len()), OK);
    }
    assert!(!stage.was_dialled());
}

#[test]
fn a_client_may_stop_sending_before_its_answers() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("GET /read/1 HTTP/1.1\r\nHost: h\r\n\r\nGET /read/2 HTTP/1.1\r\nHost: h\r\n\r\n");
    client.finish();
    let mut server = stage.accept();
    for _ in 0..2 {
        server.head();
        server.send(OK);
    }
    let (answers, end) = client.rest();
    assert_eq!((answers.as_str(), end), (format!("{OK}{OK}").as_str(), End::Closed));
}

#[test]
fn interim_answers_arrive() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("GET /read HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut server = stage.accept();
    server.head();
    server.send("HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n");
    assert_eq!(client.head(), "HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n");
    server.send("HTTP/1.1 102 Processing\r\n\r\n");
    assert_eq!(client.head(), "HTTP/1.1 102 Processing\r\n\r\n");
    server.send(OK);
    assert_eq!(client.head(), OK);
}

#[test]
fn the_normal_form_is_what_is_forwarded() {
    for (sent, arrives) in [
        ("/read/../read/./a//b", "/read/a/b"),
        ("/%72ead/%7e?%2e=/../", "/read/~?%2e=/../"),
        ("http://h/any/../read", "http://h/read"),
    ] {
        let stage = Stage::new();
        let mut client = stage.client();
        client.send(format!("GET {sent} HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n"));
        let mut server = stage.accept();
        assert_eq!(server.head(), format!("GET {arrives} HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n"));
    }
}
