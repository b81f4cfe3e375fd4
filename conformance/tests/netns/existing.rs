//! Connections that are older than the policy in force.

use anyhow::Result;
use conformance::{
    Node, Pod, eventually,
    node::Flow,
    server::{self, Held, Server, Talk},
};
use serde_json::json;

use crate::manifests::{GUARDED, PORTS, READ_ONLY, READ_ONLY_NAME};

/// Clients may reach nobody.
const NOTHING_LEAVES: &str = "
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: nothing-leaves, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress: [{toEndpoints: [{matchLabels: {app: nobody}}]}]
";

/// Nobody may reach the API.
const NOTHING_ENTERS: &str = "
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: nothing-enters, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: api}}
  ingress: [{fromEndpoints: [{matchLabels: {app: nobody}}]}]
";

const EDESTADDRREQ: i32 = 89;
const ECONNABORTED: i32 = 103;
const ECONNRESET: i32 = 104;

struct Stage {
    client: Pod,
    api: Pod,
    echo: Server,
    node: Node,
}

fn stage() -> Result<Stage> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let echo = server::tcp(&api, "[::]:7000")?;
    Ok(Stage { client, api, echo, node })
}

/// Everything was looked at, and nothing is left to be.
fn settle(node: &Node) -> Result<()> {
    node.wait_status("all looks", |status| status.counters.get("existing_pods_pending") == Some(&0)).map(drop)
}

fn is_end(flow: &Flow) -> bool {
    flow.verdict() == "DROPPED" && flow.reason().starts_with("ended-")
}

#[test]
fn what_a_policy_newly_denies_is_ended_on_both_ends() -> Result<()> {
    let Stage { client, api, echo, node } = &mut stage()?;
    node.start()?;
    let mut talk = Talk::tcp(client, (api.v4, 7000))?;
    let local = talk.word()?.local;
    node.apply("policy.yaml", NOTHING_LEAVES)?;
    let record = &node.wait_flows(0, 1, is_end)?[0];
    assert_eq!((record.direction(), record.reason(), record.kind()), ("EGRESS", "ended-policy-changed", ""));
    assert_eq!((record.source(), record.destination()), (local, Some((api.v4, 7000).into())));
    assert_eq!(record.policies(), ["CiliumNetworkPolicy default/nothing-leaves"]);
    let summary = "TCP Flags: RST; denied by CiliumNetworkPolicy default/nothing-leaves";
    assert_eq!(record.0.pointer("/flow/Summary"), Some(&json!(summary)));
    let outcome = talk.word()?;
    assert_eq!(outcome.errno, Some(ECONNABORTED), "{outcome:?}");
    let ended = eventually("the server's end", || Ok(echo.ended()?.first().copied()))?;
    assert_eq!(ended.errno, Some(ECONNRESET));
    assert_eq!(node.status()?.counters["existing_connections_ended"], 1);
    Ok(())
}

#[test]
fn what_is_older_than_the_process_is_judged_too() -> Result<()> {
    let Stage { client, api, node, .. } = &mut stage()?;
    let mut talk = Talk::tcp(client, (api.v4, 7000))?;
    assert!(talk.word()?.is_answered());
    node.write_manifest("policy.yaml", NOTHING_LEAVES)?;
    node.start()?;
    node.wait_flows(0, 1, is_end)?;
    assert!(talk.word()?.is_ended());
    Ok(())
}

#[test]
fn what_is_older_than_its_pod_s_enrolment_is_judged_too() -> Result<()> {
    let Stage { api, node, .. } = &mut stage()?;
    node.write_manifest("policy.yaml", NOTHING_LEAVES)?;
    node.start()?;
    let late = node.pod("default/late", &[("app", "client")])?;
    let mut talk = Talk::tcp(&late, (api.v4, 7000))?;
    assert!(talk.word()?.is_answered());
    node.write_config()?;
    node.wait_flows(0, 1, is_end)?;
    assert!(talk.word()?.is_ended());
    Ok(())
}

