use serde_json::{Value, json};

use crate::{Desk, Ended};

const CONFIG: &str = "policies: [policies/]
endpoints:
- {pod: default/web, pid: 1, addresses: [10.0.0.1], labels: {app: web}}
remotes:
- {pod: default/api, addresses: [10.0.0.2], labels: {app: api}}
";

fn policy(http: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: p}}\nspec:\n  \
         endpointSelector: {{matchLabels: {{app: web}}}}\n  egress:\n  - toEndpoints: [{{matchLabels: {{app: api}}}}]\n    \
         toPorts: [{{ports: [{{port: '80', protocol: TCP}}], rules: {{http: [{http}]}}}}]\n"
    )
}

/// A flow of `default/web` to `default/api`, port 80.
fn flow(verdict: &str, fields: &Value) -> Value {
    let mut flow = json!({
        "verdict": verdict,
        "IP": {"source": "10.0.0.1", "destination": "10.0.0.2"},
        "l4": {"TCP": {"source_port": 40000, "destination_port": 80}},
        "source": {"namespace": "default", "pod_name": "web"},
        "destination": {"namespace": "default", "pod_name": "api"},
        "traffic_direction": "EGRESS",
    });
    for (key, value) in fields.as_object().unwrap() {
        flow[key] = value.clone();
    }
    json!({"flow": flow, "node_name": "default/node", "time": "2026-01-01T00:00:00Z"})
}

fn request(verdict: &str, method: &str, path: &str) -> Value {
    let http = json!({"method": method, "url": format!("http://api{path}"), "protocol": "HTTP/1.1"});
    flow(verdict, &json!({"Type": "L7", "l7": {"type": "REQUEST", "http": http}}))
}

fn refusal(fields: &Value) -> Value {
    let mut flow = flow("DROPPED", fields);
    flow["flow"]["Type"] = "L3_L4".into();
    flow
}

fn replay_with(http: &str, flows: &[Value], arguments: &[&str]) -> Ended {
    let lines: String = flows.iter().flat_map(|flow| [flow.to_string(), "\n".to_owned()]).collect();
    replay_text(http, &lines, arguments)
}

fn replay_text(http: &str, lines: &str, arguments: &[&str]) -> Ended {
    let other = policy("{method: PUT}");
    let desk = Desk::new(&[
        ("config.yaml", CONFIG),
        ("policies/p.yaml", &policy(http)),
        ("other/p.yaml", &other),
        ("flows.jsonl", lines),
    ]);
    let words = ["replay", "--config", "config.yaml"];
    desk.run(&[words.as_slice(), arguments, &["flows.jsonl"]].concat())
}

fn replay(http: &str, flows: &[Value]) -> Ended {
    replay_with(http, flows, &[])
}

#[test]
fn nothing_changed() {
    let ended = replay("{method: GET}", &[request("FORWARDED", "GET", "/a"), request("DROPPED", "POST", "/a")]);
    assert_eq!((ended.code, ended.lines()), (Some(0), vec!["2 flows judged: 2 equal, 0 changed"]), "{}", ended.err);
}

#[test]
fn what_changed_is_grouped_and_named() {
    let flows = [
        request("DROPPED", "GET", "/a"),
        request("FORWARDED", "POST", "/b"),
        request("FORWARDED", "POST", "/b"),
        request("FORWARDED", "GET", "/a"),
    ];
    let ended = replay("{method: GET}", &flows);
    let lines = ended.lines();
    assert_eq!((ended.code, lines.len()), (Some(1), 3), "{lines:?}");
    assert!(lines[0].starts_with(
        "2x EGRESS default/web -> default/api:80/TCP POST http://api/b: was allowed, now denied: no rule allows it"
    ));
    assert!(lines[0].contains("default/p egress[0].toPorts[0].rules.http[0] (GET *): method does not match"));
    assert!(
        lines[1]
            .starts_with("1x EGRESS default/web -> default/api:80/TCP GET http://api/a: was denied, now allowed by")
    );
    assert_eq!(lines[2], "4 flows judged: 1 equal, 3 changed");
}

