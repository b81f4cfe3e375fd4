use super::*;
use crate::{
    PodLabels,
    calico::testing::{Parsed, document, parsed, pod},
};

const SETS: &str = "---
apiVersion: projectcalico.org/v3
kind: NetworkSet
metadata: {name: s, namespace: n, labels: {kind: set}}
spec: {nets: [10.1.0.0/16]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: {name: g, labels: {kind: set, wide: ''}}
spec: {nets: [10.2.0.0/16, 'fd00:2::/32']}
";

/// The source of the only rule of a policy in the namespace n, or of a global one; and the sets.
fn source(global: bool, peer: &str) -> (Peer, NetworkSets) {
    let (kind, metadata) =
        if global { ("GlobalNetworkPolicy", "{name: p}") } else { ("NetworkPolicy", "{name: p, namespace: n}") };
    let rule = format!("{{ingress: [{{action: Allow, protocol: TCP, source: {{{peer}}}}}]}}");
    let Parsed { policies, mut sets, .. } = parsed(&format!("{}{SETS}", document(kind, metadata, &rule)));
    sets.namespaces.insert("n".to_owned(), BTreeMap::from([("of".to_owned(), "n".to_owned())]));
    (policies[0].ingress.as_ref().unwrap()[0].source.clone(), sets)
}

/// Whether all fields of a peer but its ports hold.
fn selects(peer: &Peer, party: &Party<'_>, sets: &NetworkSets) -> Truth {
    let fields = [Part::Who, Part::NotSelector, Part::Nets, Part::NotNets].into_iter();
    fields.map(|part| peer.truth(part, party, IpProtocol::TCP, sets)).min().unwrap()
}

/// Which of these a peer selects: pods of n and m, the addresses of the set of n, of the global set, of neither, a host.
fn selected(global: bool, peer: &str) -> String {
    let (peer, sets) = source(global, peer);
    let own = pod("n", "web", &[("app", "a")]);
    let other = pod("m", "db", &[("app", "a"), ("x", "")]);
    let host = Endpoint { labels: BTreeMap::from([("app".to_owned(), "a".to_owned())]), ..Endpoint::default() };
    let party = |endpoint: Option<&'static Endpoint>, address: &str| Party {
        place: Place::at(address.parse().unwrap()),
        endpoint,
        port: None,
    };
    let keep = |endpoint: Endpoint| -> Option<&'static Endpoint> { Some(Box::leak(Box::new(endpoint))) };
    let parties = [
        ('n', party(keep(own), "10.0.0.1")),
        ('m', party(keep(other), "10.0.0.2")),
        ('s', party(None, "10.1.0.1")),
        ('g', party(None, "10.2.0.1")),
        ('?', party(None, "192.0.2.1")),
        ('h', party(keep(host), "10.0.0.3")),
    ];
    let mut names = String::new();
    for (name, party) in parties {
        match selects(&peer, &party, &sets) {
            Truth::Yes => names.push(name),
            Truth::No => {}
            Truth::Maybe => panic!("{name} is known"),
        }
    }
    names
}

#[test]
fn peers_select_what_calico_says() {
    for (peer, namespaced, global) in [
        // No constraint: any address, known or not.
        ("", "nmsg?h", "nmsg?h"),
        ("selector: all()", "ns", "nmsgh"),
        ("selector: app == 'a'", "n", "nmh"),
        ("selector: kind == 'set'", "s", "sg"),
        // Lacking a label: only what is known.
        ("selector: '!has(x)'", "ns", "nsgh"),
        // Not having it: also what nobody knows, where there is no scope.
        ("notSelector: has(x)", "ns", "nsg?h"),
        ("notSelector: has(app)", "s", "sg?"),
        ("selector: all(), notSelector: kind == 'set'", "n", "nmh"),
        // A namespaceSelector replaces the own namespace.
        ("namespaceSelector: all()", "nms", "nms"),
        ("namespaceSelector: global()", "gh", "gh"),
        ("namespaceSelector: of == 'm'", "m", "m"),
        ("namespaceSelector: of == 'n'", "ns", "ns"),
        ("namespaceSelector: projectcalico.org/name == 'm'", "m", "m"),
        ("namespaceSelector: kubernetes.io/metadata.name == 'n'", "ns", "ns"),
        ("selector: app == 'a', namespaceSelector: all()", "nm", "nm"),
        ("selector: kind == 'set', namespaceSelector: global()", "g", "g"),
        ("notSelector: has(x), namespaceSelector: all()", "ns", "ns"),
        // Selectors find the namespace and the account among the labels.
        ("selector: projectcalico.org/namespace == 'm'", "", "m"),
        ("selector: projectcalico.org/serviceaccount == 'web'", "n", "n"),
        ("selector: pcns.of == 'm', namespaceSelector: all()", "m", "m"),
        ("serviceAccounts: {names: [web, db]}", "n", "nm"),
        ("serviceAccounts: {names: [db]}, namespaceSelector: all()", "m", "m"),
        ("serviceAccounts: {selector: projectcalico.org/name == 'db'}", "", "m"),
        ("serviceAccounts: {names: [web], selector: projectcalico.org/name == 'db'}", "", ""),
        ("serviceAccounts: {names: [web, db]}, selector: has(x)", "", "m"),
        // Networks: every address, also of what is known.
        ("nets: [10.0.0.0/8]", "nmsgh", "nmsgh"),
        ("nets: [10.0.0.2, 192.0.2.0/24]", "m?", "m?"),
        ("notNets: [10.0.0.0/8]", "?", "?"),
        ("nets: [10.0.0.0/8], notNets: [10.1.0.0/16]", "nmgh", "nmgh"),
        ("nets: [10.0.0.0/8], selector: all()", "ns", "nmsgh"),
        ("nets: ['fd00::/8']", "", ""),
    ] {
        assert_eq!(selected(false, peer), namespaced, "{peer} of a namespaced policy");
        assert_eq!(selected(true, peer), global, "{peer} of a global policy");
    }
}

