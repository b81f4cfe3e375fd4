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

fn tag(field: u32, kind: u32, out: &mut Vec<u8>) {
    varint(u64::from(field << 3 | kind), out);
}

/// Of what [`delimited`] writes then.
pub(super) fn key(field: u32, out: &mut Vec<u8>) {
    tag(field, LENGTH, out);
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
    key(field, out);
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
    key(field, out);
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
    let end = out.len();
    let mut length = u64::try_from(end.saturating_sub(begin)).unwrap_or(u64::MAX);
    // Seven bits a byte. Of what takes more than one, the content makes room for them.
    let more = usize::try_from(length.checked_ilog2().unwrap_or(0) / 7).unwrap_or(0);
    if more > 0 && begin <= end {
        out.resize(end + more, 0);
        out.copy_within(begin..end, begin + more);
    }
    for byte in out.iter_mut().skip(begin.saturating_sub(1)).take(1 + more) {
        let [low, ..] = length.to_le_bytes();
        length >>= 7;
        *byte = if length == 0 { low } else { low | 0x80 };
    }
}

/// A message of two strings, neither of which is written when it is empty.
pub(super) fn pair(field: u32, [first, second]: [&str; 2], out: &mut Vec<u8>) {
    message(field, out, |out| {
        text(1, first, out);
        text(2, second, out);
    });
}

/// A number in a `google.protobuf.Value`: a double, whatever it was.
pub(super) fn number_value(value: u64, out: &mut Vec<u8>) {
    #[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "JSON's readers lose the same")]
    let value = value as f64;
    tag(2, FIXED64, out);
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
