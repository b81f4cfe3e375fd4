use serde_json::{Value, json};

use crate::{Desk, Ended};

const CONFIG: &str = "policies: [policies/]
secrets: secrets
endpoints:
- {pod: default/web, pid: 1, addresses: [10.0.0.1], labels: {app: web}}
- {pod: default/api, pid: 1, addresses: [10.0.0.2], labels: {app: api}}
remotes:
- {pod: default/db, addresses: [10.0.0.3], labels: {app: db}}
host: {addresses: [10.0.0.9]}
";

/// `{0}` is more for the policy's metadata.
const WEB: &str = "apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web{0}}
spec:
  endpointSelector: {matchLabels: {app: web}}
  egress:
  - toEndpoints: [{matchLabels: {app: api}}]
    toPorts:
    - ports: [{port: '80', protocol: TCP}]
      rules:
        http:
        - method: GET
          path: '/read.*'
          headerMatches:
          - {name: X-Token, secret: {name: key}, mismatch: ADD}
          - {name: X-Debug, mismatch: DELETE, value: 'off'}
          - {name: X-Team, value: a, mismatch: REPLACE}
          - {name: X-Trace, value: b, mismatch: LOG}
        - {method: POST, path: /reports}
        - {path: /read/team, headerMatches: [{name: X-Team, value: a, mismatch: REPLACE}]}
  - toEndpoints: [{matchLabels: {app: db}}]
    toPorts: [{ports: [{port: '5432', protocol: TCP}]}]
  - toCIDR: [192.0.2.0/24]
    toPorts: [{ports: [{port: '53', protocol: UDP}, {port: '36412', protocol: SCTP}]}]
  egressDeny:
  - toPorts: [{ports: [{port: '22', protocol: TCP}]}]
";
const API: &str = "apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: api}
spec:
  endpointSelector: {matchLabels: {app: api}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: web}}]
    toPorts:
    - ports: [{port: '80', protocol: TCP}]
      rules: {http: [{headerMatches: [{name: X-Token, secret: {name: key}}]}]}
";
const WEB_NAME: &str = "CiliumNetworkPolicy default/web";

fn desk(files: &[(&str, &str)]) -> Desk {
    let secret = [("config.yaml", CONFIG), ("secrets/default/key/value", "s3cr3t")];
    Desk::new(&[secret.as_slice(), files].concat())
}

fn both() -> Desk {
    desk(&[("policies/web.yaml", &WEB.replace("{0}", "")), ("policies/api.yaml", API)])
}

/// `words`: what is asked, of `from` to `to`.
fn ask(desk: &Desk, from: &str, to: &str, words: &[&str]) -> Ended {
    let ended = desk.run(&[&["explain", "--config", "config.yaml", "--from", from, "--to", to], words].concat());
    assert!(!ended.out.contains("s3cr3t") && !ended.err.contains("s3cr3t"), "{}", ended.out);
    ended
}

/// From `default/web` to `default/api`.
fn explain(desk: &Desk, words: &[&str]) -> Ended {
    ask(desk, "default/web", "default/api", words)
}

fn explain_json(desk: &Desk, words: &[&str]) -> Value {
    explain(desk, &[words, &["--output", "json"]].concat()).json()
}

#[test]
fn a_pod_is_the_same_by_name_and_by_address() {
    let desk = both();
    for from in ["default/web", "10.0.0.1"] {
        let ended = ask(&desk, from, "203.0.113.1", &["--port", "80", "GET", "/"]);
        assert_eq!(ended.code, Some(1), "{}{}", ended.out, ended.err);
        assert!(ended.out.contains(&format!("default deny by {WEB_NAME}")), "{}", ended.out);
    }
}

