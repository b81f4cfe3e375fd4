//! Names of addresses that are no pod's: what records call them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};

use super::Config;

/// Names that one address may have: each of its records repeats them.
const MAX_NAMES: usize = 16;

/// A domain name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Domain {
    /// `api.example.com`, as Hubble compares names: in lower case, without a dot at its end.
    pub name: String,
    /// What it stands for.
    pub addresses: Vec<IpAddr>,
}

impl Domain {
    fn validate(&self, place: &str, owners: &BTreeMap<IpAddr, String>) -> Vec<String> {
        let mut problems = Vec::new();
        if !is_name(&self.name) {
            problems.push(format!(
                "{place}.name: {:?} is no domain name; write for example api.example.com, in lower case and without a \
                 dot at its end",
                self.name
            ));
        }
        if self.addresses.is_empty() {
            problems.push(format!("{place}.addresses: nobody is called so; give at least one"));
        }
        for address in &self.addresses {
            if let Some(owner) = owners.get(&address.to_canonical()) {
                problems.push(format!("{place}.addresses: {address} is {owner}, which has a name; leave it out here"));
            }
        }
        problems
    }
}

/// What is wrong; `owners`: of addresses that are somebody's.
pub(super) fn problems(domains: &[Domain], owners: &BTreeMap<IpAddr, String>) -> Vec<String> {
    let each = domains.iter().enumerate().flat_map(|(index, one)| one.validate(&format!("names[{index}]"), owners));
    let many = by_address(domains).into_iter().filter(|(_, names)| names.len() > MAX_NAMES).map(|(address, names)| {
        let count = names.len();
        format!("names: {address} has {count} names, more than {MAX_NAMES}; leave out those that nobody looks for")
    });
    each.chain(many).collect()
}

/// Names of each address.
fn by_address(domains: &[Domain]) -> BTreeMap<IpAddr, BTreeSet<&str>> {
    let mut names: BTreeMap<IpAddr, BTreeSet<&str>> = BTreeMap::new();
    for domain in domains {
        for address in &domain.addresses {
            names.entry(address.to_canonical()).or_default().insert(&domain.name);
        }
    }
    names
}

impl Config {
    /// Names of each address that has some, sorted.
    #[must_use]
    pub fn names_by_address(&self) -> BTreeMap<IpAddr, Vec<String>> {
        let owned = |names: BTreeSet<&str>| names.into_iter().map(str::to_owned).collect();
        by_address(&self.names).into_iter().map(|(address, names)| (address, owned(names))).collect()
    }
}

/// RFC 1035 section 2.3.4, with the underscore that DNS has in practice.
fn is_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(is_letter);
    name.len() <= 253 && name.split('.').all(is_label)
}
