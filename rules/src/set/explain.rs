//! Why one endpoint's policies deny, and what they do to what they allow: in full, for people who ask.
//!
//! Looks at every rule. Must agree with the verdict and with its `nearest`. Start at [`DirectionPolicy::tried`].

use std::sync::Arc;

use super::{Cell, DirectionPolicy, Grant, Judged, Ordered, OrderedRule, Unallowed};
use crate::{
    calico::http::Request,
    explain::{HeaderAct, Missing, Tried},
    identity::Identity,
    policy::Effect,
    request::RequestView,
    resolve::Target,
    verdict::{Protocol, RuleRef},
};

/// Ports of one rule that are named.
const MAX_PORTS: usize = 8;

impl DirectionPolicy {
    /// Of a connection, or of a request over TCP, that is denied because no rule allows it, or would be if that were not
    /// only audited: every rule that could allow it, and all of it that does not hold. The nearest comes first. Empty for
    /// what is allowed, and for what a rule denies.
    #[must_use]
    pub fn tried(
        &self,
        peer: Identity,
        protocol: Protocol,
        port: u16,
        request: Option<&RequestView<'_>>,
    ) -> Vec<Tried> {
        let cell = self.tables.of(peer).cell(protocol, port);
        let judged = match request {
            Some(view) => Some(cell.judge(view)),
            None => cell.connection(),
        };
        let Some(Judged::Denied(None, unallowed) | Judged::Audited(None, unallowed)) = judged else {
            return Vec::new();
        };
        let mut tried = request.map(|view| cell.tried(view)).unwrap_or_default();
        match unallowed {
            Unallowed { by: None, .. } => tried.extend(self.tried_below(peer, protocol, port)),
            // Of ordered rules that are not about requests, only the nearest is known.
            Unallowed { by: Some(_), nearest } if tried.is_empty() => tried.extend(nearest.map(Tried::from)),
            Unallowed { by: Some(_), .. } => {}
        }
        tried
    }

    /// What the header matches of the rules that hold do to a request that passes, rule by rule: together, what
    /// [`crate::Permit::edits`] says.
    #[must_use]
    pub fn header_acts(&self, peer: Identity, port: u16, view: &RequestView<'_>) -> Vec<HeaderAct> {
        self.tables.of(peer).cell(Protocol::Tcp, port).acts(view)
    }

    /// Of a connection that goes to the proxy: the rules by which its requests are judged.
    #[must_use]
    pub fn judging(&self, peer: Identity, protocol: Protocol, port: u16) -> Vec<Arc<RuleRef>> {
        let cell = self.tables.of(peer).cell(protocol, port);
        if cell.connection().is_some() {
            return Vec::new();
        }
        let mut rules: Vec<Arc<RuleRef>> = Vec::new();
        let asking = self.grants.iter().filter(|grant| grant.http.is_some());
        let targets = self.targets(peer, protocol, port);
        let asks = |grant: &Grant| {
            targets.iter().any(|target| grant.misses(target.identity, protocol, target.port) == NOTHING)
        };
        for grant in asking.filter(|grant| asks(grant)) {
            if !rules.last().is_some_and(|known| is_same(known, &grant.rule)) {
                rules.push(Arc::clone(&grant.rule));
            }
        }
        rules.extend(cell.ordered());
        rules
    }

    /// Rules that are about another peer or another port, each once: a rule is several grants when it names several ports.
    fn tried_below(&self, peer: Identity, protocol: Protocol, port: u16) -> Vec<Tried> {
        let Some(Target { identity: peer, port }) = self.denied_target(peer, protocol, port) else { return Vec::new() };
        let mut rules: Vec<Below<'_>> = Vec::new();
        for (index, grant) in self.grants.iter().enumerate().filter(|(_, grant)| grant.effect == Effect::Allow) {
            let rank = (grant.misses(peer, protocol, port), index);
            // A rule's grants follow each other.
            match rules.last_mut().filter(|known| is_same(&known.first.rule, &grant.rule)) {
                Some(known) => known.add(grant, rank),
                None => rules.push(Below { first: grant, ports: vec![ports(grant)], best: rank }),
            }
        }
        // What holds allows the connection: another layer denies it, or its rules for requests were tried already.
        rules.retain(|rule| rule.best.0 != NOTHING);
        // As `nearest`: another port, then another protocol, then another peer, then more.
        rules.sort_by_key(|rule| rule.best);
        rules.into_iter().map(|rule| rule.tried(protocol, port)).collect()
    }
}

/// What a grant misses: the peer, the port; and of the port, when the peer is not missed, the protocol.
type Misses = (bool, bool, bool);

const NOTHING: Misses = (false, false, false);

/// One rule's grants.
struct Below<'g> {
    first: &'g Grant,
    ports: Vec<String>,
    /// What the nearest of them misses, and its place among all.
    best: (Misses, usize),
}

impl<'g> Below<'g> {
    fn add(&mut self, grant: &'g Grant, rank: (Misses, usize)) {
        let text = ports(grant);
        if !self.ports.contains(&text) {
            self.ports.push(text);
        }
        self.best = self.best.min(rank);
    }

