use super::*;
use crate::{
    calico::{
        policy::{Action, Icmp, IpProtocol, IpVersion, Order, Ports},
        testing::{Parsed, parsed},
    },
    manifest::{Document, parse},
    verdict::Direction,
};

/// Of exactly one policy.
fn policy(text: &str) -> Policy {
    let Parsed { mut policies, tiers, sets } = parsed(text);
    assert!(policies.len() == 1 && tiers.is_empty() && sets.sets.is_empty(), "{text}");
    Arc::try_unwrap(policies.remove(0)).unwrap()
}

fn one_tier(text: &str) -> Tier {
    parsed(text).tiers.remove(0)
}

fn one_set(text: &str) -> NetworkSet {
    parsed(text).sets.sets.remove(0)
}

/// `line: field: reason`.
fn errors(text: &str) -> Vec<String> {
    let mut documents = parse(text);
    assert_eq!(documents.len(), 1, "{text}");
    let errors = match documents.remove(0) {
        Document::Refused(refused) => refused.errors.clone(),
        Document::Unattributable { errors, .. } => errors,
        taken @ (Document::Policy(_) | Document::Skipped { .. }) => panic!("{taken:?}: {text}"),
    };
    errors.iter().map(|error| format!("{}: {}: {}", error.line, error.field, error.reason)).collect()
}

fn document(kind: &str, metadata: &str, spec: &str) -> String {
    format!("apiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata: {metadata}\nspec: {spec}\n")
}

fn namespaced(spec: &str) -> String {
    document("NetworkPolicy", "{name: p, namespace: n}", spec)
}

fn global(spec: &str) -> String {
    document("GlobalNetworkPolicy", "{name: p}", spec)
}

fn ingress(rule: &str) -> String {
    namespaced(&format!("{{ingress: [{rule}]}}"))
}

/// Exactly one error, of this field, that says this.
fn refused(text: &str, field: &str, part: &str) {
    let found = errors(text);
    assert!(found.len() == 1 && found[0].contains(&format!(": {field}: ")), "{field} not alone in {found:?}\n{text}");
    assert!(found[0].contains(part), "{part:?} not in {found:?}");
}

const PUBLISHED: &str = r#"apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata:
  name: default-deny-egress
spec:
  selector: "projectcalico.org/namespace not in {'kube-system', 'monitoring'}"
  types:
    - Egress
  egress:
    - action: Allow
      protocol: UDP
      destination:
        ports: [53]
    - action: Allow
      destination:
        selector: "projectcalico.org/namespace == RIGHT"
    - action: Deny
"#;

#[test]
fn the_published_baseline_is_refused_with_help_and_accepted_when_mended() {
    let found = errors(&PUBLISHED.replace("RIGHT", "projectcalico.org/namespace"));
    assert_eq!(
        found,
        [
            "16: spec.egress[1].destination.selector: column 32: projectcalico.org/namespace is not in quotes, and a label \
          cannot be compared with another label; write \"projectcalico.org/namespace\" if that text is meant"
        ]
    );
    let policy = policy(&PUBLISHED.replace("RIGHT", "'shop'"));
    assert_eq!(policy.key.to_string(), "GlobalNetworkPolicy default-deny-egress");
    assert_eq!((policy.tier.as_str(), policy.order, &policy.ingress), ("default", Order(None), &None));
    let egress = policy.egress.unwrap();
    assert_eq!(egress.iter().map(|rule| rule.action).collect::<Vec<_>>(), [Action::Allow, Action::Allow, Action::Deny]);
    assert_eq!(egress[0].protocol, Some(IpProtocol::UDP));
    assert_eq!(egress[0].destination.ports, Some(vec![Ports::Range(53, 53)]));
    assert_eq!(egress[1].destination.who.as_ref().unwrap().namespace, None, "everywhere: the policy is global");
    assert_eq!(egress[2].path, "egress[2]");
}

