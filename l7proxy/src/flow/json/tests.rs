use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rules::{Denial, Direction, HeaderNote, HeaderNotes, MatchType, Nearest};
use serde_json::Value;

use super::*;
use crate::flow::{
    Capture, ConnectionEnd, Headers, HttpInfo, HttpRecord, Process, RawHeaders, Redaction, Verdict, testing::asked,
};

mod every_field;

fn key() -> Arc<PolicyKey> {
    Arc::new(PolicyKey {
        kind: rules::Kind::CiliumNetworkPolicy,
        namespace: "default".to_owned(),
        name: "p".to_owned(),
    })
}

fn ends() -> Arc<Ends> {
    let peer = |pod: &str, identity| Peer {
        identity,
        namespace: "default".to_owned(),
        pod: pod.to_owned(),
        labels: vec![format!("k8s:app={pod}")],
        ..Peer::default()
    };
    Arc::new(Ends {
        direction: Direction::Egress,
        source: (Arc::new(peer("a", 256)), "10.0.0.1:4000".parse().unwrap()),
        destination: (Arc::new(peer("b", 257)), "10.0.0.2:80".parse().unwrap()),
    })
}

fn names(cluster: &str) -> NodeNames {
    NodeNames { cluster: cluster.to_owned(), node: "n".to_owned(), labels: Vec::new() }
}

fn flow(record: Record) -> Flow {
    Flow { number: 1, time: record.time(), headers: Headers::default(), record }
}

fn line(record: Record) -> Value {
    let mut out = Vec::new();
    Formatter::new(&names("c"), &[]).unwrap().flow(&flow(record), &mut out);
    assert_eq!(out.last(), Some(&b'\n'));
    serde_json::from_slice(&out).unwrap()
}

fn http(verdict: Verdict, code: u16, url: &str) -> HttpRecord {
    HttpRecord {
        time: SystemTime::UNIX_EPOCH,
        asked: asked(
            ends(),
            HttpInfo {
                method: "GET".into(),
                url: url.to_owned(),
                protocol: "HTTP/1.1",
                trace: None,
                headers: RawHeaders::default(),
            },
        ),
        verdict,
        code,
        latency_ns: 2_500_000,
        reason: "no-rule",
        answer: RawHeaders::default(),
        notes: None,
        revision: 7,
    }
}

fn dropped(tier: Option<Arc<str>>) -> Verdict {
    let rule = RuleRef {
        policy: key(),
        rule: "egress[0]".to_owned(),
        summary: "GET /x".to_owned(),
        log: None,
        matches: MatchType::None,
    };
    let nearest = Nearest { rule: Arc::new(rule), field: "path".to_owned(), expected: "/x".to_owned() };
    let denial = Denial { denied_by: [key()].into(), tier, nearest: Some(nearest), ..Denial::default() };
    Verdict::Dropped { reason: DropReason::PolicyDenied, denial: Box::new(denial) }
}

#[test]
fn a_denied_request_says_who_what_and_why() {
    let event = line(Record::Request(http(dropped(None), 0, "http://b/y")));
    let flow = &event["flow"];
    assert_eq!(flow["verdict"], "DROPPED");
    assert_eq!((flow["drop_reason"].as_u64(), flow["drop_reason_desc"].as_str()), (Some(133), Some("POLICY_DENIED")));
    assert_eq!(flow["IP"]["source"], "10.0.0.1");
    assert_eq!(flow["l4"]["TCP"]["destination_port"], 80);
    assert_eq!(flow["source"]["pod_name"], "a");
    assert_eq!(flow["egress_denied_by"][0]["name"], "p");
    assert_eq!(flow["egress_denied_by"][0]["revision"], "7");
    assert_eq!(flow["extensions"]["value"]["nearest"]["field"], "path");
    assert_eq!(flow["extensions"]["value"]["reason"], "no-rule");
    assert!(flow["extensions"]["value"]["tier"].is_null());
    let by_tier = line(Record::Request(http(dropped(Some("platform".into())), 0, "http://b/y")));
    assert_eq!(by_tier["flow"]["extensions"]["value"]["tier"], "platform");
    assert_eq!(flow["Summary"], "HTTP/1.1 GET http://b/y");
    assert_eq!(flow["traffic_direction"], "EGRESS");
    assert_eq!(flow["event_type"]["type"], 129);
    assert_eq!(event["node_name"], "c/n");
}

