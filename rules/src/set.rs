//! What one endpoint may do, ready to be asked.
//!
//! Owns the tables from peer, protocol and port to what applies there, for requests and for the kernel alike. Rules of one
//! list are OR, lists and policies are OR, deny beats allow: order never matters. Must never let the kernel's entries and
//! the tables disagree: the former are made of the latter. Start at [`DirectionPolicy::evaluate`].

use std::sync::{Arc, OnceLock};

use http::HeaderName;

use crate::{
    identity::Identity,
    matcher::{CompiledRule, HttpMatcher},
    policy::{Effect, PolicyKey},
    request::RequestView,
    resolve::{Frontend, Target},
    verdict::{Denial, Direction, L4Verdict, Nearest, Permit, Protocol, RuleRef, Verdict},
};

mod cell;
mod entries;
mod explain;
mod frontends;
mod shared;
pub(crate) mod table;

pub(crate) use self::cell::{Cell, Closed, Judged, Ordered, OrderedRule, Unallowed};
pub use self::entries::{Action, MapEntry};
pub(crate) use self::shared::Shared;
use self::table::Tables;

/// Both directions of one endpoint. Endpoints that may do the same share what it is.
#[derive(Clone, Debug, Default)]
pub struct EndpointPolicy {
    /// What may enter it.
    pub ingress: Arc<DirectionPolicy>,
    /// What may leave it.
    pub egress: Arc<DirectionPolicy>,
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
        let denied = DirectionPolicy::new(Otherwise::Deny, Vec::new(), Vec::new(), &mut Shared::default());
        let denied = Arc::new(denied);
        Self { ingress: Arc::clone(&denied), egress: denied }
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

/// What becomes of what no rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Otherwise {
    /// No default deny.
    Pass,
    /// Default deny that is only told.
    Audit,
    /// Default deny.
    Deny,
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

/// Ports, or types, from the first to the last.
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
    /// Its denials are only told.
    pub(crate) audit: bool,
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
    /// Another layer must allow as well, whose rules have an order.
    ordered: bool,
    /// Only what is allowed may pass.
    default_deny: bool,
    denied_by: Arc<[Arc<PolicyKey>]>,
    /// The same with those of ordered policies.
    all_denied_by: Arc<[Arc<PolicyKey>]>,
    grants: Vec<Arc<Grant>>,
    tables: Tables,
    /// Made of the tables, when the kernel is to be given them.
    entries: OnceLock<Vec<MapEntry>>,
    /// Addresses that stand for others.
    frontends: Arc<[Frontend]>,
    /// Headers that rules compare with secrets.
    secret_headers: Vec<HeaderName>,
}

fn secret_headers(grants: &[Arc<Grant>]) -> Vec<HeaderName> {
    let rules = grants.iter().flat_map(|grant| grant.http.iter().flat_map(|rules| rules.iter()));
    let matches = rules.flat_map(|rule| &rule.rule.header_matches);
    let mut names: Vec<HeaderName> =
        matches.filter(|header| header.secret.is_some()).map(|header| header.name.clone()).collect();
    names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    names
}

impl Default for DirectionPolicy {
    fn default() -> Self {
        Self::new(Otherwise::Pass, Vec::new(), Vec::new(), &mut Shared::default())
    }
}

impl DirectionPolicy {
    pub(crate) fn new(
        otherwise: Otherwise,
        denied_by: Vec<Arc<PolicyKey>>,
        grants: Vec<Arc<Grant>>,
        shared: &mut Shared,
    ) -> Self {
        let tables = Tables::new(otherwise, &grants, shared);
        let default_deny = otherwise != Otherwise::Pass;
        let enforced = default_deny || !grants.is_empty();
        let denied_by: Arc<[Arc<PolicyKey>]> = denied_by.into();
        let all_denied_by = Arc::clone(&denied_by);
        let (frontends, entries) = (Arc::default(), OnceLock::new());
        let ordered = false;
        let secret_headers = secret_headers(&grants);
        Self {
            enforced,
            ordered,
            default_deny,
            denied_by,
            all_denied_by,
            grants,
            tables,
            entries,
            frontends,
            secret_headers,
        }
    }

    /// Headers that rules compare with secrets: a client that may pass sends the secret there, and records must not show it.
    #[must_use]
    pub fn secret_headers(&self) -> &[HeaderName] {
        &self.secret_headers
    }

    /// The same, where another layer must allow as well.
    pub(crate) fn and(self, layer: Layer) -> Self {
        let Layer { tables: other, policies } = layer;
        let tables = self.tables.and(&other);
        let mut all = self.denied_by.to_vec();
        all.extend(policies);
        Self { enforced: true, ordered: true, all_denied_by: all.into(), tables, entries: OnceLock::new(), ..self }
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
        &self.all_denied_by
    }

    /// What the kernel is given: sorted, one entry per key.
    #[must_use]
    pub fn entries(&self) -> &[MapEntry] {
        // What is said of a Service counts, also where it is weaker than what is said of anybody.
        let own_count = self.ordered || !self.frontends.is_empty();
        let made = || if self.enforced { entries::all(&self.tables, own_count) } else { Vec::new() };
        self.entries.get_or_init(made)
    }

