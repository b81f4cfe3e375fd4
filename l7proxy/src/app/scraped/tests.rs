//! Dashboard and alerts read what is told, and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use rules::Direction;

use super::*;
use crate::{
    app::{ApiStatus, DirectionStatus, EndpointStatus, KernelStatus, Status},
    drain,
    endpoint::Peer,
    flow::{Ends, FlowGuard, HttpInfo, RawHeaders},
    reject::Rejection,
    source::{PolicyState, PolicyStatus},
};

/// Metrics by name, with the labels that they have.
type Told = BTreeMap<String, BTreeSet<String>>;

fn config(flows: &str) -> Config {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("l7proxy.yaml");
    fs::write(&file, format!("flows: {{{flows}}}\nadmin: {{metrics: '127.0.0.1:0'}}\n")).unwrap();
    crate::config::load(&file).unwrap()
}

fn status() -> Status {
    let direction = DirectionStatus { enforced: true, redirects: 2 };
    let pod = |state, unguarded| EndpointStatus {
        pod: "default/a".to_owned(),
        id: 1,
        identity: 256,
        ingress: direction,
        egress: DirectionStatus { enforced: false, redirects: 0 },
        backstop: None,
        unguarded,
        state,
        error: None,
        policies: Vec::new(),
    };
    let policy = |state| PolicyStatus {
        policy: "CiliumNetworkPolicy default/p".to_owned(),
        file: "p.yaml".to_owned(),
        state,
        revision: 1,
        audit: state == PolicyState::LastGood,
        errors: Vec::new(),
    };
    Status {
        ready: true,
        revision: 7,
        pid: 1,
        endpoints: vec![pod("ready", true), pod("ready", false), pod("error", false)],
        policies: vec![policy(PolicyState::InForce), policy(PolicyState::LastGood), policy(PolicyState::InForce)],
        errors: vec!["wrong".to_owned()],
        skipped: Vec::new(),
        kernel: KernelStatus {
            links: 4,
            features: BTreeMap::from([("tcx", false), ("connect4", true)]),
            overriders: Vec::new(),
            lacking: Vec::new(),
            policies: 3,
            policy_standbys: 0,
            policy_entries: 9,
        },
        hubble: Some(api()),
        path_relaxed: Vec::new(),
        not_enforced: vec!["x".to_owned(), "y".to_owned()],
        counters: BTreeMap::from([
            ("requests_denied", 5),
            ("existing_pods_pending", 6),
            ("kernel_refused", 8),
            ("kernel_audited", 0),
            ("kernel_backstop_dropped", 0),
            ("kernel_redirected_connects", 0),
            ("kernel_refusal_events_lost", 0),
            ("kernel_connection_events_lost", 0),
            ("kernel_policy_writes", 0),
        ]),
    }
}

fn api() -> ApiStatus {
    ApiStatus {
        socket: None,
        listen: None,
        tls: false,
        connections: 1,
        streams: 2,
        records: 3,
        records_seen: 7,
        records_forgotten: 4,
        bytes: 5,
    }
}

/// What a process tells that denied a request, by the metrics of this configuration.
fn text(flows: &str) -> String {
    let config = config(flows);
    let counters = Arc::new(Counters::default());
    let mut scraped = Scraped::new(&config, &counters, false).unwrap();
    let (sink, writer) = flow::pipeline(flow::Config::default(), Arc::clone(&counters)).unwrap();
    let writer = scraped.count(writer, &config);
    scraped.add(drain::new().0.gauge());
    let end = || (Arc::<Peer>::default(), SocketAddr::from((Ipv4Addr::LOCALHOST, 80)));
    let ends = Arc::new(Ends { direction: Direction::Egress, source: end(), destination: end() });
    let guard = FlowGuard::new(sink, ends, HttpInfo::unread(end().1), 1);
    guard.dropped(&Rejection::NoPolicy);
    guard.answered(http::StatusCode::FORBIDDEN, RawHeaders::default());
    writer.run();
    let known = crate::metrics::Family::gauge("l7proxy_status_known", "Known.").with(&[], 1);
    scraped.exposition.text(status().families().into_iter().chain([known]).collect()).unwrap()
}

fn told(text: &str) -> Told {
    let mut told = Told::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.split("\",").filter_map(|label| label.split_once('=')).map(|(label, _)| label.to_owned());
        let name = ["_bucket", "_count", "_sum"].into_iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        told.entry(name.to_owned()).or_default().extend(labels);
    }
    told
}

/// What is wrong with an expression: metrics that are not told, and labels that they do not have.
fn problems(expression: &str, told: &Told) -> Vec<String> {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut problems = Vec::new();
    let mut known: BTreeSet<String> = BTreeSet::from(["instance".to_owned()]);
    let mut rest = expression;
    while let Some(at) = ["hubble_", "l7proxy_", "process_"].iter().filter_map(|begin| rest.find(begin)).min() {
        let (_, begin) = rest.split_at(at);
        let end = begin.find(|letter| !is_word(letter)).unwrap_or(begin.len());
        let (name, behind) = begin.split_at(end);
        rest = behind;
        let base = ["_bucket", "_count", "_sum"].into_iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let Some(labels) = told.get(base) else {
            problems.push(format!("{name} is not told"));
            continue;
        };
        known.extend(labels.iter().cloned());
        if let Some(selected) = rest.strip_prefix('{') {
            for label in selected.split('}').next().unwrap().split("\",").map(str::trim) {
                let label = label.split(|letter| !is_word(letter)).next().unwrap();
                if label != "instance" && !labels.contains(label) {
                    problems.push(format!("{name} has no label {label}"));
                }
            }
        }
    }
    for list in expression.split(" by (").skip(1) {
        for label in list.split(')').next().unwrap().split(',').map(str::trim) {
            if !known.contains(label) {
                problems.push(format!("nothing of {expression} has a label {label}"));
            }
        }
    }
    problems
}