#[test]
fn a_denial_names_the_rules_that_came_near_and_all_that_they_miss() {
    let ended = explain(&both(), &["--port", "80", "POST", "/reports/1"]);
    let wanted = [
        "POST /reports/1: default/web -> default/api:80",
        "  egress of default/web: denied: no rule allows it; default deny by CiliumNetworkPolicy default/web",
        "    1. CiliumNetworkPolicy default/web egress[0].toPorts[0].rules.http[1] (POST /reports) policies/web.yaml:19",
        "       path: wants /reports, is /reports/1",
        "    2. CiliumNetworkPolicy default/web egress[0].toPorts[0].rules.http[2] (* /read/team [x-team: a else REPLACE]) policies/web.yaml:20",
        "       path: wants /read/team, is /reports/1",
        "    3. CiliumNetworkPolicy default/web egress[0].toPorts[0].rules.http[0] (GET /read.* [x-token: secret default/key else ADD] [x-debug: off else DELETE] [x-team: a else REPLACE] [x-trace: b else LOG]) policies/web.yaml:12",
        "       method: wants GET, is POST",
        "       path: wants /read.*, is /reports/1",
        "    4. CiliumNetworkPolicy default/web egress[1].toPorts[0] (app=db,io.kubernetes.pod.namespace=default, port 5432/TCP) policies/web.yaml:22",
        "       peer: wants app=db,io.kubernetes.pod.namespace=default, is default/api (app=api, io.kubernetes.pod.namespace=default)",
        "       port: wants 5432/TCP, is 80/TCP",
        "    5. CiliumNetworkPolicy default/web egress[2].toPorts[0] (192.0.2.0/24, port 53/UDP) policies/web.yaml:24",
        "       peer: wants 192.0.2.0/24, is default/api (app=api, io.kubernetes.pod.namespace=default)",
        "       port: wants 53/UDP or 36412/SCTP, is 80/TCP",
        "  ingress of default/api: denied: no rule allows it; default deny by CiliumNetworkPolicy default/api",
        "    1. CiliumNetworkPolicy default/api ingress[0].toPorts[0].rules.http[0] (* * [x-token: secret default/key]) policies/api.yaml:10",
        "       header x-token: wants x-token: secret default/key, is not there",
        "verdict: DENIED",
    ];
    assert_eq!((ended.code, ended.lines()), (Some(1), wanted.to_vec()), "{}", ended.err);
}

#[test]
fn the_form_for_programs_says_the_same_of_a_denial() {
    let told = explain_json(&both(), &["--port", "80", "POST", "/reports/1"]);
    assert_eq!(
        (&told["verdict"], &told["protocol"], &told["path"]),
        (&"DENIED".into(), &"TCP".into(), &"/reports/1".into())
    );
    let side = &told["sides"][0];
    assert_eq!(
        (&side["direction"], &side["pod"], &side["verdict"]),
        (&"egress".into(), &"default/web".into(), &"DENIED".into())
    );
    assert_eq!(side["deniedBy"], json!([WEB_NAME]));
    let first = json!({
        "policy": WEB_NAME, "rule": "egress[0].toPorts[0].rules.http[1]", "summary": "POST /reports",
        "file": "policies/web.yaml", "line": 19,
        "missed": [{"field": "path", "expected": "/reports", "found": "/reports/1"}],
    });
    assert_eq!(
        (&side["tried"][0], side["tried"].as_array().map(Vec::len), &side["triedNotShown"]),
        (&first, Some(5), &0.into())
    );
    assert_eq!((&side["nearest"]["rule"], &side["nearest"]["field"]), (&first["rule"], &"path".into()));
    assert_eq!(told["sides"][1]["tried"][0]["missed"][0]["found"], Value::Null);
}

#[test]
fn only_the_nearest_are_told_unless_all_are_asked_for() {
    let rules: Vec<String> = (0..12).map(|number| format!("{{path: /{number}}}")).collect();
    let policy = API.replace("{headerMatches: [{name: X-Token, secret: {name: key}}]}", &rules.join(", "));
    let desk = desk(&[("policies/api.yaml", &policy)]);
    let asked = ["--port", "80", "GET", "/11/x"];
    let ended = explain(&desk, &asked);
    assert!(ended.lines()[3].contains("rules.http[11] (* /11)"), "the closest path first: {}", ended.out);
    assert!(ended.out.contains("    and 7 rules more: --all tells them too"), "{}", ended.out);
    let all = explain(&desk, &[&["--all"], asked.as_slice()].concat());
    assert_eq!(all.lines().iter().filter(|line| line.contains("path: wants")).count(), 12, "{}", all.out);
    assert!(!all.out.contains("--all"));
    for (more, told) in [([].as_slice(), (5, 7)), (&["--all"], (12, 0))] {
        let side = &explain_json(&desk, &[more, &asked].concat())["sides"][1];
        assert_eq!(
            (side["tried"].as_array().map(Vec::len), side["triedNotShown"].as_u64()),
            (Some(told.0), Some(told.1))
        );
    }
}

