//! Fields of protobuf messages (the encoding of protobuf.dev, wire types 0 and 2).
//!
//! Owns the bytes of a field, no more. What is the default is left out, as proto3 does. Start at [`message`].

use std::time::SystemTime;

const VARINT: u32 = 0;
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

fn tag(number: u32, kind: u32, out: &mut Vec<u8>) {
    varint(u64::from(number << 3 | kind), out);
}

/// An integer, an enum or a bool.
pub(super) fn number(field: u32, value: impl Into<u64>, out: &mut Vec<u8>) {
    let value = value.into();
    if value != 0 {
        tag(field, VARINT, out);
        varint(value, out);
    }
}

/// A string, which may be one of many: it stands there also when it is empty.
pub(super) fn element(field: u32, value: &str, out: &mut Vec<u8>) {
    bytes(field, value.as_bytes(), out);
}

pub(super) fn text(field: u32, value: &str, out: &mut Vec<u8>) {
    if !value.is_empty() {
        element(field, value, out);
    }
}

pub(super) fn bytes(field: u32, value: &[u8], out: &mut Vec<u8>) {
    tag(field, LENGTH, out);
    varint(u64::try_from(value.len()).unwrap_or(u64::MAX), out);
    out.extend_from_slice(value);
}

/// A message, also when nothing is in it.
pub(super) fn message(field: u32, out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    tag(field, LENGTH, out);
    delimited(out, content);
}

/// Its length, and then what `content` writes.
pub(super) fn delimited(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    // Most are short: room for the length is one byte, and more is made when it is known.
    let at = out.len();
    out.push(0);
    content(out);
    let length = out.len() - at - 1;
    match (u8::try_from(length), out.get_mut(at)) {
        (Ok(short), Some(place)) if short < 0x80 => *place = short,
        _ => {
            let mut prefix = Vec::with_capacity(4);
            varint(u64::try_from(length).unwrap_or(u64::MAX), &mut prefix);
            out.splice(at..=at, prefix);
        }
    }
}

/// A `google.protobuf.Timestamp`.
pub(super) fn timestamp(field: u32, time: SystemTime, out: &mut Vec<u8>) {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    message(field, out, |out| {
        number(1, since.as_secs(), out);
        number(2, since.subsec_nanos(), out);
    });
}
