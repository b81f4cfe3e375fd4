//! From a block to its fields (RFC 7541 §3, §6).

use std::rc::Rc;

use http::HeaderValue;

use super::{Broken, Field, Indexing, Name, Shared, TABLE, fixed, huffman, table::Table};

/// Bits of a number that is larger than any that is of use.
const LARGE: u32 = 24;

/// Bytes of a buffer that is kept between blocks.
const KEPT: usize = 512;

/// What one end of a connection unpacks with.
#[derive(Debug)]
pub struct Decoder {
    pub(super) table: Table,
    /// What a text is unpacked into.
    text: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { table: Table::new(TABLE), text: Vec::new() }
    }
}

impl Decoder {
    /// Reads a block, and gives the size of all its fields: of `limit` at most they go to `fields`.
    pub fn decode(&mut self, mut block: &[u8], limit: usize, fields: &mut Vec<Shared>) -> Result<usize, Broken> {
        let mut size = 0_usize;
        let mut may_resize = true;
        while let Some(first) = block.first() {
            let field = match first {
                0x80.. => self.at(number(&mut block, 7)?)?,
                0x40.. => {
                    let field = self.literal(&mut block, 6, Indexing::Kept)?;
                    self.table.insert(Rc::clone(&field));
                    field
                }
                0x20.. => {
                    let wanted = number(&mut block, 5)?;
                    if !may_resize || wanted > TABLE {
                        return Err(Broken::Packing);
                    }
                    self.table.resize(wanted);
                    continue;
                }
                0x10.. => self.literal(&mut block, 4, Indexing::Never)?,
                _ => self.literal(&mut block, 4, Indexing::Passing)?,
            };
            may_resize = false;
            size = size.saturating_add(field.size());
            if size <= limit {
                fields.push(field);
            }
        }
        if self.text.capacity() > KEPT {
            self.text = Vec::new();
        }
        Ok(size)
    }

    /// The field at a place of both tables.
    fn at(&self, place: usize) -> Result<Shared, Broken> {
        match place.checked_sub(fixed::LENGTH + 1) {
            Some(index) => self.table.get(index).cloned().ok_or(Broken::Packing),
            None => fixed::get(place).ok_or(Broken::Packing),
        }
    }

    fn literal(&mut self, block: &mut &[u8], bits: u32, indexing: Indexing) -> Result<Shared, Broken> {
        let place = number(block, bits)?;
        if place != 0 {
            let known = self.at(place)?;
            let value = self.value(block, indexing)?;
            return Ok(Rc::new(Field::new(known.name.with(&value)?, value, indexing, known.name_place)));
        }
        let name = self.text(block)?.to_vec();
        let value = self.value(block, indexing)?;
        Ok(Rc::new(Field::new(Name::new(&name, &value)?, value, indexing, fixed::name(&name))))
    }

    fn value(&mut self, block: &mut &[u8], indexing: Indexing) -> Result<HeaderValue, Broken> {
        let mut value = HeaderValue::from_bytes(self.text(block)?).map_err(|_| Broken::Field)?;
        value.set_sensitive(indexing == Indexing::Never);
        Ok(value)
    }

    fn text<'t, 'b: 't>(&'t mut self, block: &mut &'b [u8]) -> Result<&'t [u8], Broken> {
        let is_packed = block.first().is_some_and(|first| first & 0x80 != 0);
        let length = number(block, 7)?;
        let (text, rest) = block.split_at_checked(length).ok_or(Broken::Packing)?;
        *block = rest;
        if !is_packed {
            return Ok(text);
        }
        self.text.clear();
        huffman::decode(text, &mut self.text).ok_or(Broken::Packing)?;
        Ok(&self.text)
    }
}

/// RFC 7541 §5.1: of the first byte, so many bits are the number's.
fn number(block: &mut &[u8], bits: u32) -> Result<usize, Broken> {
    let most = (1_usize << bits) - 1;
    let mut next = || {
        let (first, rest) = block.split_first().ok_or(Broken::Packing)?;
        *block = rest;
        Ok(usize::from(*first))
    };
    let mut number = next()? & most;
    if number < most {
        return Ok(number);
    }
    for shift in (0..LARGE).step_by(7) {
        let byte = next()?;
        number += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Broken::Packing)
}
