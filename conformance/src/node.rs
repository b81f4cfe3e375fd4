//! A node: pods out of network namespaces, one configuration file, and the real binary.
//!
//! Owns what is made for a test and removes it. Must never touch anything outside of the runner's namespaces and cgroup.
//! Start at [`Node`].

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs,
    ops::Deref,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    process::{self, Process, eventually},
    server,
    tracer::Tracer,
};

mod explain;
mod flow;
mod network;
mod service;
mod status;

pub use explain::Explained;
pub use flow::Flow;
pub use network::{Netns, Network, Place, Plan, ip};
pub use service::Service;
pub use status::{Applied, Direction, Endpoint, Kernel, Policy, Status};

/// A node under test. What is declared last goes first: the process, then pods, then the rest.
#[derive(Debug)]
pub struct Node {
    proxy: Option<Process>,
    endpoints: Vec<Value>,
    /// Further keys of the configuration.
    extra: BTreeMap<String, Value>,
    /// Further keys of its section `redirect`.
    redirect: BTreeMap<String, Value>,
    /// What the kernel seems to lack, if anything.
    lacking: Option<String>,
    network: Network,
    directory: TempDir,
}

/// A pod of a node.
#[derive(Debug)]
pub struct Pod {
    /// `namespace/name`.
    pub name: String,
    place: Place,
}

impl Deref for Pod {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

/// The binary under test.
pub fn l7proxy() -> Result<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/l7proxy");
    let path = env::var_os("L7PROXY").map_or(built, PathBuf::from);
    if !path.is_file() {
        bail!("{}: is not there; run `cargo xtask build`, or set L7PROXY", path.display());
    }
    Ok(path)
}

impl Node {
    /// A node without pods; nothing runs yet.
    pub fn new() -> Result<Self> {
        let network = Network::new()?;
        let directory = tempfile::tempdir().context("a directory for the node")?;
        for name in ["policies", "unwatched"] {
            fs::create_dir(directory.path().join(name))?;
        }
        Ok(Self {
            proxy: None,
            endpoints: Vec::new(),
            extra: BTreeMap::new(),
            redirect: BTreeMap::new(),
            lacking: None,
            network,
            directory,
        })
    }

    /// A pod that the configuration names.
    pub fn pod(&mut self, name: &str, labels: &[(&str, &str)]) -> Result<Pod> {
        let place = self.network.add()?;
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        self.endpoints.push(json!({
            "pod": name,
            "netns": place.netns().path(),
            "addresses": place.addresses(),
            "labels": labels,
        }));
        Ok(Pod { name: name.to_owned(), place })
    }

    /// A pod that the configuration names and that is not there yet.
    pub fn plan(&mut self, name: &str, labels: &[(&str, &str)]) -> Result<Plan> {
        let plan = self.network.plan()?;
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        self.endpoints.push(json!({
            "pod": name,
            "netns": plan.path(),
            "addresses": [plan.v4.to_string(), plan.v6.to_string()],
            "labels": labels,
        }));
        Ok(plan)
    }

    /// Makes what was planned.
    pub fn make(&mut self, plan: &Plan) -> Result<Place> {
        self.network.make(plan)
    }

    /// A pod that nobody told the proxy about.
    pub fn stranger(&mut self) -> Result<Pod> {
        Ok(Pod { name: "stranger".to_owned(), place: self.network.add()? })
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// A file of the node's directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path("config.yaml")
    }

    /// Sets a top-level key of the configuration.
    pub fn set(&mut self, key: &str, value: Value) {
        self.extra.insert(key.to_owned(), value);
    }

    /// Sets a key below `redirect` of the configuration; with `null` it is not there.
    pub fn set_redirect(&mut self, key: &str, value: Value) {
        self.redirect.insert(key.to_owned(), value);
    }

    /// The proxy is to find a kernel that lacks these (`lacking.rs` has their form).
    pub fn lack(&mut self, lacks: &[&str]) {
        self.lacking = (!lacks.is_empty()).then(|| lacks.join(","));
    }

