//! Which rules apply to an endpoint, and what of the endpoint they ask for.
//!
//! Owns the question whether two endpoints may do the same: what an endpoint may do is made of an [`Applying`] and of
//! nothing else of the endpoint. Must never leave out what a rule could ask for. Start at [`Clauses::applying`].

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{PortNames, Subject, calico::Tiered};
use crate::{
    labels::{CLUSTER, Labels},
    manifest::{self, Refused, Scope},
    policy::{Entity, Entry, InForce, Peers, PortNumber, Rule},
    same::Same,
    selector::Selector,
    verdict::Direction,
};

/// All that applies to one endpoint. Equal for endpoints that may do the same; versions of policies are compared as the
/// very values that they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Applying {
    pub(super) ingress: Arc<Key>,
    pub(super) egress: Arc<Key>,
}

/// All that applies in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// In the order of the policies.
    pub(super) clauses: Vec<Applied>,
    pub(super) tiers: Option<Tiered>,
}

/// A clause, and what it asks of the endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Applied {
    pub(super) version: Version,
    /// Which of its rules, or of its scopes.
    pub(super) index: usize,
    pub(super) direction: Direction,
    /// `None`: nothing.
    pub(super) asked: Option<Box<Asked>>,
}

/// What a clause may ask of the endpoint that it applies to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    /// Which cluster it is of.
    pub(super) cluster: Option<String>,
    /// Those of its container ports that the clause names.
    pub(super) ports: PortNames,
}

/// A version of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Version {
    Policy(Same<manifest::Policy>),
    Refused(Same<Refused>),
}

impl From<&InForce> for Version {
    fn from(in_force: &InForce) -> Self {
        match in_force {
            InForce::Policy(policy) => Self::Policy(Same(Arc::clone(policy))),
            InForce::Refused(refused) => Self::Refused(Same(Arc::clone(refused))),
        }
    }
}

/// What is looked at of an endpoint to find what applies to it: quickly compared, but not always equal where that is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Looks {
    /// For each subject, whether it selects the endpoint.
    selected: Vec<bool>,
    /// By any clause, whether it applies or not.
    asked: Option<Box<Asked>>,
    /// In ingress and in egress.
    tiers: [Option<Tiered>; 2],
}

/// Every clause of everything in force.
#[derive(Debug)]
pub(super) struct Clauses<'a> {
    all: Vec<Clause>,
    /// Subjects of clauses; selectors each once.
    subjects: Vec<Who<'a>>,
    /// What they ask for, taken together.
    asks: Asks,
}

/// Whom a clause is about.
#[derive(Clone, Copy, Debug)]
enum Who<'a> {
    Selected(&'a Selector),
    /// Of a refused policy: Calico's selectors may narrow it.
    In(&'a Scope),
}

impl Who<'_> {
    fn selects(self, labels: &Labels) -> bool {
        match self {
            Self::Selected(selector) => selector.matches(labels),
            Self::In(scope) => scope.selects(labels),
        }
    }
}

/// One rule of a policy, or one scope of a refused one.
#[derive(Debug)]
struct Clause {
    version: Version,
    index: usize,
    /// Its place among the subjects.
    subject: usize,
    ingress: Option<Asks>,
    egress: Option<Asks>,
}

/// What a clause asks for in one direction in which it says anything.
#[derive(Clone, Debug, Default)]
struct Asks {
    cluster: bool,
    ports: BTreeSet<String>,
    /// For everything, whatever it says.
    everything: bool,
}

