//! Who ends a stream or a connection, and what the other side hears of it.

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::Response;

use super::peers::{Client, Server, answer, code, get, post, read, run};
use crate::stage::{Stage, told};

#[test]
fn an_upstream_resets_before_its_answer() {
    for reason in [Reason::CANCEL, Reason::INTERNAL_ERROR, Reason::REFUSED_STREAM, Reason::from(0x1234)] {
        let stage = Stage::new();
        run(async {
            let mut client = Client::connect(&stage).await;
            let (response, _) = client.send(get("/read"), true).await;
            let mut server = Server::accept(&stage).await;
            let (_, mut respond) = server.call().await;
            respond.send_reset(reason);
            assert_eq!(code(response.await), reason);
            // The others are not concerned.
            let (asked, ()) = tokio::join!(client.ask(get("/read")), server.serve());
            asked.unwrap();
        });
        assert_eq!(told(&stage.records(4))[..2], ["FORWARDED GET /read", "ERROR GET /read 502 upstream-reset"]);
    }
}

/// Both ends of an answer of which one half has arrived.
async fn half_answered(stage: &Stage) -> (Client, Server, SendStream<Bytes>, RecvStream) {
    let mut client = Client::connect(stage).await;
    let (response, _) = client.send(get("/read"), true).await;
    let mut server = Server::accept(stage).await;
    let (_, mut respond) = server.call().await;
    let mut body = respond.send_response(Response::new(()), false).unwrap();
    body.send_data(Bytes::from("half"), false).unwrap();
    let mut answer = response.await.unwrap().into_body();
    assert_eq!(answer.data().await.unwrap().unwrap(), "half");
    (client, server, body, answer)
}

#[test]
fn an_upstream_resets_in_the_middle_of_its_answer() {
    let stage = Stage::new();
    run(async {
        let (_client, _server, mut body, mut answer) = half_answered(&stage).await;
        body.send_reset(Reason::ENHANCE_YOUR_CALM);
        assert_eq!(code(answer.data().await.unwrap()), Reason::ENHANCE_YOUR_CALM);
    });
}

#[test]
fn a_client_resets_before_the_answer() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::connect(&stage).await;
        let (_response, mut up) = client.send(post("/any"), false).await;
        let mut server = Server::accept(&stage).await;
        let (request, mut respond) = server.call().await;
        up.send_reset(Reason::from(0x77));
        assert_eq!(std::future::poll_fn(|cx| respond.poll_reset(cx)).await.unwrap(), Reason::from(0x77));
        assert_eq!(code(read(request.into_body()).await), Reason::from(0x77));
    });
    assert_eq!(told(&stage.records(2)), ["FORWARDED POST /any", "ERROR POST /any 499 client-left"]);
}

#[test]
fn a_client_resets_in_the_middle_of_the_answer() {
    for ended in [true, false] {
        let stage = Stage::new();
        run(async {
            let mut client = Client::connect(&stage).await;
            let (response, mut up) = client.send(post("/any"), ended).await;
            let mut server = Server::accept(&stage).await;
            let (_, mut respond) = server.call().await;
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            let answer = response.await.unwrap();
            up.send_reset(Reason::from(0x77));
            drop(answer);
            assert_eq!(std::future::poll_fn(|cx| body.poll_reset(cx)).await.unwrap(), Reason::from(0x77));
        });
    }
}

#[test]
fn a_client_leaves() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::connect(&stage).await;
        let (_response, _) = client.send(get("/read"), true).await;
        let mut server = Server::accept(&stage).await;
        let (_, mut respond) = server.call().await;
        client.leave();
        assert_eq!(std::future::poll_fn(|cx| respond.poll_reset(cx)).await.unwrap(), Reason::CANCEL);
        server.end.await.unwrap();
    });
    assert_eq!(told(&stage.records(2))[1], "ERROR GET /read 499 client-left");
}

