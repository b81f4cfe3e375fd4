//! What really is on the wire, and what is put there by hand.
//!
//! Owns how frames are recorded, and how packets are sent that no ordinary socket would send. Start at [`Sniffer`] and
//! [`packet`].

use std::fs;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::{
    node::Place,
    packet::hex,
    process::{self, Process, eventually},
    server::{Outcome, program},
};

/// Records every frame that a pod sends or gets.
#[derive(Debug)]
pub struct Sniffer {
    _process: Process,
    directory: TempDir,
}

impl Sniffer {
    /// Starts it; every frame from now on is recorded.
    pub fn start(pod: &Place) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut command = pod.command(program()?);
        command.arg("sniff").arg(directory.path().join("frames"));
        Ok(Self { _process: Process::spawn_ready(&mut command)?, directory })
    }

    /// Whether these bytes were in any frame so far.
    pub fn saw(&self, bytes: &[u8]) -> Result<bool> {
        let text = fs::read_to_string(self.directory.path().join("frames"))?;
        Ok(text.contains(&hex(bytes)))
    }

    /// Waits until they were.
    pub fn wait_for(&self, bytes: &[u8]) -> Result<()> {
        let what = format!("{:?} on the wire", String::from_utf8_lossy(bytes));
        eventually(&what, || Ok(self.saw(bytes)?.then_some(())))
    }
}

/// Sends a whole IP packet from inside a pod by a raw socket.
pub fn packet(pod: &Place, destination: impl Into<std::net::IpAddr>, bytes: &[u8]) -> Result<Outcome> {
    let mut command = pod.command(program()?);
    outcome(command.args(["packet", &destination.into().to_string(), &hex(bytes)]))
}

/// Sends a whole frame from inside a pod by a packet socket.
pub fn frame(pod: &Place, interface: &str, bytes: &[u8]) -> Result<Outcome> {
    let mut command = pod.command(program()?);
    outcome(command.args(["frame", interface, &hex(bytes)]))
}

/// The same packet again and again.
#[derive(Debug)]
pub struct Flood(Process);

impl Flood {
    /// Starts it.
    pub fn start(pod: &Place, destination: impl Into<std::net::IpAddr>, bytes: &[u8]) -> Result<Self> {
        let mut command = pod.command(program()?);
        Ok(Self(Process::spawn_ready(command.args(["flood", &destination.into().to_string(), &hex(bytes)]))?))
    }

    /// Ends it, and says how many packets were sent.
    pub fn finish(self) -> Result<u64> {
        let report = self.0.finish()?;
        report.trim().parse().with_context(|| report.clone())
    }
}

fn outcome(command: &mut std::process::Command) -> Result<Outcome> {
    let report = process::output(command)?;
    serde_json::from_str(&report).with_context(|| report.clone())
}
