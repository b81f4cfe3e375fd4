//! Rules that decide nothing: another one denies what they allow, or opens the port whose requests they ask for.
//!
//! Must never tell of a rule that decides anything: where it is not certain that one thing covers another, it does not.
//! Start at [`port_rule`].

use super::{FindingKind, Findings, Place};
use crate::{
    manifest::Policy,
    policy::{Addresses, Cidr, Effect, Entity, Entry, Peers, Port, PortNumber, PortRule, Section},
    selector::{Requirement, Selector},
    verdict::Protocol,
};

/// What another entry does to a port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Opened,
    Denied,
}

/// Tells of each port or message of an allow for which `asked` decides nothing.
pub(super) fn port_rule(policies: &[&Policy], place: &Place<'_>, asked: &PortRule, findings: &mut Findings) {
    // A rule that edits requests does so on an open port too. One without requests may stand beside its like.
    let restricts = asked.http.as_ref().is_some_and(|rules| !rules.iter().any(|rule| rule.acts()));
    let fates = if restricts { &[Fate::Denied, Fate::Opened][..] } else { &[Fate::Denied] };
    let (what, path) = match &asked.http {
        Some(_) => ("every request", format!("{}.rules", asked.path)),
        None => ("it", asked.path.clone()),
    };
    for port in &asked.ports {
        let text = fates.iter().copied().find_map(|fate| {
            let (policy, entry) = others(policies, place)
                .find(|(policy, section, entry)| {
                    // What is audited denies nothing.
                    let is_told = policy.audit && fate == Fate::Denied;
                    let is_other = !is_told && !std::ptr::eq(*entry, place.entry);
                    is_other
                        && does(section, entry, port) == Some(fate)
                        && peers_cover(&entry.peers, &place.entry.peers)
                })
                .map(|(policy, _, entry)| (policy, entry))?;
            let (key, other, line) = (&policy.key, &entry.path, entry.line.0);
            let does = match fate {
                Fate::Denied => "denies",
                Fate::Opened => "allows",
            };
            let port = shown(port);
            Some(format!("decides nothing on {port}: {key} {other} (line {line}) {does} {what}; remove one of the two"))
        });
        if let Some(text) = text {
            findings.add(asked.line, &path, FindingKind::Shadowed, text);
        }
    }
}

/// Entries of all policies whose subject is at least that of `place`, of the same direction.
fn others<'p>(
    policies: &'p [&'p Policy],
    place: &'p Place<'_>,
) -> impl Iterator<Item = (&'p Policy, &'p Section, &'p Entry)> {
    policies.iter().flat_map(move |policy| {
        let rules = policy.rules.iter().filter(|rule| selects_all_of(&rule.subject, &place.rule.subject));
        rules.flat_map(move |rule| {
            let section = rule.section(place.direction);
            section.entries.iter().map(move |entry| (*policy, section, entry))
        })
    })
}

/// What an entry does to all of a port.
fn does(section: &Section, entry: &Entry, port: &Port) -> Option<Fate> {
    let fate = if entry.effect == Effect::Deny { Fate::Denied } else { Fate::Opened };
    let Some(port_rules) = &entry.ports else { return Some(fate) };
    // Without default deny, HTTP rules show requests and restrict none.
    let whole = |rule: &&PortRule| rule.http.is_none() || !section.default_deny;
    let covers = |rule: &PortRule| rule.ports.iter().any(|wider| port_covers(wider, port));
    port_rules.iter().filter(whole).any(covers).then_some(fate)
}

fn port_covers(wider: &Port, port: &Port) -> bool {
    let any = wider.protocol == Protocol::Any && !port.protocol.has_types();
    let protocol = any || wider.protocol == port.protocol;
    let number = match (&wider.number, &port.number) {
        (PortNumber::Number(0), _) => true,
        (PortNumber::Number(wider), PortNumber::Number(number)) => wider == number,
        (PortNumber::Range(first, last), PortNumber::Number(number)) => (first..=last).contains(&number),
        (PortNumber::Range(first, last), PortNumber::Range(from, to)) => first <= from && to <= last,
        (PortNumber::Name(wider), PortNumber::Name(name)) => wider == name,
        (PortNumber::Type(wider), PortNumber::Type(number)) => wider == number,
        (PortNumber::Number(_), PortNumber::Range(..) | PortNumber::Name(_))
        | (PortNumber::Range(..), PortNumber::Name(_))
        | (PortNumber::Name(_), PortNumber::Number(_) | PortNumber::Range(..))
        | (PortNumber::Type(_), _)
        | (_, PortNumber::Type(_)) => false,
    };
    protocol && number
}

fn shown(port: &Port) -> String {
    let number = match &port.number {
        PortNumber::Number(number) => format!("port {number}"),
        PortNumber::Range(first, last) => format!("port {first}-{last}"),
        PortNumber::Name(name) => format!("port {name}"),
        PortNumber::Type(number) => format!("type {number}"),
    };
    format!("{number}/{}", port.protocol)
}

fn peers_cover(wider: &Peers, peers: &Peers) -> bool {
    match (wider, peers) {
        (_, Peers::Nobody) | (Peers::Nobody, _) => false,
        (Peers::Any, _) => true,
        (Peers::Entities(entities), _) if entities.contains(&Entity::All) => true,
        (Peers::Endpoints(wider), Peers::Endpoints(selectors)) => {
            selectors.iter().all(|selector| wider.iter().any(|wider| selects_all_of(wider, selector)))
        }
        (Peers::Cidrs(wider), Peers::Cidrs(cidrs)) => {
            cidrs.iter().all(|cidr| wider.iter().any(|wider| holds_all_of(wider, cidr)))
        }
        (Peers::Entities(wider), Peers::Entities(entities)) => entities.iter().all(|entity| wider.contains(entity)),
        (Peers::Services(wider), Peers::Services(services)) => services.iter().all(|service| wider.contains(service)),
        (Peers::Endpoints(_) | Peers::Cidrs(_) | Peers::Entities(_) | Peers::Services(_), _) => false,
    }
}

fn holds_all_of(wider: &Cidr, cidr: &Cidr) -> bool {
    let holds = match (&wider.of, &cidr.of) {
        (Addresses::Net(wider), Addresses::Net(net)) => wider.contains(net),
        (wider, of) => wider == of,
    };
    wider == cidr || (wider.except.is_empty() && holds && wider.pods == cidr.pods)
}

/// Each requirement of the wider one is one of the narrower, or follows from it.
fn selects_all_of(wider: &Selector, narrower: &Selector) -> bool {
    wider.requirements.iter().all(|wanted| narrower.requirements.iter().any(|given| follows(wanted, given)))
}

fn follows(wanted: &Requirement, given: &Requirement) -> bool {
    match (wanted, given) {
        (Requirement::Exists(key), Requirement::Is(known, _) | Requirement::In(known, _)) => key == known,
        (Requirement::In(key, values), Requirement::Is(known, value)) => key == known && values.contains(value),
        _ => wanted == given,
    }
}
