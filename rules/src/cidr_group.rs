//! CIDR groups: addresses under a name and labels, to which `toCIDRSet` and `fromCIDRSet` refer.
//!
//! Owns in which groups an address is. Labels of all groups that hold it count together, as in Cilium. What a group that
//! is not valid may hold nobody knows: must never take it for a yes or a no. Start at [`CidrGroups::hold`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    iter,
};

use ipnet::IpNet;

use crate::{
    calico::party::Truth,
    labels::{Label, Labels},
    lint::in_document,
    manifest::{FieldError, Policy},
    policy::{Addresses, Effect, InForce, Kind, Peers},
    selector::{Key, Requirement, Selector},
};

/// Source of the keys that selectors of Kubernetes' form have.
const KUBERNETES: &str = "k8s";

/// A `CiliumCIDRGroup`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CidrGroup {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) nets: Vec<IpNet>,
}

/// Every group that is in force.
#[derive(Debug)]
pub(crate) struct CidrGroups<'p> {
    by_net: HashMap<IpNet, Vec<&'p CidrGroup>>,
    /// Names of those that are not valid.
    broken: BTreeSet<&'p str>,
}

impl<'p> CidrGroups<'p> {
    pub(crate) fn of(policies: &'p [InForce]) -> Self {
        let mut groups = Self { by_net: HashMap::new(), broken: BTreeSet::new() };
        for in_force in policies {
            match in_force {
                InForce::Policy(policy) => {
                    let Some(group) = &policy.cidr_group else { continue };
                    for net in &group.nets {
                        groups.by_net.entry(net.trunc()).or_default().push(group);
                    }
                }
                InForce::Refused(refused) if refused.key.kind == Kind::CiliumCidrGroup => {
                    groups.broken.insert(&refused.key.name);
                }
                InForce::Refused(_) => {}
            }
        }
        groups
    }

    /// Whether `addresses` are about what is outside the cluster and in `net`; `None`: in no network that anything names.
    pub(crate) fn hold(&self, addresses: &Addresses, net: Option<IpNet>) -> Truth {
        match addresses {
            Addresses::Net(block) => net.is_some_and(|net| block.contains(&net)).into(),
            Addresses::Group(name) if self.holding(net).any(|group| group.name == *name) => Truth::Yes,
            Addresses::Group(name) => unless(self.broken.contains(name.as_str()), Truth::No),
            Addresses::Groups(selector) => {
                let asked = selector.requirements.iter();
                asked.map(|requirement| self.meet(requirement, net)).min().unwrap_or(Truth::Yes)
            }
        }
    }

    /// Whether the labels of all groups that hold `net` meet a requirement.
    fn meet(&self, requirement: &Requirement, net: Option<IpNet>) -> Truth {
        let values = |key: &Key| {
            let key = key.key.clone();
            self.holding(net).filter_map(move |group| group.labels.get(&key))
        };
        let one_of = |key: &Key, wanted: &[String]| values(key).any(|value| wanted.contains(value));
        let (found, otherwise) = match requirement {
            Requirement::Is(key, wanted) => (values(key).any(|value| value == wanted), Truth::No),
            Requirement::In(key, wanted) => (one_of(key, wanted), Truth::No),
            Requirement::Exists(key) => (values(key).next().is_some(), Truth::No),
            Requirement::NotIn(key, wanted) => (one_of(key, wanted), Truth::Yes),
            Requirement::DoesNotExist(key) => (values(key).next().is_some(), Truth::Yes),
        };
        // A label that is there stays; one that is not may be of a group that cannot be read.
        if found { otherwise.not() } else { unless(!self.broken.is_empty(), otherwise) }
    }

    /// Groups that hold all of `net`.
    fn holding(&self, net: Option<IpNet>) -> impl Iterator<Item = &'p CidrGroup> {
        let wider = iter::successors(net.map(|net| net.trunc()), IpNet::supernet);
        wider.filter_map(|net| self.by_net.get(&net)).flatten().copied()
    }
}

/// `known`, unless a group that cannot be read may say otherwise.
fn unless(unclear: bool, known: Truth) -> Truth {
    if unclear { Truth::Maybe } else { known }
}

/// What policies that name groups are told of them.
#[derive(Debug, Default)]
pub(crate) struct KnownGroups<'p> {
    groups: Vec<&'p CidrGroup>,
    broken: BTreeSet<&'p str>,
}

