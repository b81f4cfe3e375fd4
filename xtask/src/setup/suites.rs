//! Suites and clients in Node, Python and C++ that judge the proxy: undici and ws, the Autobahn testsuite, slowhttptest.
//!
//! Must never fail for want of an interpreter or a registry: the tests that need a program say that it is missing. Start at
//! [`install`].

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};

use super::debian;
use crate::{
    repo::{self, Repo},
    say,
};

/// Its name, and what installs it unless it is there.
type Suite = (&'static str, fn(&Repo) -> Result<()>);

/// Installs those that are missing, or of another version than the clone's lock files say.
pub(crate) fn install(repo: &Repo) -> Result<()> {
    let suites: [Suite; 3] = [
        ("Node's modules of conformance/clients", node),
        ("the Autobahn testsuite", autobahn),
        ("slowhttptest", slowhttptest),
    ];
    for (name, install) in suites {
        if let Err(error) = install(repo) {
            say(format_args!("setup: {name} cannot be had: {error:#}"))?;
        }
    }
    Ok(())
}

fn node(repo: &Repo) -> Result<()> {
    let directory = repo.tools().join("node");
    if is_current(repo, "conformance/clients/node/package-lock.json", "node/package-lock.json")
        && directory.join("node_modules").is_dir()
    {
        return Ok(());
    }
    ensure!(repo::which("npm").is_some(), "npm is not installed");
    say(format_args!("setup: installing Node's modules into {}", directory.display()))?;
    copy(repo, "conformance/clients/node/package.json", "node/package.json")?;
    copy(repo, "conformance/clients/node/package-lock.json", "node/package-lock.json")?;
    repo::run(Command::new("npm").args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&directory))
        .inspect_err(|_| drop(fs::remove_dir_all(&directory)))
}

/// With its own Python: nothing of the machine's is changed.
fn autobahn(repo: &Repo) -> Result<()> {
    let (ours, installed) = ("conformance/clients/python/requirements.txt", "autobahn/requirements.txt");
    if is_current(repo, ours, installed) {
        return Ok(());
    }
    let directory = repo.tools().join("autobahn");
    say(format_args!("setup: installing the Autobahn testsuite into {}", directory.display()))?;
    let make = || repo::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory));
    if make().is_err() && debian::is_root() && debian::is_debian() {
        debian::install(&["python3-venv"])?;
        make()?;
    }
    let pip = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "--requirement"];
    repo::run(Command::new(directory.join("bin/pip")).args(pip).arg(repo.path(ours)))?;
    // Last: what is broken off is done again.
    copy(repo, ours, installed)
}

fn slowhttptest(repo: &Repo) -> Result<()> {
    let program = repo.tools().join("slowhttptest/usr/bin/slowhttptest");
    if !program.is_file() {
        debian::unpack(repo, "slowhttptest")?;
    }
    // Its exit code says that it did nothing.
    let told = Command::new(&program).arg("-h").output();
    let runs = told.is_ok_and(|told| String::from_utf8_lossy(&told.stdout).contains("Usage:"));
    ensure!(runs, "{}: does not run; install libssl3 and libstdc++6", program.display());
    Ok(())
}

/// Whether a file of the clone is what was installed by.
fn is_current(repo: &Repo, ours: &str, installed: &str) -> bool {
    let installed = fs::read(repo.tools().join(installed));
    installed.is_ok_and(|installed| fs::read(repo.path(ours)).is_ok_and(|ours| ours == installed))
}

fn copy(repo: &Repo, ours: &str, installed: &str) -> Result<()> {
    let to = repo.tools().join(installed);
    let shown = || format!("{}: cannot be written", to.display());
    fs::create_dir_all(to.parent().unwrap_or(&to)).with_context(shown)?;
    fs::copy(repo.path(ours), &to).with_context(shown).map(drop)
}
