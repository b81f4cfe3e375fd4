//! What becomes of a connection and of its requests: tiers, policies and rules in their order.
//!
//! Owns the order. What is not known never opens anything. Must never join rules or policies: the first that matches
//! decides. Start at [`Layer::of`], then [`Layer::decide`].

use std::{collections::BTreeSet, sync::Arc};

use super::{
    field::Field,
    party::{Endpoint, NamedPort, NetworkSets, Party, Truth},
    policy::{Action, Icmp, IpProtocol, IpVersion, Policy, Ports, Rule, Tier, TierDefault},
};
use crate::verdict::Direction;

/// Every policy that applies to one endpoint in one direction, in order.
#[derive(Debug)]
pub(crate) struct Layer {
    direction: Direction,
    tiers: Vec<LayerTier>,
    /// Policies that apply and whose tier does not exist: nobody can say when they are asked.
    homeless: Vec<Arc<Policy>>,
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

/// What is judged: a connection, before any request.
#[derive(Clone, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) protocol: IpProtocol,
    /// Of a message, as far as it is known: the kernel tells types and no codes.
    pub(crate) icmp: Option<Icmp>,
    pub(crate) source: Party<'a>,
    pub(crate) destination: Party<'a>,
}

/// What becomes of a connection, and of each of its requests.
#[derive(Clone, Debug)]
pub(crate) struct Decision<'l> {
    /// Rules with `http`, in order: the first that a request matches allows it.
    pub(crate) http: Vec<At<'l>>,
    /// The first denial that is only told, because its policies are audited; and how many of `http` come before it.
    pub(crate) told: Option<(usize, Denied<'l>)>,
    /// What becomes of everything else.
    pub(crate) last: Outcome<'l>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome<'l> {
    /// No policy applies: it is open.
    NotApplicable,
    /// It passes.
    Allow(Allowed<'l>),
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
    Unclear(Miss<'l>),
    /// Policies of the tier apply, none decided.
    TierEnd(&'l LayerTier),
    /// The policy's tier does not exist.
    NoTier(&'l Arc<Policy>),
    /// Nothing decided, and there is no namespace whose profile would allow.
    NoProfile,
}

/// A rule, and the first field of it that does not hold, or of which that is not known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Miss<'l> {
    pub(crate) at: At<'l>,
    pub(crate) field: Field,
    pub(crate) truth: Truth,
}

impl Layer {
    /// Of policies that all apply. `tiers` need not hold the built-in ones. `has_profile`: the endpoint's namespace allows
    /// what no policy decides.
    pub(crate) fn of(tiers: &[Tier], applying: &[Arc<Policy>], direction: Direction, has_profile: bool) -> Self {
        let built_in = Tier::built_in().into_iter().filter(|known| tiers.iter().all(|tier| tier.name != known.name));
        let mut sorted: Vec<Tier> = tiers.iter().cloned().chain(built_in).collect();
        sorted.sort_by(|a, b| (a.order, &a.name).cmp(&(b.order, &b.name)));
        let mut applying: Vec<&Arc<Policy>> = applying.iter().collect();
        // Name, then namespace and kind, so that there is one order in any case.
        applying.sort_by(|a, b| (a.order, a.short_name(), &a.key).cmp(&(b.order, b.short_name(), &b.key)));
        let homeless = applying.iter().filter(|policy| sorted.iter().all(|tier| tier.name != policy.tier));
        let homeless = homeless.map(|policy| Arc::clone(policy)).collect();
        let of = |tier: &Tier| {
            applying.iter().filter(|policy| policy.tier == tier.name).map(|policy| Arc::clone(policy)).collect()
        };
        let layer_tiers = sorted.into_iter().map(|tier| LayerTier { policies: of(&tier), tier });
        Self { direction, tiers: layer_tiers.filter(|tier| !tier.policies.is_empty()).collect(), homeless, has_profile }
    }

    /// What becomes of `packet`, which this endpoint sends (egress) or receives (ingress), and of its requests.
    pub(crate) fn decide(&self, packet: &Packet<'_>, sets: &NetworkSets) -> Decision<'_> {
        let mut walk = Walk { direction: self.direction, packet, sets, http: Vec::new(), told: None };
        let last = self.walk(&mut walk);
        Decision { http: walk.http, told: walk.told, last }
    }

    fn walk<'l>(&'l self, walk: &mut Walk<'l, '_>) -> Outcome<'l> {
        if let Some(policy) = self.homeless.iter().find(|policy| !policy.audit) {
            return Outcome::Deny(Denied::NoTier(policy));
        }
        if let Some(policy) = self.homeless.first() {
            walk.tell(Denied::NoTier(policy));
        }
        for tier in &self.tiers {
            match (tier.walk(walk), tier.tier.default_action) {
                (Step::Decided(outcome), _) => return outcome,
                (Step::Passed, _) | (Step::Undecided, TierDefault::Pass) => {}
                (Step::Undecided, TierDefault::Deny) if tier.is_enforced() => {
                    return Outcome::Deny(Denied::TierEnd(tier));
                }
                (Step::Undecided, TierDefault::Deny) => walk.tell(Denied::TierEnd(tier)),
            }
        }
        match (self.has_profile, self.tiers.is_empty()) {
            (false, _) => Outcome::Deny(Denied::NoProfile),
            (true, true) => Outcome::NotApplicable,
            (true, false) => Outcome::Allow(Allowed::Profile),
        }
    }

    /// At the end of the tier `ended`: of the rules asked so far that would have let the packet on, the one that misses
    /// least. Of equals, one that is about these peers, then one that allows, then the first.
    pub(crate) fn nearest<'l>(
        &'l self,
        ended: &LayerTier,
        packet: &Packet<'_>,
        sets: &NetworkSets,
    ) -> Option<Miss<'l>> {
        let mut best: Option<(Rank, Miss<'l>)> = None;
        for tier in &self.tiers {
            let is_last = std::ptr::eq(tier, ended);
            for policy in &tier.policies {
                for (rule, content) in policy.rules_of(self.direction).iter().enumerate() {
                    let passes = content.action == Action::Pass;
                    if content.action != Action::Allow && !(passes && is_last) {
                        continue;
                    }
                    let most = best.as_ref().map_or(usize::MAX, |((count, ..), _)| *count);
                    let Some(misses) = content.misses(packet, sets, most) else { continue };
                    let Misses { count, of_peer, first: (field, truth) } = misses;
                    let rank = (count, of_peer, passes);
                    if best.as_ref().is_none_or(|(known, _)| rank < *known) {
                        best = Some((rank, Miss { at: At { policy, rule }, field, truth }));
                    }
                }
            }
            if is_last {
                break;
            }
        }
        best.map(|(_, miss)| miss)
    }
}

/// How far a rule is from a packet; smaller is nearer. Fields that are missed, whether one of them says who the peers are,
/// and whether the rule only passes on.
type Rank = (usize, bool, bool);

/// What of a rule does not hold.
struct Misses {
    count: usize,
    /// One of them says who the peers are.
    of_peer: bool,
    first: (Field, Truth),
}

/// On the way through the tiers.
struct Walk<'l, 'w> {
    direction: Direction,
    packet: &'w Packet<'w>,
    sets: &'w NetworkSets,
    http: Vec<At<'l>>,
    told: Option<(usize, Denied<'l>)>,
}

impl<'l> Walk<'l, '_> {
    /// Of what is only told, the first counts.
    fn tell(&mut self, denied: Denied<'l>) {
        if self.told.is_none() {
            self.told = Some((self.http.len(), denied));
        }
    }
}

/// How far a tier came.
enum Step<'l> {
    Decided(Outcome<'l>),
    /// A rule said so.
    Passed,
    Undecided,
}

impl LayerTier {
    /// Whether its end denies: a policy of it is not only audited.
    pub(crate) fn is_enforced(&self) -> bool {
        self.policies.iter().any(|policy| !policy.audit)
    }

    fn walk<'l>(&'l self, walk: &mut Walk<'l, '_>) -> Step<'l> {
        for policy in &self.policies {
            for (rule, content) in policy.rules_of(walk.direction).iter().enumerate() {
                let at = At { policy, rule };
                let denied = match (content.action, content.holds(walk.packet, walk.sets)) {
                    (_, Truth::No) | (Action::Log, _) | (Action::Allow, Truth::Maybe) => continue,
                    (Action::Allow, Truth::Yes) if content.http.is_some() => {
                        walk.http.push(at);
                        continue;
                    }
                    (Action::Allow, Truth::Yes) => return Step::Decided(Outcome::Allow(Allowed::Rule(at))),
                    (Action::Pass, Truth::Yes) => return Step::Passed,
                    (Action::Deny, Truth::Yes) => Denied::Rule(at),
                    // What would follow may be wider than what this rule says.
                    (Action::Deny | Action::Pass, Truth::Maybe) => Denied::Unclear(content.unclear(at, walk)),
                };
                if !policy.audit {
                    return Step::Decided(Outcome::Deny(denied));
                }
                walk.tell(denied);
                // Nobody can say whether it passes on: what stands behind is not asked, as if the policy were not there.
                if content.action == Action::Pass {
                    break;
                }
            }
        }
        Step::Undecided
    }
}

