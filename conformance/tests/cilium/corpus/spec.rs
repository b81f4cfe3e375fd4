//! Policies out of everything that is supported.

use serde_json::{Map, Value, json};

use super::groups;
use crate::random::Random;

pub(super) fn policy(random: &mut Random) -> Value {
    let namespace = random.pick(&["default", "default", "default", "other"]);
    let name = format!("p{}", random.below(1000));
    let mut metadata = Map::from_iter([("name".to_owned(), json!(name))]);
    if namespace != "default" || random.percent(80) {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    let mut policy = json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": metadata});
    if random.percent(90) {
        insert(&mut policy, "spec", spec(random));
    } else {
        insert(&mut policy, "specs", random.list(1, 2, spec).into());
    }
    policy
}

/// The same in the cluster as a whole.
pub(super) fn clusterwide(random: &mut Random) -> Value {
    json!({
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumClusterwideNetworkPolicy",
        "metadata": {"name": format!("c{}", random.below(1000))},
        "spec": spec(random),
    })
}

/// Sets a field of a map.
pub(super) fn insert(map: &mut Value, key: &str, value: Value) {
    if let Some(map) = map.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
}

fn spec(random: &mut Random) -> Value {
    let mut spec = json!({"endpointSelector": subject(random)});
    let which = random.below(10);
    if which < 6 {
        insert(&mut spec, "egress", allows(random, "to"));
    }
    if which > 3 {
        insert(&mut spec, "ingress", allows(random, "from"));
    }
    if random.percent(20) {
        let (list, of) = random.pick(&[("egressDeny", "to"), ("ingressDeny", "from")]);
        insert(&mut spec, list, random.list(1, 2, |random| deny(random, of)).into());
    }
    if random.percent(8) {
        let default_deny = json!({"egress": random.percent(50), "ingress": random.percent(50)});
        insert(&mut spec, "enableDefaultDeny", default_deny);
    }
    if random.percent(5) {
        insert(&mut spec, "description", json!("why"));
    }
    spec
}

fn subject(random: &mut Random) -> Value {
    if random.percent(60) { json!({}) } else { selector(random) }
}

fn allows(random: &mut Random, of: &str) -> Value {
    match random.below(30) {
        0 => json!([]),
        1..4 => json!([{}]),
        _ => random.list(1, 3, |random| allow(random, of)).into(),
    }
}

/// Like an allow, but its ports have no rules.
fn deny(random: &mut Random, of: &str) -> Value {
    let mut deny = allow(random, of);
    for rule in deny.get_mut("toPorts").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(rule) = rule.as_object_mut() {
            rule.remove("rules");
        }
    }
    deny
}

/// `of`: what the names of its peers begin with.
fn allow(random: &mut Random, of: &str) -> Value {
    const ENTITIES: [&str; 14] = [
        "all",
        "world",
        "cluster",
        "host",
        "remote-node",
        "kube-apiserver",
        "all",
        "world",
        "cluster",
        "cluster-mesh",
        "ingress",
        "init",
        "unmanaged",
        "health",
    ];
    let (endpoints, cidr) = (&*format!("{of}Endpoints"), &*format!("{of}CIDR"));
    let mut allow = json!({});
    match random.below(27) {
        0 => insert(&mut allow, endpoints, json!([])),
        1 => insert(&mut allow, cidr, json!([])),
        2..7 => {}
        7..9 => insert(&mut allow, endpoints, json!([{}])),
        9..16 => insert(&mut allow, endpoints, random.list(1, 2, selector).into()),
        16..18 => {
            let entities = random.list(1, 2, |random| random.pick(&ENTITIES));
            insert(&mut allow, &format!("{of}Entities"), json!(entities));
        }
        18..22 => insert(&mut allow, &format!("{of}CIDRSet"), random.list(1, 2, cidr_set).into()),
        22 if of == "to" => insert(&mut allow, "toServices", random.list(1, 2, service).into()),
        _ => insert(&mut allow, cidr, random.list(1, 3, net).into()),
    }
    match random.below(22) {
        20.. => insert(&mut allow, "icmps", random.list(1, 2, messages).into()),
        0 => insert(&mut allow, "toPorts", json!([])),
        1 if random.percent(50) => insert(&mut allow, "toPorts", json!([{}])),
        2 if random.percent(50) => insert(&mut allow, "toPorts", json!([{"ports": []}])),
        1..5 => {}
        _ => insert(&mut allow, "toPorts", random.list(1, 2, port_rule).into()),
    }
    allow
}

