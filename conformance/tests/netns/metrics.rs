//! What Prometheus is told, and whether it can read it.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use conformance::{
    Node, Pod,
    client::{
        curl,
        hubble::{Cli, Target},
        promtool,
    },
    eventually, missing, server,
};
use serde_json::json;

use crate::manifests::READ_ONLY;

struct Stage {
    node: Node,
    client: Pod,
    api: Pod,
    address: SocketAddr,
}

impl Stage {
    fn new() -> Result<Self> {
        let mut node = Node::new()?;
        let client = node.pod("default/client", &[("app", "client")])?;
        let api = node.pod("default/api", &[("app", "api")])?;
        // Nobody else of this namespace asks for a port by its number.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        node.set("admin", json!({ "socket": "admin.sock", "metrics": address.to_string() }));
        node.set("flows", json!({ "file": { "path": "flows.jsonl" }, "socket": "hubble.sock" }));
        node.write_manifest("policy.yaml", READ_ONLY)?;
        Ok(Self { node, client, api, address })
    }

    fn scrape(&self) -> Result<String> {
        let mut stream = TcpStream::connect(self.address).context("nobody answers for metrics")?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, text) = answer.split_once("\r\n\r\n").context("no answer")?;
        ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
        Ok(text.to_owned())
    }

    /// Waits for a line that begins and ends so.
    fn wait(&self, begin: &str, end: &str) -> Result<String> {
        eventually(&format!("{begin} … {end}"), || {
            let text = self.scrape()?;
            let is_there = text.lines().any(|line| line.starts_with(begin) && line.ends_with(end));
            Ok(is_there.then_some(text))
        })
    }
}

#[test]
fn what_happens_is_told_and_prometheus_can_read_it() -> Result<()> {
    let mut stage = Stage::new()?;
    let _server = server::http(&stage.api, 8080)?;
    stage.node.start()?;
    let url = |path: &str| format!("http://{}:8080/{path}", stage.api.v4);
    assert_eq!(curl(&stage.client, &[], &url("read"))?.status, 200);
    assert_eq!(curl(&stage.client, &[], &url("write"))?.status, 403);
    assert!(server::connect(&stage.client, (stage.api.v4, 9090), None)?.is_refused());
    stage.wait("hubble_drop_total{", " 1")?;
    let text = stage.wait("hubble_drop_total{destination=\"api\",", "protocol=\"TCP\",reason=\"POLICY_DENIED\",source=\"client\",source_namespace=\"default\",traffic_direction=\"egress\"} 1")?;
    for (begin, end) in [
        (
            "hubble_http_requests_total{",
            "reporter=\"client\",source_namespace=\"default\",source_workload=\"\",status=\"200\",traffic_direction=\"egress\"} 1",
        ),
        (
            "hubble_http_requests_total{",
            "reporter=\"client\",source_namespace=\"default\",source_workload=\"\",status=\"403\",traffic_direction=\"egress\"} 1",
        ),
        (
            "l7proxy_rule_requests_total{policy=\"CiliumNetworkPolicy default/read-only\",rule=\"egress[0].toPorts[0].rules.http[0] GET /read",
            "verdict=\"FORWARDED\"} 1",
        ),
        (
            "l7proxy_rule_requests_total{policy=\"CiliumNetworkPolicy default/read-only\",rule=\"\",",
            "verdict=\"DROPPED\"} 1",
        ),
        ("l7proxy_http_requests_total{direction=\"egress\",protocol=\"HTTP/1.1\"}", " 2"),
        ("l7proxy_http_requests_in_flight{direction=\"egress\"}", " 0"),
        ("l7proxy_pods{state=\"ready\"}", " 2"),
        ("l7proxy_policies{state=\"in force\"}", " 1"),
        ("l7proxy_ready", " 1"),
        ("l7proxy_status_known", " 1"),
        ("l7proxy_kernel_refused_total", " 1"),
    ] {
        assert!(text.lines().any(|line| line.starts_with(begin) && line.ends_with(end)), "{begin} … {end}\n{text}");
    }
    let Some(cli) = Cli::find() else { return missing("the Hubble CLI") };
    let said = cli.run(&Target::unix(&stage.node.path("hubble.sock")), &["observe", "--last", "3"])?;
    assert_eq!((said.exit, said.lines().len()), (Some(0), 3), "{said:#?}");
    let of_flows = "grpc_method=\"GetFlows\",grpc_service=\"observer.Observer\",grpc_type=\"server_stream\"}";
    stage.wait(&format!("grpc_server_handled_total{{grpc_code=\"OK\",{of_flows}"), " 1")?;
    stage.wait(&format!("grpc_server_msg_sent_total{{{of_flows}"), " 3")?;
    // Two requests and two answers, and what was decided and became of the connection.
    let text = stage.wait("l7proxy_hubble_records ", " 6")?;
    if promtool::program().is_none() {
        return missing("promtool");
    }
    let complaints = promtool::complaints(&["check", "metrics"], &stage.node.path("."), &text)?;
    assert_eq!(complaints, None);
    let nonsense = promtool::complaints(&["check", "metrics"], &stage.node.path("."), "a_counter{x=1} 1\n")?;
    assert!(nonsense.is_some(), "it reads what it is given");
    Ok(())
}

#[test]
fn the_process_that_takes_over_is_scraped() -> Result<()> {
    let mut stage = Stage::new()?;
    let _server = server::http(&stage.api, 8080)?;
    stage.node.start()?;
    let url = format!("http://{}:8080/read", stage.api.v4);
    assert_eq!(curl(&stage.client, &[], &url)?.status, 200);
    stage.wait("l7proxy_requests_forwarded_total", " 1")?;
    // Another one with the same configuration that takes nothing over, and one that does.
    assert_eq!(stage.node.spawn(&[])?.wait()?.code(), Some(2));
    let replaced = stage.node.take_over()?;
    // Either answers, but for a scrape that the old one was about to answer when it ended; then the new one, whose counters
    // begin anew.
    eventually("the new process is scraped", || {
        let text = stage.scrape().unwrap_or_default();
        let is_new = |line: &str| line.starts_with("l7proxy_requests_forwarded_total") && line.ends_with(" 0");
        Ok(text.lines().any(is_new).then_some(()))
    })?;
    assert!(replaced.wait()?.success());
    stage.wait("l7proxy_ready", " 1")?;
    Ok(())
}

#[test]
fn an_address_that_is_taken_is_told_before_anything_is_attached() -> Result<()> {
    let stage = Stage::new()?;
    let _taken = TcpListener::bind(stage.address)?;
    stage.node.write_config()?;
    assert_eq!(stage.node.spawn(&[])?.wait()?.code(), Some(2));
    let log = stage.node.log();
    let wanted = format!("admin.metrics: {}: Address already in use", stage.address);
    assert!(log.lines().any(|line| line.starts_with(&wanted)), "{log}");
    drop(stage.node);
    Ok(())
}

#[test]
fn alert_rules_are_what_prometheus_takes_and_fire_when_they_should() -> Result<()> {
    if promtool::program().is_none() {
        return missing("promtool");
    }
    let charts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts");
    assert_eq!(promtool::complaints(&["check", "rules", "alerts.yaml"], &charts, "")?, None);
    assert_eq!(promtool::complaints(&["test", "rules", "alerts.test.yaml"], &charts, "")?, None);
    Ok(())
}
