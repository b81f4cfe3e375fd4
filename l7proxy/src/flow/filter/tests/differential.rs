//! Any flows and any filters: what we say of the record is what the filter's description says of the encoded flow.

use std::collections::BTreeMap;

use hubble_api::flow::{self as api, FlowFilter, layer4::Protocol, layer7};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use prost::Message;
use serde_json::{Value, json};

use super::{filter, naive, node};
use crate::{
    config,
    flow::{Encoder, Flow, Headers, Record, filter::Filters, testing},
};

/// Flows that are drawn.
const FLOWS: usize = 500;
/// Filters that each is asked by: of one field, and lists of filters of several.
const OF_ONE: usize = 12;
const OF_SEVERAL: usize = 6;

/// Numbers that look random, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn one<'v, T>(&mut self, values: &'v [T]) -> &'v T {
        &values[self.below(values.len())]
    }

    /// From somewhere to somewhere, at letters.
    fn part<'t>(&mut self, text: &'t str) -> &'t str {
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let (one, other) = (*self.one(&places), *self.one(&places));
        text.get(one.min(other)..one.max(other)).unwrap()
    }

    fn prefix<'t>(&mut self, text: &'t str) -> &'t str {
        let end = text.find(self.part(text)).unwrap_or_default();
        if self.below(2) == 0 { text } else { text.get(..end).unwrap() }
    }
}

/// A pattern that finds a part of `text`.
fn pattern(dice: &mut Dice, text: &str) -> String {
    let escape = |text: &str| -> String {
        let escaped = |letter: char| {
            if letter.is_ascii() && !letter.is_ascii_alphanumeric() { vec!['\\', letter] } else { vec![letter] }
        };
        text.chars().flat_map(escaped).collect()
    };
    match dice.below(4) {
        0 => format!("^{}", escape(dice.prefix(text))),
        1 => format!("{}$", escape(text)),
        2 => format!("^{}$", escape(dice.part(text))),
        _ => escape(dice.part(text)),
    }
}

fn selector(dice: &mut Dice, labels: &[String]) -> String {
    let is_plain = |label: &&String| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b":=".contains(&byte))
    };
    let mut plain: Vec<String> = labels.iter().filter(is_plain).cloned().collect();
    plain.extend(["k8s:app=web".to_owned(), "zone=eu".to_owned()]);
    let mut part = || {
        let label = dice.one(&plain).clone();
        let (key, value) = label.split_once('=').unwrap_or((&label, ""));
        let is_bare = dice.below(2) == 0;
        let key = if is_bare { key.split_once(':').map_or(key, |(_, key)| key) } else { key };
        match dice.below(6) {
            0 => key.to_owned(),
            1 => format!("!{key}"),
            2 => format!("{key}={value}"),
            3 => format!("{key}!={value}"),
            4 => format!("{key} in (x,{value})"),
            _ => format!("{key} notin (x,{value})"),
        }
    };
    let first = part();
    let second = part();
    if dice.below(3) == 0 { format!("{first}, {second}") } else { first }
}

fn named(dice: &mut Dice, namespace: &str, name: &str) -> String {
    let prefix = dice.prefix(name).to_owned();
    let text = match dice.below(5) {
        0 => format!("{namespace}/"),
        1 => format!("{namespace}/{prefix}"),
        2 => format!("/{prefix}"),
        3 => prefix,
        _ => "/".to_owned(),
    };
    if text.is_empty() { "a".to_owned() } else { text }
}

fn address(dice: &mut Dice, own: &str) -> Value {
    let own = if own.is_empty() { "10.0.0.1" } else { own };
    match dice.below(4) {
        0 => format!("{own}/{}", dice.below(33)).into(),
        1 => format!("{own}/32").into(),
        _ => own.into(),
    }
}

fn endpoint(dice: &mut Dice, field: &str, end: &api::Endpoint, service: Option<&api::Service>) -> Value {
    let workload = end.workloads.first().cloned().unwrap_or_default();
    let service = service.cloned().unwrap_or_default();
    match field {
        "pod" => named(dice, &end.namespace, &end.pod_name).into(),
        "service" => named(dice, &service.namespace, &service.name).into(),
        "identity" => end.identity.into(),
        "cluster_name" if end.cluster_name.is_empty() => "c".into(),
        "cluster_name" => end.cluster_name.clone().into(),
        "label" => selector(dice, &end.labels).into(),
        "fqdn" => (*dice.one(&["*", "*.example.com", "Example.com.", "a*b*", "api.example", "*example*"])).into(),
        _ => match dice.below(3) {
            0 => json!({"name": workload.name}),
            1 => json!({"kind": workload.kind}),
            _ => json!({"name": workload.name, "kind": workload.kind}),
        },
    }
}

