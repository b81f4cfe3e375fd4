//! Policies and identities → what one endpoint may do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ipnet::IpNet;

use crate::{
    http_rule::HttpRule,
    identity::{Identities, Identity},
    labels::Labels,
    manifest::Scope,
    policy::{Allow, InForce, Peers, PolicyKey, Port, PortNumber, PortRule},
    set::{CompiledRule, DirectionPolicy, EndpointPolicy, Grant, PeerSet},
    verdict::{Direction, Protocol, RuleRef},
};

/// Container ports by name.
#[derive(Clone, Debug, Default)]
pub struct NamedPorts {
    /// The endpoint's own: what ingress rules mean.
    pub own: BTreeMap<String, u16>,
    /// Each peer's: what egress rules mean.
    pub peers: BTreeMap<Identity, BTreeMap<String, u16>>,
}

/// What `policies` together allow the endpoint with `labels`. A selector that selects no known identity allows nobody.
#[must_use]
pub fn resolve(
    policies: &[InForce],
    labels: &Labels,
    named_ports: &NamedPorts,
    identities: &Identities,
) -> EndpointPolicy {
    let resolver = Resolver { labels, named_ports, identities };
    EndpointPolicy {
        ingress: resolver.direction(policies, Direction::Ingress),
        egress: resolver.direction(policies, Direction::Egress),
    }
}

struct Resolver<'a> {
    labels: &'a Labels,
    named_ports: &'a NamedPorts,
    identities: &'a Identities,
}

