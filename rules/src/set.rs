//! What one endpoint may do, ready to be asked.
//!
//! Owns the tables from peer, protocol and port to what applies there, for requests and for the kernel alike. Rules of one
//! list are OR, lists and policies are OR, deny beats allow: order never matters. Must never let the kernel's entries and
//! the tables disagree: the former are made of the latter. Start at [`DirectionPolicy::evaluate`].

use std::sync::Arc;

use crate::{
    calico::http::{Http, Request},
    identity::Identity,
    matcher::{CompiledRule, HttpMatcher},
    policy::{Effect, PolicyKey},
    request::RequestView,
    verdict::{Denial, Direction, L4Verdict, Nearest, Permit, Protocol, RuleRef, Verdict},
};

mod entries;
pub(crate) mod table;

pub use self::entries::{Action, MapEntry};
use self::table::Tables;

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
        let denied = || DirectionPolicy::new(true, Vec::new(), Vec::new());
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

/// Who is on the other side.
#[derive(Clone, Debug)]
pub(crate) enum PeerSet {
    Any,
    /// Sorted.
    Only(Arc<[Identity]>),
}

impl PeerSet {
    pub(crate) fn contains(&self, peer: Identity) -> bool {
        match self {
            Self::Any => true,
            Self::Only(identities) => identities.binary_search(&peer).is_ok(),
        }
    }
}

/// Ports from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

impl Ports {
    /// Every port, and what has none.
    pub(crate) const ALL: Self = Self { first: 0, last: u16::MAX };

    fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl std::fmt::Display for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::ALL => f.write_str("0"),
            Self { first, last } if first == last => write!(f, "{first}"),
            Self { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

/// HTTP rules of one entry of `toPorts`, shared by all its ports.
pub(crate) type HttpRules = Arc<[CompiledRule]>;

/// One thing that a rule says: these peers, these ports, these requests.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) rule: Arc<RuleRef>,
    pub(crate) effect: Effect,
    pub(crate) peers: PeerSet,
    /// For records: whom the rule is about.
    pub(crate) peers_text: Arc<str>,
    pub(crate) protocol: Protocol,
    pub(crate) ports: Ports,
    /// `None`: every request.
    pub(crate) http: Option<HttpRules>,
}

impl Grant {
    fn covers_protocol(&self, protocol: Protocol) -> bool {
        self.protocol == Protocol::Any || self.protocol == protocol
    }
}

/// What applies to one peer, protocol and port.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    /// Nothing passes: a rule denies it, or none allows it.
    Denied(Option<Arc<RuleRef>>),
    /// Everything passes, and the proxy need not see it.
    Allowed(Option<Arc<RuleRef>>),
    /// The proxy asks for each request.
    Requests(Arc<HttpMatcher>),
    /// The proxy sees each request, and each passes: another rule allows the port as a whole.
    Seen(Option<Arc<RuleRef>>),
    /// The proxy asks ordered rules for each request.
    Ordered(Arc<Ordered>),
    /// The proxy asks both, and both must allow.
    Both(Arc<Cell>, Arc<Cell>),
}

/// Rules of which the first that holds allows a request, and what becomes of the others.
#[derive(Debug)]
pub(crate) struct Ordered {
    pub(crate) allow: Vec<OrderedRule>,
    pub(crate) last: Judged,
}

/// A rule of Calico that asks for requests.
#[derive(Debug)]
pub(crate) struct OrderedRule {
    pub(crate) http: Http,
    pub(crate) reference: Arc<RuleRef>,
}

/// What becomes of one request.
#[derive(Clone, Debug)]
pub(crate) enum Judged {
    Allowed(Option<Arc<RuleRef>>),
    /// The rule that denies it, or the one that came nearest to allowing it.
    Denied(Option<Arc<RuleRef>>, Option<Nearest>),
}

impl Cell {
    fn judge(&self, view: &RequestView<'_>) -> Judged {
        match self {
            Self::Denied(rule) => Judged::Denied(rule.clone(), None),
            Self::Allowed(rule) | Self::Seen(rule) => Judged::Allowed(rule.clone()),
            Self::Requests(matcher) => {
                if let Some(compiled) = matcher.find(view) {
                    return Judged::Allowed(Some(Arc::clone(&compiled.reference)));
                }
                let nearest = matcher.nearest(view).map(|(compiled, missed)| {
                    let rule = Arc::clone(&compiled.reference);
                    Nearest { rule, field: missed.field, expected: missed.expected }
                });
                Judged::Denied(None, nearest)
            }
            Self::Ordered(ordered) => ordered.judge(view),
            Self::Both(one, other) => match (one.judge(view), other.judge(view)) {
                (denied @ Judged::Denied(..), _) | (_, denied @ Judged::Denied(..)) => denied,
                (Judged::Allowed(one), Judged::Allowed(other)) => Judged::Allowed(one.or(other)),
            },
        }
    }
}

impl Ordered {
    /// A request whose path Calico's form does not know is not allowed by any of the rules.
    fn judge(&self, view: &RequestView<'_>) -> Judged {
        let request = Request::new(view.method(), view.path());
        let Ok(request) = request else { return Judged::Denied(None, None) };
        if let Some(rule) = self.allow.iter().find(|rule| rule.http.holds(&request)) {
            return Judged::Allowed(Some(Arc::clone(&rule.reference)));
        }
        match &self.last {
            Judged::Denied(None, None) => Judged::Denied(None, self.nearest(&request)),
            last @ (Judged::Allowed(_) | Judged::Denied(..)) => last.clone(),
        }
    }

