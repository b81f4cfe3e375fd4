//! Endpoints that are resolved together, and each of them alone.
//!
//! Pods differ in everything that a rule may ask of its subject: labels, cluster, address and container ports. Start at
//! [`strategy`] and [`Everybody::together`].

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use proptest::{collection::vec, prelude::*, sample::select};
use rules::{
    Action, Applying, ContainerPort, Direction, DirectionPolicy, EndpointPolicy, Identities, Identity, InForce, Labels,
    PathOptions, PodLabels, PortNames, Protocol, RequestView, Resolver, Subject,
};

use super::{generate, policy_map};

const ADDRESSES: [&[&str]; 7] = [
    &["10.0.0.1"],
    &["10.0.0.2"],
    &["10.1.0.1"],
    &["fd00::1"],
    &["10.0.0.1", "fd00::1"],
    &["10.0.0.1", "10.0.0.2"],
    &[],
];

/// What a pod is made of, each taken modulo what there is.
pub(crate) type Bits = [usize; 5];

/// Manifests of Calico's kinds, pods, and which policies are only audited.
type Around = (Vec<String>, Vec<Bits>, [bool; 3]);

pub(crate) fn strategy() -> impl Strategy<Value = Around> {
    let pods = vec(any::<[u8; 5]>().prop_map(|bits| bits.map(usize::from)), 3..8);
    (vec(calico(), 0..4), pods, any::<[bool; 3]>())
}

/// The same policies, some of which are only audited.
pub(crate) fn audited(text: &str, audited: [bool; 3]) -> String {
    let mut text = text.to_owned();
    for (index, _) in audited.into_iter().enumerate().filter(|(_, is)| *is) {
        for name in [format!("p{index}"), format!("t.c{index}"), format!("default.c{index}")] {
            let metadata = format!("metadata: {{annotations: {{l7proxy.io/audit: \"true\"}}, name: {name}");
            text = text.replace(&format!("metadata: {{name: {name}"), &metadata);
        }
    }
    text
}

/// One tier more than there is by default, and a set.
pub(crate) const AROUND: &str = "---
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: t}
spec: {order: 10}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: {name: s, labels: {app: a}}
spec: {nets: [10.0.0.2/32]}
";

/// `NAME` stands for its name.
fn calico() -> impl Strategy<Value = String> {
    let subject = select(vec!["all()", "all()", "app == 'a'", "has(tier)"]);
    let (tier, order) = (select(vec!["default", "t"]), 0..3_u8);
    (subject, tier, order, vec(rule(), 0..3), vec(rule(), 0..3)).prop_map(|(subject, tier, order, ingress, egress)| {
        format!(
            "---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: {tier}.NAME}}\nspec:\n  \
             tier: {tier}\n  order: {order}\n  selector: \"{subject}\"\n  types: [Ingress, Egress]\n  ingress: [{}]\n  \
             egress: [{}]\n",
            ingress.join(", "),
            egress.join(", ")
        )
    })
}

fn rule() -> impl Strategy<Value = String> {
    let version = select(vec!["", "", "ipVersion: 4, ", "ipVersion: 6, "]);
    (select(vec!["Allow", "Allow", "Deny", "Pass"]), version, party(), party()).prop_map(
        |(action, version, source, destination): (_, _, &str, &str)| {
            // A rule that names networks says by them which version it is of.
            let has_nets = [source, destination].into_iter().any(|party| party.to_lowercase().contains("nets:"));
            let version = if has_nets { "" } else { version };
            format!(
                "{{action: {action}, protocol: TCP, {version}source: {{{source}}}, destination: {{{destination}}}}}"
            )
        },
    )
}

fn party() -> impl Strategy<Value = &'static str> {
    select(vec![
        "",
        "",
        "",
        "selector: \"app == 'a'\"",
        "notSelector: \"app == 'a'\"",
        "selector: \"has(tier)\", ports: [http]",
        "nets: [10.0.0.0/24]",
        "notNets: [10.0.0.0/31]",
        "ports: [http]",
        "notPorts: [http]",
        "ports: [80]",
        "namespaceSelector: \"all()\"",
    ])
}

struct Pod {
    labels: Labels,
    addresses: Vec<IpAddr>,
    ports: PortNames,
}

impl Pod {
    fn new([app, tier, cluster, address, http]: Bits) -> Self {
        fn one<T: Copy>(from: &[T], pick: usize) -> T {
            from[pick % from.len()]
        }
        let own = [("app", one(&["a", "a", "b"], app)), ("tier", one(&["a", ""], tier))];
        let own = own.into_iter().filter(|(_, value)| !value.is_empty());
        let labels = Labels::from(PodLabels {
            namespace: "n",
            cluster: one(&["c", "c", "d"], cluster),
            service_account: None,
            labels: &own.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            namespace_labels: &BTreeMap::new(),
        });
        let http = one(&[Some(80), Some(80), Some(81), None], http);
        let ports = http.map(|number| ("http".to_owned(), ContainerPort::tcp(number)));
        let addresses = one(&ADDRESSES, address).iter().map(|text| text.parse().expect("an address")).collect();
        Self { labels, addresses, ports: ports.into_iter().collect() }
    }

