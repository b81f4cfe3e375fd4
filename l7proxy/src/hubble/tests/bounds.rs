use hubble_api::observer::ServerStatusRequest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::*;

fn follow() -> GetFlowsRequest {
    GetFlowsRequest { follow: true, ..GetFlowsRequest::default() }
}

#[tokio::test]
async fn one_stream_too_many_is_refused() {
    let stage = Stage::limited(Limits { streams: 2, ..Limits::default() });
    let streams = (stage.flows(follow()).await, stage.flows(follow()).await);
    let status = stage.observer().await.get_flows(follow()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.message(), "2 streams are open, which is all that there may be");
    assert_eq!(stage.counted("hubble_streams_refused"), 1);
    // What is short has no part in it.
    stage.observer().await.server_status(ServerStatusRequest {}).await.unwrap();
    drop(streams);
    stage.until(|stage| stage.hubble().open().1 == 0).await;
    drop(stage.flows(follow()).await);
}

#[tokio::test]
async fn one_connection_too_many_is_closed() {
    let stage = Stage::limited(Limits { connections: 2, ..Limits::default() });
    let first = stage.observer().await;
    let mut second = stage.observer().await;
    second.server_status(ServerStatusRequest {}).await.unwrap();
    let third = async {
        let mut third = ObserverClient::new(stage.try_channel().await.ok()?);
        third.server_status(ServerStatusRequest {}).await.ok()
    };
    assert!(third.await.is_none());
    assert!(stage.counted("hubble_connections_refused") > 0);
    second.server_status(ServerStatusRequest {}).await.unwrap();
    drop((first, second));
    stage.until(|stage| stage.hubble().open().0 == 0).await;
    stage.observer().await.server_status(ServerStatusRequest {}).await.unwrap();
}

#[tokio::test]
async fn a_call_that_is_too_large_is_refused() {
    let stage = Stage::limited(Limits { request_bytes: 1000, ..Limits::default() });
    let request = |size| {
        let filter = api::FlowFilter { uuid: vec!["x".repeat(size)], ..api::FlowFilter::default() };
        GetFlowsRequest { whitelist: vec![filter], ..GetFlowsRequest::default() }
    };
    stage.observer().await.get_flows(request(900)).await.unwrap();
    assert_eq!(stage.counted("hubble_requests_too_large"), 0);
    let status = stage.observer().await.get_flows(request(1000)).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "a call may send 1000 bytes"));
    assert_eq!(stage.counted("hubble_requests_too_large"), 1);
}

#[tokio::test]
async fn who_says_nothing_is_sent_away() {
    let stage = Stage::limited(Limits { handshake: Duration::from_millis(20), ..Limits::default() });
    let mut client = stage.observer().await;
    client.server_status(ServerStatusRequest {}).await.unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for said in [0, 1, preface.len() - 1] {
        let mut stream = UnixStream::connect(&stage.socket).await.unwrap();
        stream.write_all(&preface[..said]).await.unwrap();
        // What it hears ends.
        drop(stream.read_to_end(&mut Vec::new()).await);
    }
    assert_eq!(stage.counted("hubble_handshakes_failed"), 3);
    // Who spoke may be silent: it was, for longer than they.
    client.server_status(ServerStatusRequest {}).await.unwrap();
}

#[tokio::test]
async fn what_is_no_grpc_is_refused() {
    let stage = Stage::new();
    let stream = UnixStream::connect(&stage.socket).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(stream),
    )
    .await
    .unwrap();
    drop(tokio::spawn(connection));
    let request = http::Request::get("http://localhost/").body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), http::StatusCode::UNSUPPORTED_MEDIA_TYPE);
}
