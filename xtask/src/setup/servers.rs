//! What the differential test of transparency needs besides Go and Node: nginx.
//!
//! Must never install it on the machine: Debian's package would start it as a service. Start at [`run`].

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};

use super::debian;
use crate::{
    repo::{self, Repo},
    say,
};

/// Where the program is in the package.
const NGINX: &str = "nginx/usr/sbin/nginx";

/// Puts Debian's nginx into the clone's tools, unless there is one.
pub(crate) fn run(repo: &Repo) -> Result<()> {
    let program = repo.tools().join(NGINX);
    if program.is_file() || repo::which("nginx").is_some() {
        return Ok(());
    }
    ensure!(debian::is_debian(), "nginx is not installed");
    say(format_args!("setup: unpacking Debian's nginx into {}", repo.tools().display()))?;
    let directory = repo.tools().join("nginx");
    fs::create_dir_all(&directory).with_context(|| format!("{}: cannot be made", directory.display()))?;
    let fetch = || {
        let mut command = Command::new("apt-get");
        command.args(["download", "nginx"]).current_dir(&directory);
        repo::run(&mut command)
    };
    if fetch().is_err() {
        repo::run(Command::new("apt-get").arg("update"))?;
        fetch()?;
    }
    let shown = || format!("{}: cannot be listed", directory.display());
    let package = fs::read_dir(&directory)
        .with_context(shown)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|kind| kind == "deb"))
        .context("apt-get downloaded no package")?;
    repo::run(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&directory))?;
    ensure!(
        repo::output(Command::new(&program).arg("-v")).is_some(),
        "{}: does not run; install libcrypt1, libpcre2-8-0, libssl3 and zlib1g",
        program.display()
    );
    Ok(())
}
