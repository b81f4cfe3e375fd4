//! Any record, for tests: strategies of proptest.
//!
//! Owns which values are drawn. Texts are often equal, so that what compares them hits; some are hostile. Start at [`flow`].

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant, SystemTime},
};

use proptest::{prelude::*, sample::select};
use rules::{Denial, Direction, HeaderNote, HeaderNotes, MatchType, Nearest, PolicyKey, RuleRef};

use super::{
    Allowed, Asked, Capture, ConnectionEnd, ConnectionRecord, DropReason, DropRecord, Ends, Flow, Headers, HttpInfo,
    HttpRecord, LostRecord, LostSource, Process, RawHeaders, Record, Redaction, Verdict,
};
use crate::endpoint::{End, Peer, ServicePeer};

/// Every drop reason.
pub(crate) const REASONS: [DropReason; 9] = [
    DropReason::Unknown,
    DropReason::PolicyDenied,
    DropReason::PolicyDeny,
    DropReason::InvalidPacket,
    DropReason::NoPolicy,
    DropReason::ProxyRedirection,
    DropReason::UnroutableIp,
    DropReason::UnsupportedProtocol,
    DropReason::Fragment,
];

/// What is known of a request when it is judged.
pub(crate) fn asked(ends: Arc<Ends>, http: HttpInfo) -> Arc<Asked> {
    let (time, started, ended) = (SystemTime::UNIX_EPOCH, Instant::now(), AtomicBool::new(false));
    Arc::new(Asked { ends, http, time, started, ended })
}

/// Any text: none, a name, one that wants to be more than text.
pub(crate) fn word() -> BoxedStrategy<String> {
    prop_oneof![Just(String::new()), "[a-z0-9-]{1,8}", any::<String>(), Just("\u{1b}[0m\"\\\n\u{9b}é".to_owned())]
        .boxed()
}

/// A name out of few, or any text.
fn name(names: &'static [&'static str]) -> BoxedStrategy<String> {
    prop_oneof![6 => select(names).prop_map(str::to_owned), 1 => word()].boxed()
}

pub(crate) fn peer() -> BoxedStrategy<Peer> {
    let label = name(&["k8s:app=web", "k8s:app=api", "k8s:tier", "reserved:world", "k8s:zone=eu-1", "k8s:size=12"]);
    let service = (name(&["shop", "web"]), name(&["api", "web"])).prop_map(|(namespace, name)| {
        Box::new(ServicePeer { namespace, name, ports: Vec::new(), backends: Vec::new() })
    });
    let names = (
        name(&["", "c", "other"]),
        name(&["", "default", "shop"]),
        name(&["", "web-7c9f", "web-5d4b", "api-1"]),
        prop::collection::vec(label, 0..4),
    );
    let numbers = (prop_oneof![select(vec![0, 2, 12_345]), any::<u32>()], prop_oneof![Just(0), any::<u32>()]);
    let workload = (name(&["Deployment", "Job"]), name(&["web", "api"]));
    let domain = name(&["api.example.com", "example.com", "a.b.example.org"]);
    let rest = (prop::option::of(workload), prop::option::of(service), prop::collection::vec(domain, 0..3));
    (numbers, names, rest)
        .prop_map(|((identity, id), (cluster, namespace, pod, mut labels), (workload, service, names))| {
            labels.sort();
            Peer { identity, id, cluster, namespace, pod, labels, workload, service, names }
        })
        .boxed()
}

pub(crate) fn end() -> BoxedStrategy<End> {
    let address = prop_oneof![
        (0_u8..4).prop_map(|last| Ipv4Addr::new(10, 0, 0, last).into()),
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u16; 8]>().prop_map(IpAddr::from),
        any::<[u8; 4]>().prop_map(|octets| Ipv4Addr::from(octets).to_ipv6_mapped().into()),
    ];
    let port = prop_oneof![select(vec![0, 8, 80, 443]), any::<u16>()];
    (peer(), address, port).prop_map(|(peer, address, port)| (Arc::new(peer), SocketAddr::new(address, port))).boxed()
}

fn direction() -> BoxedStrategy<Direction> {
    prop_oneof![Just(Direction::Ingress), Just(Direction::Egress)].boxed()
}

pub(crate) fn ends() -> BoxedStrategy<Arc<Ends>> {
    (direction(), end(), end())
        .prop_map(|(direction, source, destination)| Arc::new(Ends { direction, source, destination }))
        .boxed()
}

