use std::collections::{BTreeMap, BTreeSet};

use super::cover;
use crate::{
    Identities, Labels, PodLabels,
    calico::{
        evaluate::Packet,
        party::{NetworkSets, Party, Place, Truth},
        policy::{Icmp, IpProtocol, Rule},
        testing::{document, parsed, pod},
    },
    lint::{Finding, lint},
    manifest::{Document, Policy, parse},
};

fn findings(text: &str, known: Option<&Identities>) -> Vec<Finding> {
    let valid = |document| {
        let Document::Policy(policy) = document else { panic!("{document:?}\n{text}") };
        policy
    };
    let policies: Vec<_> = parse(text).into_iter().map(valid).collect();
    lint(&policies.iter().map(|policy| &**policy).collect::<Vec<&Policy>>(), known)
}

/// Kind and field of what is found.
fn told(text: &str) -> Vec<String> {
    findings(text, None).into_iter().map(|finding| format!("{} {}", finding.kind, finding.field)).collect()
}

fn policy(name: &str, spec: &str) -> String {
    document("NetworkPolicy", &format!("{{name: {name}, namespace: n}}"), &format!("{{{spec}}}"))
}

fn ingress(rules: &str) -> String {
    policy("p", &format!("ingress: [{rules}]"))
}

/// A rule, and one that is never asked behind it.
const BEHIND: &[(&str, &str)] = &[
    ("{action: Allow}", "{action: Deny, protocol: TCP}"),
    ("{action: Pass}", "{action: Log}"),
    ("{action: Deny}", "{action: Deny}"),
    ("{action: Allow, protocol: TCP}", "{action: Deny, protocol: TCP, destination: {ports: [80]}}"),
    ("{action: Allow, protocol: TCP}", "{action: Allow, http: {methods: [GET, HEAD]}}"),
    ("{action: Allow, notProtocol: UDP}", "{action: Deny, protocol: TCP}"),
    ("{action: Allow, notProtocol: UDP}", "{action: Deny, notProtocol: UDP}"),
    ("{action: Allow, ipVersion: 4}", "{action: Deny, source: {nets: [10.0.0.0/8]}}"),
    ("{action: Allow, protocol: ICMP, icmp: {type: 8}}", "{action: Deny, protocol: ICMP, icmp: {type: 8}}"),
    ("{action: Allow, protocol: ICMP, notICMP: {type: 8}}", "{action: Deny, protocol: ICMP, notICMP: {type: 8}}"),
    (
        "{action: Allow, protocol: TCP, destination: {ports: ['80:90', web]}}",
        "{action: Deny, protocol: TCP, destination: {ports: [web, 85]}}",
    ),
    (
        "{action: Allow, protocol: TCP, destination: {notPorts: [80]}}",
        "{action: Deny, protocol: TCP, destination: {ports: ['81:90']}}",
    ),
    (
        "{action: Allow, protocol: TCP, destination: {notPorts: [80]}}",
        "{action: Deny, protocol: TCP, destination: {notPorts: ['80:81']}}",
    ),
    ("{action: Allow, source: {nets: [10.0.0.0/8]}}", "{action: Deny, source: {nets: [10.1.0.0/16, 10.2.0.1]}}"),
    ("{action: Allow, source: {notNets: [10.0.0.0/8]}}", "{action: Deny, source: {nets: [192.0.2.0/24]}}"),
    ("{action: Allow, source: {notNets: [10.1.0.0/16]}}", "{action: Deny, source: {notNets: [10.0.0.0/8]}}"),
    ("{action: Allow, source: {selector: has(a)}}", "{action: Deny, source: {selector: a == 'x' && has(b)}}"),
    ("{action: Allow, source: {selector: all()}}", "{action: Deny, source: {serviceAccounts: {names: [a]}}}"),
    ("{action: Allow, source: {namespaceSelector: all()}}", "{action: Deny, source: {selector: has(a)}}"),
    (
        "{action: Allow, source: {serviceAccounts: {names: [a, b]}}}",
        "{action: Deny, source: {serviceAccounts: {names: [b]}, selector: has(a)}}",
    ),
    ("{action: Allow, source: {notSelector: has(a)}}", "{action: Deny, source: {notSelector: has(a) || has(b)}}"),
    (
        "{action: Allow, http: {paths: [{prefix: /a}]}}",
        "{action: Allow, http: {methods: [PUT], paths: [{exact: /a/b}, {prefix: /a/c}]}}",
    ),
    ("{action: Allow, http: {methods: ['*']}}", "{action: Allow, http: {methods: [PUT]}}"),
];

