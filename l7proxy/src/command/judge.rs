//! What the policies of a configuration say of a request or a connection, without sockets.
//!
//! Must never decide anything itself: it asks what the running process would ask. Start at [`Scene::new`].

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use rules::{
    Denial, Direction, EndpointPolicy, Identity, InForce, L4Verdict, Nearest, Protocol, RequestView, RuleRef, Verdict,
};
use serde_json::{Value, json};

use crate::{app::Assembler, config::Config, endpoint::Peer, policy::World};

/// A configuration, and the policies that are in force there.
pub(super) struct Scene {
    config: Config,
    policies: Vec<InForce>,
    assembler: Assembler,
    world: World,
    /// What was asked for, by `namespace/name`.
    known: BTreeMap<String, Option<Arc<EndpointPolicy>>>,
}

impl Scene {
    pub(super) fn new(config: Config, policies: Vec<InForce>) -> Self {
        let mut assembler = Assembler::default();
        let world = assembler.assemble(&config, &policies, 1).world;
        Self { config, policies, assembler, world, known: BTreeMap::new() }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
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

    /// What its policies say; `None` when it is no pod.
    pub(super) fn policy_of(&mut self, peer: &Peer) -> Option<Arc<EndpointPolicy>> {
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

/// What one side says.
pub(super) enum Answer {
    NotEnforced,
    Allowed(Option<Arc<RuleRef>>),
    /// A connection may be made, and each of its requests is judged.
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

/// Of a request over TCP; without a policy, nothing is enforced.
pub(super) fn request(
    policy: Option<&EndpointPolicy>,
    direction: Direction,
    peer: Identity,
    port: u16,
    view: &RequestView<'_>,
) -> Answer {
    match (policy, connection(policy, direction, peer, Protocol::Tcp, port)) {
        (Some(policy), Answer::Judged) => match policy.direction(direction).evaluate(peer, port, view) {
            Verdict::Allow(permit) => match permit.audited() {
                Some(denial) => Answer::Audited(Box::new(denied(denial.clone()))),
                None => Answer::Allowed(permit.rule().cloned()),
            },
            Verdict::Deny(denial) => denied(denial),
        },
        (_, answer) => answer,
    }
}

/// Below HTTP.
pub(super) fn connection(
    policy: Option<&EndpointPolicy>,
    direction: Direction,
    peer: Identity,
    protocol: Protocol,
    port: u16,
) -> Answer {
    let Some(policy) = policy.map(|policy| policy.direction(direction)) else { return Answer::NotEnforced };
    match policy.l4(peer, protocol, port) {
        L4Verdict::NotEnforced => Answer::NotEnforced,
        L4Verdict::Allowed(_) if policy.is_audited(peer, protocol, port) => {
            Answer::Audited(Box::new(denied(policy.denial_of(peer, protocol.number(), port))))
        }
        L4Verdict::Allowed(rule) => Answer::Allowed(rule),
        L4Verdict::Denied(_) => denied(policy.denial_of(peer, protocol.number(), port)),
        L4Verdict::Redirect => Answer::Judged,
    }
}

fn denied(denial: Denial) -> Answer {
    let policies = denial.denied_by.iter().map(ToString::to_string).collect();
    Answer::Denied { policies, rule: denial.rule, tier: denial.tier, nearest: denial.nearest }
}

impl Answer {
    /// What it would be if it were enforced.
    fn beneath(&self) -> &Self {
        match self {
            Self::Audited(answer) => answer,
            Self::NotEnforced | Self::Allowed(_) | Self::Judged | Self::Denied { .. } => self,
        }
    }

    pub(super) fn is_denied(&self) -> bool {
        matches!(self, Self::Denied { .. })
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::NotEnforced => "allowed: no policy selects it in this direction".to_owned(),
            Self::Allowed(None) => "allowed".to_owned(),
            Self::Judged => "allowed: each of its requests is judged".to_owned(),
            Self::Audited(answer) => format!("allowed, and audited: {}", answer.text()),
            Self::Allowed(Some(rule)) => format!("allowed by {} {} ({})", rule.policy, rule.rule, rule.summary),
            Self::Denied { rule: Some(rule), .. } => {
                format!("denied by {} {} ({})", rule.policy, rule.rule, rule.summary)
            }
            Self::Denied { policies, tier, nearest, .. } => {
                let policies = policies.join(", ");
                let why = match tier {
                    Some(tier) => format!("denied by the end of tier \"{tier}\": no rule of {policies} decides it"),
                    None => format!("denied: no rule allows it; default deny by {policies}"),
                };
                match nearest {
                    None => why,
                    Some(nearest) => format!(
                        "{why}; nearest rule {} {} ({}): {} does not match, wanted {}",
                        nearest.rule.policy, nearest.rule.rule, nearest.rule.summary, nearest.field, nearest.expected
                    ),
                }
            }
        }
    }

    pub(super) fn json(&self) -> Value {
        let (verdict, enforced) = match self {
            Self::NotEnforced => ("ALLOWED", false),
            Self::Allowed(_) | Self::Judged => ("ALLOWED", true),
            Self::Audited(_) => ("AUDIT", true),
            Self::Denied { .. } => ("DENIED", true),
        };
        let (allowed_by, denied_by, deny_rule, tier, nearest) = match self.beneath() {
            Self::NotEnforced | Self::Judged | Self::Audited(_) => (None, None, None, None, None),
            Self::Allowed(by) => (by.as_deref(), None, None, None, None),
            Self::Denied { policies, rule, tier, nearest } => {
                (None, Some(policies), rule.as_deref(), tier.as_deref(), nearest.as_ref())
            }
        };
        json!({
            "verdict": verdict,
            "enforced": enforced,
            "allowedBy": allowed_by.map(rule_json),
            "deniedBy": denied_by,
            "denyRule": deny_rule.map(rule_json),
            "tier": tier,
            "nearest": nearest.map(|nearest| json!({
                "policy": nearest.rule.policy.to_string(),
                "rule": nearest.rule.rule,
                "summary": nearest.rule.summary,
                "field": nearest.field,
                "expected": nearest.expected,
            })),
        })
    }
}

/// A rule's policy, its place there, and what it asks for.
pub(super) fn rule_json(rule: &RuleRef) -> Value {
    json!({"policy": rule.policy.to_string(), "rule": rule.rule, "summary": rule.summary})
}
