//! What is special about a query and its case: the words that `expected-differences.toml` uses under `about`.

use serde_json::Value;

use crate::{
    corpus::{Case, Query},
    ours::has_other_form,
};

const CLUSTER: &str = "io.cilium.k8s.policy.cluster";

pub(crate) fn about(case: &Case, query: &Query) -> Vec<&'static str> {
    let words = [
        ("path-form", query.http.as_ref().is_some_and(has_other_form)),
        ("repeated-header", has_repeated_header(query)),
        ("other-protocol-of-named-port", is_other_protocol(case, query)),
        ("negation-and-outside", negates(case) && is_outside(query)),
        ("only-negations", documents(case).iter().any(has_only_negations)),
        ("default-deny-off", case.manifests.contains("\"enableDefaultDeny\"") && case.manifests.contains(":false")),
        ("default-deny-without-rules", documents(case).iter().any(has_default_deny_without_rules)),
        ("rule-without-ports", documents(case).iter().any(has_rule_without_ports)),
        ("null-label", case.manifests.contains(":null")),
        ("other-direction", documents(case).iter().any(|document| leaves_out(document, query.direction))),
        ("type-0", query.protocol.starts_with("ICMP") && has_type_0(case)),
        ("service-of-nobody", query.direction == "egress" && asks(case, "egress", is_of_nobody)),
        ("services-in-deny", query.direction == "egress" && asks(case, "egressDeny", |_| true)),
        ("shared-list", documents(case).iter().any(has_shared_list)),
        ("pod-in-block", is_in_block(case, query)),
        ("dotted-reserved", case.manifests.contains("\"reserved.")),
    ];
    words.into_iter().filter(|(_, holds)| *holds).map(|(word, _)| word).collect()
}

fn has_repeated_header(query: &Query) -> bool {
    let headers = query.http.iter().flat_map(|request| &request.headers);
    let mut names: Vec<String> = headers.map(|(name, _)| name.to_ascii_lowercase()).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    names.len() < all
}

/// The number is that of a port whose name a policy uses, but the protocol is not.
fn is_other_protocol(case: &Case, query: &Query) -> bool {
    let manifests = case.manifests.to_ascii_lowercase();
    let ports = case.pods.iter().filter(|pod| pod.name == query.to).flat_map(|pod| &pod.ports);
    ports
        .filter(|port| port.port == query.port && port.protocol != query.protocol)
        .any(|port| manifests.contains(&format!("\"port\":\"{}\"", port.name)))
}

fn negates(case: &Case) -> bool {
    ["\"NotIn\"", "\"DoesNotExist\""].iter().any(|operator| case.manifests.contains(operator))
}

fn is_outside(query: &Query) -> bool {
    let peer = if query.direction == "egress" { &query.to } else { &query.from };
    !peer.contains('/')
}

fn documents(case: &Case) -> Vec<Value> {
    case.manifests.split("\n---\n").filter_map(|document| serde_json::from_str(document).ok()).collect()
}

fn specs(document: &Value) -> impl Iterator<Item = &Value> {
    document.get("specs").and_then(Value::as_array).into_iter().flatten().chain(document.get("spec"))
}

/// `enableDefaultDeny` is true for a direction that has no rules.
fn has_default_deny_without_rules(document: &Value) -> bool {
    let has_rules =
        |spec: &Value, list: &str| spec.get(list).and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
    specs(document).any(|spec| {
        let asks = |direction| spec.pointer(&format!("/enableDefaultDeny/{direction}")) == Some(&Value::Bool(true));
        let directions = [("ingress", "ingressDeny"), ("egress", "egressDeny")];
        directions.iter().any(|(allow, deny)| asks(allow) && !has_rules(spec, allow) && !has_rules(spec, deny))
    })
}

