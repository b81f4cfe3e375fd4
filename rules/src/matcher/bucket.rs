//! Rules that name the same path, by the method that they name.

use std::collections::HashMap;

use crate::pattern::{Form, Pattern};

/// Indexes of rules, ascending.
type Indexes = Vec<usize>;

#[derive(Debug, Default)]
pub(super) struct Bucket {
    by_method: HashMap<Box<[u8]>, Indexes>,
    /// Rules for every method, or for methods by a pattern.
    other: Indexes,
}

impl Bucket {
    /// Indexes come in ascending order.
    pub(super) fn add(&mut self, index: usize, method: Option<&Pattern>) {
        let mut add = |method: &[u8]| self.by_method.entry(method.into()).or_default().push(index);
        match method.map(Pattern::form) {
            Some(Form::Literal(method)) => add(method),
            Some(Form::OneOf(methods)) => methods.iter().for_each(|method| add(method)),
            Some(Form::Prefix(_) | Form::Regex(_)) | None => self.other.push(index),
        }
    }

    /// Rules that may hold for `method`: at most two lists.
    pub(super) fn lists(&self, method: &str) -> impl Iterator<Item = &[usize]> {
        let own = if self.by_method.is_empty() { None } else { self.by_method.get(method.as_bytes()) };
        own.into_iter().chain([&self.other]).map(Vec::as_slice)
    }

    /// Fills `found` up to `most` with the first indexes of each list.
    pub(super) fn first(&self, most: usize, found: &mut Vec<usize>) {
        let room = most.saturating_sub(found.len());
        found.extend(self.other.iter().take(room));
        let mut rest: Indexes = self.by_method.values().flat_map(|list| list.iter().take(most)).copied().collect();
        rest.sort_unstable();
        let room = most.saturating_sub(found.len());
        found.extend(rest.into_iter().take(room));
    }
}
