//! What is allowed arrives as it was sent.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};

use super::peers::{Client, Server, answer, get, post, quiet, read, run};
use crate::stage::{Stage, told};

#[test]
fn heads_are_unchanged_both_ways() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::connect(&stage).await;
        let sent = Request::get("http://api:80/read?x=/../y")
            .header("b", "1")
            .header("a", "2")
            .header("b", "3")
            .header("te", "trailers")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(())
            .unwrap();
        let (response, _) = client.send(sent.clone(), true).await;
        let mut server = Server::accept(&stage).await;
        let (request, mut respond) = server.call().await;
        assert_eq!(request.uri(), sent.uri());
        assert_eq!(request.headers(), sent.headers());
        assert_eq!(request.headers().keys().collect::<Vec<_>>(), ["b", "a", "te", "cookie"]);
        assert!(request.body().is_end_stream());
        let head = Response::builder().status(599).header("x", "y").header("set-cookie", "1").header("set-cookie", "2");
        respond.send_response(head.body(()).unwrap(), true).unwrap();
        let answer = response.await.unwrap();
        assert_eq!(answer.status(), StatusCode::from_u16(599).unwrap());
        assert_eq!(answer.headers().len(), 3, "{:?}", answer.headers());
        assert_eq!(answer.headers().get_all("set-cookie").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert!(answer.body().is_end_stream());
    });
    let records = stage.records(2);
    assert_eq!(told(&records), ["FORWARDED GET /read?x=/../y", "FORWARDED GET /read?x=/../y 599"]);
    assert_eq!(records[0]["l7"]["http"]["protocol"], "HTTP/2");
    assert_eq!(records[0]["l7"]["http"]["url"], "http://api:80/read?x=/../y");
}

#[test]
fn what_is_judged_is_what_is_forwarded() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::connect(&stage).await;
        let mut server = None;
        for (sent, normal) in [("/read//a/../%62", "/read/b"), ("/write/../read", "/read"), ("/read?//", "/read?//")] {
            let (response, _) = client.send(get(sent), true).await;
            let server = match &mut server {
                Some(server) => server,
                empty => empty.insert(Server::accept(&stage).await),
            };
            let (request, respond) = server.call().await;
            assert_eq!(request.uri().to_string(), format!("http://api{normal}"));
            answer(respond, "");
            response.await.unwrap();
        }
        let denied = client.ask(get("/read/../write")).await.unwrap();
        assert_eq!(denied.status(), 403);
    });
}

#[test]
fn a_host_header_may_stand_for_the_authority() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::connect(&stage).await;
        let mut sent = Request::get("/read").header("host", "api").body(()).unwrap();
        // The library then sends no :authority.
        *sent.version_mut() = http::Version::HTTP_11;
        let (response, _) = client.send(sent, true).await;
        let mut server = Server::accept(&stage).await;
        let (request, respond) = server.call().await;
        assert_eq!(request.uri(), "/read");
        assert_eq!(request.headers()["host"], "api");
        answer(respond, "");
        assert_eq!(response.await.unwrap().status(), 200);
    });
}

#[test]
fn streams_share_one_connection_and_wait_for_nobody() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::connect(&stage).await;
        let (first, _) = client.send(get("/read/1"), true).await;
        let (second, _) = client.send(get("/read/2"), true).await;
        let denied = client.ask(get("/write")).await.unwrap();
        assert_eq!((denied.status(), denied.body().as_str()), (StatusCode::FORBIDDEN, "Access denied\r\n"));
        let mut server = Server::accept(&stage).await;
        let (_, first_call) = server.call().await;
        let (_, second_call) = server.call().await;
        answer(second_call, "two");
        assert_eq!(read(second.await.unwrap().into_body()).await.unwrap().0, "two");
        answer(first_call, "one");
        assert_eq!(read(first.await.unwrap().into_body()).await.unwrap().0, "one");
    });
    assert!(!stage.was_dialled(), "one was enough");
    assert_eq!(stage.counter("requests_forwarded"), 2);
}

#[test]
fn bodies_and_trailers_go_both_ways_at_once() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::connect(&stage).await;
        let (response, mut up) = client.send(post("/any"), false).await;
        let mut server = Server::accept(&stage).await;
        let (request, mut respond) = server.call().await;
        let mut body = request.into_body();
        let mut down = respond.send_response(Response::new(()), false).unwrap();
        let mut answer = response.await.unwrap().into_body();
        for turn in ["a", "b", "c"] {
            up.send_data(Bytes::from(turn), false).unwrap();
            assert_eq!(body.data().await.unwrap().unwrap(), turn);
            down.send_data(Bytes::from(turn), false).unwrap();
            assert_eq!(answer.data().await.unwrap().unwrap(), turn);
        }
        let trailers = |value| HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static(value))]);
        up.send_trailers(trailers("up")).unwrap();
        assert!(body.data().await.is_none());
        assert_eq!(body.trailers().await.unwrap().unwrap()["x-sum"], "up");
        down.send_trailers(trailers("down")).unwrap();
        assert_eq!(read(answer).await.unwrap().1.unwrap()["x-sum"], "down");
    });
}

