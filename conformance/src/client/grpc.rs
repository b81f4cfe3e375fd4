//! The interoperability tests of gRPC for Go: its client and its server.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Output, Stdio},
};

use anyhow::{Context, Result};

use super::tools;
use crate::{
    node::Place,
    process::{Process, eventually, output},
};

/// Where client and server are, if they are installed.
#[must_use]
pub fn programs() -> Option<[PathBuf; 2]> {
    Some([tools::find("grpc-interop/client")?, tools::find("grpc-interop/server")?])
}

/// The server, when it listens.
pub fn serve(pod: &Place, port: u16) -> Result<Process> {
    let [_, server] = programs().context("the gRPC interop server is not installed")?;
    let mut command = pod.command(server);
    command.args([format!("--port={port}").as_str(), "--use_tls=false"]).stderr(Stdio::null());
    let process = Process::spawn(&mut command)?;
    eventually("the gRPC server listens", || {
        let listening = output(pod.command("ss").args(["-Hltn", &format!("sport = :{port}")]))?;
        Ok((!listening.is_empty()).then_some(()))
    })?;
    Ok(process)
}

/// One test case from inside a pod; its exit code says how it went, standard error why.
pub fn run(pod: &Place, target: SocketAddr, case: &str) -> Result<Output> {
    let [client, _] = programs().context("the gRPC interop client is not installed")?;
    pod.command("timeout")
        .arg("30")
        .arg(client)
        .args([format!("--server_host={}", target.ip()), format!("--server_port={}", target.port())])
        .args([format!("--test_case={case}").as_str(), "--use_tls=false"])
        .stdin(Stdio::null())
        .output()
        .context("the gRPC interop client cannot be started")
}
