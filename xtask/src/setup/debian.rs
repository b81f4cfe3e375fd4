//! Packages of Debian and Ubuntu.
//!
//! Owns calls of apt. Must never ask a question: it is run without a terminal. Start at [`install`].

use std::{fs, os::unix::fs::MetadataExt, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{
    repo::{self, Repo},
    say,
};

pub(crate) fn is_root() -> bool {
    // The owner of a process's directory is its effective user.
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

pub(crate) fn is_debian() -> bool {
    repo::which("apt-get").is_some() && fs::read_to_string("/etc/os-release").is_ok_and(|text| names_debian(&text))
}

fn names_debian(os_release: &str) -> bool {
    os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| value.trim_matches('"').split_whitespace())
        .any(|id| id == "debian" || id == "ubuntu")
}

/// Installs packages; the lists are fetched anew only when a package is not in them, or its file is gone.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let fresh = !packages.iter().all(|package| has_candidate(package));
    if fresh {
        repo::run(&mut apt(&["update"]))?;
    }
    let install: Vec<&str> = ["install", "--yes", "--no-install-recommends"].iter().chain(packages).copied().collect();
    match repo::run(&mut apt(&install)) {
        Err(_) if !fresh => {
            repo::run(&mut apt(&["update"]))?;
            repo::run(&mut apt(&install))
        }
        result => result,
    }
}

/// Unpacks a package into the clone's tools, in a directory of its name; nothing is installed on the machine.
pub(crate) fn unpack(repo: &Repo, package: &str) -> Result<()> {
    ensure!(is_debian(), "this machine is not Debian or Ubuntu");
    let directory = repo.tools().join(package);
    say(format_args!("setup: unpacking Debian's {package} into {}", directory.display()))?;
    fs::create_dir_all(&directory).with_context(|| format!("{}: cannot be made", directory.display()))?;
    let fetch = || repo::run(Command::new("apt-get").args(["download", package]).current_dir(&directory));
    if fetch().is_err() {
        repo::run(Command::new("apt-get").arg("update"))?;
        fetch()?;
    }
    let shown = || format!("{}: cannot be listed", directory.display());
    let file = fs::read_dir(&directory)
        .with_context(shown)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|kind| kind == "deb"))
        .context("apt-get downloaded no package")?;
    repo::run(Command::new("dpkg-deb").arg("--extract").arg(file).arg(&directory))
}

fn has_candidate(package: &str) -> bool {
    let policy = repo::output(Command::new("apt-cache").args(["policy", package]).env("LC_ALL", "C"));
    policy.is_some_and(|text| {
        text.lines()
            .any(|line| line.trim().strip_prefix("Candidate:").is_some_and(|version| version.trim() != "(none)"))
    })
}

fn apt(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_debian_and_its_children() {
        assert!(names_debian("PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n"));
        assert!(names_debian("ID=ubuntu\nID_LIKE=debian\n"));
        assert!(names_debian("ID=mint\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!names_debian("ID=fedora\nID_LIKE=\"rhel centos\"\n"));
    }
}
