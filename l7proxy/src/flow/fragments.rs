//! Parts of lines that were written before.
//!
//! Owns what was written of values that many records share. Never gives what was written of another value: each place holds
//! the value itself, so that its address is nobody else's. Start at [`Fragments::write`].

use std::{fmt, sync::Arc};

/// Values that are remembered; a power of two.
const PLACES: usize = 512;

/// What was written of values, as many as there are places. One that needs another's place takes it.
pub(super) struct Fragments<T> {
    places: Vec<Option<Fragment<T>>>,
}

struct Fragment<T> {
    of: Arc<T>,
    edition: u64,
    text: Box<[u8]>,
}

impl<T> Fragments<T> {
    pub(super) fn new() -> Self {
        Self { places: (0..PLACES).map(|_| None).collect() }
    }

    /// What `make` writes of `value` and `edition`, and of nothing else.
    pub(super) fn write(
        &mut self,
        value: &Arc<T>,
        edition: u64,
        out: &mut Vec<u8>,
        make: impl FnOnce(&T, &mut Vec<u8>),
    ) {
        let place = self.places.get_mut(place(Arc::as_ptr(value).addr()));
        if let Some(Some(known)) = &place
            && Arc::ptr_eq(&known.of, value)
            && known.edition == edition
        {
            return out.extend_from_slice(&known.text);
        }
        let begin = out.len();
        make(value, out);
        if let (Some(place), Some(text)) = (place, out.get(begin..)) {
            *place = Some(Fragment { of: Arc::clone(value), edition, text: text.into() });
        }
    }
}

/// Addresses differ in the middle.
fn place(address: usize) -> usize {
    let mixed = (address >> 4) ^ (address >> 13) ^ (address >> 22);
    mixed % PLACES
}

impl<T> fmt::Debug for Fragments<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} fragments", self.places.iter().flatten().count())
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
            for index in 0..PLACES * 4 {
                let value = Arc::new(format!("value {round} {index}"));
                for edition in [1, 1, 2] {
                    assert_eq!(written(&mut fragments, &value, edition), format!("before {value} {edition}"));
                }
            }
        }
        assert!(fragments.places.iter().flatten().count() <= PLACES);
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
