//! `cargo xtask setup`: makes a machine able to build and test.
//!
//! Owns what is installed and how. Looks by running what it looks for, never by markers, so a second run finds nothing to
//! do; must never touch what is already good enough. Start at [`run`].

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::{
    repo::{self, Repo},
    say,
};

pub(crate) mod bench;
pub(crate) mod debian;
pub(crate) mod judges;
pub(crate) mod programs;
pub(crate) mod servers;
pub(crate) mod suites;
pub(crate) mod toolchain;

use self::toolchain::{LINKER_VERSION, Toolchain};

/// Programs of tests and demo, and the Debian packages that bring them.
const TOOLS: [(&str, &str); 10] = [
    ("awk", "mawk"),
    ("curl", "curl"),
    ("find", "findutils"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("openssl", "openssl"),
    ("perl", "perl-base"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
];

/// Installs what is missing.
pub(crate) fn run(repo: &Repo) -> Result<()> {
    let missing = Missing::look(repo);
    if missing.is_nothing() {
        say("setup: nothing to do")?;
        return Ok(());
    }
    if !debian::is_root() || !debian::is_debian() {
        say("setup: this machine is not Debian or Ubuntu, or you are not root. As root, run:")?;
        missing.commands(repo).iter().try_for_each(|line| say(format_args!("  {line}")))?;
        say("or, with rustup and the whole internet, for the eBPF part:")?;
        say("  rustup toolchain install nightly --component rust-src")?;
        say(format_args!("  cargo install bpf-linker --version {LINKER_VERSION}"))?;
        bail!("setup: packages are missing: install them with the commands above");
    }
    if !missing.packages.is_empty() {
        say(format_args!("setup: installing packages: {}", missing.packages.join(" ")))?;
        debian::install(&missing.packages)?;
    }
    if missing.linker {
        say(format_args!("setup: installing bpf-linker {LINKER_VERSION} into {}", repo.tools().display()))?;
        repo::run(&mut linker_install(repo)?)?;
    }
    verify(repo)
}

fn verify(repo: &Repo) -> Result<()> {
    let toolchain = Toolchain::find(&repo.tools())?;
    if let Some((tool, package)) = TOOLS.into_iter().find(|(tool, _)| repo::which(tool).is_none()) {
        bail!("setup: package {package} is installed, but {tool} is not in PATH; add its directory to PATH");
    }
    say(format_args!("setup: done; eBPF programs are built by {toolchain}"))?;
    Ok(())
}

/// What is to be installed.
#[derive(Debug)]
struct Missing {
    packages: Vec<&'static str>,
    linker: bool,
}

impl Missing {
    fn look(repo: &Repo) -> Self {
        let mut packages: Vec<&'static str> =
            TOOLS.into_iter().filter(|(tool, _)| repo::which(tool).is_none()).map(|(_, package)| package).collect();
        let mut linker = false;
        if Toolchain::find(&repo.tools()).is_err() {
            packages.extend(toolchain::missing_packages());
            linker = toolchain::linker(&repo.tools()).is_none();
            if linker {
                packages.extend(toolchain::missing_for_linker());
            }
        }
        packages.sort_unstable();
        packages.dedup();
        Self { packages, linker }
    }

    fn is_nothing(&self) -> bool {
        self.packages.is_empty() && !self.linker
    }

    fn commands(&self, repo: &Repo) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.packages.is_empty() {
            lines.push("apt-get update".to_owned());
            lines.push(format!("apt-get install --yes --no-install-recommends {}", self.packages.join(" ")));
        }
        if self.linker {
            let install = repo::shown(&linker_command(repo, Path::new("$P")));
            lines.push(format!("P=$(llvm-config-22 --prefix); LLVM_PREFIX=$P LLVM_SYS_221_PREFIX=$P {install}"));
        }
        lines
    }
}

fn linker_install(repo: &Repo) -> Result<Command> {
    let prefix = toolchain::llvm_prefix().context("llvm-config-22: does not run; install llvm-22-dev")?;
    say(format_args!("+ export LLVM_PREFIX={0} LLVM_SYS_221_PREFIX={0}", prefix.display()))?;
    Ok(linker_command(repo, &prefix))
}

/// Both variables are needed: bpf-linker looks for libLLVM by one, llvm-sys by the other.
fn linker_command(repo: &Repo, prefix: &Path) -> Command {
    let mut command = repo.ebpf_cargo(repo::cargo_program());
    command
        .args(["install", "bpf-linker", "--version", LINKER_VERSION, "--no-default-features"])
        .args(["--features", "llvm-22", "--locked", "--root"])
        .arg(repo.tools())
        .env("LLVM_PREFIX", prefix)
        .env("LLVM_SYS_221_PREFIX", prefix);
    command
}
