//! HTTP rules that nobody asks: another rule opens their port for the same peers, or denies it.
//!
//! Must never tell of a rule that decides anything: where it is not certain that one thing covers another, it does not.
//! Start at [`port_rule`].

use super::{FindingKind, Findings, Place};
use crate::{
    manifest::Policy,
    policy::{Cidr, Effect, Entity, Entry, Peers, Port, PortNumber, PortRule, Section},
    selector::{Requirement, Selector},
    verdict::Protocol,
};

/// What another entry does to a port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Opened,
    Denied,
}

/// Tells of each port of `asked` for which its HTTP rules decide nothing.
pub(super) fn port_rule(policies: &[&Policy], place: &Place<'_>, asked: &PortRule, findings: &mut Findings) {
    // A rule that edits requests does so on an open port too.
    let acts = asked.http.iter().flatten().any(|rule| rule.acts());
    let fates = if acts { &[Fate::Denied][..] } else { &[Fate::Denied, Fate::Opened] };
    for port in &asked.ports {
        let text = fates.iter().copied().find_map(|fate| {
            let (policy, entry) = others(policies, place).find(|(_, section, entry)| {
                !std::ptr::eq(*entry, place.entry)
                    && does(section, entry, port) == Some(fate)
                    && peers_cover(&entry.peers, &place.entry.peers)
            })
            .map(|(policy, _, entry)| (policy, entry))?;
            let (key, path, line) = (&policy.key, &entry.path, entry.line.0);
            let port = shown(port);
            Some(match fate {
                Fate::Denied => format!(
                    "decides nothing on port {port}: {key} {path} (line {line}) denies every request; remove one of the two"
                ),
                Fate::Opened => format!(
                    "decides nothing on port {port}: {key} {path} (line {line}) allows every request; remove one of the two"
                ),
            })
        });
        if let Some(text) = text {
            findings.add(asked.line, &format!("{}.rules", asked.path), FindingKind::Shadowed, text);
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

/// What an entry does to all requests of a port.
fn does(section: &Section, entry: &Entry, port: &Port) -> Option<Fate> {
    let fate = if entry.effect == Effect::Deny { Fate::Denied } else { Fate::Opened };
    let Some(port_rules) = &entry.ports else { return Some(fate) };
    // Without default deny, HTTP rules show requests and restrict none.
    let whole = |rule: &&PortRule| rule.http.is_none() || !section.default_deny;
    let covers = |rule: &PortRule| rule.ports.is_empty() || rule.ports.iter().any(|wider| port_covers(wider, port));
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
        PortNumber::Number(number) => number.to_string(),
        PortNumber::Range(first, last) => format!("{first}-{last}"),
        PortNumber::Name(name) => name.clone(),
        PortNumber::Type(number) => number.to_string(),
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
    wider == cidr || (wider.except.is_empty() && wider.net.contains(&cidr.net) && wider.pods == cidr.pods)
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
