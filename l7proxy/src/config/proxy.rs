//! How this process works: kernel side, data path, records, control.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    FlowFilter, FlowsBuffer, FlowsPeer, FlowsTls, PathRules, Redact,
    flow_metrics::{self, FlowMetric},
};

/// Where the kernel side is attached.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Redirect {
    /// Directory of the cgroup2 hierarchy; without it the hierarchy's root.
    #[serde(default)]
    pub cgroup: Option<PathBuf>,
    /// Directory for pins. A bpf file system is mounted on it when it is none.
    #[serde(default = "default_pins")]
    pub pins: PathBuf,
    /// What becomes of connections that are older than the policy that does not allow them.
    #[serde(default)]
    pub existing: Existing,
    /// How the programs at the node's end of pods' interfaces are attached.
    #[serde(default)]
    pub backstop: Backstop,
    /// What becomes of what namespaces send that no pod is enrolled for.
    #[serde(default)]
    pub unenrolled: Unenrolled,
    /// What a call is told that policy denies.
    #[serde(default)]
    pub errno: Errno,
}

/// Error of a `connect()` or `sendto()` that policy denies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Errno {
    /// As if nobody listened there: applications are used to it.
    #[default]
    Econnrefused,
    /// As a firewall of the own machine says it.
    Eperm,
    /// As a firewall on the way says it.
    Eacces,
    /// As if the machine were off.
    Ehostunreach,
    /// As if there were no way there.
    Enetunreach,
}

impl Errno {
    /// The kernel's number.
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            Self::Econnrefused => libc::ECONNREFUSED,
            Self::Eperm => libc::EPERM,
            Self::Eacces => libc::EACCES,
            Self::Ehostunreach => libc::EHOSTUNREACH,
            Self::Enetunreach => libc::ENETUNREACH,
        }
    }
}

/// What becomes of what namespaces send that no pod is enrolled for; never of the node's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Unenrolled {
    /// It passes.
    #[default]
    Allow,
    /// It is refused.
    Deny,
    /// It waits for the enrolment of a pod.
    Hold,
}

/// What becomes of connections that are older than the policy that does not allow them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Existing {
    /// They are ended, with a record.
    #[default]
    End,
    /// They stay until they end by themselves.
    Leave,
}

/// How the programs at the node's end of pods' interfaces are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Backstop {
    /// By tcx where the kernel has it, else by clsact.
    #[default]
    Auto,
    /// By clsact.
    Clsact,
    /// Not at all.
    Off,
}

impl Default for Redirect {
    fn default() -> Self {
        Self {
            cgroup: None,
            pins: default_pins(),
            existing: Existing::default(),
            backstop: Backstop::default(),
            unenrolled: Unenrolled::default(),
            errno: Errno::default(),
        }
    }
}

fn default_pins() -> PathBuf {
    PathBuf::from("/run/l7proxy/bpf")
}

/// The data path.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Proxy {
    /// Data workers: threads with a runtime of their own.
    #[serde(default = "default_workers")]
    pub workers: usize,
    /// How a path is brought to its normal form.
    #[serde(default)]
    pub path: PathRules,
    /// What a client may cost.
    #[serde(default)]
    pub limits: Limits,
    /// What becomes of requests and tunnels that are under way when policy changes to not allow them.
    #[serde(default)]
    pub existing: Existing,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            workers: default_workers(),
            path: PathRules::default(),
            limits: Limits::default(),
            existing: Existing::default(),
        }
    }
}

/// A quarter of the cores, at least two.
fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| (cores.get() / 4).max(2))
}

