//! From fields to a block. What its sender kept in a table is kept in ours too, and nothing else: who knows what is worth it
//! is who wrote it.

use std::rc::Rc;

use super::{Field, Indexing, Shared, TABLE, fixed, table::Table};

/// What packs for one end of a connection.
#[derive(Debug)]
pub struct Encoder {
    table: Table,
    /// The other end wants another size than it knows of.
    resized: bool,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { table: Table::new(TABLE), resized: false }
    }
}

impl Encoder {
    /// The other end has room for so much. (Once it said less than we may have, it stays so: nothing is gained by more.)
    pub(in crate::http::http2) fn limit(&mut self, limit: usize) {
        if limit < self.table.limit() {
            self.table.resize(limit);
            self.resized = true;
        }
    }

    /// Before the first field of each block.
    pub fn begin(&mut self, block: &mut Vec<u8>) {
        if std::mem::take(&mut self.resized) {
            number(self.table.limit(), 5, 0x20, block);
        }
    }

    /// Appends a field.
    pub fn field(&mut self, field: &Shared, block: &mut Vec<u8>) {
        if field.place != 0 {
            return block.push(0x80 | field.place);
        }
        if field.indexing == Indexing::Never {
            return self.literal(field, 4, 0x10, block);
        }
        if let Some(index) = self.table.position(field) {
            return number(index + fixed::LENGTH + 1, 7, 0x80, block);
        }
        // One that is larger than the table would empty it.
        if field.indexing == Indexing::Kept && field.size() <= self.table.limit() {
            self.literal(field, 6, 0x40, block);
            return self.table.insert(Rc::clone(field));
        }
        self.literal(field, 4, 0, block);
    }

    fn literal(&self, field: &Field, bits: u32, kind: u8, block: &mut Vec<u8>) {
        let known = match field.name_place {
            0 => self.table.position_of_name(field).map(|index| index + fixed::LENGTH + 1),
            place => Some(place.into()),
        };
        number(known.unwrap_or(0), bits, kind, block);
        if known.is_none() {
            text(field.name.as_bytes(), block);
        }
        text(field.value.as_bytes(), block);
    }
}

fn text(text: &[u8], block: &mut Vec<u8>) {
    number(text.len(), 7, 0, block);
    block.extend_from_slice(text);
}

/// RFC 7541 §5.1.
fn number(number: usize, bits: u32, kind: u8, block: &mut Vec<u8>) {
    let most = (1_usize << bits) - 1;
    // Never more than eight bits of it.
    let byte = |number: usize| number.to_le_bytes()[0];
    if number < most {
        return block.push(kind | byte(number));
    }
    block.push(kind | byte(most));
    let mut rest = number - most;
    while rest >= 0x80 {
        block.push(byte(rest) | 0x80);
        rest >>= 7;
    }
    block.push(byte(rest));
}
