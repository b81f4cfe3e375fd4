//! What a mask keeps, decided field by field: of a field that nobody asked for not a byte is written.
//!
//! Owns that decision for the fields of `flow.Flow`, whatever form they are written in. Start at [`Kept::field`].

use super::{Mask, mask::Keep};

/// A form of which a part of a field can be taken.
pub(super) trait Parts {
    /// Appends what is kept of a field.
    fn keep(&self, field: &[u8], out: &mut Vec<u8>);
}

/// A mask, and how a part is taken; `None`: all is kept.
#[derive(Debug)]
pub(super) struct Kept<P> {
    mask: Option<(Mask, P)>,
    /// A field of which a part is kept.
    whole: Vec<u8>,
}

impl<P: Parts> Kept<P> {
    pub(super) fn new(mask: Option<(Mask, P)>) -> Self {
        Self { mask, whole: Vec::new() }
    }

    /// Appends what is kept of what `write` writes: one field of this number, or several of one that may be repeated.
    pub(super) fn field(&mut self, field: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let Some((mask, parts)) = &self.mask else { return write(out) };
        match mask.keep(field) {
            Keep::All => write(out),
            Keep::Nothing => {}
            Keep::Part => {
                self.whole.clear();
                write(&mut self.whole);
                parts.keep(&self.whole, out);
            }
        }
    }
}