fn chart(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts").join(name)).unwrap()
}

/// Every text of this key, wherever it is.
fn texts(value: &serde_json::Value, key: &str, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                found.extend(value.as_str().filter(|_| name == key).map(str::to_owned));
                texts(value, key, found);
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| texts(value, key, found)),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}

#[test]
fn the_dashboard_reads_what_is_told() {
    let told = told(&text(""));
    let dashboard: serde_json::Value = serde_json::from_str(&chart("dashboard.json")).unwrap();
    let (mut queries, mut values) = (Vec::new(), Vec::new());
    texts(&dashboard, "expr", &mut queries);
    texts(&dashboard, "definition", &mut values);
    assert!(queries.len() > 40 && values.len() == 2, "{} and {}", queries.len(), values.len());
    // label_values(metric, label) asks for a label as a list does.
    let values = values.iter().map(|value| match value.trim_end_matches(')').rsplit_once(", ") {
        Some((metric, label)) => format!("{metric} by ({label})"),
        None => panic!("{value}"),
    });
    let wrong: Vec<String> = queries.into_iter().chain(values).flat_map(|query| problems(&query, &told)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn alerts_read_what_is_told_and_each_is_tested() {
    let told = told(&text(""));
    let alerts: serde_json::Value = serde_saphyr::from_str(&chart("alerts.yaml")).unwrap();
    let (mut expressions, mut names) = (Vec::new(), Vec::new());
    texts(&alerts, "expr", &mut expressions);
    texts(&alerts, "alert", &mut names);
    assert!(expressions.len() == names.len() && names.len() > 10, "{names:?}");
    let wrong: Vec<String> = expressions.iter().flat_map(|expression| problems(expression, &told)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let tests = chart("alerts.test.yaml");
    let untested = names.iter().filter(|name| !tests.contains(&format!("alertname=\"{name}\"")));
    assert_eq!(untested.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn what_is_not_told_is_found() {
    let told = told(&text(""));
    for (expression, wanted) in [
        ("rate(l7proxy_nothing_total[5m])", "l7proxy_nothing_total is not told"),
        ("l7proxy_pods{instance=~\"n\", stat=\"x\"}", "l7proxy_pods has no label stat"),
        (
            "sum by (instance, pods) (l7proxy_pods)",
            "nothing of sum by (instance, pods) (l7proxy_pods) has a label pods",
        ),
    ] {
        assert_eq!(problems(expression, &told), [wanted]);
    }
}

#[test]
fn status_is_told_in_numbers() {
    let text = text("");
    for line in [
        "l7proxy_ready 1",
        "l7proxy_policy_revision 7",
        "l7proxy_errors 1",
        "l7proxy_not_enforced 2",
        "l7proxy_backstop_absent 1",
        "l7proxy_pods{state=\"ready\"} 2",
        "l7proxy_pods{state=\"waiting\"} 0",
        "l7proxy_pods{state=\"error\"} 1",
        "l7proxy_policies{state=\"in force\"} 2",
        "l7proxy_policies{state=\"last good version\"} 1",
        "l7proxy_policies{state=\"refused\"} 0",
        "l7proxy_policies_audited 1",
        "l7proxy_pods_enforced{direction=\"ingress\"} 3",
        "l7proxy_redirects{direction=\"ingress\"} 6",
        "l7proxy_redirects{direction=\"egress\"} 0",
        "l7proxy_kernel_feature{feature=\"tcx\"} 0",
        "l7proxy_kernel_feature{feature=\"connect4\"} 1",
        "l7proxy_kernel_policy_entries 9",
        "l7proxy_kernel_refused_total 8",
        "l7proxy_existing_pods_pending 6",
        "l7proxy_connections_open 0",
        "l7proxy_hubble_connections 1",
        "l7proxy_hubble_streams 2",
        "l7proxy_hubble_records 3",
        "l7proxy_hubble_records_bytes 5",
        "l7proxy_hubble_records_forgotten_total 4",
        // By the process' own counter, not by what status made of it before.
        "l7proxy_requests_denied_total 0",
    ] {
        assert_eq!(text.lines().filter(|told| *told == line).count(), 1, "{line}:\n{text}");
    }
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let distinct: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(names.len(), distinct.len(), "a name is told twice: {names:?}");
}

#[test]
fn without_an_address_nothing_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("l7proxy.yaml");
    fs::write(&file, "flows: {}\n").unwrap();
    let config = crate::config::load(&file).unwrap();
    let counters = Arc::new(Counters::default());
    let mut scraped = Scraped::new(&config, &counters, false).unwrap();
    let (_sink, writer) = flow::pipeline(flow::Config::default(), Arc::clone(&counters)).unwrap();
    drop(scraped.count(writer, &config));
    let text = scraped.exposition.text(Vec::new()).unwrap();
    assert!(!text.lines().any(|line| line.starts_with("hubble_")), "{text}");
}
