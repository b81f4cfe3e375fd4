//! Rules that decide nothing: another one denies what they allow, or opens the port whose requests they ask for.
//!
//! Must never tell of a rule that decides anything: where it is not certain that one thing covers another, it does not.
//! Start at [`port_rule`].

use std::{collections::HashMap, ptr};

use super::{FindingKind, Findings, Place};
use crate::{
    manifest::Policy,
    policy::{Addresses, Cidr, Effect, Entity, Entry, Peers, Port, PortNumber, PortRule, Section},
    selector::{Requirement, Selector},
    verdict::{Direction, Protocol},
};

/// What another entry does to a port.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Fate {
    Opened,
    Denied,
}

/// An entry that may open or deny a port as a whole.
struct Other<'p> {
    policy: &'p Policy,
    subject: &'p Selector,
    section: &'p Section,
    entry: &'p Entry,
}

/// Direction, what is done, and a requirement of the subject; none where that has no requirement to be found by.
type Bucket = (Direction, Fate, Option<String>);

/// Every such entry, by what its subject asks for: there may be tens of thousands of policies.
pub(super) struct Others<'p> {
    all: Vec<Other<'p>>,
    /// Places in `all`, ascending; each entry is in one bucket.
    buckets: HashMap<Bucket, Vec<usize>>,
}

impl<'p> Others<'p> {
    pub(super) fn new(policies: &[&'p Policy]) -> Self {
        let mut often: HashMap<String, usize> = HashMap::new();
        let rules = || policies.iter().flat_map(|policy| policy.rules.iter().map(move |rule| (*policy, rule)));
        for text in rules().flat_map(|(_, rule)| texts(&rule.subject)) {
            let count = often.entry(text).or_default();
            *count = count.saturating_add(1);
        }
        let mut others = Self { all: Vec::new(), buckets: HashMap::new() };
        for (policy, rule) in rules() {
            let rarest = texts(&rule.subject).min_by_key(|text| often.get(text).copied());
            for direction in [Direction::Ingress, Direction::Egress] {
                let section = rule.section(direction);
                for entry in section.entries.iter().filter(|entry| is_whole(section, entry)) {
                    let bucket = (direction, fate(entry), rarest.clone());
                    others.buckets.entry(bucket).or_default().push(others.all.len());
                    others.all.push(Other { policy, subject: &rule.subject, section, entry });
                }
            }
        }
        others
    }

    /// The first whose subject is at least that of `place`, of the same direction, and that does this to a port.
    fn find(&self, place: &Place<'_>, fate: Fate, port: &Port) -> Option<&Other<'p>> {
        let is_it = |other: &Other<'_>| {
            // What is audited denies nothing.
            let is_told = other.policy.audit && fate == Fate::Denied;
            !is_told
                && !ptr::eq(other.entry, place.entry)
                && selects_all_of(other.subject, &place.rule.subject)
                && covers(other.section, other.entry, port)
                && peers_cover(&other.entry.peers, &place.entry.peers)
        };
        let keys = texts(&place.rule.subject).map(Some).chain([None]);
        let found = keys.filter_map(|key| {
            let places = self.buckets.get(&(place.direction, fate, key))?;
            places.iter().copied().find(|at| self.all.get(*at).is_some_and(is_it))
        });
        self.all.get(found.min()?)
    }
}

/// Requirements that follow from nothing but themselves: a subject without one of these is no narrower one.
fn texts(selector: &Selector) -> impl Iterator<Item = String> {
    let alone = |requirement: &&Requirement| match requirement {
        Requirement::Is(..) | Requirement::NotIn(..) | Requirement::DoesNotExist(_) => true,
        Requirement::In(..) | Requirement::Exists(_) => false,
    };
    selector.requirements.iter().filter(alone).map(|requirement| format!("{requirement:?}"))
}

/// Tells of each port or message of an allow for which `asked` decides nothing.
pub(super) fn port_rule(others: &Others<'_>, place: &Place<'_>, asked: &PortRule, findings: &mut Findings) {
    // A rule that edits requests does so on an open port too. One without requests may stand beside its like.
    let restricts = asked.http.as_ref().is_some_and(|rules| !rules.iter().any(|rule| rule.acts()));
    let fates = if restricts { &[Fate::Denied, Fate::Opened][..] } else { &[Fate::Denied] };
    let (what, path) = match &asked.http {
        Some(_) => ("every request", format!("{}.rules", asked.path)),
        None => ("it", asked.path.clone()),
    };
    for port in &asked.ports {
        let text = fates.iter().copied().find_map(|fate| {
            let Other { policy, entry, .. } = others.find(place, fate, port)?;
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

fn fate(entry: &Entry) -> Fate {
    if entry.effect == Effect::Deny { Fate::Denied } else { Fate::Opened }
}

/// What an entry says of ports as a whole; `None`: of every port.
fn whole<'e>(section: &Section, entry: &'e Entry) -> Option<impl Iterator<Item = &'e PortRule>> {
    // Without default deny, HTTP rules show requests and restrict none.
    let restricts = section.default_deny;
    let rules = entry.ports.as_ref()?;
    Some(rules.iter().filter(move |rule| rule.http.is_none() || !restricts))
}

fn is_whole(section: &Section, entry: &Entry) -> bool {
    whole(section, entry).is_none_or(|mut rules| rules.next().is_some())
}

/// Whether an entry opens or denies all of a port.
fn covers(section: &Section, entry: &Entry, port: &Port) -> bool {
    let covers = |rule: &PortRule| rule.ports.iter().any(|wider| port_covers(wider, port));
    whole(section, entry).is_none_or(|mut rules| rules.any(covers))
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
