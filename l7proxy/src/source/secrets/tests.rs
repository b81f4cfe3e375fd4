use super::*;

fn name(name: &str) -> SecretName {
    SecretName { namespace: "n".to_owned(), name: name.to_owned() }
}

/// A key and what it holds.
type Key<'k> = (&'k str, &'k [u8]);

/// The problem with a secret of these files, if there is one.
fn problem(files: &[Key<'_>]) -> Option<String> {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("n/s");
    fs::create_dir_all(&directory).unwrap();
    for (key, value) in files {
        fs::write(directory.join(key), value).unwrap();
    }
    let mut read = read(Some(root.path()), BTreeSet::from([name("s")]));
    let is_available = read.secrets != Secrets::default();
    let problem = read.problems.remove(&name("s"));
    assert_eq!(is_available, problem.is_none());
    problem.map(|text| text.replace(&root.path().display().to_string(), "ROOT"))
}

#[test]
fn a_secret_has_one_key_and_a_headers_value() {
    assert_eq!(problem(&[("token", b"hush")]), None);
    assert_eq!(problem(&[("token", b"hush"), ("..data", b"x"), (".hidden", b"y")]), None);
    for (files, wanted) in [
        (&[][..], "ROOT/n/s: has 0 keys"),
        (&[("a", &b"hush"[..]), ("b", b"hush")], "ROOT/n/s: has 2 keys"),
        (&[("a", b"")], "ROOT/n/s/a: is no header's value"),
        (&[("a", b"hush\n")], "ROOT/n/s/a: is no header's value"),
        (&[("a", b"hush\r\nX: y")], "ROOT/n/s/a: is no header's value"),
    ] {
        let problem = problem(files).unwrap();
        assert!(problem.starts_with(wanted) && !problem.contains("hush"), "{problem}");
    }
    assert!(problem(&[("a", "x".repeat(20_000).as_bytes())]).unwrap().starts_with("ROOT/n/s/a: has more than"));
}

#[test]
fn what_is_not_there_is_told() {
    let missing = read(Some(Path::new("/nonexistent")), BTreeSet::from([name("s")]));
    assert!(missing.problems[&name("s")].starts_with("/nonexistent/n/s: cannot be read"));
    let unknown = read(None, BTreeSet::from([name("s")]));
    assert!(unknown.problems[&name("s")].contains("secrets: <directory>"));
}

#[test]
fn every_directory_of_a_secret_is_named() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("n/s/..2024")).unwrap();
    fs::create_dir_all(root.path().join("m/t")).unwrap();
    fs::write(root.path().join("m/file"), "").unwrap();
    let mut found = directories(root.path());
    found.sort();
    let wanted = ["", "m", "m/t", "n", "n/s"]
        .map(|part| if part.is_empty() { root.path().into() } else { root.path().join(part) });
    assert_eq!(found, wanted);
}
