//! A proxy that is measured: where clients find it, and what its process has used.
//!
//! Start at [`Peer`].

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use conformance::Process;

/// Which one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// None: clients ask the origin.
    Direct,
    /// Its program.
    Envoy(PathBuf),
    Haproxy,
    Nginx,
    /// Moves bytes and does nothing else.
    Relay,
    L7proxy,
}

/// One that is running.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) kind: Kind,
    pub(super) target: SocketAddr,
    /// Ends with this value, unless it is the node's.
    pub(super) _process: Option<Process>,
    pub(super) id: Option<u32>,
}

impl Peer {
    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Direct => "direct",
            Kind::Envoy(_) => "envoy",
            Kind::Haproxy => "haproxy",
            Kind::Nginx => "nginx",
            Kind::Relay => "relay",
            Kind::L7proxy => "l7proxy",
        }
    }

    /// Where its clients connect.
    pub(super) fn target(&self) -> SocketAddr {
        self.target
    }

    /// Nanoseconds on a processor so far, of all its threads.
    pub(super) fn cpu(&self) -> Result<u64> {
        let Some(id) = self.id else { return Ok(0) };
        let directory = PathBuf::from(format!("/proc/{id}/task"));
        let mut all = 0;
        for thread in fs::read_dir(&directory).with_context(|| format!("{} has ended", self.name()))? {
            let text = read(&thread?.path().join("schedstat"))?;
            let spent: u64 = text.split(' ').next().unwrap_or_default().parse().context("schedstat")?;
            all += spent;
        }
        Ok(all)
    }

    /// MiB of resident memory.
    pub(super) fn resident(&self) -> Result<f64> {
        let Some(id) = self.id else { return Ok(0.0) };
        let text = read(Path::new(&format!("/proc/{id}/status")))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u32 = line.trim().trim_end_matches(" kB").parse().context("VmRSS")?;
        Ok(f64::from(kib) / 1024.0)
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("{}", path.display()))
}
