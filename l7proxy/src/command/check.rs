//! `l7proxy check`.

use std::path::PathBuf;

use serde_json::json;

use super::{Exit, Output, say, trouble};
use crate::source::{PolicyState, Versions, standalone};

/// Everything that is wrong with the manifests, all at once.
pub(super) fn check(paths: &[PathBuf], output: Output) -> Exit {
    if let Some(missing) = paths.iter().find(|path| !path.exists()) {
        return trouble(format_args!("{}: no such file; give files or directories of manifests", missing.display()));
    }
    let versions = Versions::default().next(&standalone::read_manifests(paths), 1);
    let errors = versions.errors();
    let policies = versions.status();
    let valid = policies.iter().filter(|policy| policy.state == PolicyState::InForce).count();
    match output {
        Output::Json => {
            say(
                json!({"valid": errors.is_empty(), "policies": policies, "errors": errors, "skipped": versions.skipped()}),
            );
        }
        Output::Text => {
            for line in errors.iter().chain(versions.skipped()) {
                say(line);
            }
            say(format_args!("{valid} policies valid, {} errors", errors.len()));
        }
    }
    if errors.is_empty() { Exit::Done } else { Exit::Refused }
}
