//! Instructions, counted by valgrind: the same on a quiet machine and on a busy one.
//!
//! Must never count what is not asked for: the figure is the difference between two runs. Start at [`instructions`].

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::Bencher;
use crate::repo;

pub(super) fn is_installed() -> bool {
    repo::which("valgrind").is_some()
}

/// Instructions of one run of a command.
pub(super) fn instructions(bencher: &Bencher, arguments: &[&str]) -> Result<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
    command.arg(&bencher.program).args(arguments).stdin(Stdio::null()).env("LC_ALL", "C");
    let output = command.output().with_context(|| format!("{}: cannot be started", repo::shown(&command)))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("`{}`: {}", repo::shown(&command), text.trim());
    }
    total(&text).with_context(|| format!("`{}`: says no number of instructions", repo::shown(&command)))
}

/// `==7== I   refs:      1,234`, in newer versions `==7== I refs: 1,234`.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains("refs:") && line.split_whitespace().nth(1) == Some("I"))?;
    let number: String = line.rsplit(':').next()?.chars().filter(char::is_ascii_digit).collect();
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms() {
        assert_eq!(total("==7== Cachegrind\n==7== \n==7== I   refs:      979,779\n"), Some(979_779));
        assert_eq!(total("==7== I refs:        12\n"), Some(12));
        assert_eq!(total("error: no rules\n"), None);
    }
}
