//! What a mask keeps, decided field by field: of a field that nobody asked for not a byte is written.
//!
//! Owns that decision for the fields of `flow.Flow`, whatever form they are written in. Start at [`Kept::field`].

/// How much of a field is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    All,
    Part,
    Nothing,
}

/// A mask for one form of flows.
pub(super) trait Parts {
    /// What is kept of a field.
    fn of(&self, field: u32) -> Keep;
    /// Appends what is kept of a field of which a part is.
    fn part(&self, field: &[u8], out: &mut Vec<u8>);
}

/// What a mask keeps; without one, all.
#[derive(Debug)]
pub(super) struct Kept<P> {
    mask: Option<P>,
    /// A field of which a part is kept.
    whole: Vec<u8>,
}

impl<P: Parts> Kept<P> {
    pub(super) fn new(mask: Option<P>) -> Self {
        Self { mask, whole: Vec::new() }
    }

    /// Appends what is kept of what `write` writes: one field of this number, or several of one that may be repeated.
    pub(super) fn field(&mut self, field: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(mask) = &self.mask else { return write(out) };
        match mask.of(field) {
            Keep::All => write(out),
            Keep::Nothing => {}
            Keep::Part => {
                self.whole.clear();
                write(&mut self.whole);
                mask.part(&self.whole, out);
            }
        }
    }
}
