//! The rule sets that are measured, and the requests that they are asked.
//!
//! Requests of one kind are equally long whatever the number of rules is, and the first and the last rule have the same
//! shape: what differs between two figures is the number of rules alone. Start at [`Kind`].

use std::fmt::Write as _;

use anyhow::{Result, bail};
use clap::ValueEnum;
use http::{HeaderMap, HeaderValue, header};
use rules::{
    EndpointPolicy, Identities, Identity, InForce, Labels, NamedPorts, PodLabels,
    manifest::{self, Document},
    resolve,
};

/// The port that the rules are about.
pub(crate) const PORT: u16 = 80;
/// Rules in one policy; a manifest of many rules has many policies.
const RULES_IN_POLICY: u32 = 100;

/// What the paths of rules look like. Each rule is `GET` and a path of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// `/api/v1/r00042/items`
    Literal,
    /// `/api/v1/r00042/.*`
    Prefix,
    /// Three forms in turn, none of them a literal or a prefix
    Regex,
}

/// Which rule a request meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    First,
    Last,
    /// None of them: its path is the first rule's but for a byte at its end.
    None,
}

impl Kind {
    /// The path of one rule, as a regular expression.
    pub(crate) fn pattern(self, rule: u32) -> String {
        match self {
            Self::Literal => format!("/api/v1/r{rule:05}/items"),
            Self::Prefix => format!("/api/v1/r{rule:05}/.*"),
            // 0, 99, 999 and 9,999 have the first form.
            Self::Regex => match rule % 3 {
                0 => format!("/api/v[12]/r{rule:05}/[a-z]+"),
                1 => format!("/api/v1/r{rule:05}(/.*)?"),
                _ => format!("/[a-z]+/v1/r{rule:05}/[0-9]+/(edit|view)"),
            },
        }
    }

    /// The path of a request that meets `target` of so many rules.
    pub(crate) fn path(self, target: Target, rules: u32) -> String {
        match (self, target) {
            (_, Target::First) => self.path_of(0),
            (_, Target::Last) => self.path_of(rules.saturating_sub(1)),
            // A prefix has no end to differ at.
            (Self::Prefix, Target::None) => "/api/v1/r00000-items".to_owned(),
            (Self::Literal | Self::Regex, Target::None) => "/api/v1/r00000/item7".to_owned(),
        }
    }

    /// The path of a request that one rule alone allows.
    pub(crate) fn path_of(self, rule: u32) -> String {
        match (self, rule % 3) {
            (Self::Regex, 2) => format!("/api/v1/r{rule:05}/42/edit"),
            (Self::Regex | Self::Literal | Self::Prefix, _) => format!("/api/v1/r{rule:05}/items"),
        }
    }

    /// A manifest with so many rules.
    pub(crate) fn manifest(self, rules: u32) -> String {
        let mut text = String::new();
        for rule in 0..rules {
            if rule % RULES_IN_POLICY == 0 {
                policy(&mut text, rule / RULES_IN_POLICY);
            }
            // Nothing that a pattern here consists of has a meaning inside single quotes. Writing to a String never fails.
            let _written = writeln!(text, "        - {{method: GET, path: '{}'}}", self.pattern(rule));
        }
        text
    }
}

fn policy(text: &mut String, number: u32) {
    let _written = writeln!(
        text,
        "---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: p{number}, namespace: default}}
spec:
  endpointSelector: {{matchLabels: {{app: server}}}}
  ingress:
  - fromEndpoints: [{{matchLabels: {{app: client}}}}]
    toPorts:
    - ports: [{{port: \"{PORT}\", protocol: TCP}}]
      rules:
        http:"
    );
}

/// A server under policy, and its client.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) policy: EndpointPolicy,
    pub(crate) client: Identity,
}

impl Server {
    /// What `policies` mean for it.
    pub(crate) fn new(policies: &[InForce]) -> Self {
        let mut identities = Identities::new();
        let client = identities.allocate(&labels("client"));
        let server = labels("server");
        identities.allocate(&server);
        let policy = resolve(policies, &server, &NamedPorts::default(), &identities, &[]);
        Self { policy, client }
    }
}

/// Labels of a pod of `app`.
fn labels(app: &str) -> Labels {
    let own = [("app".to_owned(), app.to_owned())].into();
    let namespace_labels = [].into();
    Labels::from(PodLabels {
        namespace: "default",
        cluster: "default",
        service_account: None,
        labels: &own,
        namespace_labels: &namespace_labels,
    })
}

/// The policies of a manifest that is all valid.
pub(crate) fn parse(text: &str) -> Result<Vec<InForce>> {
    let mut policies = Vec::new();
    for document in manifest::parse(text) {
        match document {
            Document::Policy(policy) => policies.push(InForce::Policy(policy)),
            Document::Refused(_) | Document::Unattributable { .. } | Document::Skipped { .. } => {
                bail!("the manifest is not valid: {document:?}")
            }
        }
    }
    Ok(policies)
}

/// Headers of a request such as clients send.
pub(crate) fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_static("server.default.svc:80"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("bench/1.0"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    headers
}