#[test]
fn other_policies_than_those_of_the_configuration() {
    let flows = [request("FORWARDED", "GET", "/a"), request("DROPPED", "PUT", "/a")];
    assert_eq!(replay("{method: GET}", &flows).code, Some(0));
    let ended = replay_with("{method: GET}", &flows, &["--policies", "other"]);
    assert_eq!(
        (ended.code, ended.lines().pop()),
        (Some(1), Some("2 flows judged: 0 equal, 2 changed")),
        "{}",
        ended.err
    );
}

#[test]
fn the_form_for_programs() {
    let extensions = json!({"value": {"policy": "CiliumNetworkPolicy default/p", "rule": "egress[1]"}});
    let mut flow = request("FORWARDED", "POST", "/b");
    flow["flow"]["extensions"] = extensions;
    let ended = replay_with("{method: GET}", &[flow], &["--output", "json"]);
    let told = ended.json();
    let change = &told["changes"][0];
    assert_eq!((&told["judged"], &told["changed"], &change["count"]), (&1.into(), &1.into(), &1.into()));
    assert_eq!(change["old"], json!({"verdict": "ALLOWED", "by": ["CiliumNetworkPolicy default/p egress[1]"]}));
    assert_eq!(change["new"]["verdict"], "DENIED");
    assert_eq!(change["new"]["nearest"]["field"], "method");
    assert_eq!((&change["method"], &change["url"]), (&"POST".into(), &"http://api/b".into()));
}

#[test]
fn connections_that_were_refused() {
    let to = |port: u16, reason: &str| {
        refusal(&json!({"l4": {"TCP": {"destination_port": port}}, "drop_reason_desc": reason}))
    };
    let ended = replay("{method: GET}", &[to(81, "POLICY_DENIED"), to(80, "POLICY_DENIED")]);
    assert!(
        ended.lines()[0]
            .ends_with("default/api:80/TCP: was denied, now redirected to the proxy: each of its requests is judged")
    );
    assert_eq!(ended.lines().pop(), Some("2 flows judged: 1 equal, 1 changed"));
    let ended = replay("{method: GET}", &[to(80, "STALE_OR_UNROUTABLE_IP")]);
    assert_eq!(ended.code, Some(0));
    assert!(ended.lines()[0].contains("not judged: it was dropped as STALE_OR_UNROUTABLE_IP, not by policy"));
    for reason in ["egress-port-without-redirection", "ended-needs-http-rules"] {
        let mut lost = to(80, "POLICY_DENIED");
        lost["flow"]["extensions"] = json!({"value": {"reason": reason}});
        assert!(replay("{method: GET}", &[lost]).lines()[0].contains("1x not judged: it was"), "{reason}");
    }
    let mut ended = to(81, "POLICY_DENIED");
    ended["flow"]["extensions"] = json!({"value": {"reason": "ended-policy-changed"}});
    assert_eq!(replay("{method: GET}", &[ended]).lines(), ["1 flow judged: 1 equal, 0 changed"]);
}

#[test]
fn messages_that_were_refused() {
    let message = |kind: u8| refusal(&json!({"l4": {"ICMPv4": {"type": kind}}, "drop_reason_desc": "POLICY_DENIED"}));
    let pings = policy("{}").replace("    toPorts:", "    icmps: [{fields: [{type: 8, family: IPv4}]}]\n    #");
    let lines: String = [message(8), message(13)].iter().flat_map(|flow| [flow.to_string(), "\n".to_owned()]).collect();
    let desk = Desk::new(&[("config.yaml", CONFIG), ("policies/p.yaml", &pings), ("flows.jsonl", &lines)]);
    let ended = desk.run(&["replay", "--config", "config.yaml", "flows.jsonl"]);
    let told =
        "1x EGRESS default/web -> default/api type 8/ICMP: was denied, now allowed by CiliumNetworkPolicy default/p";
    assert!(ended.lines()[0].starts_with(told), "{}{}", ended.out, ended.err);
    assert_eq!(ended.lines().pop(), Some("2 flows judged: 1 equal, 1 changed"));
}