fn messages(random: &mut Random) -> Value {
    let fields = [
        json!({"type": 8}),
        json!({"type": "EchoRequest"}),
        json!({"type": 3}),
        json!({"type": "0"}),
        json!({"family": "IPv4", "type": 255}),
        json!({"family": "IPv6", "type": "EchoRequest"}),
        json!({"family": "IPv6", "type": 8}),
    ];
    json!({"fields": random.list(0, 2, |random| random.pick(&fields))})
}

fn service(random: &mut Random) -> Value {
    let services = [
        json!({"k8sService": {"serviceName": "api", "namespace": "default"}}),
        json!({"k8sService": {"serviceName": "api", "namespace": "other"}}),
        json!({"k8sService": {"serviceName": "back", "namespace": "default"}}),
        json!({"k8sService": {"serviceName": "empty", "namespace": "other"}}),
        json!({"k8sService": {"serviceName": "headless", "namespace": "default"}}),
        json!({"k8sService": {"serviceName": "nosuch", "namespace": "default"}}),
        json!({"k8sServiceSelector": {"selector": {"matchLabels": {"use": "web"}}, "namespace": "default"}}),
        json!({"k8sServiceSelector": {"selector": {"matchLabels": {"k8s:app": "api"}}, "namespace": "other"}}),
        json!({"k8sServiceSelector": {"selector": {"matchExpressions": [{"key": "use", "operator": "DoesNotExist"}]}, "namespace": "other"}}),
        json!({"k8sServiceSelector": {"selector": {}, "namespace": "other"}}),
    ];
    random.pick(&services)
}

