//! `CiliumCIDRGroup` of `cilium.io/v2` and `v2alpha1`.
//!
//! Owns its form. All of a group or nothing of it: must never leave an address out. Start at [`group`].

use std::collections::BTreeMap;

use super::{
    peers,
    read::{Reader, join},
    yaml::{Node, Value},
};
use crate::{
    cidr_group::CidrGroup,
    selector::{key_problem, value_problem},
};

/// Labels that Cilium gives itself, and does not see on a group.
const OF_CILIUM: &str = "io.cilium.k8s";

/// The group of a document; `None` when nothing of it can be read.
pub(super) fn group(root: &Node, name: &str, reader: &mut Reader<'_>) -> Option<CidrGroup> {
    reader.keys(root, "", &["apiVersion", "kind", "metadata", "spec"], &[]);
    let labels = root.present("metadata").and_then(|metadata| metadata.present("labels"));
    let labels = labels.map(|labels| self::labels(labels, reader)).unwrap_or_default();
    let Some(spec) = root.present("spec") else {
        reader.error(root.line, "spec", "is missing; write externalCIDRs under it");
        return None;
    };
    if !reader.keys(spec, "spec", &["externalCIDRs"], &[]) {
        return None;
    }
    if spec.present("externalCIDRs").is_none() {
        reader.error(spec.line, "spec.externalCIDRs", "is missing; write a list, [] for no address");
    }
    let list = reader.list(spec, "spec", "externalCIDRs").unwrap_or_default();
    Some(CidrGroup { name: name.to_owned(), labels, nets: peers::nets(list, "spec.externalCIDRs", reader) })
}

fn labels(labels: &Node, reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    let path = "metadata.labels";
    let mut read = BTreeMap::new();
    let Value::Map(entries) = &labels.value else {
        reader.mistyped(labels, path, "a map, for example {team: a}");
        return read;
    };
    for (key, value) in entries {
        let path = join(path, &key.text);
        let Some(text) = reader.scalar(value, &path) else { continue };
        // A colon would part a source from the key, which Kubernetes' labels have not.
        let sourced = key.text.contains(':').then(|| format!("label key {:?} has a colon; remove it", key.text));
        let problem = sourced.or_else(|| key_problem(&key.text)).or_else(|| value_problem(text));
        match problem {
            Some(problem) => reader.error(key.line, &path, problem),
            None if key.text.starts_with(OF_CILIUM) => {}
            None => drop(read.insert(key.text.clone(), text.to_owned())),
        }
    }
    read
}
