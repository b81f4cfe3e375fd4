//! Pieces of policies at and beyond the edge of what is supported: refused fields, odd spellings, what is not valid.

use serde_json::{Value, json};

use super::{groups, spec::insert};
use crate::random::Random;

mod icmps;
mod ports;
mod selectors;

/// Where a piece goes.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// The whole spec, its `endpointSelector` aside.
    Spec,
    Egress,
    Ingress,
    Selector,
    Peers,
    Cidr,
    PortRule,
    Port,
    Http,
}

/// Each piece with its name.
pub(super) fn pieces() -> Vec<(String, Value)> {
    let of_groups = groups::pieces().into_iter().map(|piece| (Place::Egress, json!({"toCIDRSet": [piece]})));
    let of_rules = in_rules().into_iter().chain(ports::pieces()).chain(icmps::pieces());
    let all = of_rules.chain(selectors::pieces()).chain(of_groups);
    all.enumerate().map(|(index, (place, piece))| (format!("{place:?}-{index}"), wrapped(place, &piece))).collect()
}

/// Puts one piece into a policy of Cilium's kinds that may be valid.
pub(super) fn spoil(policy: &mut Value, random: &mut Random) {
    if policy.get("kind").and_then(Value::as_str).is_none_or(|kind| !kind.starts_with("Cilium")) {
        return;
    }
    let pieces = pieces();
    let (_, piece) = random.pick(&pieces);
    if let Some(spec) = policy.get_mut("spec").and_then(Value::as_object_mut)
        && let Some(piece) = piece.as_object()
    {
        for (key, value) in piece {
            match (spec.get_mut(key).and_then(Value::as_array_mut), value.as_array()) {
                (Some(known), Some(more)) => known.extend(more.iter().cloned()),
                _ => {
                    spec.insert(key.clone(), value.clone());
                }
            }
        }
    }
}

/// Fields of a spec that hold the piece, and nothing else that could be wrong.
fn wrapped(place: Place, piece: &Value) -> Value {
    let all = json!({"endpointSelector": {}});
    let spec = |field: &str, value: Value| {
        let mut spec = all.clone();
        insert(&mut spec, field, value);
        spec
    };
    let tcp = json!([{"port": "8080", "protocol": "TCP"}]);
    match place {
        Place::Spec => {
            let mut spec = all;
            for (key, value) in piece.as_object().into_iter().flatten() {
                insert(&mut spec, key, value.clone());
            }
            spec
        }
        Place::Egress => spec("egress", json!([piece])),
        Place::Ingress => spec("ingress", json!([piece])),
        Place::Selector => json!({"endpointSelector": piece, "egress": [{}]}),
        Place::Peers => spec("egress", json!([{"toEndpoints": [piece]}])),
        Place::Cidr => spec("egress", json!([{"toCIDR": [piece]}])),
        Place::PortRule => spec("egress", json!([{"toPorts": [piece]}])),
        Place::Port => spec("egress", json!([{"toPorts": [{"ports": [piece]}]}])),
        Place::Http => spec("egress", json!([{"toPorts": [{"ports": tcp, "rules": {"http": [piece]}}]}])),
    }
}

/// An entry of egress without peers: ports, and paths of their requests.
fn requests(ports: &[&str], paths: &[&str]) -> Value {
    let ports: Vec<Value> = ports.iter().map(|port| json!({"port": port, "protocol": "TCP"})).collect();
    let rules: Vec<Value> = paths.iter().map(|path| json!({"path": path})).collect();
    json!({"toPorts": [{"ports": ports, "rules": {"http": rules}}]})
}

/// Ports that share a list of rules, of which one gets more.
fn shared_lists() -> Vec<Value> {
    let shared = requests(&["8080", "80"], &["/a", "/b", "/c"]);
    vec![
        json!({"egress": [shared, requests(&["8080"], &["/own"]), requests(&["80"], &["/api"])]}),
        json!({"egress": [requests(&["8080"], &[]), shared, requests(&["80"], &["/d"])]}),
    ]
}

