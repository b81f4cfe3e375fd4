//! What leaves a pod.

use std::net::{Ipv6Addr, SocketAddr};

use anyhow::Result;
use conformance::{
    Node, Pod,
    client::curl,
    node::Flow,
    server::{self, Held, Server},
};
use serde_json::{Value, json};

use crate::manifests::{PORTS, READ_ONLY, READ_ONLY_NAME};

struct Stage {
    client: Pod,
    api: Pod,
    server: Server,
    node: Node,
}

fn stage(manifest: &str) -> Result<Stage> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let server = server::http_at(&api, "[::]:8080")?;
    node.write_manifest("policy.yaml", manifest)?;
    node.start()?;
    Ok(Stage { client, api, server, node })
}

#[test]
fn an_allowed_request_arrives_unchanged_and_is_recorded() -> Result<()> {
    let stage = stage(READ_ONLY)?;
    let Stage { client, api, server, node } = &stage;
    let url = format!("http://{}:8080/read/a?b=c", api.v4);
    let answer = curl(client, &["--header", "X-MiXed: One", "--user-agent", "test/1"], &url)?;
    assert_eq!((answer.exit, answer.status), (0, 200), "{answer:?}\n{}", node.log());
    let seen = server.seen()?;
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].method.as_str(), seen[0].target.as_str()), ("GET", "/read/a?b=c"));
    let host = format!("{}:8080", api.v4);
    let sent = [("Host", host.as_str()), ("User-Agent", "test/1"), ("Accept", "*/*"), ("X-MiXed", "One")];
    let got: Vec<(&str, &str)> = seen[0].headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(got, sent, "names, their case, values and order");
    assert_eq!(seen[0].peer.ip().to_canonical(), client.v4, "the server sees the client's own address");
    assert!(answer.headers.contains_key("x-served-by"), "{:?}", answer.headers);

    let request = &node.wait_flows(0, 1, |flow| flow.kind() == "REQUEST")?[0];
    assert_eq!((request.verdict(), request.direction(), request.method()), ("FORWARDED", "EGRESS", "GET"));
    assert_eq!(request.url(), format!("http://{host}/read/a?b=c"));
    assert_eq!(request.policies(), [READ_ONLY_NAME]);
    assert_eq!(request.source().map(|source| source.ip()), Some(client.v4.into()));
    assert_eq!(request.source().map(|source| source.port()), Some(answer.local_port));
    assert_eq!(request.destination(), Some((api.v4, 8080).into()));
    let response = &node.wait_flows(0, 1, |flow| flow.kind() == "RESPONSE")?[0];
    assert_eq!((response.verdict(), response.code()), ("FORWARDED", Some(200)));
    assert_eq!(node.flows()?.len(), 2, "one record of each kind");
    Ok(())
}

#[test]
fn a_denied_request_gets_403_and_a_reason() -> Result<()> {
    let stage = stage(READ_ONLY)?;
    let Stage { client, api, server, node } = &stage;
    let answer = curl(client, &["--request", "POST"], &format!("http://{}:8080/read/a", api.v4))?;
    assert_eq!((answer.status, answer.body.as_str()), (403, "Access denied\r\n"));
    assert!(server.seen()?.is_empty());
    let dropped = &node.wait_flows(0, 1, Flow::is_verdict)?[0];
    assert_eq!((dropped.verdict(), dropped.failed_field()), ("DROPPED", "method"));
    assert_eq!(dropped.policies(), [READ_ONLY_NAME]);
    assert_eq!(dropped.rule(), "egress[0].toPorts[0].rules.http[0]");
    let response = &node.wait_flows(0, 1, |flow| flow.kind() == "RESPONSE")?[0];
    assert_eq!((response.verdict(), response.code()), ("FORWARDED", Some(403)));
    Ok(())
}

#[test]
fn a_denial_keeps_the_connection() -> Result<()> {
    let stage = stage(READ_ONLY)?;
    let Stage { client, api, node, .. } = &stage;
    let url = |path: &str| format!("http://{}:8080{path}", api.v4);
    // curl asks for all of them on one connection, when it may.
    let answer = curl(
        client,
        &[&url("/write"), &url("/read/a"), "--output", "/dev/null", "--output", "/dev/null"],
        &url("/read/b"),
    );
    assert_eq!(answer?.status, 403);
    let requests = node.wait_flows(0, 3, |flow| flow.kind() == "REQUEST")?;
    let verdicts: Vec<&str> = requests.iter().map(Flow::verdict).collect();
    assert_eq!(verdicts, ["DROPPED", "FORWARDED", "FORWARDED"]);
    let ports: Vec<_> = requests.iter().map(|flow| flow.source().map(|source| source.port())).collect();
    assert!(ports.iter().all(|port| *port == ports[0]), "one connection: {ports:?}");
    Ok(())
}

