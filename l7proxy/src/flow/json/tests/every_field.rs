//! Lines of any requests, one after another by one formatter, are read by another's reader and compared field by field with
//! what the records say.

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::flow::{HttpInfo, RawHeaders, testing};

/// What of the record before the next one has too: as requests of one connection, by one rule, of one revision or another.
#[derive(Clone, Copy, Debug)]
struct Kept {
    ends: bool,
    peers: bool,
    verdict: bool,
}

fn kept() -> BoxedStrategy<Kept> {
    any::<[bool; 3]>().prop_map(|[ends, peers, verdict]| Kept { ends, peers, verdict }).boxed()
}

fn peer_of(peer: &Peer) -> Value {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value, default: bool| {
        if !default {
            fields.insert(name.to_owned(), value);
        }
    };
    set("identity", json!(peer.identity), peer.identity == 0);
    set("ID", json!(peer.id), peer.id == 0);
    set("cluster_name", json!(peer.cluster), peer.cluster.is_empty());
    set("namespace", json!(peer.namespace), peer.namespace.is_empty());
    set("pod_name", json!(peer.pod), peer.pod.is_empty());
    set("labels", json!(peer.labels), peer.labels.is_empty());
    if let Some((kind, name)) = &peer.workload {
        set("workloads", json!([{"name": name, "kind": kind}]), false);
    }
    Value::Object(fields)
}

fn ports_of(source: u16, destination: u16) -> Value {
    let mut fields = Map::new();
    for (name, port) in [("source_port", source), ("destination_port", destination)] {
        if port != 0 {
            fields.insert(name.to_owned(), port.into());
        }
    }
    Value::Object(fields)
}

fn rule_of(rule: &RuleRef) -> Value {
    json!({"policy": rule.policy.to_string(), "rule": rule.rule, "summary": rule.summary})
}

/// What `verdict` adds: to the flow, to its extension.
fn verdict_of(record: &HttpRecord, is_reply: bool, flow: &mut Value, extension: &mut Value) {
    let direction = match record.asked.ends.direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    };
    let (name, verb, policies, rule, tier, nearest) = match &record.verdict {
        // Who allowed it stands in the request's line.
        Verdict::Forwarded(_) if is_reply => ("FORWARDED", "allowed", Vec::new(), None, None, None),
        Verdict::Forwarded(rule) => {
            let policies = rule.iter().map(|rule| Arc::clone(&rule.policy)).collect();
            ("FORWARDED", "allowed", policies, rule.as_ref(), None, None)
        }
        Verdict::Dropped { denial, .. } | Verdict::Audited(denial) => {
            let name = if let Verdict::Audited(_) = record.verdict { "AUDIT" } else { "DROPPED" };
            let Denial { denied_by, rule, tier, nearest, .. } = &**denial;
            (name, "denied", denied_by.to_vec(), rule.as_ref(), tier.as_ref(), nearest.as_ref())
        }
        Verdict::Error => ("ERROR", "", Vec::new(), None, None, None),
    };
    flow["verdict"] = name.into();
    if let Verdict::Dropped { reason, .. } = record.verdict {
        let (number, name) = reason.hubble();
        if number != 0 {
            flow["drop_reason"] = number.into();
            flow["drop_reason_desc"] = name.into();
        }
    }
    if !policies.is_empty() {
        let named = policies.iter().map(|policy| {
            let (revision, kind) = (record.revision.to_string(), policy.kind.to_string());
            let label = |key: &str, value: &str| format!("k8s:io.cilium.k8s.policy.{key}={value}");
            let mut labels = vec![label("derived-from", &kind), label("name", &policy.name)];
            let mut named = json!({"name": policy.name, "revision": revision, "kind": kind});
            if !policy.namespace.is_empty() {
                named["namespace"] = policy.namespace.clone().into();
                labels.push(label("namespace", &policy.namespace));
            }
            named["labels"] = labels.into();
            named
        });
        flow[format!("{direction}_{verb}_by")] = named.collect();
    }
    if let Some(rule) = rule {
        extension.as_object_mut().unwrap().extend(rule_of(rule).as_object().unwrap().clone());
        if let Some(log) = &rule.log {
            flow["policy_log"] = json!([**log]);
        }
    }
    if let Some(tier) = tier {
        extension["tier"] = json!(**tier);
    }
    if let Some(nearest) = nearest {
        extension["nearest"] = rule_of(&nearest.rule);
        extension["nearest"]["field"] = nearest.field.clone().into();
        extension["nearest"]["expected"] = nearest.expected.clone().into();
    }
}

fn notes_of(notes: Option<&HeaderNotes>, extension: &mut Value) {
    let Some(notes) = notes else { return };
    for (field, notes) in [("missingHeaders", &notes.missing), ("rejectedHeaders", &notes.rejected)] {
        if !notes.is_empty() {
            extension[field] = notes.iter().map(|note| json!({"name": note.name, "value": note.value})).collect();
        }
    }
}

