use serde_json::json;

use super::*;

fn endpoint(pod: &str, state: &str, policies: &[(&str, &str)]) -> Value {
    let policy =
        |(policy, state): &(&str, &str)| json!({"policy": policy, "state": state, "ingress": false, "egress": true});
    json!({
        "pod": pod, "id": 7, "identity": 256, "state": state,
        "error": (state == "error").then_some("no such namespace"),
        "ingress": {"enforced": false, "redirects": 0}, "egress": {"enforced": true, "redirects": 1},
        "policies": policies.iter().map(policy).collect::<Vec<_>>(),
    })
}

fn policy(name: &str, state: &str, errors: &[&str]) -> Value {
    json!({"policy": name, "file": "p.yaml", "state": state, "revision": 3, "audit": false, "errors": errors})
}

fn status(endpoints: &[Value], policies: &[Value]) -> Value {
    json!({
        "ready": true, "revision": 9, "pid": 42, "endpoints": endpoints, "policies": policies, "errors": [],
        "skipped": [], "kernel": {"links": 9, "policies": 2, "policyStandbys": 1, "policyEntries": 12, "features": {"connect4": true}}, "notEnforced": [], "counters": {"a": 0},
    })
}

#[test]
fn what_is_wrong_comes_first() {
    let applied =
        [("CNP default/good", "in force"), ("CNP default/old", "last good version"), ("CNP default/bad", "refused")];
    let endpoints = [endpoint("default/a", "ready", &applied), endpoint("default/b", "error", &[])];
    let policies = [
        policy("CNP default/bad", "refused", &["p.yaml:3: spec: is missing"]),
        policy("CNP default/good", "in force", &[]),
        policy("CNP default/gone", "last good version", &[]),
        policy("CNP default/old", "last good version", &["p.yaml:9: spec.x: unknown field"]),
        policy("CNP default/secret", "in force", &["p.yaml: secret default/s: there is none"]),
        policy("Tier t", "in force", &[]),
    ];
    let mut status = status(&endpoints, &policies);
    status["errors"] = json!(["q.yaml: cannot be read"]);
    status["kernel"]["lacking"] = json!(["tcx (Linux 6.6): the backstop is attached by clsact: no"]);
    status["pathRelaxed"] = json!(["allowEncodedSlash: true", "mergeSlashes: false"]);
    status["counters"]["kernel_refused"] = 5.into();
    let told = [
        "ready   revision 9   pid 42",
        "2 pods, 1 of them not ready; 6 policies: 3 in force, 2 last good version, 1 refused",
        "kernel: links 9, policies 2 and 1 kept for the next change, entries 12",
        "error: q.yaml: cannot be read",
        "kernel lacks tcx (Linux 6.6): the backstop is attached by clsact: no",
        "endpoint default/b [7]: error, ingress open, egress enforced (1 redirect): no such namespace",
        "endpoint default/a [7]: ready, ingress open, egress enforced (1 redirect)",
        "  egress: CNP default/good, CNP default/old (last good version), CNP default/bad (refused)",
        "policy CNP default/bad: refused since revision 3: it allows nothing, and what it selects is under default deny; for default/a",
        "  p.yaml:3: spec: is missing",
        "policy CNP default/old: last good version, of revision 3, stays in force: what its file holds now is not valid; for default/a",
        "  p.yaml:9: spec.x: unknown field",
        "policy CNP default/gone: last good version, of revision 3, stays in force: its file cannot be read; for no pod of this node",
        "policy CNP default/secret: in force since revision 3; for no pod of this node",
        "  p.yaml: secret default/s: there is none",
        "policy CNP default/good: in force since revision 3; for default/a",
        "policy Tier t: in force since revision 3",
        "relaxed: proxy.path.allowEncodedSlash: true",
        "relaxed: proxy.path.mergeSlashes: false",
        "counter kernel_refused: 5",
    ];
    assert_eq!(lines(&status), told);
}

#[test]
fn many_pods_and_documents_are_counted() {
    let pods: Vec<Value> =
        (0..9).map(|number| endpoint(&format!("default/{number}"), "ready", &[("CNP a/b", "in force")])).collect();
    let mut audited = policy("CNP a/b", "in force", &[]);
    audited["audit"] = true.into();
    let mut status = status(&pods, &[audited]);
    status["skipped"] = (0..15).map(|number| format!("p.yaml:{number}: Pod (v1)")).collect();
    status["ready"] = false.into();
    let lines = lines(&status);
    assert!(lines[0].starts_with("NOT READY   revision 9"));
    let policy =
        "policy CNP a/b: in force since revision 3, only audited; for default/0, default/1, default/2 and 6 pods more";
    assert!(lines.iter().any(|line| line == policy), "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("skipped: p.yaml")).count(), 10);
    assert_eq!(lines.last().unwrap(), "skipped: and 5 documents more; --output json has all");
}

#[test]
fn the_hubble_api_has_a_line_where_it_is_served() {
    let mut status = status(&[], &[]);
    assert!(!lines(&status).iter().any(|line| line.starts_with("hubble")), "{status}");
    status["hubble"] = json!({
        "socket": "/run/hubble.sock", "listen": "127.0.0.1:4244", "tls": true, "connections": 2, "streams": 1,
        "records": 5, "recordsSeen": 9, "bytes": 1500,
    });
    let expected =
        "hubble: /run/hubble.sock and 127.0.0.1:4244 (TLS); 2 connections, 1 stream; 5 records in 2 KiB".to_owned();
    assert!(lines(&status).contains(&expected), "{:?}", lines(&status));
    status["hubble"] = json!({"socket": null, "listen": "127.0.0.1:4244", "tls": false});
    let expected = "hubble: 127.0.0.1:4244; 0 connections, 0 streams; 0 records in 0 KiB".to_owned();
    assert!(lines(&status).contains(&expected), "{:?}", lines(&status));
}
