//! What enters a pod.

use anyhow::Result;
use conformance::{
    Node, Pod,
    client::curl,
    node::Flow,
    server::{self, Server},
};

use crate::manifests::{GUARDED, GUARDED_NAME};

struct Stage {
    client: Pod,
    other: Pod,
    api: Pod,
    server: Server,
    node: Node,
}

fn stage() -> Result<Stage> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let other = node.pod("default/other", &[("app", "other")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let server = server::http(&api, 8080)?;
    node.write_manifest("policy.yaml", GUARDED)?;
    node.start()?;
    Ok(Stage { client, other, api, server, node })
}

#[test]
fn the_server_sees_the_true_client() -> Result<()> {
    let stage = stage()?;
    let Stage { client, api, server, node, .. } = &stage;
    let answer = curl(client, &[], &format!("http://{}:8080/read/a", api.v4))?;
    assert_eq!(answer.status, 200, "{answer:?}\n{}", node.log());
    let seen = &server.seen()?[0];
    let true_client = (client.v4, answer.local_port).into();
    assert_eq!(seen.accepted, true_client, "accept()");
    assert_eq!(seen.peer, true_client, "getpeername()");
    assert_eq!(seen.local, (api.v4, 8080).into(), "getsockname()");
    let request = &node.wait_flows(0, 1, |flow| flow.kind() == "REQUEST")?[0];
    assert_eq!((request.verdict(), request.direction()), ("FORWARDED", "INGRESS"));
    assert_eq!(request.policies(), [GUARDED_NAME]);
    assert_eq!(request.source(), Some(true_client));
    Ok(())
}

#[test]
fn a_denied_request_gets_403() -> Result<()> {
    let stage = stage()?;
    let Stage { client, api, server, node, .. } = &stage;
    let answer = curl(client, &[], &format!("http://{}:8080/write", api.v4))?;
    assert_eq!((answer.status, answer.body.as_str()), (403, "Access denied\r\n"));
    assert!(server.seen()?.is_empty());
    let dropped = &node.wait_flows(0, 1, Flow::is_verdict)?[0];
    assert_eq!((dropped.verdict(), dropped.direction(), dropped.failed_field()), ("DROPPED", "INGRESS", "path"));
    assert_eq!(dropped.policies(), [GUARDED_NAME]);
    Ok(())
}

#[test]
fn a_peer_that_no_rule_names_is_refused() -> Result<()> {
    let stage = stage()?;
    let Stage { other, api, server, node, .. } = &stage;
    let outcome = server::connect(other, (api.v4, 8080), None)?;
    assert!(outcome.is_refused(), "{outcome:?}");
    assert!(server.seen()?.is_empty());
    let dropped = &node.wait_flows(0, 1, Flow::is_verdict)?[0];
    assert_eq!((dropped.verdict(), dropped.direction(), dropped.kind()), ("DROPPED", "INGRESS", ""));
    assert_eq!(dropped.source().map(|source| source.ip()), Some(other.v4.into()));
    Ok(())
}

#[test]
fn another_port_is_refused() -> Result<()> {
    let stage = stage()?;
    let Stage { client, api, .. } = &stage;
    let echo = server::tcp(api, "0.0.0.0:7000")?;
    assert!(server::connect(client, (api.v4, 7000), None)?.is_refused());
    assert!(echo.seen()?.is_empty());
    Ok(())
}

#[test]
fn ipv6_is_judged_like_ipv4() -> Result<()> {
    let stage = stage()?;
    let Stage { client, other, api, node, .. } = &stage;
    let server = server::http_at(api, &format!("[{}]:8080", api.v6))?;
    let url = |path: &str| format!("http://[{}]:8080{path}", api.v6);
    let answer = curl(client, &[], &url("/read/a"))?;
    assert_eq!(answer.status, 200, "{answer:?}\n{}", node.log());
    let seen = &server.seen()?[0];
    let true_client = (client.v6, answer.local_port).into();
    assert_eq!((seen.accepted, seen.peer), (true_client, true_client), "accept() and getpeername()");
    assert_eq!(seen.local, (api.v6, 8080).into(), "getsockname()");
    let request = &node.wait_flows(0, 1, |flow| flow.kind() == "REQUEST")?[0];
    assert_eq!((request.verdict(), request.direction()), ("FORWARDED", "INGRESS"));
    assert_eq!(request.source(), Some(true_client));

    assert_eq!(curl(client, &[], &url("/write"))?.status, 403);
    assert!(server::connect(other, (api.v6, 8080), None)?.is_refused());
    let free = server::http_at(api, "[::]:8081")?;
    assert!(server::connect(client, (api.v6, 8081), None)?.is_refused());
    assert_eq!((server.seen()?.len(), free.seen()?.len()), (1, 0));
    Ok(())
}

#[test]
fn the_node_itself_may_probe_its_pods() -> Result<()> {
    let stage = stage()?;
    let Stage { api, node, server, .. } = &stage;
    let mut curl = node.network().command("curl");
    curl.args([
        "--silent",
        "--noproxy",
        "*",
        "--max-time",
        "5",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
    ]);
    let output = curl.arg(format!("http://{}:8080/healthz", api.v4)).output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "200");
    assert_eq!(server.seen()?.len(), 1);
    Ok(())
}

#[test]
fn the_proxy_s_own_ports_cannot_be_reached() -> Result<()> {
    let stage = stage()?;
    let Stage { client, other, api, .. } = &stage;
    for pod in [&client, &other] {
        for port in (15001..15065).step_by(9).chain([15006]) {
            for address in api.addresses() {
                assert!(server::connect(pod, (address, port), None)?.is_refused(), "{address} port {port}");
            }
        }
    }
    Ok(())
}