#[test]
fn what_stays_allowed_is_not_touched() -> Result<()> {
    let Stage { client, api, echo, node } = &mut stage()?;
    let _udp = server::udp(api, "0.0.0.0:5353")?;
    let other = server::tcp(api, "0.0.0.0:7001")?;
    node.start()?;
    let mut allowed = [Talk::tcp(client, (api.v4, 7000))?, Talk::udp(client, (api.v4, 5353))?];
    let mut denied = Talk::tcp(client, (api.v4, 7001))?;
    node.apply("policy.yaml", PORTS)?;
    node.wait_flows(0, 1, is_end)?;
    assert!(denied.word()?.is_ended());
    settle(node)?;
    for talk in &mut allowed {
        assert!(talk.word()?.is_answered());
    }
    assert_eq!(node.flows()?.iter().filter(|flow| is_end(flow)).count(), 1);
    assert!(echo.ended()?.is_empty());
    assert_eq!(eventually("the server's end", || Ok(other.ended()?.first().copied()))?.errno, Some(ECONNRESET));
    Ok(())
}

#[test]
fn a_connected_udp_socket_is_ended() -> Result<()> {
    let Stage { client, api, node, .. } = &mut stage()?;
    let _udp = server::udp(api, "0.0.0.0:5353")?;
    node.start()?;
    let mut talk = Talk::udp(client, (api.v4, 5353))?;
    assert!(talk.word()?.is_answered());
    node.apply("policy.yaml", NOTHING_LEAVES)?;
    let record = &node.wait_flows(0, 1, is_end)?[0];
    assert_eq!((record.direction(), record.destination()), ("EGRESS", Some((api.v4, 5353).into())));
    let outcome = talk.word()?;
    assert_eq!((outcome.call.as_str(), outcome.errno), ("write", Some(EDESTADDRREQ)), "it has no peer: {outcome:?}");
    Ok(())
}

#[test]
fn what_may_not_enter_any_more_is_ended() -> Result<()> {
    let Stage { client, api, echo, node } = &mut stage()?;
    node.start()?;
    let mut talk = Talk::tcp(client, (api.v4, 7000))?;
    let local = talk.word()?.local;
    node.apply("policy.yaml", NOTHING_ENTERS)?;
    let record = &node.wait_flows(0, 1, is_end)?[0];
    assert_eq!(record.direction(), "INGRESS");
    assert_eq!((record.source(), record.destination()), (local, Some((api.v4, 7000).into())));
    let outcome = talk.word()?;
    assert_eq!(outcome.errno, Some(ECONNRESET), "{outcome:?}");
    assert_eq!(eventually("the server's end", || Ok(echo.ended()?.first().copied()))?.errno, Some(ECONNABORTED));
    Ok(())
}

#[test]
fn ipv6_and_v4_mapped_sockets_are_ended_as_well() -> Result<()> {
    let Stage { client, api, node, .. } = &mut stage()?;
    node.start()?;
    let mapped = std::net::SocketAddr::new(api.v4.to_ipv6_mapped().into(), 7000);
    let six = (api.v6, 7000).into();
    let mut talks = [Talk::tcp(client, six)?, Talk::tcp(client, mapped)?];
    node.apply("policy.yaml", NOTHING_LEAVES)?;
    let records = node.wait_flows(0, 2, is_end)?;
    for (talk, destination) in talks.iter_mut().zip([six, (api.v4, 7000).into()]) {
        assert_eq!(talk.word()?.errno, Some(ECONNABORTED), "{destination}");
        assert!(records.iter().any(|record| record.destination() == Some(destination)), "{destination}: {records:?}");
    }
    Ok(())
}

#[test]
fn left_alone_when_the_configuration_says_so() -> Result<()> {
    let Stage { client, api, node, .. } = &mut stage()?;
    node.set_redirect("existing", json!("leave"));
    // Which judges packets, whatever their socket was allowed.
    node.set_redirect("backstop", json!("off"));
    node.start()?;
    let mut talk = Talk::tcp(client, (api.v4, 7000))?;
    node.apply("policy.yaml", NOTHING_LEAVES)?;
    assert!(server::connect(client, (api.v4, 7000), None)?.is_refused(), "the policy is in force");
    assert!(talk.word()?.is_answered());
    assert!(!node.flows()?.iter().any(is_end));
    assert_eq!(node.status()?.counters["existing_looks"], 0);
    Ok(())
}

