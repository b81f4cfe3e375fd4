//! How the Hubble API is served: below `flows`, beside the records' file.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Config, Flows};

/// TLS of `flows.listen`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FlowsTls {
    /// PEM file: the server's certificate, and those between it and the CA.
    pub certificate: PathBuf,
    /// PEM file: its key.
    pub key: PathBuf,
    /// PEM file: who signs clients' certificates. With it a client must have one.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

/// Another node, as Relay is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FlowsPeer {
    /// `cluster/node`, or `node` in the cluster `default`.
    pub name: String,
    /// `address:port`, or `unix:///path`.
    pub address: String,
    /// What its certificate is for; only with TLS.
    #[serde(default)]
    pub tls_server_name: Option<String>,
}

/// Memory for records that clients of the API read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FlowsBuffer {
    /// Mebibytes for records of what was allowed.
    #[serde(default = "default_size")]
    pub size_mib: usize,
    /// Mebibytes for records of denials, failures and audits, which the others cannot push out.
    #[serde(default = "default_deny_size")]
    pub deny_size_mib: usize,
}

impl Default for FlowsBuffer {
    fn default() -> Self {
        Self { size_mib: default_size(), deny_size_mib: default_deny_size() }
    }
}

fn default_size() -> usize {
    48
}

fn default_deny_size() -> usize {
    16
}

/// What a buffer may have at most: more is a mistake in the unit.
const MAX_BUFFER: usize = 16 * 1024;

impl Flows {
    /// Whether somebody can read records by the API.
    #[must_use]
    pub fn is_served(&self) -> bool {
        self.socket.is_some() || self.listen.is_some()
    }

    pub(super) fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let file = self.file.iter_mut().map(|file| &mut file.path);
        let tls = self.tls.iter_mut().flat_map(|tls| {
            [Some(&mut tls.certificate), Some(&mut tls.key), tls.client_ca.as_mut()].into_iter().flatten()
        });
        file.chain(tls).chain(self.socket.as_mut())
    }

    pub(super) fn validate(&self, config: &Config) -> Vec<String> {
        let mut problems = Vec::new();
        if self.tls.is_some() && self.listen.is_none() {
            problems
                .push("flows.tls: is about flows.listen, which is not given; give it, or remove flows.tls".to_owned());
        }
        if !self.is_served() && !self.peers.is_empty() {
            problems.push(
                "flows.peers: nobody is told of them without flows.socket or flows.listen; give one of these"
                    .to_owned(),
            );
        }
        for (name, size) in [("sizeMib", self.buffer.size_mib), ("denySizeMib", self.buffer.deny_size_mib)] {
            if !(1..=MAX_BUFFER).contains(&size) {
                problems.push(format!("flows.buffer.{name}: {size}; give mebibytes from 1 to {MAX_BUFFER}"));
            }
        }
        for (index, peer) in self.peers.iter().enumerate() {
            let place = format!("flows.peers[{index}]");
            let is_own = [format!("{}/{}", config.cluster, config.node), config.peer_name()].contains(&peer.name);
            let is_known = self.peers.iter().take(index).any(|other| other.name == peer.name);
            if peer.name.is_empty() || is_own || is_known {
                problems.push(format!("{place}.name: {:?}; give each other node once, by its name", peer.name));
            }
            if !peer.has_address() {
                problems.push(format!("{place}.address: {:?}; give address:port or unix:///path", peer.address));
            }
        }
        problems
    }
}

impl FlowsPeer {
    fn has_address(&self) -> bool {
        match self.address.strip_prefix("unix://") {
            Some(path) => path.starts_with('/'),
            None => self
                .address
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)),
        }
    }
}

impl Config {
    /// This node as Hubble's peers are named: the cluster `default` is not said.
    #[must_use]
    pub fn peer_name(&self) -> String {
        if self.cluster == "default" { self.node.clone() } else { format!("{}/{}", self.cluster, self.node) }
    }

    /// What this node's certificate is for.
    #[must_use]
    pub fn tls_server_name(&self) -> String {
        let label = |name: &str| name.replace('.', "-");
        format!("{}.{}.hubble-grpc.cilium.io", label(&self.node), label(&self.cluster))
    }
}
