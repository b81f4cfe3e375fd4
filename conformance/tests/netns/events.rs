//! Refusals of the kernel on their way to the records: who asked, by which rule, and how many.

use anyhow::Result;
use conformance::{
    Node, Pod,
    client::curl,
    eventually,
    node::Flow,
    packet::{self, Ipv4},
    server::{self, calls},
    sniffer::{self, Flood},
};
use serde_json::json;

use crate::manifests::{PORTS, READ_ONLY, READ_ONLY_NAME};

/// TCP 7003 of the API is for nobody, and the client may not send to UDP 5355.
const DENIED: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: denied, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: api}}
  ingress: [{fromEntities: [all]}]
  ingressDeny: [{fromEntities: [all], toPorts: [{ports: [{port: "7003", protocol: TCP}]}]}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: muted, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egressDeny: [{toEntities: [all], toPorts: [{ports: [{port: "5355", protocol: UDP}]}]}]
"#;

struct Stage {
    client: Pod,
    api: Pod,
    /// Nothing is said of what it may send.
    other: Pod,
    node: Node,
}

fn stage() -> Result<Stage> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let other = node.pod("default/other", &[("app", "other")])?;
    node.write_manifest("policy.yaml", &format!("{PORTS}---{DENIED}"))?;
    node.start()?;
    Ok(Stage { client, api, other, node })
}

/// How many refusals the records of one kind tell of.
fn told<'f>(flows: impl IntoIterator<Item = &'f Flow>, is_one: impl Fn(&Flow) -> bool) -> u64 {
    flows.into_iter().filter(|flow| is_one(flow)).map(|flow| 1 + flow.repeats()).sum()
}

fn is_to(flow: &Flow, port: u16) -> bool {
    flow.destination().is_some_and(|end| end.port() == port)
}

/// Whatever hook it is that refuses.
#[test]
fn the_records_of_a_flood_come_to_what_the_kernel_counts() -> Result<()> {
    const CALLS: u64 = 300;
    let Stage { client, api, other, node } = stage()?;
    for (pod, kind, port) in [
        (&client, "tcp", 7001),
        (&client, "udp", 5354),
        (&client, "udp-connect", 5356),
        (&client, "udp", 5355),
        (&other, "tcp", 7003),
    ] {
        for address in api.addresses() {
            assert_eq!(calls(pod, kind, (address, port), CALLS)?, CALLS, "{kind} {address}");
        }
    }
    let ip = Ipv4::new(client.v4, api.v4, packet::UDP);
    let flood = Flood::start(&client, api.v4, &ip.with(&packet::udp(9999, 5357, b"a flood")))?;
    while node.status()?.counters["kernel_backstop_dropped"] < CALLS {}
    let sent = flood.finish()?;
    let wanted = 2 * CALLS * 5 + sent;
    let flows = node.wait_told(wanted)?;
    let counters = node.status()?.counters;
    assert_eq!((counters["kernel_refused"], counters["kernel_refusal_events_lost"]), (wanted, 0));
    for port in [7001, 5354, 5355, 5356, 7003] {
        assert_eq!(told(&flows, |flow| is_to(flow, port)), 2 * CALLS, "{port}");
    }
    assert_eq!(told(&flows, |flow| is_to(flow, 5357)), sent);
    let records = u64::try_from(flows.len())?;
    assert!(records < wanted / 10, "{records} records of {wanted}");
    Ok(())
}

#[test]
fn a_record_names_rule_and_process() -> Result<()> {
    let Stage { client, api, other, node } = stage()?;
    calls(&client, "udp", (api.v4, 5355), 20)?;
    calls(&client, "tcp", (api.v4, 7001), 1)?;
    calls(&other, "tcp", (api.v4, 7003), 1)?;
    let ip = Ipv4::new(client.v4, api.v4, packet::UDP);
    let raw = ip.with(&packet::udp(9999, 5355, b"raw"));
    assert_eq!(sniffer::packet(&client, api.v4, &raw)?.result, "sent");
    // The last of them.
    node.wait_flows(0, 1, |flow| is_to(flow, 5355) && flow.reason() == "backstop")?;
    let flows = node.flows()?;
    let one = |port: u16, reason: &str| {
        let mut found = flows.iter().filter(|flow| is_to(flow, port) && flow.reason() == reason);
        found.next().unwrap_or_else(|| panic!("{port} {reason}: {flows:#?}"))
    };
    let by_rule = one(5355, "deny-rule");
    assert_eq!((by_rule.rule(), by_rule.command()), ("egressDeny[0].toPorts[0]", "conformance-pod"));
    assert!(by_rule.pid().is_some());
    let by_nobody = one(7001, "no-rule");
    assert_eq!((by_nobody.rule(), by_nobody.command()), ("egress[0].toPorts[0]", "conformance-pod"), "the nearest");
    assert!(by_nobody.policies().contains(&"CiliumNetworkPolicy default/ports".to_owned()));
    // Where a packet comes in no process asks.
    let from_outside = one(7003, "deny-rule");
    assert_eq!((from_outside.rule(), from_outside.pid()), ("ingressDeny[0].toPorts[0]", None));
    let raw = one(5355, "backstop");
    assert_eq!((raw.rule(), raw.pid()), ("egressDeny[0].toPorts[0]", None));
    Ok(())
}

/// What is still counted only when the process ends is told then.
#[test]
fn nothing_is_left_at_the_end() -> Result<()> {
    let Stage { client, api, mut node, .. } = stage()?;
    calls(&client, "tcp", (api.v4, 7001), 100)?;
    node.stop()?;
    assert_eq!(told(&node.flows()?, |flow| is_to(flow, 7001)), 100);
    Ok(())
}