/// A rule, and one that may be asked behind it.
const ASKED: &[(&str, &str)] = &[
    ("{action: Allow, protocol: TCP}", "{action: Deny}"),
    ("{action: Allow, protocol: TCP}", "{action: Deny, notProtocol: UDP}"),
    ("{action: Allow, notProtocol: UDP}", "{action: Deny, protocol: UDP}"),
    ("{action: Allow, notProtocol: UDP}", "{action: Deny}"),
    ("{action: Allow, ipVersion: 4}", "{action: Deny}"),
    ("{action: Allow, http: {}}", "{action: Deny, protocol: TCP}"),
    ("{action: Allow, http: {paths: [{exact: /a}]}}", "{action: Allow, http: {paths: [{prefix: /a}]}}"),
    ("{action: Allow, http: {paths: [{prefix: /a}]}}", "{action: Allow, http: {paths: [{prefix: /ab}]}}"),
    ("{action: Allow, http: {paths: [{prefix: /a}]}}", "{action: Allow, http: {}}"),
    ("{action: Allow, http: {methods: [GET, HEAD]}}", "{action: Allow, http: {methods: ['*']}}"),
    ("{action: Allow, protocol: ICMP, icmp: {type: 8}}", "{action: Deny, protocol: ICMP}"),
    ("{action: Allow, protocol: ICMP, notICMP: {type: 8}}", "{action: Deny, protocol: ICMP}"),
    (
        "{action: Allow, protocol: TCP, destination: {ports: [80]}}",
        "{action: Deny, protocol: TCP, destination: {ports: ['80:81']}}",
    ),
    (
        "{action: Allow, protocol: TCP, destination: {ports: [80]}}",
        "{action: Deny, protocol: TCP, destination: {ports: [web]}}",
    ),
    (
        "{action: Allow, protocol: TCP, destination: {notPorts: [80]}}",
        "{action: Deny, protocol: TCP, destination: {ports: [web]}}",
    ),
    ("{action: Allow, source: {nets: [10.0.0.0/8]}}", "{action: Deny, destination: {nets: [10.0.0.0/8]}}"),
    ("{action: Allow, source: {nets: [10.0.0.0/8]}}", "{action: Deny, source: {selector: has(a)}}"),
    ("{action: Allow, source: {nets: [10.0.0.0/8]}}", "{action: Deny, source: {nets: [10.0.0.0/7]}}"),
    ("{action: Allow, source: {notNets: [10.0.0.0/8]}}", "{action: Deny, source: {nets: [10.0.0.0/7]}}"),
    ("{action: Allow, source: {selector: all()}}", "{action: Deny}"),
    ("{action: Allow, source: {selector: all()}}", "{action: Deny, source: {namespaceSelector: all()}}"),
    ("{action: Allow, source: {selector: has(a)}}", "{action: Deny, source: {notSelector: has(b)}}"),
    ("{action: Allow, source: {notSelector: has(a) || has(b)}}", "{action: Deny, source: {notSelector: has(a)}}"),
    ("{action: Allow, source: {serviceAccounts: {names: [a]}}}", "{action: Deny, source: {selector: has(a)}}"),
];