pub(crate) fn policy() -> BoxedStrategy<Arc<PolicyKey>> {
    let kind = prop_oneof![Just(rules::Kind::CiliumNetworkPolicy), Just(rules::Kind::GlobalNetworkPolicy)];
    (kind, word(), word()).prop_map(|(kind, namespace, name)| Arc::new(PolicyKey { kind, namespace, name })).boxed()
}

pub(crate) fn rule() -> BoxedStrategy<Arc<RuleRef>> {
    let matches = select(vec![MatchType::None, MatchType::L3L4, MatchType::All, MatchType::ProtoOnly]);
    (policy(), word(), word(), prop::option::of(word()), matches)
        .prop_map(|(policy, rule, summary, log, matches)| {
            Arc::new(RuleRef { policy, rule, summary, log: log.map(Arc::from), matches })
        })
        .boxed()
}

fn nearest() -> BoxedStrategy<Nearest> {
    (rule(), word(), word()).prop_map(|(rule, field, expected)| Nearest { rule, field, expected }).boxed()
}

pub(crate) fn reason() -> BoxedStrategy<DropReason> {
    select(&REASONS[..]).boxed()
}

pub(crate) fn verdict() -> BoxedStrategy<Verdict> {
    let tier = prop::option::of(word().prop_map(Arc::<str>::from));
    let denial = (
        prop::collection::vec(policy(), 0..3).prop_map(Arc::<[_]>::from),
        prop::option::of(rule()),
        tier,
        prop::option::of(nearest()),
    );
    let refused = (denial, any::<bool>(), reason()).prop_map(|((denied_by, rule, tier, nearest), audited, reason)| {
        let denial = Box::new(Denial { denied_by, rule, tier, nearest, notes: None });
        if audited { Verdict::Audited(denial) } else { Verdict::Dropped { reason, denial } }
    });
    prop_oneof![prop::option::of(rule()).prop_map(Verdict::Forwarded), refused, Just(Verdict::Error)].boxed()
}

