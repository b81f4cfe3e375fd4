//! The standalone configuration: one YAML file, unknown keys refused with their line.
//!
//! Owns its shape, defaults and validation. Never opens a namespace, a socket or a manifest. Start at [`load`].

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

mod domains;
mod flow_filter;
mod flow_metrics;
mod hubble;
mod path;
mod pods;
mod proxy;
mod redact;
mod services;

pub use domains::Domain;
pub use flow_filter::{
    EventType, Experimental, FlowFilter, HttpHeader, Named, Names, NetworkInterface, TcpFlags, Workload,
};
pub use flow_metrics::{Context, ContextLabel, ContextOptions, FlowMetric, Identifier, MetricName, WorldOptions};
pub use hubble::{FlowsBuffer, FlowsPeer, FlowsTls};
pub use path::PathRules;
pub use pods::{ContainerPort, Endpoint, Remote};
pub use proxy::{Admin, Backstop, Errno, Existing, Flows, FlowsFile, Limits, Proxy, Redirect, Unenrolled};
pub use redact::{Redact, RedactHeaders};
pub use services::{Service, ServicePort, ServiceProtocol, TargetPort};

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// Name of the cluster in labels and records.
    #[serde(default = "default_cluster")]
    pub cluster: String,
    /// Name of this node in records.
    #[serde(default = "default_node")]
    pub node: String,
    /// Labels of this node in records.
    #[serde(default)]
    pub node_labels: BTreeMap<String, String>,
    /// Files or directories of manifests.
    #[serde(default)]
    pub policies: Vec<PathBuf>,
    /// What policies deny passes, and is recorded as AUDIT.
    #[serde(default)]
    pub audit: bool,
    /// Directory of secrets that policies name: `<namespace>/<name>/<key>`.
    #[serde(default)]
    pub secrets: Option<PathBuf>,
    /// Labels of namespaces.
    #[serde(default)]
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Pods of this node.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// Pods elsewhere: what gives an address its identity.
    #[serde(default)]
    pub remotes: Vec<Remote>,
    /// Services; see `status` for what is enforced of them.
    #[serde(default)]
    pub services: Vec<Service>,
    /// Names of addresses that are none of these: what records call them.
    #[serde(default)]
    pub names: Vec<Domain>,
    /// This node itself.
    #[serde(default)]
    pub host: Host,
    /// Where the kernel side is attached.
    #[serde(default)]
    pub redirect: Redirect,
    /// The data path.
    #[serde(default)]
    pub proxy: Proxy,
    /// Records.
    #[serde(default)]
    pub flows: Flows,
    /// Status and control.
    #[serde(default)]
    pub admin: Admin,
}

/// This node itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Host {
    /// Addresses of the node.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Whether the node may reach its pods whatever policy says (probes); as Cilium on Kubernetes.
    #[serde(default = "yes")]
    pub allow: bool,
}

impl Default for Host {
    fn default() -> Self {
        Self { addresses: Vec::new(), allow: true }
    }
}

fn default_cluster() -> String {
    "default".to_owned()
}

fn default_node() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

fn yes() -> bool {
    true
}

/// Everything that is wrong with a file: one line each, with place, reason and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The lines.
    pub lines: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// Reads, parses and validates `file`; relative paths become relative to its directory.
pub fn load(file: &Path) -> Result<Config, ConfigError> {
    let one = |line: String| ConfigError { lines: vec![line] };
    let text = fs::read_to_string(file).map_err(|error| one(unreadable(file, &error)))?;
    let mut config: Config = parse(&text).map_err(|error| one(format!("{}:{error}", file.display())))?;
    let directory = file.parent().unwrap_or(Path::new("."));
    for path in config.paths_mut() {
        *path = directory.join(&path);
    }
    let lines: Vec<String> =
        config.validate().into_iter().map(|problem| format!("{}: {problem}", file.display())).collect();
    if lines.is_empty() { Ok(config) } else { Err(ConfigError { lines }) }
}

fn unreadable(file: &Path, error: &io::Error) -> String {
    format!("{}: cannot be read: {error}; give the path of a configuration file that exists", file.display())
}

/// Values of a configuration file: 100,000 pods elsewhere need about a million.
const MAX_VALUES: usize = 5_000_000;

/// `line:column: reason`.
fn parse(text: &str) -> Result<Config, String> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: MAX_VALUES, max_events: 2 * MAX_VALUES },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location().map_or(String::new(), |at| format!("{}:{}: ", at.line(), at.column()));
        let message = error.to_string();
        let message = message.lines().next().unwrap_or_default();
        // The library's own "error: line 4 column 5: " in front repeats the place.
        let reason = message.splitn(3, ": ").last().unwrap_or(message);
        format!("{place}{reason}")
    })
}

impl Config {
    fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let netns = self.endpoints.iter_mut().filter_map(|endpoint| endpoint.netns.as_mut());
        let single = [self.secrets.as_mut(), self.redirect.cgroup.as_mut()];
        self.policies
            .iter_mut()
            .chain(self.flows.paths_mut())
            .chain(netns)
            .chain(single.into_iter().flatten())
            .chain([&mut self.redirect.pins, &mut self.admin.socket])
    }

    fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut owners: BTreeMap<IpAddr, String> = BTreeMap::new();
        let mut claim = |owner: String, field: &str, addresses: &[IpAddr], problems: &mut Vec<String>| {
            for address in addresses {
                if let Some(other) = owners.insert(address.to_canonical(), owner.clone()) {
                    problems.push(format!(
                        "{owner}.{field}: {address} is also an address of {other}; each address belongs to one of them"
                    ));
                }
            }
        };
        let mut names = BTreeMap::new();
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let place = format!("endpoints[{index}]");
            problems.extend(endpoint.validate(&place));
            if let Some(other) = names.insert(endpoint.pod.clone(), place.clone()) {
                problems.push(format!("{place}.pod: {} is already {other}; give each pod once", endpoint.pod));
            }
            claim(place, "addresses", &endpoint.addresses, &mut problems);
        }
        for (index, remote) in self.remotes.iter().enumerate() {
            let place = format!("remotes[{index}]");
            problems.extend(remote.validate(&place));
            claim(place, "addresses", &remote.addresses, &mut problems);
        }
        claim("host".to_owned(), "addresses", &self.host.addresses, &mut problems);
        for (index, service) in self.services.iter().enumerate() {
            let place = format!("services[{index}]");
            problems.extend(service.validate(&place));
            claim(place, "clusterIPs", &service.cluster_ips, &mut problems);
        }
        problems.extend(domains::problems(&self.names, &owners));
        if self.redirect.unenrolled == Unenrolled::Hold && self.redirect.existing == Existing::Leave {
            problems.push(
                "redirect.unenrolled: hold judges what was held as connections that are older than a policy; it needs \
                 redirect.existing: end"
                    .to_owned(),
            );
        }
        problems.extend(self.flows.redact.problem().map(str::to_owned));
        problems.extend(self.flows.validate(self));
        if self.proxy.workers == 0 {
            problems.push("proxy.workers: 0 workers serve nothing; give at least 1".to_owned());
        }
        problems.extend(self.flows.problems(self.admin.metrics.is_some()));
        problems
    }
}

#[cfg(test)]
mod tests;
