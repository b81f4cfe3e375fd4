//! What becomes of a packet or a request: tiers, policies and rules in their order.
//!
//! Owns the order. What is not known never opens anything. Must never join rules or policies: the first that matches
//! decides. Start at [`Layer::new`], then [`Layer::judge`].

use std::{collections::BTreeSet, sync::Arc};

use super::{
    http::Request,
    party::{Endpoint, NamedPort, NetworkSets, Party, Truth},
    policy::{Action, Icmp, IpProtocol, IpVersion, Policy, Ports, Rule, Tier, TierDefault},
};
use crate::verdict::Direction;

/// Every policy that applies to one endpoint in one direction, in order.
#[derive(Debug)]
pub(crate) struct Layer {
    direction: Direction,
    tiers: Vec<LayerTier>,
    /// A policy applies whose tier does not exist: nobody can say when it is asked.
    homeless: Option<Arc<Policy>>,
    /// Its namespace's profile allows what no policy decides.
    has_profile: bool,
}

/// A tier with at least one policy that applies.
#[derive(Debug)]
pub(crate) struct LayerTier {
    pub(crate) tier: Tier,
    /// In the order in which they are asked.
    pub(crate) policies: Vec<Arc<Policy>>,
}

/// What is judged.
#[derive(Clone, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) protocol: IpProtocol,
    /// Of a message, as far as it is known: the kernel tells types and no codes.
    pub(crate) icmp: Option<Icmp>,
    pub(crate) source: Party<'a>,
    pub(crate) destination: Party<'a>,
    /// `None`: the connection is judged, before any request.
    pub(crate) request: Option<Request<'a>>,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Decision<'l> {
    /// No policy applies: it is open.
    NotApplicable,
    /// It passes.
    Allow(Allowed<'l>),
    /// The connection passes, and each of its requests is judged again, from the first rule.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "made by tests: others ask for the rules of all requests at once")
    )]
    Http(At<'l>),
    /// It does not pass.
    Deny(Denied<'l>),
}

/// One rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'l> {
    pub(crate) policy: &'l Arc<Policy>,
    /// Its index in `ingress` or `egress`.
    pub(crate) rule: usize,
}

/// What allows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Allowed<'l> {
    Rule(At<'l>),
    /// Every tier passed it on, and the namespace's profile allows everything.
    Profile,
}

