//! grpcurl: a client of any gRPC server, which it asks for its types by reflection.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{hubble::Said, tools};

/// Where it is, if it is installed.
#[must_use]
pub fn program() -> Option<PathBuf> {
    tools::find("bin/grpcurl")
}

/// Runs it to its end.
pub fn run(arguments: &[&str]) -> Result<Said> {
    tools::run(&program().context("grpcurl is not installed")?, arguments)
}
