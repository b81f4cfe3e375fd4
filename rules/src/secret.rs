//! Secrets that header matches name, and what they hold.
//!
//! Owns their values. Must never show one: not in `Debug`, not in an error. Start at [`Secrets`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use http::HeaderValue;

use crate::{
    http_rule::HttpRule,
    manifest::Policy,
    policy::{InForce, PortRule, Rule, Section},
};

/// What stands in the place of a secret value.
pub(crate) const REDACTED: &str = "[redacted]";

/// Name of a secret. Shown as `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What a secret holds: a header's value.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(HeaderValue);

impl Secret {
    /// `None`: it is empty, or no request could carry it in a header.
    #[must_use]
    pub fn new(value: &Arc<[u8]>) -> Option<Self> {
        header_value(value).map(|mut value| {
            value.set_sensitive(true);
            Self(value)
        })
    }

    pub(crate) fn value(&self) -> &HeaderValue {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// A value that a header can have and that arrives as it is: no controls, no blank at its ends, not empty.
pub(crate) fn header_value(bytes: &[u8]) -> Option<HeaderValue> {
    let is_whole = !bytes.is_empty() && bytes.trim_ascii().len() == bytes.len();
    HeaderValue::from_bytes(bytes).ok().filter(|_| is_whole)
}

/// Every secret that is available.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<SecretName, Secret>);

impl Secrets {
    pub(crate) fn get(&self, name: &SecretName) -> Option<&Secret> {
        self.0.get(name)
    }
}

impl FromIterator<(SecretName, Secret)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (SecretName, Secret)>>(secrets: I) -> Self {
        Self(secrets.into_iter().collect())
    }
}

impl InForce {
    /// Every secret that it names.
    #[must_use]
    pub fn secrets(&self) -> BTreeSet<SecretName> {
        let rules = match self {
            Self::Policy(policy) => policy.rules.as_slice(),
            Self::Refused(_) => &[],
        };
        let entries = rules.iter().flat_map(|rule| rule.ingress.entries.iter().chain(&rule.egress.entries));
        let ports = entries.flat_map(|entry| entry.ports.iter().flatten());
        let matches = ports.flat_map(|ports| ports.http.iter().flatten()).flat_map(|rule| &rule.header_matches);
        matches.filter_map(|header| header.secret.clone()).collect()
    }

    /// The same policy with what its secrets hold. Those that are not in `secrets` are not available: where no value is
    /// given beside one, the header match never holds.
    #[must_use]
    pub fn with_secrets(&self, secrets: &Secrets) -> Self {
        match self {
            Self::Policy(policy) if !self.secrets().is_empty() => {
                let rules = policy.rules.iter().map(|rule| of_rule(rule, secrets)).collect();
                // Calico's kinds and groups name no secrets.
                Self::Policy(Arc::new(Policy {
                    key: Arc::clone(&policy.key),
                    rules,
                    calico: None,
                    cidr_group: None,
                    audit: policy.audit,
                    line: policy.line,
                }))
            }
            Self::Policy(_) | Self::Refused(_) => self.clone(),
        }
    }
}

fn of_rule(rule: &Rule, secrets: &Secrets) -> Rule {
    let mut rule = rule.clone();
    let of_section = |section: &mut Section| {
        for entry in &mut section.entries {
            entry.ports.iter_mut().flatten().for_each(|ports| of_ports(ports, secrets));
        }
    };
    of_section(&mut rule.ingress);
    of_section(&mut rule.egress);
    rule
}

fn of_ports(ports: &mut PortRule, secrets: &Secrets) {
    for rule in ports.http.iter_mut().flatten() {
        if rule.header_matches.iter().any(|header| header.secret.is_some()) {
            let header_matches = rule.header_matches.iter().map(|header| header.with_secrets(secrets)).collect();
            *rule = Arc::new(HttpRule { header_matches, ..HttpRule::clone(rule) });
        }
    }
}

#[cfg(test)]
mod tests;
