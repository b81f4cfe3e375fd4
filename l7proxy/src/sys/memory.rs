//! What this process has of the node's memory.

use std::{fs, io};

/// Resident bytes. The second number of `statm` is pages.
pub fn resident_memory() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    let size = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    pages.map(|pages| pages.saturating_mul(size)).ok_or_else(|| io::Error::other("no number of pages"))
}
