//! Whom a rule means → identities.
//!
//! Owns what selectors, CIDRs, entities and services select. Each selector is asked once, however many rules have it and
//! however many endpoints they apply to. Must never select the unknown identity. Start at [`PeerSets::of`].

use std::{collections::HashMap, sync::Arc};

use ipnet::IpNet;

use super::Service;
use crate::{
    cidr_group::CidrGroups,
    identity::{Identities, Identity},
    labels::{CLUSTER, Labels},
    policy::{Entity, Entry, InForce, Peers, ServiceRef},
    selector::{Key, Requirement, Selector},
    set::PeerSet,
};

/// What is known of identities, and what was asked of them already.
#[derive(Debug)]
pub(super) struct PeerSets<'a> {
    identities: &'a Identities,
    services: &'a [Service],
    groups: CidrGroups<'a>,
    selected: HashMap<Selector, Arc<[Identity]>>,
}

impl<'a> PeerSets<'a> {
    pub(super) fn new(policies: &'a [InForce], identities: &'a Identities, services: &'a [Service]) -> Self {
        Self { identities, services, groups: CidrGroups::of(policies), selected: HashMap::new() }
    }

    /// `None`: nobody, and nobody ever will be. `cluster`: the endpoint's.
    pub(super) fn of(&mut self, entry: &Entry, cluster: Option<&str>) -> Option<PeerSet> {
        Some(match &entry.peers {
            Peers::Nobody => return None,
            Peers::Any => PeerSet::Any,
            Peers::Endpoints(selectors) => self.one_of(selectors),
            Peers::Cidrs(cidrs) => {
                let is_in = |identity, labels: &Labels| {
                    cidrs
                        .iter()
                        .any(|cidr| self.groups.is_in(cidr, entry.effect, labels, self.identities.cidr(identity)))
                };
                PeerSet::Only(self.only(is_in))
            }
            Peers::Entities(entities) if entities.contains(&Entity::All) => PeerSet::Any,
            Peers::Entities(entities) => {
                PeerSet::Only(self.only(|_, labels| entities.iter().any(|entity| entity.selects(labels, cluster))))
            }
            Peers::Services(wanted) => {
                let services = self.services.iter().filter(|service| wanted.iter().any(|one| one.means(service)));
                let selectors: Vec<Selector> = services.filter_map(pods_of).collect();
                self.one_of(&selectors)
            }
        })
    }

    /// Those that one of `selectors` selects.
    fn one_of(&mut self, selectors: &[Selector]) -> PeerSet {
        if let [selector] = selectors {
            return PeerSet::Only(self.selected(selector));
        }
        let mut all: Vec<Identity> = Vec::new();
        for selector in selectors {
            all.extend_from_slice(&self.selected(selector));
        }
        all.sort_unstable();
        all.dedup();
        PeerSet::Only(all.into())
    }

    fn selected(&mut self, selector: &Selector) -> Arc<[Identity]> {
        if let Some(known) = self.selected.get(selector) {
            return Arc::clone(known);
        }
        let selected = self.only(|_, labels| selector.matches(labels));
        self.selected.insert(selector.clone(), Arc::clone(&selected));
        selected
    }

    /// Never the unknown identity: nothing is known of it that a selector could ask for, and 0 means "any" to the kernel.
    fn only(&self, selects: impl Fn(Identity, &Labels) -> bool) -> Arc<[Identity]> {
        let known = self.identities.iter().filter(|(identity, _)| *identity != Identity::UNKNOWN);
        let selected = known.filter(|(identity, labels)| selects(*identity, labels));
        let mut identities: Vec<Identity> = selected.map(|(identity, _)| identity).collect();
        identities.sort_unstable();
        identities.into()
    }
}

impl ServiceRef {
    fn means(&self, service: &Service) -> bool {
        let (Self::Named { namespace, .. } | Self::Selected { namespace, .. }) = self;
        namespace.as_ref().is_none_or(|namespace| service.namespace == *namespace)
            && match self {
                Self::Named { name, .. } => service.name == *name,
                Self::Selected { selector, .. } => selector.matches(&service.labels),
            }
    }
}

fn pods_of(service: &Service) -> Option<Selector> {
    // An empty selector is none: its endpoints are somebody else's to name.
    if service.selector.is_empty() {
        return None;
    }
    let is = |(key, value): (&String, &String)| Requirement::Is(Key::of_pods(key), value.clone());
    let mut selector = Selector { requirements: service.selector.iter().map(is).collect() };
    selector.set_namespace(&service.namespace);
    Some(selector)
}

impl Entity {
    /// Besides [`Entity::All`], which is everybody. `cluster` is the name of this one.
    fn selects(self, labels: &Labels, cluster: Option<&str>) -> bool {
        const OF_CLUSTER: [&str; 7] =
            ["host", "remote-node", "init", "ingress", "health", "unmanaged", "kube-apiserver"];
        let reserved = |name: &str| labels.get("reserved", name).is_some();
        let of_cluster = || OF_CLUSTER.into_iter().any(reserved);
        match self {
            Self::All => true,
            Self::None => false,
            Self::World => reserved("world"),
            Self::Cluster => of_cluster() || (cluster.is_some() && labels.get("k8s", CLUSTER) == cluster),
            Self::ClusterMesh => of_cluster() || labels.get("k8s", CLUSTER).is_some(),
            Self::Host => reserved("host"),
            Self::RemoteNode => reserved("remote-node"),
            Self::KubeApiserver => reserved("kube-apiserver"),
            Self::Ingress => reserved("ingress"),
            Self::Init => reserved("init"),
            Self::Health => reserved("health"),
            Self::Unmanaged => reserved("unmanaged"),
        }
    }
}

/// For records: whom a rule is about.
pub(super) fn text(peers: &Peers) -> String {
    fn joined<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
        items.iter().map(text).collect::<Vec<_>>().join(" or ")
    }
    match peers {
        Peers::Any => "anybody".to_owned(),
        Peers::Nobody => "nobody".to_owned(),
        Peers::Endpoints(selectors) => joined(selectors, Selector::summary),
        Peers::Cidrs(cidrs) => joined(cidrs, |cidr| match cidr.except.as_slice() {
            [] => cidr.of.text(),
            except => format!("{} but {}", cidr.of.text(), joined(except, IpNet::to_string)),
        }),
        Peers::Entities(entities) => joined(entities, |entity| entity.name().to_owned()),
        Peers::Services(services) => joined(services, |service| match service {
            ServiceRef::Named { namespace: Some(namespace), name } => format!("service {namespace}/{name}"),
            ServiceRef::Named { namespace: None, name } => format!("service {name}"),
            ServiceRef::Selected { selector, .. } => format!("services with {}", selector.summary()),
        }),
    }
}