#[test]
fn a_rule_behind_a_wider_one_is_told() {
    for (first, second) in BEHIND {
        assert_eq!(
            told(&ingress(&format!("{first}, {second}"))).last().map(String::as_str),
            Some("shadowed spec.ingress[1]"),
            "{first} {second}"
        );
    }
}

#[test]
fn a_rule_that_may_be_asked_is_not_told() {
    for (first, second) in ASKED {
        assert_eq!(told(&ingress(&format!("{first}, {second}"))), [""; 0], "{first} {second}");
    }
    let twice = "{action: Log}, {action: Allow, source: {selector: has(a)}}";
    assert_eq!(told(&ingress(twice)), ["no-effect spec.ingress[0]"], "Log decides nothing");
    let text = ingress("{action: Deny}, {action: Allow}");
    let audited = text.replace("namespace: n}", "namespace: n, annotations: {l7proxy.io/audit: 'true'}}");
    assert_eq!(told(&text), ["shadowed spec.ingress[1]"]);
    assert_eq!(told(&audited), [""; 0], "what is audited denies nothing");
    let apart =
        policy("a", "order: 1, ingress: [{action: Allow}]") + &policy("b", "order: 2, ingress: [{action: Deny}]");
    assert_eq!(told(&apart), [""; 0], "another policy");
}

/// Each rule of the tables against each other one: what is covered matches nothing that the wider one does not match.
#[test]
fn what_is_covered_is_matched() {
    let texts: BTreeSet<&str> = BEHIND.iter().chain(ASKED).flat_map(|(one, other)| [*one, *other]).collect();
    let rule = |text: &&str| parsed(&ingress(text)).policies[0].ingress.as_ref().unwrap()[0].clone();
    let rules: Vec<Rule> = texts.iter().map(rule).collect();
    let endpoints = [None, Some(pod("n", "a", &[("a", "x"), ("b", "y")])), Some(pod("x", "b", &[("b", "")]))];
    let addresses = ["10.0.0.1", "10.1.0.1", "10.2.0.1", "192.0.2.1", "fd00::1"];
    let icmp = |kind| Some(Icmp { kind, code: Some(0) });
    let protocols =
        [(IpProtocol::TCP, None), (IpProtocol::UDP, None), (IpProtocol::ICMP, icmp(8)), (IpProtocol::ICMP, icmp(0))];
    let sets = NetworkSets::default();
    let mut packets = Vec::new();
    for endpoint in &endpoints {
        for address in addresses {
            for (protocol, icmp) in protocols {
                for port in [79, 80, 81, 85, 91] {
                    let place = Place::at(address.parse().unwrap());
                    let party = |port| Party { place, endpoint: endpoint.as_ref(), port };
                    packets.push(Packet { protocol, icmp, source: party(Some(4000)), destination: party(Some(port)) });
                }
            }
        }
    }
    let (mut covering, mut matching) = (0, 0);
    for (wider, narrower) in rules.iter().flat_map(|wider| rules.iter().map(move |narrower| (wider, narrower))) {
        if !cover::covers(wider, narrower) {
            continue;
        }
        covering += 1;
        for packet in packets.iter().filter(|packet| narrower.holds(packet, &sets) == Truth::Yes) {
            matching += 1;
            assert_eq!(wider.holds(packet, &sets), Truth::Yes, "{wider:?}\n{narrower:?}\n{packet:?}");
        }
    }
    assert!(covering > 2 * rules.len() && matching > 1000, "{covering} pairs, {matching} packets");
}

