//! Reads the sources: who may use whom, where `unsafe` may occur, how long a file may be, what every module begins with.

#![expect(clippy::unwrap_used, reason = "a test that cannot read the sources has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Lines of a file that is not a test.
const MAX_LINES: usize = 400;

type Row = (&'static str, &'static [&'static str]);

/// Module of `l7proxy` → modules that it must not use. (Tests of a module may use anything.)
const FORBIDDEN: &[Row] = &[
    ("source", &["http", "request", "redirect", "accept", "upstream"]),
    ("endpoint", &["source", "http", "request", "policy"]),
    ("policy", &["source", "http", "request", "redirect"]),
    ("redirect", &["policy", "http", "request", "source", "app"]),
    ("pod_net", &["policy", "http", "request", "source", "app", "redirect", "endpoint"]),
    ("accept", &["source", "app"]),
    ("http", &["source", "app", "redirect", "accept"]),
    ("request", &["source", "app", "redirect", "accept"]),
    ("upstream", &["policy", "source", "app", "request", "accept"]),
    ("reject", &["source", "app", "redirect", "policy", "upstream", "http", "request", "accept"]),
    ("flow", &["source", "app", "redirect", "policy", "upstream", "http", "request", "accept", "hubble"]),
    (
        "hubble",
        &[
            "source", "app", "redirect", "policy", "upstream", "http", "request", "accept", "admin", "endpoint",
            "pod_net", "reject", "sys",
        ],
    ),
    ("metrics", &["source", "app", "redirect", "policy", "upstream", "http", "request", "accept", "flow"]),
    ("sys", &["source", "app", "redirect", "policy", "upstream", "http", "request", "accept", "flow", "endpoint"]),
    ("config", &["source", "app", "redirect", "policy", "upstream", "http", "request", "accept", "flow"]),
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Every source file below `directory`, with its text.
fn sources(directory: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // What is generated is checked where it is generated.
                if path.file_name().is_none_or(|name| name != "target" && name != "generated") {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "{} holds no source", directory.display());
    found
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "testing")
        || path.file_name().is_some_and(|name| name == "tests.rs" || name == "testing.rs")
}

/// First room of `l7proxy` that a file belongs to.
fn module(path: &Path) -> String {
    let inside = path.strip_prefix(workspace().join("l7proxy/src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// `crate::a::b` and `crate::{a, b::c}` → a, b.
fn used_modules(text: &str) -> Vec<String> {
    let production = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut used = Vec::new();
    for (_, rest) in production.match_indices("crate::").map(|(at, word)| production.split_at(at + word.len())) {
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 1;
            let mut name = String::new();
            for letter in list.chars() {
                match letter {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' | ':' | ' ' | '\n' => {}
                    letter if depth == 1 => {
                        name.push(letter);
                        continue;
                    }
                    _ => continue,
                }
                if !name.is_empty() {
                    used.push(std::mem::take(&mut name));
                }
                if depth == 0 {
                    break;
                }
            }
        } else {
            used.push(rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect());
        }
    }
    used
}

#[test]
fn nobody_uses_what_its_table_forbids() {
    let mut wrong = Vec::new();
    for (path, text) in sources(&workspace().join("l7proxy/src")).iter().filter(|(path, _)| !is_test(path)) {
        let module = module(path);
        let Some((_, forbidden)) = FORBIDDEN.iter().find(|(name, _)| *name == module) else { continue };
        for used in used_modules(text).iter().filter(|used| forbidden.contains(&used.as_str())) {
            wrong.push(format!("{}: uses {used}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn imports_are_read_in_both_forms() {
    let text = "use crate::http::Worker;\nuse crate::{\n    flow::{self, Sink},\n    policy::Live,\n};\n";
    assert_eq!(used_modules(text)[0], "http");
    assert!(used_modules(text).contains(&"flow".to_owned()));
    assert!(used_modules(text).contains(&"policy".to_owned()));
}

#[test]
fn unsafe_is_where_it_may_be() {
    let allowed = |path: &Path| {
        let text = path.to_string_lossy();
        text.contains("l7proxy/src/sys") || text.contains("redirect-ebpf/")
    };
    let mut wrong = Vec::new();
    for (path, text) in sources(&workspace()).iter().filter(|(path, _)| !allowed(path)) {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let marks = ["unsafe {", "unsafe fn", "unsafe impl"];
        if code.filter(|line| !line.contains("marks = [")).any(|line| marks.iter().any(|mark| line.contains(mark))) {
            wrong.push(path.display().to_string());
        }
    }
    assert!(wrong.is_empty(), "unsafe in {}", wrong.join(", "));
}

#[test]
fn rules_are_pure() {
    for (path, text) in sources(&workspace().join("rules/src")) {
        for word in ["tokio", "std::fs", "std::net::Tcp", "SystemTime", "Instant", "async fn"] {
            assert!(!text.contains(word), "{} names {word}", path.display());
        }
    }
}

#[test]
fn no_file_is_too_long() {
    let long: Vec<String> = sources(&workspace())
        .iter()
        .filter(|(path, text)| !is_test(path) && text.lines().count() > MAX_LINES)
        .map(|(path, text)| format!("{}: {} lines", path.display(), text.lines().count()))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn every_module_says_what_it_is() {
    let silent: Vec<String> = sources(&workspace())
        .iter()
        .filter(|(path, text)| !is_test(path) && !text.starts_with("//!"))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(silent.is_empty(), "no //! at the top: {}", silent.join(", "));
}

#[test]
fn there_are_no_mod_rs_and_no_vague_names() {
    for (path, _) in sources(&workspace()) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(!["mod", "utils", "util", "helpers", "common", "types"].contains(&name.as_str()), "{}", path.display());
    }
}
