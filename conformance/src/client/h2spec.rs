//! h2spec: the conformance of an HTTP/2 server to RFC 7540 and 7541.

use std::{fs, net::SocketAddr, path::PathBuf, process::Stdio};

use anyhow::{Context, Result};

use super::tools;
use crate::node::Place;

/// How one case went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As the specification wants it.
    Passed,
    /// Otherwise.
    Failed,
    /// h2spec could not try it.
    Skipped,
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// `http2/6.9.1`.
    pub section: String,
    /// What it does.
    pub name: String,
    /// How it went.
    pub outcome: Outcome,
    /// What h2spec says of it.
    pub said: String,
}

/// Where it is, if it is installed.
#[must_use]
pub fn program() -> Option<PathBuf> {
    tools::find("bin/h2spec")
}

/// Runs every case from inside a pod.
pub fn run(pod: &Place, target: SocketAddr) -> Result<Vec<Case>> {
    let program = program().context("h2spec is not installed")?;
    let directory = tempfile::tempdir()?;
    let report = directory.path().join("report.xml");
    // It says with its exit code that a case failed: who asks decides what may.
    pod.command(program)
        .args(["--host", &target.ip().to_string(), "--port", &target.port().to_string(), "--timeout", "2"])
        .arg("--junit-report")
        .arg(&report)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("h2spec cannot be started")?;
    let text = fs::read_to_string(&report).context("h2spec wrote no report")?;
    text.split("<testcase ").skip(1).map(case).collect()
}

/// From behind `<testcase `.
fn case(text: &str) -> Result<Case> {
    let attribute = |name: &str| {
        let rest = text.split_once(&format!("{name}=\""))?.1;
        Some(rest.split_once('"')?.0.replace("&#34;", "\"").replace("&#39;", "'").replace("&gt;", ">"))
    };
    let body = text.split("</testcase>").next().unwrap_or_default();
    let outcome = match () {
        () if body.contains("<failure") || body.contains("<error") => Outcome::Failed,
        () if body.contains("<skipped") => Outcome::Skipped,
        () => Outcome::Passed,
    };
    Ok(Case {
        section: attribute("package").context("a case without a package")?,
        name: attribute("classname").context("a case without a name")?,
        outcome,
        said: body.split_once('>').map_or("", |(_, said)| said).trim().to_owned(),
    })
}
