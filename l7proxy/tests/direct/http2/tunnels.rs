//! CONNECT over HTTP/2, plain and extended (RFC 8441).

use bytes::Bytes;
use h2::{Reason, client, ext::Protocol, server};
use http::{Method, Request, Response, StatusCode};

use super::peers::{Client, Server, answer, code, get, quiet, read, run};
use crate::stage::{Stage, told};

fn connect(host: &str) -> Request<()> {
    Request::builder().method(Method::CONNECT).uri(host).body(()).unwrap()
}

/// A WebSocket.
fn chat(path: &str) -> Request<()> {
    let request = Request::builder().method(Method::CONNECT).uri(format!("http://api{path}"));
    request.extension(Protocol::from_static("websocket")).body(()).unwrap()
}

#[test]
fn a_tunnel_carries_anything_after_2xx() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::connect(&stage).await;
        let (response, mut up) = client.send(connect("inside:22"), false).await;
        up.send_data(Bytes::from("early"), false).unwrap();
        let mut server = Server::accept(&stage).await;
        let (request, mut respond) = server.call().await;
        assert_eq!((request.method(), request.uri().to_string()), (&Method::CONNECT, "inside:22".to_owned()));
        let mut body = request.into_body();
        quiet().await;
        assert_eq!(body.flow_control().used_capacity(), 0, "nothing before the answer");
        let mut down = respond.send_response(Response::new(()), false).unwrap();
        let mut answer = response.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "early");
        down.send_data(Bytes::from("hello"), false).unwrap();
        assert_eq!(answer.data().await.unwrap().unwrap(), "hello");
        // One side may end before the other.
        up.send_data(Bytes::new(), true).unwrap();
        assert!(read(body).await.unwrap().0.is_empty());
        down.send_data(Bytes::from("last"), true).unwrap();
        assert_eq!(read(answer).await.unwrap().0, "last");
    });
    assert_eq!(stage.counter("upgrades"), 1);
    assert_eq!(told(&stage.records(2)), ["FORWARDED CONNECT /", "FORWARDED CONNECT / 200"]);
}

#[test]
fn a_tunnel_that_is_not_granted() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::connect(&stage).await;
        let (response, mut up) = client.send(connect("inside:22"), false).await;
        up.send_data(Bytes::from("early"), false).unwrap();
        let mut server = Server::accept(&stage).await;
        let (request, mut respond) = server.call().await;
        let head = Response::builder().status(407).body(()).unwrap();
        respond.send_response(head, true).unwrap();
        assert_eq!(response.await.unwrap().status(), StatusCode::PROXY_AUTHENTICATION_REQUIRED);
        let mut body = request.into_body();
        assert!(body.data().await.is_none_or(|data| data.is_err()), "what was sent goes nowhere");
    });
    assert_eq!(stage.counter("upgrades"), 0);
}

#[test]
fn a_denied_tunnel() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::connect(&stage).await;
        assert_eq!(client.ask(connect("outside:22")).await.unwrap().status(), 403);
    });
    assert!(!stage.was_dialled());
}

#[test]
fn an_extended_one_has_a_path_and_its_protocol() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::connect(&stage).await;
        // We say that we may pass it on.
        assert_eq!(client.ask(get("/write")).await.unwrap().status(), 403);
        assert!(client.offers_extended_connect());
        let (response, _up) = client.send(chat("/any/../any/ws"), false).await;
        let mut server = Server::with(stage.listener(), server::Builder::new().enable_connect_protocol()).await;
        let (request, mut respond) = server.call().await;
        assert_eq!(request.extensions().get::<Protocol>().unwrap().as_str(), "websocket");
        assert_eq!(request.uri(), "http://api/any/ws");
        let mut down = respond.send_response(Response::new(()), false).unwrap();
        down.send_data(Bytes::from("hello"), true).unwrap();
        assert_eq!(read(response.await.unwrap().into_body()).await.unwrap().0, "hello");
        assert_eq!(client.ask(chat("/write")).await.unwrap().status(), 403);
    });
}

#[test]
fn an_upstream_that_does_not_offer_it() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::with(&stage, &client::Builder::new()).await;
        assert_eq!(client.ask(get("/write")).await.unwrap().status(), 403);
        let (response, _up) = client.send(chat("/any"), false).await;
        let mut server = Server::accept(&stage).await;
        assert_eq!(code(response.await), Reason::PROTOCOL_ERROR);
        // The connection stays.
        let (response, _) = client.send(get("/read"), true).await;
        let (_, respond) = server.call().await;
        answer(respond, "");
        response.await.unwrap();
    });
    assert_eq!(told(&stage.records(4))[3], "ERROR CONNECT /any 502 upstream-not-offered");
}
