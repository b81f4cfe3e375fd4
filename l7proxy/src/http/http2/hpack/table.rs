//! The table that one end of a connection fills and the other follows (RFC 7541 §2.3.2, §4).

use std::{collections::VecDeque, rc::Rc};

use super::{Field, Shared};

/// The newest field is the first.
#[derive(Debug)]
pub(super) struct Table {
    fields: VecDeque<Shared>,
    size: usize,
    limit: usize,
}

impl Table {
    pub(super) fn new(limit: usize) -> Self {
        Self { fields: VecDeque::new(), size: 0, limit }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn resize(&mut self, limit: usize) {
        self.limit = limit;
        self.make_room(0);
    }

    /// What does not fit empties it.
    pub(super) fn insert(&mut self, field: Shared) {
        let size = field.size();
        self.make_room(size);
        if size <= self.limit {
            self.size += size;
            self.fields.push_front(field);
        }
    }

    fn make_room(&mut self, size: usize) {
        while self.size + size > self.limit {
            let Some(oldest) = self.fields.pop_back() else { return };
            self.size -= oldest.size();
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<&Shared> {
        self.fields.get(index)
    }

    /// Where one that says the same is.
    pub(super) fn position(&self, field: &Shared) -> Option<usize> {
        let same = self.fields.iter().position(|known| Rc::ptr_eq(known, field));
        same.or_else(|| self.fields.iter().position(|known| known.is_same(field)))
    }

    /// Where one with the same name is.
    pub(super) fn position_of_name(&self, field: &Field) -> Option<usize> {
        self.fields.iter().position(|known| known.name.as_bytes() == field.name.as_bytes())
    }
}
