//! What is no plain request: several at once, ambiguous ones, other protocols.

use anyhow::Result;
use conformance::{
    Node, Pod,
    client::curl,
    node::Flow,
    server::{self, Server},
};

use crate::manifests::READ_ONLY;

struct Stage {
    client: Pod,
    api: Pod,
    server: Server,
    node: Node,
}

fn stage() -> Result<Stage> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let server = server::http(&api, 8080)?;
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.start()?;
    Ok(Stage { client, api, server, node })
}

impl Stage {
    /// Sends bytes as they are, ends the sending side, and returns all that came back; nothing after a reset.
    fn send(&self, bytes: &str) -> Result<String> {
        Ok(server::connect(&self.client, (self.api.v4, 8080), Some(bytes))?.reply.unwrap_or_default())
    }
}

#[test]
fn pipelined_requests_are_judged_one_by_one() -> Result<()> {
    let stage = stage()?;
    let reply = stage.send(
        "GET /read/1 HTTP/1.1\r\nHost: a\r\n\r\nGET /write HTTP/1.1\r\nHost: a\r\n\r\nGET /read/2 HTTP/1.1\r\nHost: a\r\n\r\n",
    )?;
    let statuses: Vec<&str> = reply.split("HTTP/1.1 ").skip(1).filter_map(|answer| answer.get(..3)).collect();
    assert_eq!(statuses, ["200", "403", "200"], "{reply}");
    let targets: Vec<String> = stage.server.seen()?.into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/read/1", "/read/2"]);
    Ok(())
}

#[test]
fn nothing_is_smuggled_behind_an_allowed_request() -> Result<()> {
    let stage = stage()?;
    let hidden = "GET /write HTTP/1.1\r\nHost: a\r\n\r\n";
    let lengths = format!("Content-Length: {}", hidden.len());
    for framing in [
        format!("{lengths}\r\nTransfer-Encoding: chunked"),
        format!("{lengths}\r\nContent-Length: 0"),
        "Transfer-Encoding: chunked, identity".to_owned(),
        "Transfer-Encoding : chunked".to_owned(),
        "Transfer-Encoding: xchunked".to_owned(),
        format!("X: y\nContent-Length: 0\r\n{lengths}"),
        "Content-Length: +0".to_owned(),
    ] {
        let reply = stage.send(&format!("GET /read/1 HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n0\r\n\r\n{hidden}"))?;
        assert!(!reply.contains("200 OK"), "{framing}: {reply}");
    }
    assert!(stage.server.seen()?.is_empty(), "{:?}", stage.server.seen());
    Ok(())
}

#[test]
fn what_is_not_http_reaches_nobody() -> Result<()> {
    let stage = stage()?;
    for bytes in [
        "EHLO x\r\n",
        "\u{16}\u{3}\u{1}",
        "\r\n\r\n",
        "GET /read/a\r\n",
        "PRI * HTTP/2.0\r\n\r\nGET /read/a HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let reply = stage.send(bytes)?;
        assert!(!reply.contains("200 OK"), "{bytes:?}: {reply}");
    }
    assert!(stage.server.seen()?.is_empty(), "{:?}", stage.server.seen());
    Ok(())
}

#[test]
fn http2_is_judged_too() -> Result<()> {
    let stage = stage()?;
    let url = format!("http://{}:8080/write", stage.api.v4);
    let denied = curl(&stage.client, &["--http2-prior-knowledge"], &url)?;
    assert_eq!((denied.status, denied.body.as_str()), (403, "Access denied\r\n"));
    // An offer to switch is not taken up: the request is judged as it is.
    assert_eq!(curl(&stage.client, &["--http2"], &url)?.status, 403);
    let allowed = format!("http://{}:8080/read/a", stage.api.v4);
    assert_eq!(curl(&stage.client, &["--http2"], &allowed)?.status, 200);
    assert_eq!(stage.server.seen()?.len(), 1);
    Ok(())
}

#[test]
fn a_tunnel_is_a_request_like_any_other() -> Result<()> {
    let stage = stage()?;
    let reply = stage.send(&format!("CONNECT {}:9090 HTTP/1.1\r\nHost: a\r\n\r\n", stage.api.v4))?;
    assert!(!reply.contains("200"), "{reply}");
    let dropped = &stage.node.wait_flows(0, 1, Flow::is_verdict)?[0];
    assert_eq!(dropped.verdict(), "DROPPED");
    Ok(())
}

#[test]
fn the_listener_serves_only_who_was_sent_to_it() -> Result<()> {
    let stage = stage()?;
    let listening = conformance::process::output(stage.client.command("ss").args(["-Hltn", "src", "127.0.0.1"]))?;
    let ports: Vec<u16> =
        listening.lines().filter_map(|line| line.split_whitespace().nth(3)?.rsplit(':').next()?.parse().ok()).collect();
    assert!(!ports.is_empty(), "the proxy listens inside of the pod: {listening}");
    for port in ports {
        let request = format!("GET /read/a HTTP/1.1\r\nHost: {}:8080\r\n\r\n", stage.api.v4);
        let outcome = server::connect(&stage.client, ([127, 0, 0, 1], port), Some(&request))?;
        assert!(outcome.reply.unwrap_or_default().is_empty(), "port {port}");
    }
    assert!(stage.server.seen()?.is_empty());
    Ok(())
}

#[test]
fn a_large_body_arrives_whole() -> Result<()> {
    upload(&["--header", "Expect:"])
}

#[test]
fn a_server_that_does_not_know_expectations_gets_the_body_too() -> Result<()> {
    // curl waits a second for leave, and then sends without.
    upload(&["--header", "Expect: 100-continue"])
}

fn upload(arguments: &[&str]) -> Result<()> {
    const BYTES: u64 = 20 << 20;
    let stage = stage()?;
    stage.node.apply("policy.yaml", &READ_ONLY.replace("method: GET", "method: PUT"))?;
    let body = stage.node.path("body");
    std::fs::File::create(&body)?.set_len(BYTES)?;
    let body = body.display().to_string();
    let arguments = [arguments, &["--upload-file", &body]].concat();
    let answer = curl(&stage.client, &arguments, &format!("http://{}:8080/read/upload", stage.api.v4))?;
    assert_eq!(answer.status, 200, "{answer:?}\n{}", stage.node.log());
    let seen: Vec<u64> = stage.server.seen()?.iter().map(|seen| seen.body).collect();
    assert_eq!(seen, [BYTES]);
    Ok(())
}
