//! What the kernel side costs: connects and established traffic beside a pod without us, lookups beside smaller maps, memory.
//!
//! Batches of all cases run in turn, many times, so that whatever else the machine does meets all of them. Of each case the
//! tenth percentile is told, and the median of its ratios to the first case in the same round. Owns what is measured. Start at [`connects`] and [`lookups`].

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr},
    process::Command,
};

use anyhow::{Context, Result};
use conformance::{Node, Pod, Process, node::Place, server};
use serde_json::{Value, json};

/// Calls in a batch.
const CALLS: u32 = 200;
const ROUND_TRIPS: u32 = 500;

/// Where connections go: allowed, allowed with HTTP rules, denied.
const ALLOWED: u16 = 8000;
const REDIRECTED: u16 = 8001;
const DENIED: u16 = 8002;
const ECHO: u16 = 8010;
const DATAGRAMS: u16 = 5353;

const POLICY: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
    - toEndpoints: [{matchLabels: {app: api}}]
      toPorts:
        - ports: [{port: "8000", protocol: TCP}, {port: "8010", endPort: 8019, protocol: TCP}]
        - ports: [{port: "8001", protocol: TCP}]
          rules: {http: [{method: GET, path: "/read.*"}]}
"#;

/// A program that runs a batch for each line.
struct Case {
    name: &'static str,
    program: Process,
    /// What each of a batch's nanoseconds are of.
    calls: u32,
    batches: Vec<f64>,
}

impl Case {
    fn new(name: &'static str, mut command: Command, arguments: &[&str], calls: u32) -> Result<Self> {
        let program = Process::spawn_ready(command.args(arguments)).with_context(|| name.to_owned())?;
        Ok(Self { name, program, calls, batches: Vec::new() })
    }

    fn run(&mut self) -> Result<()> {
        let line = self.program.ask("")?;
        let nanoseconds: f64 = line.parse().with_context(|| format!("{}: said {line:?}", self.name))?;
        self.batches.push(nanoseconds / f64::from(self.calls));
        Ok(())
    }

    /// Nanoseconds of one call, and how many times those of `base`.
    fn figure(&self, base: &[f64]) -> Value {
        let ratios = self.batches.iter().zip(base).map(|(own, base)| own / base).collect();
        json!({ "nanoseconds": percentile(self.batches.clone(), 10), "ratio": percentile(ratios, 50) })
    }
}

fn percentile(mut numbers: Vec<f64>, percent: usize) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() * percent / 100).copied()
}

fn measured(mut cases: Vec<Case>, rounds: usize) -> Result<Value> {
    // The first round warms up.
    for round in 0..=rounds {
        for case in &mut cases {
            case.run()?;
            if round == 0 {
                case.batches.clear();
            }
        }
    }
    let base = cases.first().map(|case| case.batches.clone()).unwrap_or_default();
    let figures = cases.iter().map(|case| (case.name.to_owned(), case.figure(&base)));
    Ok(figures.collect::<serde_json::Map<_, _>>().into())
}

fn program() -> Result<String> {
    Ok(server::program()?.display().to_string())
}

/// Connects and round trips.
pub(crate) fn connects(rounds: usize) -> Result<Value> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    // What these run is not in the cgroup: no program of ours runs at that end.
    let (api, bare) = (node.stranger()?, node.stranger()?);
    node.set("remotes", json!([{ "pod": "default/api", "addresses": api.addresses(), "labels": { "app": "api" } }]));
    node.write_manifest("policy.yaml", POLICY)?;
    node.start()?;
    let at = |pod: &Place, port: u16| SocketAddr::from((pod.v4, port));
    let _server = listening(&api, &[ALLOWED, REDIRECTED, DENIED])?;
    let (program, calls) = (program()?, CALLS.to_string());
    let connect = |name, command, target: SocketAddr| {
        Case::new(name, command, &["effort", "connect", &target.to_string(), &calls], CALLS)
    };
    let cases = vec![
        connect("connect, no policy", bare.command(&program), at(&api, ALLOWED))?,
        connect("connect, no programs", bare.unhooked(&program), at(&api, ALLOWED))?,
        connect("connect, allowed", client.command(&program), at(&api, ALLOWED))?,
        connect("connect, redirected", client.command(&program), at(&api, REDIRECTED))?,
        connect("connect, denied", client.command(&program), at(&api, DENIED))?,
    ];
    let mut figures = measured(cases, rounds)?;
    for (size, bare_name, client_name) in [
        (64, "64-byte round trip, no programs", "64-byte round trip, allowed"),
        (16_384, "16-KiB round trip, no programs", "16-KiB round trip, allowed"),
    ] {
        let more = round_trips(size, [(bare_name, &bare, false), (client_name, &client, true)], &api, rounds)?;
        if let (Some(figures), Value::Object(more)) = (figures.as_object_mut(), more) {
            figures.extend(more);
        }
    }
    Ok(figures)
}

