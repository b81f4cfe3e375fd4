//! UDP.

use anyhow::Result;
use conformance::{
    Node, Pod, Process,
    server::{self, Talk, udp_connect, udp_send},
    sniffer::Sniffer,
};
use serde_json::json;

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
    // The datagram is thrown away before it arrives.
    assert_eq!(udp_send(client, (api.v4, 5354), "hello")?.result, "silent");
    assert_eq!(udp_connect(client, (api.v4, 5354), "hello")?.result, "silent");
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

/// Nothing may leave the server; what enters it is answered all the same, by every kind of socket.
#[test]
fn what_may_enter_is_answered() -> Result<()> {
    for backstop in ["auto", "off"] {
        let mut node = Node::new()?;
        let client = node.pod("default/client", &[("app", "client")])?;
        let api = node.pod("default/api", &[("app", "api")])?;
        let _servers = [server::udp(&api, "[::]:5353")?, server::udp_of_one(&api, "0.0.0.0:5354")?];
        let nothing_leaves = PORTS.replace("app: client", "app: api").replace("app: api}}]", "app: nobody}}]");
        node.write_manifest("policy.yaml", &nothing_leaves)?;
        node.set_redirect("backstop", serde_json::json!(backstop));
        node.start()?;
        for address in api.addresses() {
            assert_eq!(
                udp_send(&client, (address, 5353), "hello")?.text.as_deref(),
                Some("hello"),
                "{backstop} {address}"
            );
        }
        let mut kept = Talk::udp(&client, (api.v4, 5354))?;
        for text in ["hello", "and again"] {
            assert_eq!(kept.say(text)?.text.as_deref(), Some(text), "{backstop}");
        }
        assert!(node.flows()?.is_empty(), "{:#?}", node.flows());
        let unasked = udp_send(&api, (client.v4, 5353), "hello")?;
        assert!(unasked.is_refused() && unasked.call == "send", "{backstop}: {unasked:?}");
    }
    Ok(())
}

/// An answer is one only while what it answers would still be let in.
#[test]
fn a_new_policy_stops_answers() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let _server = server::udp(&api, "0.0.0.0:5353")?;
    let may_enter = |who: &str| {
        let ingress = PORTS
            .replace("egress", "ingress")
            .replace(
                "toEndpoints: [{matchLabels: {app: api}}]",
                &format!("fromEndpoints: [{{matchLabels: {{app: {who}}}}}]"),
            )
            .replace("endpointSelector: {matchLabels: {app: client}}", "endpointSelector: {matchLabels: {app: api}}");
        let nothing_leaves = PORTS.replace("app: client", "app: api").replace("app: api}}]", "app: nobody}}]");
        format!("{ingress}---{}", nothing_leaves.replace("name: ports", "name: nothing-leaves"))
    };
    node.write_manifest("policy.yaml", &may_enter("client"))?;
    node.start()?;
    let mut kept = Talk::udp(&client, (api.v4, 5353))?;
    assert_eq!(kept.say("hello")?.text.as_deref(), Some("hello"), "{:#?}", node.flows());
    node.apply("policy.yaml", &may_enter("nobody"))?;
    let client_s = kept.say("hello")?;
    assert_eq!(client_s.result, "silent", "{client_s:?}");
    node.wait_flows(0, 1, |flow| flow.verdict() == "DROPPED" && flow.direction() == "INGRESS")?;
    node.apply("policy.yaml", &may_enter("client"))?;
    assert_eq!(kept.say("hello")?.text.as_deref(), Some("hello"));
    Ok(())
}

/// Resolvers and ping connect datagram sockets to ask which address they would have: nothing is sent, nothing is refused.
#[test]
fn a_connect_that_only_asks() -> Result<()> {
    let mut stage = stage(PORTS)?;
    // A look at what is older than the policy would end a socket that stays connected.
    stage.node.stop()?;
    stage.node.set_redirect("existing", serde_json::json!("leave"));
    stage.node.start()?;
    let Stage { client, api, node, .. } = &stage;
    for port in [0, 9, 1025] {
        for address in api.addresses() {
            assert!(Talk::udp(client, (address, port)).is_ok(), "{address} {port}");
        }
    }
    assert!(node.flows()?.is_empty(), "{:#?}", node.flows());
    // What is sent there is judged.
    for port in [9, 1025] {
        let wire = Sniffer::start(api)?;
        assert_eq!(udp_connect(client, (api.v4, port), "this must not arrive")?.result, "silent");
        let told = node.wait_flows(0, 1, |flow| flow.destination() == Some((api.v4, port).into()))?;
        assert_eq!((told[0].verdict(), told[0].reason()), ("DROPPED", "backstop"));
        assert!(!wire.saw(b"this must not arrive")?);
        let unconnected = udp_send(client, (api.v4, port), "hello")?;
        assert!(unconnected.is_refused() && unconnected.call == "send", "{unconnected:?}");
    }
    Ok(())
}

/// Where nothing judges packets, the call is the last that can be judged.
#[test]
fn without_a_backstop_a_connect_that_only_asks_is_refused() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    node.write_manifest("policy.yaml", PORTS)?;
    node.set_redirect("backstop", serde_json::json!("off"));
    node.start()?;
    let outcome = udp_connect(&client, (api.v4, 9), "hello")?;
    assert!(outcome.is_refused() && outcome.call == "connect", "{outcome:?}");
    Ok(())
}

#[test]
fn calls_are_told_the_error_that_was_chosen() -> Result<()> {
    const EPERM: i32 = 1;
    const EHOSTUNREACH: i32 = 113;
    let mut stage = stage(PORTS)?;
    for (name, errno) in [("EPERM", EPERM), ("EHOSTUNREACH", EHOSTUNREACH)] {
        stage.node.stop()?;
        stage.node.set_redirect("errno", json!(name));
        stage.node.start()?;
        let Stage { client, api, .. } = &stage;
        let refused = [
            udp_send(client, (api.v4, 5354), "hello")?,
            udp_connect(client, (api.v6, 5354), "hello")?,
            server::connect(client, (api.v4, 5354), None)?,
        ];
        for outcome in refused {
            assert_eq!((outcome.result.as_str(), outcome.errno), ("failed", Some(errno)), "{outcome:?}");
        }
    }
    Ok(())
}
