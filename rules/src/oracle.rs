//! What policies say about one question, read off them rule by rule; for property tests.
//!
//! Owns a second reading of the specification. Must never share code with `resolve`, with the sets, or with the matching of
//! selectors, patterns and headers: a fault there must not be a fault here too. Start at [`Oracle`].

use std::sync::Arc;

use crate::{
    ContainerPort, Direction, HeaderEdit, Identities, Identity, InForce, Labels, NamedPorts, Protocol, RequestView,
    Selector,
    http_rule::HttpRule,
    labels::CLUSTER,
    policy::{Effect, Entity, Entry, Peers, Port, PortNumber, PortRule},
    selector::{Key, Requirement},
};

mod cidr;
mod header;
mod pattern;

pub use pattern::full_match;

/// The answer below HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connects {
    /// Nothing selects the endpoint in this direction.
    NotEnforced,
    /// Something without HTTP rules allows it, and nothing with HTTP rules is about it.
    Allowed,
    /// Something with HTTP rules is about it.
    Redirect,
    /// Nothing allows it.
    Denied,
}

/// Who wants to connect to whom, seen from the endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// Whether the other side enters the endpoint, or the endpoint goes there.
    pub direction: Direction,
    /// The other side.
    pub peer: Identity,
    /// [`Protocol::Any`] is one that has neither ports nor types.
    pub protocol: Protocol,
    /// Destination port, or the type of an ICMP message.
    pub port: u16,
}

/// One endpoint and all that is in force.
#[derive(Clone, Copy, Debug)]
pub struct Oracle<'a> {
    /// Everything in force anywhere.
    pub policies: &'a [InForce],
    /// Of the endpoint.
    pub labels: &'a Labels,
    /// Container ports by name.
    pub named_ports: &'a NamedPorts,
    /// Everything known.
    pub identities: &'a Identities,
}

/// HTTP rules of one entry; `None`: every request.
type Http<'a> = Option<&'a [Arc<HttpRule>]>;

impl<'a> Oracle<'a> {
    /// The verdict below HTTP.
    #[must_use]
    pub fn connects(&self, connection: Connection) -> Connects {
        let about = self.about(connection);
        if about.denied {
            Connects::Denied
        } else if about.allowed.iter().any(Option::is_some) {
            Connects::Redirect
        } else if !self.is_enforced(connection.direction) {
            Connects::NotEnforced
        } else if about.allowed.is_empty() {
            Connects::Denied
        } else {
            Connects::Allowed
        }
    }

    /// Whether a request may pass; `None` when a pattern is of a form that is not understood here.
    #[must_use]
    pub fn passes(&self, connection: Connection, view: &RequestView<'_>) -> Option<bool> {
        let about = self.about(connection);
        if about.denied {
            return Some(false);
        }
        let mut passes = !self.is_enforced(connection.direction);
        for http in about.allowed {
            let Some(rules) = http else {
                passes = true;
                continue;
            };
            for rule in rules {
                passes |= holds(rule, view)?;
            }
        }
        Some(passes)
    }

    /// What is done to a request that passes, in no order; `None` as for [`Self::passes`].
    #[must_use]
    pub fn edits(&self, connection: Connection, view: &RequestView<'_>) -> Option<Vec<HeaderEdit>> {
        let mut edits: Vec<HeaderEdit> = Vec::new();
        for rule in self.about(connection).allowed.into_iter().flatten().flatten() {
            if holds(rule, view)? {
                for edit in header::edits(rule, view.headers()) {
                    // Done once, whoever asks for it.
                    if !edits.contains(&edit) {
                        edits.push(edit);
                    }
                }
            }
        }
        Some(edits)
    }

    /// Default deny: some rule that selects the endpoint asks for it in this direction, or was refused.
    fn is_enforced(&self, direction: Direction) -> bool {
        let mut enforced = false;
        for policy in self.policies {
            match policy {
                InForce::Policy(policy) => {
                    for rule in &policy.rules {
                        let section = match direction {
                            Direction::Ingress => &rule.ingress,
                            Direction::Egress => &rule.egress,
                        };
                        enforced |= selects(&rule.subject, self.labels) && section.default_deny;
                    }
                }
                InForce::Refused(policy) => {
                    for scope in &policy.scopes {
                        let denies = match direction {
                            Direction::Ingress => scope.ingress,
                            Direction::Egress => scope.egress,
                        };
                        enforced |= selects(&scope.subject, self.labels) && denies;
                    }
                }
            }
        }
        enforced
    }