#[test]
fn what_is_not_known_is_neither_yes_nor_no() {
    let endpoint = pod("n", "web", &[("app", "a")]);
    let somewhere = Party { place: Place::Unknown, endpoint: Some(&endpoint), port: None };
    for (peer, truth) in [
        ("", Truth::Yes),
        ("selector: has(app)", Truth::Yes),
        ("selector: has(b)", Truth::No),
        // It may have an address of the set.
        ("selector: kind == 'set'", Truth::Maybe),
        ("notSelector: kind == 'set'", Truth::Maybe),
        ("notSelector: has(app)", Truth::No),
        ("nets: [10.0.0.0/8]", Truth::Maybe),
        ("notNets: [10.0.0.0/8]", Truth::Maybe),
        ("nets: [10.0.0.0/8], selector: has(b)", Truth::No),
    ] {
        let (peer_read, sets) = source(false, peer);
        assert_eq!(selects(&peer_read, &somewhere, &sets), truth, "{peer}");
    }
}

#[test]
fn labels_of_a_set_s_namespace_are_not_always_known() {
    let in_set = Party { place: Place::at("10.1.0.1".parse().unwrap()), endpoint: None, port: None };
    let outside = Party { place: Place::at("192.0.2.1".parse().unwrap()), ..in_set };
    for (peer, known, not_known) in [
        ("namespaceSelector: of == 'n'", Truth::Yes, Truth::Maybe),
        ("namespaceSelector: of != 'n'", Truth::No, Truth::Maybe),
        ("selector: pcns.of == 'n'", Truth::Yes, Truth::Maybe),
        ("notSelector: pcns.of == 'n', namespaceSelector: all()", Truth::No, Truth::Maybe),
        // Names are always known.
        ("namespaceSelector: projectcalico.org/name == 'n'", Truth::Yes, Truth::Yes),
        ("namespaceSelector: kubernetes.io/metadata.name != 'n'", Truth::No, Truth::No),
        ("selector: kind == 'set', namespaceSelector: all()", Truth::Yes, Truth::Yes),
    ] {
        let (peer_read, mut sets) = source(false, peer);
        assert_eq!(selects(&peer_read, &in_set, &sets), known, "{peer}");
        sets.namespaces.clear();
        assert_eq!(selects(&peer_read, &in_set, &sets), not_known, "{peer}");
        assert_ne!(selects(&peer_read, &outside, &sets), Truth::Maybe, "{peer}: it is in no set");
    }
}

