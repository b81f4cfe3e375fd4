//! Programs that `cargo xtask setup` installs below `.tools`.

use std::path::{Path, PathBuf};

/// The program, if it is installed.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.join(".tools");
    Some(tools.join(name)).filter(|program| program.is_file())
}
