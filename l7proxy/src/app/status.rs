//! What `l7proxy status` shows.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{ApiStatus, Assembler};
use crate::{
    config::{Config, Service},
    endpoint::Peer,
    pod_net::Transport,
    redirect::Redirect,
    source::{AppliedPolicy, PolicyStatus, Versions},
};

mod metrics;

/// Name of what is counted of pods that are still to be looked at; it grows and shrinks.
pub(super) const PENDING: &str = "existing_pods_pending";

/// The node process as a whole.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Every pod is enrolled, or its error is told below.
    pub ready: bool,
    /// What is in force now.
    pub revision: u64,
    /// Process id.
    pub pid: u32,
    /// Pods of this node.
    pub endpoints: Vec<EndpointStatus>,
    /// Every policy.
    pub policies: Vec<PolicyStatus>,
    /// What is wrong with the configuration or cannot be tied to a policy; what was in force before stays.
    pub errors: Vec<String>,
    /// Documents that are not ours.
    pub skipped: Vec<String>,
    /// The kernel side.
    pub kernel: KernelStatus,
    /// The Hubble API, if it is served.
    pub hubble: Option<ApiStatus>,
    /// What is relaxed of the path's normal form, as it is written in the configuration below `proxy.path`.
    pub path_relaxed: Vec<&'static str>,
    /// What the configuration asks for and this version does not do.
    pub not_enforced: Vec<String>,
    /// Counters by name.
    pub counters: BTreeMap<&'static str, u64>,
}

/// One pod.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointStatus {
    /// `namespace/name`.
    pub pod: String,
    /// Its number on this node.
    pub id: u32,
    /// Its label set's number.
    pub identity: u32,
    /// What enters it.
    pub ingress: DirectionStatus,
    /// What leaves it.
    pub egress: DirectionStatus,
    /// What guards the interfaces that lead out of it: `tcx`, `clsact`, or `absent` and why; nothing when it is not enrolled.
    pub backstop: Option<String>,
    /// A way out of it is not guarded.
    #[serde(skip)]
    pub unguarded: bool,
    /// `ready`, `waiting` for its namespace, `ended` with its process, or `error`.
    pub state: &'static str,
    /// Why it is not ready.
    pub error: Option<String>,
    /// Policies that say something of it.
    pub policies: Vec<AppliedPolicy>,
}

/// One direction of a pod.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectionStatus {
    /// Only what policy allows may pass.
    pub enforced: bool,
    /// Entries that send connections to the proxy.
    pub redirects: usize,
}

/// The kernel side.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KernelStatus {
    /// Links that are attached.
    pub links: usize,
    /// Features by name, and whether they are there.
    pub features: BTreeMap<&'static str, bool>,
    /// Programs of others that run after ours at a hook.
    pub overriders: Vec<String>,
    /// What is done without those that are not.
    pub lacking: Vec<String>,
    /// Different policies that pods are on; pods that may do the same share one.
    pub policies: usize,
    /// Versions before them that are kept for the next change.
    pub policy_standbys: usize,
    /// Entries of all of them.
    pub policy_entries: usize,
}

/// What cannot be asked of the kernel is told in `errors`.
pub(super) fn kernel(redirect: &Redirect, errors: &mut Vec<String>) -> KernelStatus {
    let filed = redirect.policy_figures();
    let overriders = redirect.overriders().unwrap_or_else(|error| {
        errors.push(error.to_string());
        Vec::new()
    });
    KernelStatus {
        links: redirect.link_count(),
        overriders,
        features: redirect.features(),
        lacking: redirect.lacking(),
        policies: filed.in_force,
        policy_standbys: filed.standby,
        policy_entries: filed.entries,
    }
}

/// The policies of a pod.
pub(super) fn applied(assembler: &Assembler, versions: &Versions, pod: &Peer) -> Vec<AppliedPolicy> {
    assembler.identities().labels(pod.identity()).map(|labels| versions.applied(labels)).unwrap_or_default()
}

/// Protocols whose connections outlive a policy that does not allow them, because this kernel cannot end them.
pub(super) fn existing(lacking: &[Transport]) -> impl Iterator<Item = String> {
    lacking.iter().map(|transport| {
        format!(
            "redirect.existing: this kernel cannot end {transport:?} connections that are older than a policy \
             (CONFIG_INET_DIAG_DESTROY and CONFIG_INET_{}_DIAG); they stay open",
            format!("{transport:?}").to_uppercase()
        )
    })
}

/// What the configuration asks for and this version does not do: told, never silently dropped.
pub(super) fn not_enforced(config: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |asked: bool, line: &str| {
        if asked {
            lines.push(line.to_owned());
        }
    };
    for metric in config.flows.metrics.iter().flatten() {
        let name = metric.name();
        say(!metric.name.is_made(), &format!("flows.metrics: {name}: this version records no flows that it counts"));
        say(metric.exemplars, &format!("flows.metrics: {name}: exemplars are not told: the text format has none"));
    }
    let without_pods = |service: &&Service| service.selector.is_empty() && !service.cluster_ips.is_empty();
    for Service { name, .. } in config.services.iter().filter(without_pods) {
        lines.push(format!(
            "services: {name}: without a selector nobody knows its pods: its addresses are judged as world"
        ));
    }
    lines
}