impl Resolver<'_> {
    fn direction(&self, policies: &[InForce], direction: Direction) -> DirectionPolicy {
        let mut denied_by: BTreeSet<Arc<PolicyKey>> = BTreeSet::new();
        let mut grants = Vec::new();
        for in_force in policies {
            match in_force {
                InForce::Refused(refused) => {
                    let denies = |scope: &Scope| match direction {
                        Direction::Ingress => scope.ingress,
                        Direction::Egress => scope.egress,
                    };
                    if refused.scopes.iter().any(|scope| denies(scope) && scope.subject.matches(self.labels)) {
                        denied_by.insert(Arc::clone(&refused.key));
                    }
                }
                InForce::Policy(policy) => {
                    for rule in policy.rules.iter().filter(|rule| rule.subject.matches(self.labels)) {
                        let allows = match direction {
                            Direction::Ingress => &rule.ingress,
                            Direction::Egress => &rule.egress,
                        };
                        if !allows.is_empty() {
                            denied_by.insert(Arc::clone(&policy.key));
                        }
                        for allow in allows {
                            self.grants(&policy.key, allow, direction, &mut grants);
                        }
                    }
                }
            }
        }
        DirectionPolicy::new(!denied_by.is_empty(), denied_by.into_iter().collect(), grants)
    }

    fn grants(&self, key: &Arc<PolicyKey>, allow: &Allow, direction: Direction, grants: &mut Vec<Grant>) {
        let peers = match &allow.peers {
            Peers::Nobody => return,
            Peers::Any => PeerSet::Any,
            Peers::Endpoints(selectors) => {
                self.only(|_, labels| selectors.iter().any(|selector| selector.matches(labels)))
            }
            Peers::Cidrs(cidrs) => self.only(|identity, _| {
                self.identities.cidr(identity).is_some_and(|net| cidrs.iter().any(|cidr| cidr.contains(&net)))
            }),
        };
        let peers_text: Arc<str> = peers_text(&allow.peers).into();
        let refer =
            |rule: &str, summary: String| Arc::new(RuleRef { policy: Arc::clone(key), rule: rule.to_owned(), summary });
        let Some(port_rules) = &allow.ports else {
            let rule = refer(&allow.path, format!("{peers_text}, every port"));
            grants.push(Grant { rule, peers, peers_text, protocol: Protocol::Any, port: 0, http: None });
            return;
        };
        for port_rule in port_rules {
            let http: Option<Arc<[CompiledRule]>> = port_rule.http.as_ref().map(|rules| {
                let compile = |rule: &Arc<HttpRule>| CompiledRule {
                    reference: refer(&rule.path_in_spec, rule.summary()),
                    rule: Arc::clone(rule),
                };
                rules.iter().map(compile).collect()
            });
            for (peers, protocol, port) in self.ports(port_rule, &peers, direction) {
                let summary = format!("{peers_text}, port {port}/{protocol}");
                let rule = refer(&port_rule.path, summary);
                grants.push(Grant {
                    rule,
                    peers,
                    peers_text: Arc::clone(&peers_text),
                    protocol,
                    port,
                    http: http.clone(),
                });
            }
        }
    }

    /// Never the unknown identity: nothing is known of it that a selector could ask for, and 0 means "any" to the kernel.
    fn only(&self, selects: impl Fn(Identity, &Labels) -> bool) -> PeerSet {
        let known = self.identities.iter().filter(|(identity, _)| *identity != Identity::UNKNOWN);
        let selected = known.filter(|(identity, labels)| selects(*identity, labels));
        let mut identities: Vec<Identity> = selected.map(|(identity, _)| identity).collect();
        identities.sort_unstable();
        PeerSet::Only(identities)
    }

    /// A named port may be another number for each peer.
    fn ports(&self, rule: &PortRule, peers: &PeerSet, direction: Direction) -> Vec<(PeerSet, Protocol, u16)> {
        if rule.ports.is_empty() {
            return vec![(peers.clone(), Protocol::Any, 0)];
        }
        let mut ports = Vec::new();
        for port in &rule.ports {
            let numbers: Vec<(PeerSet, u16)> = match (&port.number, direction) {
                (PortNumber::Number(number), _) => vec![(peers.clone(), *number)],
                (PortNumber::Name(name), Direction::Ingress) => {
                    self.named_ports.own.get(name).map(|number| (peers.clone(), *number)).into_iter().collect()
                }
                (PortNumber::Name(name), Direction::Egress) => self.peers_port(name, peers),
            };
            for (peers, number) in numbers {
                ports.extend(protocols(port).iter().map(|protocol| (peers.clone(), *protocol, number)));
            }
        }
        ports
    }

    fn peers_port(&self, name: &str, peers: &PeerSet) -> Vec<(PeerSet, u16)> {
        let mut by_number: BTreeMap<u16, Vec<Identity>> = BTreeMap::new();
        for (identity, ports) in &self.named_ports.peers {
            let selected = match peers {
                PeerSet::Any => true,
                PeerSet::Only(only) => only.binary_search(identity).is_ok(),
            };
            if let Some(number) = ports.get(name).filter(|_| selected) {
                by_number.entry(*number).or_default().push(*identity);
            }
        }
        by_number.into_iter().map(|(number, identities)| (PeerSet::Only(identities), number)).collect()
    }
}

/// `ANY` in a port is every protocol that has ports.
fn protocols(port: &Port) -> &'static [Protocol] {
    match port.protocol {
        Protocol::Any => &[Protocol::Tcp, Protocol::Udp, Protocol::Sctp],
        Protocol::Tcp => &[Protocol::Tcp],
        Protocol::Udp => &[Protocol::Udp],
        Protocol::Sctp => &[Protocol::Sctp],
    }
}

fn peers_text(peers: &Peers) -> String {
    match peers {
        Peers::Any => "anybody".to_owned(),
        Peers::Nobody => "nobody".to_owned(),
        Peers::Endpoints(selectors) => selectors.iter().map(crate::Selector::summary).collect::<Vec<_>>().join(" or "),
        Peers::Cidrs(cidrs) => cidrs.iter().map(IpNet::to_string).collect::<Vec<_>>().join(" or "),
    }
}

#[cfg(test)]
mod tests;