#[test]
fn a_response_goes_the_other_way() {
    let flow = &line(Record::Response(http(Verdict::Forwarded(None), 200, "http://b/y")))["flow"];
    assert_eq!((flow["IP"]["source"].as_str(), flow["source"]["pod_name"].as_str()), (Some("10.0.0.2"), Some("b")));
    assert_eq!(flow["l4"]["TCP"]["source_port"], 80);
    assert_eq!(flow["traffic_direction"], "EGRESS", "not swapped");
    assert_eq!(flow["is_reply"], true);
    assert_eq!(flow["l7"]["latency_ns"], "2500000");
    assert_eq!(flow["Summary"], "HTTP/1.1 200 2ms (GET http://b/y)");
}

#[test]
fn what_an_attacker_writes_stays_text() {
    let url = "http://b/\u{1b}[31m\"}\n\u{9b}x\\";
    let mut out = Vec::new();
    Formatter::new(&names("c"), &[]).unwrap().flow(&flow(Record::Request(http(dropped(None), 0, url))), &mut out);
    let shown = String::from_utf8(out).unwrap();
    assert_eq!(shown.lines().count(), 1);
    assert!(!shown.contains(['\u{1b}', '\u{9b}']));
    let event: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(event["flow"]["l7"]["http"]["url"], url);
}

