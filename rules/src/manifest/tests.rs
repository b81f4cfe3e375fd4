use super::*;
use crate::{Direction, Identities, InForce, Label, Labels, NamedPorts, resolve};

pub(super) fn spec(body: &str) -> String {
    format!("apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: p, namespace: n}}\nspec:\n{body}")
}

pub(super) fn errors(text: &str) -> Vec<String> {
    let show = |error: &FieldError| format!("{}: {}: {}", error.line, error.field, error.reason);
    parse(text)
        .iter()
        .flat_map(|document| match document {
            Document::Refused(refused) => refused.errors.iter().map(show).collect(),
            Document::Unattributable { errors, .. } => errors.iter().map(show).collect(),
            Document::Policy(_) | Document::Skipped { .. } => Vec::new(),
        })
        .collect()
}

#[test]
fn every_other_field_is_refused_by_name() {
    for (field, place) in [
        ("  ingressDeny: [{fromFQDNs: []}]", "spec.ingressDeny[0].fromFQDNs"),
        ("  egressDeny: [{toPorts: [{rules: {http: [{}]}}]}]", "spec.egressDeny[0].toPorts[0].rules"),
        ("  ingress: [{}]\n  enableDefaultDeny: {ingress: 'false'}", "spec.enableDefaultDeny.ingress"),
        ("  ingress: [{}]\n  enableDefaultDeny: {both: false}", "spec.enableDefaultDeny.both"),
        ("  nodeSelector: {}", "spec.nodeSelector"),
        ("  ingress: [{}]\n  log: {value: a text of more than 32 characters}", "spec.log.value"),
        ("  egress:\n  - toFQDNs: [{matchName: a.b}]", "spec.egress[0].toFQDNs"),
        ("  egress:\n  - toEntities: [moon]", "spec.egress[0].toEntities[0]"),
        ("  egress:\n  - toEntities: [world-ipv4]", "spec.egress[0].toEntities[0]"),
        ("  egress:\n  - toNodes: [{}]", "spec.egress[0].toNodes"),
        (
            "  egress:\n  - toServices: [{k8sService: {namespace: n}}]",
            "spec.egress[0].toServices[0].k8sService.serviceName",
        ),
        ("  egress:\n  - toServices: [{}]", "spec.egress[0].toServices[0]"),
        ("  ingress:\n  - toServices: [{}]", "spec.ingress[0].toServices"),
        ("  egress:\n  - icmps: [{fields: [{type: 256}]}]", "spec.egress[0].icmps[0].fields[0].type"),
        ("  ingress:\n  - fromCIDRSet: [{except: []}]", "spec.ingress[0].fromCIDRSet[0].cidr"),
        ("  ingress:\n  - fromCIDRSet: [{cidrGroupRef: a_b}]", "spec.ingress[0].fromCIDRSet[0].cidrGroupRef"),
        (
            "  ingress:\n  - fromCIDRSet: [{cidr: 10.0.0.0/8, except: [11.0.0.0/16]}]",
            "spec.ingress[0].fromCIDRSet[0].except[0]",
        ),
        ("  egress:\n  - toPorts: [{serverNames: [a]}]", "spec.egress[0].toPorts[0].serverNames"),
        ("  egress:\n  - toPorts: [{rules: {dns: [{}]}}]", "spec.egress[0].toPorts[0].rules.dns"),
        (
            "  egress:\n  - toPorts: [{ports: [{port: '80', protocol: TCP}], rules: {http: [{headerMatches: [{}]}]}}]",
            "spec.egress[0].toPorts[0].rules.http[0].headerMatches[0].name",
        ),
        (
            "  egress:\n  - toPorts: [{ports: [{port: http, endPort: 90}]}]",
            "spec.egress[0].toPorts[0].ports[0].endPort",
        ),
    ] {
        let found = errors(&spec(&format!("  endpointSelector: {{}}\n{field}\n")));
        assert!(found.iter().any(|line| line.contains(&format!(": {place}: "))), "{place} not in {found:?}");
    }
}

