//! CIDR groups: as documents, and as policies refer to them.

use serde_json::{Value, json};

use super::spec::insert;
use crate::random::Random;

/// Groups that overlap each other and the blocks of policies.
pub(super) fn documents() -> [Value; 5] {
    [
        group("cdn", &json!({"use": "edge", "tier": "a"}), &["192.0.2.0/24", "198.51.100.0/24"]),
        group("vpn", &json!({"use": "staff", "tier": "a"}), &["192.0.2.128/25", "2001:db8::/32"]),
        group("one", &json!({"use": "edge"}), &["203.0.113.1/32"]),
        group("all", &json!({"io.cilium.k8s.x": "y"}), &["0.0.0.0/0", "::/0"]),
        group("none", &json!({"use": "staff"}), &[]),
    ]
}

fn group(name: &str, labels: &Value, cidrs: &[&str]) -> Value {
    let version = if name == "one" { "cilium.io/v2alpha1" } else { "cilium.io/v2" };
    document(version, &json!({"name": name, "labels": labels}), &json!({"externalCIDRs": cidrs}))
}

fn document(version: &str, metadata: &Value, spec: &Value) -> Value {
    json!({"apiVersion": version, "kind": "CiliumCIDRGroup", "metadata": metadata, "spec": spec})
}

/// An entry of `toCIDRSet` or `fromCIDRSet`.
pub(super) fn reference(random: &mut Random) -> Value {
    let mut reference = random.pick(&references());
    if random.percent(30) {
        let except = [json!(["192.0.2.0/25"]), json!(["198.51.100.7/32", "2001:db8:1::/48"]), json!([])];
        insert(&mut reference, "except", random.pick(&except));
    }
    reference
}

/// By each name, and by each selector.
pub(super) fn references() -> Vec<Value> {
    let names = ["cdn", "vpn", "one", "all", "none", "nosuch"].map(|name| json!({"cidrGroupRef": name}));
    let selectors = selectors().map(|selector| json!({"cidrGroupSelector": selector}));
    names.into_iter().chain(selectors).collect()
}

fn selectors() -> [Value; 8] {
    [
        json!({"matchLabels": {"use": "edge"}}),
        json!({"matchLabels": {"use": "edge", "tier": "a"}}),
        json!({"matchExpressions": [{"key": "use", "operator": "In", "values": ["edge", "staff"]}]}),
        json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}),
        json!({"matchExpressions": [{"key": "use", "operator": "NotIn", "values": ["edge"]}]}),
        json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}),
        json!({"matchLabels": {"tier": "a"}, "matchExpressions": [{"key": "use", "operator": "NotIn", "values": ["edge"]}]}),
        json!({"matchExpressions": [{"key": "io.cilium.k8s.x", "operator": "Exists"}]}),
    ]
}

/// Entries of a `toCIDRSet`, good and bad.
pub(super) fn pieces() -> Vec<Value> {
    let mut pieces = vec![
        json!({"cidrGroupRef": "a"}),
        json!({"cidrGroupRef": "a.b-c"}),
        json!({"cidrGroupRef": "A"}),
        json!({"cidrGroupRef": ""}),
        json!({"cidrGroupRef": 1}),
        json!({"cidrGroupRef": null}),
        json!({"cidrGroupRef": "a", "cidr": "10.0.0.0/8"}),
        json!({"cidrGroupRef": "a", "cidrGroupSelector": {}}),
        json!({"cidrGroupRef": "a", "except": ["10.0.0.0/8", "fd00::/8"]}),
        json!({"cidrGroupRef": "a", "except": ["10.0.0.1"]}),
        json!({"cidrGroupSelector": {}}),
        json!({"cidrGroupSelector": {"matchLabels": {}, "matchExpressions": []}}),
        json!({"cidrGroupSelector": null}),
        json!({"cidrGroupSelector": []}),
        json!({"cidrGroupSelector": {"matchLabels": {"k8s:a": "b"}}}),
        json!({"cidrGroupSelector": {"matchLabels": {"-a": "b"}}}),
        json!({"cidrGroupSelector": {"matchLabels": {"a": "b c"}}}),
        json!({"cidrGroupSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": []}]}}),
        json!({"cidrGroupSelectors": {}}),
        json!({}),
    ];
    pieces.extend(selectors().map(|selector| json!({"cidrGroupSelector": selector})));
    pieces
}

/// Documents of the kind, good and bad.
pub(super) fn edges() -> Vec<Value> {
    let spec = json!({"externalCIDRs": ["192.0.2.0/24"]});
    let named = json!({"name": "g"});
    let of = |spec: Value| document("cilium.io/v2", &named, &spec);
    let with = |metadata: Value| document("cilium.io/v2", &metadata, &spec);
    vec![
        of(spec.clone()),
        of(json!({"externalCIDRs": []})),
        of(json!({"externalCIDRs": null})),
        of(json!({})),
        of(json!(null)),
        of(json!({"externalCIDRs": ["10.0.0.1"]})),
        of(json!({"externalCIDRs": ["10.0.0.1/8", "::/0", "0.0.0.0/0"]})),
        of(json!({"externalCIDRs": ["10.0.0.0/33"]})),
        of(json!({"externalCIDRs": ["::ffff:10.0.0.0/104"]})),
        of(json!({"externalCIDRs": [1]})),
        of(json!({"externalCIDRs": "10.0.0.0/8"})),
        of(json!({"externalCIDR": [], "externalCIDRs": []})),
        with(json!({"name": "g", "labels": {"a": "b", "c.d/e": ""}})),
        with(json!({"name": "g", "annotations": {"a": "b"}})),
        document("cilium.io/v2alpha1", &named, &spec),
        document("cilium.io/v1", &named, &spec),
    ]
}