pub(crate) fn info() -> BoxedStrategy<HttpInfo> {
    let trace = prop::option::of(prop_oneof![Just("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()), "[0-9a-f]{32}"]);
    let method = prop_oneof![select(vec!["GET", "POST", "get", ""]).prop_map(str::to_owned), word()];
    let url = prop_oneof![
        "http://(api|10\\.0\\.0\\.1)(\\.shop)?(:80)?/(v1|v2|a%20b|%2e%zz|é)/[a-z]{0,3}(\\?q=[0-9]{0,2})?",
        word(),
    ];
    let protocol = select(vec!["HTTP/1", "HTTP/1.1", "HTTP/2"]);
    (method, url, protocol, trace)
        .prop_map(|(method, url, protocol, trace)| HttpInfo {
            method: method.into(),
            url,
            protocol,
            trace,
            headers: RawHeaders::default(),
        })
        .boxed()
}

pub(crate) fn notes() -> BoxedStrategy<Option<Arc<HeaderNotes>>> {
    let note = || (word(), word()).prop_map(|(name, value)| HeaderNote { name, value });
    let notes = (prop::collection::vec(note(), 0..3), prop::collection::vec(note(), 0..3))
        .prop_map(|(missing, rejected)| Arc::new(HeaderNotes { missing, rejected }));
    prop::option::of(notes).boxed()
}

/// As protojson writes it.
pub(crate) fn shown_time(time: SystemTime) -> String {
    let nanos = humantime::format_rfc3339_nanos(time).to_string();
    let mut shown = nanos.trim_end_matches('Z');
    while let Some(shorter) = shown.strip_suffix("000").filter(|_| shown.contains('.')) {
        shown = shorter;
    }
    format!("{}Z", shown.trim_end_matches('.'))
}

/// Within three seconds.
pub(crate) fn time() -> BoxedStrategy<SystemTime> {
    (0_u64..3, 0_u32..1_000_000_000)
        .prop_map(|(second, nanos)| SystemTime::UNIX_EPOCH + Duration::new(1_800_000_000 + second, nanos))
        .boxed()
}

pub(crate) fn http_record() -> BoxedStrategy<HttpRecord> {
    let code = prop_oneof![select(vec![0, 200, 403, 404, 503]), 0_u16..1000];
    let numbers = (code, any::<u64>(), 0_u64..3, prop_oneof![Just(""), Just("no-rule")]);
    (time(), ends(), info(), verdict(), numbers, notes())
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

fn process() -> BoxedStrategy<Option<Process>> {
    prop::option::of((any::<u32>(), word()).prop_map(|(pid, command)| Process { pid, command })).boxed()
}

/// Of every protocol that has a name, and of others.
pub(crate) fn drop_record() -> BoxedStrategy<DropRecord> {
    let protocol = prop_oneof![select(vec![1, 6, 6, 17, 58, 132, 2, 112]), any::<u8>()];
    let what = (time(), direction(), protocol, end(), end(), any::<u8>());
    let by = (
        prop::collection::vec(policy(), 0..3).prop_map(Arc::<[_]>::from),
        prop::option::of(rule()),
        prop::option::of(word().prop_map(Arc::<str>::from)),
        prop::option::of(nearest()),
        any::<[bool; 2]>(),
        reason(),
    );
    let backends = prop::option::of(prop::collection::vec(word(), 0..10));
    let rest = (process(), select(vec!["", "no-rule", "backstop"]), backends, 0_u64..3, 0_u64..3);
    (what, by, rest)
        .prop_map(|(what, (denied_by, rule, tier, nearest, [audit, is_verdict], reason), rest)| {
            let (time, direction, protocol, source, destination, flags) = what;
            let (process, detail, backends, repeats, revision) = rest;
            DropRecord {
                time,
                direction,
                protocol,
                source,
                destination,
                denied_by,
                rule,
                tier,
                nearest,
                audit,
                process,
                reason,
                detail,
                flags,
                backends,
                repeats,
                revision,
                is_verdict,
            }
        })
        .boxed()
}

pub(crate) fn connection_record() -> BoxedStrategy<ConnectionRecord> {
    let lasted = (0_u64..100_000, any::<u64>(), any::<u64>()).prop_map(|(millis, sent, received)| ConnectionEnd {
        lasted: Duration::from_millis(millis),
        sent,
        received,
    });
    let ends = (direction(), end(), end());
    let policies = prop::collection::vec(policy(), 0..3);
    let what = prop_oneof![
        Just((Some(Allowed::Forwarded), None)),
        policies.prop_map(|policies| (Some(Allowed::Redirected(policies.into())), None)),
        prop::option::of(lasted).prop_map(|end| (None, end)),
    ];
    (time(), ends, prop::option::of(rule()), process(), what, 0_u64..3)
        .prop_map(|(time, (direction, source, destination), rule, process, (allowed, end), revision)| {
            ConnectionRecord {
                time,
                ends: Ends { direction, source, destination },
                rule,
                process,
                allowed,
                end,
                revision,
            }
        })
        .boxed()
}

pub(crate) fn lost_record() -> BoxedStrategy<LostRecord> {
    let source =
        select(vec![LostSource::PerfEventRingBuffer, LostSource::ObserverEventsQueue, LostSource::HubbleRingBuffer]);
    (source, any::<u64>(), time(), time())
        .prop_map(|(source, count, one, other)| LostRecord {
            source,
            count,
            first: one.min(other),
            last: one.max(other),
        })
        .boxed()
}

/// As they may be shown.
pub(crate) fn headers() -> BoxedStrategy<Headers> {
    let value = prop_oneof![select(vec!["curl/8", "7", "text/html"]).prop_map(str::to_owned), word()];
    let field = (select(vec!["User-Agent", "Grpc-Status", "Content-Type", "X-A"]), value);
    prop::collection::vec(field, 0..4)
        .prop_map(|fields| {
            let raw = Capture::default().fields(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
            Redaction::Of(Vec::new()).show(&raw, None)
        })
        .boxed()
}

/// A record of any kind.
pub(crate) fn record() -> BoxedStrategy<Record> {
    prop_oneof![
        3 => http_record().prop_map(|http| Record::Request(HttpRecord { code: 0, latency_ns: 0, ..http })),
        3 => http_record().prop_map(Record::Response),
        3 => drop_record().prop_map(|refusal| Record::Drop(Box::new(refusal))),
        2 => connection_record().prop_map(|connection| Record::Connection(Box::new(connection))),
        1 => lost_record().prop_map(|lost| Record::Lost(Box::new(lost))),
    ]
    .boxed()
}

/// Any flow. Only messages have headers.
pub(crate) fn flow() -> BoxedStrategy<Flow> {
    (1_u64.., record(), headers())
        .prop_map(|(number, record, headers)| {
            let is_message = matches!(record, Record::Request(_) | Record::Response(_));
            let headers = if is_message { headers } else { Headers::default() };
            Flow { number, time: record.time(), headers, record }
        })
        .boxed()
}
