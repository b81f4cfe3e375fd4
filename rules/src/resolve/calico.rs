//! Calico's tiers → a layer of tables beside those of the other kinds.
//!
//! Owns what a peer is to Calico's rules, which may ask for any address, and what they may ask of the endpoint itself. Must
//! never let what is not known open anything. Start at [`Calico::applying`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{ContainerPort, PortNames, Subject};
use crate::{
    calico::{
        evaluate::{Allowed, At, Layer as Tiers, Outcome, Packet},
        manifest::Object,
        party::{Endpoint, NamedPort, NetworkSets, Party, Place, Places, namespaces_of},
        policy::{Icmp, IpProtocol, Peer, Policy, Ports, Rule, Tier},
    },
    identity::{Identities, Identity},
    labels::Labels,
    manifest,
    policy::{InForce, Kind},
    same::Same,
    set::{
        Cell, Judged, Layer, Ordered, OrderedRule,
        table::{Table, Tables},
    },
    verdict::{Direction, Protocol},
};

mod reasons;

use self::reasons::Reasons;

/// A protocol without ports that no rule names.
const UNNAMED: IpProtocol = IpProtocol(253);

/// Everything of Calico's that is in force, and everybody as its rules see them.
#[derive(Debug, Default)]
pub(super) struct Calico {
    policies: Vec<Arc<Policy>>,
    tiers: Vec<Tier>,
    sets: NetworkSets,
    /// Nobody without policies.
    peers: Vec<Known>,
    /// Rules are taken to ask for everything of their endpoint.
    pub(super) asks_for_everything: bool,
}

/// The policies that apply to an endpoint in one direction, and what of the endpoint their rules may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tiered {
    direction: Direction,
    policies: Vec<Same<Policy>>,
    own: Endpoint,
    places: Places,
    /// Its namespace's profile allows what no policy decides.
    has_profile: bool,
}

/// A peer as Calico's rules see it.
#[derive(Debug)]
struct Known {
    identity: Identity,
    endpoint: Option<Endpoint>,
    place: Place,
}

impl Calico {
    pub(super) fn of(policies: &[InForce], identities: &Identities, ports: &BTreeMap<Identity, PortNames>) -> Self {
        let mut calico = Self::default();
        for in_force in policies {
            match in_force {
                InForce::Policy(policy) => calico.add(policy),
                InForce::Refused(refused) => {
                    calico.sets.incomplete |= matches!(refused.key.kind, Kind::NetworkSet | Kind::GlobalNetworkSet);
                }
            }
        }
        if calico.policies.is_empty() {
            return calico;
        }
        let peer = |(identity, labels)| {
            let endpoint = endpoint(labels, ports.get(&identity).into_iter().flatten());
            Known { identity, endpoint, place: place_of(identities, identity) }
        };
        calico.peers = identities.iter().map(peer).collect();
        if calico.sets.sets.iter().any(|set| set.namespace.is_some()) {
            calico.sets.namespaces = namespaces_of(calico.peers.iter().filter_map(|peer| peer.endpoint.as_ref()));
        }
        calico
    }

    fn add(&mut self, policy: &manifest::Policy) {
        match &policy.calico {
            Some(Object::Policy(policy)) => self.policies.push(Arc::clone(policy)),
            Some(Object::Tier(tier)) => self.tiers.push(tier.clone()),
            Some(Object::NetworkSet(set)) => self.sets.sets.push(set.clone()),
            None => {}
        }
    }

    /// What applies to `subject`, ingress first; `None`: no policy of the tiers does.
    pub(super) fn applying(&self, subject: &Subject<'_>) -> [Option<Tiered>; 2] {
        let own = if self.policies.is_empty() { None } else { endpoint(subject.labels, subject.ports.iter()) };
        let places = Places::of(subject.addresses);
        [Direction::Ingress, Direction::Egress].map(|direction| {
            let own = own.as_ref()?;
            let applying = self.policies.iter().filter(|policy| policy.applies_to(own, direction));
            let policies: Vec<Same<Policy>> = applying.map(|policy| Same(Arc::clone(policy))).collect();
            let mut asks = Asks::default();
            policies.iter().flat_map(|policy| policy.0.rules_of(direction)).for_each(|rule| asks.add(rule, direction));
            let has_profile = own.namespace.is_some();
            let (own, places) = if self.asks_for_everything { (own.clone(), places) } else { asks.of(own, places) };
            (!policies.is_empty()).then_some(Tiered { direction, policies, own, places, has_profile })
        })
    }