    fn subject(&self) -> Subject<'_> {
        Subject { labels: &self.labels, addresses: &self.addresses, ports: &self.ports }
    }
}

/// Every pod, and what is known of it.
pub(crate) struct Everybody {
    pods: Vec<Pod>,
    identities: Identities,
    ports: BTreeMap<Identity, PortNames>,
    peers: Vec<Identity>,
}

impl Everybody {
    pub(crate) fn new(pods: &[Bits], policies: &[InForce]) -> Self {
        let pods: Vec<Pod> = pods.iter().copied().map(Pod::new).collect();
        let (mut identities, mut ports) = (Identities::new(), BTreeMap::new());
        let nets: BTreeSet<IpNet> = policies.iter().flat_map(InForce::pod_cidrs).collect();
        let mut peers = vec![Identity::UNKNOWN, Identity::HOST, Identity::WORLD, Identity(65_535)];
        peers.extend(policies.iter().flat_map(InForce::cidrs).map(|net| identities.allocate_cidr(net)));
        for pod in &pods {
            let located = pod.addresses.iter().map(|address| identities.allocate_at(&pod.labels, *address, &nets));
            let mut own: Vec<Identity> = located.collect();
            if own.is_empty() {
                own.push(identities.allocate(&pod.labels));
            }
            ports.extend(own.iter().map(|identity| (*identity, pod.ports.clone())));
            peers.extend(own);
        }
        Self { pods, identities, ports, peers }
    }

    /// Each by the same resolver, which remembers `before`.
    pub(crate) fn together(
        &self,
        policies: &[InForce],
        before: &[(Applying, EndpointPolicy)],
    ) -> Vec<(Applying, EndpointPolicy)> {
        let mut resolver = Resolver::new(policies, &self.identities, &[], &self.ports);
        for (applying, policy) in before {
            resolver.remember(applying, policy);
        }
        let mut resolve = |pod: &Pod| {
            let applying = resolver.applying(&pod.subject());
            let policy = resolver.policy(&applying);
            (applying, policy)
        };
        self.pods.iter().map(&mut resolve).collect()
    }

    /// Each by a resolver of its own, which looks at everything of it.
    pub(crate) fn alone(&self, policies: &[InForce]) -> Vec<EndpointPolicy> {
        let resolver = || Resolver::new(policies, &self.identities, &[], &self.ports).asking_for_everything();
        self.pods.iter().map(|pod| resolver().endpoint(&pod.subject())).collect()
    }

    /// Of the first pod, compares both ways of looking up.
    pub(crate) fn look_up_when_all_is_audited(&self, policies: &[InForce]) {
        let mut resolver = Resolver::new(policies, &self.identities, &[], &self.ports).audited(true);
        let Some(pod) = self.pods.first() else { return };
        let policy = resolver.endpoint(&pod.subject());
        for (peer, port, protocol) in self.connections() {
            for direction in [Direction::Ingress, Direction::Egress] {
                let found = policy_map::found(policy.direction(direction), peer, protocol, port);
                assert!(found.is_none_or(|entry| entry.action != Action::Deny), "{found:?}");
            }
        }
    }

    fn connections(&self) -> impl Iterator<Item = (Identity, u16, Protocol)> + '_ {
        let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Any];
        let of = move |peer: &Identity| {
            let peer = *peer;
            [79, 80, 81].into_iter().flat_map(move |port| protocols.map(|protocol| (peer, port, protocol)))
        };
        self.peers.iter().flat_map(of)
    }

    /// Everything that there is to ask.
    pub(crate) fn answers(&self, policy: &EndpointPolicy, requests: &[generate::Request]) -> Vec<String> {
        let directions = [Direction::Ingress, Direction::Egress];
        directions.into_iter().flat_map(|direction| self.of(policy.direction(direction), requests)).collect()
    }

    fn of(&self, policy: &DirectionPolicy, requests: &[generate::Request]) -> Vec<String> {
        let (enforced, denies) = (policy.enforced(), policy.default_deny());
        let mut answers =
            vec![format!("{enforced} {denies} {:?}", policy.default_denied_by()), format!("{:?}", policy.entries())];
        for (peer, port, protocol) in self.connections() {
            let found = policy_map::found(policy, peer, protocol, port);
            answers.push(format!("{:?}", found.map(|entry| (entry.action, &entry.rule))));
            let denial = policy.denial_of(peer, protocol.number(), port);
            answers.push(format!("{:?} {denial:?}", policy.l4(peer, protocol, port)));
        }
        for request in requests {
            let (headers, options) = (request.headers(), PathOptions::default());
            let view = RequestView::new(request.method, request.target.as_bytes(), false, &headers, &options);
            let Ok(view) = view else { continue };
            answers.extend(self.peers.iter().map(|peer| format!("{:?}", policy.evaluate(*peer, 80, &view))));
        }
        answers
    }
}