/// Hubble's reader gives up at 64 KiB.
#[test]
fn the_longest_line_is_read() {
    let quotes = |length| "\"".repeat(length);
    let fields: Vec<(String, String)> = (0..8).map(|number| (format!("x-{number}"), quotes(1000))).collect();
    let raw = Capture::default().fields(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
    let headers = Redaction::Of(Vec::new()).show(&raw, None);
    assert!(!headers.is_empty());
    let info = HttpInfo::of_bytes(
        &[b"GET ", &[1; 16 << 10][..], b" HTTP/1.1\r\n"].concat(),
        "1.1.1.1:1".parse().unwrap(),
        &Capture::default(),
    );
    for info in [info, HttpInfo { url: quotes(8 << 10), ..http(Verdict::Error, 0, "").asked.http.clone() }] {
        let record = HttpRecord { asked: asked(ends(), info), ..http(dropped(None), 0, "") };
        let mut out = Vec::new();
        let flow = Flow { headers: headers.clone(), ..flow(Record::Request(record)) };
        Formatter::new(&names("c"), &[]).unwrap().flow(&flow, &mut out);
        assert!(out.len() < 64 << 10, "{} bytes", out.len());
        serde_json::from_slice::<Value>(&out).unwrap();
    }
}

#[test]
fn ids_have_the_form_of_version_4() {
    let flow = &line(Record::Request(http(dropped(None), 0, "")))["flow"];
    let id = flow["uuid"].as_str().unwrap().to_owned();
    let lengths: Vec<usize> = id.split('-').map(str::len).collect();
    assert_eq!(lengths, [8, 4, 4, 4, 12]);
    assert_eq!(id.as_bytes()[14], b'4');
    assert!(b"89ab".contains(&id.as_bytes()[19]));
}

#[test]
fn a_refused_connection_names_the_process() {
    let ends = ends();
    let record = Box::new(DropRecord {
        rule: None,
        tier: Some("platform \"x\"".into()),
        audit: false,
        time: SystemTime::UNIX_EPOCH,
        direction: Direction::Egress,
        protocol: 6,
        source: ends.source.clone(),
        destination: ends.destination.clone(),
        denied_by: [key()].into(),
        nearest: None,
        process: Some(Process { pid: 42, command: "curl".to_owned() }),
        reason: DropReason::PolicyDenied,
        detail: "no-rule",
        flags: 0,
        backends: None,
        repeats: 0,
        revision: 7,
        is_verdict: false,
    });
    let flow = &line(Record::Drop(record))["flow"];
    assert_eq!(flow["Summary"], "TCP Flags: SYN; denied by CiliumNetworkPolicy default/p");
    assert!(flow["extensions"]["value"]["repeats"].is_null());
    assert_eq!(flow["Type"], "L3_L4");
    assert_eq!(flow["event_type"]["sub_type"], 133);
    assert_eq!(flow["extensions"]["value"]["process"]["command"], "curl");
    assert_eq!(flow["extensions"]["value"]["tier"], "platform \"x\"");
}

/// A packet with this protocol, and numbers in place of its ports.
fn packet(protocol: u8, source: u16, destination: u16, flags: u8) -> Value {
    let mut ends = (ends().source.clone(), ends().destination.clone());
    ends.0.1.set_port(source);
    ends.1.1.set_port(destination);
    line(Record::Drop(Box::new(DropRecord {
        rule: None,
        tier: None,
        audit: false,
        time: SystemTime::UNIX_EPOCH,
        direction: Direction::Egress,
        protocol,
        source: ends.0,
        destination: ends.1,
        denied_by: [key()].into(),
        nearest: None,
        process: None,
        reason: DropReason::PolicyDenied,
        detail: "backstop",
        flags,
        backends: None,
        repeats: 41,
        revision: 7,
        is_verdict: false,
    })))
}

#[test]
fn a_dropped_packet_shows_what_it_was() {
    let echo = &packet(1, 0, 8, 0)["flow"];
    assert_eq!(echo["l4"], serde_json::json!({"ICMPv4": {"type": 8}}), "as Hubble: zeros are left out");
    assert_eq!(echo["Summary"], "ICMPv4 EchoRequest; denied by CiliumNetworkPolicy default/p");
    assert_eq!(echo["extensions"]["value"]["repeats"], 41);
    let other = &packet(58, 3, 200, 0)["flow"];
    assert_eq!(other["l4"], serde_json::json!({"ICMPv6": {"type": 200, "code": 3}}));
    assert_eq!(other["Summary"], "ICMPv6 200(3); denied by CiliumNetworkPolicy default/p");
    let flags = &packet(6, 1, 2, 0b1_1000)["flow"];
    assert_eq!(flags["Summary"], "TCP Flags: ACK, PSH; denied by CiliumNetworkPolicy default/p");
    assert_eq!(flags["l4"]["TCP"]["flags"], serde_json::json!({"PSH": true, "ACK": true}));
    assert!(packet(17, 1, 2, 0b1_1000)["flow"]["l4"]["UDP"]["flags"].is_null());
    assert_eq!(packet(47, 0, 0, 0)["flow"]["Summary"], "IP protocol 47; denied by CiliumNetworkPolicy default/p");
}

#[test]
fn headers_that_rules_missed_or_rejected_are_named() {
    let note = |name: &str, value: &str| HeaderNote { name: name.to_owned(), value: value.to_owned() };
    let notes = HeaderNotes { missing: vec![note("x-a", "[redacted]"), note("x-b", "\"\n")], rejected: Vec::new() };
    let record = HttpRecord { notes: Some(Arc::new(notes)), ..http(Verdict::Forwarded(None), 0, "http://b/") };
    let extension = &line(Record::Request(record))["flow"]["extensions"]["value"];
    assert_eq!(extension["missingHeaders"][0]["value"], "[redacted]");
    assert_eq!(extension["missingHeaders"][1]["name"], "x-b");
    assert_eq!(extension["missingHeaders"][1]["value"], "\"\n");
    assert!(extension["rejectedHeaders"].is_null());
}

#[test]
fn a_connection_begins_and_ends() {
    let ends = || {
        let Ends { direction, source, destination } = Arc::try_unwrap(ends()).unwrap();
        Ends { direction, source, destination }
    };
    let rule = RuleRef {
        policy: key(),
        rule: "egress[0]".to_owned(),
        summary: "80/TCP".to_owned(),
        log: None,
        matches: MatchType::None,
    };
    let record = |end| {
        let (rule, process) = (Some(Arc::new(rule.clone())), Some(Process { pid: 7, command: "a".to_owned() }));
        line(Record::Connection(Box::new(ConnectionRecord {
            time: SystemTime::UNIX_EPOCH,
            ends: ends(),
            rule,
            process,
            allowed: None,
            end,
            revision: 7,
        })))
    };
    let begun = record(None);
    assert_eq!((&begun["flow"]["verdict"], &begun["flow"]["Type"]), (&"FORWARDED".into(), &"L3_L4".into()));
    assert_eq!(begun["flow"]["event_type"], serde_json::json!({"type": 4, "sub_type": 3}));
    assert_eq!(begun["flow"]["egress_allowed_by"][0]["name"], "p");
    assert_eq!(begun["flow"]["extensions"]["value"]["connection"], serde_json::json!({"state": "opened"}));
    assert_eq!(begun["flow"]["extensions"]["value"]["process"]["pid"], 7);
    let end = ConnectionEnd { lasted: Duration::from_millis(1500), sent: 5, received: 6 };
    let ended = record(Some(end));
    assert_eq!(
        ended["flow"]["extensions"]["value"]["connection"],
        serde_json::json!({"state": "ended", "durationMs": 1500, "bytesSent": 5, "bytesReceived": 6})
    );
}
