//! Policy changes while something is under way: what it does not allow any more ends, with a record; all else goes on.

use bytes::Bytes;
use h2::Reason;
use http::Response;

use crate::{
    http2::peers::{Client, Server, code, get, quiet, read, run},
    stage::{OK, POLICY, Stage, told},
    wire::{End, Wire},
};

const GET: &str = "GET /read HTTP/1.1\r\nHost: h\r\nX-Key: 1\r\n\r\n";
const UPGRADE: &str = "GET /read/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Nothing below /read any more.
fn without_read() -> String {
    POLICY.replace("/read.*", "/other.*")
}

/// Nothing below /any any more: what [`sentinel`] asks for.
fn without_any(policy: &str) -> String {
    policy.replace("/any.*", "/none.*")
}

/// A request under way that the next policy does not allow: when it is ended, so is all that is to be ended.
struct Sentinel {
    client: Wire,
    _server: Wire,
}

fn sentinel(stage: &Stage) -> Sentinel {
    let mut client = stage.client();
    client.send(GET.replace("/read", "/any"));
    let mut server = stage.accept();
    server.head();
    Sentinel { client, _server: server }
}

impl Sentinel {
    fn until_ended(mut self) {
        assert_eq!(self.client.rest(), (String::new(), End::Reset));
    }
}

/// A request in the middle of its answer.
fn under_way(stage: &Stage) -> (Wire, Wire) {
    let mut client = stage.client();
    client.send(GET);
    let mut server = stage.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    client.until("hello");
    (client, server)
}

#[test]
fn an_answer_that_is_not_over() {
    let stage = Stage::new();
    let (mut client, mut server) = under_way(&stage);
    stage.publish(&without_read());
    assert_eq!(client.rest(), (String::new(), End::Reset));
    assert_eq!(server.rest(), (String::new(), End::Reset));
    assert_eq!(stage.reached("requests_ended", 1), 1);
    let records = stage.records(3);
    assert_eq!(
        told(&records),
        ["FORWARDED GET /read", "FORWARDED GET /read 200", "DROPPED GET /read 403 ended-policy-changed"]
    );
    let end = &records[2];
    assert_eq!(end["egress_denied_by"][0]["name"], "policy");
    assert_eq!(end["extensions"]["value"]["policyRevision"], 2);
    assert_eq!(end["extensions"]["value"]["nearest"]["field"], "path");
}

#[test]
fn a_request_that_waits_for_its_answer() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send(GET);
    let mut server = stage.accept();
    server.head();
    stage.publish(&without_read());
    assert_eq!(client.rest(), (String::new(), End::Reset));
    assert_eq!(server.rest(), (String::new(), End::Reset));
    assert_eq!(told(&stage.records(2)), ["FORWARDED GET /read", "DROPPED GET /read 403 ended-policy-changed"]);
}

#[test]
fn what_is_as_good_as_answered_is_not_lost() {
    let stage = Stage::new();
    let (mut client, mut server) = under_way(&stage);
    stage.publish(&without_read());
    server.send("world");
    assert_eq!(client.exactly(5), "world");
    client.send(GET);
    assert!(client.head().starts_with("HTTP/1.1 403 "));
}

#[test]
fn a_tunnel() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send(UPGRADE);
    let mut server = stage.accept();
    server.head();
    server.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello");
    client.until("hello");
    stage.publish(&without_read());
    assert_eq!(client.rest(), (String::new(), End::Reset));
    assert_eq!(server.rest(), (String::new(), End::Reset));
    assert_eq!(told(&stage.records(3))[2], "DROPPED GET /read/ws 403 ended-policy-changed");
}

#[test]
fn what_is_allowed_by_another_rule_goes_on() {
    let stage = Stage::new();
    let (mut client, mut server) = under_way(&stage);
    let sentinel = sentinel(&stage);
    stage.publish(&without_any(&POLICY.replace("/read.*", "/rea.*")));
    sentinel.until_ended();
    server.send("world");
    assert_eq!(client.exactly(5), "world");
    assert_eq!(stage.reached("requests_ended", 1), 1);
}

