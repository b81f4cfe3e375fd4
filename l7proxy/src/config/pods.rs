//! Who is there: endpoints and remotes.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use rules::Protocol;
use serde::{Deserialize, Serialize};

use crate::pod_net::NetnsPath;

/// A pod of this node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Endpoint {
    /// `namespace/name`.
    pub pod: String,
    /// File of its network namespace; or `pid`.
    #[serde(default)]
    pub netns: Option<PathBuf>,
    /// A process in its network namespace; or `netns`.
    #[serde(default)]
    pub pid: Option<u32>,
    /// All of its addresses. Redirected connections meet the proxy at the first of their family.
    pub addresses: Vec<IpAddr>,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its service account.
    #[serde(default)]
    pub service_account: Option<String>,
    /// Its named container ports.
    #[serde(default)]
    pub ports: BTreeMap<String, ContainerPort>,
    /// `Kind/name` of what owns it.
    #[serde(default)]
    pub workload: Option<String>,
    /// Whether Services send connections to it.
    #[serde(default = "super::yes")]
    pub ready: bool,
}

/// A pod elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Remote {
    /// `namespace/name`.
    pub pod: String,
    /// All of its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its service account.
    #[serde(default)]
    pub service_account: Option<String>,
    /// Its named container ports.
    #[serde(default)]
    pub ports: BTreeMap<String, ContainerPort>,
    /// `Kind/name` of what owns it.
    #[serde(default)]
    pub workload: Option<String>,
    /// Whether Services send connections to it.
    #[serde(default = "super::yes")]
    pub ready: bool,
}

/// `8080`, or `53/UDP`: a container port and its protocol, TCP unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "PortText", into = "PortText")]
pub struct ContainerPort(pub rules::ContainerPort);

#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum PortText {
    Number(u16),
    Text(String),
}

impl TryFrom<PortText> for ContainerPort {
    type Error = String;

    fn try_from(port: PortText) -> Result<Self, String> {
        let text = match port {
            PortText::Number(number) => return Ok(Self(rules::ContainerPort::tcp(number))),
            PortText::Text(text) => text,
        };
        let (number, protocol) = text.split_once('/').unwrap_or((&text, "TCP"));
        let protocol =
            [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|known| known.to_string() == protocol);
        match (number.parse(), protocol) {
            (Ok(number), Some(protocol)) => Ok(Self(rules::ContainerPort { number, protocol })),
            _ => Err(format!("{text:?} is no container port; write 8080, or 53/UDP")),
        }
    }
}

impl From<ContainerPort> for PortText {
    fn from(ContainerPort(port): ContainerPort) -> Self {
        Self::Text(format!("{}/{}", port.number, port.protocol))
    }
}

impl Endpoint {
    /// Where its namespace is found; validation made sure that there is one.
    #[must_use]
    pub fn namespace_path(&self) -> Option<NetnsPath> {
        self.netns.clone().map(NetnsPath::File).or(self.pid.map(NetnsPath::Pid))
    }

    pub(super) fn validate(&self, place: &str) -> Vec<String> {
        let mut problems = validate_name(place, &self.pod);
        if self.netns.is_some() == self.pid.is_some() {
            problems.push(format!("{place}: give either netns (a file) or pid (a process), for {}", self.pod));
        }
        if self.addresses.is_empty() {
            problems.push(format!("{place}.addresses: {} has none; give at least one", self.pod));
        }
        problems.extend(validate_addresses(place, &self.addresses));
        problems.extend(validate_workload(place, self.workload.as_deref()));
        problems
    }
}

impl Remote {
    pub(super) fn validate(&self, place: &str) -> Vec<String> {
        let mut problems = validate_name(place, &self.pod);
        if self.addresses.is_empty() {
            problems.push(format!("{place}.addresses: {} has none; give at least one", self.pod));
        }
        problems.extend(validate_addresses(place, &self.addresses));
        problems.extend(validate_workload(place, self.workload.as_deref()));
        problems
    }
}

fn validate_name(place: &str, pod: &str) -> Vec<String> {
    let valid = pod
        .split_once('/')
        .is_some_and(|(namespace, name)| !namespace.is_empty() && !name.is_empty() && !name.contains('/'));
    if valid {
        return Vec::new();
    }
    vec![format!("{place}.pod: {pod:?} is not namespace/name; write for example default/web-1")]
}

fn validate_addresses(place: &str, addresses: &[IpAddr]) -> Option<String> {
    let odd = addresses.iter().find(|a| a.is_loopback() || a.is_unspecified() || a.is_multicast())?;
    Some(format!("{place}.addresses: {odd} is no address of a pod; give the address of its network interface"))
}

fn validate_workload(place: &str, workload: Option<&str>) -> Option<String> {
    let workload = workload?;
    (!workload.contains('/'))
        .then(|| format!("{place}.workload: {workload:?} is not Kind/name; write for example Deployment/web"))
}
