//! Rules that name the same path, by the method that they name.

use super::Few;
use crate::pattern::{Form, Pattern};

/// Indexes of rules, ascending.
type Indexes = Vec<usize>;

/// A method and its rules.
type OfMethod = (Box<[u8]>, Indexes);

#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// Sorted by method: there are few.
    by_method: Vec<OfMethod>,
    /// Rules for every method, or for methods by a pattern.
    other: Indexes,
}

impl Bucket {
    /// Indexes come in ascending order.
    pub(super) fn add(&mut self, index: usize, method: Option<&Pattern>) {
        let mut add = |method: &[u8]| match self.by_method.binary_search_by(|(known, _)| (**known).cmp(method)) {
            Ok(at) => self.by_method.get_mut(at).into_iter().for_each(|(_, list)| list.push(index)),
            Err(at) => self.by_method.insert(at, (method.into(), vec![index])),
        };
        match method.map(Pattern::form) {
            Some(Form::Literal(method)) => add(method),
            Some(Form::OneOf(methods)) => methods.iter().for_each(|method| add(method)),
            Some(Form::Prefix(_) | Form::Regex) | None => self.other.push(index),
        }
    }

    /// Rules that may hold for `method`: at most two lists.
    pub(super) fn lists(&self, method: &str) -> impl Iterator<Item = &[usize]> {
        let own = self.by_method.binary_search_by(|(known, _)| (**known).cmp(method.as_bytes())).ok();
        let own = own.and_then(|at| self.by_method.get(at)).map(|(_, list)| list);
        own.into_iter().chain([&self.other]).map(Vec::as_slice)
    }

    /// Fills `found` up to `most` with the first indexes of each list.
    pub(super) fn first(&self, most: usize, found: &mut Few) {
        let mut add = |list: &[usize]| {
            let room = most.saturating_sub(found.len());
            found.extend_from_slice(list.get(..room).unwrap_or(list));
        };
        add(&self.other);
        match self.by_method.as_slice() {
            [] => {}
            [(_, only)] => add(only),
            lists => {
                let mut rest: Indexes = lists.iter().flat_map(|(_, list)| list.iter().take(most)).copied().collect();
                rest.sort_unstable();
                add(&rest);
            }
        }
    }
}