impl<'a> Clauses<'a> {
    pub(super) fn of(policies: &'a [InForce]) -> Self {
        let mut known: HashMap<&'a Selector, usize> = HashMap::new();
        let mut clauses = Self { all: Vec::new(), subjects: Vec::new(), asks: Asks::default() };
        for in_force in policies {
            let mut add = |index, who: Who<'a>, [ingress, egress]: [Option<Asks>; 2]| {
                let next = clauses.subjects.len();
                let subject = match who {
                    Who::Selected(selector) => *known.entry(selector).or_insert(next),
                    Who::In(_) => next,
                };
                if subject == next {
                    clauses.subjects.push(who);
                }
                for asks in ingress.iter().chain(&egress) {
                    clauses.asks.cluster |= asks.cluster;
                    clauses.asks.ports.extend(asks.ports.iter().cloned());
                }
                clauses.all.push(Clause { version: in_force.into(), index, subject, ingress, egress });
            };
            match in_force {
                InForce::Policy(policy) => {
                    for (index, rule) in policy.rules.iter().enumerate() {
                        let asks = [Direction::Ingress, Direction::Egress].map(|direction| of_rule(rule, direction));
                        add(index, Who::Selected(&rule.subject), asks);
                    }
                }
                InForce::Refused(refused) => {
                    for (index, scope) in refused.scopes.iter().enumerate() {
                        let asks = [scope.ingress, scope.egress].map(|denies| denies.then(Asks::default));
                        add(index, Who::In(scope), asks);
                    }
                }
            }
        }
        clauses
    }

    /// The same, but each is taken to ask for everything.
    #[cfg(feature = "oracle")]
    pub(super) fn asking_for_everything(mut self) -> Self {
        let of_clauses = self.all.iter_mut().flat_map(|clause| clause.ingress.iter_mut().chain(&mut clause.egress));
        for asks in of_clauses.chain([&mut self.asks]) {
            asks.everything = true;
        }
        self
    }

    /// What there is to see of `subject`; `tiers`: what applies of Calico's.
    pub(super) fn looks(&self, subject: &Subject<'_>, tiers: [Option<Tiered>; 2]) -> Looks {
        let selected = self.subjects.iter().map(|who| who.selects(subject.labels)).collect();
        Looks { selected, asked: self.asks.of(subject.labels.get("k8s", CLUSTER), subject.ports), tiers }
    }

    /// What applies, in ingress and in egress.
    pub(super) fn applying(&self, looks: &Looks) -> [Key; 2] {
        let (mut ingress, mut egress) = (Vec::new(), Vec::new());
        let (nothing, is_selected) = (Asked::default(), |subject| looks.selected.get(subject).is_some_and(|is| *is));
        let asked = looks.asked.as_deref().unwrap_or(&nothing);
        for clause in self.all.iter().filter(|clause| is_selected(clause.subject)) {
            let applied = |asks: &Asks, direction| Applied {
                version: clause.version.clone(),
                index: clause.index,
                direction,
                asked: asks.of(asked.cluster.as_deref(), &asked.ports),
            };
            ingress.extend(clause.ingress.as_ref().map(|asks| applied(asks, Direction::Ingress)));
            egress.extend(clause.egress.as_ref().map(|asks| applied(asks, Direction::Egress)));
        }
        let [ingress_tiers, egress_tiers] = looks.tiers.clone();
        [Key { clauses: ingress, tiers: ingress_tiers }, Key { clauses: egress, tiers: egress_tiers }]
    }
}

impl Asks {
    /// Nothing of the endpoint but what is asked for.
    fn of(&self, cluster: Option<&str>, ports: &PortNames) -> Option<Box<Asked>> {
        let cluster = cluster.filter(|_| self.cluster || self.everything).map(str::to_owned);
        let asked = |name: &String| self.ports.contains(name) || self.everything;
        let asked = ports.iter().filter(|(name, _)| asked(name));
        let ports: PortNames = asked.map(|(name, port)| (name.clone(), *port)).collect();
        (cluster.is_some() || !ports.is_empty()).then(|| Box::new(Asked { cluster, ports }))
    }
}

/// `None`: it says nothing in this direction.
fn of_rule(rule: &Rule, direction: Direction) -> Option<Asks> {
    let section = rule.section(direction);
    if !section.default_deny && section.entries.is_empty() {
        return None;
    }
    let mut asks = Asks::default();
    for Entry { line: _, path: _, effect: _, peers, ports } in &section.entries {
        asks.cluster |= match peers {
            Peers::Entities(entities) => entities.contains(&Entity::Cluster),
            Peers::Any | Peers::Nobody | Peers::Endpoints(_) | Peers::Cidrs(_) | Peers::Services(_) => false,
        };
        // Names in egress are the peers'.
        let of_own = ports.iter().flatten().flat_map(|rule| &rule.ports).filter(|_| direction == Direction::Ingress);
        asks.ports.extend(of_own.filter_map(|port| match &port.number {
            PortNumber::Name(name) => Some(name.clone()),
            PortNumber::Number(_) | PortNumber::Range(..) | PortNumber::Type(_) => None,
        }));
    }
    Some(asks)
}