#[test]
fn an_allowed_request_is_told_with_its_rules_and_with_what_is_done_to_its_headers() {
    let ended = explain(&both(), &["--port", "80", "--header", "X-Debug: on", "GET", "/read/team"]);
    let rule = "CiliumNetworkPolicy default/web egress[0].toPorts[0].rules.http";
    let lines = ended.lines();
    assert!(
        lines[1].starts_with(&format!("  egress of default/web: allowed by {rule}[0] (GET /read.*")),
        "{}",
        ended.out
    );
    assert!(lines[1].ends_with(") policies/web.yaml:12"), "{}", lines[1]);
    let acts = [
        format!("    DELETE x-debug, by {rule}[0]"),
        format!(
            "    REPLACE x-team: a, by {rule}[0] and CiliumNetworkPolicy default/web egress[0].toPorts[0].rules.http[2]"
        ),
        format!("    ADD x-token: [redacted], by {rule}[0]"),
        format!("    LOG x-trace: b, by {rule}[0]"),
    ];
    assert_eq!(lines[2..6], acts);
    // The one proxy adds what the other one wants.
    assert!(
        lines[6].starts_with("  ingress of default/api: allowed by CiliumNetworkPolicy default/api"),
        "{}",
        lines[6]
    );
    assert_eq!((ended.code, lines[7..].to_vec()), (Some(0), vec!["verdict: ALLOWED"]));
    let side = &explain_json(&both(), &["--port", "80", "GET", "/read/x"])["sides"][0];
    assert_eq!((&side["verdict"], &side["allowedBy"]["line"]), (&"ALLOWED".into(), &12.into()));
    let act = &side["headers"][1];
    assert_eq!((&act["action"], &act["name"], &act["value"]), (&"ADD".into(), &"x-token".into(), &"[redacted]".into()));
    assert_eq!(act["by"][0]["rule"], "egress[0].toPorts[0].rules.http[0]");
}

#[test]
fn what_the_client_sends_is_not_told_beside_a_secret() {
    let ended =
        ask(&both(), "default/web", "default/api", &["--port", "80", "--header", "X-Token: guess", "GET", "/read"]);
    assert!(
        ended.out.contains("header x-token: wants x-token: secret default/key, is [redacted], [redacted]"),
        "{}",
        ended.out
    );
    assert!(!ended.out.contains("guess"), "{}", ended.out);
    assert_eq!(ended.code, Some(1), "a second value beside the one that was added");
}

#[test]
fn connections_are_allowed_redirected_or_denied_on_both_sides() {
    let desk = both();
    let redirected = explain(&desk, &["--port", "80"]);
    assert_eq!(redirected.code, Some(0), "{}", redirected.err);
    let lines = redirected.lines();
    assert_eq!(lines[0], "TCP: default/web -> default/api:80");
    assert_eq!(lines[1], "  egress of default/web: redirected to the proxy: each of its requests is judged");
    assert!(
        lines[2].contains("by CiliumNetworkPolicy default/web egress[0].toPorts[0] (")
            && lines[2].ends_with("web.yaml:9")
    );
    assert!(
        lines[4].contains("by CiliumNetworkPolicy default/api ingress[0].toPorts[0] (")
            && lines[4].ends_with("api.yaml:9")
    );
    assert!(lines[5].starts_with("verdict: REDIRECTED"), "{}", lines[5]);
    let told = explain_json(&desk, &["--port", "80"]);
    assert_eq!(
        (&told["verdict"], &told["method"], &told["sides"][1]["verdict"]),
        (&"REDIRECTED".into(), &Value::Null, &"REDIRECTED".into())
    );
    assert_eq!(told["sides"][1]["judgedBy"][0]["rule"], "ingress[0].toPorts[0]");

    let denied = explain(&desk, &["--port", "81", "--protocol", "tcp"]);
    assert_eq!((denied.code, denied.lines().pop()), (Some(1), Some("verdict: DENIED")));
    assert_eq!(denied.lines()[3], "       port: wants 80/TCP, is 81/TCP");
    assert!(denied.out.contains("  ingress of default/api: denied: no rule allows it"), "{}", denied.out);

    let allowed = ask(&desk, "default/web", "default/db", &["--port", "5432"]);
    assert_eq!((allowed.code, allowed.lines().pop()), (Some(0), Some("verdict: ALLOWED")), "{}", allowed.out);
    assert!(allowed.lines()[1].contains("allowed by CiliumNetworkPolicy default/web egress[1].toPorts[0] ("));
    assert!(allowed.lines()[2].ends_with("ingress of default/db: allowed: no policy selects it in this direction"));
}