/// A selector that asks for nothing but what must not be, and that is not narrowed to a namespace or the cluster.
fn has_only_negations(value: &Value) -> bool {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    match value {
        Value::Object(map) => {
            let labels = map.get("matchLabels").and_then(Value::as_object).is_some_and(|labels| !labels.is_empty());
            let asked = map.get("matchExpressions").and_then(Value::as_array).filter(|_| !labels);
            let negated = asked.is_some_and(|asked| {
                asked
                    .iter()
                    .map(|one| text(one, "key"))
                    .any(|key| key.starts_with("reserved:") || key.ends_with(CLUSTER))
                    && asked.iter().all(|one| ["NotIn", "DoesNotExist"].contains(&text(one, "operator").as_str()))
            });
            negated || map.values().any(has_only_negations)
        }
        Value::Array(list) => list.iter().any(has_only_negations),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn has_rule_without_ports(value: &Value) -> bool {
    let is_empty = |rule: &Value| rule.get("ports").and_then(Value::as_array).is_none_or(Vec::is_empty);
    match value {
        Value::Object(map) => map.iter().any(|(key, value)| {
            let rules = value.as_array().filter(|_| key == "toPorts");
            rules.is_some_and(|rules| rules.iter().any(is_empty)) || has_rule_without_ports(value)
        }),
        Value::Array(list) => list.iter().any(has_rule_without_ports),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// A policy of Kubernetes' own with rules for a direction that is not among its types.
fn leaves_out(document: &Value, direction: &str) -> bool {
    let types = document.pointer("/spec/policyTypes").and_then(Value::as_array);
    let name = if direction == "ingress" { "Ingress" } else { "Egress" };
    let named = types.is_none_or(|types| types.is_empty() || types.iter().any(|one| one.as_str() == Some(name)));
    let rules = document.pointer(&format!("/spec/{direction}")).and_then(Value::as_array);
    !named && rules.is_some_and(|rules| !rules.is_empty())
}

fn has_type_0(case: &Case) -> bool {
    ["\"type\":0}", "\"type\":\"0\"}", "\"type\":\"EchoReply\"}"].iter().any(|text| case.manifests.contains(text))
}

/// Whether an entry of `list` with services is one of those that are asked for.
fn asks(case: &Case, list: &str, wanted: fn(&Value) -> bool) -> bool {
    let entries = |spec: &Value| spec.get(list).and_then(Value::as_array).cloned().unwrap_or_default();
    let documents = documents(case);
    let asked = documents.iter().flat_map(specs).flat_map(entries);
    asked.into_iter().any(|entry| entry.get("toServices").is_some() && wanted(&entry))
}

/// It is about ports or messages, and none of its services has a selector.
fn is_of_nobody(entry: &Value) -> bool {
    let services = entry.get("toServices").and_then(Value::as_array);
    let name = |service: &Value| service.pointer("/k8sService/serviceName").and_then(Value::as_str).map(str::to_owned);
    let of_nobody = |service| name(service).is_some_and(|name| !["api", "back", "empty"].contains(&name.as_str()));
    (entry.get("toPorts").is_some() || entry.get("icmps").is_some())
        && services.is_some_and(|services| services.iter().all(of_nobody))
}

/// A pod, and a block that holds the addresses of all pods.
fn is_in_block(case: &Case, query: &Query) -> bool {
    let blocks = ["0.0.0.0/0", "10.0.0.0/8"].map(|cidr| format!("\"ipBlock\":{{\"cidr\":\"{cidr}\""));
    !is_outside(query) && blocks.iter().any(|block| case.manifests.contains(block))
}

/// Several ports over a list of HTTP rules that Go's decoder leaves room behind.
fn has_shared_list(value: &Value) -> bool {
    let length = |value: Option<&Value>| value.and_then(Value::as_array).map_or(0, Vec::len);
    match value {
        Value::Object(map) => {
            let rules = length(map.get("rules").and_then(|rules| rules.get("http")));
            let is_shared = length(map.get("ports")) > 1 && rules > 2 && !rules.is_power_of_two();
            is_shared || map.values().any(has_shared_list)
        }
        Value::Array(list) => list.iter().any(has_shared_list),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