impl<'p> KnownGroups<'p> {
    /// Of valid policies only.
    pub(crate) fn of_policies(policies: impl Iterator<Item = &'p Policy>) -> Self {
        Self { groups: policies.filter_map(|policy| policy.cidr_group.as_ref()).collect(), broken: BTreeSet::new() }
    }

    /// Each place of `policy` that names a group which does not exist or is not valid.
    pub(crate) fn unmet(&self, policy: &Policy) -> Vec<FieldError> {
        let mut unmet = Vec::new();
        for rule in &policy.rules {
            for (section, list) in [(&rule.ingress, "fromCIDRSet"), (&rule.egress, "toCIDRSet")] {
                for entry in &section.entries {
                    let Peers::Cidrs(cidrs) = &entry.peers else { continue };
                    for (index, cidr) in cidrs.iter().enumerate() {
                        let Some((key, reason)) = self.problem(&cidr.of, entry.effect) else { continue };
                        let field = in_document(&format!("{}.{list}[{index}].{key}", entry.path));
                        unmet.push(FieldError { line: entry.line.0, field, reason });
                    }
                }
            }
        }
        unmet
    }

    fn problem(&self, addresses: &Addresses, effect: Effect) -> Option<(&'static str, String)> {
        let (key, found) = match addresses {
            Addresses::Net(_) => return None,
            Addresses::Group(name) => ("cidrGroupRef", self.groups.iter().any(|group| group.name == *name)),
            Addresses::Groups(_) if !addresses.ask_for_groups() => return None,
            Addresses::Groups(selector) => ("cidrGroupSelector", self.groups.iter().any(|group| group.is_of(selector))),
        };
        let broken = match addresses {
            Addresses::Group(name) => self.broken.contains(name.as_str()),
            Addresses::Net(_) | Addresses::Groups(_) => !self.broken.is_empty(),
        };
        let what = addresses.text();
        match (found, broken, effect) {
            (true, _, _) => None,
            (false, true, Effect::Allow) => Some((key, format!("{what}: not valid; nobody is allowed by it"))),
            (false, true, Effect::Deny) => {
                Some((key, format!("{what}: not valid; every address outside of the cluster is denied")))
            }
            (false, false, Effect::Allow) => Some((key, format!("{what}: there is none; nobody is allowed by it"))),
            (false, false, Effect::Deny) => Some((key, format!("{what}: there is none; nobody is denied by it"))),
        }
    }
}

impl InForce {
    /// Each place that names a CIDR group which is not among `all`, or not valid, and what that means.
    #[must_use]
    pub fn unmet_groups(&self, all: &[Self]) -> Vec<FieldError> {
        let Self::Policy(policy) = self else { return Vec::new() };
        // Most name none, and need not know the others.
        if self.all_cidrs().all(|cidr| matches!(cidr.of, Addresses::Net(_))) {
            return Vec::new();
        }
        let valid = all.iter().filter_map(|in_force| match in_force {
            Self::Policy(policy) => Some(&**policy),
            Self::Refused(_) => None,
        });
        KnownGroups { broken: CidrGroups::of(all).broken, ..KnownGroups::of_policies(valid) }.unmet(policy)
    }
}

impl CidrGroup {
    /// Whether an address of it alone would be selected.
    fn is_of(&self, selector: &Selector) -> bool {
        let labels = self.labels.iter().map(|(key, value)| Label::new(KUBERNETES, key, value));
        selector.matches(&Labels::new(labels))
    }
}

impl Addresses {
    /// Whether a group must be there, by name or by a label, for them to be about any address.
    pub(crate) fn ask_for_groups(&self) -> bool {
        match self {
            Self::Net(_) => false,
            Self::Group(_) => true,
            Self::Groups(selector) => selector.requirements.iter().any(|requirement| match requirement {
                Requirement::Is(..) | Requirement::In(..) | Requirement::Exists(_) => true,
                Requirement::NotIn(..) | Requirement::DoesNotExist(_) => false,
            }),
        }
    }

    /// As records and findings name them.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Net(net) => net.to_string(),
            Self::Group(name) => format!("CIDR group {name}"),
            Self::Groups(selector) => format!("CIDR groups with {}", selector.summary()),
        }
    }
}
