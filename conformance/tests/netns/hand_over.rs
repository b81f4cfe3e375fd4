//! One process takes over from another, and nobody notices.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    net::{Ipv4Addr, SocketAddr},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use conformance::{
    Node, Pod,
    client::curl,
    eventually,
    server::{self, Held, Server, Talk},
    told,
    tracer::{Call, Outcome, Then},
    traffic::{Drip, Tally, Tunnel, Volley},
};
use serde_json::json;

use crate::enrol::wait_gone;

/// What `client` may ask of `api`, and what `inner` lets `outer` ask; each side alone.
pub(crate) const BOTH_WAYS: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: out, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
    - toEndpoints: [{matchLabels: {app: api}}]
      toPorts:
        - ports: [{port: "8080", protocol: TCP}]
          rules:
            http: [{method: GET, path: "/read.*"}]
        - ports: [{port: "7000", protocol: TCP}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: in, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: inner}}
  ingress:
    - fromEndpoints: [{matchLabels: {app: outer}}]
      toPorts:
        - ports: [{port: "8080", protocol: TCP}]
          rules:
            http: [{method: GET, path: "/read.*"}]
"#;

/// New connections a second, in each direction.
const RATE: u32 = 250;

/// Pods of both directions, with servers.
pub(crate) struct Stage {
    pub(crate) node: Node,
    pub(crate) client: Pod,
    pub(crate) api: Pod,
    pub(crate) outer: Pod,
    pub(crate) inner: Pod,
    pub(crate) served: Server,
    pub(crate) guarded: Server,
    pub(crate) plain: [Server; 2],
}

impl Stage {
    pub(crate) fn new() -> Result<Self> {
        let mut node = Node::new()?;
        let client = node.pod("default/client", &[("app", "client")])?;
        let api = node.pod("default/api", &[("app", "api")])?;
        let outer = node.pod("default/outer", &[("app", "outer")])?;
        let inner = node.pod("default/inner", &[("app", "inner")])?;
        let served = server::http(&api, 8080)?;
        let guarded = server::http(&inner, 8080)?;
        let plain = [server::tcp(&api, "0.0.0.0:7000")?, server::tcp(&api, "0.0.0.0:7001")?];
        node.write_manifest("policy.yaml", BOTH_WAYS)?;
        Ok(Self { node, client, api, outer, inner, served, guarded, plain })
    }

    /// Requests in both directions, and attempts to connect where nobody may.
    pub(crate) fn volleys(&self, rate: u32, tag: &str) -> Result<[Volley; 2]> {
        let closed = Some((self.api.v4, 9090).into());
        let out = Volley::start(&self.client, (self.api.v4, 8080), rate, &format!("{tag}-out"), closed)?;
        let into = Volley::start(&self.outer, (self.inner.v4, 8080), rate, &format!("{tag}-in"), None)?;
        Ok([out, into])
    }
}

/// Every request was answered as policy says, what is denied arrived nowhere, and each has one record.
fn all_is_well(stage: &Stage, tallies: &[Tally]) -> Result<()> {
    for tally in tallies {
        assert_eq!(format!("{:?}", tally.lost()), "[]", "requests without their answer\n{}", stage.node.log());
        assert!(tally.threads.iter().all(|thread| thread.requests > 0), "{tally}");
        told(tally);
    }
    let arrived: Vec<String> =
        stage.served.seen()?.into_iter().chain(stage.guarded.seen()?).map(|seen| seen.target).collect();
    assert_eq!(arrived.iter().find(|path| path.starts_with("/write/")), None, "what is denied arrives nowhere");
    let wanted: BTreeMap<String, &str> = tallies
        .iter()
        .flat_map(|tally| [(true, "FORWARDED"), (false, "DROPPED")].map(|(allowed, verdict)| (tally, allowed, verdict)))
        .flat_map(|(tally, allowed, verdict)| tally.paths(allowed).into_iter().map(move |path| (path, verdict)))
        .collect();
    let refused: u64 = tallies.iter().filter_map(Tally::closed).map(|closed| closed.requests).sum();
    // The last ones are still being written.
    eventually("one record for each request", || {
        let mut requests: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut drops = 0;
        for flow in stage.node.flows()? {
            if flow.kind() == "REQUEST" {
                let path = flow.url().splitn(4, '/').nth(3).map(|path| format!("/{path}")).unwrap_or_default();
                requests.entry(path).or_default().push(flow.verdict().to_owned());
            } else if flow.is_verdict() && flow.destination().is_some_and(|end| end.port() == 9090) {
                // Equal ones may share a record.
                drops += 1 + flow.repeats();
            }
        }
        for (path, verdicts) in
            requests.iter().filter(|(path, _)| !path.contains("/stream") && !path.contains("/drip/"))
        {
            ensure!(verdicts.len() == 1, "{path} has {} records", verdicts.len());
            ensure!(wanted.get(path) == verdicts.first().map(String::as_str).as_ref(), "{path}: {verdicts:?}");
        }
        ensure!(drops <= refused, "{drops} records of {refused} refused connections");
        let recorded = wanted.keys().filter(|path| requests.contains_key(*path)).count();
        Ok((recorded == wanted.len() && drops == refused).then_some(()))
    })
}

