//! Lines of any requests, one after another by one formatter, are read by another's reader and compared field by field with
//! what the records say.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::{
    endpoint::{End, ServicePeer},
    flow::{HttpInfo, RawHeaders},
};

fn word() -> BoxedStrategy<String> {
    prop_oneof![Just(String::new()), "[a-z0-9-]{1,8}", any::<String>(), Just("\u{1b}[0m\"\\\n\u{9b}é".to_owned())]
        .boxed()
}

fn peer() -> BoxedStrategy<Peer> {
    let service = (word(), word()).prop_map(|(namespace, name)| {
        Box::new(ServicePeer { namespace, name, ports: Vec::new(), backends: Vec::new() })
    });
    let names = (word(), word(), word(), prop::collection::vec(word(), 0..3));
    let numbers = (any::<u32>(), prop_oneof![Just(0), any::<u32>()]);
    let rest = (prop::option::of((word(), word())), prop::option::of(service));
    (numbers, names, rest)
        .prop_map(|((identity, id), (cluster, namespace, pod, labels), (workload, service))| Peer {
            identity,
            id,
            cluster,
            namespace,
            pod,
            labels,
            workload,
            service,
        })
        .boxed()
}

fn end() -> BoxedStrategy<End> {
    let address = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u16; 8]>().prop_map(IpAddr::from),
        any::<[u8; 4]>().prop_map(|octets| std::net::Ipv4Addr::from(octets).to_ipv6_mapped().into()),
    ];
    (peer(), address, prop_oneof![Just(0), any::<u16>()])
        .prop_map(|(peer, address, port)| (Arc::new(peer), SocketAddr::new(address, port)))
        .boxed()
}

fn ends() -> BoxedStrategy<Arc<Ends>> {
    let direction = prop_oneof![Just(Direction::Ingress), Just(Direction::Egress)];
    (direction, end(), end())
        .prop_map(|(direction, source, destination)| Arc::new(Ends { direction, source, destination }))
        .boxed()
}

fn policy() -> BoxedStrategy<Arc<PolicyKey>> {
    let kind = prop_oneof![Just(rules::Kind::CiliumNetworkPolicy), Just(rules::Kind::GlobalNetworkPolicy)];
    (kind, word(), word()).prop_map(|(kind, namespace, name)| Arc::new(PolicyKey { kind, namespace, name })).boxed()
}

fn rule() -> BoxedStrategy<Arc<RuleRef>> {
    (policy(), word(), word(), prop::option::of(word()))
        .prop_map(|(policy, rule, summary, log)| Arc::new(RuleRef { policy, rule, summary, log: log.map(Arc::from) }))
        .boxed()
}

fn verdict() -> BoxedStrategy<Verdict> {
    let nearest = (rule(), word(), word()).prop_map(|(rule, field, expected)| Nearest { rule, field, expected });
    let tier = prop::option::of(word().prop_map(Arc::<str>::from));
    let denial = (
        prop::collection::vec(policy(), 0..3).prop_map(Arc::<[_]>::from),
        prop::option::of(rule()),
        tier,
        prop::option::of(nearest),
    );
    let refused = (denial, any::<bool>()).prop_map(|((denied_by, rule, tier, nearest), audited)| {
        let denial = Box::new(Denial { denied_by, rule, tier, nearest, notes: None });
        if audited { Verdict::Audited(denial) } else { Verdict::Dropped { reason: DropReason::PolicyDeny, denial } }
    });
    prop_oneof![prop::option::of(rule()).prop_map(Verdict::Forwarded), refused, Just(Verdict::Error)].boxed()
}

fn info() -> BoxedStrategy<HttpInfo> {
    let trace = prop::option::of("[0-9a-f]{32}");
    (word(), word(), trace)
        .prop_map(|(method, url, trace)| HttpInfo {
            method: method.into(),
            url,
            protocol: "HTTP/1.1",
            trace,
            headers: RawHeaders::default(),
        })
        .boxed()
}

