//! What the policies of a configuration say of a request or a connection, without sockets.
//!
//! Must never decide anything itself: it asks what the running process would ask. Start at [`Scene::new`], then
//! [`Side::request`].

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use rules::{
    Denial, Direction, DirectionPolicy, EndpointPolicy, HeaderEdit, Identity, InForce, L4Verdict, Nearest, Permit,
    Protocol, RequestView, RuleRef, Verdict,
};
use serde_json::{Value, json};

use super::place::{Place, Places};
use crate::{
    app::Assembler,
    config::Config,
    endpoint::Peer,
    policy::World,
    source::{Placed, Versions},
};

/// A configuration, and the policies that are in force there.
pub(super) struct Scene {
    config: Config,
    policies: Vec<InForce>,
    places: Places,
    assembler: Assembler,
    world: World,
    /// What was asked for, by `namespace/name`.
    known: BTreeMap<String, Option<Arc<EndpointPolicy>>>,
}

impl Scene {
    pub(super) fn new(config: Config, versions: &Versions) -> Self {
        let placed = versions.placed();
        let policies: Vec<InForce> = placed.iter().map(|Placed { in_force, .. }| in_force.clone()).collect();
        let mut assembler = Assembler::default();
        let world = assembler.assemble(&config, &policies, 1).world;
        Self { config, policies, places: Places::new(placed), assembler, world, known: BTreeMap::new() }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Where its policies are written.
    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    /// Who an address is.
    pub(super) fn at(&self, address: IpAddr) -> Arc<Peer> {
        Arc::clone(self.world.ipcache.lookup(address))
    }

    /// Every address that somebody has.
    pub(super) fn addresses(&self) -> BTreeMap<IpAddr, Arc<Peer>> {
        self.world.ipcache.addresses().map(|(address, peer)| (*address, Arc::clone(peer))).collect()
    }

    /// `namespace/name` of a pod of the configuration, or an address.
    pub(super) fn peer(&self, name: &str) -> Result<Arc<Peer>, String> {
        if let Ok(address) = name.parse() {
            return Ok(self.at(address));
        }
        let local = self.config.endpoints.iter().map(|endpoint| (&endpoint.pod, &endpoint.addresses));
        let remote = self.config.remotes.iter().map(|remote| (&remote.pod, &remote.addresses));
        let found = local.chain(remote).find(|(pod, _)| *pod == name);
        let address = found.and_then(|(_, addresses)| addresses.first().copied());
        let address = address
            .ok_or_else(|| format!("{name}: no such pod in endpoints or remotes; give namespace/pod or an address"))?;
        Ok(self.at(address))
    }

    /// What the policies of `own` say in one direction of `other`. Nothing, when it is no pod.
    pub(super) fn side(&mut self, own: &Peer, direction: Direction, other: Identity) -> Side {
        // This node may always reach its own pods, if it may at all.
        let is_probe = direction == Direction::Ingress && other == Identity::HOST && own.id != 0;
        let is_let_in = is_probe && self.config.host.allow;
        Side { policy: self.policy_of(own), direction, peer: other, is_let_in }
    }

    fn policy_of(&mut self, peer: &Peer) -> Option<Arc<EndpointPolicy>> {
        let pod = pod_name(peer)?;
        if let Some(known) = self.known.get(&pod) {
            return known.clone();
        }
        let policy = self.assembler.policy_of(&self.config, &self.policies, &pod).map(Arc::new);
        self.known.insert(pod, policy.clone());
        policy
    }
}

/// `namespace/name` of what is a pod.
pub(super) fn pod_name(peer: &Peer) -> Option<String> {
    (!peer.pod.is_empty()).then(|| format!("{}/{}", peer.namespace, peer.pod))
}

/// The policies of one end in one direction, and who is at the other end.
pub(super) struct Side {
    /// `None`: it is no pod.
    policy: Option<Arc<EndpointPolicy>>,
    direction: Direction,
    peer: Identity,
    is_let_in: bool,
}

/// What one side says.
pub(super) enum Answer {
    /// It is no pod of the configuration: nothing is enforced there.
    NoPod,
    NotEnforced,
    /// `host.allow`.
    LetIn,
    Allowed(Option<Arc<RuleRef>>),
    /// A connection goes to the proxy, which judges each of its requests.
    Judged,
    /// It passes, and is recorded as what it would be.
    Audited(Box<Answer>),
    Denied {
        policies: Vec<String>,
        rule: Option<Arc<RuleRef>>,
        tier: Option<Arc<str>>,
        nearest: Option<Nearest>,
    },
}

impl Side {
    /// The policies, if there are any that are asked.
    pub(super) fn policy(&self) -> Option<&DirectionPolicy> {
        self.policy.as_ref().filter(|_| !self.is_let_in).map(|policy| policy.direction(self.direction))
    }

    pub(super) fn direction(&self) -> Direction {
        self.direction
    }

    pub(super) fn peer(&self) -> Identity {
        self.peer
    }

    /// Of a request over TCP; with the edits of its headers, if it passes the proxy here.
    pub(super) fn request(&self, port: u16, view: &RequestView<'_>) -> (Answer, Vec<HeaderEdit>) {
        match (self.policy(), self.connection(Protocol::Tcp, port)) {
            (Some(policy), Answer::Judged) => match policy.evaluate(self.peer, port, view) {
                Verdict::Allow(permit) => (passed(&permit), permit.edits().to_vec()),
                Verdict::Deny(denial) => (denied(denial), Vec::new()),
            },
            (_, answer) => (answer, Vec::new()),
        }
    }

