//! What policies say about one question, read off them rule by rule; for property tests.
//!
//! Owns a second reading of the specification. Must never share code with `resolve`, with the sets, or with the matching of
//! selectors, patterns and headers: a fault there must not be a fault here too. Start at [`Oracle`].

use std::sync::Arc;

use http::HeaderMap;

use crate::{
    Direction, Identities, Identity, InForce, Labels, NamedPorts, Protocol, RequestView, Selector,
    http_rule::{HeaderRule, HttpRule},
    policy::{Allow, Peers, Port, PortNumber, PortRule},
    selector::{Key, Requirement},
};

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
    /// [`Protocol::Any`] is one that has no ports.
    pub protocol: Protocol,
    /// Destination port.
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
        if !self.is_enforced(connection.direction) {
            return Connects::NotEnforced;
        }
        let about = self.about(connection);
        if about.iter().any(Option::is_some) {
            Connects::Redirect
        } else if about.is_empty() {
            Connects::Denied
        } else {
            Connects::Allowed
        }
    }

    /// Whether a request may pass; `None` when a pattern is of a form that is not understood here.
    #[must_use]
    pub fn passes(&self, connection: Connection, view: &RequestView<'_>) -> Option<bool> {
        if !self.is_enforced(connection.direction) {
            return Some(true);
        }
        let mut passes = false;
        for http in self.about(connection) {
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

    /// Default deny: some rule that selects the endpoint has an entry for this direction, or was refused.
    fn is_enforced(&self, direction: Direction) -> bool {
        let mut enforced = false;
        for policy in self.policies {
            match policy {
                InForce::Policy(policy) => {
                    for rule in &policy.rules {
                        let entries = match direction {
                            Direction::Ingress => &rule.ingress,
                            Direction::Egress => &rule.egress,
                        };
                        enforced |= selects(&rule.subject, self.labels) && !entries.is_empty();
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
    fn about(&self, connection: Connection) -> Vec<Http<'a>> {
        let mut about = Vec::new();
        for in_force in self.policies {
            let InForce::Policy(policy) = in_force else { continue };
            for rule in &policy.rules {
                if !selects(&rule.subject, self.labels) {
                    continue;
                }
                let entries = match connection.direction {
                    Direction::Ingress => &rule.ingress,
                    Direction::Egress => &rule.egress,
                };
                for entry in entries {
                    self.of_entry(entry, connection, &mut about);
                }
            }
        }
        about
    }

    fn of_entry(&self, entry: &'a Allow, connection: Connection, about: &mut Vec<Http<'a>>) {
        if !self.is_peer(&entry.peers, connection.peer) {
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

    fn is_peer(&self, peers: &Peers, peer: Identity) -> bool {
        match peers {
            Peers::Any => true,
            Peers::Nobody => false,
            Peers::Endpoints(selectors) => {
                let Some(labels) = self.identities.labels(peer) else { return false };
                // Nothing is known of it, so no selector is about it.
                peer != Identity::UNKNOWN && selectors.iter().any(|selector| selects(selector, labels))
            }
            Peers::Cidrs(cidrs) => {
                let Some(net) = self.identities.cidr(peer) else { return false };
                let holds = |cidr: &ipnet::IpNet| {
                    cidr.contains(&net.network())
                        && cidr.contains(&net.broadcast())
                        && cidr.prefix_len() <= net.prefix_len()
                };
                cidrs.iter().any(holds)
            }
        }
    }

    /// An empty list is every port and protocol.
    fn is_port(&self, rule: &PortRule, connection: Connection) -> bool {
        rule.ports.is_empty() || rule.ports.iter().any(|port| self.is_one_port(port, connection))
    }

    fn is_one_port(&self, port: &Port, connection: Connection) -> bool {
        let is_protocol = match port.protocol {
            Protocol::Any => connection.protocol != Protocol::Any,
            Protocol::Tcp | Protocol::Udp | Protocol::Sctp => connection.protocol == port.protocol,
        };
        let number = match (&port.number, connection.direction) {
            (PortNumber::Number(number), _) => Some(*number),
            (PortNumber::Name(name), Direction::Ingress) => self.named_ports.own.get(name).copied(),
            (PortNumber::Name(name), Direction::Egress) => {
                self.named_ports.peers.get(&connection.peer).and_then(|ports| ports.get(name)).copied()
            }
        };
        is_protocol && number.is_some_and(|number| number == 0 || number == connection.port)
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
    let mut all = true;
    for (pattern, value) in fields {
        if let Some(pattern) = pattern {
            all &= full_match(pattern.as_str(), value.as_bytes())?;
        }
    }
    Some(all && rule.headers.iter().all(|header| header_holds(header, view.headers())))
}

/// `Name: value`, `Name value` or `Name`: there, and every instance of it has the value.
fn header_holds(rule: &HeaderRule, headers: &HeaderMap) -> bool {
    let (name, wanted) = match rule.text.split_once(' ') {
        Some((name, value)) => (name.trim_end_matches(':'), Some(value)),
        None => (rule.text.as_str(), None),
    };
    let mut found = Vec::new();
    for (known, value) in headers {
        if known.as_str().eq_ignore_ascii_case(name) {
            found.push(value.as_bytes());
        }
    }
    !found.is_empty() && wanted.is_none_or(|wanted| found.iter().all(|value| *value == wanted.as_bytes()))
}
