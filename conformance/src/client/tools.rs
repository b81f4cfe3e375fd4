//! Programs that `cargo xtask setup` installs below `.tools`, and those of `conformance/clients`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::hubble::{SECONDS, Said};

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
    Said::of(Command::new("timeout").arg(SECONDS).arg(program).args(arguments))
}
