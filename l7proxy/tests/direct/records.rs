//! What a record says.

use crate::stage::Stage;

#[test]
fn a_denial_names_policies_and_the_nearest_rule() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("POST /read/x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    client.until("denied\r\n");
    let records = stage.records(2);
    let request = &records[0];
    assert_eq!(request["drop_reason_desc"], "POLICY_DENIED");
    assert_eq!(request["egress_denied_by"][0]["name"], "policy");
    assert_eq!(request["source"]["pod_name"], "client");
    assert_eq!(request["destination"]["pod_name"], "api");
    assert_eq!(request["destination"]["labels"][0], "k8s:app=api");
    let extension = &request["extensions"]["value"];
    assert_eq!(extension["reason"], "no-rule");
    assert_eq!(extension["nearest"]["policy"], "CiliumNetworkPolicy default/policy");
    assert_eq!(extension["nearest"]["rule"], "egress[0].toPorts[0].rules.http[0]");
    assert_eq!(extension["nearest"]["field"], "method");
    assert_eq!(records[1]["is_reply"], true);
    assert_eq!(records[1]["source"]["pod_name"], "api");
}

#[test]
fn an_allowed_request_names_its_rule() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("GET /read/x HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut server = stage.accept();
    server.head();
    server.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    client.head();
    let records = stage.records(2);
    assert_eq!(records[0]["egress_allowed_by"][0]["name"], "policy");
    assert_eq!(records[0]["extensions"]["value"]["rule"], "egress[0].toPorts[0].rules.http[0]");
    assert_eq!(records[0]["l7"]["http"]["url"], "http://h/read/x");
    assert_eq!(records[1]["l7"]["http"]["code"], 404);
}

#[test]
fn a_trace_is_found_again() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("GET /write HTTP/1.1\r\nHost: h\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n");
    client.until("denied\r\n");
    for record in stage.records(2) {
        assert_eq!(record["trace_context"]["parent"]["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    }
}

/// Of a message, as `Name: value`.
fn fields(record: &serde_json::Value) -> Vec<String> {
    let fields = record["l7"]["http"]["headers"].as_array().into_iter().flatten();
    fields.map(|field| format!("{}: {}", field["key"].as_str().unwrap(), field["value"].as_str().unwrap())).collect()
}

#[test]
fn fields_are_as_hubble_has_them_and_secrets_are_not_shown() {
    let stage = Stage::new();
    let mut client = stage.client();
    let long = "x".repeat(2000);
    client.send(format!(
        "GET /read/x HTTP/1.1\r\nHost: h\r\nx-two: b\r\nX-SECRET: s3cret\r\nx-two: a\r\nx-request-id: 7\r\naccept: {long}\r\n\r\n"
    ));
    let mut server = stage.accept();
    assert!(server.head().contains("s3cret"), "what passes is not touched");
    server.send("HTTP/1.1 200 OK\r\nSERVER: s\r\nContent-Length: 0\r\nx-secret: s3cret\r\n\r\n");
    client.head();
    let records = stage.records(2);
    let accept = format!("Accept: {}...", "x".repeat(1024));
    let secret = "X-Secret: HUBBLE_REDACTED";
    assert_eq!(fields(&records[0]), [&accept, "X-Request-Id: 7", secret, "X-Two: b", "X-Two: a"]);
    assert_eq!(fields(&records[1]), ["Content-Length: 0", "Server: s", "X-Request-Id: 7", secret]);
}

#[test]
fn what_a_client_sends_cannot_forge_a_record() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("GET /write\"},{\"\\u000a HTTP/1.1\r\nHost: h\r\n\r\n");
    client.until("\r\n\r\n");
    let records = stage.records(2);
    assert_eq!(records.len(), 2);
    assert_eq!(records[0]["l7"]["http"]["url"], "http://h/write\"},{\"\\u000a");
}

const CAME: &str = "l7proxy_http_requests_total{direction=\"egress\",protocol=\"HTTP/1.1\"}";
const IN_FLIGHT: &str = "l7proxy_http_requests_in_flight{direction=\"egress\"}";

#[test]
fn requests_are_counted_when_they_come_and_not_only_when_they_are_answered() {
    let stage = Stage::new();
    let mut client = stage.client();
    client.send("GET /read/x HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut server = stage.accept();
    server.head();
    assert_eq!((stage.told(CAME), stage.told(IN_FLIGHT)), (1, 1), "nobody answered it yet");
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    client.head();
    client.send("GET /write HTTP/1.1\r\nHost: h\r\n\r\n");
    server.send("12345");
    client.until("denied\r\n");
    assert_eq!((stage.told(CAME), stage.told(IN_FLIGHT)), (2, 0), "both are answered");
    drop(stage.records(4));
}