    /// The configuration as it would be written now.
    #[must_use]
    pub fn configuration(&self) -> Value {
        let mut config = json!({
            "cluster": "default",
            "node": "node-a",
            "policies": ["policies/"],
            "endpoints": self.endpoints,
            "host": { "addresses": [self.network.host().to_string(), self.network.host_v6().to_string()] },
            "redirect": { "cgroup": self.network.cgroup(), "pins": "bpf" },
            "flows": { "file": { "path": "flows.jsonl" } },
            "admin": { "socket": "admin.sock" },
        });
        if let Some(redirect) = config.get_mut("redirect").and_then(Value::as_object_mut) {
            redirect.extend(self.redirect.clone());
            redirect.retain(|_, value| !value.is_null());
        }
        if let Some(config) = config.as_object_mut() {
            config.extend(self.extra.clone());
        }
        config
    }

    /// Writes the configuration; every JSON document is a YAML document.
    pub fn write_config(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.configuration())?;
        self.put(&self.config(), &text)
    }

    /// Endpoints of the configuration, for tests that change them.
    pub fn endpoints_mut(&mut self) -> &mut Vec<Value> {
        &mut self.endpoints
    }

    /// Writes a manifest; what is half written is never in the directory.
    pub fn write_manifest(&self, name: &str, text: &str) -> Result<()> {
        self.put(&self.directory.path().join("policies").join(name), text)
    }

    fn put(&self, path: &Path, text: &str) -> Result<()> {
        // Beside the file it would be a change of its own in a directory that the proxy watches.
        let half = self.path("unwatched/half-written");
        fs::write(&half, text).with_context(|| format!("{}: cannot be written", half.display()))?;
        fs::rename(&half, path).with_context(|| format!("{}: cannot be written", path.display()))
    }

    /// Puts a manifest in force and says under which revision.
    pub fn apply(&self, name: &str, text: &str) -> Result<u64> {
        let before = self.status()?.revision;
        self.write_manifest(name, text)?;
        self.wait_revision(before)
    }

    /// Waits for a newer revision.
    pub fn wait_revision(&self, before: u64) -> Result<u64> {
        Ok(self.wait_status("a new revision", |status| status.revision > before)?.revision)
    }

    /// Waits until the status is as it should be.
    pub fn wait_status(&self, what: &str, is_so: impl Fn(&Status) -> bool) -> Result<Status> {
        eventually(what, || self.status().map(|status| is_so(&status).then_some(status)))
            .with_context(|| format!("the proxy's log:\n{}", self.log()))
    }

    /// Writes the configuration, starts the proxy and waits until it is ready.
    pub fn start(&mut self) -> Result<()> {
        self.write_config()?;
        self.launch()?;
        let what = "the proxy to become ready";
        let result = eventually(what, || {
            let exited = self.proxy.as_mut().map(Process::exited).transpose()?.flatten();
            if let Some(status) = exited {
                bail!("the proxy ended with {status}");
            }
            Ok(self.status().ok().filter(|status| status.ready))
        });
        result.map(|_status| ()).with_context(|| format!("the proxy's log:\n{}", self.log()))
    }

    fn launch(&mut self) -> Result<()> {
        self.proxy = Some(self.spawn(&[])?);
        Ok(())
    }

    /// Starts one more process with this node's configuration, and does not wait for anything.
    pub fn spawn(&self, arguments: &[&str]) -> Result<Process> {
        self.begin(self.runner(&[])?.arg("run").args(arguments))
    }

    /// A command of the binary that is about to begin, from the first call on.
    pub fn traced(&self, command: &str, arguments: &[&str]) -> Result<(Process, Tracer)> {
        let mut stopped = self.network.command("sh");
        stopped.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"]).arg(l7proxy()?).arg(command).args(arguments);
        let process = self.begin(&mut stopped)?;
        let stat = PathBuf::from(format!("/proc/{}/stat", process.id()));
        eventually("the process to stop", || Ok(fs::read_to_string(&stat)?.contains(") T ").then_some(())))?;
        let tracer = Tracer::attach(process.id())?;
        // Its other threads would stop as they begin.
        process.resume()?;
        Ok((process, tracer))
    }

    fn begin(&self, command: &mut Command) -> Result<Process> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log"))?;
        Process::spawn(command.arg("--config").arg(self.config()).stdout(log.try_clone()?).stderr(log))
    }

    /// Lets a second process take over, waits until it did, and gives the first one.
    pub fn take_over(&mut self) -> Result<Process> {
        let mut second = self.spawn(&["--take-over"])?;
        let taken = eventually("the second process to take over", || {
            if let Some(status) = second.exited()? {
                bail!("the second process ended with {status}");
            }
            Ok(self.status().ok().filter(|status| status.ready && status.pid == second.id()))
        });
        taken.with_context(|| format!("the log:\n{}", self.log()))?;
        self.proxy.replace(second).context("the proxy is not running")
    }

    /// The binary, on the kernel that it is to find, started by `first` if anything.
    fn runner(&self, first: &[&str]) -> Result<Command> {
        let mut words: Vec<OsString> = first.iter().map(OsString::from).collect();
        if let Some(lacking) = &self.lacking {
            words.extend([server::beside("conformance-lacking")?.into(), lacking.into()]);
        }
        words.push(l7proxy()?.into());
        let (program, arguments) = words.split_first().context("it has at least one word")?;
        let mut command = self.network.command(program);
        command.args(arguments);
        Ok(command)
    }

    /// The running proxy.
    pub fn proxy(&mut self) -> Result<&mut Process> {
        self.proxy.as_mut().context("the proxy is not running")
    }

    /// Ends the proxy at once, as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        self.proxy.take().context("the proxy is not running")?.kill()
    }

    /// Ends the proxy in order.
    pub fn stop(&mut self) -> Result<()> {
        let status = self.proxy.take().context("the proxy is not running")?.terminate()?;
        if !status.success() {
            bail!("the proxy ended with {status}; its log:\n{}", self.log());
        }
        Ok(())
    }

    /// Runs a command of the binary with this node's configuration.
    pub fn run(&self, command: &str, arguments: &[&str]) -> Result<Output> {
        // One that should not run and does is ended.
        let mut program =
            if command == "run" { self.runner(&["timeout", "30"])? } else { self.network.command(l7proxy()?) };
        program.arg(command).arg("--config").arg(self.config()).args(arguments).stdin(Stdio::null());
        program.output().context("l7proxy cannot be started")
    }

    /// What the proxy says of itself.
    pub fn status(&self) -> Result<Status> {
        let output = self.run("status", &["--output", "json"])?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("status: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// What the proxy wrote to its log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Records so far, but for those of decisions, which stand beside records of what became of it.
    pub fn flows(&self) -> Result<Vec<Flow>> {
        Ok(self.all_flows()?.into_iter().filter(|flow| !flow.is_decision()).collect())
    }

    /// All records so far.
    pub fn all_flows(&self) -> Result<Vec<Flow>> {
        let text = fs::read_to_string(self.path("flows.jsonl")).unwrap_or_default();
        // The last line may still be being written.
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| Ok(Flow(serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?))).collect()
    }

    /// Waits until there are this many records of a kind after the first `from`, and returns all of that kind.
    pub fn wait_flows(&self, from: usize, number: usize, wanted: impl Fn(&Flow) -> bool) -> Result<Vec<Flow>> {
        eventually(&format!("{number} records"), || {
            let found: Vec<Flow> = self.flows()?.into_iter().skip(from).filter(|flow| wanted(flow)).collect();
            Ok((found.len() >= number).then_some(found))
        })
        .with_context(|| format!("records: {:#?}\nlog: {}", self.flows(), self.log()))
    }

    /// Waits until records tell of so many refusals, those without one of their own included, and returns all records.
    pub fn wait_told(&self, refusals: u64) -> Result<Vec<Flow>> {
        eventually(&format!("records of {refusals} refusals"), || {
            let flows = self.flows()?;
            let dropped = flows.iter().filter(|flow| flow.verdict() == "DROPPED");
            let told: u64 = dropped.map(|flow| 1 + flow.repeats()).sum();
            anyhow::ensure!(told <= refusals, "{told} are told of, and there were {refusals}");
            Ok((told == refusals).then_some(flows))
        })
    }

    /// Names of pins.
    pub fn pins(&self) -> Result<Vec<String>> {
        let directory = self.path("bpf");
        if !directory.exists() {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(&directory)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.proxy = None;
        // The directory cannot be removed with a file system mounted in it; without one there is nothing to unmount.
        drop(process::output(Command::new("umount").arg("--lazy").arg(self.path("bpf"))));
    }
}
