//! The fields of a rule: whether each holds of a packet, and how it is told to people.
//!
//! Owns the list of fields. Must never tell another field, or another value, than the one that decided. Start at
//! [`Rule::truth`].

use std::fmt::Display;

use super::{
    evaluate::Packet,
    party::{NetworkSets, Truth},
    policy::{ACCOUNT_PREFIX, Icmp, IpProtocol, IpVersion, NAME, NAMESPACE, NAMESPACE_PREFIX, Peer, Ports, Rule, Who},
    selector::Selector,
};
use crate::verdict::{Direction, MatchType};

/// Entries of a list that are told.
const MAX_TOLD: usize = 4;
/// Letters of an expression that are told.
const MAX_LETTERS: usize = 256;

/// A field that a rule may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Field {
    Protocol,
    NotProtocol,
    IpVersion,
    Icmp,
    NotIcmp,
    Source(Part),
    Destination(Part),
}

/// A field that a peer may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    Ports,
    NotPorts,
    Nets,
    NotNets,
    /// All of [`WhoField`]: they must hold of the same one.
    Who,
    NotSelector,
}

/// What may be asked of an endpoint or network set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhoField {
    Selector,
    Namespace,
    AccountNames,
    AccountSelector,
}

impl Field {
    /// Each of them: what is asked quickly comes first.
    pub(crate) const ALL: [Self; 17] = [
        Self::Protocol,
        Self::NotProtocol,
        Self::IpVersion,
        Self::Icmp,
        Self::NotIcmp,
        Self::Source(Part::Ports),
        Self::Source(Part::NotPorts),
        Self::Destination(Part::Ports),
        Self::Destination(Part::NotPorts),
        Self::Source(Part::Nets),
        Self::Source(Part::NotNets),
        Self::Destination(Part::Nets),
        Self::Destination(Part::NotNets),
        Self::Source(Part::Who),
        Self::Source(Part::NotSelector),
        Self::Destination(Part::Who),
        Self::Destination(Part::NotSelector),
    ];

    /// Whether it says who an end is, rather than how they talk.
    pub(crate) fn is_of_peer(self) -> bool {
        match self {
            Self::Source(part) | Self::Destination(part) => !matches!(part, Part::Ports | Part::NotPorts),
            Self::Protocol | Self::NotProtocol | Self::IpVersion | Self::Icmp | Self::NotIcmp => false,
        }
    }
}

impl WhoField {
    pub(crate) const ALL: [Self; 4] = [Self::Selector, Self::Namespace, Self::AccountNames, Self::AccountSelector];

    /// As manifests have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Selector => "selector",
            Self::Namespace => "namespaceSelector",
            Self::AccountNames => "serviceAccounts.names",
            Self::AccountSelector => "serviceAccounts.selector",
        }
    }
}

/// A field's name in manifests, and what the rule wants there.
pub(crate) type Told = (String, String);

impl Rule {
    /// What it names of a connection of this direction.
    pub(crate) fn match_type(&self, direction: Direction) -> MatchType {
        let Peer { who, not_selector, nets, not_nets, .. } = match direction {
            Direction::Ingress => &self.source,
            Direction::Egress => &self.destination,
        };
        let peers = who.is_some() || not_selector.is_some() || nets.is_some() || not_nets.is_some();
        let types = self.icmp.is_some() || self.not_icmp.is_some();
        let ports = self.destination.ports.is_some() || self.destination.not_ports.is_some();
        MatchType::new(peers, self.protocol.is_some() || self.not_protocol.is_some(), ports || types)
    }

    /// Whether it is about this packet, requests aside.
    pub(crate) fn holds(&self, packet: &Packet<'_>, sets: &NetworkSets) -> Truth {
        let mut all = Truth::Yes;
        for field in Field::ALL {
            all = all.min(self.truth(field, packet, sets));
            if all == Truth::No {
                break;
            }
        }
        all
    }

    /// Whether one field holds; what is absent does.
    pub(crate) fn truth(&self, field: Field, packet: &Packet<'_>, sets: &NetworkSets) -> Truth {
        match field {
            Field::Protocol => self.carrier().is_none_or(|protocol| protocol == packet.protocol).into(),
            Field::NotProtocol => self.not_protocol.is_none_or(|protocol| protocol != packet.protocol).into(),
            Field::IpVersion => self.ip_version.map_or(Truth::Yes, |version| packet.is_of(version)),
            Field::Icmp => self.icmp.map_or(Truth::Yes, |icmp| packet.has_icmp(icmp)),
            Field::NotIcmp => self.not_icmp.map_or(Truth::Yes, |icmp| packet.has_icmp(icmp).not()),
            Field::Source(part) => self.source.truth(part, &packet.source, packet.protocol, sets),
            Field::Destination(part) => self.destination.truth(part, &packet.destination, packet.protocol, sets),
        }
    }

    /// Its protocol. Only TCP carries the requests that can be judged.
    pub(crate) fn carrier(&self) -> Option<IpProtocol> {
        self.protocol.or(self.http.as_ref().map(|_| IpProtocol::TCP))
    }