#[test]
fn a_slip_of_the_pen_is_explained() {
    let found = errors(&spec("  endpointSelector: {}\n  egres:\n  - {}\n"));
    assert!(found[0].starts_with("6: spec.egres: unknown field; did you mean egress?"), "{found:?}");
}

#[test]
fn all_errors_are_told_with_their_lines() {
    let found = errors(&spec(
        "  endpointSelector: {matchLabels: {app: 1}}\n  egress:\n  - toCIDR: [10.0.0.0/33]\n    toPorts:\n    - ports: [{port: 80}]\n      rules: {http: [{path: '('}]}\n",
    ));
    let places: Vec<&str> = found.iter().filter_map(|line| line.split(": ").nth(1)).collect();
    assert_eq!(
        places,
        [
            "spec.endpointSelector.matchLabels.app",
            "spec.egress[0].toCIDR[0]",
            "spec.egress[0].toPorts[0].ports[0].port",
            "spec.egress[0].toPorts[0].ports[0].protocol",
            "spec.egress[0].toPorts[0].rules.http[0].path",
        ]
    );
    assert!(found[0].starts_with("5: ") && found[1].starts_with("7: "), "{found:?}");
}

#[test]
fn http_rules_need_named_tcp_ports() {
    for ports in ["[]", "[{port: '80'}]", "[{port: '80', protocol: ANY}]", "[{port: '0', protocol: TCP}]"] {
        let body = format!(
            "  endpointSelector: {{}}\n  egress:\n  - toPorts: [{{ports: {ports}, rules: {{http: [{{}}]}}}}]\n"
        );
        assert_eq!(errors(&spec(&body)).len(), 1, "{ports}");
    }
    let fine = "  endpointSelector: {}\n  egress:\n  - toPorts: [{ports: [{port: '0'}], rules: {http: []}}]\n";
    assert!(errors(&spec(fine)).is_empty(), "an empty list is no L7 rule");
}

#[test]
fn policies_of_other_kinds_are_refused_and_other_things_skipped() {
    let text = "apiVersion: policy.networking.k8s.io/v1\nkind: AdminNetworkPolicy\nmetadata: {name: x}\n---\n\
                apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: y}\n---\n";
    let documents = parse(text);
    assert!(matches!(&documents[0], Document::Refused(refused) if refused.key.to_string() == "AdminNetworkPolicy x"));
    assert!(matches!(&documents[1], Document::Skipped { line: 5, .. }), "{documents:?}");
    assert_eq!(documents.len(), 2);
}

#[test]
fn broken_yaml_tells_its_line_and_harms_no_other_document() {
    let good = spec("  endpointSelector: {}\n  egress: [{}]\n");
    let text = format!("{good}--- # next\nkind: [\n---\n{good}");
    let documents = parse(&text);
    assert!(matches!(documents[0], Document::Policy(_)), "{documents:?}");
    assert!(matches!(&documents[1], Document::Unattributable { line, errors }
        if *line >= 8 && errors[0].reason.starts_with("not YAML")));
    assert!(matches!(documents[2], Document::Policy(_)));
    assert_eq!(documents.len(), 3);
}

#[test]
fn documents_are_told_apart_as_yaml_does() {
    let text = "# only a comment\n---\n%YAML 1.2\n---\nkind: a\napiVersion: v\n...\n# nothing\n--- {kind: b, apiVersion: v}\r\n---\r\nkind: c\r\napiVersion: v\r\nx: |\r\n  ---\r\n";
    let lines: Vec<usize> = parse(text)
        .iter()
        .map(|document| match document {
            Document::Skipped { line, .. } => *line,
            Document::Policy(_) | Document::Refused(_) | Document::Unattributable { .. } => 0,
        })
        .collect();
    assert_eq!(lines, [5, 9, 11]);
    assert!(parse("").is_empty() && parse("\u{feff}# nothing\n---\n").is_empty());
}

