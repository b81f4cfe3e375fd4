//! `l7proxy replay` of what a running node wrote.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use conformance::{
    Node, Pod,
    client::curl,
    node::Flow,
    server::{self, Server},
};
use serde_json::{Value, json};

use crate::manifests::{GUARDED, GUARDED_NAME, PORTS, READ_ONLY, READ_ONLY_NAME};

struct Stage {
    client: Pod,
    api: Pod,
    _server: Server,
    node: Node,
}

fn stage() -> Result<Stage> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let server = server::http(&api, 8080)?;
    node.write_manifest("read-only.yaml", READ_ONLY)?;
    node.write_manifest("guarded.yaml", &GUARDED.replace("path: \"/read.*\"", "path: \"/read/[a-z]+\""))?;
    node.set("flows", json!({"file": {"path": "flows.jsonl", "maxSizeMb": 1}}));
    node.start()?;
    Ok(Stage { client, api, _server: server, node })
}

/// How replay ended, and what it said.
struct Replayed {
    code: Option<i32>,
    told: Value,
    errors: String,
}

fn replay(node: &Node, arguments: &[&str]) -> Result<Replayed> {
    let output = node.run("replay", &[&["--output", "json"], arguments].concat())?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let told = serde_json::from_slice(&output.stdout).with_context(|| errors.clone())?;
    Ok(Replayed { code: output.status.code(), told, errors })
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a name that is text")
}

/// Each change as `count direction method port: old, new and why`, sorted.
fn changes(told: &Value) -> Vec<String> {
    let change = |change: &Value| {
        let text = |pointer: &str| change.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let what = format!("{} {} {}", text("/direction"), text("/method"), change["port"]);
        let old = format!("{} by {}", text("/old/verdict"), text("/old/by/0"));
        let new = format!("{} by {}{}", text("/new/verdict"), text("/new/allowedBy/rule"), text("/new/nearest/field"));
        format!("{}x {what}: {old}, now {new}", change["count"])
    };
    let mut changes: Vec<String> = told["changes"].as_array().into_iter().flatten().map(change).collect();
    changes.sort();
    changes
}

/// Requests of every fate, and connections that are refused; says how many verdicts were recorded.
fn exchange(stage: &Stage) -> Result<usize> {
    let Stage { client, api, node, .. } = stage;
    let url = |path: &str| format!("http://{}:8080{path}", api.v4);
    for (method, path, status) in [
        ("GET", "/read/a", 200),
        ("GET", "/read/a", 200),
        ("POST", "/read/a", 403),
        ("GET", "/write", 403),
        ("GET", "/read/1", 403),
        ("GET", "/read;x", 400),
    ] {
        let answer = curl(client, &["--request", method], &url(path))?;
        ensure!(answer.status == status, "{method} {path}: {}, must be {status}", answer.status);
    }
    for port in [9090, 9091] {
        ensure!(server::connect(client, (api.v4, port), None)?.is_refused(), "port {port}");
    }
    ensure!(server::udp_connect(client, (api.v4, 5353), "x")?.is_refused());
    // Two of both sides, the one that only the second refused, and six of one side alone.
    let verdicts = 2 * 2 + 2 + 6;
    node.wait_flows(0, verdicts, Flow::is_verdict)?;
    ensure!(node.flows()?.iter().filter(|flow| flow.is_verdict()).count() == verdicts);
    Ok(verdicts)
}

#[test]
fn what_a_node_wrote_is_equal_under_its_own_manifests() -> Result<()> {
    let mut stage = stage()?;
    let verdicts = exchange(&stage)?;
    stage.node.stop()?;
    let file = stage.node.path("flows.jsonl");
    let Replayed { code, told, errors } = replay(&stage.node, &[text(&file)?])?;
    ensure!(code == Some(0), "{code:?}: {told:#} {errors}");
    // A request without a single meaning was refused, but not by policy.
    ensure!(told["judged"] == verdicts - 1 && told["equal"] == verdicts - 1 && told["changed"] == 0, "{told:#}");
    ensure!(told["notJudged"][0]["count"] == 1 && told["broken"] == 0, "{told:#}");
    Ok(())
}