    /// A field that does not hold of a packet, or of which that is not known.
    pub(crate) fn missed(&self, field: Field, packet: &Packet<'_>, truth: Truth) -> Told {
        let endpoint = match field {
            Field::Source(Part::Who) => self.source.who.as_ref().zip(packet.source.endpoint),
            Field::Destination(Part::Who) => self.destination.who.as_ref().zip(packet.destination.endpoint),
            Field::Source(_)
            | Field::Destination(_)
            | Field::Protocol
            | Field::NotProtocol
            | Field::IpVersion
            | Field::Icmp
            | Field::NotIcmp => None,
        };
        let mut told = self.told(field);
        // Of an endpoint that is known, what it lacks; of others, the first of all.
        let lacks = |(who, endpoint): (&Who, _)| {
            let given = WhoField::ALL.into_iter().filter(|one| who.told(*one).is_some());
            given.into_iter().position(|one| !who.holds(one, endpoint))
        };
        let index = endpoint.and_then(lacks).unwrap_or(0);
        let (name, mut wanted) = if index < told.len() { told.swap_remove(index) } else { Told::default() };
        if truth == Truth::Maybe {
            wanted.push_str(" (not known of it)");
        }
        (name, wanted)
    }

    /// What it does, and all that it asks for.
    pub(crate) fn summary(&self) -> String {
        let told = Field::ALL.into_iter().flat_map(|field| self.told(field));
        let http = self.http.as_ref().map(|http| ("http".to_owned(), http.summary()));
        let asked: Vec<String> = told.chain(http).map(|(name, wanted)| format!("{name} {wanted}")).collect();
        let action = format!("{:?}", self.action);
        if asked.is_empty() { action } else { format!("{action} {}", asked.join(", ")) }
    }

    /// Each name of a field that is given, and what is wanted.
    fn told(&self, field: Field) -> Vec<Told> {
        let version = |version: IpVersion| match version {
            IpVersion::V4 => "4".to_owned(),
            IpVersion::V6 => "6".to_owned(),
        };
        let icmp = |icmp: Icmp| match icmp.code {
            Some(code) => format!("type {} code {code}", icmp.kind),
            None => format!("type {}", icmp.kind),
        };
        let (name, wanted) = match field {
            Field::Protocol => ("protocol", self.carrier().map(|protocol| protocol.to_string())),
            Field::NotProtocol => ("notProtocol", self.not_protocol.map(|protocol| format!("not {protocol}"))),
            Field::IpVersion => ("ipVersion", self.ip_version.map(version)),
            Field::Icmp => ("icmp", self.icmp.map(icmp)),
            Field::NotIcmp => ("notICMP", self.not_icmp.map(|not| format!("not {}", icmp(not)))),
            Field::Source(part) => return self.source.told(part, "source"),
            Field::Destination(part) => return self.destination.told(part, "destination"),
        };
        wanted.map(|wanted| (name.to_owned(), wanted)).into_iter().collect()
    }
}

impl Peer {
    fn told(&self, part: Part, end: &str) -> Vec<Told> {
        let none_of = |list: String| format!("none of {list}");
        let (name, wanted) = match part {
            Part::Ports => ("ports", self.ports.as_ref().map(|ports| list(ports, port))),
            Part::NotPorts => ("notPorts", self.not_ports.as_ref().map(|ports| none_of(list(ports, port)))),
            Part::Nets => ("nets", self.nets.as_ref().map(|nets| list(nets, ToString::to_string))),
            Part::NotNets => ("notNets", self.not_nets.as_ref().map(|nets| none_of(list(nets, ToString::to_string)))),
            Part::NotSelector => ("notSelector", self.not_selector.as_ref().map(|not| format!("not {}", cut(not)))),
            Part::Who => {
                let told = |one: WhoField| {
                    let wanted = self.who.as_ref().and_then(|who| who.told(one))?;
                    Some((format!("{end}.{}", one.name()), wanted))
                };
                return WhoField::ALL.into_iter().filter_map(told).collect();
            }
        };
        wanted.map(|wanted| (format!("{end}.{name}"), wanted)).into_iter().collect()
    }
}

impl Who {
    /// What one of its fields wants; `None` when it is absent.
    pub(crate) fn told(&self, field: WhoField) -> Option<String> {
        match field {
            WhoField::Selector => self.selector.as_ref().map(cut),
            WhoField::Namespace => {
                let written = self.namespace_selector.as_ref().map(of_namespaces);
                // Where there is none, a namespaced policy means its own.
                written.or_else(|| self.namespace.as_ref().map(|own| format!("{NAME} == \"{own}\"")))
            }
            WhoField::AccountNames => self.accounts.as_ref().map(|names| list(names, String::clone)),
            WhoField::AccountSelector => {
                self.account_selector.as_ref().map(|selector| cut(&selector.clone().without_prefix(ACCOUNT_PREFIX)))
            }
        }
    }
}

/// As it was written.
fn of_namespaces(selector: &Selector) -> String {
    let is = |text: &&str| Selector::parse(text).is_ok_and(|meant| meant.all_that_has(NAMESPACE) == *selector);
    if let Some(text) = ["all()", "global()"].into_iter().find(is) {
        return text.to_owned();
    }
    cut(&selector.clone().without_prefix(NAMESPACE_PREFIX))
}

fn port(ports: &Ports) -> String {
    match ports {
        Ports::Range(first, last) if first == last => first.to_string(),
        Ports::Range(first, last) => format!("{first}:{last}"),
        Ports::Named(name) => name.clone(),
    }
}

/// The first of a list that may be long.
fn list<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    let mut told: Vec<String> = items.iter().take(MAX_TOLD).map(text).collect();
    let more = items.len().saturating_sub(told.len());
    if more > 0 {
        told.push(format!("{more} more"));
    }
    told.join(", ")
}

fn cut(text: &impl Display) -> String {
    let text = text.to_string();
    match text.char_indices().nth(MAX_LETTERS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests;
