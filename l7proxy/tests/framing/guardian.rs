//! A second opinion: what `http_desync_guardian` says of each request of the table.
//!
//! It judges heads alone, in four tiers. Ours and theirs agree when we let pass what is `Compliant` or `Acceptable` to it,
//! and refuse what is `Ambiguous` or `Severe`. Whatever differs needs an entry in `guardian.yaml` that says why; an entry
//! that fits nothing any more is a failure too.

use std::{fs, path::Path};

use http_desync_guardian::{
    RequestSafetyTier,
    request_analyzer::{HttpRequestData, RequestAnalysisResult},
};
use serde::Deserialize;

use crate::{requests, table::Case};

/// Why a difference is meant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    because: String,
    /// What the table expects: `pass`, or a status and a reason.
    ours: Vec<String>,
    /// Their tier and their reason.
    theirs: Vec<String>,
    /// Files and classes; any, without.
    #[serde(default)]
    of: Vec<String>,
}

/// A case about which we differ: what the table expects, what they say, and its file and class.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    ours: String,
    theirs: String,
    class: String,
}

impl Difference {
    fn fits(&self, found: &Found) -> bool {
        let is_of = self.of.is_empty() || self.of.contains(&found.class);
        self.ours.contains(&found.ours) && self.theirs.contains(&found.theirs) && is_of
    }

    /// What it lists and nothing in `found` has.
    fn stale<'a>(&'a self, found: &[Found]) -> Vec<&'a str> {
        let occurs = |of: fn(&Found) -> &String, text: &str| found.iter().any(|one| self.fits(one) && of(one) == text);
        let ours = self.ours.iter().filter(|text| !occurs(|found| &found.ours, text));
        let theirs = self.theirs.iter().filter(|text| !occurs(|found| &found.theirs, text));
        let of = self.of.iter().filter(|text| !occurs(|found| &found.class, text));
        ours.chain(theirs).chain(of).map(String::as_str).collect()
    }
}

#[test]
fn every_difference_from_the_guardian_is_meant() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/framing/guardian.yaml");
    let meant: Vec<Difference> = serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let mut found = Vec::new();
    let mut agreed = 0;
    let mut unlisted = Vec::new();
    for case in requests::all() {
        let RequestAnalysisResult { tier, reason, .. } = HttpRequestData::analyze_raw_request(head(&case.send));
        let passes_there = matches!(tier, RequestSafetyTier::Compliant | RequestSafetyTier::Acceptable);
        if passes_there == passes_here(&case) {
            agreed += 1;
            continue;
        }
        let class = case.name.split(' ').next().unwrap_or_default().to_owned();
        let one = Found { ours: case.expected.clone(), theirs: format!("{tier:?} {reason:?}"), class };
        if meant.iter().any(|difference| difference.fits(&one)) {
            found.push(one);
        } else {
            unlisted.push((case.name, one));
        }
    }
    assert!(unlisted.is_empty(), "differences that guardian.yaml does not know: {unlisted:#?}");
    for difference in &meant {
        assert!(difference.because.len() > 20, "{difference:?} needs a reason");
        let stale = difference.stale(&found);
        assert!(stale.is_empty(), "of {difference:?} there is no {stale:?} any more");
    }
    assert!(agreed > found.len(), "{agreed} agree, {} do not: that is no second opinion", found.len());
}

/// Whether its framing is accepted; a request that policy denies is.
fn passes_here(case: &Case) -> bool {
    ["pass", "closes"].contains(&case.expected.as_str()) || case.expected.starts_with("403")
}

/// Up to and with the empty line, without empty lines in front: it looks at nothing else.
fn head(request: &[u8]) -> &[u8] {
    let mut head = request;
    while let Some(rest) = head.strip_prefix(b"\r\n") {
        head = rest;
    }
    memchr::memmem::find(head, b"\r\n\r\n").and_then(|end| head.get(..end + 4)).unwrap_or(head)
}
