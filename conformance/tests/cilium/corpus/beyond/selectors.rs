//! Pieces of selectors and CIDRs.

use serde_json::{Value, json};

use super::Place;

const KEYS: [&str; 32] = [
    "-app",
    "app-",
    "a/b/c",
    "/app",
    "a/",
    "Example.com/app",
    "cidr:10.0.0.0/8",
    "cidr.10.0.0.0/8",
    "fqdn:a",
    "container:app",
    "k8s:",
    ":app",
    "K8s:app",
    "k8s.app",
    "any.app",
    "reserved.world",
    "reserved:none",
    "reserved:world",
    "k8s:world",
    "k8s:a:b",
    "unspec:app",
    "app space",
    "",
    "ingress:app",
    "node:app",
    "cidrgroup:a",
    "reserved",
    "reserved:all",
    "any:reserved.host",
    "k8s:reserved:host",
    "$world",
    "$host",
];
const CIDRS: [&str; 22] = [
    "10.0.0.0",
    "10.0.0.0/33",
    "10.0.0.0/08",
    "10.0.0.0/+8",
    "010.0.0.0/8",
    "::ffff:10.0.0.0/104",
    "fe80::1%eth0/64",
    "",
    "2001:db8::1",
    "10.0.0/8",
    "0.0.0.0/0",
    "::/0",
    "10.0.0.1/8",
    "10.0.0.0/8 ",
    "10.0.0.0/-1",
    "fd00::/129",
    "/8",
    "10.0.0.0/",
    "::ffff:a00:0/96",
    "10.0.0.0/255.0.0.0",
    "1::2::3/64",
    "::10.0.0.1/128",
];

pub(super) fn pieces() -> Vec<(Place, Value)> {
    let mut pieces = keys();
    pieces.extend(expressions());
    for odd in [json!({"matchLabels": null}), json!({"matchLabels": []}), json!({"matchLabel": {}}), json!([])] {
        pieces.push((Place::Peers, odd));
    }
    pieces.extend(CIDRS.map(|cidr| (Place::Cidr, json!(cidr))));
    pieces
}

fn keys() -> Vec<(Place, Value)> {
    let long = "a".repeat(64);
    let mut pieces = Vec::new();
    for key in KEYS.iter().copied().chain([long.as_str()]) {
        let by_label = json!({"matchLabels": {key: ""}});
        let by_expression = json!({"matchExpressions": [{"key": key, "operator": "Exists"}]});
        pieces.extend([(Place::Peers, by_label.clone()), (Place::Peers, by_expression), (Place::Selector, by_label)]);
    }
    for value in
        [json!("a b"), json!("-a"), json!(long), json!(1), json!(true), json!(null), json!("a/b"), json!("\u{e9}")]
    {
        pieces.push((Place::Peers, json!({"matchLabels": {"app": value}})));
        pieces.push((Place::Peers, json!({"matchExpressions": [{"key": "app", "operator": "In", "values": [value]}]})));
    }
    pieces
}

fn expressions() -> Vec<(Place, Value)> {
    let mut pieces = Vec::new();
    for expression in [
        json!({"key": "app", "operator": "In"}),
        json!({"key": "app", "operator": "In", "values": []}),
        json!({"key": "app", "operator": "NotIn", "values": null}),
        json!({"key": "app", "operator": "Exists", "values": ["a"]}),
        json!({"key": "app", "operator": "Exists", "values": []}),
        json!({"key": "app", "operator": "exists"}),
        json!({"key": "app"}),
        json!({"operator": "Exists"}),
        json!({"key": "app", "operator": "Gt", "values": ["1"]}),
        json!({"key": "k8s:io.kubernetes.pod.namespace", "operator": "NotIn", "values": ["default"]}),
        json!({"key": "k8s:io.kubernetes.pod.namespace", "operator": "Exists"}),
        json!({"key": "k8s:io.kubernetes.pod.namespace", "operator": "DoesNotExist"}),
    ] {
        pieces.push((Place::Peers, json!({"matchExpressions": [expression]})));
        pieces.push((Place::Selector, json!({"matchExpressions": [expression]})));
    }
    let absent = |key| json!({"key": key, "operator": "DoesNotExist"});
    pieces.push((Place::Peers, json!({"matchExpressions": [absent("reserved:host"), absent("app")]})));
    pieces
}
