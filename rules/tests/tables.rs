//! Every table of `tests/tables/`: what a policy means, case by case.
//!
//! A table is policies as their author writes them, pods, and questions; `table/form.rs` says how it is written.

#[path = "table/check.rs"]
mod check;

use std::{fs, path::Path};

/// As many as there are files: one that is not found is not run.
const TABLES: usize = 19;

#[test]
fn every_case_of_every_table() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tables");
    let mut tables = 0_usize;
    let mut wrong = Vec::new();
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (_, failures) = check::failures(&fs::read_to_string(&path).unwrap());
        wrong.extend(failures.into_iter().map(|failure| format!("{name}: {failure}")));
        tables += 1;
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert!(tables >= TABLES, "{tables} tables in {}", directory.display());
}

#[test]
fn a_table_without_cases_or_with_a_slip_is_a_failure() {
    assert_eq!(check::failures("cases: []\n").1, ["the table has no cases"]);
    assert!(check::failures("casse: []\n").1[0].starts_with("is no table"));
    let wrong = check::failures(
        "pods: [{name: n/a}]\ncases: [{name: c, from: n/a, to: n/a, direction: egress, port: 1, expect: {verdict: denied}}]\n",
    );
    assert_eq!(wrong, (1, vec!["c: NotEnforced instead of Denied".to_owned()]));
}
