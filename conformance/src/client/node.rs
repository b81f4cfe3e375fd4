//! Node's http, http2 and fetch, undici and ws as clients, and as a server: `conformance/clients/node`.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::Result;

use super::tools;
use crate::{
    node::Place,
    process::{Process, output},
};

/// Node with its modules.
#[derive(Debug)]
pub struct Node {
    /// Where its `node_modules` is.
    modules: PathBuf,
}

impl Node {
    /// Nothing where Node or its modules are missing.
    #[must_use]
    pub fn find() -> Option<Self> {
        let modules = tools::find("node/node_modules/ws/package.json")?.ancestors().nth(3)?.to_owned();
        Command::new("node").arg("--version").output().ok().filter(|output| output.status.success())?;
        Some(Self { modules })
    }

    /// HTTP/1, HTTP/2 and WebSocket on one port of every IPv4 address.
    pub fn serve(&self, pod: &Place, port: u16) -> Result<Process> {
        let mut command = pod.command("node");
        command.arg(tools::clients("node").join("serve.mjs")).arg(&self.modules);
        Process::spawn_ready(command.args(["0.0.0.0", &port.to_string()]))
    }

    /// All that the clients see.
    pub fn ask(&self, pod: &Place, target: SocketAddr) -> Result<String> {
        let mut command = pod.command("timeout");
        command.args(["60", "node"]).arg(tools::clients("node").join("ask.mjs")).arg(&self.modules);
        output(command.args([target.ip().to_string(), target.port().to_string()]).stdin(Stdio::null()))
    }
}
