//! More connections than there are places for.

use anyhow::Result;
use conformance::{
    Node, Pod,
    server::{self, Crowd},
};
use serde_json::{Value, json};

use crate::manifests::READ_ONLY;

struct Stage {
    node: Node,
    pods: [Pod; 2],
    api: Pod,
    _server: server::Server,
}

impl Stage {
    fn new(limits: &Value) -> Result<Self> {
        let mut node = Node::new()?;
        let pods =
            [node.pod("default/greedy", &[("app", "client")])?, node.pod("default/modest", &[("app", "client")])?];
        let api = node.stranger()?;
        let server = server::http_at(&api, "0.0.0.0:8080")?;
        node.set(
            "remotes",
            json!([{ "pod": "default/api", "addresses": api.addresses(), "labels": { "app": "api" } }]),
        );
        node.set("proxy", json!({ "limits": limits }));
        node.write_manifest("policy.yaml", READ_ONLY)?;
        node.start()?;
        Ok(Self { node, pods, api, _server: server })
    }

    /// So many connections at once, and how many of them were served.
    fn crowd(&self, pod: &Pod, count: usize) -> Result<(Crowd, usize)> {
        let (crowd, tally) = Crowd::open(pod, "/read/a", count, None, &[(self.api.v4, 8080).into()])?;
        Ok((crowd, tally.good))
    }

    /// Connections that were shed, each with its record.
    fn shed(&self, detail: &str, number: usize) -> Result<()> {
        let is_shed = |flow: &conformance::node::Flow| {
            flow.0.pointer("/flow/extensions/value/reason").and_then(Value::as_str) == Some(detail)
        };
        let flows = self.node.wait_flows(0, number, is_shed)?;
        assert_eq!(flows.len(), number);
        let first = flows.first().map(|flow| &flow.0);
        let of = |pointer| first.and_then(|flow| flow.pointer(pointer)).and_then(Value::as_str);
        assert_eq!(of("/flow/verdict"), Some("DROPPED"));
        assert_eq!(of("/flow/source/pod_name"), Some("greedy"));
        Ok(())
    }
}

#[test]
fn who_takes_most_places_is_shed_and_others_are_not() -> Result<()> {
    let stage = Stage::new(&json!({ "connections": 6 }))?;
    let [greedy, modest] = &stage.pods;
    let (mut held, served) = stage.crowd(greedy, 10)?;
    assert_eq!(served, 5, "the last place is another's");
    stage.shed("too-many-connections", 5)?;
    assert_eq!(stage.node.status()?.counters["connections_shed"], 5);
    let (_other, served) = stage.crowd(modest, 1)?;
    assert_eq!(served, 1);
    assert_eq!(held.again()?.good, 5, "who is served notices nothing");
    drop(held);
    conformance::eventually("places to be free", || {
        let (crowd, served) = stage.crowd(modest, 4)?;
        drop(crowd);
        Ok((served == 4).then_some(()))
    })
}

#[test]
fn without_memory_nothing_more_is_taken() -> Result<()> {
    let stage = Stage::new(&json!({ "memoryMb": 1 }))?;
    let (_crowd, served) = stage.crowd(&stage.pods[0], 3)?;
    assert_eq!(served, 0);
    stage.shed("out-of-memory", 3)?;
    assert_eq!(stage.node.status()?.counters["connections_shed_for_memory"], 3);
    Ok(())
}