    /// What the tiers say about one direction.
    pub(super) fn layer(&self, tiered: &Tiered) -> Layer {
        let Tiered { direction, ref policies, ref own, places, has_profile } = *tiered;
        let applying: Vec<Arc<Policy>> = policies.iter().map(|policy| Arc::clone(&policy.0)).collect();
        let tiers = Tiers::of(&self.tiers, &applying, direction, has_profile);
        let (sets, reasons) = (&self.sets, Reasons::new(&tiers, &self.sets, direction));
        let asked = Asked { tiers: &tiers, sets, own, places, direction, applying: &applying, reasons };
        let others = asked.table(None, Place::Elsewhere);
        let known = self.peers.iter().filter(|known| known.identity != Identity::WORLD);
        let of_peers = known.map(|known| (known.identity, asked.table(known.endpoint.as_ref(), known.place)));
        let tables = Tables::of_peers(others, of_peers);
        Layer { tables, policies: applying.iter().map(|policy| Arc::clone(&policy.key)).collect() }
    }
}

/// What rules may ask of the endpoint that they apply to.
#[derive(Debug, Default)]
struct Asks<'r> {
    /// Who it is.
    identity: bool,
    place: AskedPlace,
    ports: BTreeSet<&'r str>,
}

/// What rules may ask of an endpoint's address. What is greater includes what is smaller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum AskedPlace {
    #[default]
    Nothing,
    /// Of which version of IP it is.
    Family,
    /// In which networks it is.
    Networks,
}

impl<'r> Asks<'r> {
    fn add(&mut self, rule: &'r Rule, direction: Direction) {
        let own = match direction {
            Direction::Ingress => &rule.destination,
            Direction::Egress => &rule.source,
        };
        // Named one by one, so that a new one is not overlooked.
        let Peer { who, not_selector, nets, not_nets, ports, not_ports } = own;
        let asks_who = who.is_some() || not_selector.is_some();
        self.identity |= asks_who;
        // Who it is may be said of a network set that it is in.
        if asks_who || nets.is_some() || not_nets.is_some() {
            self.place = AskedPlace::Networks;
        } else if rule.ip_version.is_some() {
            self.place = self.place.max(AskedPlace::Family);
        }
        for ports in ports.iter().chain(not_ports).flatten() {
            if let Ports::Named(name) = ports {
                self.ports.insert(name);
            }
        }
    }

    /// Nothing of the endpoint but what is asked for.
    fn of(&self, own: &Endpoint, places: Places) -> (Endpoint, Places) {
        let asked = |port: &&NamedPort| self.ports.contains(port.name.as_str());
        let named_ports = own.named_ports.iter().filter(asked).cloned().collect();
        let endpoint = if self.identity { own.clone() } else { Endpoint::default() };
        let places = match self.place {
            AskedPlace::Nothing => Places::default(),
            AskedPlace::Family => places.families(),
            AskedPlace::Networks => places,
        };
        (Endpoint { named_ports, ..endpoint }, places)
    }
}

/// A pod by its labels.
fn endpoint<'p>(labels: &Labels, ports: impl Iterator<Item = (&'p String, &'p ContainerPort)>) -> Option<Endpoint> {
    let mut endpoint = Endpoint::of(labels)?;
    for (name, port) in ports {
        let protocol = IpProtocol(port.protocol.number());
        endpoint.named_ports.push(NamedPort { name: name.clone(), protocol, port: port.number });
    }
    Some(endpoint)
}

/// Pods of one identity are in the same of all networks that policies name: one address stands for all.
fn place_of(identities: &Identities, identity: Identity) -> Place {
    if let Some(net) = identities.cidr(identity) {
        return Place::In(net);
    }
    identities.address(identity).map(Place::at).unwrap_or_default()
}

/// What is known of a packet beside its protocol.
#[derive(Clone, Copy)]
enum Detail {
    /// Its destination port.
    Port(u16),
    /// The type of its ICMP message.
    Type(u8),
    Nothing,
}

/// One endpoint and direction.
struct Asked<'a> {
    tiers: &'a Tiers,
    sets: &'a NetworkSets,
    own: &'a Endpoint,
    places: Places,
    direction: Direction,
    applying: &'a [Arc<Policy>],
    reasons: Reasons<'a>,
}