fn ports(flow: &api::Flow) -> (u32, u32) {
    match flow.l4.as_ref().and_then(|l4| l4.protocol.as_ref()) {
        Some(Protocol::Tcp(it)) => (it.source_port, it.destination_port),
        Some(Protocol::Udp(it)) => (it.source_port, it.destination_port),
        Some(Protocol::Sctp(it)) => (it.source_port, it.destination_port),
        // Type and code are no ports.
        Some(Protocol::IcmPv4(it)) => (it.code, it.r#type),
        Some(Protocol::IcmPv6(it)) => (it.code, it.r#type),
        _ => (0, 80),
    }
}

/// A value for `field` that `flow`, or one that is nearly like it, would match.
fn value(dice: &mut Dice, field: &str, flow: &api::Flow) -> Value {
    let end = |end: &Option<api::Endpoint>| end.clone().unwrap_or_default();
    let ip = flow.ip.clone().unwrap_or_default();
    match field {
        "source_ip" | "source_ip_xlated" => return address(dice, &ip.source),
        "destination_ip" => return address(dice, &ip.destination),
        "source_port" => return ports(flow).0.to_string().into(),
        "destination_port" => return ports(flow).1.to_string().into(),
        _ => {}
    }
    if let Some(field) = field.strip_prefix("source_") {
        return endpoint(dice, field, &end(&flow.source), flow.source_service.as_ref());
    }
    if let Some(field) = field.strip_prefix("destination_") {
        return endpoint(dice, field, &end(&flow.destination), flow.destination_service.as_ref());
    }
    if let Some(field) = field.strip_prefix("http_") {
        return of_http(dice, field, flow);
    }
    of_kind(dice, field, flow)
}

fn of_http(dice: &mut Dice, field: &str, flow: &api::Flow) -> Value {
    let http = match flow.l7.as_ref().and_then(|l7| l7.record.as_ref()) {
        Some(layer7::Record::Http(http)) => http.clone(),
        _ => api::Http { code: 404, method: "GET".to_owned(), url: "http://api/v1".to_owned(), ..api::Http::default() },
    };
    let code = if (100..600).contains(&http.code) { http.code } else { 200 };
    match field {
        "status_code" => match dice.below(3) {
            0 => code.to_string(),
            1 => format!("{}+", code / 10),
            _ => format!("{}+", code / 100),
        }
        .into(),
        "method" if dice.below(2) == 0 => http.method.to_lowercase().into(),
        "method" => http.method.into(),
        "url" => pattern(dice, &http.url).into(),
        "path" => {
            let path = crate::flow::filter::url::path(&http.url).unwrap_or_default();
            pattern(dice, &path).into()
        }
        _ => {
            let header = http.headers.first().cloned().unwrap_or_default();
            match dice.below(4) {
                0 => json!({"key": header.key.to_lowercase(), "value": header.value}),
                1 => json!({"key": header.key, "value": header.value.to_uppercase()}),
                _ => json!({"key": header.key, "value": header.value}),
            }
        }
    }
}

fn of_kind(dice: &mut Dice, field: &str, flow: &api::Flow) -> Value {
    let event = flow.event_type.unwrap_or_default();
    match field {
        "uuid" => flow.uuid.clone().into(),
        "verdict" => flow.verdict().as_str_name().into(),
        "drop_reason_desc" => flow.drop_reason_desc().as_str_name().into(),
        "traffic_direction" => flow.traffic_direction().as_str_name().into(),
        "ip_version" => flow.ip.as_ref().map_or("IP_NOT_USED", |ip| ip.ip_version().as_str_name()).into(),
        "event_type" => match dice.below(4) {
            0 => json!({"type": event.r#type}),
            1 => json!({"match_sub_type": true, "sub_type": event.sub_type}),
            2 => json!({"type": event.r#type, "match_sub_type": true, "sub_type": event.sub_type}),
            _ => json!({"type": event.r#type, "match_sub_type": true, "sub_type": 133}),
        },
        "reply" => flow.is_reply.unwrap_or_default().into(),
        "encrypted" => (dice.below(2) == 0).into(),
        "protocol" => {
            let names = ["tcp", "UDP", "Sctp", "icmp", "ICMPv4", "icmpv6", "http", "dns", "vrrp", "igmp"];
            (*dice.one(&names)).into()
        }
        "dns_query" => "a".into(),
        "tcp_flags" => match dice.below(4) {
            0 => json!({}),
            1 => json!({"SYN": true}),
            2 => json!({"ACK": true, "FIN": true}),
            _ => json!({"NS": true}),
        },
        "node_name" => (*dice.one(&["n*", "c/n1", "c/", "/", "d/*", "*2", "n"])).into(),
        "node_labels" => selector(dice, &flow.node_labels).into(),
        "trace_id" => flow.trace_context.as_ref().and_then(|it| it.parent.clone()).unwrap_or_default().trace_id.into(),
        "ip_trace_id" => dice.below(2).into(),
        "interface" => json!({"index": dice.below(2)}),
        other => panic!("{other}: no value is drawn for it"),
    }
}

/// Filters as users write them, of some fields.
fn draw(dice: &mut Dice, fields: &[&str], flows: [&api::Flow; 2]) -> Value {
    let mut filter = json!({});
    for field in fields {
        let count = if dice.below(3) == 0 { 2 } else { 1 };
        let mut one = || {
            let flow = flows[dice.below(4) / 3];
            value(dice, field, flow)
        };
        let values: Vec<Value> = (0..count).map(|_| one()).collect();
        filter[*field] = values.into();
    }
    filter
}

fn message(encoder: &mut Encoder, flow: &Flow) -> api::Flow {
    let mut bytes = Vec::new();
    encoder.flow(flow, &mut bytes);
    api::Flow::decode(&*bytes).unwrap()
}

fn fields() -> Vec<String> {
    let all = serde_json::to_value(config::FlowFilter::default()).unwrap();
    all.as_object().unwrap().keys().filter(|name| *name != "experimental").cloned().collect()
}

/// No flow of ours has what these ask for.
const NEVER: [&str; 3] = ["dns_query", "source_ip_xlated", "interface"];

#[test]
fn ours_is_what_the_description_says() {
    let mut runner = TestRunner::deterministic();
    let strategy = testing::flow().prop_filter("a flow", |flow| !matches!(flow.record, Record::Lost(_)));
    let mut drawn = || strategy.new_tree(&mut runner).unwrap().current();
    let (fields, mut dice, mut encoder) = (fields(), Dice(7), Encoder::new(&node(), None));
    let mut seen: BTreeMap<&str, [usize; 2]> = fields.iter().map(|field| (field.as_str(), [0; 2])).collect();
    let (mut shown, mut lists) = (0, 0);
    let mut before = message(&mut encoder, &drawn());
    for _ in 0..FLOWS {
        let flow = drawn();
        let wire = message(&mut encoder, &flow);
        for _ in 0..OF_ONE {
            let field = dice.one(&fields).as_str();
            let json = draw(&mut dice, &[field], [&wire, &before]);
            let white = [filter(json.clone())];
            let ours = Filters::new(&white, &[], &node()).unwrap().matches(&flow);
            assert_eq!(ours, naive::shows(&white, &[], &wire), "{json} of {wire:?}");
            seen.get_mut(field).unwrap()[usize::from(ours)] += 1;
        }
        for _ in 0..OF_SEVERAL {
            let mut list = |most: usize| -> Vec<Value> {
                let count = dice.below(most);
                let mut one = || {
                    let some: Vec<&str> = (0..dice.below(4)).map(|_| dice.one(&fields).as_str()).collect();
                    draw(&mut dice, &some, [&wire, &before])
                };
                (0..count).map(|_| one()).collect()
            };
            let (white, black) = (list(4), list(3));
            let of = |list: &[Value]| -> Vec<FlowFilter> { list.iter().cloned().map(filter).collect() };
            let lists_of = (of(&white), of(&black));
            let filters = match Filters::new(&lists_of.0, &lists_of.1, &node()) {
                Ok(filters) => filters,
                Err(error) => {
                    assert!(error.starts_with("filtering by http "), "{error}: {white:?} {black:?}");
                    continue;
                }
            };
            let ours = filters.matches(&flow);
            assert_eq!(ours, naive::shows(&lists_of.0, &lists_of.1, &wire), "{white:?} but {black:?} of {wire:?}");
            lists += 1;
            shown += usize::from(ours);
        }
        before = wire;
    }
    for (field, [missed, matched]) in seen {
        assert!(missed > 0, "{field} matched always");
        assert!((matched > 0) != NEVER.contains(&field), "{field} matched {matched} times");
    }
    assert!(shown > lists / 5 && shown < lists * 4 / 5, "{shown} of {lists} were shown");
}

#[test]
fn that_records_are_missing_is_always_shown() {
    let mut runner = TestRunner::deterministic();
    let lost = testing::lost_record().new_tree(&mut runner).unwrap().current();
    let flow = Flow { number: 1, time: lost.last, headers: Headers::default(), record: Record::Lost(Box::new(lost)) };
    let nothing = [filter(json!({"dns_query": ["."]}))];
    let everything = [FlowFilter::default()];
    assert!(Filters::new(&nothing, &everything, &node()).unwrap().matches(&flow));
}

#[test]
fn a_filter_without_fields_matches_everything() {
    let mut runner = TestRunner::deterministic();
    let strategy = testing::http_record();
    let record = Record::Request(strategy.new_tree(&mut runner).unwrap().current());
    let flow = Flow { number: 1, time: record.time(), headers: Headers::default(), record };
    let everything = [FlowFilter::default()];
    assert!(Filters::new(&[], &[], &node()).unwrap().matches(&flow));
    assert!(Filters::new(&everything, &[], &node()).unwrap().matches(&flow));
    assert!(!Filters::new(&[], &everything, &node()).unwrap().matches(&flow));
}