#[test]
fn what_newly_needs_http_rules_is_ended_once() -> Result<()> {
    let Stage { client, api, node, .. } = &mut stage()?;
    let server = server::http(api, 8080)?;
    node.start()?;
    let mut direct = Held::open(client, (api.v4, 8080), "/read/a")?;
    assert_eq!(direct.request()?["status"], 200);
    node.apply("policy.yaml", READ_ONLY)?;
    let record = &node.wait_flows(0, 1, is_end)?[0];
    assert_eq!((record.reason(), record.direction()), ("ended-needs-http-rules", "EGRESS"));
    assert_eq!(record.policies(), [READ_ONLY_NAME]);
    assert!(direct.request()?.get("error").is_some());

    let mut through = Held::open(client, (api.v4, 8080), "/read/a")?;
    assert_eq!(through.request()?["status"], 200);
    node.apply("policy.yaml", &READ_ONLY.replace("/read.*", "/read/.*"))?;
    node.apply("more.yaml", PORTS)?;
    settle(node)?;
    assert_eq!(through.request()?["status"], 200, "the same connection, judged anew");
    node.apply("policy.yaml", &READ_ONLY.replace("/read.*", "/else"))?;
    assert_eq!(through.request()?["status"], 403);
    assert_eq!(server.seen()?.len(), 3);
    assert_eq!(node.flows()?.iter().filter(|flow| is_end(flow)).count(), 1);
    Ok(())
}

#[test]
fn what_goes_through_the_proxy_on_both_sides_is_not_touched() -> Result<()> {
    let Stage { client, api, node, .. } = &mut stage()?;
    let server = server::http(api, 8080)?;
    node.write_manifest("client.yaml", READ_ONLY)?;
    node.write_manifest("api.yaml", GUARDED)?;
    node.start()?;
    let mut through = Held::open(client, (api.v4, 8080), "/read/a")?;
    assert_eq!(through.request()?["status"], 200);
    // Everything is denied below HTTP now, on both sides; sockets of the proxy are not what that is about.
    node.apply("client.yaml", &READ_ONLY.replace("app: api", "app: nobody"))?;
    node.apply("api.yaml", &GUARDED.replace("fromEndpoints: [{matchLabels: {app: client}}]", "fromEndpoints: []"))?;
    settle(node)?;
    assert_eq!(through.request()?["status"], 403, "the connection stays, its next request is judged");
    assert_eq!(server.seen()?.len(), 1);
    assert!(!node.flows()?.iter().any(is_end), "{:?}", node.flows());
    Ok(())
}

#[test]
fn who_opened_a_connection_counts_and_not_who_still_listens() -> Result<()> {
    let Stage { client, api, node, .. } = &mut stage()?;
    let one = server::tcp_of_one(api, "0.0.0.0:7070")?;
    node.start()?;
    let mut talk = Talk::tcp(client, (api.v4, 7070))?;
    assert!(talk.word()?.is_answered());
    // What leaves the API is denied now; this entered it.
    node.apply("policy.yaml", &NOTHING_LEAVES.replace("app: client", "app: api"))?;
    settle(node)?;
    assert!(talk.word()?.is_answered());
    assert!(one.ended()?.is_empty());
    Ok(())
}

#[test]
fn a_pod_s_traffic_to_itself_is_never_ended() -> Result<()> {
    let Stage { api, node, .. } = &mut stage()?;
    node.start()?;
    let own = [(api.v4, 7000).into(), (api.v6, 7000).into(), "127.0.0.1:7000".parse()?, "[::1]:7000".parse()?];
    let mut talks = own.into_iter().map(|to: std::net::SocketAddr| Talk::tcp(api, to)).collect::<Result<Vec<_>>>()?;
    let nothing = format!("{NOTHING_ENTERS}---{}", NOTHING_LEAVES.replace("app: client", "app: api"));
    node.apply("policy.yaml", &nothing)?;
    settle(node)?;
    for (talk, to) in talks.iter_mut().zip(own) {
        assert!(talk.word()?.is_answered(), "{to}");
    }
    Ok(())
}
