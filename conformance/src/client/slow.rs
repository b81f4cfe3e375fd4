//! slowhttptest: many connections, each of which wants to be served for ever.

use std::{fs, path::PathBuf, process::Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::tools;
use crate::node::Place;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every connection was closed by the other side.
    Closed,
    /// Its time was over, and so many connections had been closed by the other side, so many were still open.
    TimeLimit {
        /// By the other side.
        closed: usize,
        /// Still open.
        open: usize,
    },
}

/// Where it is, if it is installed.
#[must_use]
pub fn program() -> Option<PathBuf> {
    tools::find("slowhttptest/usr/bin/slowhttptest")
}

/// So many connections from inside a pod, for some seconds at most; less when all of them are closed before.
pub fn run(pod: &Place, mode: &[&str], connections: usize, seconds: u64, url: &str) -> Result<Ended> {
    let directory = tempfile::tempdir()?;
    let prefix = directory.path().join("slow");
    let output = pod
        .command(program().context("slowhttptest is not installed")?)
        .args(mode)
        .args(["-c", &connections.to_string(), "-r", &connections.to_string(), "-l", &seconds.to_string(), "-g", "-o"])
        .arg(&prefix)
        .args(["-u", url])
        .stdin(Stdio::null())
        .output()
        .context("slowhttptest cannot be started")?;
    ensure!(output.status.success(), "slowhttptest: {}", String::from_utf8_lossy(&output.stderr));
    if String::from_utf8_lossy(&output.stdout).contains("No open connections left") {
        return Ok(Ended::Closed);
    }
    let report = fs::read_to_string(prefix.with_extension("csv"))?;
    // Seconds, closed, pending, connected, and whether another request was served then.
    let last = report.lines().last().with_context(|| report.clone())?;
    let fields: Vec<usize> = last.split(',').filter_map(|field| field.trim().parse().ok()).collect();
    let [_, closed, _, open, _] = fields.as_slice() else { bail!("not a report: {report}") };
    Ok(Ended::TimeLimit { closed: *closed, open: *open })
}
