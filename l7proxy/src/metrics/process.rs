//! What this process is, and what it takes of the node.

use std::fs;

use super::{Family, Source};
use crate::sys;

/// Which version this is.
#[derive(Clone, Copy, Debug)]
pub struct Build;

impl Source for Build {
    fn families(&self) -> Vec<Family> {
        let help = "1, with the version of this program.";
        vec![Family::gauge("l7proxy_build_info", help).with(&[("version", env!("CARGO_PKG_VERSION"))], 1)]
    }
}

/// Memory and descriptors, under the names that other programs use.
#[derive(Clone, Copy, Debug)]
pub struct Process;

impl Source for Process {
    /// What cannot be read is left out, and logged.
    fn families(&self) -> Vec<Family> {
        let mut families = Vec::new();
        match sys::resident_memory() {
            Ok(bytes) => {
                let help = "Resident memory size in bytes.";
                families.push(Family::gauge("process_resident_memory_bytes", help).with(&[], bytes));
            }
            Err(error) => tracing::warn!(%error, "/proc/self/statm: memory is not known"),
        }
        match fs::read_dir("/proc/self/fd") {
            Ok(open) => {
                let count = u64::try_from(open.count()).unwrap_or(u64::MAX);
                let help = "Number of open file descriptors.";
                families.push(Family::gauge("process_open_fds", help).with(&[], count));
            }
            Err(error) => tracing::warn!(%error, "/proc/self/fd: open files are not known"),
        }
        families
    }
}