#[test]
fn nobody_listens() {
    let mut stage = Stage::new();
    stage.close_upstream();
    run(async {
        let mut client = Client::connect(&stage).await;
        assert_eq!(code(client.ask(get("/read")).await), Reason::REFUSED_STREAM);
        assert_eq!(code(client.ask(get("/read")).await), Reason::REFUSED_STREAM);
    });
    assert_eq!(stage.counter("upstream_failures"), 2);
    assert_eq!(told(&stage.records(4))[..2], ["FORWARDED GET /read", "ERROR GET /read 502 upstream-connect"]);
}

#[test]
fn an_upstream_that_speaks_http1() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::connect(&stage).await;
        let (response, _) = client.send(get("/read"), true).await;
        let (mut stream, _) = stage.listener().accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        response.await.unwrap_err();
        client.end.await.unwrap().unwrap_err();
    });
    assert_eq!(told(&stage.records(2)), ["FORWARDED GET /read", "ERROR GET /read 502 upstream-protocol"]);
}

#[test]
fn an_upstream_closes_with_streams_open() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::connect(&stage).await;
        let (first, _) = client.send(get("/read/1"), true).await;
        let (second, _) = client.send(get("/read/2"), true).await;
        let mut server = Server::accept(&stage).await;
        let calls = (server.call().await, server.call().await);
        server.close();
        // As the client would see it without us: its connection is over.
        assert!(first.await.unwrap_err().is_io());
        assert!(second.await.unwrap_err().is_io());
        drop(calls);
    });
    let mut told = told(&stage.records(4));
    told.sort();
    assert_eq!(told[..2], ["ERROR GET /read/1 502 upstream-closed", "ERROR GET /read/2 502 upstream-closed"]);
}

#[test]
fn an_upstream_closes_in_the_middle_of_an_answer() {
    let stage = Stage::new();
    run(async {
        let (_client, server, _body, mut answer) = half_answered(&stage).await;
        server.close();
        answer.data().await.unwrap().unwrap_err();
    });
}

#[test]
fn an_idle_upstream_that_closes_takes_the_client_along() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::connect(&stage).await;
        let (asked, server) = tokio::join!(client.ask(get("/read")), async {
            let mut server = Server::accept(&stage).await;
            server.serve().await;
            server
        });
        asked.unwrap();
        server.close();
        client.end.await.unwrap().unwrap();
    });
}

#[test]
fn an_upstream_that_goes_away_finishes_what_it_has() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::connect(&stage).await;
        let (response, _) = client.send(get("/read"), true).await;
        let mut server = Server::accept(&stage).await;
        let (_, respond) = server.call().await;
        server.go_away();
        super::peers::quiet().await;
        answer(respond, "last");
        assert_eq!(read(response.await.unwrap().into_body()).await.unwrap().0, "last");
        client.end.await.unwrap().unwrap();
    });
    assert!(!stage.was_dialled());
}

#[test]
fn a_process_that_ends_finishes_what_is_under_way() {
    for retires in [true, false] {
        let stage = Stage::new();
        run(async {
            let mut client = Client::connect(&stage).await;
            let (response, mut up) = client.send(post("/any"), false).await;
            let mut server = Server::accept(&stage).await;
            let (request, mut respond) = server.call().await;
            let mut down = respond.send_response(Response::new(()), false).unwrap();
            let answer = response.await.unwrap().into_body();
            if retires {
                stage.drain.retire();
            } else {
                stage.drain.start();
            }
            client.until_told_to_go_away().await;
            up.send_data(Bytes::from("more"), true).unwrap();
            assert_eq!(read(request.into_body()).await.unwrap().0, "more");
            down.send_data(Bytes::from("last"), true).unwrap();
            assert_eq!(read(answer).await.unwrap().0, "last");
            client.end.await.unwrap().unwrap();
        });
    }
}

#[test]
fn an_idle_connection_ends_with_the_process() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::connect(&stage).await;
        assert_eq!(client.ask(get("/write")).await.unwrap().status(), 403);
        stage.drain.start();
        client.end.await.unwrap().unwrap();
    });
}
