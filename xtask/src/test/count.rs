//! How many tests a run of `cargo test` had, from the closing lines of its test binaries.
//!
//! Owns the form of those lines. Must never hide output: every line is passed on as it comes. Start at [`tests`].

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use crate::{repo, say};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

/// Runs tests; says how many there were and whether the whole run went well.
pub(crate) fn tests(command: &mut Command) -> Result<(Count, bool)> {
    say(format_args!("+ {}", repo::shown(command)))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{}: cannot be started", repo::shown(command)))?;
    let mut count = Count::default();
    let out = child.stdout.take().context("the tests' output is not a pipe")?;
    for line in BufReader::new(out).split(b'\n') {
        let line = line.context("the tests' output cannot be read")?;
        let line = String::from_utf8_lossy(&line);
        count = count.plus(&line);
        say(line)?;
    }
    let ok = child.wait().context("the tests' end cannot be waited for")?.success();
    Ok((count, ok))
}

impl Count {
    pub(crate) fn and(self, other: Self) -> Self {
        Self { passed: self.passed + other.passed, failed: self.failed + other.failed }
    }

    fn plus(self, line: &str) -> Self {
        let Some(summary) = line.strip_prefix("test result: ") else { return self };
        let number = |what: &str| -> u64 {
            let field = summary.split([';', '.']).find_map(|field| field.trim().strip_suffix(what));
            field.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
        };
        self.and(Self { passed: number("passed"), failed: number("failed") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cargo_s_closing_lines() {
        let lines = [
            "running 3 tests",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1.00s",
        ];
        let count = lines.iter().fold(Count::default(), |count, line| count.plus(line));
        assert_eq!(count, Count { passed: 13, failed: 2 });
    }
}