#[test]
fn duplicate_keys_and_aliases_are_errors_of_their_policy() {
    let twice = errors(&spec("  endpointSelector: {}\n  egress: [{}]\n  egress: [{}]\n"));
    assert_eq!(twice, ["7: spec.egress: is already on line 6; write it once"]);
    let alias = errors(&spec("  endpointSelector: &a {}\n  egress:\n  - toEndpoints: [*a]\n"));
    assert!(alias[0].starts_with("7: spec.egress[0].toEndpoints[0]: anchors and aliases"), "{alias:?}");
    let tag = errors(&spec("  endpointSelector: !!map {}\n  egress: [{}]\n"));
    assert!(tag[0].starts_with("5: spec.endpointSelector: tags"), "{tag:?}");
    let key = errors(&spec("  endpointSelector: {}\n  egress: [{? [a] : b}]\n"));
    assert_eq!(key, ["6: spec.egress[0].?: a key must be plain text"]);
}

#[test]
fn the_same_holds_inside_of_a_list() {
    let list = |spec: &str| {
        format!(
            "apiVersion: v1\nkind: List\nx: &a [{{}}]\nitems:\n- apiVersion: cilium.io/v2\n  kind: CiliumNetworkPolicy\n  \
             metadata: {{name: a}}\n  spec: {spec}\n- apiVersion: v1\n  kind: Secret\n  y: *a\n"
        )
    };
    let good = parse(&list("{endpointSelector: {}, ingress: [{}]}"));
    assert!(
        matches!(&good[0], Document::Policy(policy) if policy.key().to_string() == "CiliumNetworkPolicy default/a")
    );
    assert!(matches!(good[1], Document::Skipped { .. }), "not ours, however it is written");
    let alias =
        errors(&list("{endpointSelector: {}, egress: [{toEndpoints: *a, toPorts: [{ports: [{port: '80'}]}]}]}"));
    assert!(alias[0].starts_with("8: spec.egress[0].toEndpoints: anchors"), "an alias is never a wildcard: {alias:?}");
    let twice = errors(&list("{endpointSelector: {}, egress: [{}], egress: []}"));
    assert!(twice[0].contains("spec.egress: is already on line 8"), "{twice:?}");
    let typed = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicyList\nitems:\n- metadata: {name: a}\n  spec: {endpointSelector: {}, ingress: [{}]}\n";
    assert!(matches!(parse(typed)[..], [Document::Policy(_)]));
    assert_eq!(errors("apiVersion: v1\nkind: List\nitems: {}\n"), ["3: items: is a map; write a list"]);
}

#[test]
fn names_and_namespaces_must_be_readable() {
    let with = |metadata: &str| {
        parse(&format!(
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {metadata}\nspec: {{endpointSelector: {{}}, egress: [{{}}]}}\n"
        ))
    };
    for metadata in ["{}", "[]", "{name: ''}", "{name: [a]}", "{name: a, namespace: [b]}", "{name: !x a}"] {
        let documents = with(metadata);
        assert!(matches!(documents[..], [Document::Unattributable { line: 1, .. }]), "{metadata}: {documents:?}");
    }
    for metadata in ["{name: A}", "{name: 1}", "{name: a b}", "{name: a, namespace: B.c}", "{name: a, namespace: true}"]
    {
        assert!(matches!(with(metadata)[..], [Document::Refused(_)]), "{metadata}");
    }
    assert!(matches!(with("{name: a.b-1, namespace: ''}")[..], [Document::Policy(_)]));
}

#[test]
fn a_policy_needs_a_spec() {
    let with = |rest: &str| {
        errors(&format!("apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: a}}\n{rest}"))
    };
    for rest in ["", "spec:\n", "specs: []\n"] {
        assert!(with(rest)[0].contains("spec: is missing"), "{rest:?}");
    }
    assert!(with("spec: {}\n").iter().any(|line| line.contains("spec.endpointSelector: is missing")));
    assert!(with("spec: []\n")[0].contains("spec: is a list; write a map"));
    assert!(with("specs: {}\n")[0].contains("specs: is a map; write a list"));
    assert!(with("spec: {endpointSelector: {}, ingress: []}\n")[0].contains("has no ingress, egress or deny rules"));
    assert!(
        with("spec: {endpointSelector: {}, ingress: [{}]}\nspecs: [{endpointSelector: {}, egress: [{}]}]\n").is_empty()
    );
}