#[test]
fn types_default_to_what_has_rules_and_else_to_ingress() {
    for (spec, ingress, egress) in [
        ("{}", Some(0), None),
        ("{ingress: []}", Some(0), None),
        ("{ingress: [{action: Deny}]}", Some(1), None),
        ("{egress: [{action: Deny}]}", None, Some(1)),
        ("{egress: []}", Some(0), None),
        ("{ingress: [{action: Deny}], egress: [{action: Deny}]}", Some(1), Some(1)),
        ("{types: [Egress]}", None, Some(0)),
        ("{types: [Egress, Ingress]}", Some(0), Some(0)),
        ("{types: [Ingress, Egress], egress: [{action: Deny}]}", Some(0), Some(1)),
    ] {
        let policy = policy(&namespaced(spec));
        let counts = (policy.ingress.map(|rules| rules.len()), policy.egress.map(|rules| rules.len()));
        assert_eq!(counts, (ingress, egress), "{spec}");
    }
    refused(&namespaced("{types: [Ingress, Ingress]}"), "spec.types[1]", "twice");
    refused(&namespaced("{types: [Both]}"), "spec.types[0]", "Ingress or Egress");
    refused(&namespaced("{types: []}"), "spec.types", "is empty");
    let left_out = policy(&namespaced("{types: [Egress], ingress: [{action: Allow}]}"));
    assert_eq!((&left_out.ingress, left_out.egress.as_deref()), (&None, Some([].as_slice())), "as Calico takes it");
    assert!(
        left_out.without_effect(Direction::Ingress).is_some() && left_out.without_effect(Direction::Egress).is_none()
    );
}

#[test]
fn tiers_orders_and_names() {
    let read = policy(&document("GlobalNetworkPolicy", "{name: security.p}", "{tier: security, order: 10.5}"));
    assert_eq!((read.tier.as_str(), read.order, read.short_name()), ("security", Order(Some(10.5)), "p"));
    assert_eq!(policy(&global("{order: -3}")).order, Order(Some(-3.0)));
    for name in ["p", "default.p", "knp.default.p", "knp.default.a.b"] {
        policy(&document("NetworkPolicy", &format!("{{name: {name}}}"), "{}"));
    }
    let named = |name: &str, spec: &str| document("NetworkPolicy", &format!("{{name: {name}}}"), spec);
    refused(&named("security.p", "{}"), "metadata.name", "write spec.tier: security");
    refused(&named("a.b.c", "{}"), "metadata.name", "no name");
    refused(&named("knp.default.p", "{tier: security}"), "metadata.name", "no name");
    refused(&named("P", "{}"), "metadata.name", "lower case");
    refused(&named("p", "{tier: a.b}"), "spec.tier", "no tier");
    for (order, part) in
        [("'10'", "without quotes"), (".inf", "not a number"), ("nan", "not a number"), ("[]", "a list")]
    {
        refused(&global(&format!("{{order: {order}}}")), "spec.order", part);
    }
}

#[test]
fn tiers_are_read_and_the_built_in_ones_are_fixed() {
    let tier = |name: &str, spec: &str| document("Tier", &format!("{{name: {name}}}"), spec);
    let read = one_tier(&tier("security", "{order: 100}"));
    assert_eq!(
        read,
        Tier { name: "security".to_owned(), order: Order(Some(100.0)), default_action: TierDefault::Deny }
    );
    let read = one_tier(&tier("late", "{defaultAction: Pass}"));
    assert_eq!((read.order, read.default_action), (Order(None), TierDefault::Pass));
    assert_eq!(one_tier(&tier("default", "{order: 1000000, defaultAction: Deny}")).name, "default");
    refused(&tier("default", "{order: 5}"), "spec", "order 1000000 and defaultAction Deny");
    refused(&tier("kube-admin", "{order: 1000}"), "spec", "defaultAction Pass");
    refused(&tier("t", "{defaultAction: Allow}"), "spec.defaultAction", "Deny or Pass");
    refused(&tier("a.b", "{}"), "metadata.name", "dot");
    refused(&document("Tier", "{name: t, namespace: n}", "{}"), "metadata.namespace", "global");
}

#[test]
fn network_sets_have_labels_and_nets() {
    let set = |kind: &str, metadata: &str, nets: &str| document(kind, metadata, &format!("{{nets: {nets}}}"));
    let read = one_set(&set("NetworkSet", "{name: s, namespace: n, labels: {a: b}}", "[10.1.2.3/8, 'fd00::1']"));
    assert_eq!((read.namespace.as_deref(), read.name.as_str()), (Some("n"), "s"));
    assert_eq!(read.labels.get("a").map(String::as_str), Some("b"));
    assert_eq!(read.nets.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "fd00::1/128"]);
    assert_eq!(one_set(&set("GlobalNetworkSet", "{name: s}", "[]")).namespace, None);
    let own = "{name: s, labels: {projectcalico.org/namespace: n}}";
    refused(&set("GlobalNetworkSet", own, "[]"), "metadata.labels.projectcalico.org/namespace", "remove it");
    refused(&set("GlobalNetworkSet", "{name: s}", "[10.0.0.0/33]"), "spec.nets[0]", "not a CIDR");
    refused(&set("GlobalNetworkSet", "{name: s}", "['::ffff:1.2.3.4/128']"), "spec.nets[0]", "IPv4");
    refused(&document("NetworkSet", "{name: s}", "{net: []}"), "spec.net", "did you mean nets?");
}