fn in_rules() -> Vec<(Place, Value)> {
    let label = json!({"matchLabels": {"app": "api"}});
    let spec = [
        json!({"nodeSelector": {}, "ingress": [{}]}),
        json!({"ingressDeny": [{"fromEndpoints": [{}]}]}),
        json!({"egressDeny": [{"toCIDR": ["10.0.0.0/8"]}], "egress": [{}]}),
        json!({"enableDefaultDeny": {"egress": false}, "egress": [{}]}),
        json!({"enableDefaultDeny": {"ingress": true}, "egress": [{}]}),
        json!({"log": {"value": "x"}, "egress": [{}]}),
        json!({"egres": [{}], "egress": [{}]}),
        json!({"labels": [{"key": "a", "value": "b", "source": "k8s"}], "egress": [{}]}),
        json!({"labels": ["a"], "egress": [{}]}),
        json!({"description": 1, "egress": [{}]}),
        json!({}),
        json!({"ingress": [], "egress": []}),
        json!({"ingress": []}),
        json!({"egress": null}),
        json!({"egress": null, "ingress": [{}]}),
        json!({"ingress": [null]}),
        json!({"ingress": {}}),
        json!({"endpointSelector": null, "ingress": [{}]}),
    ];
    let egress = [
        json!({"toCIDRSet": [{"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}]}),
        json!({"toCIDRSet": []}),
        json!({"toEntities": ["world"]}),
        json!({"toFQDNs": [{"matchName": "example.com"}]}),
        json!({"toGroups": [{"aws": {"labels": {"a": "b"}}}]}),
        json!({"toNodes": [{}]}),
        json!({"toRequires": [label]}),
        json!({"toRequires": null}),
        json!({"icmps": [{"fields": [{"type": 8}]}]}),
        json!({"authentication": {"mode": "required"}}),
        json!({"toEndpoints": [label], "toCIDR": ["10.0.0.0/8"]}),
        json!({"toEndpoints": [], "toCIDR": ["10.0.0.0/8"]}),
        json!({"toEndpoints": [label], "toCIDR": []}),
        json!({"toEndpoints": [], "toCIDR": []}),
        json!({"toEndpoints": null, "toPorts": null}),
        json!({"toEndpoints": null}),
        json!({"toEndpoints": [null]}),
        json!({"toEndpoints": label}),
        json!({"fromEndpoints": [label]}),
    ];
    let ingress = [
        json!({"fromCIDRSet": [{"cidr": "10.0.0.0/8"}]}),
        json!({"fromEntities": ["cluster"]}),
        json!({"fromRequires": [label]}),
        json!({"fromGroups": [{"aws": {"labels": {"a": "b"}}}]}),
        json!({"fromNodes": [{}]}),
        json!({"icmps": [{"fields": [{"type": 8}]}]}),
        json!({"authentication": {"mode": "disabled"}}),
        json!({"fromEndpoints": [], "toPorts": [{"ports": [{"port": "80"}]}]}),
    ];
    let places = [
        (Place::Spec, spec.to_vec()),
        (Place::Egress, egress.to_vec()),
        (Place::Egress, services()),
        (Place::Spec, shared_lists()),
        (Place::Ingress, ingress.to_vec()),
    ];
    places.into_iter().flat_map(|(place, pieces)| pieces.into_iter().map(move |piece| (place, piece))).collect()
}

fn services() -> Vec<Value> {
    vec![
        json!({"toServices": [{"k8sService": {"serviceName": "a", "namespace": "default"}}]}),
        json!({"toServices": [{"k8sService": {"serviceName": "api"}}]}),
        json!({"toServices": [{"k8sService": {"serviceName": "api", "namespace": ""}}]}),
        json!({"toServices": [{"k8sService": {"serviceName": "api"}}], "toPorts": [{"ports": [{"port": "80"}]}]}),
        json!({"toServices": [{"k8sService": {"namespace": "default"}}]}),
        json!({"toServices": [{"k8sServiceSelector": {"selector": {"matchLabels": {"use": "web"}}}}]}),
        json!({"toServices": [{"k8sServiceSelector": {"selector": {}}}]}),
        json!({"toServices": [{"k8sServiceSelector": {"namespace": "default"}}]}),
        json!({"toServices": [{"k8sServiceSelector": {"selector": {"matchLabels": {"a:b": "c"}}}}]}),
        json!({"toServices": [{}]}),
        json!({"toServices": []}),
        json!({"toServices": [], "toPorts": [{"ports": [{"port": "8080", "protocol": "TCP"}]}]}),
        json!({"toServices": [{"k8sService": {"serviceName": "nosuch", "namespace": "default"}}], "toPorts": [{"ports": [{"port": "8080", "protocol": "TCP"}]}]}),
    ]
}
