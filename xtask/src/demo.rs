//! `cargo xtask demo`: from nothing to the main job, on this machine, in about a minute.
//!
//! Owns the play: two pods, one proxy, a handful of requests, each with its record. Must leave nothing behind: everything
//! happens inside `.ci/in-netns`, which ends with it. Start at [`run`]; what is shown is in [`stage()`].

use std::{env, os::unix::process::CommandExt, path::Path, process::Command, time::Instant};

use anyhow::{Context, Result};

use crate::{build, repo::Repo, say, setup};

mod node;
mod records;
mod server;
mod stage;

pub(crate) use self::{server::serve, stage::stage};

/// Sets up, then becomes the stage; only what cannot be set up comes back from here.
pub(crate) fn run(repo: &Repo) -> Result<bool> {
    let begin = Instant::now();
    setup::run(repo)?;
    let proxy = build::run(repo)?;
    say(format_args!("set-up took {:.1} s\n", begin.elapsed().as_secs_f64()))?;
    let runner = repo.path(".ci/in-netns");
    let error = stage_command(&runner, &proxy, &repo.path("docs/examples"))?.exec();
    Err(error).with_context(|| format!("{}: cannot be started", runner.display()))
}

/// A signal goes to the runner, which takes the stage down with all that is on it.
fn stage_command(runner: &Path, proxy: &Path, manifests: &Path) -> Result<Command> {
    let own = env::current_exe().context("the path of this program is not known")?;
    let mut command = Command::new(runner);
    command.arg(own).arg("demo-stage").arg(proxy).arg(manifests);
    Ok(command)
}