#[test]
fn rules_are_read_in_full() {
    let rule = "{action: Allow, ipVersion: 4, protocol: TCP, source: {nets: [10.0.0.0/8], notNets: [10.1.0.0/16], \
                selector: has(a), notSelector: has(b), namespaceSelector: has(c), serviceAccounts: {names: [x], selector: \
                all()}}, destination: {ports: [80, '90:95', '443', web], notPorts: [91]}, metadata: {annotations: {a: b}}, \
                http: {methods: [GET], paths: [{exact: /a}, {prefix: /b/}]}}";
    let policy = policy(&ingress(rule));
    let rule = &policy.ingress.as_ref().unwrap()[0];
    assert_eq!((rule.ip_version, rule.protocol), (Some(IpVersion::V4), Some(IpProtocol::TCP)));
    let who = rule.source.who.as_ref().unwrap();
    assert_eq!(who.namespace, None, "there is a namespaceSelector");
    assert_eq!(who.namespace_selector.as_ref().unwrap().to_string(), "has(pcns.c)");
    assert_eq!(who.account_selector.as_ref().unwrap().to_string(), "all()");
    assert_eq!(who.accounts.as_deref(), Some(&["x".to_owned()][..]));
    assert_eq!(rule.source.not_selector.as_ref().unwrap().to_string(), "has(b)");
    let range = Ports::Range;
    let ports = vec![range(80, 80), range(90, 95), range(443, 443), Ports::Named("web".to_owned())];
    assert_eq!(rule.destination.ports, Some(ports));
    assert_eq!(rule.destination.not_ports, Some(vec![range(91, 91)]));
    assert_eq!(rule.http.as_ref().unwrap().paths.len(), 2);
    let cidrs: Vec<String> = policy.cidrs().map(|net| net.to_string()).collect();
    assert_eq!(cidrs, ["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "::/0"], "and each version of IP, which is asked for");
}

#[test]
fn peers_of_a_namespaced_policy_are_of_its_namespace_unless_they_name_one() {
    let scope = |text: &str| {
        let rule = policy(text).ingress.unwrap().remove(0);
        rule.source.who.map(|who| who.namespace)
    };
    for peer in ["selector: has(a)", "notSelector: has(a)", "serviceAccounts: {names: [x]}"] {
        let rule = format!("{{ingress: [{{action: Allow, source: {{{peer}}}}}]}}");
        assert_eq!(scope(&namespaced(&rule)), Some(Some("n".to_owned())), "{peer}");
        assert_ne!(scope(&global(&rule)), Some(Some("n".to_owned())), "{peer}");
        let rule = format!("{{ingress: [{{action: Allow, source: {{{peer}, namespaceSelector: all()}}}}]}}");
        assert_eq!(scope(&namespaced(&rule)), Some(None), "{peer}");
    }
    assert_eq!(scope(&ingress("{action: Allow}")), None);
    assert_eq!(scope(&ingress("{action: Allow, source: {nets: [10.0.0.0/8]}}")), None);
}

#[test]
fn every_unknown_or_unsupported_field_is_refused_by_name() {
    let peer = |field: &str| ingress(&format!("{{action: Allow, source: {{{field}}}}}"));
    for (text, field, part) in [
        (global("{doNotTrack: true}"), "spec.doNotTrack", "not supported"),
        (global("{preDNAT: true}"), "spec.preDNAT", "not supported"),
        (global("{applyOnForward: true}"), "spec.applyOnForward", "not judged"),
        (global("{applyOnForward: 'true'}"), "spec.applyOnForward", "neither"),
        (global("{performanceHints: [Other]}"), "spec.performanceHints[0]", "AssumeNeededOnEveryNode"),
        (global("{stagedAction: Set}"), "spec.stagedAction", "staged"),
        (namespaced("{doNotTrack: false}"), "spec.doNotTrack", "GlobalNetworkPolicy"),
        (namespaced("{namespaceSelector: all()}"), "spec.namespaceSelector", "GlobalNetworkPolicy"),
        (namespaced("{egres: []}"), "spec.egres", "did you mean egress?"),
        (namespaced("{selector: global()}"), "spec.selector", "global()"),
        (global("{namespaceSelector: global()}"), "spec.namespaceSelector", "global()"),
        (peer("services: {name: a, namespace: b}"), "spec.ingress[0].source.services", "not supported yet"),
        (peer("domains: [a.b]"), "spec.ingress[0].source.domains", "open-source"),
        (peer("selectors: has(a)"), "spec.ingress[0].source.selectors", "did you mean selector?"),
        (peer("selector: global()"), "spec.ingress[0].source.selector", "namespaceSelector"),
        (peer("namespaceSelector: global() || has(a)"), "spec.ingress[0].source.namespaceSelector", "alone"),
        (peer("selector: ' '"), "spec.ingress[0].source.selector", "blank"),
        (peer("nets: []"), "spec.ingress[0].source.nets", "is empty"),
        (peer("serviceAccounts: {}"), "spec.ingress[0].source.serviceAccounts", "asks for nothing"),
        (
            peer("serviceAccounts: {selector: role == 'x'}"),
            "spec.ingress[0].source.serviceAccounts.selector",
            "serviceAccounts.names",
        ),
        (peer("selector: pcsa.role == 'x'"), "spec.ingress[0].source.selector", "not known here"),
        (global("{serviceAccountSelector: '!has(role)'}"), "spec.serviceAccountSelector", "not known here"),
        (peer("serviceAccounts: {names: [A]}"), "spec.ingress[0].source.serviceAccounts.names[0]", "lower case"),
        (ingress("{action: Allow, sources: {}}"), "spec.ingress[0].sources", "did you mean source?"),
        (ingress("{action: allow}"), "spec.ingress[0].action", "Allow, Deny, Log or Pass"),
        (ingress("{protocol: TCP}"), "spec.ingress[0].action", "missing"),
        (ingress("null"), "spec.ingress[0]", "is empty"),
        (ingress("{action: Deny, metadata: {labels: {}}}"), "spec.ingress[0].metadata.labels", "annotations"),
        (document("NetworkPolicy", "{name: p}", "null"), "spec", "missing"),
        (document("NetworkPolicy", "{}", "{}"), "metadata.name", "missing"),
        (document("NetworkPolicy", "{name: p, namespace: N}", "{}"), "metadata.namespace", "lower case"),
        (document("GlobalNetworkPolicy", "{name: p, namespace: n}", "{}"), "metadata.namespace", "remove it"),
    ] {
        refused(&text, field, part);
    }
    policy(&global("{doNotTrack: false, preDNAT: false, applyOnForward: false}"));
    policy(&namespaced("{performanceHints: [AssumeNeededOnEveryNode]}"));
    let long = format!("a == '{}'", "x".repeat(1024));
    refused(&peer(&format!("selector: \"{long}\"")), "spec.ingress[0].source.selector", "1024");
    policy(&namespaced(&format!("{{selector: \"{long}\"}}")));
}

#[test]
fn protocols_and_ports_must_go_together() {
    for (rule, field, part) in [
        ("{action: Allow, protocol: tcp}", "protocol", "did you mean TCP?"),
        ("{action: Allow, protocol: 0}", "protocol", "1 to 255"),
        ("{action: Allow, notProtocol: 256}", "notProtocol", "1 to 255"),
        ("{action: Allow, ipVersion: 5}", "ipVersion", "4 or 6"),
        ("{action: Allow, ipVersion: '4'}", "ipVersion", "without quotes"),
        ("{action: Allow, destination: {ports: [80]}}", "destination.ports", "protocol: TCP"),
        ("{action: Allow, protocol: UDPLite, source: {notPorts: [80]}}", "source.notPorts", "protocol: TCP"),
        ("{action: Allow, protocol: ICMP, source: {ports: [web]}}", "source.ports", "protocol: TCP"),
        ("{action: Allow, protocol: TCP, source: {ports: [0]}}", "source.ports[0]", "1 to 65535"),
        ("{action: Allow, protocol: TCP, source: {ports: [65536]}}", "source.ports[0]", "1 to 65535"),
        ("{action: Allow, protocol: TCP, source: {ports: [080]}}", "source.ports[0]", "1 to 65535"),
        ("{action: Allow, protocol: TCP, source: {ports: ['9:8']}}", "source.ports[0]", "\"8:9\""),
        ("{action: Allow, protocol: TCP, source: {ports: ['9:']}}", "source.ports[0]", "range"),
        ("{action: Allow, protocol: TCP, source: {ports: [22:23]}}", "source.ports[0]", "in quotes"),
        ("{action: Allow, protocol: TCP, source: {ports: [80-90]}}", "source.ports[0]", "\"80:90\""),
        ("{action: Allow, protocol: TCP, source: {ports: ['a b']}}", "source.ports[0]", "name"),
        ("{action: Allow, protocol: TCP, source: {ports: []}}", "source.ports", "is empty"),
    ] {
        refused(&ingress(rule), &format!("spec.ingress[0].{field}"), part);
    }
    let many: Vec<String> = (1..=51).map(|port: u8| port.to_string()).collect();
    let rule = format!("{{action: Allow, protocol: TCP, source: {{ports: [{}]}}}}", many.join(", "));
    refused(&ingress(&rule), "spec.ingress[0].source.ports", "the most is 50");
    for rule in [
        "{action: Allow, destination: {ports: [web]}}",
        "{action: Allow, protocol: 6, destination: {ports: [80]}}",
        "{action: Allow, protocol: '17', destination: {ports: ['80']}}",
        "{action: Allow, protocol: SCTP, destination: {notPorts: [80, '1:65535']}}",
        "{action: Allow, protocol: 255}",
    ] {
        policy(&ingress(rule));
    }
}

#[test]
fn icmp_needs_its_protocol_and_a_code_its_type() {
    let read = policy(&ingress("{action: Allow, protocol: ICMP, icmp: {type: 8, code: 0}, notICMP: {type: 3}}"));
    let rule = &read.ingress.unwrap()[0];
    assert_eq!(rule.icmp, Some(Icmp { kind: 8, code: Some(0) }));
    assert_eq!(rule.not_icmp, Some(Icmp { kind: 3, code: None }));
    for (rule, field, part) in [
        ("{action: Allow, icmp: {type: 8}}", "icmp", "protocol: ICMP"),
        ("{action: Allow, protocol: TCP, notICMP: {type: 8}}", "notICMP", "protocol: ICMP"),
        ("{action: Allow, protocol: ICMP, icmp: {code: 0}}", "icmp", "no type"),
        ("{action: Allow, protocol: ICMP, icmp: {type: 255}}", "icmp.type", "0 to 254"),
        ("{action: Allow, protocol: ICMP, icmp: {type: 3, code: 256}}", "icmp.code", "0 to 255"),
        ("{action: Allow, protocol: ICMP, ipVersion: 6}", "protocol", "ICMPv6"),
        ("{action: Allow, protocol: ICMPv6, ipVersion: 4}", "protocol", "ICMPv6"),
    ] {
        let found = errors(&ingress(rule));
        let wanted = format!(": spec.ingress[0].{field}: ");
        assert!(found.iter().any(|line| line.contains(&wanted) && line.contains(part)), "{rule}: {found:?}");
    }
    policy(&ingress("{action: Allow, protocol: ICMPv6, ipVersion: 6, icmp: {type: 128}}"));
}

#[test]
fn nets_of_a_rule_are_of_one_version_and_never_negate_everything() {
    let refuse =
        |rule: &str, field: &str, part: &str| refused(&ingress(rule), &format!("spec.ingress[0]{field}"), part);
    refuse("{action: Allow, source: {nets: [10.0.0.0/8, 'fd00::/8']}}", "", "mixes");
    refuse("{action: Allow, source: {nets: [10.0.0.0/8]}, destination: {notNets: ['fd00::/8']}}", "", "mixes");
    refuse("{action: Allow, ipVersion: 6, source: {nets: [10.0.0.0/8]}}", ".ipVersion", "nets");
    refuse("{action: Allow, source: {notNets: [0.0.0.0/0]}}", ".source.notNets", "every address");
    refuse("{action: Allow, source: {notNets: ['::/0']}}", ".source.notNets", "every address");
    refuse("{action: Allow, source: {nets: [10.0.0.0/08]}}", ".source.nets[0]", "not a CIDR");
    policy(&ingress("{action: Allow, source: {nets: [0.0.0.0/0]}}"));
    policy(&ingress("{action: Allow, ipVersion: 6, source: {nets: ['fd00::/8']}}"));
}

#[test]
fn http_is_only_for_ingress_allow_and_tcp() {
    let egress = |rule: &str| namespaced(&format!("{{egress: [{rule}]}}"));
    refused(&egress("{action: Allow, http: {methods: [GET]}}"), "spec.egress[0].http", "only for ingress");
    let http = |fields: &str| ingress(&format!("{{action: Allow, protocol: TCP, http: {{{fields}}}}}"));
    for (text, field, part) in [
        (ingress("{action: Deny, http: {}}"), "http", "action: Allow"),
        (ingress("{action: Pass, http: {}}"), "http", "action: Allow"),
        (ingress("{action: Log, http: {}}"), "http", "action: Allow"),
        (ingress("{action: Allow, protocol: UDP, http: {}}"), "http", "protocol: TCP"),
        (ingress("{action: Allow, notProtocol: UDP, http: {}}"), "http", "protocol: TCP"),
        (http("methods: [GET, GET]"), "http.methods[1]", "twice"),
        (http("methods: ['']"), "http.methods[0]", "no method"),
        (http("paths: [{}]"), "http.paths[0]", "neither"),
        (http("paths: [{exact: /a, prefix: /b}]"), "http.paths[0]", "both"),
        (http("paths: [{exact: a}]"), "http.paths[0].exact", "write /a"),
        (http("paths: [{exact: ''}]"), "http.paths[0].exact", "begin with /"),
        (http("paths: [{prefix: /a b}]"), "http.paths[0].prefix", "%20"),
        (http("paths: [{prefix: '/a?b'}]"), "http.paths[0].prefix", "'?'"),
        (http("paths: [{prefix: '/a#b'}]"), "http.paths[0].prefix", "'#'"),
        (http("paths: [{prefix: /%2f}]"), "http.paths[0].prefix", "encoded slash"),
        (http("paths: [{regex: /a}]"), "http.paths[0].regex", "exact or prefix"),
        (http("headers: []"), "http.headers", "no header rules"),
        (http("method: [GET]"), "http.method", "did you mean methods?"),
    ] {
        refused(&text, &format!("spec.ingress[0].{field}"), part);
    }
    let long = format!("paths: [{{exact: /{}}}]", "a".repeat(1024));
    refused(&http(&long), "spec.ingress[0].http.paths[0].exact", "1024");
    let many = format!("paths: [{}]", ["{exact: /a}"; 21].join(", "));
    refused(&http(&many), "spec.ingress[0].http.paths", "the most is 20");
    policy(&ingress("{action: Allow, http: {}}"));
    policy(&ingress("{action: Allow, protocol: 6, http: {methods: [], paths: []}}"));
}

#[test]
fn kinds_that_are_not_enforced_say_so() {
    for (kind, part) in [
        ("StagedNetworkPolicy", "write kind: NetworkPolicy"),
        ("StagedGlobalNetworkPolicy", "write kind: GlobalNetworkPolicy"),
        ("StagedKubernetesNetworkPolicy", "write kind: NetworkPolicy"),
        ("Profile", "write a NetworkPolicy"),
        ("HostEndpoint", "not hosts"),
    ] {
        let documents = parse(&document(kind, "{name: x}", "{}"));
        let [Document::Skipped { line: 1, what }] = &documents[..] else { panic!("{kind}: {documents:?}") };
        assert!(what.contains(part), "{kind}: {what}");
    }
    for (version, kind) in [("crd.projectcalico.org/v1", "NetworkPolicy"), ("projectcalico.org/v1", "Tier")] {
        let text = document(kind, "{name: x}", "{}").replace("projectcalico.org/v3", version);
        refused(&text, "apiVersion", "write projectcalico.org/v3");
    }
    assert_eq!(not_enforced("projectcalico.org/v3", "IPPool"), None);
    assert_eq!(not_enforced("example.org/v3", "StagedNetworkPolicy"), None);
}

#[test]
fn all_errors_are_told_in_the_order_of_lines() {
    let text = "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: x.p}\nspec:\n  order: ten\n  \
                selector: app\n  ingress:\n  - action: Alow\n    source: {nets: [1.2.3.4/40], nets: []}\n";
    let told = errors(text);
    let lines: Vec<&str> = told.iter().filter_map(|error| error.split(':').next()).collect();
    assert_eq!(lines, ["3", "5", "6", "8", "9", "9"], "{told:?}");
}
