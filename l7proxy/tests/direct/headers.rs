//! What `headerMatches` do to requests on their way, and what records say of it.

use std::sync::Arc;

use rules::{Secret, SecretName, Secrets};

use crate::stage::{OK, Stage};

fn policy(matches: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: policy, namespace: default}}\nspec:\n  \
         endpointSelector: {{matchLabels: {{app: client}}}}\n  egress:\n  - toPorts: [{{ports: [{{port: \"0\", \
         protocol: TCP}}], rules: {{http: [{{method: GET, headerMatches: [{matches}]}}]}}}}]\n"
    )
}

fn secrets() -> Secrets {
    let name = SecretName { namespace: "default".to_owned(), name: "s".to_owned() };
    [(name, Secret::new(&Arc::from(&b"hush"[..])).unwrap())].into_iter().collect()
}

/// The head that reaches the server for a request with `headers`.
fn arrives(stage: &Stage, headers: &str) -> String {
    let mut client = stage.client();
    client.send(format!("GET /x HTTP/1.1\r\nHost: h\r\n{headers}\r\n"));
    let mut server = stage.accept();
    let head = server.head();
    server.send(OK);
    assert_eq!(client.exactly(OK.len()), OK);
    head
}

#[test]
fn edits_reach_the_server_and_others_keep_their_spelling() {
    let stage = Stage::new();
    stage.publish(&policy(
        "{name: X-Add, value: v, mismatch: ADD}, {name: x-del, value: v, mismatch: DELETE}, {name: x-set, value: v, mismatch: REPLACE}, {name: x-log, value: v, mismatch: LOG}",
    ));
    let head =
        arrives(&stage, "AcCePt: */*\r\nX-DEL: no\r\nX-sEt: no\r\nx-LOG: no\r\nX-Del: v\r\nX-Set: v\r\nX-Last: 1\r\n");
    assert_eq!(
        head,
        "GET /x HTTP/1.1\r\nHost: h\r\nAcCePt: */*\r\nX-sEt: v\r\nx-LOG: no\r\nX-Last: 1\r\nx-add: v\r\n\r\n"
    );
    let untouched = "X-Add: v\r\nX-dEl: v\r\nX-SET: v\r\nx-Log: v\r\n";
    assert_eq!(arrives(&stage, untouched), format!("GET /x HTTP/1.1\r\nHost: h\r\n{untouched}\r\n"));
    let records = stage.records(4);
    let extension = &records[0]["extensions"]["value"];
    assert_eq!(extension["missingHeaders"].as_array().unwrap().len(), 3);
    assert_eq!(extension["missingHeaders"][0]["name"], "x-add");
    assert_eq!(extension["rejectedHeaders"][0]["name"], "x-del");
    assert_eq!(extension["rejectedHeaders"][0]["value"], "no");
    assert!(records[2]["extensions"]["value"]["missingHeaders"].is_null());
}

#[test]
fn an_edit_leaves_a_body_whole() {
    let stage = Stage::new();
    stage.publish(&policy("{name: X-Add, value: v, mismatch: REPLACE}"));
    let mut client = stage.client();
    client.send("GET /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nX-ADD: w\r\n\r\nhello");
    let mut server = stage.accept();
    let wanted = "GET /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nX-ADD: v\r\n\r\nhello";
    assert_eq!(server.exactly(wanted.len()), wanted);
}

#[test]
fn a_secret_is_set_and_told_nowhere() {
    let stage = Stage::new();
    let matches = "{name: Authorization, secret: {name: s}, mismatch: REPLACE}, {name: X-Token, secret: {name: s}}";
    stage.publish_with(&policy(matches), &secrets());
    let head = arrives(&stage, "Authorization: mine\r\nX-Token: hush\r\n");
    assert_eq!(head, "GET /x HTTP/1.1\r\nHost: h\r\nAuthorization: hush\r\nX-Token: hush\r\n\r\n");
    let mut client = stage.client();
    client.send("GET /x HTTP/1.1\r\nHost: h\r\nX-Token: mine\r\n\r\n");
    client.until("denied\r\n");
    assert!(!stage.was_dialled());
    let records = stage.records(4);
    let extension = |index: usize| &records[index]["extensions"]["value"];
    for list in ["missingHeaders", "rejectedHeaders"] {
        assert_eq!(extension(0)[list][0]["name"], "authorization");
        assert_eq!(extension(0)[list][0]["value"], "[redacted]");
    }
    assert_eq!(extension(2)["missingHeaders"][0]["name"], "x-token");
    assert_eq!(extension(2)["missingHeaders"].as_array().unwrap().len(), 1);
    assert_eq!(extension(2)["nearest"]["field"], "header x-token");
    let text = format!("{records:?}");
    assert!(!text.contains("hush") && !text.contains("mine"), "{text}");
}

#[test]
fn without_its_secret_no_request_passes() {
    let stage = Stage::new();
    stage.publish(&policy("{name: X-Token, secret: {name: s}, mismatch: LOG}"));
    let mut client = stage.client();
    client.send("GET /x HTTP/1.1\r\nHost: h\r\nX-Token: hush\r\n\r\n");
    client.until("denied\r\n");
    stage.publish_with(&policy("{name: X-Token, secret: {name: s}, mismatch: LOG}"), &secrets());
    assert!(arrives(&stage, "X-Token: other\r\n").contains("X-Token: other\r\n"));
}

#[test]
fn a_request_that_is_only_audited_is_edited_as_other_rules_want() {
    let stage = Stage::new();
    let audited = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata:\n  name: deny\n  namespace: default\n  \
                   annotations: {l7proxy.io/audit: \"true\"}\nspec:\n  endpointSelector: {}\n  egressDeny: [{toEntities: [all]}]\n";
    stage.publish(&format!("{}---\n{audited}", policy("{name: X-Set, value: v, mismatch: REPLACE}")));
    assert_eq!(arrives(&stage, "X-SET: w\r\n"), "GET /x HTTP/1.1\r\nHost: h\r\nX-SET: v\r\n\r\n");
    let records = stage.records(2);
    assert_eq!(records[0]["verdict"], "AUDIT");
    assert_eq!(records[0]["extensions"]["value"]["rejectedHeaders"][0]["value"], "w");
}