#[test]
fn a_port_that_no_rule_names_is_refused() -> Result<()> {
    let stage = stage(READ_ONLY)?;
    let Stage { client, api, node, .. } = &stage;
    let other = server::tcp(api, "0.0.0.0:9090")?;
    let outcome = server::connect(client, (api.v4, 9090), None)?;
    assert!(outcome.is_refused() && outcome.call == "connect", "{outcome:?}");
    assert!(other.seen()?.is_empty());
    let dropped = &node.wait_flows(0, 1, Flow::is_verdict)?[0];
    assert_eq!((dropped.verdict(), dropped.direction(), dropped.kind()), ("DROPPED", "EGRESS", ""));
    assert_eq!(dropped.destination(), Some((api.v4, 9090).into()));
    assert_eq!(dropped.policies(), [READ_ONLY_NAME]);
    Ok(())
}

#[test]
fn the_client_is_told_the_real_destination() -> Result<()> {
    let stage = stage(READ_ONLY)?;
    let Stage { client, api, .. } = &stage;
    let outcome = server::connect(client, (api.v4, 8080), None)?;
    assert_eq!(outcome.peer, Some((api.v4, 8080).into()), "getpeername");
    assert_eq!(outcome.local.map(|local| local.ip()), Some(client.v4.into()), "getsockname");
    Ok(())
}

#[test]
fn a_port_without_http_rules_does_not_pass_the_proxy() -> Result<()> {
    let stage = stage(PORTS)?;
    let Stage { client, api, node, .. } = &stage;
    let echo = server::tcp(api, "0.0.0.0:7000")?;
    let outcome = server::connect(client, (api.v4, 7000), Some("not HTTP at all"))?;
    assert_eq!(outcome.reply.as_deref(), Some("not HTTP at all"), "{outcome:?}");
    assert_eq!(echo.seen()?[0].peer, outcome.local.expect("connected"), "the same connection from end to end");
    assert!(server::connect(client, (api.v4, 8080), None)?.is_refused());
    assert_eq!(node.status()?.endpoint("default/client").map(|pod| pod.egress.redirects), Some(0));
    Ok(())
}

#[test]
fn an_upstream_that_refuses_is_a_reset_and_no_made_up_answer() -> Result<()> {
    let stage = stage(READ_ONLY)?;
    let Stage { client, api, server, node } = stage;
    drop(server);
    let answer = curl(&client, &[], &format!("http://{}:8080/read/a", api.v4))?;
    assert_eq!(answer.status, 0, "{answer:?}");
    assert_ne!(answer.exit, 0);
    let request = &node.wait_flows(0, 1, |flow| flow.kind() == "REQUEST")?[0];
    assert_eq!(request.verdict(), "FORWARDED", "policy allowed it");
    Ok(())
}

#[test]
fn a_v4_mapped_socket_is_judged_like_any_other() -> Result<()> {
    let stage = stage(READ_ONLY)?;
    let Stage { client, api, server, node } = &stage;
    let url = |path: &str| format!("http://[::ffff:{}]:8080{path}", api.v4);
    let allowed = curl(client, &[], &url("/read/a"))?;
    assert_eq!(allowed.status, 200, "{allowed:?}\n{}", node.log());
    assert_eq!(curl(client, &[], &url("/write"))?.status, 403);
    assert_eq!(server.seen()?.len(), 1);
    let mapped = SocketAddr::new(api.v4.to_ipv6_mapped().into(), 8080);
    assert_eq!(server::connect(client, mapped, None)?.peer, Some(mapped), "getpeername as the socket's family has it");
    let refused = SocketAddr::new(api.v4.to_ipv6_mapped().into(), 9090);
    assert!(server::connect(client, refused, None)?.is_refused());
    Ok(())
}

