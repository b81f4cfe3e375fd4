//! What `cargo xtask bench` runs. Each command does work of a known amount and says what it took as one line of JSON;
//! instructions are counted from outside, by running a command with two amounts and taking the difference.
//!
//! Owns the rule sets that are measured. Must never judge a figure: limits are xtask's. Start at [`Command`].

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Result;
use clap::{Parser, Subcommand};
use serde_json::Value;

mod change;
mod compile;
mod decide;
mod envoy;
mod hostile;
mod http;
mod memory;
mod redirect;
mod rule_set;

use self::{decide::Amounts, http::Load, redirect::Among, rule_set::Kind};

/// Work that `cargo xtask bench` measures.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Decides requests against a rule set
    Decide {
        /// What the rules look like
        kind: Kind,
        /// How many there are
        rules: u32,
        #[command(flatten)]
        amounts: Amounts,
    },
    /// Parses and resolves a rule set
    Compile {
        /// What the rules look like
        kind: Kind,
        /// How many there are
        rules: u32,
    },
    /// Changes one policy among many
    Change {
        /// Pods of this node
        endpoints: u32,
        /// Policies in force
        policies: u32,
        /// Each policy selects every pod, not one in so many as there are policies
        #[arg(long)]
        all: bool,
    },
    /// Asks patterns that are meant to cost
    Hostile {
        /// Bytes of the value
        length: usize,
        /// How often each is asked
        times: u32,
    },
    /// Connects and round trips of pods; in namespaces of its own (`.ci/in-netns`)
    Connects {
        /// Batches of each
        rounds: usize,
    },
    /// Lookups among so many; in namespaces of its own
    Lookups {
        /// What they are
        among: Among,
        /// How many
        count: u32,
        /// Batches of each
        rounds: usize,
        /// Ports of each that a rule allows
        #[arg(long, default_value_t = 1)]
        ports: u16,
        /// Pods that it applies to
        #[arg(long, default_value_t = 1)]
        pods: u32,
    },
    /// A load on the proxy and on others, in turn; in namespaces of its own
    Http {
        /// What is asked of them
        load: Load,
        /// How often
        rounds: u32,
        /// Directory of the peers' configurations
        peers: PathBuf,
        /// Envoy's binary
        envoy: Option<PathBuf>,
    },
    /// What the proxy holds with so many clients; in namespaces of its own
    Held {
        /// How many
        connections: u32,
        /// Directory of the peers' configurations
        peers: PathBuf,
    },
    /// What it costs to be watched by Hubble's command line, and to export records; in namespaces of its own
    Followers {
        /// How long each load lasts
        seconds: u32,
        /// How often
        rounds: u32,
        /// Hubble's command line
        hubble: PathBuf,
        /// Directory of the peers' configurations
        peers: PathBuf,
    },
    /// Moves bytes until it is ended
    Relay {
        /// Where clients connect
        listen: SocketAddr,
        /// Where they are taken
        upstream: SocketAddr,
    },
    /// Clients that stay until the input ends
    Readers {
        /// Where they connect
        target: SocketAddr,
        /// What they ask for
        path: String,
        /// How many
        count: u32,
    },
    /// Sends the requests to Envoy, with the same rules
    Envoy {
        /// Envoy's binary
        program: PathBuf,
        /// What the rules look like
        kind: Kind,
        /// How many there are
        rules: u32,
    },
}

fn main() -> ExitCode {
    let done = run(Cli::parse().command).and_then(|found| Ok(writeln!(io::stdout(), "{found}")?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With stderr closed there is nobody left to tell; the exit code says it.
            drop(writeln!(io::stderr(), "error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<Value> {
    match command {
        Command::Decide { kind, rules, amounts } => decide::run(kind, rules, amounts),
        Command::Compile { kind, rules } => compile::run(kind, rules),
        Command::Change { endpoints, policies, all } => change::run(endpoints, policies, all),
        Command::Hostile { length, times } => hostile::run(length, times),
        Command::Connects { rounds } => redirect::connects(rounds),
        Command::Lookups { among, count, rounds, ports, pods } => redirect::lookups(among, count, ports, pods, rounds),
        Command::Http { load, rounds, peers, envoy } => http::run(load, rounds, envoy.as_deref(), &peers),
        Command::Held { connections, peers } => http::memory(connections, &peers),
        Command::Followers { seconds, rounds, hubble, peers } => http::followers(seconds, rounds, &hubble, &peers),
        Command::Relay { listen, upstream } => http::relay(listen, upstream).map(Value::from),
        Command::Readers { target, path, count } => http::readers(target, &path, count).map(Value::from),
        Command::Envoy { program, kind, rules } => envoy::run(&program, kind, rules),
    }
}