fn notes() -> BoxedStrategy<Option<Arc<HeaderNotes>>> {
    let note = || (word(), word()).prop_map(|(name, value)| HeaderNote { name, value });
    let notes = (prop::collection::vec(note(), 0..3), prop::collection::vec(note(), 0..3))
        .prop_map(|(missing, rejected)| Arc::new(HeaderNotes { missing, rejected }));
    prop::option::of(notes).boxed()
}

fn record() -> BoxedStrategy<HttpRecord> {
    let time = (0_u64..3, 0_u32..1_000_000_000)
        .prop_map(|(second, nanos)| SystemTime::UNIX_EPOCH + Duration::new(1_800_000_000 + second, nanos));
    let numbers = (0_u16..1000, any::<u64>(), 0_u64..3, prop_oneof![Just(""), Just("no-rule")]);
    (time, ends(), info(), verdict(), numbers, notes())
        .prop_map(|(time, ends, http, verdict, (code, latency_ns, revision, reason), notes)| HttpRecord {
            time,
            asked: asked(ends, http),
            verdict,
            code,
            latency_ns,
            reason,
            answer: RawHeaders::default(),
            notes,
            revision,
        })
        .boxed()
}

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
    set("identity", json!(peer.identity), false);
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
fn verdict_of(record: &HttpRecord, flow: &mut Value, extension: &mut Value) {
    let direction = match record.asked.ends.direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    };
    let (name, verb, policies, rule, tier, nearest) = match &record.verdict {
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
    if let Verdict::Dropped { .. } = record.verdict {
        flow["drop_reason"] = 181.into();
        flow["drop_reason_desc"] = "POLICY_DENY".into();
    }
    if !policies.is_empty() {
        let named = policies.iter().map(|policy| {
            let (revision, kind) = (record.revision.to_string(), policy.kind.to_string());
            let mut named = json!({"name": policy.name, "revision": revision, "kind": kind});
            if !policy.namespace.is_empty() {
                named["namespace"] = policy.namespace.clone().into();
            }
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
    let time = humantime::format_rfc3339_nanos(record.time).to_string();
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
        "reply": is_reply,
        "event_type": {"type": 129},
        "traffic_direction": direction.to_string(),
        "is_reply": is_reply,
        "Summary": summary,
        "emitter": {"name": "L7proxy", "version": env!("CARGO_PKG_VERSION")},
    });
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
    verdict_of(record, &mut flow, &mut extension);
    notes_of(record.notes.as_deref(), &mut extension);
    flow["extensions"] = json!({"@type": "type.googleapis.com/google.protobuf.Struct", "value": extension});
    json!({"flow": flow, "node_name": "c\"/n", "time": time})
}

proptest! {
    #[test]
    fn each_line_says_what_its_record_says(
        records in prop::collection::vec((record(), kept(), any::<bool>()), 1..8),
    ) {
        let mut formatter = Formatter::new("c\"", "n").unwrap();
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
            formatter.record(&line, &mut out);
            let (Record::Response(record) | Record::Request(record)) = line else { unreachable!() };
            prop_assert_eq!(out.iter().filter(|byte| byte.is_ascii_control()).count(), 1, "the end of the line");
            let found: Value = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(&found, &wanted(&record, is_reply, &found["flow"]["uuid"]));
            before = Some(record);
        }
    }
}

#[test]
fn who_comes_to_live_where_another_one_did_is_written_as_itself() {
    let mut formatter = Formatter::new("c\"", "n").unwrap();
    for number in 0..2000_u32 {
        let named = |name: &str| format!("{name}-{number}");
        let peer = |name: &str| Arc::new(Peer { identity: number, pod: named(name), ..Peer::default() });
        let policy = PolicyKey { kind: rules::Kind::CiliumNetworkPolicy, namespace: "d".to_owned(), name: named("p") };
        let rule = RuleRef { policy: Arc::new(policy), rule: named("r"), summary: named("s"), log: None };
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
        let line = Record::Request(record);
        formatter.record(&line, &mut out);
        let Record::Request(record) = line else { unreachable!() };
        let found: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(found, wanted(&record, false, &found["flow"]["uuid"]));
    }
}