#[test]
fn ipv6_is_judged_like_ipv4() -> Result<()> {
    let stage = stage(READ_ONLY)?;
    let Stage { client, api, server, node } = &stage;
    let url = |path: &str| format!("http://[{}]:8080{path}", api.v6);
    let answer = curl(client, &[], &url("/read/a"))?;
    assert_eq!((answer.exit, answer.status), (0, 200), "{answer:?}\n{}", node.log());
    assert_eq!(server.seen()?[0].peer.ip(), client.v6, "the server sees the client's own address");
    let request = &node.wait_flows(0, 1, |flow| flow.kind() == "REQUEST")?[0];
    assert_eq!((request.verdict(), request.direction()), ("FORWARDED", "EGRESS"));
    assert_eq!(request.source(), Some((client.v6, answer.local_port).into()));
    assert_eq!(request.destination(), Some((api.v6, 8080).into()));
    assert_eq!(request.0.pointer("/flow/IP/ipVersion").and_then(Value::as_str), Some("IPv6"));

    let denied = curl(client, &["--request", "POST"], &url("/read/a"))?;
    assert_eq!((denied.status, denied.body.as_str()), (403, "Access denied\r\n"));
    assert_eq!(server.seen()?.len(), 1);
    assert_eq!(server::connect(client, (api.v6, 8080), None)?.peer, Some((api.v6, 8080).into()), "getpeername");

    let other = server::tcp(api, "[::]:9090")?;
    assert!(server::connect(client, (api.v6, 9090), None)?.is_refused());
    assert!(other.seen()?.is_empty());
    let refused = &node.wait_flows(0, 1, |flow| flow.is_verdict() && flow.kind().is_empty())?[0];
    assert_eq!(refused.0.pointer("/flow/IP/source"), Some(&json!(client.v6)), "no port was chosen yet");
    assert_eq!(refused.destination(), Some((api.v6, 9090).into()));
    Ok(())
}

/// A link-local address means something else on each interface, so nobody could dial it later.
#[test]
fn a_link_local_destination_that_needs_http_rules_is_refused() -> Result<()> {
    let world = READ_ONLY.replace("toEndpoints: [{matchLabels: {app: api}}]", "toEntities: [world]");
    let stage = stage(&world)?;
    let Stage { client, api, server, node } = &stage;
    let local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x77);
    api.add_address(&format!("{local}/64"))?;
    let (needs_rules, needs_none) = (client.link_local(local, 8080)?, client.link_local(local, 7000)?);
    assert!(server::connect(client, needs_rules, None)?.is_refused());
    let refused = &node.wait_flows(0, 1, Flow::is_verdict)?[0];
    assert_eq!(
        refused.0.pointer("/flow/extensions/value/reason"),
        Some(&json!("needs-http-rules-on-redirectable-tcp"))
    );
    node.apply("policy.yaml", &PORTS.replace("toEndpoints: [{matchLabels: {app: api}}]", "toEntities: [world]"))?;
    let free = server::http_at(api, "[::]:7000")?;
    assert_eq!(server::connect(client, needs_none, None)?.peer, Some(needs_none), "without HTTP rules it may be");
    assert!(server.seen()?.is_empty() && free.seen()?.is_empty());
    Ok(())
}

#[test]
fn a_policy_change_reaches_a_connection_that_is_open() -> Result<()> {
    let stage = stage(READ_ONLY)?;
    let Stage { client, api, node, server } = &stage;
    let mut held = Held::open(client, (api.v4, 8080), "/read/a")?;
    assert_eq!(held.request()?["status"], 200);
    node.apply("policy.yaml", &READ_ONLY.replace("/read.*", "/else"))?;
    let answer = held.request()?;
    assert!(answer["status"] == 403 || answer.get("error").is_some(), "{answer}");
    assert_eq!(server.seen()?.len(), 1);
    Ok(())
}

/// The kernel keeps IPv4 addresses among the IPv6 ones; policy does not.
#[test]
fn a_cidr_of_ipv6_says_nothing_of_ipv4() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let outside = node.stranger()?;
    let _server = server::tcp(&outside, "[::]:7000")?;
    let manifest = |cidrs: &str| {
        format!(
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: p, namespace: default}}\nspec:\n  \
             endpointSelector: {{matchLabels: {{app: client}}}}\n  egress: [{{toCIDR: [{cidrs}]}}]\n"
        )
    };
    let (four, six) = ("0.0.0.0/0", "\"::/0\"");
    let both = format!("{four}, {six}");
    let ways = [(six, [false, true]), (&both, [true, true]), (four, [true, false]), (six, [false, true])];
    node.write_manifest("policy.yaml", &manifest("192.0.2.0/24"))?;
    node.start()?;
    for (cidrs, expected) in ways {
        node.apply("policy.yaml", &manifest(cidrs))?;
        for (address, is_allowed) in outside.addresses().into_iter().zip(expected) {
            let outcome = server::connect(&client, (address, 7000), Some("hello"))?;
            assert_eq!(outcome.reply.as_deref() == Some("hello"), is_allowed, "{cidrs}: {address}: {outcome:?}");
        }
    }
    Ok(())
}
