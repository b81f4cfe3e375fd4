use std::net::IpAddr;

use super::*;
use crate::calico::{
    party::{Endpoint, Party, Place},
    testing::{document, parsed, pod},
};

/// The first rule of a policy in the namespace n.
fn rule(text: &str) -> Rule {
    let spec = format!("{{ingress: [{{{text}}}]}}");
    let policy = &parsed(&document("NetworkPolicy", "{name: p, namespace: n}", &spec)).policies[0];
    policy.ingress.as_ref().unwrap()[0].clone()
}

fn party(address: Option<&str>, endpoint: Option<&'static Endpoint>, port: Option<u16>) -> Party<'static> {
    let place = address.map_or(Place::Unknown, |address| Place::at(address.parse::<IpAddr>().unwrap()));
    Party { place, endpoint, port }
}

/// What a TCP connection from a pod of m to port 80 misses.
fn missed(text: &str) -> Vec<String> {
    let client: &'static Endpoint = Box::leak(Box::new(pod("m", "web", &[("app", "a")])));
    let packet = Packet {
        protocol: IpProtocol::TCP,
        icmp: None,
        source: party(Some("10.0.0.9"), Some(client), None),
        destination: party(Some("10.0.0.1"), None, Some(80)),
    };
    let (rule, sets) = (rule(text), NetworkSets::default());
    let told = Field::ALL.into_iter().filter_map(|field| {
        let truth = rule.truth(field, &packet, &sets);
        let (name, wanted) = rule.missed(field, &packet, truth);
        (truth != Truth::Yes).then(|| format!("{name}: {wanted}"))
    });
    told.collect()
}

#[test]
fn each_field_is_told_by_its_name_and_what_it_wants() {
    for (text, told) in [
        ("action: Allow", &[][..]),
        ("action: Allow, protocol: UDP", &["protocol: UDP"]),
        ("action: Allow, protocol: 47", &["protocol: 47"]),
        ("action: Allow, notProtocol: TCP", &["notProtocol: not TCP"]),
        ("action: Allow, ipVersion: 6", &["ipVersion: 6"]),
        ("action: Allow, protocol: ICMP, icmp: {type: 8, code: 0}", &["protocol: ICMP", "icmp: type 8 code 0"]),
        (
            "action: Allow, protocol: TCP, destination: {ports: [81, '90:95', web]}",
            &["destination.ports: 81, 90:95, web"],
        ),
        ("action: Allow, protocol: TCP, destination: {notPorts: [80]}", &["destination.notPorts: none of 80"]),
        ("action: Allow, protocol: TCP, source: {ports: [9]}", &["source.ports: 9 (not known of it)"]),
        ("action: Allow, source: {nets: [10.1.0.0/16]}", &["source.nets: 10.1.0.0/16"]),
        ("action: Allow, source: {notNets: [10.0.0.0/8]}", &["source.notNets: none of 10.0.0.0/8"]),
        (
            "action: Allow, source: {nets: [10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16, 10.4.0.0/16, 10.5.0.0/16]}",
            &["source.nets: 10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16, 10.4.0.0/16, 1 more"],
        ),
        ("action: Allow, source: {selector: app == 'b'}", &["source.selector: app == \"b\""]),
        // What is asked of the same endpoint is one condition: the first that it lacks is told.
        (
            "action: Allow, source: {selector: app == 'a'}",
            &["source.namespaceSelector: projectcalico.org/name == \"n\""],
        ),
        (
            "action: Allow, source: {selector: app == 'a', namespaceSelector: of == 'n'}",
            &["source.namespaceSelector: of == \"n\""],
        ),
        (
            "action: Allow, source: {namespaceSelector: all(), serviceAccounts: {names: [db, x]}}",
            &["source.serviceAccounts.names: db, x"],
        ),
        (
            "action: Allow, source: {notSelector: has(app), namespaceSelector: all()}",
            &["source.notSelector: not has(app)"],
        ),
        ("action: Allow, destination: {selector: app == 'a'}", &["destination.selector: app == \"a\""]),
    ] {
        assert_eq!(missed(text), told, "{text}");
    }
}

#[test]
fn what_is_not_known_is_told_as_such() {
    let rule = rule("action: Deny, source: {nets: [10.0.0.0/8]}");
    let packet = Packet {
        protocol: IpProtocol::TCP,
        icmp: None,
        source: party(None, None, None),
        destination: party(None, None, Some(80)),
    };
    let truth = rule.truth(Field::Source(Part::Nets), &packet, &NetworkSets::default());
    assert_eq!(truth, Truth::Maybe);
    let (name, wanted) = rule.missed(Field::Source(Part::Nets), &packet, truth);
    assert_eq!((name.as_str(), wanted.as_str()), ("source.nets", "10.0.0.0/8 (not known of it)"));
}

#[test]
fn a_summary_is_the_whole_rule_and_of_bounded_length() {
    for (text, summary) in [
        ("action: Deny", "Deny"),
        (
            "action: Allow, protocol: TCP, source: {selector: app == 'a'}, destination: {ports: [80]}, http: {methods: \
             [GET], paths: [{exact: /a}, {prefix: /b/}]}",
            "Allow protocol TCP, destination.ports 80, source.selector app == \"a\", source.namespaceSelector \
             projectcalico.org/name == \"n\", http GET /a /b/*",
        ),
        ("action: Pass, source: {namespaceSelector: global()}", "Pass source.namespaceSelector global()"),
    ] {
        assert_eq!(rule(text).summary(), summary);
    }
    let long = rule(&format!("action: Allow, source: {{selector: \"has({}) || has(b)\"}}", "x".repeat(500)));
    assert!(long.summary().chars().count() < 400, "{}", long.summary());
}
