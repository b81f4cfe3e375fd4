//! What texts of one kind have in common, and what each has of its own.
//!
//! Owns the cut: a text is a *shape* (its letters) with *holes* (numbers, hexadecimal ids, UUIDs), and ids take half the bytes
//! in their hole. `/orders/1234` and `/orders/77` have one shape. Never loses a byte: [`fill`] undoes [`cut`]. Start at [`cut`].

use std::fmt::Write;

use super::numbers::{Bytes, put, put_length};

/// Shortest run of hexadecimal digits that is taken as an id.
const MIN_ID: usize = 6;
/// Digits of a decimal number that always fit into 64 bits.
const MAX_DECIMAL: usize = 18;
const UUID: usize = 36;
const UUID_BYTES: usize = 16;

/// What stands between two pieces of a shape, as a number: ids have their digits added to the last one.
const END: u64 = 0;
const DECIMAL: u64 = 1;
const WITH_HYPHENS: u64 = 2;
const ID: u64 = 3;

/// Cuts a text into its shape and what fills the holes.
pub(super) fn cut(text: &[u8], shape: &mut Vec<u8>, holes: &mut Vec<u8>) {
    let mut rest = text;
    // Bytes of `rest` that belong to no hole.
    let mut plain = 0;
    // There is a digit in every hole, and digits are rare in what is none.
    while let Some(after) = rest.get(plain..)
        && let Some(digit) = after.iter().position(u8::is_ascii_digit)
    {
        let (before, behind) = after.split_at_checked(digit).unwrap_or_default();
        let start = before.iter().rposition(|byte| !is_hex(*byte)).map_or(0, |other| other + 1);
        let end = digit + behind.iter().position(|byte| !is_hex(*byte)).unwrap_or(behind.len());
        let (run, text) = (after.get(start..end).unwrap_or_default(), after.get(start..).unwrap_or_default());
        let Some((hole, length)) = hole(run, text, holes) else {
            plain += end;
            continue;
        };
        plain += start;
        let (before, _) = rest.split_at_checked(plain).unwrap_or_default();
        put_length(shape, before.len());
        shape.extend_from_slice(before);
        put(shape, hole);
        rest = text.get(length..).unwrap_or_default();
        plain = 0;
    }
    put_length(shape, rest.len());
    shape.extend_from_slice(rest);
    put(shape, END);
}

/// The text of a shape and its holes; and the shape's bytes are left behind.
pub(super) fn fill(shape: &mut Bytes<'_>, holes: &mut Bytes<'_>, out: &mut String) -> Option<()> {
    loop {
        let length = shape.length()?;
        out.push_str(str::from_utf8(shape.take(length)?).ok()?);
        match shape.number()? {
            END => return Some(()),
            DECIMAL => write!(out, "{}", holes.number()?).ok()?,
            WITH_HYPHENS => {
                for (at, byte) in holes.take(UUID_BYTES)?.iter().enumerate() {
                    if matches!(at, 4 | 6 | 8 | 10) {
                        out.push('-');
                    }
                    digits(*byte, 2, out)?;
                }
            }
            id => {
                let length = usize::try_from(id - ID).ok()?;
                let bytes = holes.take(length.div_ceil(2))?;
                for (at, byte) in bytes.iter().enumerate() {
                    digits(*byte, length - 2 * at, out)?;
                }
            }
        }
    }
}

/// The hole that begins with a run of hexadecimal digits, and its length in the text; none for what is just letters.
fn hole(run: &[u8], text: &[u8], holes: &mut Vec<u8>) -> Option<(u64, usize)> {
    if run.len() == 8
        && let Some(uuid) = text.get(..UUID).filter(|text| is_uuid(text))
    {
        put_id(uuid, holes);
        return Some((WITH_HYPHENS, UUID));
    }
    let numerals = run.iter().filter(|byte| byte.is_ascii_digit()).count();
    let is_decimal = numerals == run.len() && numerals <= MAX_DECIMAL;
    if is_decimal && (run.len() == 1 || run.first().is_some_and(|first| *first != b'0')) {
        put(holes, run.iter().fold(0, |value, byte| value * 10 + u64::from(byte - b'0')));
        return Some((DECIMAL, run.len()));
    }
    if run.len() >= MIN_ID && numerals > 0 {
        put_id(run, holes);
        return Some((ID.saturating_add(u64::try_from(run.len()).ok()?), run.len()));
    }
    None
}

/// Two digits a byte.
fn put_id(text: &[u8], holes: &mut Vec<u8>) {
    for digits in text.split(|byte| *byte == b'-') {
        let (pairs, last) = digits.as_chunks::<2>();
        holes.extend(pairs.iter().map(|[high, low]| value(*high) << 4 | value(*low)));
        holes.extend(last.iter().map(|high| value(*high) << 4));
    }
}

/// One digit of a byte, or both.
fn digits(byte: u8, wanted: usize, out: &mut String) -> Option<()> {
    out.push(char::from_digit(u32::from(byte >> 4), 16)?);
    if wanted > 1 {
        out.push(char::from_digit(u32::from(byte & 0xf), 16)?);
    }
    Some(())
}

fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// Of a digit, which is a numeral or a letter from `a` on.
fn value(digit: u8) -> u8 {
    (digit & 0xf) + 9 * (digit >> 6)
}

fn is_uuid(text: &[u8]) -> bool {
    text.iter().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => is_hex(*byte),
    })
}