    /// The first rule whose method or path holds, or the first of all.
    fn nearest(&self, request: &Request<'_>) -> Option<Nearest> {
        let half = self.allow.iter().find(|rule| rule.http.holds_method(request) || rule.http.holds_path(request));
        let rule = half.or(self.allow.first())?;
        let field = if rule.http.holds_method(request) { "path" } else { "method" };
        let expected = rule.reference.summary.clone();
        Some(Nearest { rule: Arc::clone(&rule.reference), field: field.to_owned(), expected })
    }
}

/// What ordered policies say, beside those that are joined into grants.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) tables: Tables,
    /// Those that apply.
    pub(crate) policies: Vec<Arc<PolicyKey>>,
}

/// What one endpoint may exchange in one direction.
#[derive(Debug)]
pub struct DirectionPolicy {
    enforced: bool,
    /// Only what is allowed may pass.
    default_deny: bool,
    denied_by: Arc<[Arc<PolicyKey>]>,
    grants: Vec<Grant>,
    tables: Tables,
    entries: Vec<MapEntry>,
}

impl Default for DirectionPolicy {
    fn default() -> Self {
        Self::new(false, Vec::new(), Vec::new())
    }
}

impl DirectionPolicy {
    pub(crate) fn new(default_deny: bool, denied_by: Vec<Arc<PolicyKey>>, grants: Vec<Grant>) -> Self {
        let tables = Tables::new(default_deny, &grants);
        let enforced = default_deny || !grants.is_empty();
        let entries = if enforced { entries::all(&tables) } else { Vec::new() };
        Self { enforced, default_deny, denied_by: denied_by.into(), grants, tables, entries }
    }

    /// The same, where another layer must allow as well.
    pub(crate) fn and(self, layer: Layer) -> Self {
        let Layer { tables: other, policies } = layer;
        let tables = self.tables.and(&other);
        let entries = entries::all(&tables);
        let mut denied_by = self.denied_by.to_vec();
        denied_by.extend(policies);
        Self { enforced: true, denied_by: denied_by.into(), tables, entries, ..self }
    }

    /// Whether anything is to be judged at all.
    #[must_use]
    pub fn enforced(&self) -> bool {
        self.enforced
    }

    /// Whether nothing passes but what is allowed.
    #[must_use]
    pub fn default_deny(&self) -> bool {
        self.default_deny
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

    /// The verdict below HTTP. [`Protocol::Any`] is one that has no ports.
    #[must_use]
    pub fn l4(&self, peer: Identity, protocol: Protocol, port: u16) -> L4Verdict {
        if !self.enforced {
            return L4Verdict::NotEnforced;
        }
        match self.tables.of(peer).cell(protocol, port) {
            Cell::Denied(rule) => L4Verdict::Denied(rule.clone()),
            Cell::Allowed(rule) => L4Verdict::Allowed(rule.clone()),
            Cell::Requests(_) | Cell::Seen(_) | Cell::Ordered(_) | Cell::Both(..) => L4Verdict::Redirect,
        }
    }

    /// The verdict for a request over TCP: L3/L4 and HTTP together.
    #[must_use]
    pub fn evaluate(&self, peer: Identity, port: u16, view: &RequestView<'_>) -> Verdict {
        match self.tables.of(peer).cell(Protocol::Tcp, port).judge(view) {
            Judged::Allowed(rule) => Verdict::Allow(Permit::new(rule)),
            Judged::Denied(rule @ Some(_), _) => Verdict::Deny(self.denial(rule, None)),
            Judged::Denied(None, nearest) => {
                let nearest = nearest.or_else(|| self.nearest(peer, Protocol::Tcp.number(), port));
                Verdict::Deny(self.denial(None, nearest))
            }
        }
    }

    /// Why a connection is denied that is. `protocol` is the IP protocol number.
    #[must_use]
    pub fn denial_of(&self, peer: Identity, protocol: u8, port: u16) -> Denial {
        match self.tables.of(peer).cell(Protocol::from_number(protocol), port) {
            Cell::Denied(Some(rule)) => self.denial(Some(Arc::clone(rule)), None),
            Cell::Denied(None)
            | Cell::Allowed(_)
            | Cell::Requests(_)
            | Cell::Seen(_)
            | Cell::Ordered(_)
            | Cell::Both(..) => self.denial(None, self.nearest(peer, protocol, port)),
        }
    }

    fn denial(&self, rule: Option<Arc<RuleRef>>, nearest: Option<Nearest>) -> Denial {
        let denied_by = match &rule {
            Some(rule) => Arc::from([Arc::clone(&rule.policy)]),
            None => Arc::clone(&self.denied_by),
        };
        Denial { denied_by, rule, nearest }
    }

    /// The rule that came nearest to allowing a connection, and whether its peer or its port was missed.
    fn nearest(&self, peer: Identity, protocol: u8, port: u16) -> Option<Nearest> {
        let allows = || self.grants.iter().filter(|grant| grant.effect == Effect::Allow);
        let fits_protocol = |grant: &&Grant| grant.protocol == Protocol::Any || grant.protocol.number() == protocol;
        let other_port = allows().find(|grant| grant.peers.contains(peer));
        let other_peer = allows().filter(fits_protocol).find(|grant| grant.ports.contains(port));
        let missed = |grant: &Grant, field: &str, expected: String| Nearest {
            rule: Arc::clone(&grant.rule),
            field: field.to_owned(),
            expected,
        };
        let port_missed = other_port.map(|grant| missed(grant, "port", format!("{}/{}", grant.ports, grant.protocol)));
        let peer_missed = || {
            let grant = other_peer.or(allows().next())?;
            Some(missed(grant, "peer", grant.peers_text.to_string()))
        };
        port_missed.or_else(peer_missed)
    }
}
