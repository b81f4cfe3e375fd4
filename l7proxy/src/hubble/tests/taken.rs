use std::os::unix::fs::PermissionsExt;

use hubble_api::observer::ServerStatusRequest;
use tonic::transport::Endpoint;

use super::*;
use crate::flow::RingConfig;

fn follow() -> GetFlowsRequest {
    GetFlowsRequest { follow: true, ..GetFlowsRequest::default() }
}

/// A port that nobody has.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn the_socket_is_its_owners_and_its_groups() {
    let mut stage = Stage::new();
    let mode = std::fs::metadata(&stage.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    stage.hubble = None;
    assert!(!stage.socket.exists(), "it is removed at the end");
}

#[tokio::test]
async fn what_another_process_has_is_an_error_that_says_where() {
    let port = free_port();
    let more = format!("  listen: 127.0.0.1:{port}\n");
    let stage = Stage::with(Limits::default(), RingConfig::default(), &more);
    let other = Hubble::start(&stage.config, stage.sources.clone(), Limits::default(), Arc::default()).unwrap();
    let error = other.listen(false).unwrap_err().to_string();
    assert!(error.starts_with(&format!("flows.listen: 127.0.0.1:{port}: Address already in use")), "{error}");
    let mut config = stage.config.clone();
    config.flows.listen = None;
    let other = Hubble::start(&config, stage.sources.clone(), Limits::default(), Arc::default()).unwrap();
    let error = other.listen(false).unwrap_err().to_string();
    assert!(error.contains("flows.socket: ") && error.contains("another process answers there"), "{error}");
    drop(other);
    stage.observer().await.server_status(ServerStatusRequest {}).await.unwrap();
}

#[tokio::test]
async fn the_next_process_takes_both_places() {
    let more = format!("  listen: 127.0.0.1:{}\n", free_port());
    let mut stage = Stage::with(Limits::default(), RingConfig::default(), &more);
    let endpoint = Endpoint::from_shared(format!("http://{}", stage.config.flows.listen.unwrap())).unwrap();
    let mut followed =
        ObserverClient::new(endpoint.connect().await.unwrap()).get_flows(follow()).await.unwrap().into_inner();
    // The same files and addresses, other records.
    let successor = Hubble::start(&stage.config, stage.sources.clone(), Limits::default(), Arc::default()).unwrap();
    successor.listen(true).unwrap();
    stage.observer().await.server_status(ServerStatusRequest {}).await.unwrap();
    assert_eq!(successor.open().0, 1, "the successor answers at the socket");
    stage.hubble().retire();
    let status = followed.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    // Until it has the address: some milliseconds.
    let channel = loop {
        if let Ok(channel) = endpoint.connect().await {
            break channel;
        }
    };
    ObserverClient::new(channel).server_status(ServerStatusRequest {}).await.unwrap();
    stage.hubble = None;
    assert!(stage.socket.exists(), "it is the successor's");
    drop(successor);
    assert!(!stage.socket.exists());
}

#[tokio::test]
async fn who_goes_on_takes_its_place_again() {
    let stage = Stage::new();
    let mut followed = stage.flows(follow()).await;
    let successor = Hubble::start(&stage.config, stage.sources.clone(), Limits::default(), Arc::default()).unwrap();
    successor.listen(true).unwrap();
    drop(successor);
    assert!(stage.try_channel().await.is_err());
    stage.hubble().keep_place().unwrap();
    stage.observer().await.server_status(ServerStatusRequest {}).await.unwrap();
    let mut stage = stage;
    stage.append(1, 2);
    assert_eq!(stage::number(&followed.message().await.unwrap().unwrap()), 1, "who was connected stays so");
}

#[tokio::test]
async fn who_follows_has_the_last_records_too() {
    let mut stage = Stage::new();
    let mut followed = stage.flows(follow()).await;
    stage.append(500, 3);
    stage.hubble = None;
    for expected in 1..=500 {
        assert_eq!(stage::number(&followed.message().await.unwrap().unwrap()), expected);
    }
    assert_eq!(followed.message().await.unwrap_err().code(), Code::Unavailable);
}
