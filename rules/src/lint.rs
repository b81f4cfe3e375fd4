//! What is valid and yet hardly meant: rules without effect, patterns that match less or more than they seem to.
//!
//! Owns the findings and their words. Must never refuse a policy nor change what it means, and tells only what is certain.
//! Start at [`lint`].

use std::fmt;

use crate::{
    cidr_group::KnownGroups,
    identity::Identities,
    manifest::{FieldError, Policy},
    policy::{Effect, Entry, Line, Peers, Rule},
    verdict::Direction,
};

mod calico;
mod http;
mod pattern;
mod peers;
mod shadow;

/// What a finding is about: a stable word each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// A port or message that another rule denies, or HTTP rules of a port that another one opens as a whole.
    Shadowed,
    /// A path that does not match once a query follows.
    NoQuery,
    /// A method that admits GET and not HEAD.
    NoHead,
    /// A dot that means any character where a dot seems to be meant.
    AnyCharacter,
    /// Nothing can match.
    NeverMatches,
    /// An entry with ports that is about nobody.
    NoPeers,
    /// A CIDR group that is not among the policies.
    NoGroup,
    /// CIDR groups by what they must not be: addresses of no group too.
    EveryAddress,
    /// Rules for a direction that `policyTypes` leaves out.
    NoEffect,
    /// A selector that selects nothing of the configuration.
    SelectsNothing,
    /// A rule that asks for what is not known when it is asked.
    NotKnown,
    /// A path that is compared in another form than it is written in.
    NormalForm,
    /// A policy of a tier that was not given.
    NoTier,
    /// Policies of one tier and one order that say different things of the same.
    SameOrder,
}

impl FindingKind {
    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Shadowed => "shadowed",
            Self::NoQuery => "no-query",
            Self::NoHead => "no-head",
            Self::AnyCharacter => "any-character",
            Self::NeverMatches => "never-matches",
            Self::NoPeers => "no-peers",
            Self::NoGroup => "no-group",
            Self::EveryAddress => "every-address",
            Self::NoEffect => "no-effect",
            Self::SelectsNothing => "selects-nothing",
            Self::NotKnown => "not-known",
            Self::NormalForm => "normal-form",
            Self::NoTier => "no-tier",
            Self::SameOrder => "same-order",
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One thing that is hardly meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which of the policies that were given.
    pub policy: usize,
    /// Line in its text, from 1.
    pub line: usize,
    /// `spec.egress[0].toPorts[0].rules.http[0].path`.
    pub field: String,
    /// What it is about.
    pub kind: FindingKind,
    /// What is so, and what to write instead.
    pub text: String,
}

/// Everything about `policies` that is hardly meant, in their order, by line. `known`: who there is, when that is known.
#[must_use]
pub fn lint(policies: &[&Policy], known: Option<&Identities>) -> Vec<Finding> {
    let mut findings = Findings { policy: 0, found: Vec::new() };
    let groups = KnownGroups::of_policies(policies.iter().copied());
    let of_calico = calico::Given::of(policies, known);
    let others = shadow::Others::new(policies);
    for (index, policy) in policies.iter().enumerate() {
        findings.policy = index;
        for FieldError { line, field, reason } in groups.unmet(policy) {
            let kind = FindingKind::NoGroup;
            findings.found.push(Finding { policy: index, line, field, kind, text: reason });
        }
        calico::policy(policy, &of_calico, &mut findings);
        for rule in &policy.rules {
            if let Some(identities) = known {
                peers::subject(rule, identities, &mut findings);
            }
            for direction in [Direction::Ingress, Direction::Egress] {
                section(&others, rule, direction, known, &mut findings);
            }
        }
    }
    findings.found.sort_by_key(|finding| (finding.policy, finding.line));
    findings.found
}

fn section(
    others: &shadow::Others<'_>,
    rule: &Rule,
    direction: Direction,
    known: Option<&Identities>,
    findings: &mut Findings,
) {
    let section = rule.section(direction);
    if let Some(line) = section.without_effect {
        let (field, name) = match direction {
            Direction::Ingress => ("ingress", "Ingress"),
            Direction::Egress => ("egress", "Egress"),
        };
        let text = format!("has no effect: policyTypes leaves {name} out; add it there, or remove these rules");
        findings.add(line, field, FindingKind::NoEffect, text);
    }
    for entry in &section.entries {
        if entry.peers == Peers::Nobody && entry.ports.is_some() {
            let does = if entry.effect == Effect::Allow { "allows" } else { "denies" };
            let text = format!(
                "{does} nobody: a list of peers is empty; name peers, or remove the list for everybody, or toPorts"
            );
            findings.add(entry.line, &entry.path, FindingKind::NoPeers, text);
        }
        peers::groups(entry, findings);
        if let Some(identities) = known {
            peers::entry(entry, identities, findings);
        }
        of_ports(others, &Place { rule, entry, direction }, findings);
    }
}

/// An entry, and what it stands in.
struct Place<'p> {
    rule: &'p Rule,
    entry: &'p Entry,
    direction: Direction,
}

fn of_ports(others: &shadow::Others<'_>, place: &Place<'_>, findings: &mut Findings) {
    for port_rule in place.entry.ports.iter().flatten() {
        if place.entry.effect == Effect::Allow {
            shadow::port_rule(others, place, port_rule, findings);
        }
        let Some(rules) = &port_rule.http else { continue };
        for rule in rules {
            http::rule(rule, rules, findings);
        }
    }
}

/// Collects what is found about one policy after the other.
struct Findings {
    policy: usize,
    found: Vec<Finding>,
}

impl Findings {
    /// `path`: within the spec, as records name it.
    fn add(&mut self, line: Line, path: &str, kind: FindingKind, text: impl Into<String>) {
        let field = in_document(path);
        self.found.push(Finding { policy: self.policy, line: line.0, field, kind, text: text.into() });
    }
}

/// `egress[0]` → `spec.egress[0]`; what is of `specs` says so itself.
pub(crate) fn in_document(path: &str) -> String {
    if path.is_empty() {
        "spec".to_owned()
    } else if path.starts_with("specs[") {
        path.to_owned()
    } else {
        format!("spec.{path}")
    }
}

#[cfg(test)]
mod tests;
