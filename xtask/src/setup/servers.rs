//! What the differential test of transparency needs besides Go and Node: nginx.
//!
//! Must never install it on the machine: Debian's package would start it as a service. Start at [`run`].

use std::process::Command;

use anyhow::{Result, ensure};

use super::debian;
use crate::repo::{self, Repo};

/// Where the program is in the package.
const NGINX: &str = "nginx/usr/sbin/nginx";

/// Puts Debian's nginx into the clone's tools, unless there is one.
pub(crate) fn run(repo: &Repo) -> Result<()> {
    let program = repo.tools().join(NGINX);
    if program.is_file() || repo::which("nginx").is_some() {
        return Ok(());
    }
    ensure!(debian::is_debian(), "nginx is not installed");
    debian::unpack(repo, "nginx")?;
    ensure!(
        repo::output(Command::new(&program).arg("-v")).is_some(),
        "{}: does not run; install libcrypt1, libpcre2-8-0, libssl3 and zlib1g",
        program.display()
    );
    Ok(())
}