    /// Everything that is about a connection. A refused policy never is.
    fn about(&self, connection: Connection) -> About<'a> {
        let mut about = About { denied: false, allowed: Vec::new() };
        for in_force in self.policies {
            let InForce::Policy(policy) = in_force else { continue };
            for rule in &policy.rules {
                if !selects(&rule.subject, self.labels) {
                    continue;
                }
                let section = match connection.direction {
                    Direction::Ingress => &rule.ingress,
                    Direction::Egress => &rule.egress,
                };
                for entry in &section.entries {
                    let mut allowed = Vec::new();
                    self.of_entry(entry, connection, &mut allowed);
                    match entry.effect {
                        Effect::Deny => about.denied |= !allowed.is_empty(),
                        Effect::Allow => {
                            about.allowed.extend(allowed);
                        }
                    }
                }
            }
        }
        about
    }

    fn of_entry(&self, entry: &'a Entry, connection: Connection, about: &mut Vec<Http<'a>>) {
        if !self.is_peer(entry, connection.peer) {
            return;
        }
        let Some(port_rules) = &entry.ports else {
            about.push(None);
            return;
        };
        for port_rule in port_rules {
            if self.is_port(port_rule, connection) {
                about.push(port_rule.http.as_deref());
            }
        }
    }

    fn is_peer(&self, entry: &Entry, peer: Identity) -> bool {
        match &entry.peers {
            Peers::Any => true,
            // No services are known here: they are not asked at random.
            Peers::Nobody | Peers::Services(_) => false,
            Peers::Endpoints(selectors) => {
                let Some(labels) = self.identities.labels(peer) else { return false };
                // Nothing is known of it, so no selector is about it.
                peer != Identity::UNKNOWN && selectors.iter().any(|selector| selects(selector, labels))
            }
            Peers::Cidrs(cidrs) => cidr::is_peer(self.policies, cidrs, entry.effect, self.identities, peer),
            Peers::Entities(entities) => {
                let Some(labels) = self.identities.labels(peer) else { return entities.contains(&Entity::All) };
                let own = values(&Key::of_pods(CLUSTER), self.labels);
                entities.iter().any(|entity| is_of(*entity, labels, &own))
            }
        }
    }

    /// An empty list is no port.
    fn is_port(&self, rule: &PortRule, connection: Connection) -> bool {
        rule.ports.iter().any(|port| self.is_one_port(port, connection))
    }

    fn is_one_port(&self, port: &Port, connection: Connection) -> bool {
        let is_protocol = match port.protocol {
            Protocol::Any => [6, 17, 132].contains(&connection.protocol.number()),
            Protocol::Tcp | Protocol::Udp | Protocol::Sctp | Protocol::Icmp | Protocol::Icmp6 => {
                connection.protocol == port.protocol
            }
        };
        let named = |port: Option<&ContainerPort>| {
            port.filter(|port| port.protocol == connection.protocol).map(|port| port.number)
        };
        let number = match (&port.number, connection.direction) {
            (PortNumber::Number(number), _) => Some(*number),
            (PortNumber::Range(first, last), _) => {
                return is_protocol && *first <= connection.port && connection.port <= *last;
            }
            (PortNumber::Type(number), _) => return is_protocol && connection.port == u16::from(*number),
            (PortNumber::Name(name), Direction::Ingress) => named(self.named_ports.own.get(name)),
            (PortNumber::Name(name), Direction::Egress) => {
                named(self.named_ports.peers.get(&connection.peer).and_then(|ports| ports.get(name)))
            }
        };
        is_protocol && number.is_some_and(|number| number == 0 || number == connection.port)
    }
}

/// What is about a connection.
struct About<'a> {
    denied: bool,
    allowed: Vec<Http<'a>>,
}

/// `own`: the cluster of the endpoint.
fn is_of(entity: Entity, labels: &Labels, own: &[&str]) -> bool {
    let reserved = |name: &str| labels.strings().contains(&format!("reserved:{name}"));
    let clusters = values(&Key::of_pods(CLUSTER), labels);
    let part = ["host", "remote-node", "init", "ingress", "health", "unmanaged", "kube-apiserver"].map(reserved);
    match entity {
        Entity::All => true,
        Entity::None => false,
        Entity::Cluster => part.contains(&true) || own.iter().any(|own| clusters.contains(own)),
        Entity::ClusterMesh => part.contains(&true) || !clusters.is_empty(),
        Entity::World
        | Entity::Host
        | Entity::RemoteNode
        | Entity::KubeApiserver
        | Entity::Ingress
        | Entity::Init
        | Entity::Health
        | Entity::Unmanaged => reserved(entity.name()),
    }
}

fn selects(selector: &Selector, labels: &Labels) -> bool {
    let mut selected = true;
    for requirement in &selector.requirements {
        let found = values(requirement.key(), labels);
        let is_one_of = |wanted: &[String]| wanted.iter().any(|wanted| found.contains(&wanted.as_str()));
        selected &= match requirement {
            Requirement::Is(_, wanted) => found.contains(&wanted.as_str()),
            Requirement::In(_, wanted) => is_one_of(wanted),
            Requirement::NotIn(_, wanted) => !is_one_of(wanted),
            Requirement::Exists(_) => !found.is_empty(),
            Requirement::DoesNotExist(_) => found.is_empty(),
        };
    }
    selected
}

/// The values of a key, from its source or from any.
fn values<'l>(key: &Key, labels: &'l Labels) -> Vec<&'l str> {
    let mut values = Vec::new();
    for label in labels.iter() {
        let of_source = match &key.source {
            Some(source) => *source == label.source,
            None => true,
        };
        if of_source && key.key == label.key {
            values.push(label.value.as_str());
        }
    }
    values
}

fn holds(rule: &HttpRule, view: &RequestView<'_>) -> Option<bool> {
    let fields = [(&rule.method, view.method()), (&rule.path, view.path()), (&rule.host, view.host())];
    // A tunnel has no path that a pattern could be about.
    let mut all = rule.path.is_none() || !view.path().is_empty();
    for (pattern, value) in fields {
        if let Some(pattern) = pattern {
            all &= full_match(pattern.as_str(), value.as_bytes())?;
        }
    }
    Some(all && header::holds(rule, view.headers()))
}
