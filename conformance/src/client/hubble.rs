//! Hubble's own command line and Relay, as they are.
//!
//! Owns how they are called. Must never read what they say otherwise than a user does. Start at [`Cli`].

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::tools;
use crate::{
    certificates::{Authority, Certificate},
    process::{Process, eventually},
};

/// Longer than any answer takes that ends by itself.
pub(super) const SECONDS: &str = "20";

/// One version of the command line.
#[derive(Clone, Debug)]
pub struct Cli {
    program: PathBuf,
    masks: bool,
}

/// What it said, and how it ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// The exit code.
    pub exit: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Whom it asks.
#[derive(Clone, Debug)]
pub struct Target(Vec<OsString>);

impl Target {
    /// A file of records.
    #[must_use]
    pub fn file(path: &Path) -> Self {
        Self(vec!["--input-file".into(), path.into()])
    }

    /// A unix socket.
    #[must_use]
    pub fn unix(path: &Path) -> Self {
        Self::server(format!("unix://{}", path.display()))
    }

    /// TCP without TLS.
    #[must_use]
    pub fn tcp(address: SocketAddr) -> Self {
        Self::server(address.to_string())
    }

    /// TCP with TLS: the server has a certificate of `authority` for `name`; the client shows its own, if it has one.
    #[must_use]
    pub fn tls(address: SocketAddr, name: &str, authority: &Authority, own: Option<&Certificate>) -> Self {
        let mut target = Self::server(format!("tls://{address}"));
        target.0.extend(["--tls-server-name".into(), name.into()]);
        target.0.extend(["--tls-ca-cert-files".into(), authority.certificate().into()]);
        if let Some(own) = own {
            target.0.extend(["--tls-client-cert-file".into(), own.certificate.clone().into()]);
            target.0.extend(["--tls-client-key-file".into(), own.key.clone().into()]);
        }
        target
    }

    fn server(server: String) -> Self {
        Self(vec!["--server".into(), server.into()])
    }
}

impl Said {
    /// Runs a command to its end.
    pub(super) fn of(command: &mut Command) -> Result<Self> {
        let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?} cannot be started"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Self { exit: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) })
    }

    /// Lines of standard output.
    #[must_use]
    pub fn lines(&self) -> Vec<&str> {
        self.out.lines().collect()
    }

    /// It ended well and has nothing to complain of.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.exit == Some(0) && self.err.is_empty()
    }
}

impl Cli {
    /// The current one, if it is installed.
    #[must_use]
    pub fn find() -> Option<Self> {
        tools::find("bin/hubble").map(|program| Self { program, masks: true })
    }

    /// One that asks without a field mask, if it is installed.
    #[must_use]
    pub fn find_older() -> Option<Self> {
        tools::find("bin/hubble-1.18").map(|program| Self { program, masks: false })
    }

    /// Whether it asks for some fields only where it is not told which: a file it reads as it is.
    #[must_use]
    pub fn masks(&self, target: &Target) -> bool {
        self.masks && target.0.first().is_none_or(|option| option != "--input-file")
    }

    /// Runs a command to its end.
    pub fn run(&self, target: &Target, arguments: &[impl AsRef<OsStr>]) -> Result<Said> {
        let mut command = plain("timeout");
        Said::of(command.arg(SECONDS).arg(&self.program).args(arguments).args(&target.0))
    }

    /// Starts one that goes on until it is ended.
    pub fn follow(&self, target: &Target, arguments: &[&str]) -> Result<Following> {
        let directory = tempfile::tempdir()?;
        let file = |name: &str| File::create(directory.path().join(name));
        let mut command = plain(&self.program);
        command.args(arguments).args(&target.0).stdout(file("out")?).stderr(file("err")?);
        Ok(Following { process: Process::spawn(&mut command)?, directory })
    }
}

/// One that goes on.
#[derive(Debug)]
pub struct Following {
    process: Process,
    directory: TempDir,
}

impl Following {
    /// Waits until it has said as many lines, and returns all.
    pub fn wait_lines(&mut self, number: usize) -> Result<Vec<String>> {
        let told = eventually(&format!("{number} lines"), || {
            let lines: Vec<String> = self.text("out")?.lines().map(str::to_owned).collect();
            anyhow::ensure!(self.process.exited()?.is_none(), "it ended after {lines:?}: {}", self.text("err")?);
            Ok((lines.len() >= number).then_some(lines))
        });
        told.with_context(|| format!("it said {:?} and {:?}", self.text("out"), self.text("err")))
    }

    /// It does nothing until [`Self::resume`].
    pub fn pause(&self) -> Result<()> {
        self.process.pause()
    }

    /// It goes on.
    pub fn resume(&self) -> Result<()> {
        self.process.resume()
    }

    /// Ends it as Ctrl-C does.
    pub fn interrupt(self) -> Result<Said> {
        self.process.interrupt()?;
        let Self { process, directory } = self;
        let exit = process.wait()?.code();
        let text = |name: &str| fs::read_to_string(directory.path().join(name));
        Ok(Said { exit, out: text("out")?, err: text("err")? })
    }

    fn text(&self, name: &str) -> Result<String> {
        Ok(fs::read_to_string(self.directory.path().join(name))?)
    }
}

/// Hubble's Relay between the command line and nodes.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    directory: TempDir,
    _process: Process,
}

/// Certificates of a Relay: for its clients and for nodes.
#[derive(Debug)]
pub struct Identity<'c> {
    /// Who signed every certificate.
    pub authority: &'c Authority,
    /// Its own.
    pub own: &'c Certificate,
}

impl Relay {
    /// Whether it is installed.
    #[must_use]
    pub fn is_installed() -> bool {
        program().is_some()
    }

    /// Starts it with a node's unix socket to learn of all nodes; without an identity nobody speaks TLS.
    pub fn start(
        address: SocketAddr,
        health: SocketAddr,
        peers: &Path,
        identity: Option<&Identity<'_>>,
    ) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let log = File::create(directory.path().join("log"))?;
        let mut command = plain(program().context("hubble-relay is not installed")?);
        command.args(["serve", "--cluster-name", "cluster1", "--gops=false"]);
        command.args(["--listen-address", &address.to_string(), "--health-listen-address", &health.to_string()]);
        command.arg("--peer-service").arg(format!("unix://{}", peers.display()));
        if let Some(Identity { authority, own }) = identity {
            for (kind, certificate) in [("hubble-client", own), ("relay-server", own)] {
                command.arg(format!("--tls-{kind}-cert-file")).arg(&certificate.certificate);
                command.arg(format!("--tls-{kind}-key-file")).arg(&certificate.key);
            }
            command.arg("--tls-hubble-server-ca-files").arg(authority.certificate());
            command.arg("--tls-relay-client-ca-files").arg(authority.certificate());
        } else {
            command.args(["--disable-client-tls", "--disable-server-tls"]);
        }
        let process = Process::spawn(command.stdout(log.try_clone()?).stderr(log))?;
        Ok(Self { address, directory, _process: process })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it wrote to its log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

fn program() -> Option<PathBuf> {
    tools::find("bin/hubble-relay")
}

/// Nothing of whoever runs the tests reaches it.
fn plain(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("TZ", "UTC").env("HOME", "/nonexistent").stdin(Stdio::null());
    command
}
