//! Where the proxies run: a client pod, an origin pod, and beside them a pod without us that has the other proxies in it.
//!
//! Owns the processes. Start at [`Stage::new`].

use std::{
    env, fs,
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, ensure};
use conformance::{Node, Pod, Process, eventually, node::Place, process::output};
use serde_json::json;

use super::peer::{Kind, Peer};

/// What is asked for; a rule allows it.
pub(super) const PATH: &str = "/api/v1/read/items?id=7";
const LARGE_PATH: &str = "/api/v1/read/large";

/// Clients and origin have the first processor, proxies the second.
const CLIENTS: &str = "0";
const PROXIES: &str = "1";

const ORIGIN: u16 = 9000;
/// Of the first other proxy; each has its own.
const OTHERS: u16 = 9101;

/// Of `flow.Flow`.
const FIELDS: [&str; 12] = [
    "time",
    "verdict",
    "IP",
    "l4",
    "source.identity",
    "source.namespace",
    "source.pod_name",
    "destination.identity",
    "destination.namespace",
    "destination.pod_name",
    "l7",
    "egress_allowed_by",
];

const POLICY: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: read-only, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
    - toEndpoints: [{matchLabels: {app: api}}]
      toPorts:
        - ports: [{port: "9000", protocol: TCP}]
          rules:
            http: [{method: GET, path: "/api/v1/read.*"}, {method: GET, path: "/api/v1/healthz"}]
"#;

/// Ends everything that runs on it.
pub(super) struct Stage {
    peers: PathBuf,
    http2: bool,
    client: Pod,
    bare: Pod,
    api: Pod,
    more: Vec<Pod>,
    others: u16,
    _origin: Process,
    node: Node,
}

impl Stage {
    /// `peers`: their configurations.
    pub(super) fn new(peers: PathBuf, http2: bool) -> Result<Self> {
        let processors = thread::available_parallelism()?.get();
        ensure!(processors >= 2, "two processors are needed: one for the proxies, one for clients and origin");
        let mut node = Node::new()?;
        let client = node.pod("default/client", &[("app", "client")])?;
        let (bare, api) = (node.stranger()?, node.stranger()?);
        node.set(
            "remotes",
            json!([{ "pod": "default/api", "addresses": api.addresses(), "labels": { "app": "api" } }]),
        );
        node.set("proxy", json!({ "workers": 1 }));
        // What the others log of a request has no header fields either.
        node.set("flows", json!({ "file": { "path": "flows.jsonl" }, "headers": false }));
        node.write_manifest("read-only.yaml", POLICY)?;
        let address = SocketAddr::from((api.v4, ORIGIN));
        let origin = origin(&node, &peers, &api, address, http2)?;
        Ok(Self { peers, http2, client, bare, api, more: Vec::new(), others: 0, _origin: origin, node })
    }

    /// With the Hubble API, and records in a file only if `exported`.
    pub(super) fn watched(peers: PathBuf, exported: bool) -> Result<Self> {
        let mut stage = Self::new(peers, false)?;
        let file = exported.then(|| json!({ "path": "flows.jsonl" }));
        stage.node.set("flows", json!({ "socket": stage.socket(), "file": file }));
        Ok(stage)
    }

    /// Records say what a line of the others says, by which policy, and whose identities.
    pub(super) fn record_few_fields(&mut self) {
        let fields = json!({ "path": "flows.jsonl", "fieldMask": FIELDS });
        self.node.set("flows", json!({ "file": fields, "headers": false }));
    }

    /// Of the Hubble API.
    pub(super) fn socket(&self) -> PathBuf {
        self.path("hubble.sock")
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.node.path(name)
    }

    /// The origin's large file.
    pub(super) fn make_large(&mut self, bytes: u64) -> Result<()> {
        File::create(self.path("large"))?.set_len(bytes)?;
        Ok(())
    }

    /// Pods that do nothing.
    pub(super) fn more_pods(&mut self, count: u32) -> Result<()> {
        for number in 0..count {
            self.more.push(self.node.pod(&format!("default/more-{number}"), &[("app", "client")])?);
        }
        Ok(())
    }

    /// A client's program, where the clients of this proxy are.
    pub(super) fn client(&self, peer: &Peer, program: &str) -> Command {
        let mut command =
            if peer.kind == Kind::L7proxy { self.client.command("taskset") } else { self.bare.unhooked("taskset") };
        command.args(["-c", CLIENTS, program]);
        command
    }

    /// Clients that stay, see `readers.rs`. `reads`: the whole answer.
    pub(super) fn clients(&self, peer: &Peer, count: u32, reads: bool) -> Result<Process> {
        let program = env::current_exe()?;
        let mut command = self.client(peer, &program.display().to_string());
        let path = if reads { PATH } else { LARGE_PATH };
        command.args(["readers", &peer.target().to_string(), path, &count.to_string()]);
        Process::spawn_ready(&mut command)
    }

