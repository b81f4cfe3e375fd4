//! What a table of cases looks like.
//!
//! Owns the names of its fields; a field that is not known is an error. Start at [`Table`].

use std::{collections::BTreeMap, net::IpAddr};

use serde::Deserialize;

/// Policies, pods, and questions about them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Table {
    /// Manifests as their author wrote them.
    #[serde(default)]
    pub(crate) manifests: String,
    #[serde(default)]
    pub(crate) pods: Vec<Pod>,
    #[serde(default)]
    pub(crate) services: Vec<Service>,
    /// Every policy that is not valid → the fields that are wrong. `n/p`, or with its kind if it is not Cilium's.
    #[serde(default)]
    pub(crate) refused: BTreeMap<String, Vec<String>>,
    /// What is taken for no policy: as many documents are skipped.
    #[serde(default)]
    pub(crate) skipped: usize,
    #[serde(default)]
    pub(crate) cases: Vec<Case>,
    #[serde(default)]
    pub(crate) patterns: Vec<PatternCase>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Pod {
    /// `namespace/name`.
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) namespace_labels: BTreeMap<String, String>,
    pub(crate) service_account: Option<String>,
    /// Container ports by name.
    #[serde(default)]
    pub(crate) ports: BTreeMap<String, u16>,
    pub(crate) address: Option<IpAddr>,
}

/// A Service in front of pods.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Service {
    /// `namespace/name`.
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// Of its pods.
    #[serde(default)]
    pub(crate) selector: BTreeMap<String, String>,
}

/// One question. `from` and `to` are a pod, an address, or a reserved name (`world`, `host` …).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) direction: Way,
    /// Of ICMP, the type.
    pub(crate) port: u16,
    /// `other` has neither ports nor types.
    #[serde(default = "tcp")]
    pub(crate) protocol: String,
    /// Absent: only the connection is asked about.
    pub(crate) request: Option<Request>,
    pub(crate) expect: Expect,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Way {
    Ingress,
    Egress,
}

fn tcp() -> String {
    "TCP".to_owned()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// The request target as sent.
    pub(crate) path: String,
    pub(crate) host: String,
    /// `Name: value`, any number of times.
    pub(crate) headers: Vec<String>,
}

impl Default for Request {
    fn default() -> Self {
        Self { method: "GET".to_owned(), path: "/".to_owned(), host: "h".to_owned(), headers: Vec::new() }
    }
}

/// What must come out; what is absent is not asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Expect {
    pub(crate) verdict: Outcome,
    /// Of the rule that allows, or that came nearest.
    pub(crate) policy: Option<String>,
    pub(crate) rule: Option<String>,
    /// The field that the nearest rule missed.
    pub(crate) nearest: Option<String>,
    /// Calico's tier whose end denies.
    pub(crate) tier: Option<String>,
    /// What the nearest rule wants there.
    pub(crate) wants: Option<String>,
    pub(crate) denied_by: Option<Vec<String>>,
    /// Every rule that was tried, in order: `ingress[0]: port wants 80/TCP, is 81/TCP; …`.
    pub(crate) tried: Option<Vec<String>>,
    /// Of an allowed request: `-name`, `=name: value`, `+name: value`, in their order.
    pub(crate) edits: Option<Vec<String>>,
    /// Headers that a record names, `name: value`.
    pub(crate) missing: Option<Vec<String>>,
    pub(crate) rejected: Option<Vec<String>>,
    /// Why there is no verdict.
    pub(crate) malformed: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// A rule allows it.
    Allowed,
    /// No policy selects the endpoint in this direction.
    NotEnforced,
    /// It passes, and is told as what it would be if that were enforced.
    Audited,
    /// The connection goes to the proxy; no request was asked about.
    Redirected,
    /// The connection passes or goes to the proxy; the request does not pass.
    Denied,
    /// Not even the connection passes.
    RefusedL4,
    /// The request has no single meaning.
    Malformed,
}

/// What a pattern fully matches, what not; or why it is none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct PatternCase {
    pub(crate) pattern: String,
    #[serde(default)]
    pub(crate) matches: Vec<String>,
    #[serde(default)]
    pub(crate) differs: Vec<String>,
    /// A part of the reason.
    pub(crate) refused: Option<String>,
}
