//! A rule, or what is left of a refused one → what it says to the endpoints that it applies to.
//!
//! Made once for all of them. Start at [`Part::of`].

use std::{collections::BTreeMap, sync::Arc};

use super::{
    ContainerPort, PortNames,
    applying::{Applied, Asked, Version},
    peers::{self, PeerSets},
};
use crate::{
    http_rule::HttpRule,
    identity::Identity,
    matcher::CompiledRule,
    policy::{Entry, PolicyKey, Port, PortNumber, PortRule, Rule},
    set::{Grant, HttpRules, Otherwise, PeerSet, Ports},
    verdict::{Direction, MatchType, Protocol, RuleRef},
};

/// What a clause says in one direction.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) otherwise: Otherwise,
    /// Its policy, if it puts the endpoint under default deny.
    pub(super) denied_by: Option<Arc<PolicyKey>>,
    pub(super) grants: Vec<Arc<Grant>>,
}

impl Part {
    /// `ports`: each peer's container ports.
    pub(super) fn of(applied: &Applied, peers: &mut PeerSets<'_>, ports: &BTreeMap<Identity, PortNames>) -> Self {
        let policy = match &applied.version {
            Version::Refused(refused) => {
                let denied_by = Some(Arc::clone(&refused.0.key));
                return Self { otherwise: Otherwise::Deny, denied_by, grants: Vec::new() };
            }
            Version::Policy(policy) => &policy.0,
        };
        let mut part = Self { otherwise: Otherwise::Pass, denied_by: None, grants: Vec::new() };
        let Some(rule) = policy.rules.get(applied.index) else { return part };
        let section = rule.section(applied.direction);
        if section.default_deny {
            part.denied_by = Some(Arc::clone(&policy.key));
            part.otherwise = if policy.audit { Otherwise::Audit } else { Otherwise::Deny };
        }
        let nothing = Asked::default();
        let asked = applied.asked.as_deref().unwrap_or(&nothing);
        let mut maker = Maker { peers, ports };
        for entry in &section.entries {
            let origin = Origin { key: &policy.key, audit: policy.audit, rule, entry, direction: applied.direction };
            maker.grants(&origin, asked, &mut part.grants);
        }
        part
    }
}

/// An entry, and where it comes from.
struct Origin<'a> {
    key: &'a Arc<PolicyKey>,
    audit: bool,
    rule: &'a Rule,
    entry: &'a Entry,
    direction: Direction,
}

impl Origin<'_> {
    fn refer(&self, rule: &str, summary: String, matches: MatchType) -> Arc<RuleRef> {
        let log = self.rule.log.clone();
        Arc::new(RuleRef { policy: Arc::clone(self.key), rule: rule.to_owned(), summary, log, matches })
    }
}

struct Maker<'p, 'a> {
    peers: &'p mut PeerSets<'a>,
    ports: &'p BTreeMap<Identity, PortNames>,
}

impl Maker<'_, '_> {
    fn grants(&mut self, origin: &Origin<'_>, asked: &Asked, grants: &mut Vec<Arc<Grant>>) {
        let Origin { entry, direction, audit, .. } = *origin;
        let Some(peers) = self.peers.of(entry, asked.cluster.as_deref()) else { return };
        let peers_text: Arc<str> = peers::text(&entry.peers).into();
        let effect = entry.effect;
        let names_peers = !matches!(peers, PeerSet::Any);
        let Some(port_rules) = &entry.ports else {
            let matches = MatchType::new(names_peers, false, false);
            let rule = origin.refer(&entry.path, format!("{peers_text}, every port"), matches);
            let protocol = Protocol::Any;
            let ports = Ports::ALL;
            grants.push(Arc::new(Grant { rule, effect, audit, peers, peers_text, protocol, ports, http: None }));
            return;
        };
        for port_rule in port_rules {
            let http: Option<HttpRules> = port_rule.http.as_ref().map(|rules| {
                let compile = |rule: &Arc<HttpRule>| CompiledRule {
                    reference: origin.refer(&rule.path_in_spec, rule.summary(), MatchType::None),
                    rule: Arc::clone(rule),
                };
                rules.iter().map(compile).collect()
            });
            for (peers, protocol, ports) in self.ports(port_rule, &peers, asked, direction) {
                let what = if protocol.has_types() { "type" } else { "port" };
                let matches = MatchType::new(names_peers, true, ports != Ports::ALL);
                let rule = origin.refer(&port_rule.path, format!("{peers_text}, {what} {ports}/{protocol}"), matches);
                let peers_text = Arc::clone(&peers_text);
                let http = http.clone();
                grants.push(Arc::new(Grant { rule, effect, audit, peers, peers_text, protocol, ports, http }));
            }
        }
    }

    /// A named port may be another number for each peer. Without ports, an entry is about none (Cilium).
    fn ports(
        &self,
        rule: &PortRule,
        peers: &PeerSet,
        asked: &Asked,
        direction: Direction,
    ) -> Vec<(PeerSet, Protocol, Ports)> {
        let mut ports = Vec::new();
        for port in &rule.ports {
            let wanted = protocols(port);
            let one = |number: u16| if number == 0 { Ports::ALL } else { Ports { first: number, last: number } };
            let mut add = |peers: &PeerSet, known: &[Protocol], numbers: Ports| {
                let fitting = wanted.iter().filter(|protocol| known.contains(protocol));
                ports.extend(fitting.map(|protocol| (peers.clone(), *protocol, numbers)));
            };
            match (&port.number, direction) {
                (PortNumber::Number(number), _) => add(peers, wanted, one(*number)),
                (PortNumber::Range(first, last), _) => add(peers, wanted, Ports { first: *first, last: *last }),
                (PortNumber::Type(number), _) => {
                    add(peers, wanted, Ports { first: u16::from(*number), last: u16::from(*number) });
                }
                (PortNumber::Name(name), Direction::Ingress) => {
                    if let Some(own) = asked.ports.get(name) {
                        add(peers, &[own.protocol], one(own.number));
                    }
                }
                (PortNumber::Name(name), Direction::Egress) => {
                    for (peers, named) in self.peers_port(name, peers) {
                        add(&peers, &[named.protocol], one(named.number));
                    }
                }
            }
        }
        ports
    }

    fn peers_port(&self, name: &str, peers: &PeerSet) -> Vec<(PeerSet, ContainerPort)> {
        let mut by_port: BTreeMap<ContainerPort, Vec<Identity>> = BTreeMap::new();
        for (identity, ports) in self.ports {
            if let Some(port) = ports.get(name).filter(|_| peers.contains(*identity)) {
                by_port.entry(*port).or_default().push(*identity);
            }
        }
        by_port.into_iter().map(|(port, identities)| (PeerSet::Only(identities.into()), port)).collect()
    }
}

/// `ANY` in a port is every protocol that has ports; those with types are asked for by `icmps`.
fn protocols(port: &Port) -> &'static [Protocol] {
    match port.protocol {
        Protocol::Any => &[Protocol::Tcp, Protocol::Udp, Protocol::Sctp],
        Protocol::Tcp => &[Protocol::Tcp],
        Protocol::Udp => &[Protocol::Udp],
        Protocol::Sctp => &[Protocol::Sctp],
        Protocol::Icmp => &[Protocol::Icmp],
        Protocol::Icmp6 => &[Protocol::Icmp6],
    }
}
