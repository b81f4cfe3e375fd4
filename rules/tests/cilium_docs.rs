//! The examples of Cilium's documentation: what they say about each request, and which forms this version refuses by name.
//!
//! Written anew after the documentation; names and labels are those of its examples.

#[path = "table/check.rs"]
mod check;

/// Cases of a table that is written here.
fn hold(table: &str) {
    let (cases, failures) = check::failures(table);
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
    assert!(cases > 0);
}

/// What is wrong with a policy whose `spec` is `spec`: field and reason.
fn refused(spec: &str) -> Vec<(String, String)> {
    let head = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: example}\nspec:\n";
    let documents = rules::manifest::parse(&format!("{head}{spec}"));
    let [rules::manifest::Document::Refused(policy)] = documents.as_slice() else { return Vec::new() };
    policy.errors.iter().map(|error| (error.field.clone(), error.reason.clone())).collect()
}

/// "Getting Started with the Star Wars Demo": who is not of the empire does not even connect; the empire may land, and
/// do nothing else.
#[test]
fn star_wars_demo() {
    hold(STAR_WARS);
}

const STAR_WARS: &str = r#"
manifests: |
  apiVersion: cilium.io/v2
  kind: CiliumNetworkPolicy
  metadata: {name: rule1}
  spec:
    description: "L7 policy to restrict access to specific HTTP call"
    endpointSelector: {matchLabels: {org: empire, class: deathstar}}
    ingress:
    - fromEndpoints: [{matchLabels: {org: empire}}]
      toPorts:
      - ports: [{port: "80", protocol: TCP}]
        rules: {http: [{method: "POST", path: "/v1/request-landing"}]}
pods:
- {name: default/deathstar, labels: {org: empire, class: deathstar}}
- {name: default/tiefighter, labels: {org: empire, class: tiefighter}}
- {name: default/xwing, labels: {org: alliance, class: xwing}}
cases:
- {name: "a ship of the empire lands", from: default/tiefighter, to: default/deathstar, direction: ingress, port: 80, request: {method: POST, path: /v1/request-landing, host: deathstar.default.svc.cluster.local}, expect: {verdict: allowed, policy: default/rule1, rule: "ingress[0].toPorts[0].rules.http[0]"}}
- {name: "but may not reach the exhaust port", from: default/tiefighter, to: default/deathstar, direction: ingress, port: 80, request: {method: PUT, path: /v1/exhaust-port}, expect: {verdict: denied, denied-by: [default/rule1]}}
- {name: "a ship of the alliance does not connect", from: default/xwing, to: default/deathstar, direction: ingress, port: 80, request: {method: POST, path: /v1/request-landing}, expect: {verdict: refused-l4}}
- {name: "the ships are free", from: default/deathstar, to: default/xwing, direction: ingress, port: 80, expect: {verdict: not-enforced}}
"#;

/// "Layer 3 Examples": labels, default deny, namespaces, service accounts, prefixes, clusters.
#[test]
fn layer_3() {
    hold(LAYER_3);
}