#[test]
fn nothing_is_lost_when_another_process_takes_over() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.node.start()?;
    let [out, into] = stage.volleys(RATE, "a")?;
    let (client, api) = (&stage.client, stage.api.v4);
    let mut tunnels = [
        Tunnel::open(client, (api, 8080), "/read/stream")?,
        Tunnel::open(&stage.outer, (stage.inner.v4, 8080), "/read/stream")?,
    ];
    let mut plain = Talk::tcp(client, (api, 7000))?;
    let drip = Drip::open(client, (api, 8080), "/read/drip/100")?;
    for word in &mut tunnels {
        assert!(word.word("before")?);
    }
    let mut replaced = Vec::new();
    for round in 0..3 {
        replaced.push(stage.node.take_over()?);
        for tunnel in &mut tunnels {
            assert!(tunnel.word(&format!("after {round}"))?, "a stream goes on");
        }
        assert!(plain.word()?.is_answered(), "so does what does not meet the proxy");
    }
    assert_eq!(drip.finish()?, Some(100), "an answer that takes long is whole");
    let tallies = [out.finish()?, into.finish()?];
    assert_eq!(curl(&stage.client, &[], &format!("http://{api}:8080/read/stream"))?.status, 200);
    let refused = tallies.first().and_then(Tally::closed).map(|closed| closed.seen.keys().cloned().collect::<Vec<_>>());
    assert_eq!(refused, Some(vec!["111".to_owned()]), "denied stays denied, at any moment");
    drop(tunnels);
    for process in replaced {
        assert!(process.wait()?.success(), "when its last stream has ended, a process that was replaced ends");
    }
    let [plain, other] = &stage.plain;
    assert!(!plain.seen()?.is_empty() && other.seen()?.is_empty());
    all_is_well(&stage, &tallies)
}

#[test]
fn only_who_asks_for_it_takes_over() -> Result<()> {
    let mut stage = Stage::new()?;
    // Where nobody runs there is nothing to take over: it is a start.
    stage.node.write_config()?;
    let first = stage.node.spawn(&["--take-over"])?;
    let pid = first.id();
    let is_up = |node: &Node| {
        eventually("the process to become ready", || Ok(node.status().ok().filter(|status| status.ready)))
    };
    assert_eq!(is_up(&stage.node)?.pid, pid);
    let second = stage.node.spawn(&[])?.wait()?;
    assert_eq!(second.code(), Some(2));
    let log = stage.node.log();
    let told = log.lines().find(|line| line.starts_with("redirect.pins: "));
    assert!(told.is_some_and(|line| line.contains("--take-over")), "{log}");
    let cleanup = stage.node.run("cleanup", &[])?;
    assert_eq!(cleanup.status.code(), Some(2), "what is in use is not removed");
    assert!(String::from_utf8_lossy(&cleanup.stderr).contains("a process is running"), "{cleanup:?}");
    let url = format!("http://{}:8080", stage.api.v4);
    assert_eq!(curl(&stage.client, &[], &format!("{url}/read/a"))?.status, 200);
    assert_eq!(curl(&stage.client, &[], &format!("{url}/write"))?.status, 403, "the first one goes on");
    assert_eq!(is_up(&stage.node)?.pid, pid);
    // Of another admin socket nobody answers.
    stage.node.set("admin", json!({ "socket": "other.sock" }));
    stage.node.write_config()?;
    assert_eq!(stage.node.spawn(&["--take-over"])?.wait()?.code(), Some(2));
    assert!(stage.node.log().contains("other.sock: the process that uses redirect.pins does not answer here"));
    first.kill()
}