    pub(super) fn start(&mut self, kind: Kind) -> Result<Peer> {
        match kind {
            Kind::Direct => Ok(Peer { kind, target: self.origin(), _process: None, id: None }),
            Kind::L7proxy => self.start_own(),
            Kind::Envoy(_) | Kind::Haproxy | Kind::Nginx | Kind::Relay => self.start_other(kind),
        }
    }

    fn origin(&self) -> SocketAddr {
        (self.api.v4, ORIGIN).into()
    }

    fn start_own(&mut self) -> Result<Peer> {
        self.node.start()?;
        let id = self.node.proxy()?.id();
        output(Command::new("taskset").args(["--all-tasks", "--pid", "--cpu-list", PROXIES, &id.to_string()]))?;
        Ok(Peer { kind: Kind::L7proxy, target: self.origin(), _process: None, id: Some(id) })
    }

    fn start_other(&mut self, kind: Kind) -> Result<Peer> {
        let target = SocketAddr::from((self.bare.v4, OTHERS + self.others));
        self.others += 1;
        let mut command = self.bare.unhooked("taskset");
        command.args(["-c", PROXIES]);
        let file = |name| self.configured(name, target);
        match &kind {
            Kind::Envoy(program) => {
                let name = if self.http2 { "envoy-h2.yaml" } else { "envoy.yaml" };
                command.arg(program).args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]);
                command.arg("--config-path").arg(file(name)?);
            }
            Kind::Haproxy => {
                command.args(["haproxy", "-db", "-f"]).arg(file("haproxy.cfg")?);
            }
            Kind::Nginx => {
                command.args(["nginx", "-c"]).arg(file("nginx.conf")?);
            }
            Kind::Relay | Kind::Direct | Kind::L7proxy => {
                command.arg(env::current_exe()?).args(["relay", &target.to_string(), &self.origin().to_string()]);
            }
        }
        let log = |what: &str| File::create(self.path(&format!("{}.{what}", target.port())));
        command.stdin(Stdio::null()).stdout(log("out")?).stderr(log("err")?);
        let mut process = Process::spawn(&mut command)?;
        listens(&self.bare, target, &mut process)
            .with_context(|| fs::read_to_string(self.path(&format!("{}.err", target.port()))).unwrap_or_default())?;
        let id = Some(process.id());
        Ok(Peer { kind, target, _process: Some(process), id })
    }

    /// A peer's configuration, for where it is to listen.
    fn configured(&self, name: &str, listen: SocketAddr) -> Result<PathBuf> {
        configured(&self.node, &self.peers, name, listen, self.origin())
    }
}

fn configured(node: &Node, peers: &Path, name: &str, listen: SocketAddr, upstream: SocketAddr) -> Result<PathBuf> {
    let path = peers.join(name);
    let mut text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let log = node.path(&format!("{name}.log"));
    let directory = node.path("");
    for (key, value) in [
        ("{listen}", listen.to_string()),
        ("{listen_address}", listen.ip().to_string()),
        ("{listen_port}", listen.port().to_string()),
        ("{upstream}", upstream.to_string()),
        ("{upstream_address}", upstream.ip().to_string()),
        ("{upstream_port}", upstream.port().to_string()),
        ("{log}", log.display().to_string()),
        ("{directory}", directory.display().to_string().trim_end_matches('/').to_owned()),
    ] {
        text = text.replace(key, &value);
    }
    let path = node.path(name);
    fs::write(&path, text)?;
    Ok(path)
}

/// The server that all of them have behind them.
fn origin(node: &Node, peers: &Path, api: &Place, address: SocketAddr, http2: bool) -> Result<Process> {
    let mut command = api.unhooked("taskset");
    command.args(["-c", CLIENTS]);
    if http2 {
        let root = node.path("origin/api/v1/read");
        fs::create_dir_all(&root)?;
        fs::write(root.join("items"), [b'.'; 90])?;
        command.args([
            "nghttpd",
            "--no-tls",
            "--max-concurrent-streams",
            "1000",
            "--address",
            &address.ip().to_string(),
        ]);
        command.arg("--htdocs");
        command.arg(node.path("origin")).arg(address.port().to_string());
    } else {
        command.args(["nginx", "-c"]).arg(configured(node, peers, "origin.conf", address, address)?);
    }
    let mut process = Process::spawn(command.stdout(Stdio::null()).stderr(File::create(node.path("origin.told"))?))?;
    listens(api, address, &mut process)?;
    Ok(process)
}

fn listens(pod: &Place, address: SocketAddr, process: &mut Process) -> Result<()> {
    eventually(&format!("a server on {address}"), || {
        if let Some(status) = process.exited()? {
            anyhow::bail!("it ended with {status}");
        }
        Ok(output(pod.unhooked("ss").args(["--no-header", "--listening", "--tcp", "--numeric"]))?
            .contains(&format!("{address} "))
            .then_some(()))
    })
}
