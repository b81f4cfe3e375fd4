//! What the header matches of the rules that match do to a request: edits, and what there is to record.
//!
//! Rules are asked about the request as it was sent, and their edits are brought into one order: which rule comes first
//! never matters. Must never show what came from a secret. Start at [`Collector`].

use std::{collections::BTreeSet, sync::Arc};

use http::{HeaderName, HeaderValue};

/// Headers that a record names in one list.
const MAX_NOTES: usize = 32;
/// Bytes of a value that a record shows.
const MAX_SHOWN: usize = 256;

/// A change of a request's headers. To be made in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderEdit {
    /// Every instance goes.
    Remove(HeaderName),
    /// The one instance with this value takes the place of all.
    Set(HeaderName, HeaderValue),
    /// One more instance.
    Append(HeaderName, HeaderValue),
}

impl HeaderEdit {
    /// Removals come first, and what is added comes last.
    fn order(&self) -> (u8, &str, &[u8]) {
        match self {
            Self::Remove(name) => (0, name.as_str(), &[]),
            Self::Set(name, value) => (1, name.as_str(), value.as_bytes()),
            Self::Append(name, value) => (2, name.as_str(), value.as_bytes()),
        }
    }
}

/// A header as a record names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeaderNote {
    /// Its name, in lower case.
    pub name: String,
    /// Its value, cut if it is long; `[redacted]` where a secret is concerned.
    pub value: String,
}

/// What a record says of a request's headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderNotes {
    /// Expected, and not there.
    pub missing: Vec<HeaderNote>,
    /// There, and not expected.
    pub rejected: Vec<HeaderNote>,
}

/// What is done to one request. Empty for most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeaderEffects {
    pub(crate) edits: Vec<HeaderEdit>,
    pub(crate) notes: Option<Arc<HeaderNotes>>,
}

impl HeaderEffects {
    /// What both do.
    pub(crate) fn and(self, other: Self) -> Self {
        if other == Self::default() || self == other {
            return self;
        }
        let notes = || self.notes.iter().chain(&other.notes);
        let missing = notes().flat_map(|notes| &notes.missing).cloned().collect();
        let rejected = notes().flat_map(|notes| &notes.rejected).cloned().collect();
        Collector { edits: self.edits.into_iter().chain(other.edits).collect(), missing, rejected }.finish()
    }
}

/// Collects what each header match does.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    edits: Vec<HeaderEdit>,
    missing: BTreeSet<HeaderNote>,
    rejected: BTreeSet<HeaderNote>,
}

impl Collector {
    pub(crate) fn append(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.edits.push(HeaderEdit::Append(name.clone(), value.clone()));
    }

    pub(crate) fn remove(&mut self, name: &HeaderName) {
        self.edits.push(HeaderEdit::Remove(name.clone()));
    }

    pub(crate) fn set(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.edits.push(HeaderEdit::Set(name.clone(), value.clone()));
    }

    pub(crate) fn missing(&mut self, name: &HeaderName, value: &[u8]) {
        self.missing.insert(note(name, value));
    }

    pub(crate) fn rejected(&mut self, name: &HeaderName, value: &[u8]) {
        self.rejected.insert(note(name, value));
    }

    pub(crate) fn finish(mut self) -> HeaderEffects {
        self.edits.sort_by(|a, b| a.order().cmp(&b.order()));
        self.edits.dedup();
        let list = |notes: BTreeSet<HeaderNote>| -> Vec<HeaderNote> { notes.into_iter().take(MAX_NOTES).collect() };
        let notes = HeaderNotes { missing: list(self.missing), rejected: list(self.rejected) };
        let notes = (notes != HeaderNotes::default()).then(|| Arc::new(notes));
        HeaderEffects { edits: self.edits, notes }
    }
}

fn note(name: &HeaderName, value: &[u8]) -> HeaderNote {
    let shown = value.get(..MAX_SHOWN);
    let mut text = String::from_utf8_lossy(shown.unwrap_or(value)).into_owned();
    if shown.is_some_and(|shown| shown.len() < value.len()) {
        text.push_str("...");
    }
    HeaderNote { name: name.as_str().to_owned(), value: text }
}