#[test]
fn headers_that_are_not_recorded() {
    let rule = "{method: GET, headers: ['X-A: b']}";
    let ended = replay(rule, &[request("FORWARDED", "GET", "/a"), request("DROPPED", "POST", "/a")]);
    assert!(ended.lines()[0].contains("now depends on headers that are not recorded: CiliumNetworkPolicy default/p"));
    let summary = "2 flows judged: 1 equal, 0 changed, 1 depend on headers that are not recorded";
    assert_eq!((ended.code, ended.lines().pop()), (Some(0), Some(summary)));
    let both = format!("{rule}, {{method: GET}}");
    assert_eq!(replay(&both, &[request("FORWARDED", "GET", "/a")]).lines(), ["1 flow judged: 1 equal, 0 changed"]);
}

#[test]
fn what_is_no_verdict_is_left_out() {
    let mut response = request("FORWARDED", "GET", "/a");
    response["flow"]["l7"]["type"] = "RESPONSE".into();
    response["flow"]["is_reply"] = true.into();
    let lost = json!({"lost_events": {"num_events_lost": "3"}});
    let mut passed = refusal(&json!({}));
    passed["flow"]["verdict"] = "FORWARDED".into();
    assert_eq!(replay("{method: PUT}", &[response, lost, passed]).lines(), ["0 flows judged: 0 equal, 0 changed"]);
}

#[test]
fn pods_that_nobody_knows_are_told() {
    let mut stranger = request("FORWARDED", "GET", "/a");
    stranger["flow"]["source"]["pod_name"] = "gone".into();
    let ended = replay("{method: PUT}", std::slice::from_ref(&stranger));
    assert_eq!(ended.lines()[0], "1x not judged: default/gone is no pod of the configuration");
    stranger["flow"]["source"]["labels"] = json!([
        "k8s:io.kubernetes.pod.namespace=default",
        "k8s:app=web",
        "k8s:io.cilium.k8s.policy.cluster=default",
        "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=default",
    ]);
    stranger["flow"]["IP"]["source"] = "10.0.0.77".into();
    assert_eq!(replay("{method: PUT}", &[stranger]).code, Some(1), "known by its labels");
}

#[test]
fn addresses_outside_are_judged() {
    let mut outside = request("FORWARDED", "GET", "/a");
    outside["flow"]["destination"] = json!({"identity": 2, "labels": ["reserved:world"]});
    outside["flow"]["IP"]["destination"] = "192.0.2.1".into();
    let ended = replay("{method: GET}", &[outside]);
    assert!(ended.lines()[0].contains("default/web -> 192.0.2.1:80/TCP GET"), "{}", ended.out);
    assert_eq!(ended.code, Some(1));
}

#[test]
fn a_node_of_the_api_server_is_one_and_the_other() {
    let mut node = request("FORWARDED", "GET", "/a");
    let labels = ["reserved:kube-apiserver", "reserved:remote-node"];
    node["flow"]["destination"] = json!({"identity": 7, "labels": labels});
    node["flow"]["IP"]["destination"] = "192.0.2.1".into();
    for (entity, code) in [("kube-apiserver", 0), ("remote-node", 0), ("host", 1)] {
        let policy =
            policy("{}").replace("toEndpoints: [{matchLabels: {app: api}}]", &format!("toEntities: [{entity}]"));
        let lines = format!("{node}\n");
        let desk = Desk::new(&[
            ("config.yaml", CONFIG),
            ("policies/p.yaml", policy.as_str()),
            ("flows.jsonl", lines.as_str()),
        ]);
        let ended = desk.run(&["replay", "--config", "config.yaml", "flows.jsonl"]);
        assert_eq!(ended.code, Some(code), "{entity}: {}{}", ended.out, ended.err);
    }
}