/// What denies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Denied<'l> {
    Rule(At<'l>),
    /// Whether this rule decides depends on what is not known of the packet.
    Unclear(At<'l>),
    /// Policies of the tier apply, none decided.
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests name the tier; records name the policies that apply"))]
    TierDefault(&'l LayerTier),
    /// The policy's tier does not exist.
    #[cfg_attr(not(test), expect(dead_code, reason = "as above"))]
    NoTier(&'l Arc<Policy>),
    /// Nothing decided, and there is no namespace whose profile would allow.
    NoProfile,
}

impl Decision<'_> {
    /// Whether the proxy must judge each request.
    #[cfg(test)]
    fn needs_http(&self) -> bool {
        matches!(self, Self::Http(_))
    }
}

impl Layer {
    /// What of `policies` applies to `endpoint`. `tiers` need not hold the built-in ones.
    pub(crate) fn new(tiers: &[Tier], policies: &[Arc<Policy>], endpoint: &Endpoint, direction: Direction) -> Self {
        let built_in = Tier::built_in().into_iter().filter(|known| tiers.iter().all(|tier| tier.name != known.name));
        let mut sorted: Vec<Tier> = tiers.iter().cloned().chain(built_in).collect();
        sorted.sort_by(|a, b| (a.order, &a.name).cmp(&(b.order, &b.name)));
        let mut applying: Vec<&Arc<Policy>> =
            policies.iter().filter(|policy| policy.applies_to(endpoint, direction)).collect();
        // Name, then namespace and kind, so that there is one order in any case.
        applying.sort_by(|a, b| (a.order, a.short_name(), &a.key).cmp(&(b.order, b.short_name(), &b.key)));
        let homeless = applying.iter().find(|policy| sorted.iter().all(|tier| tier.name != policy.tier));
        let homeless = homeless.map(|policy| Arc::clone(policy));
        let of = |tier: &Tier| {
            applying.iter().filter(|policy| policy.tier == tier.name).map(|policy| Arc::clone(policy)).collect()
        };
        let layer_tiers = sorted.into_iter().map(|tier| LayerTier { policies: of(&tier), tier });
        Self {
            direction,
            tiers: layer_tiers.filter(|tier| !tier.policies.is_empty()).collect(),
            homeless,
            has_profile: endpoint.namespace.is_some(),
        }
    }

    /// The tiers in which a policy applies, in order.
    #[cfg(test)]
    fn tiers(&self) -> &[LayerTier] {
        &self.tiers
    }

    /// What becomes of `packet`, which this endpoint sends (egress) or receives (ingress). A connection that was judged
    /// [`Decision::Http`] is judged again with each of its requests: rules with `http` that do not match a request are
    /// skipped, all others decide as before.
    #[cfg(test)]
    fn judge(&self, packet: &Packet<'_>, sets: &NetworkSets) -> Decision<'_> {
        self.walk(packet, sets, &mut |at| Some(Decision::Http(at)))
    }

    /// For a connection: the rules with `http` of which one may allow a request, in order, and what becomes of a request
    /// that none of them does.
    pub(crate) fn requests(&self, packet: &Packet<'_>, sets: &NetworkSets) -> (Vec<At<'_>>, Decision<'_>) {
        let mut found = Vec::new();
        let last = self.walk(packet, sets, &mut |at| {
            found.push(at);
            None
        });
        (found, last)
    }

    /// `http`: what a rule that asks for requests decides of a connection, if anything.
    fn walk<'l>(&'l self, packet: &Packet<'_>, sets: &NetworkSets, http: &mut OnHttp<'_, 'l>) -> Decision<'l> {
        if let Some(policy) = &self.homeless {
            return Decision::Deny(Denied::NoTier(policy));
        }
        for tier in &self.tiers {
            match tier.judge(self.direction, packet, sets, http) {
                Step::Decided(decision) => return decision,
                Step::Passed => {}
                Step::Undecided => match tier.tier.default_action {
                    TierDefault::Deny => return Decision::Deny(Denied::TierDefault(tier)),
                    TierDefault::Pass => {}
                },
            }
        }
        match (self.has_profile, self.tiers.is_empty()) {
            (false, _) => Decision::Deny(Denied::NoProfile),
            (true, true) => Decision::NotApplicable,
            (true, false) => Decision::Allow(Allowed::Profile),
        }
    }
}

/// What a rule that asks for requests decides of a connection, if anything.
type OnHttp<'f, 'l> = dyn FnMut(At<'l>) -> Option<Decision<'l>> + 'f;

/// How far a tier came.
enum Step<'l> {
    Decided(Decision<'l>),
    /// A rule said so.
    Passed,
    Undecided,
}

impl LayerTier {
    fn judge<'l>(
        &'l self,
        direction: Direction,
        packet: &Packet<'_>,
        sets: &NetworkSets,
        http: &mut OnHttp<'_, 'l>,
    ) -> Step<'l> {
        for policy in &self.policies {
            for (rule, content) in policy.rules_of(direction).iter().enumerate() {
                let at = At { policy, rule };
                match (content.action, content.holds(packet, sets)) {
                    (_, Truth::No) | (Action::Log, _) | (Action::Allow, Truth::Maybe) => {}
                    (Action::Allow, Truth::Yes) => {
                        if let Some(decision) = allow(at, content, packet, http) {
                            return Step::Decided(decision);
                        }
                    }
                    (Action::Deny, Truth::Yes) => return Step::Decided(Decision::Deny(Denied::Rule(at))),
                    (Action::Pass, Truth::Yes) => return Step::Passed,
                    // What would follow may be wider than what this rule says.
                    (Action::Deny | Action::Pass, Truth::Maybe) => {
                        return Step::Decided(Decision::Deny(Denied::Unclear(at)));
                    }
                }
            }
        }
        Step::Undecided
    }
}

/// What an Allow rule that is about this packet says of it; `None` when it says nothing.
fn allow<'l>(at: At<'l>, rule: &Rule, packet: &Packet<'_>, on_http: &mut OnHttp<'_, 'l>) -> Option<Decision<'l>> {
    let allowed = Decision::Allow(Allowed::Rule(at));
    let Some(http) = &rule.http else { return Some(allowed) };
    // Only TCP carries the requests that can be judged.
    if packet.protocol != IpProtocol::TCP {
        return None;
    }
    match &packet.request {
        None => on_http(at),
        Some(request) => http.holds(request).then_some(allowed),
    }
}

impl Rule {
    /// Whether it is about this packet, requests aside.
    pub(crate) fn holds(&self, packet: &Packet<'_>, sets: &NetworkSets) -> Truth {
        let protocol = [
            self.protocol.is_none_or(|protocol| protocol == packet.protocol).into(),
            self.not_protocol.is_none_or(|protocol| protocol != packet.protocol).into(),
            self.source.has_port(&packet.source, packet.protocol),
            self.destination.has_port(&packet.destination, packet.protocol),
            self.ip_version.map_or(Truth::Yes, |version| packet.is_of(version)),
            self.icmp.map_or(Truth::Yes, |icmp| packet.has_icmp(icmp)),
            self.not_icmp.map_or(Truth::Yes, |icmp| packet.has_icmp(icmp).not()),
        ];
        let protocol = protocol.into_iter().min().unwrap_or(Truth::Yes);
        if protocol == Truth::No {
            return Truth::No;
        }
        let source = self.source.selects(&packet.source, sets);
        protocol.min(source).min(self.destination.selects(&packet.destination, sets))
    }
}

impl Packet<'_> {
    fn is_of(&self, version: IpVersion) -> Truth {
        match self.source.place.is_v4().or(self.destination.place.is_v4()) {
            Some(is_v4) => (is_v4 == (version == IpVersion::V4)).into(),
            None => Truth::Maybe,
        }
    }

    fn has_icmp(&self, wanted: Icmp) -> Truth {
        match self.icmp {
            Some(is) if is.kind != wanted.kind => Truth::No,
            Some(is) => match (wanted.code, is.code) {
                (None, _) => Truth::Yes,
                (Some(wanted), Some(code)) => (wanted == code).into(),
                (Some(_), None) => Truth::Maybe,
            },
            None if matches!(self.protocol, IpProtocol::ICMP | IpProtocol::ICMPV6) => Truth::Maybe,
            None => Truth::No,
        }
    }
}

impl Policy {
    /// Whether it judges what `endpoint` exchanges in this direction.
    pub(crate) fn applies_to(&self, endpoint: &Endpoint, direction: Direction) -> bool {
        let speaks = match direction {
            Direction::Ingress => self.ingress.is_some(),
            Direction::Egress => self.egress.is_some(),
        };
        speaks && self.subject.selects(endpoint)
    }

    /// Its rules of one direction, in order.
    pub(crate) fn rules_of(&self, direction: Direction) -> &[Rule] {
        let rules = match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        };
        rules.as_deref().unwrap_or_default()
    }

    /// Where its rules begin to say something else of destination ports: between two of these, they tell no port from
    /// another. `named`: what its named ports may be (the endpoint's own in ingress, all peers' in egress).
    pub(crate) fn port_starts(&self, direction: Direction, named: &[NamedPort]) -> BTreeSet<u16> {
        let mut starts = BTreeSet::from([0]);
        let peers = self.rules_of(direction).iter().map(|rule| &rule.destination);
        for ports in peers.flat_map(|peer| peer.ports.iter().chain(&peer.not_ports).flatten()) {
            let mut range = |first: u16, last: u16| {
                starts.insert(first);
                starts.extend(last.checked_add(1));
            };
            match ports {
                Ports::Range(first, last) => range(*first, *last),
                Ports::Named(name) => {
                    let known = named.iter().filter(|known| known.name == *name);
                    known.for_each(|known| range(known.port, known.port));
                }
            }
        }
        starts
    }

    /// Where its rules begin to say something else of types of ICMP messages.
    pub(crate) fn type_starts(&self, direction: Direction) -> BTreeSet<u16> {
        let asked = self.rules_of(direction).iter().flat_map(|rule| [rule.icmp, rule.not_icmp]).flatten();
        let types = asked.map(|icmp| u16::from(icmp.kind));
        [0].into_iter().chain(types.flat_map(|kind| [kind, kind.saturating_add(1)])).collect()
    }

    /// Whether a rule asks for source ports, which are not known before a connection is made.
    #[cfg(test)]
    fn asks_source_ports(&self, direction: Direction) -> bool {
        let mut sources = self.rules_of(direction).iter().map(|rule| &rule.source);
        sources.any(|peer| peer.ports.is_some() || peer.not_ports.is_some())
    }
}

#[cfg(test)]
mod tests;