#[test]
fn other_protocols_than_tcp() {
    let desk = both();
    for (protocol, port, code) in
        [("udp", "53", 0), ("sctp", "36412", 0), ("tcp", "53", 1), ("udp", "54", 1), ("sctp", "53", 1)]
    {
        let ended = ask(&desk, "default/web", "192.0.2.7", &["--port", port, "--protocol", protocol]);
        assert_eq!(ended.code, Some(code), "{protocol} {port}: {}", ended.out);
        assert!(
            ended.out.contains("  ingress of 192.0.2.7: allowed: it is no pod of the configuration"),
            "{}",
            ended.out
        );
        let rule = "egress[2].toPorts[0] (192.0.2.0/24, port 53/UDP) policies/web.yaml:24";
        assert!(code == 0 || ended.lines()[2].ends_with(rule), "{}", ended.out);
    }
    let other = ask(&desk, "default/web", "198.51.100.1", &["--port", "53", "--protocol", "udp"]);
    assert!(other.out.contains("peer: wants 192.0.2.0/24, is 198.51.100.1 (reserved:world)"), "{}", other.out);
}

#[test]
fn a_rule_that_denies_is_told_with_its_place() {
    for words in [["--port", "22"].as_slice(), &["--port", "22", "GET", "/"]] {
        let ended = explain(&both(), words);
        assert_eq!(ended.code, Some(1));
        assert!(ended.lines()[1].starts_with(
            "  egress of default/web: denied by CiliumNetworkPolicy default/web egressDeny[0].toPorts[0]"
        ));
        assert!(ended.lines()[1].ends_with(" policies/web.yaml:26"), "{}", ended.out);
        assert!(ended.lines()[2].starts_with("  ingress of"), "nothing else would help: {}", ended.out);
    }
}

#[test]
fn what_is_audited_says_so() {
    let audited = WEB.replace("{0}", ", annotations: {l7proxy.io/audit: 'true'}");
    let desk = desk(&[("policies/web.yaml", &audited)]);
    for words in [["--port", "80", "POST", "/x"].as_slice(), &["--port", "81"], &["--port", "53", "--protocol", "udp"]]
    {
        let ended = explain(&desk, words);
        assert_eq!(
            (ended.code, ended.lines().pop()),
            (Some(0), Some("verdict: AUDIT, it passes and is recorded as denied but for the audit"))
        );
        assert!(
            ended.lines()[1].starts_with("  egress of default/web: allowed, and audited: denied: no rule allows it")
        );
        assert!(ended.lines()[2].starts_with("    1. CiliumNetworkPolicy default/web egress["), "{}", ended.out);
        let told = explain_json(&desk, words);
        assert_eq!((&told["verdict"], &told["sides"][0]["verdict"]), (&"AUDIT".into(), &"AUDIT".into()));
        assert!(!told["sides"][0]["tried"][0]["missed"][0]["field"].is_null());
    }
    let ended = explain(&desk, &["--port", "22"]);
    assert!(ended.lines()[1].contains("allowed, and audited: denied by CiliumNetworkPolicy default/web egressDeny[0]"));
    let global = Desk::new(&[("config.yaml", &(CONFIG.to_owned() + "audit: true\n")), ("policies/api.yaml", API)]);
    assert!(explain(&global, &["--port", "81"]).out.contains("verdict: AUDIT"));
}

