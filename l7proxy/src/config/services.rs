//! Services: virtual addresses, and which pods are behind them.

use std::{collections::BTreeMap, net::IpAddr};

use rules::Protocol;
use serde::{Deserialize, Serialize};

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Service {
    /// `namespace/name`.
    pub name: String,
    /// Its virtual addresses.
    #[serde(rename = "clusterIPs", default)]
    pub cluster_ips: Vec<IpAddr>,
    /// Its ports.
    #[serde(default)]
    pub ports: Vec<ServicePort>,
    /// Its own labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Labels of the pods behind it, in its own namespace.
    #[serde(default)]
    pub selector: BTreeMap<String, String>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ServicePort {
    /// On the Service's address.
    pub port: u16,
    /// On the pods: a number, or the name of one of their container ports. The same number, if it is not given.
    #[serde(default)]
    pub target_port: Option<TargetPort>,
    /// TCP unless it says otherwise.
    #[serde(default)]
    pub protocol: ServiceProtocol,
    /// Its name; nothing here asks for it.
    #[serde(default)]
    pub name: Option<String>,
}

/// A port of the pods behind a Service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum TargetPort {
    /// The same on all of them.
    Number(u16),
    /// Of a container port of that name.
    Name(String),
}

/// Protocols that Services have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ServiceProtocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl From<ServiceProtocol> for Protocol {
    fn from(protocol: ServiceProtocol) -> Self {
        match protocol {
            ServiceProtocol::Tcp => Self::Tcp,
            ServiceProtocol::Udp => Self::Udp,
            ServiceProtocol::Sctp => Self::Sctp,
        }
    }
}

impl Service {
    pub(super) fn validate(&self, place: &str) -> Vec<String> {
        let mut problems = Vec::new();
        let parts: Vec<&str> = self.name.split('/').collect();
        if !matches!(parts.as_slice(), [namespace, name] if !namespace.is_empty() && !name.is_empty()) {
            let name = &self.name;
            problems.push(format!("{place}.name: {name:?} is not namespace/name; write for example default/web"));
        }
        for (index, port) in self.ports.iter().enumerate() {
            let same = |other: &ServicePort| (other.port, other.protocol) == (port.port, port.protocol);
            if port.port == 0 || port.target_port == Some(TargetPort::Number(0)) {
                problems.push(format!("{place}.ports[{index}]: 0 is no port; give 1 to 65535"));
            }
            if self.ports.iter().take(index).any(same) {
                problems.push(format!("{place}.ports[{index}].port: {} is there before; give each once", port.port));
            }
        }
        problems
    }
}
