use std::{
    net::Ipv4Addr,
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use rules::{Denial, Direction, PolicyKey, RuleRef};

use super::*;
use crate::{
    endpoint::{End, Peer},
    flow::{
        Asked, ConnectionEnd, ConnectionRecord, DropReason, DropRecord, Ends, HttpInfo, HttpRecord, LostRecord,
        RawHeaders, Verdict,
    },
    metrics::Exposition,
};

mod caps;
mod contexts;

const EPOCH: SystemTime = SystemTime::UNIX_EPOCH;

fn pod(namespace: &str, workload: &str, address: [u8; 4]) -> End {
    let peer = Peer {
        identity: 1000,
        namespace: namespace.to_owned(),
        pod: format!("{workload}-1"),
        labels: vec![format!("k8s:app={workload}-app"), format!("k8s:io.kubernetes.pod.namespace={namespace}")],
        workload: Some(("Deployment".to_owned(), workload.to_owned())),
        names: vec!["b.example.com".to_owned(), format!("{workload}.example.com")],
        ..Peer::default()
    };
    (Arc::new(peer), (Ipv4Addr::from(address), 8080).into())
}

fn reserved(identity: u32, label: &str) -> End {
    let peer = Peer { identity, labels: vec![label.to_owned()], ..Peer::default() };
    (Arc::new(peer), (Ipv4Addr::new(192, 0, 2, 7), 443).into())
}

fn copy(end: &End) -> End {
    (Arc::clone(&end.0), end.1)
}

/// Who talks with whom.
struct Talk(Arc<Ends>);

impl Talk {
    /// From `shop/web` to `payments/api`.
    fn new(direction: Direction) -> Self {
        let (source, destination) = (pod("shop", "web", [10, 0, 0, 1]), pod("payments", "api", [10, 0, 0, 2]));
        Self(Arc::new(Ends { direction, source, destination }))
    }

    fn http(&self, method: &str, verdict: Verdict, code: u16, latency_ns: u64) -> HttpRecord {
        let http = HttpInfo {
            method: method.to_owned().into(),
            url: "http://api/secret/path".to_owned(),
            protocol: "HTTP/1.1",
            trace: None,
            headers: RawHeaders::default(),
        };
        let (started, ended) = (Instant::now(), AtomicBool::new(false));
        let asked = Arc::new(Asked { ends: Arc::clone(&self.0), http, time: EPOCH, started, ended });
        let (reason, answer, notes, revision) = ("", RawHeaders::default(), None, 1);
        HttpRecord { time: EPOCH, asked, verdict, code, latency_ns, reason, answer, notes, revision }
    }

    fn request(&self, method: &str, verdict: Verdict) -> Record {
        Record::Request(self.http(method, verdict, 0, 0))
    }

    fn response(&self, method: &str, code: u16, latency_ns: u64) -> Record {
        Record::Response(self.http(method, Verdict::Forwarded(None), code, latency_ns))
    }

    fn refusal(&self) -> DropRecord {
        DropRecord {
            time: EPOCH,
            direction: self.0.direction,
            protocol: 6,
            source: copy(&self.0.source),
            destination: copy(&self.0.destination),
            denied_by: Arc::from([]),
            rule: None,
            tier: None,
            nearest: None,
            audit: false,
            process: None,
            reason: DropReason::PolicyDenied,
            detail: "",
            flags: 0,
            backends: None,
            repeats: 0,
            revision: 1,
            is_verdict: false,
        }
    }

    fn connection(&self, is_end: bool) -> Record {
        let ends =
            Ends { direction: self.0.direction, source: copy(&self.0.source), destination: copy(&self.0.destination) };
        let end = is_end.then_some(ConnectionEnd { lasted: Duration::ZERO, sent: 0, received: 0 });
        Record::Connection(Box::new(ConnectionRecord {
            time: EPOCH,
            ends,
            rule: None,
            process: None,
            allowed: None,
            end,
            revision: 1,
        }))
    }
}

fn dropped(refusal: DropRecord) -> Record {
    Record::Drop(Box::new(refusal))
}

fn key(name: &str) -> Arc<PolicyKey> {
    let (namespace, name) = ("payments".to_owned(), name.to_owned());
    Arc::new(PolicyKey { kind: rules::Kind::CiliumNetworkPolicy, namespace, name })
}

fn rule(summary: &str) -> Arc<RuleRef> {
    let rule = "ingress[0].toPorts[0].rules.http[1]".to_owned();
    Arc::new(RuleRef {
        policy: key("api"),
        rule,
        summary: summary.to_owned(),
        log: None,
        matches: rules::MatchType::L4Only,
    })
}

fn denied(reason: DropReason) -> Verdict {
    let denied_by = [key("api"), key("other")].into();
    Verdict::Dropped { reason, denial: Box::new(Denial { denied_by, ..Denial::default() }) }
}

fn metrics(wanted: &[&str], series: usize) -> (Metrics, Arc<Counters>) {
    let wanted: Vec<FlowMetric> = wanted.iter().map(|text| FlowMetric::try_from((*text).to_owned()).unwrap()).collect();
    let counters = Arc::new(Counters::default());
    (Metrics::new(&wanted, series, &counters), counters)
}

fn text(metrics: &Metrics) -> String {
    let mut exposition = Exposition::default();
    exposition.add(metrics.source());
    exposition.text(Vec::new()).unwrap()
}

/// Every line of a metric but its comments.
fn lines(metrics: &Metrics, name: &str) -> Vec<String> {
    let (text, begin) = (text(metrics), format!("{name}{{"));
    text.lines().filter(|line| line.starts_with(&begin)).map(|line| line.trim_start_matches(name).to_owned()).collect()
}

/// What the records count in a metric.
fn counted(wanted: &str, name: &str, records: &[Record]) -> Vec<String> {
    let (mut metrics, _) = metrics(&[wanted], SERIES);
    for record in records {
        metrics.count(record);
    }
    lines(&metrics, name)
}

const ALL: [&str; 7] = ["flow", "drop", "httpV2", "policy", "tcp", "port-distribution", "flows-to-world:port"];

/// What Cilium 1.20.2 makes of the same flows by the same configuration, but for the metrics of ours.
#[test]
fn the_same_flows_make_the_same_text_as_hubbles() {
    let (mut metrics, _) = metrics(&ALL, SERIES);
    let (client, server) = (Talk::new(Direction::Egress), Talk::new(Direction::Ingress));
    metrics.count(&client.request("GET", Verdict::Forwarded(Some(rule("GET /a/.*")))));
    metrics.count(&client.response("GET", 200, 2_500_000));
    metrics.count(&client.request("POST", denied(DropReason::PolicyDenied)));
    metrics.count(&client.response("POST", 403, 0));
    metrics.count(&server.request("GET", Verdict::Audited(Box::default())));
    metrics.count(&Record::Response(server.http("GET", Verdict::Error, 502, 1_000_000_000)));
    let mut refusal = client.refusal();
    refusal.destination = reserved(2, "reserved:world");
    metrics.count(&dropped(refusal));
    metrics.count(&dropped(DropRecord { audit: true, ..server.refusal() }));
    metrics.count(&server.connection(false));
    metrics.count(&server.connection(true));
    metrics.count(&Record::Lost(Box::new(LostRecord {
        source: LostSource::ObserverEventsQueue,
        count: 3,
        first: EPOCH,
        last: EPOCH,
    })));
    assert_eq!(text(&metrics), include_str!("tests/golden.txt"));
}

#[test]
fn a_response_says_who_asked_for_it() {
    for (direction, reporter) in [(Direction::Egress, "client"), (Direction::Ingress, "server")] {
        let talk = Talk::new(direction);
        let records = [talk.request("GET", Verdict::Forwarded(None)), talk.response("GET", 404, 0)];
        let option = "labelsContext=source_workload,source_ip,destination_workload,traffic_direction";
        let found = counted(&format!("httpV2:{option}"), "hubble_http_requests_total", &records);
        let way = context::way(direction);
        let wanted = format!(
            "{{destination_workload=\"api\",method=\"GET\",protocol=\"HTTP/1.1\",reporter=\"{reporter}\",\
             source_ip=\"10.0.0.1\",source_workload=\"web\",status=\"404\",traffic_direction=\"{way}\"}} 1"
        );
        assert_eq!(found, [wanted], "the request alone is not counted, and its answer is not shown swapped");
        // As Hubble has it in the older metric: the answer's own source is the server.
        let option = "labelsContext=source_workload,destination_workload";
        let older = counted(&format!("http:{option}"), "hubble_http_responses_total", &records);
        assert!(older[0].starts_with("{destination_workload=\"web\",") && older.len() == 1, "{older:?}");
        let older = counted(&format!("http:{option}"), "hubble_http_requests_total", &records);
        assert!(older[0].starts_with("{destination_workload=\"api\",") && older.len() == 1, "{older:?}");
        assert!(!older[0].contains("status"), "{older:?}");
    }
}

#[test]
fn requests_are_counted_by_the_rule_that_decided() {
    let (mut metrics, _) = metrics(&[], SERIES);
    let talk = Talk::new(Direction::Ingress);
    let allows = rule("GET /a/.*");
    for _ in 0..2 {
        metrics.count(&talk.request("GET", Verdict::Forwarded(Some(Arc::clone(&allows)))));
    }
    // Equal, but another value: as after a new revision.
    metrics.count(&talk.request("GET", Verdict::Forwarded(Some(rule("GET /a/.*")))));
    metrics.count(&talk.request("GET", Verdict::Audited(Box::new(Denial::by(&allows)))));
    metrics.count(&talk.request("GET", denied(DropReason::PolicyDenied)));
    metrics.count(&talk.request("GET", Verdict::Forwarded(None)));
    metrics.count(&talk.response("GET", 200, 0));
    let place = "ingress[0].toPorts[0].rules.http[1] GET /a/.*";
    let policy = "CiliumNetworkPolicy payments/api";
    assert_eq!(
        lines(&metrics, "l7proxy_rule_requests_total"),
        [
            "{policy=\"\",rule=\"\",verdict=\"FORWARDED\"} 1".to_owned(),
            format!("{{policy=\"{policy}\",rule=\"{place}\",verdict=\"AUDIT\"}} 1"),
            format!("{{policy=\"{policy}\",rule=\"{place}\",verdict=\"FORWARDED\"}} 3"),
            format!("{{policy=\"{policy}, CiliumNetworkPolicy payments/other\",rule=\"\",verdict=\"DROPPED\"}} 1"),
        ]
    );
    assert!(!text(&metrics).contains("secret"), "what was asked for is in no label");
}

#[test]
fn drops_that_were_not_told_are_counted() {
    let talk = Talk::new(Direction::Egress);
    let refusal = || DropRecord { repeats: 4, protocol: 17, reason: DropReason::NoPolicy, ..talk.refusal() };
    let records = [dropped(refusal()), dropped(refusal())];
    let reason = "NO_CONFIGURATION_AVAILABLE_TO_PERFORM_POLICY_DECISION";
    let wanted = format!("{{protocol=\"UDP\",reason=\"{reason}\"}} 10");
    assert_eq!(counted("drop", "hubble_drop_total", &records), [wanted]);
    // A flow is one.
    let flows = counted("flow", "hubble_flows_processed_total", &records);
    assert_eq!(flows, ["{protocol=\"UDP\",subtype=\"\",type=\"Drop\",verdict=\"DROPPED\"} 2"]);
    let other = [dropped(DropRecord { protocol: 47, ..talk.refusal() })];
    let unknown = counted("drop", "hubble_drop_total", &other);
    assert_eq!(unknown, ["{protocol=\"Unknown L4\",reason=\"POLICY_DENIED\"} 1"]);
    let packets = DropRecord { audit: true, ..talk.refusal() };
    assert_eq!(counted("drop", "hubble_drop_total", &[dropped(packets)]), [""; 0], "it passed");
}

#[test]
fn verdicts_of_policy_say_what_its_rule_looked_at() {
    let talk = Talk::new(Direction::Egress);
    let refusal = DropRecord { rule: Some(rule("")), ..talk.refusal() };
    let verdict = refusal.decision().unwrap();
    let mut allowed = talk.connection(false);
    let Record::Connection(connection) = &mut allowed else { panic!("{allowed:?}") };
    connection.allowed = Some(crate::flow::Allowed::Redirected(Arc::default()));
    let records = [dropped(refusal), dropped(verdict), allowed];
    assert_eq!(
        counted("policy", "hubble_policy_verdicts_total", &records),
        [
            "{action=\"dropped\",direction=\"egress\",match=\"l4-only\"} 1",
            "{action=\"redirected\",direction=\"egress\",match=\"none\"} 1",
        ]
    );
    let drops = counted("drop", "hubble_drop_total", &records);
    assert_eq!(drops, ["{protocol=\"TCP\",reason=\"POLICY_DENIED\"} 1"], "two records tell of it, and it is one");
}

#[test]
fn the_nodes_own_connections_are_no_verdict() {
    let talk = Talk::new(Direction::Ingress);
    let audited = || DropRecord { audit: true, ..talk.refusal() };
    let host = DropRecord { source: reserved(1, "reserved:host"), ..audited() };
    let found = counted("policy", "hubble_policy_verdicts_total", &[dropped(host), dropped(audited())]);
    assert_eq!(found, ["{action=\"audit\",direction=\"ingress\",match=\"none\"} 1"]);
}

#[test]
fn flows_to_the_world_are_counted_as_hubble_does() {
    let talk = Talk::new(Direction::Egress);
    let to = |label: &str, reason| dropped(DropRecord { destination: reserved(2, label), reason, ..talk.refusal() });
    let records = [
        to("reserved:world", DropReason::PolicyDenied),
        to("reserved:world-ipv4", DropReason::PolicyDenied),
        to("reserved:world", DropReason::UnroutableIp),
        to("reserved:host", DropReason::PolicyDenied),
    ];
    let name = "hubble_flows_to_world_total";
    assert_eq!(counted("flows-to-world", name, &records), ["{protocol=\"TCP\",verdict=\"DROPPED\"} 2"]);
    let any = counted("flows-to-world:any-drop;port;syn-only", name, &records);
    assert_eq!(any, ["{port=\"443\",protocol=\"TCP\",verdict=\"DROPPED\"} 3"]);
    let world = Arc::new(Ends {
        direction: Direction::Egress,
        source: copy(&talk.0.source),
        destination: reserved(2, "reserved:world"),
    });
    let http = Talk(world);
    let records = [http.request("GET", Verdict::Forwarded(None)), http.response("GET", 200, 0)];
    assert_eq!(counted("flows-to-world", name, &records), ["{protocol=\"HTTP\",verdict=\"FORWARDED\"} 1"]);
    assert_eq!(counted("flows-to-world:syn-only", name, &records), [""; 0]);
}
