//! Runs the binary as on an older kernel. See the library's module `lacking`.

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

#[cfg(target_arch = "x86_64")]
use conformance::lacking::run;

#[cfg(not(target_arch = "x86_64"))]
fn run(_arguments: &[String]) -> Result<ExitCode, &'static str> {
    Err("knows the registers of x86_64 only")
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    run(&arguments).unwrap_or_else(|error| {
        // With stderr closed there is nobody left to tell; the exit code says it.
        drop(writeln!(io::stderr(), "conformance-lacking: {error:#}"));
        ExitCode::from(3)
    })
}
