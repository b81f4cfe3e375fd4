//! What of messages is recorded, and where it is kept in common.
//!
//! Most messages of a worker have the fields of one before: these share one piece of memory. So a client whose few bytes stand
//! for many fields (header compression) is not kept many times. Start at [`Capture::fields`].

use std::{cell::RefCell, fmt};

use super::{RawHeaders, headers::Field};

/// Pieces that are remembered; a power of two.
const PLACES: usize = 16;
/// Bytes of a message's fields that are recorded.
const MAX_BYTES: usize = 4 << 10;

/// What of messages is recorded, by one worker.
pub struct Capture {
    headers: bool,
    query: bool,
    known: RefCell<Known>,
}

#[derive(Default)]
struct Known {
    lines: Vec<u8>,
    places: [RawHeaders; PLACES],
}

impl Capture {
    /// Whether header fields are recorded, and queries of URLs.
    #[must_use]
    pub fn new(headers: bool, query: bool) -> Self {
        Self { headers, query, known: RefCell::default() }
    }

    /// Whether queries of URLs are recorded.
    pub(super) fn query(&self) -> bool {
        self.query
    }

    /// Those of a list.
    pub fn fields<'f>(&self, fields: impl Iterator<Item = Field<'f>>) -> RawHeaders {
        self.keep(|lines| {
            for (name, value) in fields {
                if lines.len() + name.len() + value.len() > MAX_BYTES {
                    continue;
                }
                lines.extend_from_slice(name);
                lines.push(b':');
                lines.extend_from_slice(value);
                lines.push(b'\n');
            }
        })
    }

    /// Those of a head of HTTP/1: what stands behind its first line.
    #[must_use]
    pub fn head(&self, head: &[u8]) -> RawHeaders {
        self.keep(|lines| {
            let first = memchr::memchr(b'\n', head).map_or(head.len(), |end| end + 1);
            let rest = head.get(first..).unwrap_or_default();
            // Cut behind a whole line.
            let most = rest.get(..MAX_BYTES.min(rest.len())).unwrap_or_default();
            let end = memchr::memrchr(b'\n', most).map_or(0, |end| end + 1);
            lines.extend_from_slice(most.get(..end).unwrap_or_default());
        })
    }

    fn keep(&self, write: impl FnOnce(&mut Vec<u8>)) -> RawHeaders {
        if !self.headers {
            return RawHeaders::default();
        }
        let Known { lines, places } = &mut *self.known.borrow_mut();
        lines.clear();
        write(lines);
        let Some(place) = places.get_mut(place(lines)) else { return RawHeaders::default() };
        if **place != **lines {
            *place = RawHeaders::new(lines);
        }
        place.clone()
    }
}

/// Of a few words of it: what differs elsewhere takes turns, which costs memory and nothing else.
fn place(lines: &[u8]) -> usize {
    let step = (lines.len() / 16).max(1);
    let sum = lines.iter().step_by(step).fold(lines.len(), |sum, byte| sum.wrapping_mul(31) ^ usize::from(*byte));
    (sum ^ (sum >> 7)) % PLACES
}

impl Default for Capture {
    /// Everything.
    fn default() -> Self {
        Self::new(true, true)
    }
}

impl fmt::Debug for Capture {
    /// What is known may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "headers {}, queries {}", self.headers, self.query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(number: usize) -> Vec<u8> {
        format!("GET / HTTP/1.1\r\nhost: h\r\nx-number: {number}\r\n\r\n").into_bytes()
    }

    #[test]
    fn equal_fields_are_kept_once_and_others_are_never_taken_for_them() {
        let capture = Capture::default();
        for number in (0..200).chain(0..200) {
            let (one, other) = (capture.head(&sent(number)), capture.head(&sent(number)));
            assert_eq!(one.as_ptr(), other.as_ptr());
            assert_eq!(one.field("X-Number"), Some(number.to_string().as_bytes()));
        }
    }

    #[test]
    fn a_head_is_cut_behind_a_whole_line() {
        let capture = Capture::default();
        let head = [&b"GET / HTTP/1.1\r\n"[..], &b"name: value\r\n".repeat(1000)].concat();
        let kept = capture.head(&head);
        assert!(kept.len() <= MAX_BYTES && kept.len() > MAX_BYTES - 20 && kept.ends_with(b"value\r\n"));
        let fields = (0..1000).map(|_| (&b"name"[..], &b"value"[..]));
        let listed = capture.fields(fields);
        assert!(listed.len() <= MAX_BYTES + 2 && listed.ends_with(b"value\n"));
    }

    #[test]
    fn nothing_is_kept_that_is_not_wanted() {
        assert!(Capture::new(false, true).head(&sent(1)).is_empty());
    }
}
