//! Where the cgroup2 hierarchy is mounted.

use std::{fs, io, path::PathBuf};

/// The first cgroup2 mount; hybrid hosts have it beside the v1 hierarchies.
pub fn cgroup2_mount() -> io::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    mounts.lines().find_map(mount_point).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, "no cgroup2 mount in /proc/self/mountinfo; mount one (type cgroup2)")
    })
}

/// `36 35 0:31 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw`: fifth field, if the type after ` - ` fits.
fn mount_point(line: &str) -> Option<PathBuf> {
    let (head, tail) = line.split_once(" - ")?;
    let kind = tail.split(' ').next()?;
    let point = head.split(' ').nth(4)?;
    (kind == "cgroup2").then(|| PathBuf::from(point.replace("\\040", " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_mount_of_a_hybrid_host() {
        let line = "36 35 0:31 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw";
        assert_eq!(mount_point(line), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(mount_point("30 25 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"), None);
    }
}