#[test]
fn a_rule_that_contradicts_itself_is_told() {
    for (rule, twin, field) in [
        ("protocol: TCP, notProtocol: TCP", "protocol: TCP, notProtocol: UDP", "notProtocol"),
        (
            "protocol: ICMP, icmp: {type: 8}, notICMP: {type: 8}",
            "protocol: ICMP, icmp: {type: 8}, notICMP: {type: 0}",
            "notICMP",
        ),
        (
            "source: {nets: [10.1.0.0/16], notNets: [10.0.0.0/8]}",
            "source: {nets: [10.0.0.0/8], notNets: [10.1.0.0/16]}",
            "source.notNets",
        ),
        (
            "protocol: TCP, destination: {ports: [80], notPorts: ['80:81']}",
            "protocol: TCP, destination: {ports: ['80:81'], notPorts: [80]}",
            "destination.notPorts",
        ),
        ("source: {selector: \"a in {}\"}", "source: {selector: \"a not in {}\"}", "source.selector"),
        ("source: {selector: a == 'x' && a == 'y'}", "source: {selector: a == 'x' || a == 'y'}", "source.selector"),
        (
            "source: {selector: a == 'x', notSelector: has(a)}",
            "source: {selector: has(a), notSelector: a == 'x'}",
            "source.notSelector",
        ),
        (
            "protocol: TCP, http: {methods: [get]}",
            "protocol: TCP, http: {methods: [GET, HEAD, purge]}",
            "http.methods[0]",
        ),
    ] {
        let of = |rule: &str| told(&ingress(&format!("{{action: Allow, {rule}}}")));
        assert_eq!(of(rule), [format!("never-matches spec.ingress[0].{field}")], "{rule}");
        assert_eq!(of(twin), [""; 0], "{twin}");
    }
}

#[test]
fn what_is_not_known_when_a_rule_is_asked_is_told() {
    for (rule, field) in [
        ("action: Allow, protocol: TCP, source: {ports: [80]}", "source"),
        ("action: Deny, protocol: TCP, source: {notPorts: [80]}", "source"),
        ("action: Pass, protocol: ICMP, icmp: {type: 3, code: 4}", "icmp"),
    ] {
        let found = findings(&ingress(&format!("{{{rule}}}")), None);
        let [finding] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(
            (finding.kind.word(), finding.field.as_str()),
            ("not-known", format!("spec.ingress[0].{field}").as_str())
        );
        let word = if rule.starts_with("action: Allow") { "never allows" } else { "denies whatever it is" };
        assert!(finding.text.starts_with(word), "{}", finding.text);
    }
    for rule in
        ["action: Allow, protocol: TCP, destination: {ports: [80]}", "action: Deny, protocol: ICMP, icmp: {type: 3}"]
    {
        assert_eq!(told(&ingress(&format!("{{{rule}}}"))), [""; 0], "{rule}");
    }
}

#[test]
fn paths_that_are_compared_in_another_form_are_told() {
    for (path, form) in [
        ("/a;v=1/b", Some("/a/b")),
        ("/a/../b", Some("/b")),
        ("/a//b", Some("/a/b")),
        ("/a/%2e/b", Some("/a/b")),
        ("/a\\b", Some("/a/b")),
        ("/a/", None),
        ("/a%20b", None),
        ("/", None),
    ] {
        let found = findings(
            &ingress(&format!("{{action: Allow, http: {{paths: [{{exact: /x}}, {{prefix: '{path}'}}]}}}}")),
            None,
        );
        let fields: Vec<(&str, &str)> =
            found.iter().map(|finding| (finding.kind.word(), finding.field.as_str())).collect();
        match form {
            None => assert!(found.is_empty(), "{path}: {found:?}"),
            Some(form) => {
                assert_eq!(fields, [("normal-form", "spec.ingress[0].http.paths[1]")], "{path}");
                assert!(found[0].text.ends_with(&format!("write {form}")), "{}", found[0].text);
            }
        }
    }
}

