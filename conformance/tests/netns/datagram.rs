//! UDP.

use anyhow::Result;
use conformance::{
    Node, Pod, Process,
    server::{self, udp_connect, udp_send},
};

use crate::manifests::PORTS;

const NOTHING_ENTERS: &str = "
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: nothing-enters, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: client}}
  ingress: [{fromEndpoints: [{matchLabels: {app: nobody}}]}]
";

struct Stage {
    client: Pod,
    api: Pod,
    _echoes: [Process; 2],
    node: Node,
}

fn stage(manifest: &str) -> Result<Stage> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let echoes = [server::udp(&api, "0.0.0.0:5353")?, server::udp(&api, "0.0.0.0:5354")?];
    node.write_manifest("policy.yaml", manifest)?;
    node.start()?;
    Ok(Stage { client, api, _echoes: echoes, node })
}

#[test]
fn an_allowed_port_answers() -> Result<()> {
    let stage = stage(PORTS)?;
    let Stage { client, api, .. } = &stage;
    for outcome in [udp_send(client, (api.v4, 5353), "hello")?, udp_connect(client, (api.v4, 5353), "hello")?] {
        assert_eq!(outcome.text.as_deref(), Some("hello"), "{outcome:?}");
        assert_eq!(outcome.from, Some((api.v4, 5353).into()));
    }
    Ok(())
}

#[test]
fn another_port_is_refused_connected_or_not() -> Result<()> {
    let stage = stage(PORTS)?;
    let Stage { client, api, node, .. } = &stage;
    let unconnected = udp_send(client, (api.v4, 5354), "hello")?;
    assert!(unconnected.is_refused() && unconnected.call == "send", "{unconnected:?}");
    let connected = udp_connect(client, (api.v4, 5354), "hello")?;
    assert!(connected.is_refused() && connected.call == "connect", "{connected:?}");
    let dropped = node.wait_flows(0, 2, |flow| flow.verdict() == "DROPPED")?;
    assert!(dropped.iter().all(|flow| flow.destination() == Some((api.v4, 5354).into())), "{dropped:?}");
    Ok(())
}

#[test]
fn a_v4_mapped_socket_is_judged_like_any_other() -> Result<()> {
    let stage = stage(PORTS)?;
    let Stage { client, api, .. } = &stage;
    let mapped = |port| std::net::SocketAddr::new(api.v4.to_ipv6_mapped().into(), port);
    assert_eq!(udp_send(client, mapped(5353), "hello")?.text.as_deref(), Some("hello"));
    assert!(udp_send(client, mapped(5354), "hello")?.is_refused());
    assert!(udp_connect(client, mapped(5354), "hello")?.is_refused());
    Ok(())
}

#[test]
fn what_may_enter_is_named_by_ingress_rules() -> Result<()> {
    let guarded = PORTS
        .replace("egress", "ingress")
        .replace("toEndpoints: [{matchLabels: {app: api}}]", "fromEndpoints: [{matchLabels: {app: client}}]")
        .replace("endpointSelector: {matchLabels: {app: client}}", "endpointSelector: {matchLabels: {app: api}}");
    let stage = stage(&guarded)?;
    let Stage { client, api, node, .. } = &stage;
    for outcome in [udp_send(client, (api.v4, 5353), "hello")?, udp_connect(client, (api.v4, 5353), "hello")?] {
        assert_eq!(outcome.text.as_deref(), Some("hello"), "{outcome:?}");
    }
    // The datagram is thrown away where it arrives; a connected socket is told by ICMP.
    assert_ne!(udp_send(client, (api.v4, 5354), "hello")?.result, "answered");
    assert_ne!(udp_connect(client, (api.v4, 5354), "hello")?.result, "answered");
    let dropped = node.wait_flows(0, 1, |flow| flow.verdict() == "DROPPED")?;
    assert!(dropped.iter().all(|flow| flow.direction() == "INGRESS"), "{dropped:?}");
    Ok(())
}

#[test]
fn the_answer_to_what_may_leave_may_enter() -> Result<()> {
    let both = format!("{PORTS}---{NOTHING_ENTERS}");
    let stage = stage(&both)?;
    let Stage { client, api, .. } = &stage;
    assert_eq!(udp_send(client, (api.v4, 5353), "hello")?.text.as_deref(), Some("hello"));
    assert_eq!(udp_connect(client, (api.v4, 5353), "hello")?.text.as_deref(), Some("hello"));
    Ok(())
}