    fn tried(self, protocol: Protocol, port: u16) -> Tried {
        let ((peer_missed, port_missed, _), _) = self.best;
        let mut missed = Vec::new();
        if peer_missed {
            missed.push(Missing { field: "peer".to_owned(), expected: self.first.peers_text.to_string(), found: None });
        }
        if port_missed {
            let named = self.ports.get(..MAX_PORTS).unwrap_or(&self.ports);
            let more = if named.len() < self.ports.len() { " or others" } else { "" };
            let expected = format!("{}{more}", named.join(" or "));
            let field = if self.first.protocol.has_types() { "type" } else { "port" };
            missed.push(Missing { field: field.to_owned(), expected, found: Some(format!("{port}/{protocol}")) });
        }
        Tried { rule: Arc::clone(&self.first.rule), missed }
    }
}

fn ports(grant: &Grant) -> String {
    format!("{}/{}", grant.ports, grant.protocol)
}

fn is_same(one: &RuleRef, other: &RuleRef) -> bool {
    one.rule == other.rule && Arc::ptr_eq(&one.policy, &other.policy)
}

impl Grant {
    fn misses(&self, peer: Identity, protocol: Protocol, port: u16) -> Misses {
        let (other_peer, other_protocol) = (!self.peers.contains(peer), !self.covers_protocol(protocol));
        let other_port = other_protocol || !self.ports.contains(port);
        (other_peer, other_port, other_protocol && !other_peer)
    }
}

impl Cell {
    /// The rules for requests that were tried, of what denies without a rule that says so.
    fn tried(&self, view: &RequestView<'_>) -> Vec<Tried> {
        match self {
            Self::Requests(matcher) => matcher.tried(view),
            Self::Ordered(ordered) => ordered.tried(view),
            Self::Lenient(inner) | Self::Audited(inner, _) => inner.tried(view),
            Self::Both(one, other) => {
                // What denies comes before what is only audited, as the verdict has it.
                let rank = |cell: &Arc<Self>| match cell.judge(view) {
                    Judged::Denied(None, _) => Some(0),
                    Judged::Audited(None, _) => Some(1),
                    Judged::Denied(Some(_), _) | Judged::Audited(Some(_), _) | Judged::Allowed(_) => None,
                };
                let mut denying: Vec<_> =
                    [one, other].into_iter().filter_map(|cell| Some((rank(cell)?, cell))).collect();
                denying.sort_by_key(|(rank, _)| *rank);
                denying.into_iter().flat_map(|(_, cell)| cell.tried(view)).collect()
            }
            Self::Denied(_) | Self::Allowed(_) | Self::Seen(..) => Vec::new(),
        }
    }

    fn acts(&self, view: &RequestView<'_>) -> Vec<HeaderAct> {
        match self {
            Self::Requests(matcher) | Self::Seen(_, Some(matcher)) => matcher.acts(view),
            Self::Lenient(inner) | Self::Audited(inner, _) => inner.acts(view),
            Self::Both(one, other) => one.acts(view).into_iter().chain(other.acts(view)).collect(),
            Self::Denied(_) | Self::Allowed(_) | Self::Seen(_, None) | Self::Ordered(_) => Vec::new(),
        }
    }

    /// Its ordered rules that are about requests.
    fn ordered(&self) -> Vec<Arc<RuleRef>> {
        match self {
            Self::Ordered(ordered) => ordered.allow.iter().map(|rule| Arc::clone(&rule.reference)).collect(),
            Self::Lenient(inner) | Self::Audited(inner, _) => inner.ordered(),
            Self::Both(one, other) => one.ordered().into_iter().chain(other.ordered()).collect(),
            Self::Denied(_) | Self::Allowed(_) | Self::Requests(_) | Self::Seen(..) => Vec::new(),
        }
    }
}

impl Ordered {
    /// The nearest; then those of which a field holds; then in their order.
    fn tried(&self, view: &RequestView<'_>) -> Vec<Tried> {
        let (Judged::Denied(None, Unallowed { nearest: Some(nearest), .. })
        | Judged::Audited(None, Unallowed { nearest: Some(nearest), .. })) = self.judge(view)
        else {
            return Vec::new();
        };
        let Ok(request) = Request::new(view.method(), view.path()) else { return vec![nearest.into()] };
        let tried = |rule: &OrderedRule| {
            let fields = [
                ("method", rule.http.holds_method(&request), rule.http.methods_told(), view.method()),
                ("path", rule.http.holds_path(&request), rule.http.paths_told(), view.path()),
            ];
            let missed = fields.into_iter().filter(|(_, holds, ..)| !holds).map(|(field, _, expected, found)| {
                Missing { field: field.to_owned(), expected, found: Some(found.to_owned()) }
            });
            Tried { rule: Arc::clone(&rule.reference), missed: missed.collect() }
        };
        let mut all: Vec<Tried> = self.allow.iter().map(tried).filter(|tried| !tried.missed.is_empty()).collect();
        all.sort_by_key(|tried| (!Arc::ptr_eq(&tried.rule, &nearest.rule), tried.missed.len()));
        // It may be a rule that is not about requests.
        if !all.first().is_some_and(|tried| Arc::ptr_eq(&tried.rule, &nearest.rule)) {
            all.insert(0, nearest.into());
        }
        all
    }
}
