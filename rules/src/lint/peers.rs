//! Selectors that select nothing of what is known, or more than they seem to.
//!
//! Must never tell of addresses and entities: nobody lists them. Start at [`entry`].

use super::{FindingKind, Findings};
use crate::{
    identity::Identities,
    policy::{Addresses, Entry, Peers, Rule},
    selector::Selector,
};

/// Whom a rule is about.
pub(super) fn subject(rule: &Rule, identities: &Identities, findings: &mut Findings) {
    if !selects(&rule.subject, identities) {
        let text = format!("selects no pod of the configuration: {}; compare the labels", rule.subject.summary());
        findings.add(rule.line, &place(rule), FindingKind::SelectsNothing, text);
    }
}

/// `specs[1]`, as its entries say; empty for the one spec of a document.
fn place(rule: &Rule) -> String {
    let entry = rule.ingress.entries.iter().chain(&rule.egress.entries).next();
    let spec = entry.filter(|entry| entry.path.starts_with("specs[")).and_then(|entry| entry.path.split_once('.'));
    spec.map_or(String::new(), |(spec, _)| spec.to_owned())
}

/// Each selector of an entry's peers.
pub(super) fn entry(entry: &Entry, identities: &Identities, findings: &mut Findings) {
    let selectors = match &entry.peers {
        Peers::Endpoints(selectors) => selectors.as_slice(),
        Peers::Any | Peers::Nobody | Peers::Cidrs(_) | Peers::Entities(_) | Peers::Services(_) => &[],
    };
    for selector in selectors.iter().filter(|selector| !selects(selector, identities)) {
        let text = format!("a peer selects no pod of the configuration: {}; compare the labels", selector.summary());
        findings.add(entry.line, &entry.path, FindingKind::SelectsNothing, text);
    }
}

/// CIDR groups that nothing is asked of which only a group can have.
pub(super) fn groups(entry: &Entry, findings: &mut Findings) {
    let Peers::Cidrs(cidrs) = &entry.peers else { return };
    for cidr in cidrs.iter().filter(|cidr| matches!(cidr.of, Addresses::Groups(_)) && !cidr.of.ask_for_groups()) {
        let text = format!(
            "{}: selects addresses of no group too, so every one outside of the cluster, as in Cilium; ask for a label",
            cidr.of.text()
        );
        findings.add(entry.line, &entry.path, FindingKind::EveryAddress, text);
    }
}

fn selects(selector: &Selector, identities: &Identities) -> bool {
    identities.iter().any(|(_, labels)| selector.matches(labels))
}