#[test]
fn what_changes_reaches_connections_of_a_replaced_process() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.node.start()?;
    let mut held = Vec::new();
    for _ in 0..30 {
        let mut one = Held::open(&stage.client, (stage.api.v4, 8080), "/read/a")?;
        assert_eq!(one.request()?, json!({ "status": 200 }));
        held.push(one);
    }
    let first = stage.node.take_over()?;
    stage.node.apply("policy.yaml", &BOTH_WAYS.replace("/read.*", "/other.*"))?;
    // They are the first process', which follows the same files in its own time, and ends each with one more answer.
    eventually("the first process to know of the change", || {
        let mut one = held.pop().context("it never knew")?;
        Ok((one.request()? == json!({ "status": 403 })).then_some(()))
    })?;
    for one in &mut held {
        assert_eq!(one.request()?, json!({ "status": 403 }));
    }
    assert!(first.wait()?.success(), "its last connection ended with that answer");
    Ok(())
}

#[test]
fn a_pod_that_ends_is_let_go_by_a_replaced_process() -> Result<()> {
    let mut node = Node::new()?;
    let plan = node.plan("default/guest", &[("app", "client")])?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let _server = server::http(&api, 8080)?;
    let guest = node.make(&plan)?;
    node.write_manifest("policy.yaml", BOTH_WAYS)?;
    node.start()?;
    assert_eq!(curl(&guest, &[], &format!("http://{}:8080/read/a", api.v4))?.status, 200);
    // For the other pod's sake the first process stays.
    let mut tunnel = Tunnel::open(&client, (api.v4, 8080), "/read/stream")?;
    let first = node.take_over()?;
    guest.netns().delete()?;
    wait_gone(&plan)?;
    assert!(tunnel.word("still there")?);
    drop(tunnel);
    assert!(first.wait()?.success());
    Ok(())
}

/// What the Hubble API says to who does not speak gRPC, at its socket and at its address; empty: nobody listens.
fn hubble_answers(node: &Node) -> Result<[String; 2]> {
    let socket = node.path("hubble.sock");
    let ask = |by: &[&OsStr]| {
        let mut curl = node.network().command("curl");
        curl.args(["--silent", "--http2-prior-knowledge", "--output", "/dev/null", "--write-out", "%{http_code}"]);
        let output = curl.args(by).arg("http://127.0.0.1:4244/").stdin(Stdio::null()).output();
        let output = output.context("curl cannot be started")?;
        let code = String::from_utf8_lossy(&output.stdout).into_owned();
        anyhow::Ok(if output.status.success() { code } else { String::new() })
    };
    Ok([ask(&["--unix-socket".as_ref(), socket.as_os_str()])?, ask(&[])?])
}

#[test]
fn the_hubble_api_goes_to_the_next_process() -> Result<()> {
    let mut node = Node::new()?;
    let api = json!({ "file": { "path": "flows.jsonl" }, "socket": "hubble.sock", "listen": "127.0.0.1:4244" });
    node.set("flows", api);
    node.start()?;
    assert_eq!(hubble_answers(&node)?, ["415", "415"]);
    let first = node.take_over()?;
    assert!(first.wait()?.success());
    // It lets go of the address when it hears that it is replaced.
    eventually("both places to be the second one's", || Ok((hubble_answers(&node)? == ["415", "415"]).then_some(())))?;
    node.stop()?;
    assert_eq!(hubble_answers(&node)?, ["", ""]);
    assert!(!node.path("hubble.sock").exists());
    Ok(())
}

