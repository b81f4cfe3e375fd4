//! How much memory this process has had at most.

use anyhow::{Context, Result};

/// Most memory resident so far (`VmHWM`), in KiB.
pub(crate) fn peak_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("/proc/self/status: cannot be read")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM: is missing")?;
    line.trim().trim_end_matches("kB").trim().parse().context("VmHWM: is no number")
}