#[test]
fn this_node_may_reach_its_own_pods() {
    let desk = both();
    let ended = ask(&desk, "10.0.0.9", "default/api", &["--port", "81"]);
    assert!(
        ended.out.contains("ingress of default/api: allowed: this node may always reach its pods (host.allow)"),
        "{}",
        ended.out
    );
    assert_eq!(ended.code, Some(0));
    let strict = CONFIG.replace("host: {", "host: {allow: false, ");
    let desk = Desk::new(&[("config.yaml", &strict), ("policies/api.yaml", API)]);
    assert_eq!(ask(&desk, "10.0.0.9", "default/api", &["--port", "81"]).code, Some(1));
}

#[test]
fn a_policy_that_is_not_valid_denies_and_is_told_why() {
    let desk = desk(&[("policies/api.yaml", &API.replace("ports:", "prts:"))]);
    let ended = explain(&desk, &["--port", "80", "GET", "/"]);
    assert_eq!(ended.code, Some(1), "{}{}", ended.out, ended.err);
    assert!(
        ended.out.contains("    CiliumNetworkPolicy default/api is not valid, so it allows nothing:\n"),
        "{}",
        ended.out
    );
    assert!(
        ended.out.contains("      policies/api.yaml:9: spec.ingress[0].toPorts[0].prts: unknown field"),
        "{}",
        ended.out
    );
    let refused = &explain_json(&desk, &["--port", "80", "GET", "/"])["sides"][1]["refused"][0];
    assert_eq!(
        (&refused["policy"], &refused["errors"][0]["line"]),
        (&"CiliumNetworkPolicy default/api".into(), &9.into())
    );
}

#[test]
fn a_request_without_a_single_meaning_is_told_only_where_the_proxy_sees_it() {
    let desk = both();
    let ended = explain(&desk, &["--port", "80", "GET", "/a;b"]);
    assert_eq!(
        (ended.code, ended.lines().pop()),
        (Some(1), Some("verdict: MALFORMED, answered with 400: the path has parameters (;)"))
    );
    let told = explain_json(&desk, &["--port", "80", "GET", "/a;b"]);
    assert_eq!((&told["verdict"], &told["reason"]), (&"MALFORMED".into(), &"path-parameter".into()));
    assert_eq!(ask(&desk, "default/web", "default/db", &["--port", "5432", "GET", "/a;b"]).code, Some(0));
    assert_eq!(explain(&desk, &["--port", "81", "GET", "/a;b"]).lines().pop(), Some("verdict: DENIED"));
}

#[test]
fn a_path_is_told_as_it_is_judged() {
    let ended = explain(&both(), &["--port", "80", "GET", "/x/..//read/%61"]);
    assert_eq!((ended.code, ended.lines()[0]), (Some(0), "GET /read/a: default/web -> default/api:80"));
}

#[test]
fn ordered_rules_have_their_places() {
    let policy = "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: api, namespace: default}\nspec:\n  \
                  selector: app == 'api'\n  ingress:\n  - action: Deny\n    protocol: UDP\n  - action: Allow\n    protocol: TCP\n    \
                  destination: {ports: [80]}\n    http: {methods: [GET]}\n";
    let desk = desk(&[("policies/api.yaml", policy)]);
    for (words, line, rule, place) in [
        (["--port", "9", "--protocol", "udp"].as_slice(), 2, " ingress[0] (", " policies/api.yaml:7"),
        (&["--port", "80", "POST", "/"], 3, " ingress[1] (", " policies/api.yaml:9"),
        (&["--port", "80", "GET", "/"], 2, " ingress[1] (", " policies/api.yaml:9"),
        (&["--port", "80"], 3, " ingress[1] (", " policies/api.yaml:9"),
    ] {
        let ended = explain(&desk, words);
        assert!(ended.lines()[line].contains(rule) && ended.lines()[line].ends_with(place), "{}", ended.out);
    }
}

