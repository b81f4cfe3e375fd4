//! What one endpoint may do, ready to be asked.
//!
//! Entries are indexed by port; a request is compared with the rules of its port and peer only. Rules of one list are OR,
//! lists and policies are OR: order never matters.

use std::{collections::HashMap, sync::Arc};

use crate::{
    http_rule::HttpRule,
    identity::Identity,
    policy::PolicyKey,
    request::RequestView,
    verdict::{Denial, Direction, L4Verdict, Nearest, Permit, Protocol, RuleRef, Verdict},
};

/// Both directions of one endpoint.
#[derive(Debug, Default)]
pub struct EndpointPolicy {
    /// What may enter it.
    pub ingress: DirectionPolicy,
    /// What may leave it.
    pub egress: DirectionPolicy,
}

impl EndpointPolicy {
    /// No policy selects it.
    #[must_use]
    pub fn allow_all() -> Self {
        Self::default()
    }

    /// Nothing may enter or leave.
    #[must_use]
    pub fn deny_all() -> Self {
        let denied = || DirectionPolicy { enforced: true, ..DirectionPolicy::default() };
        Self { ingress: denied(), egress: denied() }
    }

    /// One direction.
    #[must_use]
    pub fn direction(&self, direction: Direction) -> &DirectionPolicy {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// What the kernel does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// It passes.
    Allow,
    /// It goes to the proxy.
    Redirect,
    /// It is refused.
    Deny,
}

/// One line for the kernel's policy map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MapEntry {
    /// The other side; `None` is any.
    pub identity: Option<Identity>,
    /// Layer 4.
    pub protocol: Protocol,
    /// Destination port; 0 is any.
    pub port: u16,
    /// The strongest of all that apply: deny > redirect > allow, as Cilium's precedence.
    pub action: Action,
}

/// Who is on the other side.
#[derive(Clone, Debug)]
pub(crate) enum PeerSet {
    Any,
    /// Sorted.
    Only(Vec<Identity>),
}

impl PeerSet {
    fn contains(&self, peer: Identity) -> bool {
        match self {
            Self::Any => true,
            Self::Only(identities) => identities.binary_search(&peer).is_ok(),
        }
    }
}

/// One thing that is allowed: these peers, this port, these requests.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) rule: Arc<RuleRef>,
    pub(crate) peers: PeerSet,
    /// For records: whom the rule is about.
    pub(crate) peers_text: Arc<str>,
    pub(crate) protocol: Protocol,
    /// 0 is any.
    pub(crate) port: u16,
    /// `None`: every request.
    pub(crate) http: Option<Arc<[CompiledRule]>>,
}

/// An HTTP rule and its name.
#[derive(Clone, Debug)]
pub(crate) struct CompiledRule {
    pub(crate) rule: Arc<HttpRule>,
    pub(crate) reference: Arc<RuleRef>,
}

impl Grant {
    fn covers(&self, protocol: Protocol, port: u16) -> bool {
        (self.protocol == Protocol::Any || self.protocol == protocol) && (self.port == 0 || self.port == port)
    }
}

/// What one endpoint may exchange in one direction.
#[derive(Debug, Default)]
pub struct DirectionPolicy {
    pub(crate) enforced: bool,
    pub(crate) denied_by: Arc<[Arc<PolicyKey>]>,
    pub(crate) grants: Vec<Grant>,
    /// TCP port → grants that cover it; ports that no grant names are under 0.
    by_port: HashMap<u16, Vec<usize>>,
    entries: Vec<MapEntry>,
}

impl DirectionPolicy {
    pub(crate) fn new(enforced: bool, denied_by: Vec<Arc<PolicyKey>>, grants: Vec<Grant>) -> Self {
        let mut by_port: HashMap<u16, Vec<usize>> = HashMap::new();
        by_port.insert(0, Vec::new());
        for grant in grants.iter().filter(|grant| grant.covers(Protocol::Tcp, grant.port)) {
            by_port.entry(grant.port).or_default();
        }
        for (port, indexes) in &mut by_port {
            let covering = grants.iter().enumerate().filter(|(_, grant)| grant.covers(Protocol::Tcp, *port));
            indexes.extend(covering.map(|(index, _)| index));
        }
        let entries = entries(&grants);
        Self { enforced, denied_by: denied_by.into(), grants, by_port, entries }
    }

    /// Whether only what is allowed may pass.
    #[must_use]
    pub fn enforced(&self) -> bool {
        self.enforced
    }

    /// The policies that put the endpoint under default deny in this direction.
    #[must_use]
    pub fn default_denied_by(&self) -> &Arc<[Arc<PolicyKey>]> {
        &self.denied_by
    }

    /// What the kernel is given: sorted, one entry per key.
    #[must_use]
    pub fn entries(&self) -> &[MapEntry] {
        &self.entries
    }

