use hubble_api::{
    observer::{
        GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetNamespacesRequest, GetNodesRequest,
        Namespace, Node, ServerStatusRequest, Tls,
    },
    peer::{ChangeNotification, ChangeNotificationType, NotifyRequest, peer_client::PeerClient},
    relay::NodeState,
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::*;

#[tokio::test]
async fn the_status_is_that_of_the_rings() {
    let mut stage = Stage::new();
    stage.append(3, 2);
    let status = stage.observer().await.server_status(ServerStatusRequest {}).await.unwrap();
    assert_eq!(status.metadata().get("hubble-server-version").unwrap(), "1.17.0");
    let status = status.into_inner();
    assert_eq!((status.num_flows, status.seen_flows), (3, 3));
    assert!(status.max_flows > 10_000 && status.uptime_ns > 0, "{status:?}");
    assert!(status.version.starts_with("l7proxy v"), "{status:?}");
    // Relay alone knows these.
    assert_eq!((status.num_connected_nodes, status.num_unavailable_nodes), (None, None));
}

#[tokio::test]
async fn this_node_is_the_only_one() {
    let mut stage = Stage::new();
    stage.append(2, 2);
    let nodes = stage.observer().await.get_nodes(GetNodesRequest {}).await.unwrap().into_inner().nodes;
    let [node] = nodes.try_into().unwrap();
    let Node { uptime_ns, max_flows, version, .. } = node.clone();
    let expected = Node {
        name: "cluster1/node-a".to_owned(),
        version,
        address: format!("unix://{}", stage.socket.display()),
        state: NodeState::NodeConnected.into(),
        tls: Some(Tls::default()),
        uptime_ns,
        num_flows: 2,
        max_flows,
        seen_flows: 2,
    };
    assert_eq!(node, expected);
}

#[tokio::test]
async fn namespaces_are_those_of_records() {
    let stage = Stage::new();
    let namespaces =
        async || stage.observer().await.get_namespaces(GetNamespacesRequest {}).await.unwrap().into_inner().namespaces;
    assert_eq!(namespaces().await, []);
    let mut stage = Stage::new();
    stage.append(1, 2);
    let namespace = |name: &str| Namespace { cluster: "cluster1".to_owned(), namespace: name.to_owned() };
    let namespaces = stage.observer().await.get_namespaces(GetNamespacesRequest {}).await.unwrap();
    assert_eq!(namespaces.into_inner().namespaces, [namespace("payments"), namespace("shop")]);
}

async fn kinds(stream: &mut Streaming<GetAgentEventsResponse>, count: usize) -> Vec<i32> {
    let mut kinds = Vec::new();
    while kinds.len() < count {
        let Some(response) = stream.message().await.unwrap() else { break };
        assert_eq!(response.node_name, "cluster1/node-a");
        assert!(response.time.is_some());
        kinds.push(response.agent_event.unwrap().r#type);
    }
    kinds
}

#[tokio::test]
async fn what_the_agent_did_is_told() {
    let stage = Stage::new();
    let tell = |event| stage.sources.events.tell(event, stage::time(1));
    let policy = PolicyEvent { labels: vec!["k8s:a=b".to_owned()], revision: 3, rules: 2 };
    let pod = EndpointEvent { id: 7, labels: Vec::new(), pod: "web-1".to_owned(), namespace: "shop".to_owned() };
    tell(AgentEvent::Started);
    tell(AgentEvent::PolicyUpdated(policy.clone()));
    tell(AgentEvent::PolicyDeleted(policy));
    tell(AgentEvent::EndpointCreated(pod.clone()));
    let mut client = stage.observer().await;
    let mut ask = async |request| client.get_agent_events(request).await.unwrap().into_inner();
    let default = GetAgentEventsRequest::default;
    let known = [
        api::AgentEventType::AgentStarted,
        api::AgentEventType::PolicyUpdated,
        api::AgentEventType::PolicyDeleted,
        api::AgentEventType::EndpointCreated,
    ]
    .map(i32::from);
    assert_eq!(kinds(&mut ask(default()).await, 9).await, known);
    assert_eq!(kinds(&mut ask(GetAgentEventsRequest { number: 2, ..default() }).await, 9).await, known[2..]);
    let first = GetAgentEventsRequest { number: 2, first: true, ..default() };
    assert_eq!(kinds(&mut ask(first).await, 9).await, known[..2]);
    let until = GetAgentEventsRequest { until: Some(stage::time(0).into()), ..default() };
    assert_eq!(kinds(&mut ask(until).await, 9).await, [0; 0]);
    let mut following = ask(GetAgentEventsRequest { follow: true, ..default() }).await;
    let mut two = ask(GetAgentEventsRequest { follow: true, number: 1, ..default() }).await;
    assert_eq!(kinds(&mut two, 1).await, known[3..]);
    tell(AgentEvent::EndpointDeleted(pod));
    for stream in [&mut following, &mut two] {
        assert_eq!(kinds(stream, 1).await, [i32::from(api::AgentEventType::EndpointDeleted)]);
    }
    let policy = ask(GetAgentEventsRequest { number: 4, ..default() }).await.message().await.unwrap().unwrap();
    let Some(api::agent_event::Notification::PolicyUpdate(update)) = policy.agent_event.unwrap().notification else {
        panic!("no policy");
    };
    assert_eq!((update.labels, update.revision, update.rule_count), (vec!["k8s:a=b".to_owned()], 3, 2));
}

#[tokio::test]
async fn the_oldest_events_make_room() {
    let stage = Stage::new();
    for _ in 0..3000 {
        stage.sources.events.tell(AgentEvent::Started, stage::time(1));
    }
    let mut stream =
        stage.observer().await.get_agent_events(GetAgentEventsRequest::default()).await.unwrap().into_inner();
    assert_eq!(kinds(&mut stream, 9000).await.len(), 1024);
    // Nobody was overtaken: they were gone before.
    assert_eq!(stage.counted("hubble_agent_events_lost"), 0);
}

#[tokio::test]
async fn events_that_who_follows_did_not_read_are_counted() {
    let stage = Stage::new();
    let follow = GetAgentEventsRequest { follow: true, ..GetAgentEventsRequest::default() };
    let mut stream = stage.observer().await.get_agent_events(follow).await.unwrap().into_inner();
    // Far more than are kept and fit into what is on the way.
    let told = 100_000;
    for _ in 0..told {
        stage.sources.events.tell(AgentEvent::Started, stage::time(1));
    }
    let lost = || usize::try_from(stage.counted("hubble_agent_events_lost")).unwrap();
    let mut read = 0;
    while read + lost() < told {
        read += kinds(&mut stream, 1).await.len();
    }
    assert_eq!((read + lost(), lost() > 0), (told, true));
}

#[tokio::test]
async fn there_are_no_debug_events() {
    let stage = Stage::new();
    let mut client = stage.observer().await;
    let request = |follow| GetDebugEventsRequest { follow, ..GetDebugEventsRequest::default() };
    assert!(client.get_debug_events(request(false)).await.unwrap().into_inner().message().await.unwrap().is_none());
    let following = client.get_debug_events(request(true)).await.unwrap();
    assert_eq!(stage.hubble().open().1, 1, "it waits");
    drop(following);
}

#[tokio::test]
async fn peers_are_told_once_and_the_stream_stays() {
    let mut stage = Stage::with(
        Limits::default(),
        crate::flow::RingConfig::default(),
        "  peers: [{name: cluster1/node-b, address: '10.0.0.2:4244', tlsServerName: b.hubble-grpc.cilium.io}]\n",
    );
    let mut stream = PeerClient::new(stage.channel().await).notify(NotifyRequest {}).await.unwrap().into_inner();
    let added = |name: &str, address: String, tls: Option<&str>| ChangeNotification {
        name: name.to_owned(),
        address,
        r#type: ChangeNotificationType::PeerAdded.into(),
        tls: tls.map(|name| hubble_api::peer::Tls { server_name: name.to_owned() }),
    };
    let own = added("cluster1/node-a", format!("unix://{}", stage.socket.display()), None);
    assert_eq!(stream.message().await.unwrap().unwrap(), own);
    let other = added("cluster1/node-b", "10.0.0.2:4244".to_owned(), Some("b.hubble-grpc.cilium.io"));
    assert_eq!(stream.message().await.unwrap().unwrap(), other);
    assert_eq!(stage.hubble().open().1, 1);
    stage.hubble = None;
    assert_eq!(stream.message().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn it_is_well_under_both_names() {
    let stage = Stage::new();
    let mut client = HealthClient::new(stage.channel().await);
    for service in ["", "hubble.server.Observer"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = client.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let request = HealthCheckRequest { service: "observer.Observer".to_owned() };
    assert_eq!(client.check(request).await.unwrap_err().code(), Code::NotFound);
}

const SERVICES: [&str; 5] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "observer.Observer",
    "peer.Peer",
];

/// Asks the reflection of one version for the list of services, and for the file of one.
macro_rules! reflected {
    ($stage:expr, $version:ident) => {{
        use tonic_reflection::pb::$version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let ask = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
        let requests = [
            ask(MessageRequest::ListServices(String::new())),
            ask(MessageRequest::FileContainingSymbol("observer.Observer".to_owned())),
        ];
        let mut client = ServerReflectionClient::new($stage.channel().await);
        let answers = client.server_reflection_info(tokio_stream::iter(requests)).await.unwrap();
        let mut answers = answers.into_inner();
        let Some(MessageResponse::ListServicesResponse(list)) =
            answers.message().await.unwrap().unwrap().message_response
        else {
            panic!("no list");
        };
        let mut names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
        names.sort();
        assert_eq!(names, SERVICES);
        let Some(MessageResponse::FileDescriptorResponse(file)) =
            answers.message().await.unwrap().unwrap().message_response
        else {
            panic!("no file");
        };
        assert!(!file.file_descriptor_proto.is_empty());
    }};
}

#[tokio::test]
async fn its_services_can_be_asked_for() {
    let stage = Stage::new();
    reflected!(stage, v1);
    reflected!(stage, v1alpha);
}

#[tokio::test]
async fn what_it_does_not_know_is_unimplemented() {
    let stage = Stage::new();
    let mut client = tonic::client::Grpc::new(stage.channel().await);
    for path in ["/observer.Observer/Other", "/peer.Peer/Other", "/recorder.Recorder/Record"] {
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<NotifyRequest, NotifyRequest>::default();
        let path = http::uri::PathAndQuery::from_static(path);
        let status = client.unary(tonic::Request::new(NotifyRequest {}), path.clone(), codec).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unimplemented, format!("unknown method {path}").as_str()));
    }
}