#[test]
fn a_broken_line_is_told_and_the_rest_goes_on() {
    let lines =
        format!("{}\n{{\"flow\":\n\n{}\n", request("FORWARDED", "PUT", "/a"), request("FORWARDED", "GET", "/a"));
    let ended = replay_text("{method: GET}", &lines, &[]);
    assert_eq!((ended.code, ended.err.lines().count()), (Some(2), 1), "{}", ended.err);
    assert!(ended.err.starts_with("flows.jsonl:2: is no recorded flow"), "{}", ended.err);
    assert_eq!(ended.lines().pop(), Some("2 flows judged: 1 equal, 1 changed, 1 cannot be read"));
}

#[test]
fn what_is_not_there_is_trouble() {
    let desk = Desk::new(&[("config.yaml", CONFIG), ("policies/p.yaml", &policy("{}"))]);
    let ended = desk.run(&["replay", "--config", "config.yaml", "nowhere.jsonl"]);
    assert_eq!((ended.code, ended.err.lines().count()), (Some(2), 1), "{}", ended.err);
    assert!(ended.err.starts_with("nowhere.jsonl: cannot be read"), "{}", ended.err);
    assert_eq!(desk.run(&["replay", "--config", "none.yaml", "nowhere.jsonl"]).code, Some(2));
}

#[test]
fn nothing_of_a_client_reaches_the_screen_as_it_is() {
    let ended = replay("{method: GET}", &[request("FORWARDED", "POST", "/\u{1b}[2J\u{9b}")]);
    assert!(!ended.out.contains(['\u{1b}', '\u{9b}']), "{:?}", ended.out);
    assert!(ended.out.contains("now answered with 400"), "{}", ended.out);
}

/// As Cilium's agent writes them with `hubble-export-file-path`.
const EXPORTED: &str = include_str!("hubble.jsonl");

#[test]
fn what_hubble_s_exporter_wrote() {
    let ended = replay_text("{method: GET, path: '/items.*'}", EXPORTED, &[]);
    assert_eq!((ended.code, ended.lines()), (Some(0), vec!["6 flows judged: 6 equal, 0 changed"]), "{}", ended.err);
    // A rule for another path, and another method, and no longer the port.
    let ended = replay_text("{method: PUT}", EXPORTED, &[]);
    let lines = ended.lines();
    assert_eq!((ended.code, lines.len()), (Some(1), 3), "{lines:?}");
    let asked = "1x EGRESS default/web -> default/api:80/TCP";
    assert!(
        lines[0].starts_with(&format!("{asked} GET http://api/items?a=1&b=2: was allowed, now denied")),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with(&format!("{asked} PUT http://api/items: was denied, now allowed by Cilium")),
        "{lines:?}"
    );
    assert_eq!(lines[2], "6 flows judged: 4 equal, 2 changed");
}

#[test]
fn connections_that_passed_are_seen_where_they_were_recorded() {
    let verdict = |verdict: &str| {
        let fields = json!({"event_type": {"type": 5}, "l4": {"TCP": {"destination_port": 81}}, "is_reply": false});
        let mut flow = flow(verdict, &fields);
        flow["flow"]["Type"] = "L3_L4".into();
        flow
    };
    let ended = replay("{method: GET}", &[verdict("FORWARDED"), verdict("AUDIT"), verdict("DROPPED")]);
    assert!(
        ended.lines()[0].starts_with("2x EGRESS default/web -> default/api:81/TCP: was allowed, now denied: no rule")
    );
    assert_eq!(ended.lines().pop(), Some("3 flows judged: 1 equal, 2 changed"));
}

#[test]
fn headers_that_are_recorded_count() {
    let with = |value: &str| {
        let mut flow = request("FORWARDED", "GET", "/a");
        flow["flow"]["l7"]["http"]["headers"] = json!([{"key": "X-A", "value": value}]);
        flow
    };
    let rule = "{headers: ['X-A: b']}";
    assert_eq!(replay(rule, &[with("b")]).code, Some(0));
    assert_eq!(replay(rule, &[with("c")]).lines().pop(), Some("1 flow judged: 0 equal, 1 changed"));
    let hidden = replay(rule, &[with("HUBBLE_REDACTED")]);
    assert_eq!(
        hidden.lines().pop(),
        Some("1 flow judged: 0 equal, 0 changed, 1 depend on headers that are not recorded")
    );
}

