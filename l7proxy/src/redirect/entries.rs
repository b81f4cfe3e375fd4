//! What a pod's policies say to the kernel, as values: the lines of the policy maps but for the number that they are filed under.
//!
//! Start at [`Entries`].

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

/// One line of a pod's policy. 0 in `identity` is every one without lines of its own, 0 in `protocol` every protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// `INGRESS` or `EGRESS`.
    pub direction: u8,
    /// The other side.
    pub identity: u32,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination ports: those that agree with this one in `port_bits`.
    pub port: u16,
    /// Leading bits of the port that count.
    pub port_bits: u8,
    /// `ALLOW`, `REDIRECT`, `AUDIT` or `DENY`.
    pub action: u8,
    /// What beats what, for who looks at the map.
    pub precedence: u32,
    /// Number of the rule that decides, 0 = none.
    pub rule: u32,
}

/// What tells one entry from another.
pub(super) type EntryKey = (u8, u32, u8, u16, u8);

impl Entry {
    pub(super) fn key(&self) -> EntryKey {
        (self.direction, self.identity, self.protocol, self.port, self.port_bits)
    }
}

/// All lines of a pod's policy. Pods that may do the same share them.
#[derive(Clone, Debug)]
pub struct Entries(Arc<Content>);

#[derive(Debug)]
struct Content {
    /// Sorted by key, each key once.
    lines: Vec<Entry>,
    hash: u64,
}

impl Entries {
    /// `lines` in any order; of several for one key the last counts.
    pub fn new(lines: impl IntoIterator<Item = Entry>) -> Self {
        let by_key: BTreeMap<EntryKey, Entry> = lines.into_iter().map(|entry| (entry.key(), entry)).collect();
        let lines: Vec<Entry> = by_key.into_values().collect();
        let mut hasher = DefaultHasher::new();
        lines.hash(&mut hasher);
        Self(Arc::new(Content { lines, hash: hasher.finish() }))
    }

    /// Every line, sorted.
    #[must_use]
    pub fn lines(&self) -> &[Entry] {
        &self.0.lines
    }

    /// Whether both are the same value, and not only equal.
    #[must_use]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Default for Entries {
    fn default() -> Self {
        Self::new([])
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        self.is_shared_with(other) || (self.0.hash == other.0.hash && self.0.lines == other.0.lines)
    }
}

impl Eq for Entries {}

impl Hash for Entries {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash.hash(state);
    }
}

/// What must go and what must be written where `before` is, so that `after` is there.
pub(super) fn difference(before: &Entries, after: &Entries) -> (Vec<Entry>, Vec<Entry>) {
    let (mut gone, mut written) = (Vec::new(), Vec::new());
    let (mut old, mut new) = (before.lines().iter().peekable(), after.lines().iter().peekable());
    loop {
        match (old.peek(), new.peek()) {
            (None, None) => return (gone, written),
            (Some(one), other) if other.is_none_or(|other| one.key() < other.key()) => gone.extend(old.next()),
            (one, Some(other)) if one.is_none_or(|one| other.key() < one.key()) => written.extend(new.next()),
            (one, other) => {
                if one != other {
                    written.extend(other.copied());
                }
                old.next();
                new.next();
            }
        }
    }
}
