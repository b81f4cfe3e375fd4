//! Written cases: each edge alone, so that each is there whatever is made.

use serde_json::{Value, json};

use super::{beyond, groups, kubernetes, spec::insert};

/// Names of cases that are about a pattern begin with it.
pub(super) const PATTERN: &str = "Pattern";
/// The same for what stands in an entry of egress.
pub(super) const EGRESS: &str = "Egress";
/// The same for what names CIDR groups that are there.
pub(super) const AMONG_GROUPS: &str = "Among-groups";

pub(super) fn manifests() -> Vec<(String, String)> {
    let pieces = || beyond::pieces().into_iter();
    let of_pieces = pieces().map(|(name, spec)| (name, policy(&spec).to_string()));
    let alone = [
        json!({"nodeSelector": {}, "ingress": [{}]}),
        json!({"nodeSelector": {"matchLabels": {"a": "b"}}, "egress": [{"toEntities": ["all"]}]}),
        json!({"endpointSelector": {"matchLabels": {"reserved:init": ""}}, "egress": [{"toEndpoints": [{}]}]}),
        json!({"endpointSelector": {"matchLabels": {"k8s:io.kubernetes.pod.namespace": "other"}}, "ingress": [{}]}),
        json!({"endpointSelector": {}, "egress": [{"toEndpoints": [{"matchLabels": {"k8s:io.kubernetes.pod.namespace": "other"}}]}]}),
        json!({"endpointSelector": {}, "egress": [{"toEndpoints": [{"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["api"]}]}]}]}),
        json!({"endpointSelector": {}, "ingress": [{"fromEndpoints": [{"matchLabels": {"reserved:host": ""}}]}]}),
    ];
    let of_cluster = pieces()
        .chain(alone.into_iter().enumerate().map(|(index, spec)| (format!("Alone-{index}"), spec)))
        .map(|(name, spec)| (format!("Cluster-{name}"), clusterwide(&spec).to_string()));
    let of_patterns = PATTERNS.iter().enumerate().map(|(index, pattern)| {
        let ports = json!([{"port": "8080", "protocol": "TCP"}]);
        let rule = json!({"toPorts": [{"ports": ports, "rules": {"http": [{"path": pattern}]}}]});
        let spec = json!({"endpointSelector": {}, "ingress": [rule], "egress": [rule]});
        (format!("{PATTERN}-{index}"), policy(&spec).to_string())
    });
    let envelopes = envelopes().into_iter().enumerate().map(|(index, text)| (format!("Envelope-{index}"), text));
    let other = |kind: &'static str, documents: Vec<Value>| {
        documents
            .into_iter()
            .enumerate()
            .map(move |(index, document)| (format!("{kind}-{index}"), document.to_string()))
    };
    let others = other("Kubernetes", kubernetes::edges()).chain(other("Group", groups::edges()));
    let among = among_groups().into_iter().enumerate().map(|(index, text)| (format!("{AMONG_GROUPS}-{index}"), text));
    of_pieces.chain(of_cluster).chain(of_patterns).chain(envelopes).chain(others).chain(among).collect()
}

/// Every way to name groups, to allow and to deny, beside all groups.
fn among_groups() -> Vec<String> {
    let all = groups::documents().map(|document| document.to_string()).join("\n---\n");
    let mut texts = Vec::new();
    for reference in groups::references() {
        let to = json!([{"toCIDRSet": [reference]}]);
        let world = json!([{"toEntities": ["world"]}]);
        for spec in [json!({"egress": to}), json!({"egress": world, "egressDeny": to})] {
            let mut spec = spec;
            insert(&mut spec, "endpointSelector", json!({}));
            texts.push(format!("{}\n---\n{all}", policy(&spec)));
        }
    }
    texts
}

fn clusterwide(spec: &Value) -> Value {
    json!({
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumClusterwideNetworkPolicy",
        "metadata": {"name": "edge"},
        "spec": spec,
    })
}

fn policy(spec: &Value) -> Value {
    json!({
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {"name": "edge", "namespace": "default"},
        "spec": spec,
    })
}

/// What stands around a spec.
fn envelopes() -> Vec<String> {
    let spec = json!({"endpointSelector": {}, "ingress": [{}]});
    let post = json!([{"ports": [{"port": "8080", "protocol": "TCP"}], "rules": {"http": [{"method": "POST"}]}}]);
    let to_post = json!({"toPorts": post});
    let closed = json!({"endpointSelector": {}, "egress": [{}]});
    let with = |fields: &[(&str, Value)]| {
        let mut whole = policy(&spec);
        for (field, value) in fields {
            insert(&mut whole, field, value.clone());
        }
        whole.to_string()
    };
    let mut specs = policy(&spec);
    if let Some(map) = specs.as_object_mut() {
        map.remove("spec");
    }
    let bare = specs.to_string();
    insert(&mut specs, "specs", json!([]));
    let yaml = "# a comment\napiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: yaml}\nspec:\n  \
                endpointSelector: {matchLabels: {app: api}}\n  ingress:\n  - fromEndpoints: [{matchLabels: {app: client}}]\n    \
                toPorts:\n    - ports: [{port: \"8080\", protocol: TCP}]\n      rules:\n        http:\n        - method: GET\n          \
                path: /public\n---\n# nothing\n---\n";
    vec![
        with(&[]),
        bare,
        specs.to_string(),
        with(&[("specs", json!([]))]),
        with(&[("specs", json!([spec]))]),
        with(&[("spec", json!(null))]),
        with(&[("spec", json!(null)), ("specs", json!([spec, spec]))]),
        with(&[(
            "specs",
            json!([{"endpointSelector": {}, "enableDefaultDeny": {"egress": false}, "egress": [to_post]}, closed]),
        )]),
        with(&[("metadata", json!({"name": "a"}))]),
        with(&[("metadata", json!({"namespace": "default"}))]),
        with(&[("metadata", json!({"name": "a", "namespace": ""}))]),
        with(&[(
            "metadata",
            json!({"name": "a", "namespace": "default", "labels": {"a": "b"}, "annotations": {"c": "d"}}),
        )]),
        with(&[("status", json!({}))]),
        with(&[("description", json!("here"))]),
        yaml.to_owned(),
        yaml.replace("method: GET", "method: GET\n          method: POST"),
        yaml.replace("\"8080\"", "8080"),
    ]
}

/// Patterns for paths. What is no pattern to one side must be none to the other, and each must match the same paths.
const PATTERNS: [&str; 128] = [
    "/api",
    "^/api$",
    "/api|/public",
    "^/api|/public$",
    "(^/api|/public$)",
    "/api$|/public$",
    "(?m)^/api$",
    "(?s).*",
    "(?i)/API",
    "(?i:/A)PI",
    "(?U)/a.*",
    "(?i-s)/api",
    "(?-i)/api",
    "(?is)/api",
    "(?x)/a pi",
    "(?u)/api",
    "(?R)/api",
    "(?i)(?-i)/api",
    "/(?P<n>api)",
    "/(?<n>api)",
    "/(?P<1a>api)",
    "/(?P<a>a)(?P<a>pi)",
    "/(?:api)",
    "/(?=a)api",
    "/(?<=/)api",
    "(a)\\1",
    "/\\w+",
    "/\\W",
    "/\\d+",
    "/\\S+",
    "/[[:alpha:]]+",
    "/[[:word:]]+",
    "/[[:foo:]]",
    "/[[:^digit:]]+",
    "/[[.a.]]pi",
    "/[[=a=]]pi",
    "/\\Qapi\\E",
    "/\\Qapi",
    "/api\\E",
    "/ap\\x69",
    "/ap\\x{69}",
    "/ap\\x{110000}",
    "/ap\\151",
    "/ap\\0",
    "/ap\\07",
    "/ap\\u0069",
    "/ap\\U00000069",
    "/ap\\x6",
    "\\A/api\\z",
    "/api\\Z",
    "/api\\b",
    "/api\\B.*",
    "\\b/api",
    "/\\<api",
    "/api\\>",
    "/\\pL+",
    "/\\p{L}+",
    "/\\p{Greek}",
    "/\\PL",
    "/\\p{^L}",
    "/\\p{Foo}",
    "/\\C+",
    "/\\R",
    "/\\h",
    "/\\i",
    "/\\_",
    "\\/api",
    "/v1\\-0",
    "/a\\pi",
    "/api\\",
    "/[a-z]+",
    "/[a-z&&[^x]]+",
    "/[a--b]pi",
    "/[a~~b]pi",
    "/[]a]pi",
    "/[^]x]pi",
    "/[a-]pi",
    "/[-a]pi",
    "/[a\\]]pi",
    "/[z-a]",
    "/[a",
    "/[]",
    "/[[a]pi",
    "/[a-\\d]",
    "/[\\d-z]+",
    "/[\\b]",
    "/[^a]",
    "/[\\w.]+",
    "/(a|p|i){3}",
    "/api{0}",
    "/a{0,2}pi",
    "/a{,2}pi",
    "/a{2,1}",
    "/a{1001}",
    "/.{1000}",
    "/(a{1000}){1000}",
    "/a{",
    "/a{x}",
    "/a{1",
    "/{id}",
    "/users/{id}",
    "{2}",
    "/a**",
    "/a++",
    "/a*+",
    "/a{2}{3}",
    "/a*?",
    "/a??pi",
    "/a{1}?pi",
    "*",
    "+",
    "?",
    "^*",
    "/api$*",
    "(?i)*",
    "\\b*",
    "()",
    "|",
    "/api||",
    "(",
    ")",
    "a)|(?:b",
    "(?",
    "(?i",
    "(?#c)/api",
    "/\u{e9}",
    "/[\u{e9}]",
    "/api\\n?",
];