#[test]
fn a_large_body_arrives_whole() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::connect(&stage).await;
        let (response, mut up) = client.send(post("/any"), false).await;
        let mut server = Server::accept(&stage).await;
        let (request, mut respond) = server.call().await;
        let text = "0123456789".repeat(100_000);
        up.send_data(Bytes::from(text.clone()), true).unwrap();
        let (came, _) = read(request.into_body()).await.unwrap();
        assert!(came == text);
        let mut down = respond.send_response(Response::new(()), false).unwrap();
        down.send_data(Bytes::from(text.clone()), true).unwrap();
        assert!(read(response.await.unwrap().into_body()).await.unwrap().0 == text);
    });
}

#[test]
fn who_does_not_read_is_not_read_for() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::connect(&stage).await;
        let (_response, mut up) = client.send(post("/any"), false).await;
        let mut server = Server::accept(&stage).await;
        let (request, _respond) = server.call().await;
        let mut sent = 0;
        up.reserve_capacity(16 << 20);
        // What is on its way is bounded by the server's window.
        while let Ok(Some(Ok(length))) =
            tokio::time::timeout(std::time::Duration::from_millis(300), std::future::poll_fn(|cx| up.poll_capacity(cx)))
                .await
        {
            up.send_data(Bytes::from(vec![0; length]), false).unwrap();
            sent += length;
            up.reserve_capacity(16 << 20);
            assert!(sent < 1 << 17, "{sent}");
        }
        assert!(sent >= 65_535, "{sent}");
        drop(request);
    });
}

#[test]
fn interim_answers_are_passed_on() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::connect(&stage).await;
        let (mut response, _) = client.send(get("/read"), true).await;
        let mut server = Server::accept(&stage).await;
        let (_, mut respond) = server.call().await;
        let hint = Response::builder().status(103).header("link", "</x>").body(()).unwrap();
        respond.send_informational(hint).unwrap();
        let interim = std::future::poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
        assert_eq!(
            (interim.status(), &interim.headers()["link"]),
            (StatusCode::EARLY_HINTS, &HeaderValue::from_static("</x>"))
        );
        answer(respond, "");
        assert_eq!(response.await.unwrap().status(), 200);
    });
}

#[test]
fn an_answer_may_come_before_the_request_is_whole() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::connect(&stage).await;
        let (response, mut up) = client.send(post("/any"), false).await;
        let mut server = Server::accept(&stage).await;
        let (mut request, respond) = server.call().await;
        answer(respond, "early");
        assert_eq!(read(response.await.unwrap().into_body()).await.unwrap().0, "early");
        up.send_data(Bytes::from("late"), true).unwrap();
        assert_eq!(request.body_mut().data().await.unwrap().unwrap(), "late");
        quiet().await;
    });
}

#[test]
fn the_record_of_a_grpc_call_says_how_it_went() {
    // With trailers, and cut off behind the head.
    for is_whole in [true, false] {
        let stage = Stage::new();
        run(async {
            let mut client = Client::connect(&stage).await;
            let (response, _) = client.send(get("/read/call"), true).await;
            let mut server = Server::accept(&stage).await;
            let (_, mut respond) = server.call().await;
            let head = Response::builder().header("content-type", "application/grpc");
            let mut body = respond.send_response(head.body(()).unwrap(), false).unwrap();
            let mut answer = response.await.unwrap();
            body.send_data(Bytes::from_static(b"reply"), false).unwrap();
            assert_eq!(answer.body_mut().data().await.unwrap().unwrap(), "reply");
            if is_whole {
                let status = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("5"))]);
                body.send_trailers(status).unwrap();
                answer.body_mut().trailers().await.unwrap();
            } else {
                body.send_reset(h2::Reason::CANCEL);
                assert!(answer.body_mut().data().await.unwrap().is_err());
            }
        });
        let records = stage.records(2);
        assert_eq!(told(&records), ["FORWARDED GET /read/call", "FORWARDED GET /read/call 200"]);
        let fields = records[1]["l7"]["http"]["headers"].as_array().unwrap();
        let status = serde_json::json!({"key": "Grpc-Status", "value": "5"});
        assert_eq!(fields.contains(&status), is_whole, "{fields:?}");
    }
}
