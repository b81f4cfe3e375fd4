//! Every input of `l7proxy/fuzz/corpus`, and every request of the framing table, through the same checks as under the
//! fuzzer.

#![expect(clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "what is not as expected has failed")]

#[path = "framing/table.rs"]
mod table;
#[path = "corpus/targets.rs"]
mod targets;

use std::{fs, panic, path::Path};

/// Each target has at least this many inputs.
const LEAST: usize = 20;

#[test]
fn heads_of_the_corpus() {
    replay_all("heads", targets::heads);
}

#[test]
fn frames_of_the_corpus() {
    replay_all("frames", targets::frames);
}

fn replay_all(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        count += 1;
        replay(&path.display().to_string(), &fs::read(&path).unwrap(), check);
    }
    assert!(count >= LEAST, "{count} inputs");
}

#[test]
fn requests_of_the_framing_table() {
    for case in table::read("requests") {
        replay(&case.name, &case.send, targets::heads);
        assert!(case.request.is_none() && !case.expected.is_empty() && !case.arrives.is_empty(), "{}", case.name);
    }
}

/// Whole, and cut off.
fn replay(name: &str, input: &[u8], check: fn(&[u8])) {
    let cuts = (0..input.len()).step_by(input.len() / 16 + 1);
    for length in cuts.chain([input.len()]) {
        let input = input.get(..length).expect("within");
        let found = panic::catch_unwind(|| check(input)).is_err();
        assert!(!found, "{name}, its first {length} bytes: {}", table::shown(input));
    }
}