#[test]
fn tags_of_the_author_are_taken_and_checked() {
    let fine =
        "  endpointSelector: {}\n  description: x\n  labels: [a, {key: b, value: c, source: d}]\n  egress: [{}]\n";
    assert!(errors(&spec(fine)).is_empty());
    let bad = errors(&spec("  endpointSelector: {}\n  description: [x]\n  labels: [1, {value: c}]\n  egress: [{}]\n"));
    let places: Vec<&str> = bad.iter().filter_map(|line| line.split(": ").nth(1)).collect();
    assert_eq!(places, ["spec.description", "spec.labels[0]", "spec.labels[1].key"]);
}

#[test]
fn ports_are_numbers_or_names() {
    let with = |port: &str| {
        errors(&spec(&format!("  endpointSelector: {{}}\n  egress:\n  - toPorts: [{{ports: [{port}]}}]\n")))
    };
    for port in [
        "{port: '80'}",
        "{port: '0', protocol: ANY}",
        "{port: HTTP, protocol: udp}",
        "{port: a-1, protocol: sctp}",
        "{port: '0x10'}",
        "{port: '80', endPort: 80}",
        "{port: '80', endPort: 0}",
        "{port: '80', endPort: 81}",
        "{port: '80', endPort: 79}",
    ] {
        assert_eq!(with(port), [""; 0], "{port}");
    }
    for (port, field) in [
        ("{}", "port"),
        ("{port: ''}", "port"),
        ("{port: '65536'}", "port"),
        ("{port: '080'}", "port"),
        ("{port: '-1'}", "port"),
        ("{port: a--b}", "port"),
        ("{port: a-name-of-16-chs}", "port"),
        ("{port: 80}", "port"),
        ("{port: '0', endPort: 81}", "endPort"),
        ("{port: '80', endPort: '80'}", "endPort"),
        ("{port: '80', endPort: 70000}", "endPort"),
        ("{port: '80', endPort: []}", "endPort"),
        ("{port: http, endPort: 80}", "endPort"),
        ("{port: '80', protocol: ICMP}", "protocol"),
        ("{port: '80', protocol: TPC}", "protocol"),
    ] {
        let found = with(port);
        assert_eq!(found.len(), 1, "{port}: {found:?}");
        assert!(found[0].contains(&format!("toPorts[0].ports[0].{field}: ")), "{port}: {found:?}");
    }
    let many = vec!["{port: '80'}"; 41].join(",");
    assert!(with(&many)[0].contains("41 ports, the most is 40"));
}

#[test]
fn cidrs_have_a_prefix_length() {
    let with = |cidr: &str| errors(&spec(&format!("  endpointSelector: {{}}\n  egress:\n  - toCIDR: ['{cidr}']\n")));
    for cidr in ["10.0.0.0/8", "0.0.0.0/0", "10.1.2.3/8", "fd00::/8", "::/0", "::1/128"] {
        assert_eq!(with(cidr), [""; 0], "{cidr}");
    }
    assert!(with("10.0.0.1")[0].contains("write 10.0.0.1/32"));
    for cidr in [
        "",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/08",
        "010.0.0.0/8",
        "10.0.0/8",
        "10.0.0.0/255.0.0.0",
        "::ffff:10.0.0.0/104",
        "a/8",
    ] {
        assert_eq!(with(cidr).len(), 1, "{cidr}");
    }
}

#[test]
fn patterns_of_one_policy_are_bounded_together() {
    let rules = "{path: '[ab]{1000}x'}, ".repeat(4_000);
    let found = errors(&spec(&format!(
        "  endpointSelector: {{}}\n  egress:\n  - toPorts: [{{ports: [{{port: '80', protocol: TCP}}], rules: {{http: [{rules}]}}}}]\n"
    )));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("33554432 bytes"), "{found:?}");
}

