//! Policies from text, for tests.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    manifest::Object,
    party::{Endpoint, NetworkSets},
    policy::{Policy, Tier},
};
use crate::manifest::{Document, parse};

/// What the documents of a text hold; all of them must be valid.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) policies: Vec<Arc<Policy>>,
    pub(crate) tiers: Vec<Tier>,
    pub(crate) sets: NetworkSets,
}

pub(crate) fn parsed(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    for document in parse(text) {
        let Document::Policy(valid) = document else { panic!("{document:?}\n{text}") };
        match valid.calico.as_ref().unwrap_or_else(|| panic!("not of Calico's kinds: {text}")) {
            Object::Policy(policy) => parsed.policies.push(Arc::clone(policy)),
            Object::Tier(tier) => parsed.tiers.push(tier.clone()),
            Object::NetworkSet(set) => parsed.sets.sets.push(set.clone()),
        }
    }
    parsed
}

pub(crate) fn document(kind: &str, metadata: &str, spec: &str) -> String {
    format!("---\napiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata: {metadata}\nspec: {spec}\n")
}

/// A pod with these labels, of a namespace that carries the label `of` with its name.
pub(crate) fn pod(namespace: &str, account: &str, labels: &[(&str, &str)]) -> Endpoint {
    let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    Endpoint {
        labels: map(labels),
        namespace: Some(namespace.to_owned()),
        namespace_labels: map(&[("of", namespace)]),
        account: Some(account.to_owned()),
        named_ports: Vec::new(),
    }
}
