//! Text → policies. What is not enforced is refused by name, never ignored.
//!
//! Owns the shape of manifests. All errors of a text are told at once, each with its line. Start at [`parse`].

use std::sync::Arc;

use crate::{
    policy::{Kind, PolicyKey, Rule},
    selector::Selector,
};

mod cilium;
mod port;
mod read;
mod yaml;

use self::{
    read::Reader,
    yaml::{Node, Parsed, Value},
};

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Line in the text, from 1.
    pub line: usize,
    /// `spec.egress[0].toPorts[0].ports[0].port`; empty when no field can be named.
    pub field: String,
    /// What is wrong and what to write instead.
    pub reason: String,
}

/// A valid policy.
#[derive(Debug, PartialEq, Eq)]
pub struct Policy {
    pub(crate) key: Arc<PolicyKey>,
    pub(crate) rules: Vec<Rule>,
}

impl Policy {
    /// Its name.
    #[must_use]
    pub fn key(&self) -> &Arc<PolicyKey> {
        &self.key
    }
}

/// A policy that is not valid. It allows nothing; what it selects is under default deny in its directions.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its name.
    pub key: Arc<PolicyKey>,
    /// Line of its document, from 1.
    pub line: usize,
    /// Everything that is wrong with it.
    pub errors: Vec<FieldError>,
    /// What it selects, as far as that can be read; else everything in its namespace.
    pub(crate) subjects: Vec<Selector>,
    pub(crate) ingress: bool,
    pub(crate) egress: bool,
}

/// One document of a text.
#[derive(Clone, Debug)]
pub enum Document {
    /// A valid policy.
    Policy(Arc<Policy>),
    /// A policy that is not valid.
    Refused(Arc<Refused>),
    /// It cannot be tied to a policy: broken YAML, or no name.
    Unattributable {
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        errors: Vec<FieldError>,
    },
    /// Of a kind that is not ours.
    Skipped {
        /// Line, from 1.
        line: usize,
        /// What it is.
        what: String,
    },
}

/// Every document of `text`; a `List` is its items.
#[must_use]
pub fn parse(text: &str) -> Vec<Document> {
    let mut documents = Vec::new();
    for parsed in yaml::parse(text) {
        match parsed {
            Ok(Parsed { root, errors }) => document(&root, errors, &mut documents),
            Err(error) => documents.push(Document::Unattributable { line: error.line, errors: vec![error] }),
        }
    }
    documents
}

fn document(root: &Node, mut errors: Vec<FieldError>, documents: &mut Vec<Document>) {
    if matches!(root.value, Value::Null) && errors.is_empty() {
        return;
    }
    let text = |key: &str| root.get(key).and_then(Node::text).unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    if kind == "List" && version == "v1" {
        let items = root.get("items").map(Node::items).unwrap_or_default();
        for item in items {
            document(item, Vec::new(), documents);
        }
        return;
    }
    let Some(kind_of_policy) = policy_kind(version, kind) else {
        documents.push(unknown(root, version, kind, errors));
        return;
    };
    let Some(key) = key(root, kind_of_policy, &mut errors) else {
        documents.push(Document::Unattributable { line: root.line, errors });
        return;
    };
    documents.push(policy(root, key, version, errors));
}

fn policy(root: &Node, key: PolicyKey, version: &str, mut errors: Vec<FieldError>) -> Document {
    let key = Arc::new(key);
    if key.kind != Kind::CiliumNetworkPolicy {
        let reason =
            format!("{} of {version} is not supported yet; write a CiliumNetworkPolicy (cilium.io/v2)", key.kind);
        errors.push(FieldError { line: root.line, field: "kind".to_owned(), reason });
    } else if version != "cilium.io/v2" {
        let reason = format!("{version} is not known; write cilium.io/v2");
        errors.push(FieldError { line: root.line, field: "apiVersion".to_owned(), reason });
    }
    if errors.is_empty() {
        let mut reader = Reader::new(&mut errors);
        let rules = cilium::rules(root, &key.namespace, &mut reader);
        if errors.is_empty() {
            return Document::Policy(Arc::new(Policy { key, rules }));
        }
    }
    let scope = cilium::scope(root, &key);
    Document::Refused(Arc::new(Refused {
        key,
        line: root.line,
        errors,
        subjects: scope.subjects,
        ingress: scope.ingress,
        egress: scope.egress,
    }))
}

/// Kinds that say who may talk to whom: each must be enforced or refused, never skipped.
fn policy_kind(version: &str, kind: &str) -> Option<Kind> {
    let (group, _) = version.split_once('/').unwrap_or(("", version));
    match (group, kind) {
        ("cilium.io", "CiliumNetworkPolicy") => Some(Kind::CiliumNetworkPolicy),
        ("cilium.io", "CiliumClusterwideNetworkPolicy") => Some(Kind::CiliumClusterwideNetworkPolicy),
        ("networking.k8s.io", "NetworkPolicy") => Some(Kind::NetworkPolicy),
        ("projectcalico.org" | "crd.projectcalico.org", "NetworkPolicy") => Some(Kind::CalicoNetworkPolicy),
        ("projectcalico.org" | "crd.projectcalico.org", "GlobalNetworkPolicy") => Some(Kind::GlobalNetworkPolicy),
        _ => None,
    }
}

fn unknown(root: &Node, version: &str, kind: &str, mut errors: Vec<FieldError>) -> Document {
    let line = root.line;
    if !errors.is_empty() {
        return Document::Unattributable { line, errors };
    }
    if !version.is_empty() && !kind.is_empty() {
        return Document::Skipped { line, what: format!("{kind} ({version}) is no policy; skipped") };
    }
    let field = if kind.is_empty() { "kind" } else { "apiVersion" };
    let reason = "is missing; write apiVersion: cilium.io/v2 and kind: CiliumNetworkPolicy".to_owned();
    errors.push(FieldError { line, field: field.to_owned(), reason });
    Document::Unattributable { line, errors }
}

/// Namespace and name; `None` without a name.
fn key(root: &Node, kind: Kind, errors: &mut Vec<FieldError>) -> Option<PolicyKey> {
    let metadata = root.get("metadata");
    let text = |key: &str| metadata.and_then(|metadata| metadata.get(key)).and_then(Node::text);
    let Some(name) = text("name").filter(|name| !name.is_empty()) else {
        let line = metadata.map_or(root.line, |metadata| metadata.line);
        let reason = "is missing; every policy needs a name".to_owned();
        errors.push(FieldError { line, field: "metadata.name".to_owned(), reason });
        return None;
    };
    let cluster_wide = matches!(kind, Kind::CiliumClusterwideNetworkPolicy | Kind::GlobalNetworkPolicy);
    let namespace = if cluster_wide { "" } else { text("namespace").unwrap_or("default") };
    Some(PolicyKey { kind, namespace: namespace.to_owned(), name: name.to_owned() })
}

#[cfg(test)]
mod tests;
