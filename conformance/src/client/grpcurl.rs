//! grpcurl: a client of any gRPC server, which it asks for its types by reflection.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::{hubble::Said, tools};

/// Where it is, if it is installed.
#[must_use]
pub fn program() -> Option<PathBuf> {
    tools::find("bin/grpcurl")
}

/// Runs it to its end.
pub fn run(arguments: &[&str]) -> Result<Said> {
    let program = program().context("grpcurl is not installed")?;
    let mut command = Command::new("timeout");
    command.arg("20").arg(program).args(arguments).stdin(Stdio::null());
    let output = command.output().context("grpcurl cannot be started")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Said { exit: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) })
}
