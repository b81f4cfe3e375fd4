//! Addresses that come to be somebody else's in the very change that changes policy: judged as before or as after, at every
//! call by which the proxy changes what the kernel holds.

use std::{cell::Cell, net::IpAddr};

use anyhow::Result;
use conformance::{
    Node, Pod, server, told,
    tracer::{Call, Outcome, Then, Tracer},
};
use serde_json::{Value, json};

/// What an address is, and what policy is, before or after.
struct State {
    remotes: Value,
    services: Value,
    /// A policy's egress and egressDeny.
    egress: [&'static str; 2],
}

/// A pod elsewhere.
fn pod(address: IpAddr, app: &str) -> Value {
    json!([{ "pod": format!("default/{app}"), "addresses": [address], "labels": { "app": app } }])
}

/// A Service at `address` whose one pod is somewhere that nobody answers.
fn behind(address: IpAddr, app: &str) -> State {
    let service = json!([{
        "name": format!("default/{app}"),
        "clusterIPs": [address],
        "ports": [{ "port": 7000 }],
        "selector": { "app": app },
    }]);
    State { remotes: pod([192, 0, 2, 7].into(), app), services: service, egress: ["", ""] }
}

fn is(remotes: Value) -> State {
    State { remotes, services: json!([]), egress: ["", ""] }
}

impl State {
    fn egress(self, allow: &'static str, deny: &'static str) -> Self {
        Self { egress: [allow, deny], ..self }
    }

    /// One file says both: it names the manifests.
    fn set(&self, node: &mut Node, name: &str) -> Result<()> {
        let [allow, deny] = self.egress;
        let policy = format!(
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: p, namespace: default}}\nspec:\n  \
             endpointSelector: {{matchLabels: {{app: client}}}}\n  egress: [{allow}]\n  egressDeny: [{deny}]\n"
        );
        let file = format!("{name}.yaml");
        std::fs::write(node.path(&file), policy)?;
        node.set("policies", json!([file]));
        node.set("remotes", self.remotes.clone());
        node.set("services", self.services.clone());
        node.write_config()
    }
}

struct Stage {
    node: Node,
    client: Pod,
    /// Whose address it is about.
    server: Pod,
    _server: server::Server,
}

impl Stage {
    fn new() -> Result<Self> {
        let mut node = Node::new()?;
        let client = node.pod("default/client", &[("app", "client")])?;
        let other = node.stranger()?;
        let server = server::tcp(&other, "0.0.0.0:7000")?;
        Ok(Self { node, client, server: other, _server: server })
    }

    fn connects(&self) -> Result<bool> {
        Ok(server::connect(&self.client, (self.server.v4, 7000), None)?.result == "connected")
    }

    /// From one state to another; at each call it is what it is at the ends. How many calls there were.
    fn change(&mut self, before: &State, after: &State, allowed: bool) -> Result<usize> {
        before.set(&mut self.node, "before")?;
        self.node.start()?;
        assert_eq!(self.connects()?, allowed, "before");
        let revision = self.node.status()?.revision;
        let tracer = Tracer::attach(self.node.proxy()?.id())?;
        after.set(&mut self.node, "after")?;
        let (calls, quiet) = (Cell::new(0), Cell::new(0));
        let at = |call: &Call| {
            assert_eq!(self.connects()?, allowed, "before {call:?}");
            calls.set(call.number);
            quiet.set(0);
            Ok(Then::GoOn)
        };
        // Asked only while it makes no calls: it is over when it made some and makes no more.
        let is_done = || {
            quiet.set(quiet.get() + 1);
            Ok(calls.get() > 0 && quiet.get() > 50)
        };
        assert_eq!(tracer.run(at, is_done)?, Outcome::Done);
        self.node.wait_revision(revision)?;
        assert_eq!(self.connects()?, allowed, "after");
        self.node.stop()?;
        Ok(calls.get())
    }
}

const A: &str = "{toEndpoints: [{matchLabels: {app: a}}]}";
const B: &str = "{toEndpoints: [{matchLabels: {app: b}}]}";
const ALL: &str = "{toEntities: [all]}";
const WORLD: &str = "{toEntities: [world]}";

#[test]
fn is_never_what_neither_says() -> Result<()> {
    let mut stage = Stage::new()?;
    let address = IpAddr::V4(stage.server.v4);
    let (a, b) = (|| is(pod(address, "a")), || is(pod(address, "b")));
    let nobody = || is(json!([]));
    let changes = [
        ("another pod's", b().egress(A, ""), a().egress(B, ""), false),
        ("another pod's, denied by name", a().egress(ALL, A), b().egress(ALL, B), false),
        ("nobody's", a().egress(WORLD, ""), nobody().egress(A, ""), false),
        ("a pod's", nobody().egress(A, ""), a().egress(WORLD, ""), false),
        ("another pod's, allowed", a().egress(A, ""), b().egress(B, ""), true),
        ("another Service's", behind(address, "a").egress(ALL, A), behind(address, "b").egress(ALL, B), false),
        ("no Service's", behind(address, "a").egress(WORLD, ""), nobody().egress(A, ""), false),
        ("a Service's", nobody().egress(A, ""), behind(address, "a").egress(WORLD, ""), false),
    ];
    for (what, before, after, allowed) in changes {
        let calls = stage.change(&before, &after, allowed)?;
        told(format_args!("{what}: asked before each of {calls} calls"));
        assert!(calls > 5, "{what}");
    }
    Ok(())
}
