//! Go's net/http as a client and as a server: `conformance/clients/go`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, ensure};

use super::tools;
use crate::{
    node::Place,
    process::{Process, output},
};

/// The program, which is built from the standard library alone.
#[derive(Clone, Debug)]
pub struct Go(PathBuf);

/// Once for all tests of a process: one may run it already.
static BUILT: Mutex<Option<Go>> = Mutex::new(None);

impl Go {
    /// Builds it into a directory; nothing where Go is missing, or older than its `go.mod` asks for.
    pub fn build(directory: &Path) -> Result<Option<Self>> {
        let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
        if built.is_none() {
            *built = build(directory)?;
        }
        Ok(built.clone())
    }

    /// HTTP/1 and HTTP/2 on one port of every IPv4 address.
    pub fn serve(&self, pod: &Place, port: u16) -> Result<Process> {
        Process::spawn_ready(pod.command(&self.0).args(["serve", &format!("0.0.0.0:{port}")]))
    }

    /// All that a client sees.
    pub fn ask(&self, pod: &Place, target: SocketAddr) -> Result<String> {
        output(pod.command("timeout").arg("60").arg(&self.0).args(["ask", &target.to_string()]).stdin(Stdio::null()))
    }
}

fn build(directory: &Path) -> Result<Option<Go>> {
    let sources = tools::clients("go");
    let version = Command::new("go").args(["list", "-m"]).env("GOTOOLCHAIN", "local").current_dir(&sources).output();
    if !version.is_ok_and(|output| output.status.success()) {
        return Ok(None);
    }
    let program = directory.join("conformance-client-go");
    let built = Command::new("go")
        .args(["build", "-buildvcs=false", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(sources)
        .env("CGO_ENABLED", "0")
        .status()
        .context("go cannot be started")?;
    ensure!(built.success(), "conformance/clients/go cannot be built");
    Ok(Some(Go(program)))
}