const LAYER_3: &str = r#"
manifests: |
  apiVersion: cilium.io/v2
  kind: CiliumNetworkPolicy
  metadata: {name: l3-rule}
  spec:
    endpointSelector: {matchLabels: {role: backend}}
    ingress: [{fromEndpoints: [{matchLabels: {role: frontend}}]}]
  ---
  apiVersion: cilium.io/v2
  kind: CiliumNetworkPolicy
  metadata: {name: allow-all-to-victim}
  spec:
    endpointSelector: {matchLabels: {role: victim}}
    ingress: [{fromEndpoints: [{}]}]
  ---
  apiVersion: cilium.io/v2
  kind: CiliumNetworkPolicy
  metadata: {name: deny-all-egress}
  spec:
    endpointSelector: {matchLabels: {role: restricted}}
    egress: [{}]
  ---
  apiVersion: cilium.io/v2
  kind: CiliumNetworkPolicy
  metadata: {name: k8s-expose-across-namespace, namespace: ns1}
  spec:
    endpointSelector: {matchLabels: {name: leia}}
    ingress: [{fromEndpoints: [{matchLabels: {k8s:io.kubernetes.pod.namespace: ns2, name: luke}}]}]
  ---
  apiVersion: cilium.io/v2
  kind: CiliumNetworkPolicy
  metadata: {name: allow-all-from-namespaces, namespace: ns3}
  spec:
    endpointSelector: {}
    ingress: [{fromEndpoints: [{matchExpressions: [{key: k8s:io.kubernetes.pod.namespace, operator: Exists}]}]}]
  ---
  apiVersion: cilium.io/v2
  kind: CiliumNetworkPolicy
  metadata: {name: k8s-svc-account}
  spec:
    endpointSelector: {matchLabels: {io.cilium.k8s.policy.serviceaccount: leia}}
    ingress:
    - fromEndpoints: [{matchLabels: {io.cilium.k8s.policy.serviceaccount: luke}}]
      toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{method: GET, path: "/public$"}]}}]
  ---
  apiVersion: cilium.io/v2
  kind: CiliumNetworkPolicy
  metadata: {name: cidr-rule}
  spec:
    endpointSelector: {matchLabels: {app: myService}}
    egress:
    - toCIDR: [20.1.1.1/32]
    - toCIDR: [10.0.0.0/8]
      toPorts: [{ports: [{port: "80", protocol: TCP}]}]
  ---
  apiVersion: cilium.io/v2
  kind: CiliumNetworkPolicy
  metadata: {name: allow-cross-cluster}
  spec:
    endpointSelector: {matchLabels: {name: x-wing, io.cilium.k8s.policy.cluster: default}}
    egress: [{toEndpoints: [{matchLabels: {name: rebel-base, io.cilium.k8s.policy.cluster: cluster2}}]}]
pods:
- {name: default/backend, labels: {role: backend}}
- {name: default/frontend, labels: {role: frontend}}
- {name: default/victim, labels: {role: victim}}
- {name: default/restricted, labels: {role: restricted}}
- {name: ns1/leia, labels: {name: leia}}
- {name: ns1/luke, labels: {name: luke}}
- {name: ns2/luke, labels: {name: luke}}
- {name: ns2/han, labels: {name: han}}
- {name: ns3/any}
- {name: default/leia, service-account: leia}
- {name: default/luke, service-account: luke}
- {name: default/service, labels: {app: myService}}
- {name: default/x-wing, labels: {name: x-wing}}
- {name: default/rebel-base, labels: {name: rebel-base}}
cases:
- {name: "frontend to backend", from: default/frontend, to: default/backend, direction: ingress, port: 1234, expect: {verdict: allowed}}
- {name: "another to backend", from: default/victim, to: default/backend, direction: ingress, port: 1234, expect: {verdict: refused-l4}}
- {name: "all of the namespace to the victim", from: default/frontend, to: default/victim, direction: ingress, port: 1, expect: {verdict: allowed}}
- {name: "the world not to the victim", from: world, to: default/victim, direction: ingress, port: 1, expect: {verdict: refused-l4}}
- {name: "nothing leaves the restricted", from: default/restricted, to: default/victim, direction: egress, port: 1, expect: {verdict: refused-l4, denied-by: [default/deny-all-egress]}}
- {name: "luke of ns2 to leia", from: ns2/luke, to: ns1/leia, direction: ingress, port: 1, expect: {verdict: allowed}}
- {name: "luke of her own namespace is not meant", from: ns1/luke, to: ns1/leia, direction: ingress, port: 1, expect: {verdict: refused-l4}}
- {name: "han is not luke", from: ns2/han, to: ns1/leia, direction: ingress, port: 1, expect: {verdict: refused-l4}}
- {name: "every namespace into ns3", from: ns2/han, to: ns3/any, direction: ingress, port: 1, expect: {verdict: allowed}}
- {name: "the world is no namespace", from: world, to: ns3/any, direction: ingress, port: 1, expect: {verdict: refused-l4}}
- {name: "luke's account reads", from: default/luke, to: default/leia, direction: ingress, port: 80, request: {path: /public}, expect: {verdict: allowed}}
- {name: "luke's account reads nothing else", from: default/luke, to: default/leia, direction: ingress, port: 80, request: {path: /public/x}, expect: {verdict: denied, nearest: path}}
- {name: "another account does not connect", from: default/frontend, to: default/leia, direction: ingress, port: 80, request: {path: /public}, expect: {verdict: refused-l4}}
- {name: "the one address", from: default/service, to: 20.1.1.1, direction: egress, port: 5, protocol: UDP, expect: {verdict: allowed}}
- {name: "the address beside it", from: default/service, to: 20.1.1.2, direction: egress, port: 5, protocol: UDP, expect: {verdict: refused-l4}}
- {name: "a prefix with a port", from: default/service, to: 10.9.8.7, direction: egress, port: 80, expect: {verdict: allowed}}
- {name: "a prefix with another port", from: default/service, to: 10.9.8.7, direction: egress, port: 81, expect: {verdict: refused-l4}}
- {name: "a pod is in no prefix", from: default/service, to: default/backend, direction: egress, port: 80, expect: {verdict: refused-l4}}
- {name: "a namesake of the wrong cluster", from: default/x-wing, to: default/rebel-base, direction: egress, port: 80, expect: {verdict: refused-l4}}
"#;

