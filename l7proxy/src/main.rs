//! The `l7proxy` command: parse the command line, do it, give the exit code.

use std::process::ExitCode;

use clap::Parser;
use l7proxy::command::Command;

fn main() -> ExitCode {
    match Command::try_parse() {
        Ok(command) => command.execute().into(),
        Err(error) => {
            let asked = !error.use_stderr();
            // Help goes to standard output, a usage error to standard error; a closed pipe is no reason to panic.
            drop(error.print());
            if asked { ExitCode::SUCCESS } else { ExitCode::from(2) }
        }
    }
}
