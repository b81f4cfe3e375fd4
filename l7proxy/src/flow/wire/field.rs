//! Fields of protobuf messages (the encoding of protobuf.dev, wire types 0, 1 and 2).
//!
//! Owns the bytes of a field, no more. What is the default is left out, as proto3 does. Start at [`message`].

use std::time::SystemTime;

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;

pub(super) fn varint(mut value: u64, out: &mut Vec<u8>) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

fn key(field: u32, kind: u32, out: &mut Vec<u8>) {
    varint(u64::from(field << 3 | kind), out);
}

/// Of what [`delimited`] writes then.
pub(super) fn tag(field: u32, out: &mut Vec<u8>) {
    key(field, LENGTH, out);
}

/// An integer, an enum or a bool.
pub(super) fn number(field: u32, value: impl Into<u64>, out: &mut Vec<u8>) {
    let value = value.into();
    if value != 0 {
        key(field, VARINT, out);
        varint(value, out);
    }
}

/// A string, which may be one of many: it stands there also when it is empty.
pub(super) fn element(field: u32, value: &str, out: &mut Vec<u8>) {
    tag(field, out);
    varint(u64::try_from(value.len()).unwrap_or(u64::MAX), out);
    out.extend_from_slice(value.as_bytes());
}

pub(super) fn text(field: u32, value: &str, out: &mut Vec<u8>) {
    if !value.is_empty() {
        element(field, value, out);
    }
}

/// A message, also when nothing is in it.
pub(super) fn message(field: u32, out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    tag(field, out);
    delimited(out, content);
}

/// Its length, and then what `content` writes.
pub(in crate::flow) fn delimited(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    let begin = begin(out);
    content(out);
    end(begin, out);
}

/// Leaves room for a length; [`end`] fills it.
pub(super) fn begin(out: &mut Vec<u8>) -> usize {
    // Most are short: room for the length is one byte, and more is made when it is known.
    out.push(0);
    out.len()
}

pub(super) fn end(begin: usize, out: &mut Vec<u8>) {
    let length = out.len().saturating_sub(begin);
    let place = begin.saturating_sub(1);
    match (u8::try_from(length), out.get_mut(place)) {
        (Ok(short), Some(place)) if short < 0x80 => *place = short,
        _ => {
            let mut prefix = Vec::with_capacity(4);
            varint(u64::try_from(length).unwrap_or(u64::MAX), &mut prefix);
            out.splice(place..begin, prefix);
        }
    }
}

/// A number in a `google.protobuf.Value`: a double, whatever it was.
pub(super) fn number_value(value: u64, out: &mut Vec<u8>) {
    #[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "JSON's readers lose the same")]
    let value = value as f64;
    key(2, FIXED64, out);
    out.extend_from_slice(&value.to_le_bytes());
}

/// A `google.protobuf.Timestamp`.
pub(super) fn timestamp(field: u32, time: SystemTime, out: &mut Vec<u8>) {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    message(field, out, |out| {
        number(1, since.as_secs(), out);
        number(2, since.subsec_nanos(), out);
    });
}