#[test]
fn get_without_head() {
    for (rules, is_told) in [
        ("{action: Allow, http: {methods: [GET]}}", true),
        ("{action: Allow, http: {methods: [GET, PUT]}}, {action: Allow, http: {methods: [POST]}}", true),
        ("{action: Allow, http: {methods: [GET, HEAD]}}", false),
        ("{action: Allow, http: {methods: ['*']}}", false),
        ("{action: Allow, http: {}}", false),
        ("{action: Allow, http: {methods: [PUT]}}", false),
        ("{action: Allow, http: {methods: [GET]}}, {action: Allow, http: {methods: [HEAD]}}", false),
        ("{action: Allow, http: {methods: [GET]}}, {action: Allow, protocol: UDP}", false),
    ] {
        assert_eq!(
            told(&ingress(rules)).contains(&"no-head spec.ingress[0].http.methods".to_owned()),
            is_told,
            "{rules}"
        );
    }
}

#[test]
fn a_tier_that_was_not_given_is_told() {
    let lost = policy("lost", "tier: platform, ingress: [{action: Allow}]");
    let tier = document("Tier", "{name: platform}", "{order: 1}");
    assert_eq!(told(&lost), ["no-tier spec.tier"]);
    assert_eq!(told(&(lost.clone() + &tier)), [""; 0]);
    assert_eq!(told(&(tier + &lost)), [""; 0]);
    for built_in in ["default", "kube-admin", "kube-baseline"] {
        assert_eq!(told(&policy("p", &format!("tier: {built_in}"))), [""; 0], "{built_in}");
    }
    let found = findings(
        &lost.replace("{tier: platform, ", "\n  selector: all()\n  tier: platform\n  ").replace("}]}", "}]"),
        None,
    );
    assert_eq!(found[0].line, 7, "{found:?}");
}

#[test]
fn rules_that_types_leaves_out_are_told() {
    let rules = "ingress: [{action: Allow}], egress: [{action: Deny}]";
    assert_eq!(told(&policy("p", &format!("types: [Egress], {rules}"))), ["no-effect spec.ingress"]);
    assert_eq!(told(&policy("p", &format!("types: [Ingress], {rules}"))), ["no-effect spec.egress"]);
    assert_eq!(told(&policy("p", &format!("types: [Ingress, Egress], {rules}"))), [""; 0]);
    assert_eq!(told(&policy("p", rules)), [""; 0]);
    assert_eq!(told(&policy("p", "types: [Egress], ingress: []")), [""; 0]);
}

#[test]
fn policies_of_the_same_order_that_differ_are_told() {
    let allow = "ingress: [{action: Allow, protocol: TCP}]";
    let deny = "ingress: [{action: Deny}]";
    for (one, other, is_told) in [
        (format!("order: 5, {allow}"), format!("order: 5, {deny}"), true),
        (allow.to_owned(), deny.to_owned(), true),
        (format!("order: 5, {allow}"), format!("order: 5.0, selector: has(a), {deny}"), true),
        (format!("order: 5, {allow}"), "order: 5, ingress: [{action: Pass, protocol: TCP}]".to_owned(), true),
        // Nothing differs.
        (format!("order: 5, {allow}"), format!("order: 6, {deny}"), false),
        (format!("order: 5, {allow}"), deny.to_owned(), false),
        (format!("order: 5, {allow}"), "order: 5, ingress: [{action: Allow}]".to_owned(), false),
        (format!("order: 5, {allow}"), "order: 5, egress: [{action: Deny}]".to_owned(), false),
        (format!("order: 5, {allow}"), "order: 5, ingress: [{action: Deny, protocol: UDP}]".to_owned(), false),
        (format!("order: 5, {allow}"), format!("order: 5, tier: kube-admin, {deny}"), false),
        // They need not be about the same pods.
        (format!("order: 5, selector: a == 'x', {allow}"), format!("order: 5, selector: a == 'y', {deny}"), false),
    ] {
        let text = policy("b", &one) + &policy("a", &other);
        let wanted: &[&str] = if is_told { &["same-order spec.order"] } else { &[] };
        assert_eq!(told(&text), wanted, "{text}");
        if is_told {
            let found = &findings(&text, None)[0];
            assert_eq!(found.policy, 0, "of the one that is asked later");
            assert!(found.text.contains("NetworkPolicy n/a"), "{}", found.text);
        }
    }
    let elsewhere = policy("b", allow) + &policy("a", deny).replace("namespace: n", "namespace: m");
    assert_eq!(told(&elsewhere), [""; 0]);
}

