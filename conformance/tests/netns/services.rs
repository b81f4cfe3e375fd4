//! Addresses of Services, which the node translates behind us.

use std::net::IpAddr;

use anyhow::Result;
use conformance::{
    Node, Pod, Process,
    client::curl,
    eventually,
    node::{Flow, Service},
    server::{self, Server, udp_connect, udp_send},
};
use serde_json::{Value, json};

use crate::manifests::READ_ONLY;

const DATAGRAMS: &str = "
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: datagrams, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
    - toEndpoints: [{matchLabels: {app: api}}]
      toPorts: [{ports: [{port: \"8080\", protocol: UDP}]}]
";

struct Stage {
    client: Pod,
    /// Behind the Service, on port 8080.
    pods: [Pod; 2],
    servers: [Server; 2],
    service: Service,
    node: Node,
}

/// `second`: the second pod's `app`.
fn stage(manifest: &str, second: &str) -> Result<Stage> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let one = node.pod("default/api-1", &[("app", "api"), ("behind", "api")])?;
    let two = node.pod("default/api-2", &[("app", second), ("behind", "api")])?;
    let servers = [server::http_at(&one, "[::]:8080")?, server::http_at(&two, "[::]:8080")?];
    let service = Service::new(node.network(), 80, &[&one, &two], 8080)?;
    node.set("services", services(&service, 80));
    node.write_manifest("policy.yaml", manifest)?;
    node.start()?;
    Ok(Stage { client, pods: [one, two], servers, service, node })
}

fn services(service: &Service, port: u16) -> Value {
    let port = |protocol| json!({ "port": port, "targetPort": 8080, "protocol": protocol });
    json!([{
        "name": "default/api",
        "clusterIPs": service.addresses(),
        "ports": [port("TCP"), port("UDP")],
        "selector": { "behind": "api" },
    }])
}

/// Whether the Service may send connections to the second pod, from now on.
fn set_ready(node: &mut Node, ready: bool) -> Result<()> {
    let before = node.status()?.revision;
    if let Some(two) = node.endpoints_mut().last_mut() {
        two["ready"] = json!(ready);
    }
    node.write_config()?;
    node.wait_revision(before)?;
    Ok(())
}

fn named(flow: &Flow) -> Option<&Value> {
    flow.0.pointer("/flow/destination_service")
}

#[test]
fn requests_are_judged_by_the_pods_behind() -> Result<()> {
    let stage = stage(READ_ONLY, "api")?;
    let Stage { client, servers, service, node, .. } = &stage;
    for address in service.addresses() {
        let url = |path: &str| match address {
            IpAddr::V4(four) => format!("http://{four}{path}"),
            IpAddr::V6(six) => format!("http://[{six}]{path}"),
        };
        for _ in 0..4 {
            let answer = curl(client, &[], &url("/read"))?;
            assert_eq!((answer.exit, answer.status), (0, 200), "{answer:?}\n{}", node.log());
        }
        assert_eq!(curl(client, &[], &url("/write"))?.status, 403);
        assert!(
            server::connect(client, (address, 81), None)?.is_refused(),
            "no Service answers there, and it is world"
        );
    }
    for server in servers {
        let seen = server.seen()?;
        assert!(!seen.is_empty(), "the node sends to one and the other");
        assert!(seen.iter().all(|seen| seen.target == "/read"), "{seen:?}");
    }
    let requests = node.wait_flows(0, 10, |flow| flow.kind() == "REQUEST")?;
    let service = json!({ "name": "api", "namespace": "default" });
    assert!(requests.iter().all(|flow| named(flow) == Some(&service)), "{requests:#?}");
    Ok(())
}

#[test]
fn a_pod_behind_that_is_not_allowed_closes_the_service() -> Result<()> {
    let mut stage = stage(READ_ONLY, "other")?;
    let Stage { client, servers, service, node, .. } = &mut stage;
    for address in service.addresses() {
        assert!(server::connect(client, (address, 80), None)?.is_refused());
    }
    let refused = node.wait_flows(0, 2, Flow::is_verdict)?;
    for flow in &refused {
        assert_eq!((flow.verdict(), flow.reason()), ("DROPPED", "service-backend"));
        assert_eq!(flow.0.pointer("/flow/extensions/value/deniedBackends"), Some(&json!(["default/api-2"])));
    }
    set_ready(node, false)?;
    // The node's own translation does not know: only what is sent to the first pod is looked at.
    let url = format!("http://{}/read", service.v4);
    assert_eq!(curl(client, &[], &url)?.status, 200, "{}", node.log());
    set_ready(node, true)?;
    assert!(server::connect(client, (service.v4, 80), None)?.is_refused());
    assert_eq!(servers[0].seen()?.len() + servers[1].seen()?.len(), 1);
    Ok(())
}

#[test]
fn a_service_without_pods_is_refused() -> Result<()> {
    let mut stage = stage(READ_ONLY, "api")?;
    let Stage { client, service, node, .. } = &mut stage;
    let before = node.status()?.revision;
    for pod in node.endpoints_mut().iter_mut().skip(1) {
        pod["ready"] = json!(false);
    }
    node.write_config()?;
    node.wait_revision(before)?;
    assert!(server::connect(client, (service.v4, 80), None)?.is_refused());
    let refused = &node.wait_flows(0, 1, Flow::is_verdict)?[0];
    assert_eq!((refused.verdict(), refused.reason()), ("DROPPED", "service-without-backends"));
    Ok(())
}

#[test]
fn datagrams_to_a_service_are_judged_and_answered() -> Result<()> {
    let mut stage = stage(DATAGRAMS, "api")?;
    let Stage { client, pods, service, node, .. } = &mut stage;
    let _echoes: Vec<Process> =
        pods.iter().map(|pod| server::udp(pod, "[::]:8080")).collect::<Result<Vec<Process>>>()?;
    for address in service.addresses() {
        for say in [udp_send::<(IpAddr, u16)>, udp_connect] {
            // The first datagram of all may be lost while the node looks for its neighbours.
            let answered = eventually("an answer", || {
                let outcome = say(client, (address, 80), "hello")?;
                assert!(!outcome.is_refused(), "{outcome:?}");
                Ok(outcome.text.is_some().then_some(outcome))
            })?;
            assert_eq!((answered.text.as_deref(), answered.from), (Some("hello"), Some((address, 80).into())));
        }
    }
    node.apply("policy.yaml", &DATAGRAMS.replace("app: api", "app: nobody"))?;
    for address in service.addresses() {
        assert!(udp_send(client, (address, 80), "hello")?.is_refused());
        assert!(udp_connect(client, (address, 80), "hello")?.is_refused());
    }
    Ok(())
}

/// What policy says of the world is not what it says of a Service.
#[test]
fn a_service_is_not_the_world() -> Result<()> {
    let world = READ_ONLY.replace("toEndpoints: [{matchLabels: {app: api}}]", "toEntities: [world]");
    let stage = stage(&world.replace("8080", "80"), "api")?;
    let Stage { client, service, servers, .. } = &stage;
    assert!(server::connect(client, (service.v4, 80), None)?.is_refused());
    assert!(servers[0].seen()?.is_empty() && servers[1].seen()?.is_empty());
    Ok(())
}