/// "Layer 4 Examples" and "Layer 7 Examples".
#[test]
fn layers_4_and_7() {
    hold(LAYERS_4_AND_7);
}

const LAYERS_4_AND_7: &str = r#"
manifests: |
  apiVersion: cilium.io/v2
  kind: CiliumNetworkPolicy
  metadata: {name: l4-rule}
  spec:
    endpointSelector: {matchLabels: {app: myService}}
    egress: [{toPorts: [{ports: [{port: "80", protocol: TCP}]}]}]
  ---
  apiVersion: cilium.io/v2
  kind: CiliumNetworkPolicy
  metadata: {name: l3-l4-rule}
  spec:
    endpointSelector: {matchLabels: {role: backend}}
    ingress:
    - fromEndpoints: [{matchLabels: {role: frontend}}]
      toPorts: [{ports: [{port: "80", protocol: TCP}]}]
  ---
  apiVersion: cilium.io/v2
  kind: CiliumNetworkPolicy
  metadata: {name: cidr-l4-rule}
  spec:
    endpointSelector: {matchLabels: {role: crawler}}
    egress:
    - toCIDR: [192.0.2.0/24]
      toPorts: [{ports: [{port: "80", protocol: TCP}]}]
  ---
  apiVersion: cilium.io/v2
  kind: CiliumNetworkPolicy
  metadata: {name: rule1}
  spec:
    description: "Allow HTTP GET /public from env=prod to app=service"
    endpointSelector: {matchLabels: {app: service}}
    ingress:
    - fromEndpoints: [{matchLabels: {env: prod}}]
      toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{method: "GET", path: "/public"}]}}]
  ---
  apiVersion: cilium.io/v2
  kind: CiliumNetworkPolicy
  metadata: {name: l7-rule}
  spec:
    endpointSelector: {matchLabels: {app: myService}}
    ingress:
    - toPorts:
      - ports: [{port: "80", protocol: TCP}]
        rules:
          http:
          - {method: GET, path: "/path1$"}
          - {method: PUT, path: "/path2$", headers: ["X-My-Header: true"]}
pods:
- {name: default/mine, labels: {app: myService}}
- {name: default/backend, labels: {role: backend}}
- {name: default/frontend, labels: {role: frontend}}
- {name: default/crawler, labels: {role: crawler}}
- {name: default/service, labels: {app: service}}
- {name: default/prod, labels: {env: prod}}
cases:
- {name: "any destination on the port", from: default/mine, to: 198.51.100.1, direction: egress, port: 80, expect: {verdict: allowed}}
- {name: "no destination on another port", from: default/mine, to: default/backend, direction: egress, port: 443, expect: {verdict: refused-l4}}
- {name: "labels and port", from: default/frontend, to: default/backend, direction: ingress, port: 80, expect: {verdict: allowed}}
- {name: "labels without the port", from: default/frontend, to: default/backend, direction: ingress, port: 443, expect: {verdict: refused-l4}}
- {name: "the port without labels", from: default/prod, to: default/backend, direction: ingress, port: 80, expect: {verdict: refused-l4}}
- {name: "prefix and port", from: default/crawler, to: 192.0.2.9, direction: egress, port: 80, expect: {verdict: allowed}}
- {name: "the prefix without the port", from: default/crawler, to: 192.0.2.9, direction: egress, port: 22, expect: {verdict: refused-l4}}
- {name: "GET /public", from: default/prod, to: default/service, direction: ingress, port: 80, request: {path: /public}, expect: {verdict: allowed}}
- {name: "GET /private", from: default/prod, to: default/service, direction: ingress, port: 80, request: {path: /private}, expect: {verdict: denied, nearest: path}}
- {name: "POST /public", from: default/prod, to: default/service, direction: ingress, port: 80, request: {method: POST, path: /public}, expect: {verdict: denied, nearest: method}}
- {name: "GET /path1", from: world, to: default/mine, direction: ingress, port: 80, request: {path: /path1}, expect: {verdict: allowed, rule: "ingress[0].toPorts[0].rules.http[0]"}}
- {name: "GET below /path1", from: world, to: default/mine, direction: ingress, port: 80, request: {path: /path1/x}, expect: {verdict: denied}}
- {name: "PUT /path2 with the header", from: world, to: default/mine, direction: ingress, port: 80, request: {method: PUT, path: /path2, headers: ["X-My-Header: true"]}, expect: {verdict: allowed, rule: "ingress[0].toPorts[0].rules.http[1]"}}
- {name: "PUT /path2 with another value", from: world, to: default/mine, direction: ingress, port: 80, request: {method: PUT, path: /path2, headers: ["X-My-Header: false"]}, expect: {verdict: denied, nearest: header X-My-Header}}
- {name: "PUT /path2 without the header", from: world, to: default/mine, direction: ingress, port: 80, request: {method: PUT, path: /path2}, expect: {verdict: denied, nearest: header X-My-Header}}
- {name: "GET /path2", from: world, to: default/mine, direction: ingress, port: 80, request: {path: /path2, headers: ["X-My-Header: true"]}, expect: {verdict: denied}}
"#;

