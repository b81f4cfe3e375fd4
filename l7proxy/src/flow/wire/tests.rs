//! What is encoded says what the JSON line of the same flow says: both are read by others, and compared field by field.

#![expect(deprecated, reason = "Hubble's programs read these fields")]

use std::collections::BTreeMap;

use hubble_api::flow as api;
use proptest::prelude::*;
use prost::Message;
use prost_types::{Struct, value::Kind};
use serde_json::{Map, Value, json};

use super::*;
use crate::flow::{json::Formatter, testing};

fn names() -> NodeNames {
    NodeNames { cluster: "c\"".to_owned(), node: "n".to_owned(), labels: vec!["zone=a".to_owned(), String::new()] }
}

/// An object of those that are not the default, as protojson writes it.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let is_default = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(value) => value.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(_) => false,
    };
    let kept = fields.into_iter().filter(|(_, value)| !is_default(value));
    Value::Object(kept.map(|(name, value)| (name.to_owned(), value)).collect())
}

fn time(time: Option<&prost_types::Timestamp>) -> Value {
    let time = time.unwrap();
    let since = std::time::Duration::new(time.seconds.try_into().unwrap(), time.nanos.try_into().unwrap());
    json!(testing::shown_time(SystemTime::UNIX_EPOCH + since))
}

fn endpoint(endpoint: Option<&api::Endpoint>) -> Value {
    let endpoint = endpoint.unwrap();
    let workloads = endpoint.workloads.iter().map(|workload| json!({"name": workload.name, "kind": workload.kind}));
    object([
        ("ID", json!(endpoint.id)),
        ("identity", json!(endpoint.identity)),
        ("cluster_name", json!(endpoint.cluster_name)),
        ("namespace", json!(endpoint.namespace)),
        ("labels", json!(endpoint.labels)),
        ("pod_name", json!(endpoint.pod_name)),
        ("workloads", workloads.collect()),
    ])
}

fn service(service: Option<&api::Service>) -> Value {
    service.map_or(Value::Null, |service| json!({"name": service.name, "namespace": service.namespace}))
}

fn policies(policies: &[api::Policy]) -> Value {
    let shown = policies.iter().map(|policy| {
        let mut shown = object([("namespace", json!(policy.namespace))]);
        shown["name"] = json!(policy.name);
        shown["labels"] = json!(policy.labels);
        shown["revision"] = json!(policy.revision.to_string());
        shown["kind"] = json!(policy.kind);
        shown
    });
    shown.collect()
}