#[test]
fn what_is_over_is_left_alone() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send(GET);
    let mut server = stage.accept();
    server.head();
    server.send(OK);
    client.exactly(OK.len());
    let sentinel = sentinel(&stage);
    stage.publish(&without_any(&without_read()));
    sentinel.until_ended();
    client.send(GET);
    assert!(client.head().starts_with("HTTP/1.1 403 "), "the connection is there, and the next request is judged");
    assert_eq!(stage.reached("requests_ended", 1), 1);
}

#[test]
fn headers_are_judged_again_where_rules_ask_for_them() {
    let with =
        |key: &str| POLICY.replace("path: \"/read.*\"", &format!("path: \"/read.*\", headers: [\"X-Key: {key}\"]"));
    let stage = Stage::new();
    stage.publish(&with("1"));
    let (mut client, mut server) = under_way(&stage);
    let sentinel = sentinel(&stage);
    stage.publish(&without_any(&with("1")));
    sentinel.until_ended();
    server.send("wor");
    assert_eq!(client.exactly(3), "wor");
    stage.publish(&with("2"));
    assert_eq!(client.rest(), (String::new(), End::Reset));
}

#[test]
fn headers_that_nobody_kept_allow_nothing() {
    let stage = Stage::new();
    let (mut client, _server) = under_way(&stage);
    stage.publish(&POLICY.replace("path: \"/read.*\"", "path: \"/read.*\", headers: [\"X-Key: 1\"]"));
    assert_eq!(client.rest(), (String::new(), End::Reset));
}

#[test]
fn all_of_it_may_be_left() {
    let stage = Stage::leaving();
    let (mut client, mut server) = under_way(&stage);
    stage.publish(&without_read());
    // Nothing tells that nothing happens.
    std::thread::sleep(std::time::Duration::from_millis(300));
    server.send("world");
    assert_eq!(client.exactly(5), "world");
    client.send(GET);
    assert!(client.head().starts_with("HTTP/1.1 403 "));
}

#[test]
fn one_stream_of_many() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::connect(&stage).await;
        let (read_response, _) = client.send(get("/read"), true).await;
        let (any_response, _) = client.send(get("/any"), true).await;
        let (waiting, _) = client.send(get("/read/waiting"), true).await;
        let mut server = Server::accept(&stage).await;
        let ((_, mut first), (_, mut second), (_, mut third)) =
            (server.call().await, server.call().await, server.call().await);
        let mut first = first.send_response(Response::new(()), false).unwrap();
        let mut second = second.send_response(Response::new(()), false).unwrap();
        let mut read_body = read_response.await.unwrap().into_body();
        let any_body = any_response.await.unwrap().into_body();
        stage.publish(&without_read());
        assert_eq!(code(read_body.data().await.unwrap()), Reason::CANCEL);
        assert_eq!(code(waiting.await), Reason::CANCEL);
        assert_eq!(std::future::poll_fn(|cx| first.poll_reset(cx)).await.unwrap(), Reason::CANCEL);
        assert_eq!(std::future::poll_fn(|cx| third.poll_reset(cx)).await.unwrap(), Reason::CANCEL);
        second.send_data(Bytes::from("on"), true).unwrap();
        assert_eq!(read(any_body).await.unwrap().0, "on");
        quiet().await;
    });
    assert_eq!(stage.reached("requests_ended", 2), 2);
    let told = told(&stage.records(7));
    let ended = |path: &str| {
        told.iter().filter(|line| **line == format!("DROPPED GET {path} 403 ended-policy-changed")).count()
    };
    assert_eq!((ended("/read"), ended("/read/waiting"), told.len()), (1, 1, 7), "{told:?}");
}