#[test]
fn headers_are_names_with_or_without_values() {
    let with = |header: &str| {
        errors(&spec(&format!(
            "  endpointSelector: {{}}\n  egress:\n  - toPorts: [{{ports: [{{port: '80', protocol: TCP}}], rules: {{http: [{{headers: [{header}]}}]}}}}]\n"
        )))
    };
    assert!(with("'X-A: b', X-A, 'X-A:b'").is_empty());
    assert!(with("':path: /x'")[0].contains("pseudo-header"));
    assert!(with("''")[0].contains("is empty"));
    assert!(with("[X-A]")[0].contains("is a list; write a text"));
}

/// Directions and endpoints (`app` in namespace `n` or `m`) that a refused policy puts under default deny.
fn denied(text: &str) -> Vec<String> {
    let documents = parse(text);
    let [Document::Refused(refused)] = &documents[..] else { panic!("{documents:?}") };
    let in_force = InForce::Refused(Arc::clone(refused));
    let mut denied = Vec::new();
    for (namespace, app) in [("n", "a"), ("n", "b"), ("m", "a")] {
        let label = |key: &str, value: &str| Label::new("k8s", key, value);
        let labels = Labels::new([label("io.kubernetes.pod.namespace", namespace), label("app", app)]);
        let policy = resolve(std::slice::from_ref(&in_force), &labels, &NamedPorts::default(), &Identities::new(), &[]);
        for direction in [Direction::Ingress, Direction::Egress] {
            let policy = policy.direction(direction);
            assert_eq!(policy.enforced(), !policy.default_denied_by().is_empty());
            assert!(policy.entries().is_empty(), "a refused policy allows nothing");
            if policy.enforced() {
                denied.push(format!("{namespace}/{app} {direction}"));
            }
        }
    }
    denied
}

#[test]
fn a_refused_policy_denies_what_it_would_have_selected() {
    let both = |pods: &[&str]| -> Vec<String> {
        pods.iter().flat_map(|pod| [format!("{pod} INGRESS"), format!("{pod} EGRESS")]).collect()
    };
    let a = "endpointSelector: {matchLabels: {app: a}}";
    assert_eq!(denied(&spec(&format!("  {a}\n  egress: [{{x: 1}}]\n"))), ["n/a EGRESS"]);
    assert_eq!(denied(&spec(&format!("  {a}\n  ingressDeny: [{{x: 1}}]\n"))), ["n/a INGRESS"]);
    assert_eq!(denied(&spec(&format!("  {a}\n  egres: [{{}}]\n"))), ["n/a EGRESS"], "a slip means what it meant");
    assert_eq!(denied(&spec(&format!("  {a}\n  ingress: [{{}}]\n  egres: [{{}}]\n"))), both(&["n/a"]));
    assert_eq!(denied(&spec(&format!("  {a}\n  x: 1\n"))), both(&["n/a"]));
    assert_eq!(denied(&spec("  endpointSelector: {x: 1}\n  egress: [{}]\n")), ["n/a EGRESS", "n/b EGRESS"]);
    assert_eq!(denied(&spec("  nodeSelector: {}\n  egress: [{}]\n")), ["n/a EGRESS", "n/b EGRESS"]);
    let two = "specs: [{endpointSelector: {matchLabels: {app: a}}, ingress: [{}]}, {endpointSelector: {matchLabels: {app: b}}, egress: [{x: 1}]}]";
    let head = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p, namespace: n}\n";
    assert_eq!(denied(&format!("{head}{two}\n")), ["n/a INGRESS", "n/b EGRESS"], "each spec its own");
    assert_eq!(denied(head), both(&["n/a", "n/b"]));
    for unclear in [
        "endpointSelector: {matchLabels: {app: a, app: b}}, ingress: [{}]",
        "endpointSelector: {matchLabels: {app: a}}, endpointSelector: {}, ingress: [{}]",
        "description: &x {app: a}, endpointSelector: {matchLabels: *x}, ingress: [{}]",
        "endpointSelector: {matchLabels: {app: a}}, enableDefaultDeny: {egress: false, egress: true}, ingress: [{}]",
    ] {
        assert_eq!(denied(&format!("{head}spec: {{{unclear}}}\n")), both(&["n/a", "n/b"]), "{unclear}");
    }
    let twice = "spec: {endpointSelector: {matchLabels: {app: a}}, ingress: [{}]}";
    assert_eq!(
        denied(&format!("{head}{twice}\n{twice}\n")),
        ["n/a INGRESS", "n/a EGRESS", "n/b INGRESS", "n/b EGRESS"]
    );
}