/// "Securing gRPC": a gRPC call is a POST whose path is its method.
#[test]
fn grpc() {
    hold(GRPC);
}

const GRPC: &str = r#"
manifests: |
  apiVersion: cilium.io/v2
  kind: CiliumNetworkPolicy
  metadata: {name: rule1}
  spec:
    description: "Allow public gRPC API"
    endpointSelector: {matchLabels: {app: grpc-door-server}}
    ingress:
    - fromEndpoints: [{matchLabels: {app: public-terminal}}]
      toPorts:
      - ports: [{port: "50051", protocol: TCP}]
        rules:
          http:
          - {method: "POST", path: "/cloudcity.DoorManager/GetName"}
          - {method: "POST", path: "/cloudcity.DoorManager/GetLocation"}
          - {method: "POST", path: "/cloudcity.DoorManager/RequestMaintenance"}
pods:
- {name: default/door, labels: {app: grpc-door-server}}
- {name: default/terminal, labels: {app: public-terminal}}
- {name: default/droid, labels: {app: droid}}
cases:
- {name: "GetName", from: default/terminal, to: default/door, direction: ingress, port: 50051, request: {method: POST, path: /cloudcity.DoorManager/GetName}, expect: {verdict: allowed}}
- {name: "RequestMaintenance", from: default/terminal, to: default/door, direction: ingress, port: 50051, request: {method: POST, path: /cloudcity.DoorManager/RequestMaintenance}, expect: {verdict: allowed, rule: "ingress[0].toPorts[0].rules.http[2]"}}
- {name: "SetAccessCode", from: default/terminal, to: default/door, direction: ingress, port: 50051, request: {method: POST, path: /cloudcity.DoorManager/SetAccessCode}, expect: {verdict: denied, nearest: path}}
- {name: "from elsewhere", from: default/droid, to: default/door, direction: ingress, port: 50051, request: {method: POST, path: /cloudcity.DoorManager/GetName}, expect: {verdict: refused-l4}}
"#;