#[test]
fn ports_are_numbers_ranges_and_what_the_endpoint_calls_so() {
    let mut endpoint = pod("n", "web", &[]);
    let named = |name: &str, protocol, port| NamedPort { name: name.to_owned(), protocol, port };
    endpoint.named_ports = vec![named("web", IpProtocol::TCP, 8080), named("dns", IpProtocol::UDP, 53)];
    let has = |peer: &str, protocol, port, endpoint: Option<&Endpoint>| {
        let party = Party { place: Place::Unknown, endpoint, port };
        let (peer, sets) = source(false, peer);
        peer.truth(Part::Ports, &party, protocol, &sets).min(peer.truth(Part::NotPorts, &party, protocol, &sets))
    };
    let (tcp, udp) = (IpProtocol::TCP, IpProtocol::UDP);
    for (peer, protocol, port, truth) in [
        ("", tcp, Some(1), Truth::Yes),
        ("", tcp, None, Truth::Yes),
        ("ports: [80, '90:95']", tcp, Some(80), Truth::Yes),
        ("ports: [80, '90:95']", tcp, Some(90), Truth::Yes),
        ("ports: [80, '90:95']", tcp, Some(95), Truth::Yes),
        ("ports: [80, '90:95']", tcp, Some(89), Truth::No),
        ("ports: [80, '90:95']", tcp, Some(96), Truth::No),
        ("ports: [80]", tcp, None, Truth::Maybe),
        ("ports: [80]", IpProtocol::ICMP, None, Truth::No),
        ("notPorts: [80, '90:95']", tcp, Some(80), Truth::No),
        ("notPorts: [80, '90:95']", tcp, Some(81), Truth::Yes),
        ("notPorts: [80]", tcp, None, Truth::Maybe),
        ("ports: ['80:90'], notPorts: [85]", tcp, Some(84), Truth::Yes),
        ("ports: ['80:90'], notPorts: [85]", tcp, Some(85), Truth::No),
        ("ports: [web]", tcp, Some(8080), Truth::Yes),
        ("ports: [web]", udp, Some(8080), Truth::No),
        ("ports: [web]", tcp, Some(80), Truth::No),
        ("ports: [web]", tcp, None, Truth::Maybe),
        ("ports: [dns]", tcp, None, Truth::No),
        ("ports: [web, dns]", udp, Some(53), Truth::Yes),
        ("notPorts: [web]", tcp, Some(8080), Truth::No),
        ("notPorts: [web]", tcp, Some(80), Truth::Yes),
    ] {
        assert_eq!(has(peer, protocol, port, Some(&endpoint)), truth, "{peer} {protocol} {port:?}");
    }
    assert_eq!(has("ports: [web]", tcp, Some(8080), None), Truth::No, "nobody calls it so");
}

#[test]
fn own_labels_never_stand_in_for_those_of_namespace_or_account() {
    let name = "pcsa.projectcalico.org/name";
    let own =
        [(NAMESPACE, "m"), ("pcns.of", "m"), (name, "db"), ("pcsa.of", "db"), (ACCOUNT, "db"), (ORCHESTRATOR, "x")];
    let mut endpoint = pod("n", "web", &own);
    assert_eq!((endpoint.value("pcsa.of"), endpoint.value(ORCHESTRATOR)), (None, Some("k8s")));
    let values =
        |endpoint: &Endpoint| [NAMESPACE, "pcns.of", ACCOUNT, name].map(|key| endpoint.value(key).map(str::to_owned));
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(values(&endpoint), [some("n"), some("n"), some("web"), some("web")]);
    (endpoint.namespace, endpoint.account) = (None, None);
    assert_eq!(values(&endpoint), [None, None, None, None]);
}

#[test]
fn addresses_are_compared_in_one_form() {
    let (peer, sets) = source(false, "nets: [10.0.0.0/8]");
    let mapped = Party { place: Place::at("::ffff:10.0.0.1".parse().unwrap()), ..Party::default() };
    assert_eq!(selects(&peer, &mapped, &sets), Truth::Yes);
}

#[test]
fn an_identity_is_the_pod_that_its_labels_are_of() {
    let labels = BTreeMap::from([("app".to_owned(), "a".to_owned())]);
    let namespace_labels = BTreeMap::from([("of".to_owned(), "n".to_owned())]);
    let identity = Labels::from(PodLabels {
        namespace: "n",
        cluster: "c",
        service_account: Some("web"),
        labels: &labels,
        namespace_labels: &namespace_labels,
    });
    let endpoint = Endpoint::of(&identity).unwrap();
    for (key, value) in [
        ("app", "a"),
        (NAMESPACE, "n"),
        (ACCOUNT, "web"),
        ("pcns.of", "n"),
        ("pcns.projectcalico.org/name", "n"),
        ("pcns.kubernetes.io/metadata.name", "n"),
        ("pcsa.projectcalico.org/name", "web"),
        ("projectcalico.org/orchestrator", "k8s"),
    ] {
        assert_eq!(endpoint.value(key), Some(value), "{key}");
    }
    for key in [labels::NAMESPACE, labels::CLUSTER, "io.cilium.k8s.policy.serviceaccount", "pcsa.of"] {
        assert_eq!(endpoint.value(key), None, "{key} is no label of Calico's");
    }
    assert_eq!(Endpoint::of(&Labels::new([crate::Label::new("reserved", "world", "")])), None);
}