#[test]
fn flows_without_anything_around_them() {
    let bare = request("FORWARDED", "PUT", "/a")["flow"].clone();
    assert_eq!(replay("{method: GET}", &[bare]).lines().pop(), Some("1 flow judged: 0 equal, 1 changed"));
}

#[test]
fn lines_that_are_no_flows_are_told_and_the_others_count() {
    let good = format!("{}\n", request("FORWARDED", "PUT", "/a"));
    let whole = request("FORWARDED", "GET", "/a").to_string();
    let half = whole.get(..whole.len() / 2).unwrap();
    let long = format!("\"{}\"\n", "x".repeat(1 << 20));
    let too_long = format!("\"{}\"\n", "x".repeat(5 << 20));
    for (before, after, told) in [
        (long.as_str(), "", "flows.jsonl:1: is no recorded flow: invalid type: string"),
        (&too_long, "", "flows.jsonl:1: has more than 4194304 bytes; no flow has"),
        ("", half, "flows.jsonl:2: is cut off: the file ends inside of it"),
        ("{\"level\":\"info\"}\n", "", "flows.jsonl:1: is no recorded flow: it has no field \"flow\""),
        (
            "{\"flow\":{\"verdict\":7}}\n",
            "",
            "flows.jsonl:1: is no recorded flow: invalid type: integer `7`, expected a string (column 20)",
        ),
        ("\u{0}\u{1}\n", "", "flows.jsonl:1: is no recorded flow: expected value (column 1)"),
    ] {
        let ended = replay_text("{method: GET}", &format!("{before}{good}{after}"), &[]);
        assert!(ended.err.starts_with(told) && ended.err.len() < 500, "{told}: {:.500}", ended.err);
        assert_eq!((ended.code, ended.err.lines().count()), (Some(2), 1), "{told}: {:.500}", ended.err);
        assert_eq!(ended.lines().pop(), Some("1 flow judged: 0 equal, 1 changed, 1 cannot be read"), "{told}");
    }
}

#[test]
fn several_files_are_one() {
    let desk = Desk::new(&[
        ("config.yaml", CONFIG),
        ("policies/p.yaml", &policy("{method: GET}")),
        ("flows-2026-01-02T03-04-05.000.jsonl", &format!("{}\n", request("FORWARDED", "PUT", "/a"))),
        ("flows.jsonl", &format!("{}\n", request("FORWARDED", "GET", "/a"))),
    ]);
    desk.write("packed.jsonl.gz", &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0]);
    let files = ["flows-2026-01-02T03-04-05.000.jsonl", "flows.jsonl"];
    let ended = desk.run(&[["replay", "--config", "config.yaml"].as_slice(), &files].concat());
    assert_eq!(
        (ended.code, ended.lines().pop()),
        (Some(1), Some("2 flows judged: 1 equal, 1 changed")),
        "{}",
        ended.err
    );
    let ended = desk.run(&[["replay", "--config", "config.yaml", "packed.jsonl.gz"].as_slice(), &files].concat());
    assert_eq!(ended.err, "packed.jsonl.gz: is compressed with gzip; unpack it first (gunzip)\n");
    let told = "2 flows judged: 1 equal, 1 changed, 1 cannot be read";
    assert_eq!((ended.code, ended.lines().pop()), (Some(2), Some(told)));
}

#[test]
fn what_the_proxy_does_not_see_is_not_malformed() {
    let flows = [request("FORWARDED", "GET", "/a;b")];
    let open = policy("{}").replace(", rules: {http: [{}]}", "");
    let desk =
        Desk::new(&[("config.yaml", CONFIG), ("policies/p.yaml", &open), ("flows.jsonl", &format!("{}\n", flows[0]))]);
    let ended = desk.run(&["replay", "--config", "config.yaml", "flows.jsonl"]);
    assert_eq!(ended.lines(), ["1 flow judged: 1 equal, 0 changed"], "{}", ended.err);
    assert!(replay("{}", &flows).lines()[0].contains("was allowed, now answered with 400"));
}
