//! Programs that `cargo xtask setup` installs below `.tools`, and those of `conformance/clients`.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::hubble::Said;

/// A directory of programs of our own.
pub(super) fn clients(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

/// The program, if it is installed.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.join(".tools");
    Some(tools.join(name)).filter(|program| program.is_file())
}

/// Runs one to its end, which comes soon.
pub(super) fn run(program: &Path, arguments: &[&str]) -> Result<Said> {
    let mut command = Command::new("timeout");
    command.arg("20").arg(program).args(arguments).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("{}: cannot be started", program.display()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Said { exit: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) })
}
