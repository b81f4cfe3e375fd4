//! Text → policies. What is not enforced is refused by name, never ignored.
//!
//! Owns the shape of manifests. All errors of a text are told at once, each with its line. Must never let the fault of
//! one policy reach another. Start at [`parse`].

use std::sync::Arc;

use crate::{
    calico::manifest::{self as calico, Object},
    cidr_group::CidrGroup,
    pattern::MAX_AUTOMATA_BYTES,
    policy::{Kind, Line, PolicyKey, Rule},
    selector::{is_dns_name, quoted},
};

mod cidr_group;
mod cilium;
mod fqdn;
mod header_match;
mod icmp;
mod kind;
mod kubernetes;
mod peers;
mod port;
pub(crate) mod read;
mod scope;
mod selector;
mod tls;
pub(crate) mod yaml;

pub(crate) use self::scope::Scope;
pub use self::yaml::{MAX_DEPTH, MAX_DOCUMENTS, MAX_TEXT_BYTES, MAX_VALUES};
use self::{cilium::Home, kind::Class, read::Reader, yaml::Node};

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
    pub(crate) line: Line,
    /// Of Cilium's kinds, and of Kubernetes' own.
    pub(crate) rules: Vec<Rule>,
    /// Of Calico's kinds.
    pub(crate) calico: Option<Object>,
    /// When it is none itself, but a group of addresses.
    pub(crate) cidr_group: Option<CidrGroup>,
    /// What it denies passes, and is told: [`AUDIT`].
    pub(crate) audit: bool,
}

impl Policy {
    /// Its name.
    #[must_use]
    pub fn key(&self) -> &Arc<PolicyKey> {
        &self.key
    }

