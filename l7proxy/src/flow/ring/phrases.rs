//! Texts of a block: each is written once, and named by its number where it comes again.
//!
//! Owns the numbers of texts and shapes, which writing and reading count alike. What is looked up is a table of fixed size: a
//! text that is pushed out of it is written again, which costs room and nothing else. Start at [`Phrases::put`].

use std::ops::Range;

use super::{
    numbers::{Bytes, long, put, size},
    shape::{cut, fill},
};

/// Texts and shapes that are looked up.
const SLOTS: usize = 4096;
/// In place of a text: there is none.
pub(super) const END: u8 = 0;
/// A shape that was not there before, and what fills its holes.
const NEW: u64 = 1;
/// The first text: even ones. The first shape, with what fills its holes: odd ones.
const FIRST: u64 = 2;

/// Pieces of one buffer.
#[derive(Debug, Default)]
struct Pieces {
    bytes: Vec<u8>,
    places: Vec<Range<usize>>,
    /// By hash: number and 1.
    slots: Vec<u32>,
}

impl Pieces {
    fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
        self.slots.clear();
        self.slots.resize(SLOTS, 0);
    }

    fn find(&self, piece: &[u8], slot: usize) -> Option<u64> {
        let number = self.slots.get(slot)?.checked_sub(1)?;
        let range = self.places.get(usize::try_from(number).ok()?)?;
        (self.bytes.get(range.clone())? == piece).then_some(u64::from(number))
    }

    fn add(&mut self, piece: &[u8], slot: usize) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(piece);
        self.places.push(start..self.bytes.len());
        if let (Some(slot), Ok(number)) = (self.slots.get_mut(slot), u32::try_from(self.places.len())) {
            *slot = number;
        }
    }
}

/// Texts of a block that is being written.
#[derive(Debug, Default)]
pub(super) struct Phrases {
    texts: Pieces,
    shapes: Pieces,
    shape: Vec<u8>,
    holes: Vec<u8>,
}

impl Phrases {
    /// For the next block.
    pub(super) fn clear(&mut self) {
        self.texts.clear();
        self.shapes.clear();
    }

    /// Writes a text.
    pub(super) fn put(&mut self, text: &[u8], out: &mut Vec<u8>) {
        let Self { texts, shapes, shape, holes } = self;
        let slot = slot(text);
        if let Some(number) = texts.find(text, slot) {
            put(out, FIRST + 2 * number);
            return;
        }
        texts.add(text, slot);
        shape.clear();
        holes.clear();
        cut(text, shape, holes);
        let slot = self::slot(shape);
        if let Some(number) = shapes.find(shape, slot) {
            put(out, FIRST + 2 * number + 1);
        } else {
            shapes.add(shape, slot);
            put(out, NEW);
            out.extend_from_slice(shape);
        }
        out.extend_from_slice(holes);
    }
}

/// Texts of a block that is being read.
#[derive(Debug, Default)]
pub(super) struct Read {
    text: String,
    texts: Vec<Range<usize>>,
    shapes: Vec<Range<usize>>,
}

impl Read {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.texts.clear();
        self.shapes.clear();
    }

    /// The next text out of `all`, of which `bytes` are left.
    pub(super) fn text(&mut self, all: &[u8], bytes: &mut Bytes<'_>) -> Option<&str> {
        let code = bytes.number()?;
        if code == NEW {
            let start = all.len().checked_sub(bytes.0.len())?;
            skip(bytes)?;
            self.shapes.push(start..all.len().checked_sub(bytes.0.len())?);
            return self.filled(long(self.shapes.len()).checked_sub(1)?, all, bytes);
        }
        let code = code.checked_sub(FIRST)?;
        if code % 2 == 1 {
            return self.filled(code / 2, all, bytes);
        }
        let range = self.texts.get(size(code / 2))?;
        self.text.get(range.clone())
    }

    /// Goes over [`END`], if it is next.
    pub(super) fn is_end(bytes: &mut Bytes<'_>) -> bool {
        let is_end = bytes.0.first() == Some(&END);
        if is_end {
            bytes.byte();
        }
        is_end
    }

    fn filled(&mut self, shape: u64, all: &[u8], bytes: &mut Bytes<'_>) -> Option<&str> {
        let shape = all.get(self.shapes.get(size(shape))?.clone())?;
        let start = self.text.len();
        fill(&mut Bytes(shape), bytes, &mut self.text)?;
        let range = start..self.text.len();
        self.texts.push(range.clone());
        self.text.get(range)
    }
}

/// Walks over a shape.
fn skip(bytes: &mut Bytes<'_>) -> Option<()> {
    loop {
        let length = bytes.length()?;
        bytes.take(length)?;
        if bytes.number()? == 0 {
            return Some(());
        }
    }
}

/// Where a text is looked up. Who finds texts that meet there costs himself room, no more.
fn slot(text: &[u8]) -> usize {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = long(text.len());
    let mut add = |word: u64| hash = (hash.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    if let Some(last) = text.last_chunk::<8>() {
        text.as_chunks::<8>().0.iter().for_each(|word| add(u64::from_le_bytes(*word)));
        add(u64::from_le_bytes(*last));
    } else {
        for byte in text {
            add(u64::from(*byte));
        }
    }
    size(hash >> 52) % SLOTS
}