/// What a client may cost. Absent: the defaults of `docs/limits.md`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Limits {
    /// Connections that are served at once.
    #[serde(default)]
    pub connections: Option<usize>,
    /// Mebibytes of memory from which on no connection is taken.
    #[serde(default)]
    pub memory_mb: Option<u64>,
    /// Bytes of a request head.
    #[serde(default)]
    pub head_bytes: Option<usize>,
    /// Bytes of a request line.
    #[serde(default)]
    pub request_line_bytes: Option<usize>,
    /// Header lines of a request.
    #[serde(default)]
    pub headers: Option<usize>,
    /// Streams of an HTTP/2 connection that are open at once.
    #[serde(default)]
    pub streams: Option<u32>,
    /// Streams of an HTTP/2 connection that its client resets, in a second; as many at once.
    #[serde(default)]
    pub resets_per_second: Option<u32>,
    /// Frames of an HTTP/2 connection that carry nothing of a message, in a second; as many at once.
    #[serde(default)]
    pub control_frames_per_second: Option<u32>,
    /// Seconds from the first byte of a head to its last.
    #[serde(default)]
    pub header_timeout_seconds: Option<u64>,
}

/// Records.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Flows {
    /// Unix socket of the Hubble API.
    #[serde(default)]
    pub socket: Option<PathBuf>,
    /// TCP address of the Hubble API.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// TLS there.
    #[serde(default)]
    pub tls: Option<FlowsTls>,
    /// Other nodes that Relay is told of.
    #[serde(default)]
    pub peers: Vec<FlowsPeer>,
    /// Memory for records that clients of the API read.
    #[serde(default)]
    pub buffer: FlowsBuffer,
    /// JSON-lines file.
    #[serde(default)]
    pub file: Option<FlowsFile>,
    /// Also to standard output.
    #[serde(default)]
    pub stdout: bool,
    /// Header fields of requests and answers are recorded too.
    #[serde(default = "default_headers")]
    pub headers: bool,
    /// What of them is not shown.
    #[serde(default)]
    pub redact: Redact,
    /// Also of connections that policy allows without the proxy, when they begin and end.
    #[serde(default)]
    pub connections: bool,
    /// Metrics that are made of records, in Hubble's words; `None`: those of the dashboards.
    #[serde(default)]
    pub metrics: Option<Vec<FlowMetric>>,
    /// Series that each of them may have; what is over is told as one.
    #[serde(default)]
    pub metrics_series: Option<usize>,
}

impl Flows {
    /// What is wrong; `served`: there is an address for metrics.
    pub(super) fn problems(&self, served: bool) -> Vec<String> {
        let mut problems = flow_metrics::problems(self.metrics.as_deref().unwrap_or_default());
        if self.metrics.is_some() && !served {
            problems.push("flows.metrics: nobody could read them; give an address as admin.metrics".to_owned());
        }
        if self.metrics_series == Some(0) {
            problems.push("flows.metricsSeries: 0 series tell nothing; give at least 1".to_owned());
        }
        problems
    }
}

impl Default for Flows {
    fn default() -> Self {
        Self {
            socket: None,
            listen: None,
            tls: None,
            peers: Vec::new(),
            buffer: FlowsBuffer::default(),
            file: None,
            stdout: false,
            headers: default_headers(),
            redact: Redact::default(),
            connections: false,
            metrics: None,
            metrics_series: None,
        }
    }
}

fn default_headers() -> bool {
    true
}

/// A JSON-lines file with rotation, as Hubble's exporter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FlowsFile {
    /// Where.
    pub path: PathBuf,
    /// Mebibytes after which it is rotated.
    #[serde(default = "default_size")]
    pub max_size_mb: u64,
    /// Rotated files that are kept.
    #[serde(default = "default_backups")]
    pub max_backups: usize,
    /// Only records that one of these matches, if there are any.
    #[serde(default)]
    pub allow: Vec<FlowFilter>,
    /// No record that one of these matches.
    #[serde(default)]
    pub deny: Vec<FlowFilter>,
    /// Of each record only these fields of `flow.Flow`, if there are any.
    #[serde(default)]
    pub field_mask: Vec<String>,
}

fn default_size() -> u64 {
    10
}

fn default_backups() -> usize {
    5
}

/// Status and control.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Admin {
    /// Unix socket that `l7proxy status` asks.
    #[serde(default = "default_admin")]
    pub socket: PathBuf,
    /// Address at which Prometheus gets `/metrics`.
    #[serde(default)]
    pub metrics: Option<SocketAddr>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { socket: default_admin(), metrics: None }
    }
}

fn default_admin() -> PathBuf {
    PathBuf::from("/run/l7proxy/admin.sock")
}