fn cidr_set(random: &mut Random) -> Value {
    type Except = (&'static str, &'static [&'static str]);
    const EXCEPT: [Except; 5] = [
        ("192.0.2.0/24", &["192.0.2.0/25"]),
        ("0.0.0.0/0", &["192.0.2.10/32", "198.51.100.0/24"]),
        ("192.0.0.0/16", &["192.0.2.200/32"]),
        ("::/0", &["2001:db8::/48"]),
        ("2001:db8::/32", &[]),
    ];
    if random.percent(50) {
        return groups::reference(random);
    }
    let (cidr, except) = random.pick(&EXCEPT);
    if except.is_empty() || random.percent(30) {
        json!({"cidr": cidr})
    } else {
        json!({"cidr": cidr, "except": except})
    }
}

fn net(random: &mut Random) -> Value {
    const NETS: [&str; 14] = [
        "0.0.0.0/0",
        "::/0",
        "192.0.2.0/24",
        "192.0.2.0/25",
        "192.0.2.10/32",
        "192.0.2.77/24",
        "192.0.0.0/16",
        "10.0.0.0/8",
        "10.0.0.2/32",
        "198.51.100.0/24",
        "2001:db8::/32",
        "2001:db8::1/128",
        "2001:db8:1::/48",
        "fd00::/8",
    ];
    json!(random.pick(&NETS))
}

const KEYS: [&str; 10] = [
    "app",
    "app",
    "tier",
    "k8s:app",
    "any:app",
    "k8s:tier",
    "example.com/role",
    "k8s:example.com/role",
    "nosuch",
    "any:tier",
];
const VALUES: [&str; 7] = ["api", "client", "db", "front", "back", "", "primary"];
const NAMESPACE_KEYS: [&str; 7] = [
    "k8s:io.kubernetes.pod.namespace",
    "k8s:io.kubernetes.pod.namespace",
    "io.kubernetes.pod.namespace",
    "any:io.kubernetes.pod.namespace",
    "k8s:io.cilium.k8s.namespace.labels.team",
    "io.cilium.k8s.namespace.labels.env",
    "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name",
];
const NAMESPACE_VALUES: [&str; 6] = ["default", "other", "a", "b", "prod", "nosuch"];
const OTHER_KEYS: [(&str, &str); 7] = [
    ("reserved:host", ""),
    ("reserved:world", ""),
    ("reserved.world", ""),
    ("k8s:io.cilium.k8s.policy.cluster", "default"),
    ("io.cilium.k8s.policy.cluster", "nosuch"),
    ("reserved:remote-node", ""),
    ("any:world", ""),
];

/// One key and a value that may fit.
fn requirement(random: &mut Random) -> (&'static str, &'static str) {
    match random.below(20) {
        0..5 => (random.pick(&NAMESPACE_KEYS), random.pick(&NAMESPACE_VALUES)),
        5..7 => random.pick(&OTHER_KEYS),
        _ => (random.pick(&KEYS), random.pick(&VALUES)),
    }
}

pub(super) fn selector(random: &mut Random) -> Value {
    let mut selector = json!({});
    let which = random.below(10);
    if which < 7 {
        let mut labels = Map::new();
        for (key, value) in random.list(1, 2, requirement) {
            // "app" and "any:app" are one key to Cilium, which keeps one of them, now this, now that.
            let other = key.strip_prefix("any:").map_or_else(|| format!("any:{key}"), str::to_owned);
            if !labels.contains_key(&other) {
                labels.insert(key.to_owned(), json!(value));
            }
        }
        insert(&mut selector, "matchLabels", labels.into());
    }
    if which > 4 {
        insert(&mut selector, "matchExpressions", random.list(1, 2, expression).into());
    }
    selector
}

fn expression(random: &mut Random) -> Value {
    let (key, value) = requirement(random);
    match random.below(4) {
        0 => json!({"key": key, "operator": "In", "values": [value, random.pick(&VALUES)]}),
        1 => json!({"key": key, "operator": "NotIn", "values": [value]}),
        2 => json!({"key": key, "operator": "Exists"}),
        _ => json!({"key": key, "operator": "DoesNotExist"}),
    }
}

fn port_rule(random: &mut Random) -> Value {
    let http = random.percent(55);
    let mut rule = json!({"ports": random.list(1, 2, |random| port(random, http))});
    if http {
        insert(&mut rule, "rules", json!({"http": random.list(1, 3, http_rule)}));
    } else if random.percent(5) {
        insert(&mut rule, "rules", json!({"http": []}));
    }
    rule
}

fn port(random: &mut Random, http: bool) -> Value {
    let numbers =
        ["8080", "8080", "80", "8081", "53", "9090", "443", "http", "http", "metrics", "dns", "HTTP", "nosuch"];
    let number = if !http && random.percent(8) { "0" } else { random.pick(&numbers) };
    let mut port = json!({"port": number});
    if http {
        insert(&mut port, "protocol", json!("TCP"));
    } else if random.percent(85) {
        insert(&mut port, "protocol", json!(random.pick(&["TCP", "TCP", "TCP", "UDP", "UDP", "SCTP", "ANY"])));
    }
    if random.percent(5) {
        insert(&mut port, "endPort", json!(0));
    } else if random.percent(12) && number != "0" && number.bytes().all(|byte| byte.is_ascii_digit()) {
        insert(&mut port, "endPort", json!(random.pick(&[80, 8080, 8081, 9090, 65535])));
    }
    port
}

pub(super) fn http_rule(random: &mut Random) -> Value {
    const METHODS: [&str; 7] = ["GET", "GET", "POST", "GET|HEAD", "P.*", "(?i)get", ""];
    const PATHS: [&str; 18] = [
        "/",
        "/api",
        "/api",
        "/api/.*",
        "/api.*",
        "/public(\\?.*)?",
        "/api/v1/users/[0-9]+",
        "^/api$",
        "/api|/public",
        "/v1\\.0",
        "/v1.0",
        ".*",
        "(?i)/api",
        "/users/{id}",
        "/a%20b",
        "",
        "/a\\+b",
        "/[^?]*",
    ];
    const HOSTS: [&str; 6] = ["api", "api\\.default(:[0-9]+)?", "example.com", ".*", "API", "api.*"];
    const HEADERS: [&str; 11] = [
        "X-Key",
        "x-key: 42",
        "X-Key 42",
        "X-Key:42",
        "X-Key: ",
        "X-Two: a b",
        "X-Two:  a",
        "X-Other: 1",
        "X-Key:: 42",
        "X-Key: a:b",
        "X-Key: 42,42",
    ];
    let mut rule = json!({});
    if random.percent(55) {
        insert(&mut rule, "method", json!(random.pick(&METHODS)));
    }
    if random.percent(65) {
        insert(&mut rule, "path", json!(random.pick(&PATHS)));
    }
    if random.percent(15) {
        insert(&mut rule, "host", json!(random.pick(&HOSTS)));
    }
    if random.percent(20) {
        insert(&mut rule, "headers", json!(random.list(1, 2, |random| random.pick(&HEADERS))));
    }
    rule
}
