//! Policies of Kubernetes' own kind.

use serde_json::{Map, Value, json};

use super::spec::insert;
use crate::random::Random;

pub(super) fn policy(random: &mut Random) -> Value {
    let namespace = random.pick(&["default", "default", "default", "other"]);
    let mut spec = json!({"podSelector": selector(random, &["app", "tier"])});
    let which = random.below(10);
    if which < 6 {
        insert(&mut spec, "ingress", rules(random, "from"));
    }
    if which > 3 {
        insert(&mut spec, "egress", rules(random, "to"));
    }
    let whole = [json!(["Ingress", "Egress"]), json!(["Egress", "Ingress"]), json!([])];
    match random.below(20) {
        0 => insert(&mut spec, "policyTypes", json!([random.pick(&["Ingress", "Egress"])])),
        1..10 => insert(&mut spec, "policyTypes", random.pick(&whole)),
        10..13 if which < 4 => insert(&mut spec, "policyTypes", json!(["Ingress"])),
        10..13 if which >= 6 => insert(&mut spec, "policyTypes", json!(["Egress"])),
        _ => {}
    }
    of_spec(&spec, namespace)
}

fn of_spec(spec: &Value, namespace: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "np", "namespace": namespace},
        "spec": spec,
    })
}

fn rules(random: &mut Random, of: &str) -> Value {
    match random.below(20) {
        0 => json!([]),
        1..3 => json!([{}]),
        _ => random.list(1, 3, |random| rule(random, of)).into(),
    }
}

fn rule(random: &mut Random, of: &str) -> Value {
    let mut rule = json!({});
    match random.below(10) {
        0 => insert(&mut rule, of, json!([])),
        1..3 => {}
        _ => insert(&mut rule, of, random.list(1, 2, peer).into()),
    }
    match random.below(10) {
        0 => insert(&mut rule, "ports", json!([])),
        1..4 => {}
        _ => insert(&mut rule, "ports", random.list(1, 2, port).into()),
    }
    rule
}

fn peer(random: &mut Random) -> Value {
    const NAMESPACE: [&str; 3] = ["team", "env", "kubernetes.io/metadata.name"];
    let mut peer = json!({});
    let which = random.below(12);
    if which < 2 {
        let blocks = [
            json!({"cidr": "192.0.2.0/24", "except": ["192.0.2.128/25"]}),
            json!({"cidr": "0.0.0.0/0", "except": ["192.0.2.10/32"]}),
            json!({"cidr": "0.0.0.0/0"}),
            json!({"cidr": "10.0.0.0/8"}),
            json!({"cidr": "2001:db8::/32", "except": ["2001:db8:1::/48"]}),
        ];
        insert(&mut peer, "ipBlock", random.pick(&blocks));
        return peer;
    }
    if which < 9 {
        insert(&mut peer, "podSelector", selector(random, &["app", "tier"]));
    }
    if which > 6 {
        insert(&mut peer, "namespaceSelector", selector(random, &NAMESPACE));
    }
    peer
}

fn selector(random: &mut Random, keys: &[&'static str]) -> Value {
    const VALUES: [&str; 9] = ["api", "client", "db", "front", "back", "a", "b", "prod", "default"];
    let mut selector = json!({});
    let which = random.below(10);
    if (2..8).contains(&which) {
        let label = |random: &mut Random| (random.pick(keys).to_owned(), json!(random.pick(&VALUES)));
        insert(&mut selector, "matchLabels", Map::from_iter([label(random)]).into());
    }
    if which > 6 {
        let (key, value) = (random.pick(keys), random.pick(&VALUES));
        let expressions = [
            json!({"key": key, "operator": "In", "values": [value, random.pick(&VALUES)]}),
            json!({"key": key, "operator": "NotIn", "values": [value]}),
            json!({"key": key, "operator": "Exists"}),
            json!({"key": key, "operator": "DoesNotExist"}),
        ];
        insert(&mut selector, "matchExpressions", json!([random.pick(&expressions)]));
    }
    selector
}

fn port(random: &mut Random) -> Value {
    let numbers = [json!(8080), json!(8080), json!(80), json!(8081), json!(53), json!("http"), json!("dns")];
    let mut port = json!({});
    if random.percent(90) {
        let number = random.pick(&numbers);
        if number.is_number() && random.percent(20) {
            insert(&mut port, "endPort", json!(random.pick(&[8080, 8081, 9090, 65535])));
        }
        insert(&mut port, "port", number);
    }
    if random.percent(60) {
        insert(&mut port, "protocol", json!(random.pick(&["TCP", "TCP", "UDP", "SCTP"])));
    }
    port
}

/// Each edge of the kind alone: what is absent, what is empty, what is no field.
pub(super) fn edges() -> Vec<Value> {
    let peer = json!([{"podSelector": {"matchLabels": {"app": "client"}}}]);
    let specs = [
        json!({"podSelector": {}}),
        json!({"podSelector": {}, "policyTypes": ["Egress"]}),
        json!({"podSelector": {}, "policyTypes": []}),
        json!({"podSelector": {}, "policyTypes": ["Egress"], "ingress": [{"from": peer}]}),
        json!({"podSelector": {}, "policyTypes": ["Ingress"], "egress": [{"to": peer}]}),
        json!({"podSelector": {}, "egress": []}),
        json!({"podSelector": {}, "egress": [{}]}),
        json!({"podSelector": {}, "ingress": null}),
        json!({"podSelector": {}, "ingress": [{"from": [], "ports": []}]}),
        json!({"podSelector": {}, "ingress": [{"from": null, "ports": null}]}),
        json!({"podSelector": {}, "ingress": [{"from": peer}]}),
        json!({"podSelector": {}, "ingress": [{"ports": [{}]}]}),
        json!({"podSelector": {}, "ingress": [{"ports": [{"protocol": "UDP"}]}]}),
        json!({"podSelector": {}, "ingress": [{"ports": [{"port": "http"}]}]}),
        json!({"podSelector": {}, "ingress": [{"ports": [{"port": "dns", "protocol": "UDP"}]}]}),
        json!({"podSelector": {}, "egress": [{"ports": [{"port": "http"}]}]}),
        json!({"podSelector": {}, "ingress": [{"ports": [{"port": 8000, "endPort": 8100}]}]}),
        json!({"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {}}]}]}),
        json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]}),
        json!({"podSelector": {}, "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]}),
        json!({"podSelector": {}, "egress": [{"to": [{"ipBlock": {"cidr": "::/0", "except": ["2001:db8::/48"]}}]}]}),
        json!({"podSelector": {}, "ingress": [{"form": peer}]}),
        json!({"podSelector": {}, "ingress": [{"from": [{"podSelectors": {}}]}]}),
        json!({"podSelector": {}, "ingres": []}),
        json!({"podSelector": {}, "ingress": {}}),
        json!({"podSelector": [], "ingress": []}),
    ];
    specs.iter().map(|spec| of_spec(spec, "default")).collect()
}
