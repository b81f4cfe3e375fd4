//! `cargo xtask`: the commands of the README. Each prints what it runs, so that a human can run the same.
//!
//! Owns the order of build and test steps. Must never contain product logic, and never needs anything but what
//! `cargo xtask setup` installs. Start at [`Command`]; each command is one module.

use std::{
    fmt::Display,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bench;
mod build;
mod demo;
mod repo;
mod setup;
mod test;

use crate::{bench::Bench, repo::Repo, test::Layer};

/// Builds, tests and shows l7proxy.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Installs what building and testing need (root on Debian or Ubuntu), or says how
    Setup {
        /// Also what `cargo xtask bench` needs: valgrind, and Envoy where it can be had
        #[arg(long)]
        bench: bool,
    },
    /// Measures speed and memory, judges counted instructions; results are in target/bench
    Bench {
        /// What to measure; everything when nothing is named
        #[arg(value_enum)]
        names: Vec<Bench>,
    },
    /// Builds the eBPF object and target/release/l7proxy
    Build,
    /// Sends allowed and denied requests between two pods on this machine, and shows their records
    Demo,
    /// Runs every test layer, or the named ones
    Test {
        /// Layers to run; all of them when none is named
        #[arg(value_enum)]
        layers: Vec<Layer>,
    },
    /// The part of the demo that runs inside its own namespaces
    #[command(hide = true)]
    DemoStage {
        /// The binary to show
        proxy: PathBuf,
        /// The manifest to show it with
        manifest: PathBuf,
    },
    /// The HTTP server of the demo
    #[command(hide = true)]
    DemoServer {
        /// Ports to serve
        ports: Vec<u16>,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // With stderr closed there is nobody left to tell; the exit code says it.
            drop(writeln!(io::stderr(), "error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

/// Whether what was asked for is as it should be; an error means that it could not be found out.
fn run(command: Command) -> Result<bool> {
    match command {
        Command::Setup { bench } => setup(&Repo::find()?, bench).map(|()| true),
        Command::Bench { names } => bench::run(&Repo::find()?, &names),
        Command::Build => build::run(&Repo::find()?).map(|_binary| true),
        Command::Demo => demo::run(&Repo::find()?),
        Command::Test { layers } => test::run(&Repo::find()?, &layers),
        Command::DemoStage { proxy, manifest } => demo::stage(&proxy, &manifest),
        Command::DemoServer { ports } => demo::serve(&ports).map(|()| true),
    }
}

fn setup(repo: &Repo, bench: bool) -> Result<()> {
    setup::run(repo)?;
    setup::judges::install(repo)?;
    setup::programs::install(repo)?;
    setup::suites::install(repo)?;
    if bench { setup::bench::run(repo) } else { Ok(()) }
}

/// One line to standard output, at once.
fn say(line: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
