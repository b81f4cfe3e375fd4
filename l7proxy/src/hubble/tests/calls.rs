//! What is counted of calls.

use hubble_api::{
    observer::ServerStatusRequest,
    peer::{NotifyRequest, peer_client::PeerClient},
};

use super::*;
use crate::metrics::Exposition;

/// Lines of metrics that are not 0.
fn told(stage: &Stage) -> Vec<String> {
    let mut exposition = Exposition::default();
    exposition.add(Arc::new(stage.hubble().calls()));
    let text = exposition.text(Vec::new()).unwrap();
    text.lines().filter(|line| !line.starts_with('#') && !line.ends_with(" 0")).map(str::to_owned).collect()
}

fn line(name: &str, code: &str, (kind, service, method): (&str, &str, &str), value: u64) -> String {
    let code = if code.is_empty() { String::new() } else { format!("grpc_code=\"{code}\",") };
    format!(
        "grpc_server_{name}_total{{{code}grpc_method=\"{method}\",grpc_service=\"{service}\",grpc_type=\"{kind}\"}} {value}"
    )
}

#[tokio::test]
async fn calls_are_counted_by_method_and_code() {
    let mut stage = Stage::new();
    stage.append(300, 7);
    let mut observer = stage.observer().await;
    observer.server_status(ServerStatusRequest {}).await.unwrap();
    assert_eq!(stage.numbers(GetFlowsRequest { number: 250, ..GetFlowsRequest::default() }).await.len(), 250);
    let refused = GetFlowsRequest { first: true, follow: true, ..GetFlowsRequest::default() };
    assert_eq!(observer.get_flows(refused).await.unwrap_err().code(), Code::InvalidArgument);
    let unknown = api::FlowFilter { protocol: vec!["foo".to_owned()], ..api::FlowFilter::default() };
    let refused = GetFlowsRequest { whitelist: vec![unknown], ..GetFlowsRequest::default() };
    assert_eq!(observer.get_flows(refused).await.unwrap_err().code(), Code::Unknown);
    // Who goes away in the middle.
    let mut peers = PeerClient::new(stage.channel().await);
    let mut notified = peers.notify(NotifyRequest {}).await.unwrap().into_inner();
    notified.message().await.unwrap().unwrap();
    drop((notified, peers));
    stage.until(|stage| stage.hubble().open().1 == 0).await;
    let flows = ("server_stream", "observer.Observer", "GetFlows");
    let status = ("unary", "observer.Observer", "ServerStatus");
    let notify = ("server_stream", "peer.Peer", "Notify");
    let expected = vec![
        line("handled", "Canceled", notify, 1),
        line("handled", "InvalidArgument", flows, 1),
        line("handled", "OK", flows, 1),
        line("handled", "OK", status, 1),
        line("handled", "Unknown", flows, 1),
        line("msg_received", "", flows, 3),
        line("msg_received", "", notify, 1),
        line("msg_received", "", status, 1),
        line("msg_sent", "", flows, 250),
        line("msg_sent", "", notify, 1),
        line("msg_sent", "", status, 1),
        line("started", "", flows, 3),
        line("started", "", notify, 1),
        line("started", "", status, 1),
    ];
    assert_eq!(told(&stage), expected);
}
