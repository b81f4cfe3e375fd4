//! The two toolchains that can build eBPF programs: rustup's nightly, or Debian's packages.
//!
//! Owns how each is recognised. Must never install anything. Start at [`Toolchain::find`].

use std::{
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::repo;

/// The bpf-linker that fits LLVM 22.
pub(crate) const LINKER_VERSION: &str = "0.13.0";
/// Debian's compiler; rustup's is in front of it in PATH.
pub(crate) const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// The LLVM of that bpf-linker; a newer compiler's bitcode would be refused by it.
const LLVM: u32 = 22;

/// A toolchain that is complete.
#[derive(Debug)]
pub(crate) struct Toolchain {
    pub(crate) kind: Kind,
    pub(crate) linker: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// rustup's nightly with rust-src.
    Nightly,
    /// rustc-web and rust-web-src.
    Debian,
}

impl Toolchain {
    /// The first that is complete, nightly before Debian.
    pub(crate) fn find(tools: &Path) -> Result<Self> {
        let Some(linker) = linker(tools) else {
            bail!("bpf-linker {LINKER_VERSION} is neither in PATH nor in {}; run `cargo xtask setup`", tools.display());
        };
        if nightly_has_source() {
            return Ok(Self { kind: Kind::Nightly, linker });
        }
        if missing_packages().is_empty() {
            return Ok(Self { kind: Kind::Debian, linker });
        }
        bail!(
            "no compiler for eBPF programs (rustup's nightly with rust-src, or Debian's rustc-web); run `cargo xtask setup`"
        );
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let compiler = match self.kind {
            Kind::Nightly => "rustup's nightly",
            Kind::Debian => DEBIAN_RUSTC,
        };
        write!(f, "{compiler} and {}", self.linker.display())
    }
}

/// A bpf-linker that runs and has the right version; the clone's own comes last.
pub(crate) fn linker(tools: &Path) -> Option<PathBuf> {
    let own = tools.join("bin/bpf-linker");
    [repo::which("bpf-linker"), repo::is_program(&own).then_some(own)]
        .into_iter()
        .flatten()
        .find(|path| repo::output(Command::new(path).arg("--version")).is_some_and(|text| fits(&text)))
}

fn fits(version: &str) -> bool {
    version.split_whitespace().nth(1) == Some(LINKER_VERSION)
}

/// Debian's packages that are not there in a version that will do.
pub(crate) fn missing_packages() -> Vec<&'static str> {
    let mut missing = Vec::new();
    let version = repo::output(plain(DEBIAN_RUSTC).arg("-vV"));
    if version.and_then(|text| llvm_major(&text)) != Some(LLVM) {
        missing.push("rustc-web");
    }
    if !has_source(plain(DEBIAN_RUSTC).args(["--print", "sysroot"])) {
        missing.push("rust-web-src");
    }
    missing
}

/// Packages that building bpf-linker needs.
pub(crate) fn missing_for_linker() -> Vec<&'static str> {
    let mut missing = Vec::new();
    if llvm_prefix().is_none() {
        missing.push("llvm-22-dev");
    }
    if repo::which("c++").is_none() {
        missing.push("g++");
    }
    missing
}

pub(crate) fn llvm_prefix() -> Option<PathBuf> {
    repo::output(Command::new("llvm-config-22").arg("--prefix")).map(PathBuf::from)
}

fn nightly_has_source() -> bool {
    // rustup would otherwise begin to install what is only being looked for.
    has_source(plain("rustc").args(["+nightly", "--print", "sysroot"]).env("RUSTUP_AUTO_INSTALL", "0"))
}

fn has_source(print_sysroot: &mut Command) -> bool {
    repo::output(print_sysroot)
        .is_some_and(|sysroot| Path::new(&sysroot).join("lib/rustlib/src/rust/library/core/src/lib.rs").exists())
}

/// A compiler outside of the toolchain that runs us.
fn plain(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("LD_LIBRARY_PATH");
    command
}

fn llvm_major(verbose_version: &str) -> Option<u32> {
    let version = verbose_version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions() {
        assert_eq!(llvm_major("rustc 1.96.0\nhost: x\nLLVM version: 22.1.8\n"), Some(22));
        assert_eq!(llvm_major("rustc 1.96.0\n"), None);
        assert!(fits("bpf-linker 0.13.0"));
        assert!(!fits("bpf-linker 0.9.14"));
        assert!(!fits(""));
    }
}