#[test]
fn other_kinds_deny_what_they_select() {
    let of = |version: &str, kind: &str, spec: &str| {
        denied(&format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: p, namespace: n}}\nspec: {spec}\n"))
    };
    let everybody = ["n/a INGRESS", "n/a EGRESS", "n/b INGRESS", "n/b EGRESS", "m/a INGRESS", "m/a EGRESS"];
    let networking = "networking.k8s.io/v1";
    assert_eq!(of(networking, "NetworkPolicy", "{x: 1, podSelector: {matchLabels: {app: b}}}"), ["n/b INGRESS"]);
    assert_eq!(
        of(networking, "NetworkPolicy", "{x: 1, podSelector: {}, policyTypes: [Egress]}"),
        ["n/a EGRESS", "n/b EGRESS"]
    );
    assert_eq!(
        of(networking, "NetworkPolicy", "{x: 1, podSelector: {matchLabels: {app: b}}, egress: []}"),
        ["n/b INGRESS", "n/b EGRESS"]
    );
    let clusterwide = |spec: &str| of("cilium.io/v2", "CiliumClusterwideNetworkPolicy", spec);
    assert_eq!(
        clusterwide("{endpointSelector: {matchLabels: {app: a}}, egress: [{x: 1}]}"),
        ["n/a EGRESS", "m/a EGRESS"]
    );
    assert_eq!(clusterwide("{nodeSelector: {}, egress: [{}]}"), [""; 0], "it selects nodes");
    assert_eq!(clusterwide("{}"), everybody);
    assert_eq!(
        of("projectcalico.org/v3", "NetworkPolicy", "{x: 1, selector: all(), types: [Ingress]}"),
        ["n/a INGRESS", "n/b INGRESS"]
    );
    let calico = |kind: &str, spec: &str| of("projectcalico.org/v3", kind, spec);
    let own = ["n/a INGRESS", "n/b INGRESS"];
    assert_eq!(calico("NetworkPolicy", "{x: 1, selector: app == 'a', types: [Ingress]}"), ["n/a INGRESS"]);
    for unclear in ["selector: app = 'a'", "selector: [a]", "slector: app == 'a'"] {
        assert_eq!(calico("NetworkPolicy", &format!("{{x: 1, {unclear}, types: [Ingress]}}")), own, "{unclear}");
    }
    assert_eq!(calico("NetworkPolicy", "{serviceAccountSelector: has(x), types: [Ingress]}"), own);
    let half = "{selector: app == 'a', serviceAccountSelector: has(x), types: [Ingress]}";
    assert_eq!(calico("NetworkPolicy", half), ["n/a INGRESS"]);
    let twice = calico("NetworkPolicy", "{selector: app == 'b', selector: app == 'a', types: [Ingress]}");
    assert_eq!(twice, ["n/a INGRESS", "n/a EGRESS", "n/b INGRESS", "n/b EGRESS"]);
    assert_eq!(calico("GlobalNetworkPolicy", "{x: 1, types: [Ingress, Egress]}"), everybody);
    let others = "{selector: \"projectcalico.org/namespace not in {'m'}\", types: [Egress], egress: [{action: X}]}";
    assert_eq!(calico("GlobalNetworkPolicy", others), ["n/a EGRESS", "n/b EGRESS"]);
    let namespace = "{namespaceSelector: projectcalico.org/name == 'm', types: [Egress], egress: [{action: X}]}";
    assert_eq!(calico("GlobalNetworkPolicy", namespace), ["m/a EGRESS"]);
    assert_eq!(of("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy", "{}"), everybody);
}
