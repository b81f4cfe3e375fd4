//! Parts of lines that were written before.
//!
//! Owns what was written of values that many records share. Never gives what was written of another value: each place holds
//! the value itself, so that its address is nobody else's. Start at [`Fragments::write`].

use std::{fmt, sync::Arc};

/// Values that are remembered: so many sets of a few.
const SETS: usize = 128;
/// Values that may take each other's places.
const WAYS: usize = 4;

/// What was written of values, as many as there are places. One that needs another's place takes it.
pub(super) struct Fragments<T> {
    sets: Vec<Set<T>>,
    /// Whose place is taken next.
    next: usize,
}

type Set<T> = [Option<Fragment<T>>; WAYS];

struct Fragment<T> {
    of: Arc<T>,
    edition: u64,
    text: Box<[u8]>,
}

impl<T> Fragments<T> {
    pub(super) fn new() -> Self {
        Self { sets: (0..SETS).map(|_| [const { None }; WAYS]).collect(), next: 0 }
    }

    /// What `make` writes of `value` and `edition`, and of nothing else.
    pub(super) fn write(
        &mut self,
        value: &Arc<T>,
        edition: u64,
        out: &mut Vec<u8>,
        make: impl FnOnce(&T, &mut Vec<u8>),
    ) {
        let Some(set) = self.sets.get_mut(spread(Arc::as_ptr(value).addr()) % SETS) else { return make(value, out) };
        let mut known = set.iter().flatten();
        if let Some(known) = known.find(|known| Arc::ptr_eq(&known.of, value) && known.edition == edition) {
            return out.extend_from_slice(&known.text);
        }
        let begin = out.len();
        make(value, out);
        let place = set.iter().position(Option::is_none).unwrap_or(self.next % WAYS);
        self.next = self.next.wrapping_add(1);
        if let (Some(place), Some(text)) = (set.get_mut(place), out.get(begin..)) {
            *place = Some(Fragment { of: Arc::clone(value), edition, text: text.into() });
        }
    }
}

/// Makes a place of an address: addresses end in zeros, and those of neighbours are near each other.
pub(super) fn spread(address: usize) -> usize {
    address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (usize::BITS / 2)
}

impl<T> fmt::Debug for Fragments<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} fragments", self.sets.iter().flatten().flatten().count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(fragments: &mut Fragments<String>, value: &Arc<String>, edition: u64) -> String {
        let mut out = b"before ".to_vec();
        fragments.write(value, edition, &mut out, |value, out| {
            out.extend_from_slice(format!("{value} {edition}").as_bytes());
        });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_value_that_takes_another_ones_place_is_written_as_itself() {
        let mut fragments = Fragments::new();
        // Many more than there are places; without the fragments' own hold their addresses would be the same few.
        for round in 0..2 {
            for index in 0..SETS * WAYS * 4 {
                let value = Arc::new(format!("value {round} {index}"));
                for edition in [1, 1, 2] {
                    assert_eq!(written(&mut fragments, &value, edition), format!("before {value} {edition}"));
                }
            }
        }
        assert!(fragments.sets.iter().flatten().flatten().count() <= SETS * WAYS);
    }

    #[test]
    fn a_known_value_is_not_made_again() {
        let mut fragments = Fragments::new();
        let value = Arc::new("value".to_owned());
        let first = written(&mut fragments, &value, 1);
        let mut out = b"before ".to_vec();
        fragments.write(&value, 1, &mut out, |_, _| panic!("it is known"));
        assert_eq!(String::from_utf8(out).unwrap(), first);
    }
}