    /// Below HTTP.
    pub(super) fn connection(&self, protocol: Protocol, port: u16) -> Answer {
        if self.policy.is_none() {
            return Answer::NoPod;
        }
        let Some(policy) = self.policy() else { return Answer::LetIn };
        let denial = || denied(policy.denial_of(self.peer, protocol.number(), port));
        match policy.l4(self.peer, protocol, port) {
            L4Verdict::NotEnforced => Answer::NotEnforced,
            L4Verdict::Allowed(_) if policy.is_audited(self.peer, protocol, port) => {
                Answer::Audited(Box::new(denial()))
            }
            L4Verdict::Allowed(rule) => Answer::Allowed(rule),
            L4Verdict::Denied(_) => denial(),
            L4Verdict::Redirect => Answer::Judged,
        }
    }

    /// The rule that would allow a denied request if its headers were others.
    pub(super) fn allows_but_for_headers(&self, port: u16, view: &RequestView<'_>) -> Option<Arc<RuleRef>> {
        self.policy()?.allows_but_for_headers(self.peer, port, view)
    }
}

fn passed(permit: &Permit) -> Answer {
    match permit.audited() {
        Some(denial) => Answer::Audited(Box::new(denied(denial.clone()))),
        None => Answer::Allowed(permit.rule().cloned()),
    }
}

fn denied(denial: Denial) -> Answer {
    let policies = denial.denied_by.iter().map(ToString::to_string).collect();
    Answer::Denied { policies, rule: denial.rule, tier: denial.tier, nearest: denial.nearest }
}

impl Answer {
    /// What it would be if it were enforced.
    pub(super) fn beneath(&self) -> &Self {
        match self {
            Self::Audited(answer) => answer,
            Self::NoPod | Self::NotEnforced | Self::LetIn | Self::Allowed(_) | Self::Judged | Self::Denied { .. } => {
                self
            }
        }
    }

    /// The rule that allows or denies it.
    pub(super) fn rule(&self) -> Option<&RuleRef> {
        match self.beneath() {
            Self::Allowed(rule) | Self::Denied { rule, .. } => rule.as_deref(),
            Self::NoPod | Self::NotEnforced | Self::LetIn | Self::Judged | Self::Audited(_) => None,
        }
    }

    pub(super) fn is_denied(&self) -> bool {
        matches!(self, Self::Denied { .. })
    }

    /// One word for programs.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::NoPod | Self::NotEnforced | Self::LetIn | Self::Allowed(_) => "ALLOWED",
            Self::Judged => "REDIRECTED",
            Self::Audited(_) => "AUDIT",
            Self::Denied { .. } => "DENIED",
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::Denied { rule: None, nearest: Some(nearest), .. } => format!(
                "{}; nearest rule {} {} ({}): {} does not match, wanted {}",
                self.reason(),
                nearest.rule.policy,
                nearest.rule.rule,
                nearest.rule.summary,
                nearest.field,
                nearest.expected
            ),
            Self::Audited(answer) => format!("allowed, and audited: {}", answer.text()),
            Self::NoPod | Self::NotEnforced | Self::LetIn | Self::Allowed(_) | Self::Judged | Self::Denied { .. } => {
                self.reason()
            }
        }
    }

    /// Without the nearest rule.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::NoPod => "allowed: it is no pod of the configuration, so nothing is enforced there".to_owned(),
            Self::NotEnforced => "allowed: no policy selects it in this direction".to_owned(),
            Self::LetIn => "allowed: this node may always reach its pods (host.allow)".to_owned(),
            Self::Allowed(None) => "allowed: no rule denies it".to_owned(),
            Self::Judged => "redirected to the proxy: each of its requests is judged".to_owned(),
            Self::Audited(answer) => format!("allowed, and audited: {}", answer.reason()),
            Self::Allowed(Some(rule)) => format!("allowed by {} {} ({})", rule.policy, rule.rule, rule.summary),
            Self::Denied { rule: Some(rule), .. } => {
                format!("denied by {} {} ({})", rule.policy, rule.rule, rule.summary)
            }
            Self::Denied { policies, tier, .. } => {
                let policies = policies.join(", ");
                match tier {
                    Some(tier) => format!("denied by the end of tier \"{tier}\": no rule of {policies} decides it"),
                    None => format!("denied: no rule allows it; default deny by {policies}"),
                }
            }
        }
    }

    pub(super) fn json(&self, places: &Places) -> Value {
        let (allowed_by, denied_by, deny_rule, tier, nearest) = match self.beneath() {
            Self::Allowed(by) => (by.as_deref(), None, None, None, None),
            Self::Denied { policies, rule, tier, nearest } => {
                (None, Some(policies), rule.as_deref(), tier.as_deref(), nearest.as_ref())
            }
            Self::NoPod | Self::NotEnforced | Self::LetIn | Self::Judged | Self::Audited(_) => {
                (None, None, None, None, None)
            }
        };
        json!({
            "verdict": self.word(),
            "enforced": !matches!(self, Self::NoPod | Self::NotEnforced | Self::LetIn),
            "allowedBy": allowed_by.map(|rule| rule_json(rule, places)),
            "deniedBy": denied_by,
            "denyRule": deny_rule.map(|rule| rule_json(rule, places)),
            "tier": tier,
            "nearest": nearest.map(|nearest| {
                let rule = rule_json(&nearest.rule, places);
                super::with(super::with(rule, "field", nearest.field.clone().into()), "expected", nearest.expected.clone().into())
            }),
        })
    }
}

/// A rule's policy, its place there, what it asks for, and where it is written.
pub(super) fn rule_json(rule: &RuleRef, places: &Places) -> Value {
    let place = places.of(rule);
    json!({
        "policy": rule.policy.to_string(),
        "rule": rule.rule,
        "summary": rule.summary,
        "file": place.as_ref().map(|Place { file, .. }| file.display().to_string()),
        "line": place.map(|Place { line, .. }| line),
    })
}