/// Whose round trips, and whether programs are attached where it runs.
type Client<'p> = (&'static str, &'p Place, bool);

/// A server that takes connections and nothing else.
fn listening(pod: &Place, ports: &[u16]) -> Result<Process> {
    let mut command = pod.unhooked(program()?);
    let addresses = ports.iter().map(|port| SocketAddr::from((pod.v4, *port)).to_string());
    Process::spawn_ready(command.arg("crowd-server").args(addresses))
}

fn round_trips(size: usize, clients: [Client<'_>; 2], api: &Place, rounds: usize) -> Result<Value> {
    let (program, bytes, count) = (program()?, size.to_string(), ROUND_TRIPS.to_string());
    let mut servers = Vec::new();
    let mut cases = Vec::new();
    for ((name, client, hooked), port) in clients.into_iter().zip(ECHO..) {
        let target = SocketAddr::from((api.v4, port)).to_string();
        servers.push(Process::spawn_ready(api.unhooked(&program).args(["effort", "echo-server", &target, &bytes]))?);
        let command = if hooked { client.command(&program) } else { client.unhooked(&program) };
        cases.push(Case::new(name, command, &["effort", "echo", &target, &bytes, &count], ROUND_TRIPS)?);
    }
    let figures = measured(cases, rounds);
    drop(servers);
    figures
}

/// What a lookup is made among.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Among {
    /// Pods, each with labels of its own and an entry of its own.
    Identities,
    /// CIDRs that a policy names.
    Cidrs,
}

/// UDP connects, which cost little beside the lookups: to one address, and to all in turn; with memory of all maps. `ports`:
/// that a rule allows of each, and `pods` that it applies to.
pub(crate) fn lookups(among: Among, count: u32, ports: u16, pods: u32, rounds: usize) -> Result<Value> {
    let first = Ipv4Addr::new(10, 128, 0, 0);
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let others: Result<Vec<Pod>> =
        (1..pods).map(|index| node.pod(&format!("default/client-{index}"), &[("app", "client")])).collect();
    let _others = others?;
    let address = |index: u32| Ipv4Addr::from(u32::from(first) + index);
    let (remotes, rule): (Vec<Value>, String) = match among {
        Among::Identities => {
            let pod = |index: u32| {
                let (name, labels) = (format!("default/p{index}"), json!({ "n": index.to_string() }));
                json!({ "pod": name, "addresses": [address(index)], "labels": labels })
            };
            ((0..count).map(pod).collect(), "toEndpoints: [{}]".to_owned())
        }
        Among::Cidrs => {
            let mut list = String::new();
            for index in 0..count {
                write!(list, "{}/24, ", address(256 * index))?;
            }
            (Vec::new(), format!("toCIDR: [{list}]"))
        }
    };
    // Every second one: neighbours would be one entry.
    let port = |index: u16| format!("{{port: '{}', protocol: UDP}}", DATAGRAMS + 2 * index);
    let list = (0..ports).map(port).collect::<Vec<_>>().join(", ");
    node.set("remotes", json!(remotes));
    node.write_manifest(
        "policy.yaml",
        &format!(
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: p, namespace: default}}\nspec:\n  \
             endpointSelector: {{matchLabels: {{app: client}}}}\n  egress:\n  - {rule}\n    toPorts: [{{ports: [{list}]}}]\n"
        ),
    )?;
    node.start()?;
    let (program, target, calls) = (program()?, SocketAddr::from((first, DATAGRAMS)).to_string(), "20000");
    let case =
        |name, span: &str| Case::new(name, client.command(&program), &["effort", "udp", &target, span, calls], 20_000);
    let span = count * if matches!(among, Among::Cidrs) { 256 } else { 1 };
    let cases = vec![case("hot", "1")?, case("cold", &span.to_string())?];
    let mut figures = measured(cases, rounds)?;
    if let Some(figures) = figures.as_object_mut() {
        figures.insert("entries".to_owned(), json!(node.status()?.kernel.policy_entries));
        figures.insert("bytes".to_owned(), json!(memory(node.proxy()?.id())?));
    }
    Ok(figures)
}

/// Bytes of every map that a process holds, each once.
fn memory(pid: u32) -> Result<u64> {
    let directory = format!("/proc/{pid}/fdinfo");
    let mut maps = std::collections::BTreeMap::new();
    for entry in fs::read_dir(&directory).context(directory)? {
        // It may have been closed since it was listed.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        if let (Some(id), Some(bytes)) = (field("map_id:"), field("memlock:")) {
            maps.insert(id, bytes);
        }
    }
    Ok(maps.values().sum())
}
