//! Every input of `rules/fuzz/corpus` through the same checks as under the fuzzer, and what must come of each manifest.

#![cfg(feature = "oracle")]
#![expect(clippy::panic, clippy::expect_used, reason = "what can not be read, or is not there, is a failure")]

#[path = "corpus/targets.rs"]
mod targets;

use std::{
    fs,
    io::{self, Write as _},
    panic,
    path::Path,
};

use rules::manifest::{self, Document};

/// Each target has at least this many inputs.
const LEAST: usize = 10;

/// Name and content.
type Input = (String, Vec<u8>);

/// Every input of a target.
fn corpus(target: &str) -> Vec<Input> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = fs::read_dir(&directory).expect("the corpus");
    let mut inputs: Vec<Input> = files
        .map(|file| {
            let file = file.expect("a file of the corpus");
            (file.file_name().to_string_lossy().into_owned(), fs::read(file.path()).expect("a file of the corpus"))
        })
        .collect();
    inputs.sort();
    // Not by a macro: libtest hides what those write.
    writeln!(io::stderr().lock(), "{target}: {} inputs", inputs.len()).expect("standard error");
    assert!(inputs.len() >= LEAST, "{target} has {} inputs", inputs.len());
    inputs
}

fn replay(target: &str, check: fn(&[u8])) {
    for (name, input) in corpus(target) {
        // Whole, and cut off.
        let cuts = (0..input.len()).step_by(input.len() / 16 + 1);
        for length in cuts.chain([input.len()]) {
            let input = input.get(..length).expect("within");
            let found = panic::catch_unwind(|| check(input)).is_err();
            assert!(!found, "{target}/{name}, its first {length} bytes");
        }
    }
}

#[test]
fn manifests() {
    replay("manifests", targets::manifests);
}

#[test]
fn selectors() {
    replay("selectors", targets::selectors);
}

#[test]
fn patterns() {
    replay("patterns", targets::patterns);
}

#[test]
fn requests() {
    replay("requests", targets::requests);
}

/// The first word of a manifest's name says what its documents are; `table` is anything.
#[test]
fn manifests_are_what_their_names_say() {
    for (name, input) in corpus("manifests") {
        let documents = manifest::parse(&String::from_utf8_lossy(&input));
        let kind = |document: &Document| match document {
            Document::Policy(_) => "valid",
            Document::Refused(_) => "refused",
            Document::Unattributable { .. } => "broken",
            Document::Skipped { .. } => "skipped",
        };
        let wanted = name.split('-').next().unwrap_or_default();
        let found: Vec<&str> = documents.iter().map(kind).collect();
        let right = match wanted {
            "table" => found.contains(&"valid") || found.contains(&"refused"),
            "nothing" => found.is_empty(),
            wanted => !found.is_empty() && found.iter().all(|kind| *kind == wanted),
        };
        assert!(right, "{name}: {found:?}");
    }
}