/// Title of the example, what stands in its spec, the field that is refused.
type Form = (&'static str, &'static str, &'static str);

const FORMS: &[Form] = &[
    ("Nodes", "  egress: [{toNodes: [{matchLabels: {role: a}}]}]", "egress[0].toNodes"),
    ("AWS groups", "  egress: [{toGroups: [{aws: {region: r}}]}]", "egress[0].toGroups"),
    ("DNS names", "  egress: [{toFQDNs: [{matchName: my-service.com}]}]", "egress[0].toFQDNs"),
    (
        "DNS proxy",
        "  egress: [{toEndpoints: [{matchLabels: {k8s:io.kubernetes.pod.namespace: kube-system, k8s-app: kube-dns}}], toPorts: [{ports: [{port: '53', protocol: ANY}], rules: {dns: [{matchPattern: '*'}]}}]}]",
        "egress[0].toPorts[0].rules.dns",
    ),
    (
        "TLS server names",
        "  egress: [{toPorts: [{ports: [{port: '443', protocol: TCP}], serverNames: [one.one.one.one]}]}]",
        "egress[0].toPorts[0].serverNames",
    ),
    (
        "TLS interception",
        "  egress: [{toPorts: [{ports: [{port: '443', protocol: TCP}], terminatingTLS: {secret: {name: t}}, rules: {http: [{}]}}]}]",
        "egress[0].toPorts[0].terminatingTLS",
    ),
    (
        "Kafka (until 1.19)",
        "  ingress: [{toPorts: [{ports: [{port: '9092', protocol: TCP}], rules: {kafka: [{role: produce, topic: t}]}}]}]",
        "ingress[0].toPorts[0].rules.kafka",
    ),
    (
        "Own Envoy listeners",
        "  egress: [{toPorts: [{ports: [{port: '80', protocol: TCP}], listener: {name: l, envoyConfig: {name: e}}}]}]",
        "egress[0].toPorts[0].listener",
    ),
    ("Mutual authentication", "  ingress: [{authentication: {mode: required}}]", "ingress[0].authentication"),
    ("An address without length", "  egress: [{toCIDR: [20.1.1.1]}]", "egress[0].toCIDR[0]"),
];

/// Documented forms that are not enforced here, each with the field at which the policy is refused.
#[test]
fn forms_that_are_refused_by_name() {
    for (example, body, field) in FORMS {
        let found = refused(&format!("  endpointSelector: {{}}\n{body}\n"));
        let fields: Vec<&str> = found.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, [format!("spec.{field}")], "{example}: {found:?}");
        assert!(found.iter().all(|(_, reason)| !reason.is_empty()), "{example}: says what to do");
    }
    let host = refused("  nodeSelector: {matchLabels: {type: ingress-worker}}\n  ingress: [{}]\n");
    assert!(host.first().is_some_and(|(field, _)| field == "spec.nodeSelector"), "{host:?}");
}

/// `CiliumClusterwideNetworkPolicy` and Kubernetes' own kind beside each other.
#[test]
fn other_kinds() {
    hold(KINDS);
}

const KINDS: &str = r#"
manifests: |
  apiVersion: cilium.io/v2
  kind: CiliumClusterwideNetworkPolicy
  metadata: {name: clusterwide-policy-example}
  spec:
    endpointSelector: {matchLabels: {name: leia}}
    ingress: [{fromEndpoints: [{matchLabels: {name: luke}}]}]
  ---
  apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: test-network-policy}
  spec:
    podSelector: {matchLabels: {role: db}}
    policyTypes: [Ingress, Egress]
    ingress: [{from: [{podSelector: {matchLabels: {role: frontend}}}], ports: [{protocol: TCP, port: 6379}]}]
pods:
- {name: a/leia, labels: {name: leia}}
- {name: a/luke, labels: {name: luke}}
- {name: default/db, labels: {role: db}}
- {name: default/frontend, labels: {role: frontend}}
cases:
- {name: "luke to leia", from: a/luke, to: a/leia, direction: ingress, port: 80, request: {}, expect: {verdict: allowed, denied-by: ["CiliumClusterwideNetworkPolicy clusterwide-policy-example"]}}
- {name: "the database not to leia", from: default/db, to: a/leia, direction: ingress, port: 80, request: {}, expect: {verdict: refused-l4}}
- {name: "leia is free to leave", from: a/leia, to: a/luke, direction: egress, port: 80, request: {}, expect: {verdict: not-enforced}}
- {name: "luke is free", from: a/leia, to: a/luke, direction: ingress, port: 80, request: {}, expect: {verdict: not-enforced}}
- {name: "the frontend to the database", from: default/frontend, to: default/db, direction: ingress, port: 6379, expect: {verdict: allowed, rule: "ingress[0].from[0]"}}
- {name: "not at another port", from: default/frontend, to: default/db, direction: ingress, port: 6380, expect: {verdict: refused-l4, nearest: port}}
- {name: "nobody else", from: a/luke, to: default/db, direction: ingress, port: 6379, expect: {verdict: refused-l4, nearest: peer}}
- {name: "the database nowhere", from: default/db, to: default/frontend, direction: egress, port: 80, expect: {verdict: refused-l4}}
"#;
