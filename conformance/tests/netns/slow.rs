//! slowhttptest: clients that hold connections with heads, bodies and reads that hardly go on. What is a limit's is shed and
//! counted, what is not is left alone, and nobody else notices.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, thread, time::Duration};

use anyhow::{Result, anyhow};
use conformance::{
    Node, Pod, Process,
    client::{
        go::Go,
        slow::{self, Ended},
    },
    missing,
    node::Flow,
    server::{Crowd, Held},
};
use serde_json::{Value, json};

use crate::manifests::READ;

/// Connections of the slow client.
const MANY: usize = 200;
/// For the head of a request; every test lasts longer.
const HEAD_SECONDS: u64 = 2;
const SECONDS: u64 = 3 * HEAD_SECONDS;
/// Between two rounds of the others: records of all of them are to fit into one file.
const PAUSE: Duration = Duration::from_millis(100);
/// Of those that end when the last connection does.
const LONGEST: u64 = 60;

struct Stage {
    node: Node,
    slow: Pod,
    other: Pod,
    target: SocketAddr,
    _api: Pod,
    _server: Process,
}

impl Stage {
    /// Nothing where a program is missing.
    fn new() -> Result<Option<Self>> {
        let Some(go) = Go::build(Path::new(env!("CARGO_TARGET_TMPDIR")))? else {
            missing("Go 1.24 or newer")?;
            return Ok(None);
        };
        if slow::program().is_none() {
            missing("slowhttptest")?;
            return Ok(None);
        }
        let mut node = Node::new()?;
        let slow = node.pod("default/slow", &[("app", "client")])?;
        let other = node.pod("default/other", &[("app", "client")])?;
        let api = node.pod("default/api", &[("app", "api")])?;
        let server = go.serve(&api, 8080)?;
        let target = SocketAddr::from((api.v4, 8080));
        node.set("proxy", json!({ "limits": { "headerTimeoutSeconds": HEAD_SECONDS } }));
        node.write_manifest("policy.yaml", READ)?;
        node.start()?;
        Ok(Some(Self { node, slow, other, target, _api: api, _server: server }))
    }

    /// Runs one kind of it while clients of the same pod and of another ask for something, on connections that they have and
    /// on new ones: all of them are served, again and again.
    fn run(&self, mode: &[&str], path: &str, seconds: u64) -> Result<Ended> {
        let url = format!("http://{}{path}", self.target);
        let pods = [&self.slow, &self.other];
        let open = |pod: &Pod| Held::open(pod, self.target, "/read/length");
        let mut held: Vec<Held> = pods.into_iter().map(open).collect::<Result<_>>()?;
        thread::scope(|scope| {
            let slow = scope.spawn(|| slow::run(&self.slow, mode, MANY, seconds, &url));
            let mut is_last = false;
            while !is_last {
                is_last = slow.is_finished();
                for client in &mut held {
                    assert_eq!(client.request()?, json!({ "status": 200 }), "{mode:?}");
                }
                for pod in pods {
                    let (_crowd, tally) = Crowd::open(pod, "/read/length", 5, None, &[self.target])?;
                    assert_eq!((tally.good, tally.failed), (5, BTreeMap::new()), "{mode:?}");
                }
                thread::sleep(PAUSE);
            }
            slow.join().map_err(|_| anyhow!("it panicked"))?
        })
    }

    fn counter(&self, name: &str) -> Result<u64> {
        Ok(self.node.status()?.counters.get(name).copied().unwrap_or_default())
    }

    /// Nothing was shed, and nobody was told that anything is wrong.
    fn nothing_is_counted(&self) -> Result<()> {
        for name in ["heads_too_slow", "connections_shed", "requests_malformed", "requests_too_large"] {
            assert_eq!(self.counter(name)?, 0, "{name}");
        }
        Ok(())
    }
}

#[test]
fn slow_heads_are_shed() -> Result<()> {
    let Some(stage) = Stage::new()? else { return Ok(()) };
    let ended = stage.run(&["-H", "-i", "1"], "/read/length", LONGEST)?;
    assert_eq!(ended, Ended::Closed);
    assert_eq!(stage.counter("heads_too_slow")?, u64::try_from(MANY)?);
    let is_shed = |flow: &Flow| {
        let reason = flow.0.pointer("/flow/extensions/value/reason").and_then(Value::as_str);
        flow.verdict() == "DROPPED" && reason == Some("head-too-slow")
    };
    let flows = stage.node.wait_flows(0, MANY, is_shed)?;
    assert_eq!(flows.len(), MANY);
    let of_slow = |flow: &&Flow| flow.0.pointer("/flow/source/pod_name").and_then(Value::as_str) == Some("slow");
    assert_eq!(flows.iter().filter(of_slow).count(), MANY);
    let told = |flow: &Flow| flow.0.pointer("/flow/l7/http/code") == Some(&408.into());
    assert_eq!(stage.node.wait_flows(0, MANY, told)?.len(), MANY);
    Ok(())
}

#[test]
fn slow_bodies_are_left_alone() -> Result<()> {
    let Some(stage) = Stage::new()? else { return Ok(()) };
    let ended = stage.run(&["-B", "-i", "1", "-s", "1000000"], "/read/echo", SECONDS)?;
    assert_eq!(ended, Ended::TimeLimit { closed: 0, open: MANY }, "after the head there is no time-out");
    stage.nothing_is_counted()
}

#[test]
fn slow_readers_are_left_alone() -> Result<()> {
    let Some(stage) = Stage::new()? else { return Ok(()) };
    let ended = stage.run(&["-X", "-n", "1", "-z", "32", "-w", "64", "-y", "128"], "/read/large?mib=1", SECONDS)?;
    assert_eq!(ended, Ended::TimeLimit { closed: 0, open: MANY }, "whoever reads slowly is waited for");
    stage.nothing_is_counted()
}

#[test]
fn ranges_are_the_server_s_business() -> Result<()> {
    let Some(stage) = Stage::new()? else { return Ok(()) };
    let ended = stage.run(&["-R", "-a", "1", "-b", "1000"], "/read/large?mib=1", LONGEST)?;
    // Each is answered, and closed by the client.
    assert_eq!(ended, Ended::Closed);
    let is_of_range = |flow: &Flow| flow.0.pointer("/flow/l7/http/method") == Some(&"HEAD".into());
    // Two records each.
    let flows = stage.node.wait_flows(0, 2 * MANY, is_of_range)?;
    assert_eq!(flows.len(), 2 * MANY);
    assert!(flows.iter().all(|flow| flow.verdict() == "FORWARDED"), "{flows:?}");
    stage.nothing_is_counted()
}
