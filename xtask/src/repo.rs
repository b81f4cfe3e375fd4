//! Where things are in the clone, and how programs are called from inside `cargo run`.
//!
//! Owns paths and the environment of child processes: what the outer cargo set for xtask must not reach an inner cargo.
//! Start at [`Repo`].

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::say;

/// A clone of the repository.
#[derive(Debug)]
pub(crate) struct Repo {
    root: PathBuf,
}

impl Repo {
    /// The clone that this program was built from.
    pub(crate) fn find() -> Result<Self> {
        let own = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let root = own.parent().context("xtask is not inside a workspace; run it as `cargo xtask`")?;
        Ok(Self { root: root.to_path_buf() })
    }

    /// A path of the clone.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Cargo's target directory for the host.
    pub(crate) fn target(&self) -> PathBuf {
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.path("target"), |dir| self.root.join(dir))
    }

    /// The stripped eBPF object, once `cargo xtask build` has made it.
    pub(crate) fn ebpf_object(&self) -> PathBuf {
        self.target().join("ebpf/redirect.o")
    }

    /// The binary, once `cargo xtask build` has made it.
    pub(crate) fn proxy(&self) -> PathBuf {
        self.target().join("release/l7proxy")
    }

    /// Tools that are installed for this clone alone.
    pub(crate) fn tools(&self) -> PathBuf {
        self.path(".tools")
    }

    /// Cargo for the host, in the root. Every build embeds the same eBPF object, or none.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(cargo_program());
        command.current_dir(&self.root);
        for (name, _) in env::vars_os() {
            if is_of_package(&name) {
                command.env_remove(name);
            }
        }
        let object = self.ebpf_object();
        if object.exists() {
            command.env("REDIRECT_EBPF_OBJECT", object);
        }
        command
    }

    /// Cargo for the eBPF programs, free of everything that is meant for the host.
    pub(crate) fn ebpf_cargo(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path("redirect-ebpf"));
        for (name, _) in env::vars_os() {
            if is_for_host(&name) {
                command.env_remove(name);
            }
        }
        command
    }
}

/// The cargo that runs us.
pub(crate) fn cargo_program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Variables that describe the package being run: xtask.
fn is_of_package(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_PACKAGE"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// Variables that steer a build for the host; how cargo reaches its registry stays.
fn is_for_host(name: &OsStr) -> bool {
    const KEPT: [&str; 6] =
        ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR", "CARGO_SOURCE_", "CARGO_TERM_"];
    const REMOVED: [&str; 9] = [
        "LD_LIBRARY_PATH",
        "RUSTC",
        "RUSTC_BOOTSTRAP",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTDOCFLAGS",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
        "RUST_RECURSION_COUNT",
    ];
    let name = name.to_string_lossy();
    let of_cargo = name == "CARGO" || name.starts_with("CARGO_");
    REMOVED.contains(&name.as_ref()) || (of_cargo && !KEPT.iter().any(|kept| name.starts_with(kept)))
}

/// Prints the command, runs it, and makes its failure an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    say(format_args!("+ {}", shown(command)))?;
    let status = command.status().with_context(|| format!("{}: cannot be started", shown(command)))?;
    if !status.success() {
        bail!("`{}`: {status}", shown(command));
    }
    Ok(())
}

/// Standard output of a program that ran well, trimmed; nothing when it is missing or failed.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A command as one would type it, without its environment.
pub(crate) fn shown(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:+,@".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
}

/// Where a program is in PATH.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| is_program(path))
}

/// Whether this is a file that may be run.
pub(crate) fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_s_flags_do_not_reach_the_ebpf_build() {
        for name in ["RUSTFLAGS", "CARGO", "CARGO_TARGET_DIR", "CARGO_ENCODED_RUSTFLAGS", "RUSTUP_TOOLCHAIN"] {
            assert!(is_for_host(OsStr::new(name)), "{name}");
        }
        for name in ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_REGISTRIES_X_INDEX", "PATH", "HOME"] {
            assert!(!is_for_host(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn a_shown_command_can_be_typed() {
        let mut command = Command::new("cargo");
        command.args(["test", "--config", "target.\"cfg(all())\".runner=\"x\""]);
        assert_eq!(shown(&command), "cargo test --config 'target.\"cfg(all())\".runner=\"x\"'");
    }
}
