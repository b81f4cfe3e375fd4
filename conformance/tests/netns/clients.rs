//! Other people's clients see the same through the proxy as without: curl, Go's net/http, and Node's http, http2, fetch, undici
//! and ws; each with a server of Go and one of Node.
//!
//! A request to `/write` is denied through the proxy; the servers answer it as the proxy does. So what is printed is equal, and
//! records say that it was denied.

use std::{net::SocketAddr, path::Path};

use anyhow::{Context, Result};
use conformance::{
    Node, Pod, Process,
    client::{go::Go, node},
    missing,
    node::Flow,
    process::output,
};

use crate::manifests::READ;

struct Stage {
    client: Pod,
    /// The proxy does not know it.
    stranger: Pod,
    /// With Go's server, and with Node's.
    apis: [Pod; 2],
    _servers: [Process; 2],
    go: Go,
    js: node::Node,
    node: Node,
}

impl Stage {
    /// Nothing where a program is missing.
    fn new() -> Result<Option<Self>> {
        let Some(go) = Go::build(Path::new(env!("CARGO_TARGET_TMPDIR")))? else {
            missing("Go 1.24 or newer")?;
            return Ok(None);
        };
        let Some(js) = node::Node::find() else {
            missing("Node with ws and undici")?;
            return Ok(None);
        };
        let mut node = Node::new()?;
        let client = node.pod("default/client", &[("app", "client")])?;
        let apis = [node.pod("default/go", &[("app", "api")])?, node.pod("default/node", &[("app", "api")])?];
        let stranger = node.stranger()?;
        let servers = [go.serve(&apis[0], 8080)?, js.serve(&apis[1], 8080)?];
        node.write_manifest("policy.yaml", READ)?;
        node.start()?;
        Ok(Some(Self { client, stranger, apis, _servers: servers, go, js, node }))
    }

    /// What is printed with each server is the same with us as without.
    fn compare(&self, what: &str, ask: impl Fn(&Pod, SocketAddr) -> Result<String>) -> Result<()> {
        for api in &self.apis {
            let target = SocketAddr::from((api.v4, 8080));
            let about = || format!("{what}, {}", api.name);
            let direct = ask(&self.stranger, target).with_context(about)?;
            let through = ask(&self.client, target).with_context(about)?;
            let pairs = direct.lines().zip(through.lines());
            let differ: Vec<_> = pairs.filter(|(direct, through)| direct != through).collect();
            assert!(differ.is_empty(), "{}: without us, and with us: {differ:#?}", about());
            assert_eq!(direct.lines().count(), through.lines().count(), "{}: {direct}\n{through}", about());
        }
        Ok(())
    }

    /// So many requests of each server's were denied by the proxy, and no other.
    fn denied(&self, count: usize) -> Result<()> {
        let is_denied = |flow: &Flow| flow.verdict() == "DROPPED" && flow.0.pointer("/flow/l7").is_some();
        let flows = self.node.wait_flows(0, 2 * count, is_denied)?;
        assert_eq!(flows.len(), 2 * count, "{flows:?}");
        Ok(())
    }
}

#[test]
fn go_sees_the_same() -> Result<()> {
    let Some(stage) = Stage::new()? else { return Ok(()) };
    stage.compare("Go", |pod, target| stage.go.ask(pod, target))?;
    // Alone and together with others, in HTTP/1 and in HTTP/2.
    stage.denied(4)
}

#[test]
fn node_sees_the_same() -> Result<()> {
    let Some(stage) = Stage::new()? else { return Ok(()) };
    stage.compare("Node", |pod, target| stage.js.ask(pod, target))?;
    // By http, undici, fetch, ws and http2.
    stage.denied(5)
}

/// What curl is called with, but for the address; `@` is a file of a mebibyte.
const CURL: &[&[&str]] = &[
    &["--include", "/read/length"],
    &["--head", "/read/length"],
    &["--include", "--raw", "/read/chunked"],
    &["--include", "/read/headers"],
    &["--include", "/read/204"],
    &["--include", "/read/304"],
    &["--include", "/read/hints"],
    &["--include", "/read/trailers", "--header", "TE: trailers"],
    &["--include", "/read/length?x=/../y;z%2f"],
    &["--include", "/read/echo", "--request", "PURGE", "--header", "X-MiXeD: a", "--header", "x-empty;"],
    &["--include", "/read/echo", "--upload-file", "@"],
    &["--include", "/read/echo", "--upload-file", "@", "--header", "Transfer-Encoding: chunked"],
    &["--include", "/read/echo", "--data", "a=b", "--header", "Expect: 100-continue"],
    &["--include", "/read/early", "--upload-file", "@", "--header", "Expect: 100-continue"],
    &["/read/large?mib=8"],
    // One connection for all, and another after a server's close.
    &["/read/length", "/read/chunked", "/read/204", "/write", "/read/echo", "/read/close", "/read/length"],
    &["/read/length", "/write", "/read/echo", "--data", "a=b"],
];

#[test]
fn curl_sees_the_same() -> Result<()> {
    let Some(stage) = Stage::new()? else { return Ok(()) };
    let body = stage.node.path("body");
    std::fs::write(&body, "0123456789abcdef".repeat(1 << 16))?;
    for version in ["--http1.1", "--http1.0", "--http2-prior-knowledge"] {
        for &arguments in CURL {
            let has = |word: &str| arguments.iter().any(|argument| argument.contains(word));
            let several = arguments.iter().filter(|argument| argument.starts_with('/')).count() > 1;
            let of_11 = has("Transfer-Encoding") || has("Expect");
            let is_not_for = match version {
                // There are neither interim answers nor trailers in it (Go's server sends them all the same), nor chunks.
                "--http1.0" => of_11 || has("hints") || has("trailers"),
                // curl 7.88 uses no connection twice that it made by prior knowledge, and takes an early answer for an error.
                "--http2-prior-knowledge" => of_11 || several,
                _ => false,
            };
            if is_not_for {
                continue;
            }
            let what = format!("curl {version} {}", arguments.join(" "));
            stage.compare(&what, |pod, target| curl(pod, target, version, arguments, &body))?;
        }
    }
    stage.denied(4)
}

fn curl(pod: &Pod, target: SocketAddr, version: &str, arguments: &[&str], body: &Path) -> Result<String> {
    let mut command = pod.command("curl");
    command.args(["--silent", "--show-error", "--globoff", "--path-as-is", "--noproxy", "*", "--max-time", "30"]);
    // Who denies answers in 1.1, also to a client of 1.0; Go's server in 1.0.
    let what = if arguments.contains(&"/write") { "" } else { "%{http_version} " };
    let told = format!("\n{what}%{{http_code}} %{{num_connects}} %{{size_download}}\n");
    command.args([version, "--write-out", &told]);
    for argument in arguments {
        match *argument {
            "@" => command.arg(body),
            path if path.starts_with('/') => command.arg(format!("http://{target}{path}")),
            other => command.arg(other),
        };
    }
    output(&mut command)
}