#[test]
fn messages_are_judged_by_their_types() {
    let policy = API.replace("toPorts:", "icmps: [{fields: [{type: 8, family: IPv4}]}]\n  - toPorts:");
    let desk = desk(&[("policies/api.yaml", &policy)]);
    let allowed = explain(&desk, &["--protocol", "icmp", "--type", "8"]);
    assert_eq!(
        (allowed.code, allowed.lines()[0]),
        (Some(0), "ICMP type 8: default/web -> default/api"),
        "{}",
        allowed.err
    );
    assert!(
        allowed.lines()[2].contains("allowed by CiliumNetworkPolicy default/api ingress[0].icmps[0] ("),
        "{}",
        allowed.out
    );
    let denied = explain(&desk, &["--protocol", "icmp", "--type", "13"]);
    assert_eq!(denied.code, Some(1), "{}", denied.out);
    assert_eq!(denied.lines()[4], "       type: wants 8/ICMP, is 13/ICMP", "{}", denied.out);
    assert_eq!(explain(&desk, &["--protocol", "icmpv6", "--type", "128"]).code, Some(1));
    let told = explain_json(&desk, &["--protocol", "icmp", "--type", "8"]);
    assert_eq!((&told["protocol"], &told["type"], &told["to"]["port"]), (&"ICMP".into(), &8.into(), &Value::Null));
}

#[test]
fn the_end_of_a_calico_tier_is_explained() {
    let pod = |name: &str, address: &str| {
        format!("- {{pod: default/{name}, pid: 1, addresses: [{address}], labels: {{app: {name}}}}}\n")
    };
    let config = format!("policies: [p.yaml]\nendpoints:\n{}{}", pod("web", "10.0.0.1"), pod("api", "10.0.0.2"));
    let policy = "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: platform}\nspec: {order: 1}\n---\n\
                  apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: api}\nspec:\n  tier: platform\n  \
                  selector: app == 'api'\n  ingress:\n  - {action: Allow, protocol: TCP, source: {selector: app == 'other'}}\n";
    let desk = Desk::new(&[("config.yaml", config.as_str()), ("p.yaml", policy)]);
    let ask = ["explain", "--config", "config.yaml", "--from", "default/web", "--to", "default/api", "--port", "80"];
    let ended = desk.run(&[ask.as_slice(), &["GET", "/"]].concat());
    assert_eq!(ended.code, Some(1), "{}{}", ended.out, ended.err);
    let missed =
        "       source.selector: wants app == \"other\", is default/web (app=web, io.kubernetes.pod.namespace=default)";
    for part in ["the end of tier \"platform\"", "GlobalNetworkPolicy api ingress[0] (", ") p.yaml:13", missed] {
        assert!(ended.out.contains(part), "{part} is not in {}", ended.out);
    }
    let ended = desk.run(&[ask.as_slice(), &["--output", "json", "GET", "/"]].concat());
    assert!(ended.out.contains("\"tier\":\"platform\""), "{}", ended.out);
}

#[test]
fn what_cannot_be_asked_is_trouble() {
    let desk = both();
    for (words, told) in [
        (["--port", "80", "GET"].as_slice(), "<PATH>"),
        (&["--port", "80", "--protocol", "udp", "GET", "/"], "requests are judged over tcp only"),
        (&["--port", "80", "--header", "X", "GET", "/"], "not a header"),
        (&["--port", "80", "--protocol", "gre"], "gre"),
        (&["GET", "/"], "--port: is missing"),
        (&["--protocol", "icmp"], "--type: is missing"),
        (&["--protocol", "icmp", "--type", "8", "--port", "8"], "--port: ICMP has none"),
        (&["--protocol", "icmpv6", "--type", "8", "GET", "/"], "requests are judged over tcp only"),
        (&["--protocol", "udp", "--port", "8", "--type", "8"], "--type: UDP has none"),
        (&["--protocol", "icmp", "--type", "256"], "256"),
        (&["--port", "80", "--header", "X: y"], "<METHOD>"),
    ] {
        let ended = explain(&desk, words);
        assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{words:?}");
        assert!(ended.err.contains(told), "{words:?}: {}", ended.err);
    }
    let nobody = ask(&desk, "default/nobody", "default/api", &["--port", "80"]);
    assert_eq!((nobody.code, nobody.err.lines().count()), (Some(2), 1), "{}", nobody.err);
    let broken = Desk::new(&[("config.yaml", CONFIG), ("policies/a.yaml", "kind: [\n"), ("policies/b.yaml", "a: [\n")]);
    let ended = explain(&broken, &["--port", "80"]);
    assert_eq!((ended.code, ended.err.lines().count()), (Some(2), 2), "each of them: {}", ended.err);
}
