//! The cases of the Autobahn WebSocket testsuite: a client that breaks the protocol in every way, and says what a server does.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result};

use super::tools;
use crate::{node::Place, process::output};

/// The Python that has it, if it is installed.
#[must_use]
pub fn program() -> Option<PathBuf> {
    tools::find("autobahn/bin/kosoku")?;
    tools::find("autobahn/bin/python3")
}

/// Runs the cases from inside a pod: a line for each, which begins with its number and the two verdicts.
pub fn run(pod: &Place, target: SocketAddr) -> Result<String> {
    let program = program().context("the Autobahn testsuite is not installed")?;
    let mut command = pod.command("timeout");
    command.arg("300").arg(program).arg(tools::clients("python").join("ask.py"));
    output(command.arg(format!("ws://{target}/read/socket")))
}
