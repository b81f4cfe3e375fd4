//! Differences that are known, each with its reason: `known.yaml`.

use std::{fs, path::Path};

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Known {
    because: String,
    servers: Vec<String>,
    requests: Vec<String>,
    says: String,
}

/// A request of the corpus, and what differs.
pub(crate) type Difference = (String, String);

/// What of `found` at `server` is not known, and what is known of it and was not found.
pub(crate) fn unexpected(server: &str, found: &[Difference]) -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transparency/known.yaml");
    let all: Vec<Known> = serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let known: Vec<&Known> = all.iter().filter(|known| known.servers.iter().any(|name| name == server)).collect();
    let fits =
        |known: &Known, (request, text): &Difference| known.requests.contains(request) && text.contains(&known.says);
    let new = found.iter().filter(|difference| !known.iter().any(|known| fits(known, difference)));
    let mut wrong: Vec<String> = new.map(|(request, text)| format!("{request}: {text}")).collect();
    for known in &known {
        assert!(known.because.len() > 20, "{known:?} needs a reason");
        let stale = |request: &&String| !found.iter().any(|found| &&found.0 == request && fits(known, found));
        wrong.extend(known.requests.iter().filter(stale).map(|request| format!("{request}: no more {:?}", known.says)));
    }
    wrong
}