#[test]
fn what_other_manifests_would_change_is_listed() -> Result<()> {
    let mut stage = stage()?;
    let verdicts = exchange(&stage)?;
    stage.node.stop()?;
    let file = stage.node.path("flows.jsonl");
    let other = stage.node.path("other");
    fs::create_dir(&other)?;
    // POST in place of GET, one port and UDP more; the other side as it was.
    let changed = READ_ONLY.replace("method: GET", "method: POST");
    let ports = PORTS.replace("7000", "9090");
    fs::write(other.join("a.yaml"), format!("{changed}---\n{ports}"))?;
    fs::write(other.join("b.yaml"), fs::read_to_string(stage.node.path("policies/guarded.yaml"))?)?;
    let arguments = ["--policies", text(&other)?, text(&file)?];
    let Replayed { code, told, errors } = replay(&stage.node, &arguments)?;
    ensure!(code == Some(1), "{code:?}: {told:#} {errors}");
    let (rule, opened) = ("egress[0].toPorts[0].rules.http[0]", "egress[0].toPorts[0]");
    let (denied, allowed) = (format!("DENIED by {READ_ONLY_NAME}"), format!("ALLOWED by {READ_ONLY_NAME} {rule}"));
    let wanted = [
        format!("1x EGRESS  5353: {denied}, now ALLOWED by {opened}"),
        format!("1x EGRESS  9090: {denied}, now ALLOWED by {opened}"),
        // It passed this side; the other one refused it.
        format!("1x EGRESS GET 8080: {allowed}, now DENIED by method"),
        format!("1x EGRESS POST 8080: {denied}, now ALLOWED by {rule}"),
        format!("2x EGRESS GET 8080: {allowed}, now DENIED by method"),
    ];
    let found = changes(&told);
    ensure!(found == wanted, "{found:#?}\n{told:#}");
    ensure!(told["judged"] == verdicts - 1 && told["changed"] == 6 && told["equal"] == verdicts - 7, "{told:#}");

    let output = stage.node.run("replay", &arguments)?;
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let first = lines.lines().next().unwrap_or_default();
    let url = format!("http://{}:8080/read/a", stage.api.v4);
    ensure!(
        first.starts_with(&format!("2x EGRESS default/client -> default/api:8080/TCP GET {url}: was allowed by")),
        "{lines}"
    );
    ensure!(
        lines.lines().last()
            == Some(&format!("{} flows judged: {} equal, 6 changed, 1 not judged", verdicts - 1, verdicts - 7)),
        "{lines}"
    );
    ensure!(!lines.contains(GUARDED_NAME), "the other side is as it was: {lines}");
    Ok(())
}

#[test]
fn rotated_files_and_broken_ones_are_read_together() -> Result<()> {
    let mut stage = stage()?;
    let url = format!("http://{}:8080/read/a?n=[1-{}]", stage.api.v4, REQUESTS);
    let mut many = stage.client.command("curl");
    let ended =
        many.args(["--silent", "--noproxy", "*", "--output", "/dev/null", &url]).stdin(Stdio::null()).status()?;
    ensure!(ended.success(), "curl: {ended}");
    stage.node.stop()?;
    let files = written(&stage.node)?;
    ensure!(files.len() > 1, "nothing was rotated: {files:?}");
    let mut arguments: Vec<&str> = files.iter().map(|file| text(file)).collect::<Result<_>>()?;
    let Replayed { code, told, errors } = replay(&stage.node, &arguments)?;
    ensure!(code == Some(0) && told["equal"] == 2 * REQUESTS, "{code:?}: {told:#} {errors}");

    // The last line is cut off, as a copy made in the middle of a write; and a file was compressed by somebody.
    let whole = fs::read(&files[0])?;
    let cut = stage.node.path("cut.jsonl");
    fs::write(&cut, whole.get(..whole.len() - 100).context("a long file")?)?;
    let packed = stage.node.path("packed.jsonl.gz");
    fs::write(&packed, [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3])?;
    arguments[0] = text(&cut)?;
    arguments.push(text(&packed)?);
    let Replayed { code, told, errors } = replay(&stage.node, &arguments)?;
    let lines = whole.split(|byte| *byte == b'\n').count() - 1;
    ensure!(code == Some(2) && told["broken"] == 2, "{code:?}: {told:#}");
    ensure!(
        errors.contains(&format!("cut.jsonl:{lines}: is cut off")) && errors.contains("is compressed with gzip"),
        "{errors}"
    );
    let equal = told["equal"].as_u64().context("a number")?;
    ensure!(equal == 2 * REQUESTS || equal == 2 * REQUESTS - 1, "{told:#}");
    Ok(())
}

/// As many as fill more than one file of a mebibyte: two records of each side.
const REQUESTS: u64 = 400;

/// Every file of records, the rotated ones first.
fn written(node: &Node) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let current = node.path("flows.jsonl");
    for entry in fs::read_dir(current.parent().context("a directory")?)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("flows-") {
            files.push(path);
        }
    }
    files.sort();
    files.push(current);
    Ok(files)
}
