//! What each layer runs.
//!
//! Owns the command lines. Must never decide whether a skip is a failure. Start at [`run`].

use std::{
    ffi::OsStr,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::{
    Layer, Outcome,
    count::{self, Count},
};
use crate::{
    repo::{self, Repo},
    say, setup,
};

/// Integration tests with this beginning need namespaces of their own.
const NAMESPACED: &str = "netns";
/// The integration test that needs other servers.
const TRANSPARENCY: &str = "transparency";
/// The integration test that needs Go and its modules: namespaces have no way to them.
const CILIUM: &str = "cilium";

pub(super) fn run(repo: &Repo, layer: Layer) -> Result<Outcome> {
    match layer {
        Layer::Fmt => fmt(repo),
        Layer::Clippy => check(repo.cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--",
            "-D",
            "warnings",
        ])),
        Layer::Unit => tests([
            repo.cargo().args(["test", "--no-fail-fast", "--workspace", "--lib", "--bins"]),
            repo.cargo().args(["test", "--no-fail-fast", "--workspace", "--doc"]),
        ]),
        Layer::Rules => integration(repo, "rules", "l7proxy-rules", |_| true),
        Layer::Inprocess => inprocess(repo),
        Layer::Transparency => transparency(repo),
        Layer::Cilium => cilium(repo),
        Layer::Netns => netns(repo),
        Layer::Deny => deny(repo),
    }
}

fn fmt(repo: &Repo) -> Result<Outcome> {
    let workspace = check(repo.cargo().args(["fmt", "--all", "--check"]))?;
    let ebpf = check(repo.cargo().args(["fmt", "--manifest-path", "redirect-ebpf/Cargo.toml", "--check"]))?;
    Ok(if matches!(workspace, Outcome::Ran { ok: true, .. }) { ebpf } else { workspace })
}

fn check(command: &mut Command) -> Result<Outcome> {
    say(format_args!("+ {}", repo::shown(command)))?;
    let status = command.status().with_context(|| format!("{}: cannot be started", repo::shown(command)))?;
    Ok(Outcome::Ran { count: Count::default(), ok: status.success() })
}

fn tests<'c>(commands: impl IntoIterator<Item = &'c mut Command>) -> Result<Outcome> {
    let (mut count, mut ok) = (Count::default(), true);
    for command in commands {
        let (some, well) = count::tests(command)?;
        count = count.and(some);
        ok &= well;
    }
    Ok(Outcome::Ran { count, ok })
}

/// The integration tests of one crate whose names are wanted.
fn integration(repo: &Repo, directory: &str, package: &str, wanted: fn(&str) -> bool) -> Result<Outcome> {
    let names = test_names(&repo.path(directory).join("tests"), wanted)?;
    if names.is_empty() {
        return Ok(Outcome::Skipped(format!("{directory}/tests has none")));
    }
    tests([&mut integration_command(repo, package, &names)])
}

fn integration_command(repo: &Repo, package: &str, names: &[String]) -> Command {
    let mut command = repo.cargo();
    command.args(["test", "--no-fail-fast", "--all-features", "--package", package]);
    command.args(names.iter().flat_map(|name| ["--test", name]));
    command
}

fn test_names(directory: &Path, wanted: fn(&str) -> bool) -> Result<Vec<String>> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let shown = || format!("{}: cannot be listed", directory.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).with_context(shown)? {
        let path = entry.with_context(shown)?.path();
        let is_test = path.extension() == Some(OsStr::new("rs")) || path.join("main.rs").is_file();
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
        names.extend(name.filter(|name| is_test && wanted(name)));
    }
    names.sort_unstable();
    Ok(names)
}

fn inprocess(repo: &Repo) -> Result<Outcome> {
    let own = test_names(&repo.path("l7proxy/tests"), |name| !name.starts_with(NAMESPACED) && name != TRANSPARENCY)?;
    let of_api = test_names(&repo.path("l7proxy/hubble-api/tests"), |_| true)?;
    tests([&mut integration_command(repo, "l7proxy", &own), &mut integration_command(repo, "hubble-api", &of_api)])
}

fn transparency(repo: &Repo) -> Result<Outcome> {
    if let Some(missing) = ["go", "node"].into_iter().find(|program| repo::which(program).is_none()) {
        return Ok(Outcome::Skipped(format!("{missing} is not installed")));
    }
    if let Err(error) = setup::servers::run(repo) {
        return Ok(Outcome::Skipped(format!("nginx cannot be had: {error:#}")));
    }
    integration(repo, "l7proxy", "l7proxy", |name| name == TRANSPARENCY)
}

fn cilium(repo: &Repo) -> Result<Outcome> {
    let program = repo.path("conformance/cilium-policy");
    if repo::output(Command::new("go").args(["list", "-m"]).current_dir(program)).is_none() {
        let why = "Go is not installed, or older than conformance/cilium-policy/go.mod asks for";
        return Ok(Outcome::Skipped(why.to_owned()));
    }
    integration(repo, "conformance", "conformance", |name| name == CILIUM)
}

/// Everything that needs the kernel, in namespaces that end with the test.
fn netns(repo: &Repo) -> Result<Outcome> {
    let runner = repo.path(".ci/in-netns");
    if let Some(why) = cannot_isolate(&runner)? {
        return Ok(Outcome::Skipped(why));
    }
    let black_box = test_names(&repo.path("conformance/tests"), |name| name != CILIUM)?;
    let own = test_names(&repo.path("l7proxy/tests"), |name| name.starts_with(NAMESPACED))?;
    let mut commands = Vec::new();
    for (package, names) in [("conformance", black_box), ("l7proxy", own)] {
        if names.is_empty() {
            continue;
        }
        let mut command = integration_command(repo, package, &names);
        let config = format!("target.\"cfg(all())\".runner=[{:?}]", runner.display().to_string());
        command.args(["--config", &config]).env("L7PROXY", repo.proxy());
        commands.push(command);
    }
    tests(&mut commands)
}

fn cannot_isolate(runner: &Path) -> Result<Option<String>> {
    let trial = Command::new(runner)
        .arg("true")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{}: cannot be started", runner.display()))?;
    let why = String::from_utf8_lossy(&trial.stderr).trim().replace('\n', "; ");
    Ok((!trial.status.success()).then_some(why))
}

fn deny(repo: &Repo) -> Result<Outcome> {
    if repo::which("cargo-deny").is_none() {
        return Ok(Outcome::Skipped("cargo-deny is not installed; `cargo install cargo-deny` brings it".to_owned()));
    }
    check(repo.cargo().args(["deny", "check", "bans", "licenses", "sources"]))
}