#[test]
fn selectors_that_select_nobody_are_told() {
    let mut identities = Identities::new();
    let labels = BTreeMap::from([("app".to_owned(), "a".to_owned())]);
    let of_namespace = BTreeMap::from([("team".to_owned(), "x".to_owned())]);
    identities.allocate(&Labels::from(PodLabels {
        namespace: "n",
        cluster: "c",
        service_account: Some("web"),
        labels: &labels,
        namespace_labels: &of_namespace,
    }));
    let set = document("GlobalNetworkSet", "{name: s, labels: {feed: bad}}", "{nets: [192.0.2.0/24]}");
    let own = document("NetworkSet", "{name: o, namespace: elsewhere, labels: {feed: own}}", "{nets: [192.0.2.0/24]}");
    let of = |text: &str| -> Vec<String> {
        let found = findings(&(text.to_owned() + &set + &own), Some(&identities));
        found.into_iter().map(|finding| format!("{} {}", finding.kind, finding.field)).collect()
    };
    let peer = |peer: &str| of(&ingress(&format!("{{action: Allow, source: {{{peer}}}}}")));
    for (selects, not, field) in [
        ("selector: app == 'a'", "selector: app == 'b'", "selector"),
        (
            "selector: feed == 'bad', namespaceSelector: global()",
            "selector: app == 'a', namespaceSelector: global()",
            "selector",
        ),
        (
            "selector: feed == 'own', namespaceSelector: all()",
            "selector: feed == 'bad', namespaceSelector: all()",
            "selector",
        ),
        ("namespaceSelector: team == 'x'", "namespaceSelector: projectcalico.org/name == 'm'", "namespaceSelector"),
        (
            "selector: app == 'a', namespaceSelector: all()",
            "selector: app == 'a', namespaceSelector: projectcalico.org/name == 'm'",
            "namespaceSelector",
        ),
        ("serviceAccounts: {names: [web, x]}", "serviceAccounts: {names: [x]}", "serviceAccounts.names"),
        ("notSelector: app == 'a'", "notSelector: app == 'b'", "notSelector"),
        ("nets: [10.0.0.0/8]", "nets: [10.0.0.0/8], selector: app == 'b'", "selector"),
        // Labels of a namespace without pods are not known.
        ("namespaceSelector: team == 'y'", "selector: app == 'a', notSelector: app == 'c'", "notSelector"),
    ] {
        assert_eq!(peer(selects), [""; 0], "{selects}");
        assert_eq!(peer(not), [format!("selects-nothing spec.ingress[0].source.{field}")], "{not}");
    }
    assert_eq!(of(&policy("p", "selector: app == 'a'")), [""; 0]);
    assert_eq!(of(&policy("p", "selector: app == 'b'")), ["selects-nothing spec.selector"]);
    assert_eq!(of(&policy("p", "").replace("namespace: n", "namespace: m")), ["selects-nothing spec.selector"]);
    assert_eq!(told(&policy("p", "selector: app == 'b'")), [""; 0], "nobody is known");
}

#[test]
fn the_published_baseline_is_not_told_of() {
    let text = document(
        "GlobalNetworkPolicy",
        "{name: default-deny-egress}",
        "{selector: \"projectcalico.org/namespace not in {'kube-system', 'monitoring'}\", types: [Egress], egress: [{action: \
         Allow, protocol: UDP, destination: {ports: [53]}}, {action: Allow, destination: {selector: \
         \"projectcalico.org/namespace == 'shop'\"}}, {action: Deny}]}",
    );
    assert_eq!(told(&text), [""; 0]);
}
