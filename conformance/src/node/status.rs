//! `l7proxy status --output json`, as far as tests look at it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The whole answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Every pod is enrolled, or its error is told.
    pub ready: bool,
    /// Grows with every change.
    pub revision: u64,
    /// Process id.
    pub pid: u32,
    /// Pods of the node.
    pub endpoints: Vec<Endpoint>,
    /// Every policy.
    pub policies: Vec<Policy>,
    /// What is wrong with the configuration.
    #[serde(default)]
    pub errors: Vec<String>,
    /// The kernel side.
    pub kernel: Kernel,
    /// What is relaxed of paths' normal form.
    pub path_relaxed: Vec<String>,
    /// What is asked for and not done.
    #[serde(default)]
    pub not_enforced: Vec<String>,
    /// Counters by name.
    #[serde(default)]
    pub counters: BTreeMap<String, u64>,
}

/// One pod.
#[derive(Clone, Debug, Deserialize)]
pub struct Endpoint {
    /// `namespace/name`.
    pub pod: String,
    /// What enters.
    pub ingress: Direction,
    /// What leaves.
    pub egress: Direction,
    /// What guards the interfaces that lead out of it.
    pub backstop: Option<String>,
    /// `ready` or `error`.
    pub state: String,
    /// Why it is not ready.
    pub error: Option<String>,
    /// Policies that say something of it.
    pub policies: Vec<Applied>,
}

/// A policy of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Applied {
    /// Kind, namespace and name.
    pub policy: String,
    /// As in [`Policy::state`].
    pub state: String,
    /// It says something of what enters.
    pub ingress: bool,
    /// It says something of what leaves.
    pub egress: bool,
}

/// One direction of a pod.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Direction {
    /// Only what policy allows may pass.
    pub enforced: bool,
    /// Entries that need HTTP rules.
    pub redirects: usize,
}

/// One policy.
#[derive(Clone, Debug, Deserialize)]
pub struct Policy {
    /// Kind, namespace and name.
    pub policy: String,
    /// `in force`, `last good version` or `refused`.
    pub state: String,
    /// Since when.
    pub revision: u64,
    /// What is wrong with it.
    pub errors: Vec<String>,
}

/// The kernel side.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kernel {
    /// Links that are attached.
    pub links: usize,
    /// Programs of others that run after ours.
    pub overriders: Vec<String>,
    /// Different policies that pods are on.
    pub policies: usize,
    /// Versions before them that are kept.
    pub policy_standbys: usize,
    /// Entries of all of them.
    pub policy_entries: usize,
    /// Features by name, and whether they are there.
    pub features: BTreeMap<String, bool>,
    /// What is done without those that are not.
    pub lacking: Vec<String>,
}

impl Status {
    /// A policy by kind and name.
    #[must_use]
    pub fn policy(&self, name: &str) -> Option<&Policy> {
        self.policies.iter().find(|policy| policy.policy == name)
    }

    /// A pod by name.
    #[must_use]
    pub fn endpoint(&self, pod: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.pod == pod)
    }
}