impl Rule {
    /// The first of its fields of which nobody knows whether it holds.
    fn unclear<'l>(&self, at: At<'l>, walk: &Walk<'_, '_>) -> Miss<'l> {
        let is_unclear = |field: &Field| self.truth(*field, walk.packet, walk.sets) == Truth::Maybe;
        let field = Field::ALL.into_iter().find(is_unclear).unwrap_or(Field::Protocol);
        Miss { at, field, truth: Truth::Maybe }
    }

    /// `None`: all fields hold, or more than `most` do not.
    fn misses(&self, packet: &Packet<'_>, sets: &NetworkSets, most: usize) -> Option<Misses> {
        let (mut count, mut first, mut of_peer) = (0_usize, None, false);
        for field in Field::ALL {
            let truth = self.truth(field, packet, sets);
            if truth == Truth::Yes {
                continue;
            }
            count = count.saturating_add(1);
            if count > most {
                return None;
            }
            first = first.or(Some((field, truth)));
            of_peer |= field.is_of_peer();
        }
        first.map(|first| Misses { count, of_peer, first })
    }
}

impl Packet<'_> {
    pub(crate) fn is_of(&self, version: IpVersion) -> Truth {
        match self.source.place.is_v4().or(self.destination.place.is_v4()) {
            Some(is_v4) => (is_v4 == (version == IpVersion::V4)).into(),
            None => Truth::Maybe,
        }
    }

    pub(crate) fn has_icmp(&self, wanted: Icmp) -> Truth {
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
}

#[cfg(test)]
mod tests;