    /// Line of its document, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line.0
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
    pub(crate) scopes: Vec<Scope>,
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

/// Annotation of a policy whose denials are told but not enforced: `"true"`.
pub const AUDIT: &str = "l7proxy.io/audit";

/// Every document of `text`; a list is its items. What a text may cost is bounded: [`MAX_TEXT_BYTES`],
/// [`MAX_DOCUMENTS`], [`MAX_VALUES`], [`MAX_DEPTH`].
#[must_use]
pub fn parse(text: &str) -> Vec<Document> {
    let mut documents = Vec::new();
    for parsed in yaml::parse(text) {
        match parsed {
            Ok(root) => document(&root, None, &mut documents),
            Err(error) => documents.push(Document::Unattributable { line: error.line, errors: vec![error] }),
        }
    }
    documents
}

/// `item`: version and kind of the items of a list that says them once.
fn document(root: &Node, item: Option<&(String, String)>, documents: &mut Vec<Document>) {
    if root.is_null() {
        return;
    }
    let text = |key: &str| root.present(key).and_then(Node::text).unwrap_or_default();
    let (version, kind) = match (text("apiVersion"), text("kind"), item) {
        ("", "", Some((version, kind))) => (version.as_str(), kind.as_str()),
        (version, kind, _) => (version, kind),
    };
    match kind::classify(version, kind) {
        Class::Policy(kind, wrong) => documents.push(policy(root, kind, wrong)),
        Class::List { item } => list(root, item.as_ref(), documents),
        Class::Other => documents.push(other(root, version, kind)),
    }
}

fn list(root: &Node, item: Option<&(String, String)>, documents: &mut Vec<Document>) {
    let mut errors = Vec::new();
    let items = Reader::new(&mut errors, 0).list(root, "", "items");
    for node in items.unwrap_or_default() {
        document(node, item, documents);
    }
    if !errors.is_empty() {
        documents.push(Document::Unattributable { line: root.line, errors });
    }
}

fn policy(root: &Node, kind: Kind, wrong: Option<(&'static str, String)>) -> Document {
    let mut errors = Vec::new();
    root.faults("", &mut errors);
    if let Some((field, reason)) = wrong {
        let line = root.get(field).map_or(root.line, |node| node.line);
        errors.push(FieldError { line, field: field.to_owned(), reason });
    }
    let Some(key) = key(root, kind, &mut errors) else {
        return Document::Unattributable { line: root.line, errors };
    };
    let key = Arc::new(key);
    let mut reader = Reader::new(&mut errors, MAX_AUTOMATA_BYTES);
    reader.namespace.clone_from(&key.namespace);
    let mut cidr_group = None;
    let rules = match kind {
        Kind::CiliumNetworkPolicy => cilium::rules(root, Home::Namespace(&key.namespace), &mut reader),
        Kind::CiliumClusterwideNetworkPolicy => cilium::rules(root, Home::Cluster, &mut reader),
        Kind::NetworkPolicy => kubernetes::rules(root, &key.namespace, &mut reader),
        Kind::CiliumCidrGroup => {
            cidr_group = cidr_group::group(root, &key.name, &mut reader);
            Vec::new()
        }
        // Calico's come below; the others' kind is refused already.
        Kind::ClusterNetworkPolicy
        | Kind::AdminNetworkPolicy
        | Kind::BaselineAdminNetworkPolicy
        | Kind::CalicoNetworkPolicy
        | Kind::GlobalNetworkPolicy
        | Kind::Tier
        | Kind::NetworkSet
        | Kind::GlobalNetworkSet => Vec::new(),
    };
    let audit = audit(root, kind, &mut Reader::new(&mut errors, 0));
    let mut of_calico = None;
    if calico::has(kind) {
        match calico::object(root, &key, audit) {
            Ok(object) => of_calico = Some(object),
            Err(more) => errors.extend(more),
        }
    }
    if errors.is_empty() {
        let line = Line(root.line);
        return Document::Policy(Arc::new(Policy { key, line, rules, calico: of_calico, cidr_group, audit }));
    }
    errors.sort_by_key(|error| error.line);
    errors.dedup();
    let scopes = scope::scopes(root, &key);
    Document::Refused(Arc::new(Refused { key, line: root.line, errors, scopes }))
}

/// Other annotations are somebody else's.
fn audit(root: &Node, kind: Kind, reader: &mut Reader<'_>) -> bool {
    let annotations = root.present("metadata").and_then(|metadata| metadata.present("annotations"));
    let Some(node) = annotations.and_then(|annotations| annotations.present(AUDIT)) else { return false };
    let field = format!("metadata.annotations.{AUDIT}");
    let audit = match reader.scalar(node, &field) {
        Some("true") => true,
        Some("false") | None => false,
        Some(other) => {
            reader.error(node.line, &field, format!("{other:?} is not known; write \"true\" or \"false\""));
            false
        }
    };
    if audit && kind == Kind::CiliumCidrGroup {
        reader.error(node.line, &field, "a group of addresses denies nothing; write it to the policies that name it");
    } else if audit && matches!(kind, Kind::Tier | Kind::NetworkSet | Kind::GlobalNetworkSet) {
        let reason =
            format!("a {kind} denies nothing by itself; remove it, and write it in the policies that are meant");
        reader.error(node.line, &field, reason);
    }
    audit
}

fn other(root: &Node, version: &str, kind: &str) -> Document {
    let line = root.line;
    if let Some(what) = calico::not_enforced(version, kind) {
        return Document::Skipped { line, what };
    }
    if !version.is_empty() && !kind.is_empty() {
        return Document::Skipped {
            line,
            what: format!("{kind} ({version}) is not a kind that is enforced here; skipped"),
        };
    }
    let mut errors = Vec::new();
    root.faults("", &mut errors);
    let field = if kind.is_empty() { "kind" } else { "apiVersion" };
    let reason = "is missing; write apiVersion: cilium.io/v2 and kind: CiliumNetworkPolicy".to_owned();
    errors.push(FieldError { line, field: field.to_owned(), reason });
    Document::Unattributable { line, errors }
}

/// Namespace and name; `None` when they cannot be read: nobody could say which policy this is.
fn key(root: &Node, kind: Kind, errors: &mut Vec<FieldError>) -> Option<PolicyKey> {
    let metadata = root.get("metadata");
    let mut text = |key: &str, is_valid: fn(&str) -> bool| {
        let node = metadata.and_then(|metadata| metadata.present(key))?;
        let field = format!("metadata.{key}");
        let told = errors.len();
        Reader::new(errors, 0).scalar(node, &field);
        let text = node.text();
        if let Some(text) = text.filter(|text| errors.len() == told && !text.is_empty() && !is_valid(text)) {
            let reason = format!("{} is not a name; write lower case ASCII letters, digits and '-'", quoted(text));
            errors.push(FieldError { line: node.line, field, reason });
        }
        Some(text)
    };
    let name = text("name", is_dns_name).flatten();
    let namespace = if kind.is_cluster_wide() {
        Some("")
    } else {
        text("namespace", is_namespace).filter(|text| *text != Some("")).unwrap_or(Some("default"))
    };
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        let line = metadata.map_or(root.line, |metadata| metadata.line);
        let reason = "is missing; every policy needs a name".to_owned();
        errors.push(FieldError { line, field: "metadata.name".to_owned(), reason });
        return None;
    };
    Some(PolicyKey { kind, namespace: namespace?.to_owned(), name: name.to_owned() })
}

/// A DNS label.
fn is_namespace(text: &str) -> bool {
    text.len() <= 63 && !text.contains('.') && is_dns_name(text)
}

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod rejections;
#[cfg(test)]
mod tests;