/// One request in each direction and on each kind of socket whose peer the kernel side has to tell, and what is denied.
fn all_is_served(stage: &Stage, when: &Call) -> Result<()> {
    let nowhere = (Ipv4Addr::UNSPECIFIED, 0).into();
    let ways = [
        (&stage.client, &stage.api, "plain"),
        (&stage.client, &stage.api, "mptcp"),
        (&stage.outer, &stage.inner, "plain"),
    ];
    for (from, to, kind) in ways {
        let target = (to.v4, 8080).into();
        let outcome = server::dial(from, kind, target, "/read/slow", nowhere)?;
        assert_eq!(outcome.status, Some(200), "{} by {kind}, {when:?}: {outcome:?}", from.name);
        assert_eq!(outcome.peer, Some(target), "the client is told its destination, {when:?}");
        let seen = outcome.served.as_ref().map(|served| served.peer.ip());
        assert_eq!(seen, Some(from.v4.into()), "the server is told the client, {when:?}");
        assert_eq!(server::dial(from, kind, target, "/write", nowhere)?.status, Some(403), "{when:?}");
    }
    assert!(server::connect(&stage.client, (stage.api.v4, 9090), None)?.is_refused(), "{when:?}");
    Ok(())
}

#[test]
fn nothing_is_lost_however_long_it_takes() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.node.start()?;
    let mut plain = Talk::tcp(&stage.client, (stage.api.v4, 7000))?;
    let (_second, tracer) = stage.node.traced("run", &["--take-over"])?;
    let (mut swapped, mut before) = (0, "");
    // With its first thread stopped anywhere while programs are swapped, both processes serve.
    let outcome = tracer.run(
        |call| {
            if call.name == "link-update" || before == "link-update" {
                swapped += 1;
                all_is_served(&stage, call)?;
                assert!(plain.word()?.is_answered(), "{call:?}");
            }
            before = call.name;
            Ok(Then::GoOn)
        },
        || Ok(stage.node.log().matches(" ready ").count() == 2),
    )?;
    assert_eq!(outcome, Outcome::Done);
    assert!(swapped >= 20, "four pods with three links each, and the cgroup's: {swapped}");
    assert!(stage.node.proxy()?.exited()?.is_none_or(|status| status.success()));
    Ok(())
}

#[test]
fn the_process_goes_on_when_the_one_that_takes_over_dies() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.node.start()?;
    let pins = stage.node.pins()?;
    let mut tunnel = Tunnel::open(&stage.client, (stage.api.v4, 8080), "/read/stream")?;
    let (mut begins, mut ends) = (1, false);
    while !ends {
        let (second, tracer) = stage.node.traced("run", &["--take-over"])?;
        let mut at = Call { number: 0, name: "" };
        let outcome = tracer.run(
            |call| {
                // Until the first program is swapped nothing is there to see: a few of these will do.
                let counts = call.number >= begins && (call.name == "link-update" || call.number % 40 == 0);
                at = call.clone();
                Ok(if counts { Then::Kill } else { Then::GoOn })
            },
            || Ok(stage.node.log().matches(" ready ").count() == 2),
        )?;
        ends = outcome == Outcome::Done;
        if ends {
            // Nothing was left to kill it at.
            second.kill()?;
            break;
        }
        assert_eq!(outcome, Outcome::Killed);
        begins = at.number + 1;
        eventually("the first process to go on", || {
            let killed = stage.node.log().matches("ended before it did").count();
            let stopped = stage.node.log().matches("another process takes over").count();
            Ok((killed == stopped).then_some(()))
        })?;
        stage.node.wait_status("the first process to answer", |status| status.ready)?;
        all_is_served(&stage, &at)?;
        assert!(tunnel.word("on")?, "{at:?}");
        assert_eq!(stage.node.pins()?, pins, "{at:?}");
        // It changes things again.
        stage.node.apply("policy.yaml", &BOTH_WAYS.replace("7000", &(7000 + at.number).to_string()))?;
    }
    assert!(begins > 100, "{begins}");
    Ok(())
}

#[test]
fn a_pod_that_is_guarded_is_not_let_go() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.node.start()?;
    // Every port that a second process could listen on is taken.
    let taken: Vec<SocketAddr> = (15_003..15_065).map(|port| (Ipv4Addr::LOCALHOST, port).into()).collect();
    let _occupant = server::crowd(&stage.inner, &taken)?;
    let second = stage.node.spawn(&["--take-over"])?.wait()?;
    assert_eq!(second.code(), Some(2));
    let log = stage.node.log();
    assert!(log.contains("default/inner: listener in its network namespace") && log.contains("goes on"), "{log}");
    stage.node.wait_status("the first process to answer", |status| status.ready)?;
    all_is_served(&stage, &Call { number: 0, name: "refused" })?;
    stage.node.apply("policy.yaml", &BOTH_WAYS.replace("7000", "7001"))?;
    Ok(())
}