    /// The verdict below HTTP. Of ICMP, `port` is the type of the message; [`Protocol::Any`] is a protocol that has neither.
    #[must_use]
    pub fn l4(&self, peer: Identity, protocol: Protocol, port: u16) -> L4Verdict {
        if !self.enforced {
            return L4Verdict::NotEnforced;
        }
        match self.tables.of(peer).cell(protocol, port).connection() {
            Some(Judged::Denied(rule, _)) => L4Verdict::Denied(rule),
            Some(Judged::Allowed(rule)) => L4Verdict::Allowed(rule),
            Some(Judged::Audited(..)) => L4Verdict::Allowed(None),
            None => L4Verdict::Redirect,
        }
    }

    /// The verdict for a request over TCP: L3/L4 and HTTP together.
    #[must_use]
    pub fn evaluate(&self, peer: Identity, port: u16, view: &RequestView<'_>) -> Verdict {
        let cell = self.tables.of(peer).cell(Protocol::Tcp, port);
        let judged = cell.judge(view);
        let headers = cell.effects(view);
        let asks = cell.asks_headers();
        match judged {
            Judged::Allowed(rule) => Verdict::Allow(Permit::new(rule, headers, asks)),
            Judged::Denied(rule, unallowed) => {
                let denial = self.denial(rule, unallowed, || self.nearest(peer, Protocol::Tcp.number(), port));
                Verdict::Deny(Denial { notes: headers.notes, ..denial })
            }
            Judged::Audited(rule, unallowed) => {
                let denial = self.denial(rule, unallowed, || self.nearest(peer, Protocol::Tcp.number(), port));
                let notes = headers.notes.clone();
                Verdict::Allow(Permit::audited_as(Denial { notes, ..denial }, headers, asks))
            }
        }
    }

    /// Of a request that is denied: the rule that would allow it if its headers were others. For requests whose headers are
    /// not known.
    #[must_use]
    pub fn allows_but_for_headers(&self, peer: Identity, port: u16, view: &RequestView<'_>) -> Option<Arc<RuleRef>> {
        self.tables.of(peer).cell(Protocol::Tcp, port).allows_but_for_headers(view)
    }

    /// Why a connection is denied that is. `protocol` is the IP protocol number.
    #[must_use]
    pub fn denial_of(&self, peer: Identity, protocol: u8, port: u16) -> Denial {
        let nearest = || self.nearest(peer, protocol, port);
        match self.tables.of(peer).cell(Protocol::from_number(protocol), port).connection() {
            Some(Judged::Denied(rule, unallowed) | Judged::Audited(rule, unallowed)) => {
                self.denial(rule, unallowed, nearest)
            }
            Some(Judged::Allowed(_)) | None => self.denial(None, Unallowed::default(), nearest),
        }
    }

    /// Whether a connection passes only because what denies it is not enforced: [`Self::denial_of`] says why.
    #[must_use]
    pub fn is_audited(&self, peer: Identity, protocol: Protocol, port: u16) -> bool {
        matches!(self.tables.of(peer).cell(protocol, port).connection(), Some(Judged::Audited(..)))
    }

    /// The same, but what is denied is only told.
    pub(crate) fn lenient(self) -> Self {
        Self { tables: self.tables.lenient(), entries: OnceLock::new(), ..self }
    }

    /// `nearest`: where default deny denies, and no rule for requests is known that came nearer.
    fn denial(
        &self,
        rule: Option<Arc<RuleRef>>,
        unallowed: Unallowed,
        nearest: impl FnOnce() -> Option<Nearest>,
    ) -> Denial {
        let Unallowed { nearest: known, by } = unallowed;
        let (denied_by, tier, nearest) = match (&rule, by) {
            (Some(rule), _) => (Arc::from([Arc::clone(&rule.policy)]), None, known),
            (None, Some(closed)) => (Arc::clone(&closed.policies), closed.tier.clone(), known),
            (None, None) => (Arc::clone(&self.denied_by), None, known.or_else(nearest)),
        };
        Denial { denied_by, rule, tier, nearest, notes: None }
    }

    /// The rule that came nearest to allowing a connection, and whether its peer or its port was missed.
    fn nearest(&self, peer: Identity, protocol: u8, port: u16) -> Option<Nearest> {
        let Target { identity: peer, port } = self.denied_target(peer, Protocol::from_number(protocol), port)?;
        let allows = || self.grants.iter().filter(|grant| grant.effect == Effect::Allow);
        let fits_protocol =
            |grant: &&Arc<Grant>| grant.protocol == Protocol::Any || grant.protocol.number() == protocol;
        let of_peer = || allows().filter(|grant| grant.peers.contains(peer));
        let other_port = of_peer().find(fits_protocol).or_else(|| of_peer().next());
        let other_peer = allows().filter(fits_protocol).find(|grant| grant.ports.contains(port));
        let missed = |grant: &Grant, field: &str, expected: String| Nearest {
            rule: Arc::clone(&grant.rule),
            field: field.to_owned(),
            expected,
        };
        let port_missed = other_port.map(|grant| {
            let field = if grant.protocol.has_types() { "type" } else { "port" };
            missed(grant, field, format!("{}/{}", grant.ports, grant.protocol))
        });
        let peer_missed = || {
            let grant = other_peer.or(allows().next())?;
            Some(missed(grant, "peer", grant.peers_text.to_string()))
        };
        port_missed.or_else(peer_missed)
    }
}