impl Asked<'_> {
    fn table(&self, peer: Option<&Endpoint>, place: Place) -> Table {
        let named = match self.direction {
            Direction::Ingress => self.own.named_ports.as_slice(),
            Direction::Egress => peer.map(|peer| peer.named_ports.as_slice()).unwrap_or_default(),
        };
        let starts: BTreeSet<u16> =
            self.applying.iter().flat_map(|policy| policy.port_starts(self.direction, named)).collect();
        let types: BTreeSet<u16> = self.applying.iter().flat_map(|policy| policy.type_starts(self.direction)).collect();
        let ports = |protocol, port| self.cell(protocol, Detail::Port(port), peer, place);
        // There is no type beyond those that have a byte.
        let types_of = |protocol, number: u16| {
            let message = u8::try_from(number).map_or(Detail::Nothing, Detail::Type);
            self.cell(protocol, message, peer, place)
        };
        Table::decided(&starts, &types, |protocol, port| match protocol {
            Protocol::Tcp => ports(IpProtocol::TCP, port),
            Protocol::Udp => ports(IpProtocol::UDP, port),
            Protocol::Sctp => ports(IpProtocol::SCTP, port),
            Protocol::Icmp => types_of(IpProtocol::ICMP, port),
            Protocol::Icmp6 => types_of(IpProtocol::ICMPV6, port),
            Protocol::Any => self.without_ports(peer, place),
        })
    }

    /// The kernel tells no protocol without ports or types from another: all of them must be allowed, or what denies them only
    /// told.
    fn without_ports(&self, peer: Option<&Endpoint>, place: Place) -> Cell {
        let rules = self.applying.iter().flat_map(|policy| policy.rules_of(self.direction));
        let named = rules.flat_map(|rule| [rule.protocol, rule.not_protocol]).flatten();
        let has_types = |protocol: &IpProtocol| matches!(*protocol, IpProtocol::ICMP | IpProtocol::ICMPV6);
        let others = named.filter(|protocol| !protocol.has_ports() && !has_types(protocol));
        let protocols: BTreeSet<IpProtocol> = others.chain([UNNAMED]).collect();
        let mut strictest = Cell::Allowed(None);
        for protocol in protocols {
            let cell = self.cell(protocol, Detail::Nothing, peer, place);
            match cell.connection() {
                Some(Judged::Denied(..)) | None => return cell,
                Some(Judged::Audited(..)) => strictest = cell,
                Some(Judged::Allowed(_)) if matches!(strictest, Cell::Allowed(_)) => strictest = cell,
                Some(Judged::Allowed(_)) => {}
            }
        }
        strictest
    }

    fn cell(&self, protocol: IpProtocol, detail: Detail, peer: Option<&Endpoint>, place: Place) -> Cell {
        let own = Party { place: self.places.facing(place), endpoint: Some(self.own), port: None };
        let other = Party { place, endpoint: peer, port: None };
        let (source, mut destination) = match self.direction {
            Direction::Ingress => (other, own),
            Direction::Egress => (own, other),
        };
        let mut icmp = None;
        match detail {
            Detail::Port(port) => destination.port = Some(port),
            // The code of a message is no part of the kernel's key: nobody knows it.
            Detail::Type(kind) => icmp = Some(Icmp { kind, code: None }),
            Detail::Nothing => {}
        }
        let packet = Packet { protocol, icmp, source, destination };
        let decision = self.tiers.decide(&packet, self.sets);
        let told = decision.told.map(|(before, denied)| {
            let (rule, unallowed) = self.reasons.why(denied, &packet);
            (before, Judged::Audited(rule, unallowed))
        });
        let last = match (decision.last, &told) {
            (Outcome::Deny(denied), _) => {
                let (rule, unallowed) = self.reasons.why(denied, &packet);
                Judged::Denied(rule, unallowed)
            }
            (Outcome::NotApplicable | Outcome::Allow(_), Some((_, told))) => told.clone(),
            (Outcome::NotApplicable | Outcome::Allow(Allowed::Profile), None) => Judged::Allowed(None),
            (Outcome::Allow(Allowed::Rule(at)), None) => Judged::Allowed(Some(self.reasons.refer(at))),
        };
        if decision.http.is_empty() {
            return self.reasons.settled(last);
        }
        let ordered = |at: At<'_>| {
            let http = self.reasons.rule(at)?.http.clone()?;
            Some(OrderedRule { http, audit: at.policy.audit, reference: self.reasons.refer(at) })
        };
        Cell::Ordered(Arc::new(Ordered { allow: decision.http.into_iter().filter_map(ordered).collect(), told, last }))
    }
}

#[cfg(test)]
mod tests;