fn layer4(layer4: Option<&api::Layer4>) -> Value {
    use api::layer4::Protocol;
    let ports = |source: u32, destination: u32| {
        object([("source_port", json!(source)), ("destination_port", json!(destination))])
    };
    let icmp = |kind: u32, code: u32| object([("type", json!(kind)), ("code", json!(code))]);
    match layer4.and_then(|layer4| layer4.protocol.as_ref()) {
        None => Value::Null,
        Some(Protocol::Tcp(tcp)) => {
            let mut shown = ports(tcp.source_port, tcp.destination_port);
            if let Some(flags) = tcp.flags {
                shown["flags"] = set(&flags);
            }
            json!({"TCP": shown})
        }
        Some(Protocol::Udp(udp)) => json!({"UDP": ports(udp.source_port, udp.destination_port)}),
        Some(Protocol::Sctp(sctp)) => json!({"SCTP": ports(sctp.source_port, sctp.destination_port)}),
        Some(Protocol::IcmPv4(message)) => json!({"ICMPv4": icmp(message.r#type, message.code)}),
        Some(Protocol::IcmPv6(message)) => json!({"ICMPv6": icmp(message.r#type, message.code)}),
        Some(other) => panic!("{other:?}"),
    }
}

fn set(flags: &api::TcpFlags) -> Value {
    let api::TcpFlags { fin, syn, rst, psh, ack, urg, ece, cwr, ns } = *flags;
    let flags = [fin, syn, rst, psh, ack, urg, ece, cwr, ns].map(Value::Bool);
    let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "NS"];
    let set = names.into_iter().zip(flags).filter(|(_, flag)| *flag == json!(true));
    Value::Object(set.map(|(name, flag)| (name.to_owned(), flag)).collect())
}

fn layer7(layer7: Option<&api::Layer7>) -> Value {
    let Some(layer7) = layer7 else { return Value::Null };
    let Some(api::layer7::Record::Http(http)) = &layer7.record else { panic!("{layer7:?}") };
    let headers =
        http.headers.iter().map(|header| object([("key", json!(header.key)), ("value", json!(header.value))]));
    let mut shown = object([("code", json!(http.code)), ("headers", headers.collect())]);
    for (name, value) in [("method", &http.method), ("url", &http.url), ("protocol", &http.protocol)] {
        shown[name] = json!(value);
    }
    let is_reply = layer7.r#type() == api::L7FlowType::Response;
    let latency = if is_reply { json!(layer7.latency_ns.to_string()) } else { Value::Null };
    let mut all = object([("type", json!(layer7.r#type().as_str_name())), ("http", shown)]);
    if is_reply {
        all["latency_ns"] = latency;
    }
    all
}

fn value(value: &prost_types::Value) -> Value {
    match value.kind.as_ref().unwrap() {
        Kind::NumberValue(number) => json!(number),
        Kind::StringValue(text) => json!(text),
        Kind::StructValue(fields) => structure(&fields.fields),
        Kind::ListValue(list) => list.values.iter().map(self::value).collect(),
        other @ (Kind::NullValue(_) | Kind::BoolValue(_)) => panic!("{other:?}"),
    }
}

fn structure(fields: &BTreeMap<String, prost_types::Value>) -> Value {
    Value::Object(fields.iter().map(|(name, field)| (name.clone(), value(field))).collect::<Map<_, _>>())
}

fn extension(any: Option<&prost_types::Any>) -> Value {
    let any = any.unwrap();
    json!({"@type": any.type_url, "value": structure(&Struct::decode(&*any.value).unwrap().fields)})
}

/// Numbers of 64 bits are doubles in our extension.
fn rounded(value: &mut Value) {
    match value {
        Value::Number(number) => *value = json!(number.as_f64()),
        Value::Array(values) => values.iter_mut().for_each(rounded),
        Value::Object(fields) => fields.values_mut().for_each(rounded),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// A message as protojson writes it.
fn shown(flow: &api::Flow) -> Value {
    let ip = flow.ip.as_ref().unwrap();
    let event = flow.event_type.as_ref().unwrap();
    let reason = if flow.drop_reason_desc == 0 { Value::Null } else { json!(flow.drop_reason_desc().as_str_name()) };
    let trace = flow
        .trace_context
        .as_ref()
        .map(|trace| json!({"parent": {"trace_id": trace.parent.as_ref().unwrap().trace_id}}));
    let emitter = flow.emitter.as_ref().unwrap();
    let mut all = object([
        ("l4", layer4(flow.l4.as_ref())),
        ("source_service", service(flow.source_service.as_ref())),
        ("destination_service", service(flow.destination_service.as_ref())),
        ("source_names", json!(flow.source_names)),
        ("destination_names", json!(flow.destination_names)),
        ("l7", layer7(flow.l7.as_ref())),
        ("drop_reason", json!(flow.drop_reason)),
        ("drop_reason_desc", reason),
        ("reply", json!(flow.reply)),
        ("trace_context", trace.unwrap_or_default()),
        ("egress_allowed_by", policies(&flow.egress_allowed_by)),
        ("ingress_allowed_by", policies(&flow.ingress_allowed_by)),
        ("egress_denied_by", policies(&flow.egress_denied_by)),
        ("ingress_denied_by", policies(&flow.ingress_denied_by)),
        ("policy_log", json!(flow.policy_log)),
        ("policy_match_type", json!(flow.policy_match_type)),
    ]);
    if let Some(is_reply) = flow.is_reply {
        all["is_reply"] = json!(is_reply);
    }
    if flow.trace_observation_point != 0 {
        all["trace_observation_point"] = json!(flow.trace_observation_point().as_str_name());
    }
    all["event_type"] = object([("type", json!(event.r#type)), ("sub_type", json!(event.sub_type))]);
    all["time"] = time(flow.time.as_ref());
    all["uuid"] = json!(flow.uuid);
    all["verdict"] = json!(flow.verdict().as_str_name());
    all["IP"] = json!({"source": ip.source, "destination": ip.destination, "ipVersion": ip.ip_version().as_str_name()});
    all["source"] = endpoint(flow.source.as_ref());
    all["destination"] = endpoint(flow.destination.as_ref());
    all["Type"] = json!(flow.r#type().as_str_name());
    all["node_name"] = json!(flow.node_name);
    all["node_labels"] = json!(flow.node_labels);
    all["traffic_direction"] = json!(flow.traffic_direction().as_str_name());
    all["Summary"] = json!(flow.summary);
    all["emitter"] = json!({"name": emitter.name, "version": emitter.version});
    all["extensions"] = extension(flow.extensions.as_ref());
    all
}

proptest! {
    #[test]
    fn what_is_encoded_says_what_the_line_says(flows in prop::collection::vec(testing::flow(), 1..8)) {
        let (mut formatter, mut encoder) = (Formatter::new(&names(), &[]).unwrap(), Encoder::new(&names(), None));
        for flow in flows.iter().chain(&flows) {
            let (mut line, mut bytes) = (Vec::new(), Vec::new());
            formatter.flow(flow, &mut line);
            encoder.flow(flow, &mut bytes);
            let line: Value = serde_json::from_slice(&line).unwrap();
            if let Record::Lost(lost) = &flow.record {
                prop_assert!(bytes.is_empty());
                lost_event(lost, &mut bytes);
                let event = api::LostEvent::decode(&*bytes).unwrap();
                let line = &line["lost_events"];
                prop_assert_eq!(&line["source"], event.source().as_str_name());
                prop_assert_eq!(&line["num_events_lost"], &event.num_events_lost.to_string());
                prop_assert_eq!(&line["first"], &time(event.first.as_ref()));
                prop_assert_eq!(&line["last"], &time(event.last.as_ref()));
                continue;
            }
            let mut line = line["flow"].clone();
            rounded(&mut line["extensions"]);
            prop_assert_eq!(shown(&api::Flow::decode(&*bytes).unwrap()), line);
        }
    }
}

#[test]
fn a_length_takes_as_many_bytes_as_it_needs() {
    for length in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
        let content: Vec<u8> = (0..length).map(|at: u32| at.to_le_bytes()[0]).collect();
        let mut out = b"before".to_vec();
        delimited(&mut out, |out| out.extend_from_slice(&content));
        let mut rest = out.strip_prefix(b"before").unwrap();
        assert_eq!(prost::encoding::decode_varint(&mut rest).unwrap(), u64::from(length));
        assert!(rest == content, "{length} bytes are others");
        assert_eq!(out.len(), 6 + prost::encoding::encoded_len_varint(length.into()) + content.len());
    }
}

proptest! {
    /// What is left out early is what the mask leaves out.
    #[test]
    fn a_mask_is_kept_to_the_byte(
        flows in prop::collection::vec(testing::flow(), 1..6),
        paths in prop::collection::vec(prop::sample::select(&PATHS[..]), 1..6),
    ) {
        let paths: Vec<String> = paths.into_iter().map(str::to_owned).collect();
        let mask = Mask::new(&paths).unwrap();
        let (mut whole, mut masked) = (Encoder::new(&names(), None), Encoder::new(&names(), Some(mask.clone())));
        for flow in flows.iter().chain(&flows) {
            let (mut all, mut wanted, mut found) = (Vec::new(), Vec::new(), Vec::new());
            whole.flow(flow, &mut all);
            mask.apply(&all, &mut wanted);
            masked.flow(flow, &mut found);
            prop_assert_eq!(found, wanted);
        }
    }
}

const PATHS: [&str; 21] = [
    "time",
    "verdict",
    "IP",
    "l4",
    "source",
    "source.identity",
    "source.labels",
    "destination.pod_name",
    "destination.namespace",
    "destination",
    "l7.http.method",
    "l7",
    "uuid",
    "node_name",
    "node_labels",
    "emitter.name",
    "Summary",
    "extensions",
    "egress_denied_by",
    "source_service",
    "destination_names",
];
