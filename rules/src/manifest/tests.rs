use super::*;

fn spec(body: &str) -> String {
    format!("apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: p, namespace: n}}\nspec:\n{body}")
}

fn errors(text: &str) -> Vec<String> {
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
        ("  ingressDeny: [{}]", "spec.ingressDeny"),
        ("  enableDefaultDeny: {ingress: false}", "spec.enableDefaultDeny"),
        ("  nodeSelector: {}", "spec.nodeSelector"),
        ("  log: {value: x}", "spec.log"),
        ("  egress:\n  - toFQDNs: [{matchName: a.b}]", "spec.egress[0].toFQDNs"),
        ("  egress:\n  - toEntities: [world]", "spec.egress[0].toEntities"),
        ("  egress:\n  - icmps: [{fields: [{type: 8}]}]", "spec.egress[0].icmps"),
        ("  ingress:\n  - fromCIDRSet: [{cidr: 10.0.0.0/8}]", "spec.ingress[0].fromCIDRSet"),
        ("  egress:\n  - toPorts: [{serverNames: [a]}]", "spec.egress[0].toPorts[0].serverNames"),
        ("  egress:\n  - toPorts: [{rules: {dns: [{}]}}]", "spec.egress[0].toPorts[0].rules.dns"),
        (
            "  egress:\n  - toPorts: [{ports: [{port: '80', protocol: TCP}], rules: {http: [{headerMatches: []}]}}]",
            "spec.egress[0].toPorts[0].rules.http[0].headerMatches",
        ),
        (
            "  egress:\n  - toPorts: [{ports: [{port: '80', endPort: 90}]}]",
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
            "spec.egress[0].toPorts[0].ports[0].port",
            "spec.egress[0].toPorts[0].rules.http[0].path",
            "spec.egress[0].toPorts[0].ports",
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
    let text = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x}\n---\n\
                apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: y}\n---\n";
    let documents = parse(text);
    assert!(
        matches!(&documents[0], Document::Refused(refused) if refused.key.to_string() == "NetworkPolicy default/x")
    );
    assert!(matches!(&documents[1], Document::Skipped { line: 5, .. }), "{documents:?}");
    assert_eq!(documents.len(), 2);
}

#[test]
fn broken_yaml_tells_its_line_and_keeps_what_came_before() {
    let text = spec("  endpointSelector: {}\n  egress: [{}]\n") + "---\nkind: [\n---\nkind: x\n";
    let documents = parse(&text);
    assert!(matches!(documents[0], Document::Policy(_)), "{documents:?}");
    assert!(matches!(documents[1], Document::Unattributable { .. }));
    assert_eq!(documents.len(), 2);
}

#[test]
fn duplicate_keys_and_aliases_are_errors_of_their_policy() {
    let twice = errors(&spec("  endpointSelector: {}\n  egress: [{}]\n  egress: [{}]\n"));
    assert!(twice[0].contains("already on line 6"), "{twice:?}");
    let alias = errors(&spec("  endpointSelector: &a {}\n  egress:\n  - toEndpoints: [*a]\n"));
    assert!(alias[0].contains("aliases are not supported"), "{alias:?}");
}

#[test]
fn hostile_texts_are_bounded() {
    let deep = "a: ".to_owned() + &"[".repeat(100_000);
    assert!(!errors(&deep).is_empty());
    let many = "---\nkind: x\napiVersion: y\n".repeat(10_000);
    assert_eq!(parse(&many).len(), 10_000);
}

#[test]
fn a_list_is_its_items() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: cilium.io/v2\n  kind: CiliumNetworkPolicy\n  \
                metadata: {name: a}\n  spec: {endpointSelector: {}, ingress: [{}]}\n";
    assert!(
        matches!(&parse(text)[..], [Document::Policy(policy)] if policy.key().to_string() == "CiliumNetworkPolicy default/a")
    );
}