/// More of them than the kernel has room for, while nobody reads.
#[test]
fn what_finds_no_room_is_told_as_lost() -> Result<()> {
    const CALLS: u64 = 12_000;
    let Stage { client, api, mut node, .. } = stage()?;
    node.stop()?;
    // All in one file.
    node.set("flows", json!({"file": {"path": "flows.jsonl", "maxSizeMb": 100}}));
    node.start()?;
    node.proxy()?.pause()?;
    let refused = calls(&client, "udp-ports", (api.v4, 20_000), CALLS)?;
    let again = calls(&client, "udp-ports", (api.v4, 20_000), CALLS)?;
    node.proxy()?.resume()?;
    assert_eq!((refused, again), (CALLS, CALLS));
    let sum = |flows: &[Flow]| {
        let told = told(flows, |flow| flow.verdict() == "DROPPED");
        (told, flows.iter().map(Flow::lost).sum::<u64>())
    };
    let is_whole = |flows: &[Flow]| {
        let (told, lost) = sum(flows);
        told + lost == 2 * CALLS
    };
    eventually("each refusal to be told or lost", || Ok(Some(node.flows()?).filter(|flows| is_whole(flows))))
        .map_err(|error| error.context(format!("{:?}", node.flows().map(|flows| sum(&flows)))))?;
    let counters = node.status()?.counters;
    assert_eq!(counters["kernel_refused"], 2 * CALLS);
    assert!(sum(&node.flows()?).1 > 0 && counters["kernel_refusal_events_lost"] > 0, "{counters:?}");
    Ok(())
}

/// Connections without the proxy are told when that is asked for, and not else.
#[test]
fn connections_that_pass_begin_and_end() -> Result<()> {
    for asked in [true, false] {
        let mut node = Node::new()?;
        let client = node.pod("default/client", &[("app", "client")])?;
        let api = node.pod("default/api", &[("app", "api")])?;
        let _echo = server::tcp(&api, "[::]:7000")?;
        let _web = server::http_at(&api, "[::]:8080")?;
        node.set("flows", json!({"file": {"path": "flows.jsonl"}, "connections": asked}));
        node.write_manifest("policy.yaml", &format!("{PORTS}---{DENIED}---{READ_ONLY}"))?;
        node.start()?;
        for address in api.addresses() {
            assert_eq!(server::connect(&client, (address, 7000), Some("hello"))?.reply.as_deref(), Some("hello"));
        }
        // By the proxy: its requests have records.
        assert_eq!(curl(&client, &[], &format!("http://{}:8080/read/a", api.v4))?.status, 200);
        calls(&client, "tcp", (api.v4, 7001), 1)?;
        node.wait_flows(0, 1, |flow| flow.verdict() == "DROPPED")?;
        let decided = |verdict: &str, port| -> Result<Vec<Flow>> {
            let is_it = |flow: &Flow| flow.is_decision() && flow.verdict() == verdict && is_to(flow, port);
            Ok(node.all_flows()?.into_iter().filter(is_it).collect())
        };
        let denied = decided("DROPPED", 7001)?;
        assert_eq!((denied.len(), denied[0].matched()), (1, 0), "beside the drop, and by no rule");
        assert!(denied[0].policies().contains(&"CiliumNetworkPolicy default/ports".to_owned()), "{denied:#?}");
        if !asked {
            assert!(node.all_flows()?.iter().all(|flow| !flow.is_decision() || flow.verdict() == "DROPPED"));
            assert!(node.flows()?.iter().all(|flow| flow.connection().is_empty()));
            continue;
        }
        let ended = node.wait_flows(0, 4, |flow| flow.connection() == "ended" && is_to(flow, 7000))?;
        let opened = node.wait_flows(0, 4, |flow| flow.connection() == "opened" && is_to(flow, 7000))?;
        assert_eq!((opened.len(), ended.len()), (4, 4), "{:#?}", node.flows());
        let allowed = decided("FORWARDED", 7000)?;
        // Who and the port, of what leaves; what enters may be from anybody, to any port.
        let matched = |direction: &str| -> Vec<u64> {
            allowed.iter().filter(|flow| flow.direction() == direction).map(Flow::matched).collect()
        };
        assert_eq!((matched("EGRESS"), matched("INGRESS")), (vec![2, 2], vec![4, 4]), "{allowed:#?}");
        let redirected = decided("REDIRECTED", 8080)?;
        assert_eq!(redirected.len(), 1, "{redirected:#?}");
        assert_eq!((redirected[0].direction(), redirected[0].matched()), ("EGRESS", 2));
        assert_eq!(redirected[0].policies(), [READ_ONLY_NAME]);
        // The proxy's own connection is no egress of its pod; into the other one it is like any.
        let proxy_s = node.wait_flows(0, 2, |flow| !flow.connection().is_empty() && is_to(flow, 8080))?;
        assert!(proxy_s.len() == 2 && proxy_s.iter().all(|flow| flow.direction() == "INGRESS"), "{proxy_s:#?}");
        for flow in opened.iter().chain(&ended) {
            assert_eq!(flow.verdict(), "FORWARDED");
            let (rule, policy, command) = match flow.direction() {
                "EGRESS" => ("egress[0].toPorts[0]", "CiliumNetworkPolicy default/ports", "conformance-pod"),
                _ => ("ingress[0]", "CiliumNetworkPolicy default/denied", ""),
            };
            assert_eq!((flow.rule(), flow.command()), (rule, command));
            assert_eq!(flow.policies(), [policy]);
            assert!(
                opened.iter().any(|other| other.source() == flow.source() && other.direction() == flow.direction())
            );
        }
        for flow in &ended {
            let (sent, received) = flow.connection_bytes();
            assert!((5..=7).contains(&sent) && (5..=7).contains(&received), "{flow:#?}");
        }
    }
    Ok(())
}
