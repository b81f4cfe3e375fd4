//! What lines are made of: text, numbers, times, ids and addresses.
//!
//! Owns how each is written, the same bytes as the standard library's `Display` where there is one. Never goes through
//! `std::fmt` for what stands in every line: that costs several times as much as the bytes. Start at [`raw`].

use std::{
    fmt,
    io::Write,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, SystemTime},
};

use crate::flow::uuid::hex;

/// What needs no escape, piece by piece.
pub(super) fn raw<const N: usize>(pieces: [&str; N], out: &mut Vec<u8>) {
    for piece in pieces {
        out.extend_from_slice(piece.as_bytes());
    }
}

/// What is rare.
pub(super) fn put(out: &mut Vec<u8>, arguments: fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    drop(out.write_fmt(arguments));
}

pub(super) fn number(number: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

pub(super) fn list<T>(items: impl IntoIterator<Item = T>, out: &mut Vec<u8>, mut item: impl FnMut(T, &mut Vec<u8>)) {
    out.push(b'[');
    for (index, value) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        item(value, out);
    }
    out.push(b']');
}

pub(super) fn text(value: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    escape(value, out);
    out.push(b'"');
}

/// Control characters, also those of terminals beyond ASCII, never reach a reader's screen as such.
pub(super) fn escape(value: &str, out: &mut Vec<u8>) {
    let is_special =
        |byte: u8| u8::from(!matches!(byte, b' '..=b'~')) | u8::from(byte == b'"') | u8::from(byte == b'\\');
    // To the end in any case: many bytes in one step.
    if value.bytes().fold(0, |special, byte| special | is_special(byte)) == 0 {
        out.extend_from_slice(value.as_bytes());
        return;
    }
    for letter in value.chars() {
        match letter {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            letter if letter.is_control() => put(out, format_args!("\\u{:04x}", u32::from(letter))),
            letter => {
                let mut bytes = [0; 4];
                out.extend_from_slice(letter.encode_utf8(&mut bytes).as_bytes());
            }
        }
    }
}

/// A time as RFC 3339 has it, with as many of nine digits behind the point as protojson writes: none, three, six or nine. Of two times in one second only these are written anew.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    text: Vec<u8>,
    /// What `text` begins with, up to the point, is of this second.
    second: u64,
    point: usize,
}

impl Stamp {
    pub(super) fn set(&mut self, time: SystemTime) {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if self.point == 0 || self.second != since.as_secs() {
            self.second = since.as_secs();
            self.text.clear();
            let second = SystemTime::UNIX_EPOCH + Duration::from_secs(self.second);
            put(&mut self.text, format_args!("{}", humantime::format_rfc3339_seconds(second)));
            self.point = self.text.len().saturating_sub("Z".len());
        }
        self.text.truncate(self.point);
        let nanos = since.subsec_nanos();
        let kept = match nanos {
            0 => 0,
            _ if nanos.is_multiple_of(1_000_000) => 3,
            _ if nanos.is_multiple_of(1_000) => 6,
            _ => 9,
        };
        if kept > 0 {
            self.text.push(b'.');
            // With a digit before them zeros stay.
            let mut digits = itoa::Buffer::new();
            self.text.extend(digits.format(1_000_000_000 + nanos).bytes().skip(1).take(kept));
        }
        self.text.push(b'Z');
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.text
    }
}

pub(super) fn address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            number(a, out);
            for octet in [b, c, d] {
                out.push(b'.');
                number(octet, out);
            }
        }
        IpAddr::V6(address) => address6(address, out),
    }
}

/// RFC 5952: the first of the longest runs of zeros is left out, if there are two or more.
fn address6(address: Ipv6Addr, out: &mut Vec<u8>) {
    if address.to_ipv4_mapped().is_some() {
        return put(out, format_args!("{address}"));
    }
    let groups = address.segments();
    let (mut longest, mut run) = (0..0, 0..0);
    for (index, group) in groups.iter().enumerate() {
        run = if *group == 0 { run.start..index + 1 } else { index + 1..index + 1 };
        if run.len() > longest.len() {
            longest = run.clone();
        }
    }
    if longest.len() < 2 {
        longest = groups.len()..groups.len();
    }
    let mut is_first = true;
    for (index, group) in groups.into_iter().enumerate() {
        if index == longest.start {
            out.extend_from_slice(b"::");
            is_first = true;
        }
        if longest.contains(&index) {
            continue;
        }
        if !is_first {
            out.push(b':');
        }
        is_first = false;
        let digits = hex(u64::from(group));
        let zeros = usize::try_from(group.leading_zeros() / 4).unwrap_or(0).min(3);
        out.extend(digits.iter().skip(4 + zeros));
    }
}

#[cfg(test)]
mod tests;
