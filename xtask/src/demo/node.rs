//! The node of the demo: two network namespaces on a bridge, and the proxy.
//!
//! Owns what is started. Ends nothing itself: its processes and namespaces end with the stage. Start at [`Node::start`].

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::repo;

pub(super) const CLIENT: &str = "default/reporting-1";
pub(super) const SERVER: &str = "default/internal-api-1";
pub(super) const SERVER_ADDRESS: &str = "10.77.0.3";

/// Whatever takes longer than this does not happen any more.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(20);

const CONFIG: &str = "\
cluster: demo
node: demo-node
policies: [policies/]
endpoints:
  - pod: default/reporting-1
    netns: /run/netns/reporting
    addresses: [10.77.0.2]
    labels: {app: reporting}
  - pod: default/internal-api-1
    netns: /run/netns/internal-api
    addresses: [10.77.0.3]
    labels: {app: internal-api}
host: {addresses: [10.77.0.1]}
redirect: {cgroup: CGROUP, pins: bpf}
flows: {file: {path: flows.jsonl}}
admin: {socket: admin.sock}
";

/// Makes the pods' side of the network; the first is the bridge's own namespace.
const NETWORK: &str = "
ip link add demo0 type bridge && ip addr add 10.77.0.1/24 dev demo0 && ip link set demo0 up
for pod in reporting=10.77.0.2 internal-api=10.77.0.3; do
    name=${pod%=*}
    ip netns add $name &&
    ip link add v-$name type veth peer name eth0 netns $name &&
    ip link set v-$name master demo0 up &&
    ip -n $name addr add ${pod#*=}/24 dev eth0 &&
    ip -n $name link set lo up && ip -n $name link set eth0 up || exit 1
done";

/// A running proxy with its pods.
#[derive(Debug)]
pub(super) struct Node {
    directory: PathBuf,
    cgroup: PathBuf,
    proxy: PathBuf,
}

impl Node {
    /// Two pods, the API in one of them, and the proxy with `manifest` in force.
    pub(super) fn start(proxy: &Path, manifest: &Path) -> Result<Self> {
        let cgroup =
            env::var_os("TEST_CGROUP").context("this runs inside .ci/in-netns only: use `cargo xtask demo`")?;
        // /run is the stage's own and empty.
        let node = Self { directory: "/run/l7proxy-demo".into(), cgroup: cgroup.into(), proxy: proxy.to_path_buf() };
        for name in ["policies", "unwatched"] {
            fs::create_dir_all(node.directory.join(name)).context("the demo's directory cannot be made")?;
        }
        let config = CONFIG.replace("CGROUP", &node.cgroup.display().to_string());
        fs::write(node.config(), config).context("the demo's configuration cannot be written")?;
        node.put_manifest(&fs::read_to_string(manifest).with_context(|| manifest.display().to_string())?, manifest)?;
        let network = Command::new("sh").args(["-c", NETWORK]).output().context("sh cannot be started")?;
        if !network.status.success() {
            let why = String::from_utf8_lossy(&network.stderr).trim().replace('\n', "; ");
            bail!("the pods' network cannot be made: {why}; do ip link and ip netns work on this machine?");
        }
        node.start_server()?;
        let mut child = node.start_proxy()?;
        node.wait_ready(&mut child)?;
        Ok(node)
    }

    fn config(&self) -> PathBuf {
        self.directory.join("config.yaml")
    }

    /// The file of records.
    pub(super) fn flows(&self) -> PathBuf {
        self.directory.join("flows.jsonl")
    }

    /// Replaces a manifest at once: what is half written is never read.
    fn put_manifest(&self, text: &str, name: &Path) -> Result<()> {
        let name = name.file_name().context("a manifest has a file name")?;
        let half = self.directory.join("unwatched/manifest");
        fs::write(&half, text).with_context(|| format!("{}: cannot be written", half.display()))?;
        let whole = self.directory.join("policies").join(name);
        fs::rename(&half, &whole).with_context(|| format!("{}: cannot be written", whole.display()))
    }

    /// Puts a manifest in force while the proxy runs, and says under which revision.
    pub(super) fn apply(&self, text: &str, name: &Path) -> Result<u64> {
        let before = self.revision()?;
        self.put_manifest(text, name)?;
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            let now = self.revision()?;
            if now > before {
                return Ok(now);
            }
            thread::sleep(PAUSE);
        }
        bail!("{}: not in force after {PATIENCE:?}; {}", name.display(), self.log());
    }

    pub(super) fn revision(&self) -> Result<u64> {
        let text =
            repo::output(Command::new(&self.proxy).args(["status", "--output", "json", "--config"]).arg(self.config()))
                .with_context(|| format!("`l7proxy status` failed; {}", self.log()))?;
        let status: Value = serde_json::from_str(&text).context("`l7proxy status --output json`")?;
        status.get("revision").and_then(Value::as_u64).context("`l7proxy status` shows no revision")
    }

    /// A program inside the client's pod.
    pub(super) fn in_client(&self, program: &str) -> Command {
        self.in_pod("reporting", Path::new(program))
    }

    fn in_pod(&self, netns: &str, program: &Path) -> Command {
        let mut command = self.in_cgroup(Path::new("nsenter"));
        command.arg(format!("--net=/run/netns/{netns}")).arg(program);
        command
    }

    /// Programs are attached to this cgroup, so the proxy and the pods' processes belong into it.
    fn in_cgroup(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 0 > \"$0/cgroup.procs\" && exec \"$@\""]).arg(&self.cgroup).arg(program);
        command
    }

    fn start_server(&self) -> Result<()> {
        let own = env::current_exe().context("the path of this program is not known")?;
        let mut child = self
            .in_pod("internal-api", &own)
            .args(["demo-server", "8080", "9090"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("the demo's server cannot be started")?;
        let out = child.stdout.take().context("the server's output is not a pipe")?;
        let ready = BufReader::new(out).lines().next();
        if !matches!(&ready, Some(Ok(line)) if line == "ready") {
            bail!("the demo's server did not open its ports");
        }
        Ok(())
    }

    fn start_proxy(&self) -> Result<Child> {
        let log = fs::File::create(self.directory.join("proxy.log")).context("the proxy's log cannot be made")?;
        let mut command = self.in_cgroup(&self.proxy);
        command.args(["run", "--config"]).arg(self.config()).stdin(Stdio::null());
        command.stdout(log.try_clone().context("the proxy's log")?).stderr(log);
        command.spawn().with_context(|| format!("{}: cannot be started", self.proxy.display()))
    }

    fn wait_ready(&self, child: &mut Child) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if let Some(status) = child.try_wait().context("the proxy cannot be waited for")? {
                bail!("the proxy ended with {status}; {}", self.log());
            }
            let mut status = Command::new(&self.proxy);
            if repo::output(status.args(["status", "--config"]).arg(self.config())).is_some() {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        bail!("the proxy is not ready after {PATIENCE:?}; {}", self.log());
    }

    fn log(&self) -> String {
        let text = fs::read_to_string(self.directory.join("proxy.log")).unwrap_or_default();
        let from = text.lines().count().saturating_sub(12);
        let tail: Vec<&str> = text.lines().skip(from).collect();
        format!("its last words:\n{}", tail.join("\n"))
    }
}