    /// The verdict below HTTP.
    #[must_use]
    pub fn l4(&self, peer: Identity, protocol: Protocol, port: u16) -> L4Verdict {
        if !self.enforced {
            return L4Verdict::NotEnforced;
        }
        let mut allowed = None;
        for grant in self.grants.iter().filter(|grant| grant.covers(protocol, port) && grant.peers.contains(peer)) {
            if grant.http.is_some() {
                return L4Verdict::Redirect;
            }
            allowed.get_or_insert(&grant.rule);
        }
        match allowed {
            Some(rule) => L4Verdict::Allowed(Some(Arc::clone(rule))),
            None => L4Verdict::Denied,
        }
    }

    /// The verdict for a request over TCP: L3/L4 and HTTP together.
    #[must_use]
    pub fn evaluate(&self, peer: Identity, port: u16, view: &RequestView<'_>) -> Verdict {
        if !self.enforced {
            return Verdict::Allow(Permit::new(None));
        }
        for grant in self.of_port(port).filter(|grant| grant.peers.contains(peer)) {
            let Some(rules) = &grant.http else { return Verdict::Allow(Permit::new(Some(Arc::clone(&grant.rule)))) };
            if let Some(rule) = rules.iter().find(|rule| rule.rule.holds(view)) {
                return Verdict::Allow(Permit::new(Some(Arc::clone(&rule.reference))));
            }
        }
        Verdict::Deny(Denial {
            denied_by: Arc::clone(&self.denied_by),
            nearest: self.nearest_request(peer, port, view),
        })
    }

    /// The rule that came nearest to allowing a connection, and whether its peer or its port was missed. `protocol` is
    /// the IP protocol number.
    #[must_use]
    pub fn nearest(&self, peer: Identity, protocol: u8, port: u16) -> Option<Nearest> {
        let fits_protocol = |grant: &&Grant| grant.protocol == Protocol::Any || grant.protocol.number() == protocol;
        let other_port = self.grants.iter().find(|grant| grant.peers.contains(peer));
        let other_peer = self.grants.iter().filter(fits_protocol).find(|grant| grant.port == 0 || grant.port == port);
        let missed = |grant: &Grant, field: &str, expected: String| Nearest {
            rule: Arc::clone(&grant.rule),
            field: field.to_owned(),
            expected,
        };
        let port_missed = other_port.map(|grant| missed(grant, "port", format!("{}/{}", grant.port, grant.protocol)));
        let peer_missed = || {
            let grant = other_peer.or(self.grants.first())?;
            Some(missed(grant, "peer", grant.peers_text.to_string()))
        };
        port_missed.or_else(peer_missed)
    }

    fn of_port(&self, port: u16) -> impl Iterator<Item = &Grant> {
        let indexes = self.by_port.get(&port).or_else(|| self.by_port.get(&0)).map(Vec::as_slice).unwrap_or_default();
        indexes.iter().filter_map(|index| self.grants.get(*index))
    }

    /// Fewest fields missed; among those, most fields that hold; among those, the first.
    fn nearest_request(&self, peer: Identity, port: u16, view: &RequestView<'_>) -> Option<Nearest> {
        let mut best: Option<Candidate> = None;
        for grant in self.of_port(port).filter(|grant| grant.peers.contains(peer)) {
            for rule in grant.http.iter().flat_map(|rules| rules.iter()) {
                let (missed, holding) = rule.rule.mismatches(view);
                let rank = (missed.len(), usize::MAX.saturating_sub(holding));
                if best.as_ref().is_some_and(|known| known.rank <= rank) {
                    continue;
                }
                if let Some(first) = missed.into_iter().next() {
                    let rule = Arc::clone(&rule.reference);
                    best = Some(Candidate {
                        rank,
                        nearest: Nearest { rule, field: first.field, expected: first.expected },
                    });
                }
            }
        }
        best.map(|best| best.nearest).or_else(|| self.nearest(peer, Protocol::Tcp.number(), port))
    }
}

/// A denied request's nearest rule so far; the smallest rank is nearest.
struct Candidate {
    rank: (usize, usize),
    nearest: Nearest,
}

/// What a map entry is filed under.
type EntryKey = (Option<Identity>, Protocol, u16);

/// One entry per key, with the strongest action.
fn entries(grants: &[Grant]) -> Vec<MapEntry> {
    let mut strongest: HashMap<EntryKey, Action> = HashMap::new();
    for grant in grants {
        let action = if grant.http.is_some() { Action::Redirect } else { Action::Allow };
        let mut put = |identity| {
            let known = strongest.entry((identity, grant.protocol, grant.port)).or_insert(action);
            *known = action.max(*known);
        };
        match &grant.peers {
            PeerSet::Any => put(None),
            PeerSet::Only(identities) => identities.iter().for_each(|identity| put(Some(*identity))),
        }
    }
    let entry = |((identity, protocol, port), action)| MapEntry { identity, protocol, port, action };
    let mut entries: Vec<MapEntry> = strongest.into_iter().map(entry).collect();
    entries.sort_unstable();
    entries
}
