//! promtool: Prometheus' own judge of metrics and of rules.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::tools;

/// Where it is, if it is installed.
#[must_use]
pub fn program() -> Option<PathBuf> {
    tools::find("bin/promtool")
}

/// What it says, if anything is wrong. `input` is what it reads.
pub fn complaints(arguments: &[&str], directory: &Path, input: &str) -> Result<Option<String>> {
    let program = program().context("promtool is not installed")?;
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("promtool cannot be started")?;
    // It reads all of it before it says anything.
    child.stdin.take().context("promtool reads nothing")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok((!output.status.success()).then_some(said))
}
