//! The commands: what a user types, and what it prints.
//!
//! Owns the command line, exit codes and texts. Never decides a verdict. Exit codes: 0 as asked or allowed, 1 refused or
//! denied, 2 usage or environment. Start at [`Command::execute`].

use std::{
    fmt::Display,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;
use serde_json::Value;

use crate::{app, redirect, socket_file, source::standalone};

mod check;
mod explain;
mod judge;
mod place;
mod replay;
mod status;

pub use check::Check;
pub use explain::Explain;
pub use replay::Replay;

/// L7 policy for every pod of this node, beside any CNI.
#[derive(Debug, Parser)]
#[command(name = "l7proxy", version, about)]
pub enum Command {
    /// Runs the node process.
    Run {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
        /// If a process runs already, takes over from it: no connection is refused, no request lost.
        #[arg(long)]
        take_over: bool,
    },
    /// Parses and validates manifests: `file:line: field.path: reason`; warns of what is hardly meant.
    Check(Check),
    /// The verdict for a request, offline: policy, rule and why.
    Explain(Explain),
    /// What manifests would decide otherwise than recorded flows say was decided.
    Replay(Replay),
    /// What the running process does: endpoints, policies, kernel, what is not enforced and why.
    Status {
        /// The configuration file of the process.
        #[arg(long)]
        config: PathBuf,
        /// `text` or `json`.
        #[arg(long, default_value = "text")]
        output: Output,
    },
    /// Removes pins and links of a dead process: the node is as if it had never run.
    Cleanup {
        /// The configuration file of the process.
        #[arg(long)]
        config: PathBuf,
    },
}

/// How a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// As asked, or allowed.
    Done,
    /// Refused, or denied.
    Refused,
    /// Usage or environment.
    Trouble,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Refused => Self::from(1),
            Exit::Trouble => Self::from(2),
        }
    }
}

impl Command {
    /// Does it.
    #[must_use]
    pub fn execute(self) -> Exit {
        match self {
            Self::Run { config, take_over } => run(&config, take_over),
            Self::Check(check) => check.run(),
            Self::Explain(explain) => explain.run(),
            Self::Replay(replay) => replay.run(),
            Self::Status { config, output } => status::status(&config, output),
            Self::Cleanup { config } => cleanup(&config),
        }
    }
}

fn run(config: &std::path::Path, take_over: bool) -> Exit {
    crate::telemetry::start();
    match app::run(config, take_over) {
        Ok(()) => Exit::Done,
        Err(error) => trouble(error),
    }
}

fn cleanup(file: &std::path::Path) -> Exit {
    let config = match standalone::read(file) {
        Ok(input) => input.config,
        Err(error) => return trouble(error),
    };
    match redirect::cleanup(&config.redirect.pins) {
        Ok(links) => {
            say(format_args!("removed {links} links"));
            for socket in [Some(&config.admin.socket), config.flows.socket.as_ref()].into_iter().flatten() {
                if let Err(error) = socket_file::remove(socket) {
                    return trouble(format_args!("{}: {error}", socket.display()));
                }
            }
            Exit::Done
        }
        Err(error) => trouble(error),
    }
}

/// One line or several to standard output. A closed pipe ends nothing.
fn say(text: impl Display) {
    drop(writeln!(io::stdout().lock(), "{text}"));
}

/// `1 policy`, `2 policies`.
fn counted(number: usize, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

/// An object with one field more.
fn with(mut object: Value, field: &str, value: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(field.to_owned(), value);
    }
    object
}

/// Control characters, also those of terminals beyond ASCII, never reach a screen.
fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            printable.extend(letter.escape_unicode());
        } else {
            printable.push(letter);
        }
    }
    printable
}

/// Every error is a line on standard error.
fn trouble(error: impl Display) -> Exit {
    drop(writeln!(io::stderr().lock(), "{error}"));
    Exit::Trouble
}