/// The whole line as it must be; its id is any.
fn wanted(record: &HttpRecord, is_reply: bool, id: &Value) -> Value {
    let Ends { direction, source, destination } = &*record.asked.ends;
    let (from, to) = if is_reply { (destination, source) } else { (source, destination) };
    let (from_ip, to_ip) = (from.1.ip().to_canonical(), to.1.ip().to_canonical());
    let http = &record.asked.http;
    let mut l7 = json!({
        "type": if is_reply { "RESPONSE" } else { "REQUEST" },
        "http": {"method": http.method, "url": http.url, "protocol": http.protocol},
    });
    let mut summary = format!("{} {} {}", http.protocol, http.method, http.url);
    if is_reply {
        l7["latency_ns"] = record.latency_ns.to_string().into();
        let millis = record.latency_ns / 1_000_000;
        summary = format!("{} {} {millis}ms ({} {})", http.protocol, record.code, http.method, http.url);
    }
    if record.code != 0 {
        l7["http"]["code"] = record.code.into();
    }
    let time = testing::shown_time(record.time);
    let version = if to_ip.is_ipv4() { "IPv4" } else { "IPv6" };
    let mut flow = json!({
        "time": time,
        "uuid": id,
        "IP": {"source": from_ip.to_string(), "destination": to_ip.to_string(), "ipVersion": version},
        "l4": {"TCP": ports_of(from.1.port(), to.1.port())},
        "source": peer_of(&from.0),
        "destination": peer_of(&to.0),
        "Type": "L7",
        "node_name": "c\"/n",
        "l7": l7,
        "event_type": {"type": 129},
        "traffic_direction": direction.to_string(),
        "is_reply": is_reply,
        "Summary": summary,
        "emitter": {"name": "L7proxy", "version": env!("CARGO_PKG_VERSION")},
    });
    if is_reply {
        flow["reply"] = true.into();
    }
    for (field, peer) in [("source_names", &from.0), ("destination_names", &to.0)] {
        if !peer.names.is_empty() {
            flow[field] = json!(peer.names);
        }
    }
    for (field, peer) in [("source_service", &from.0), ("destination_service", &to.0)] {
        if let Some(service) = &peer.service {
            flow[field] = json!({"name": service.name, "namespace": service.namespace});
        }
    }
    if let Some(trace) = &http.trace {
        flow["trace_context"] = json!({"parent": {"trace_id": trace}});
    }
    let mut extension = json!({"policyRevision": record.revision});
    if !record.reason.is_empty() {
        extension["reason"] = record.reason.into();
    }
    verdict_of(record, is_reply, &mut flow, &mut extension);
    notes_of(record.notes.as_deref(), &mut extension);
    flow["extensions"] = json!({"@type": "type.googleapis.com/google.protobuf.Struct", "value": extension});
    json!({"flow": flow, "node_name": "c\"/n", "time": time})
}

proptest! {
    #[test]
    fn each_line_says_what_its_record_says(
        records in prop::collection::vec((testing::http_record(), kept(), any::<bool>()), 1..8),
    ) {
        let mut formatter = Formatter::new(&names("c\""), &[]).unwrap();
        // Each value lives until the line after the next: then its place in memory is another's.
        let mut before: Option<HttpRecord> = None;
        for (mut record, kept, is_reply) in records {
            if let Some(before) = before.take() {
                let Ends { direction, source, destination } = &*record.asked.ends;
                let mut ends = Arc::clone(&before.asked.ends);
                if kept.peers {
                    ends = Arc::new(Ends {
                        direction: *direction,
                        source: (Arc::clone(&before.asked.ends.destination.0), source.1),
                        destination: (Arc::clone(&before.asked.ends.source.0), destination.1),
                    });
                }
                if kept.ends || kept.peers {
                    record.asked = asked(ends, record.asked.http.clone());
                }
                if kept.verdict {
                    record.verdict = before.verdict.clone();
                }
            }
            let mut out = Vec::new();
            let line = if is_reply { Record::Response(record) } else { Record::Request(record) };
            let line = flow(line);
            formatter.flow(&line, &mut out);
            let (Record::Response(record) | Record::Request(record)) = line.record else { unreachable!() };
            prop_assert_eq!(out.iter().filter(|byte| byte.is_ascii_control()).count(), 1, "the end of the line");
            let found: Value = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(&found, &wanted(&record, is_reply, &found["flow"]["uuid"]));
            before = Some(record);
        }
    }
}

proptest! {
    /// Whatever the kind and the protocol.
    #[test]
    fn each_flow_is_one_line_of_json(flows in prop::collection::vec(testing::flow(), 1..8)) {
        let mut formatter = Formatter::new(&names("c\""), &[]).unwrap();
        for flow in flows {
            let mut out = Vec::new();
            formatter.flow(&flow, &mut out);
            prop_assert_eq!(out.iter().filter(|byte| byte.is_ascii_control()).count(), 1, "the end of the line");
            let found: Value = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(&found["node_name"], "c\"/n");
        }
    }
}

#[test]
fn who_comes_to_live_where_another_one_did_is_written_as_itself() {
    let mut formatter = Formatter::new(&names("c\""), &[]).unwrap();
    for number in 0..2000_u32 {
        let named = |name: &str| format!("{name}-{number}");
        let peer = |name: &str| Arc::new(Peer { identity: number, pod: named(name), ..Peer::default() });
        let policy = PolicyKey { kind: rules::Kind::CiliumNetworkPolicy, namespace: "d".to_owned(), name: named("p") };
        let rule = RuleRef {
            policy: Arc::new(policy),
            rule: named("r"),
            summary: named("s"),
            log: None,
            matches: MatchType::None,
        };
        let ends = Ends {
            direction: Direction::Ingress,
            source: (peer("a"), "10.0.0.1:1".parse().unwrap()),
            destination: (peer("b"), "10.0.0.2:2".parse().unwrap()),
        };
        let info = HttpInfo {
            method: "GET".into(),
            url: named("http://"),
            protocol: "HTTP/2",
            trace: None,
            headers: RawHeaders::default(),
        };
        let record = HttpRecord {
            asked: asked(Arc::new(ends), info),
            verdict: Verdict::Forwarded(Some(Arc::new(rule))),
            ..http(Verdict::Error, 0, "http://b/")
        };
        let mut out = Vec::new();
        let line = flow(Record::Request(record));
        formatter.flow(&line, &mut out);
        let Record::Request(record) = line.record else { unreachable!() };
        let found: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(found, wanted(&record, false, &found["flow"]["uuid"]));
    }
}
