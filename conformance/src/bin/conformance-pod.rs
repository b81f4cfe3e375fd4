//! Runs inside a pod. See the library's module `pod`.

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match conformance::pod::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With stderr closed there is nobody left to tell; the exit code says it.
            drop(writeln!(io::stderr(), "conformance-pod: {error:#}"));
            ExitCode::from(2)
        }
    }
}
