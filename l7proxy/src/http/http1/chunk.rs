//! The framing of a chunked body (RFC 9112 §7.1), byte by byte between chunks and in one step inside them. Nothing is
//! forgiven: what some read over, others take for the end of the body.

use super::head::is_token;

/// Bytes of all extensions of a body, and of its trailer section. (The library gives up at 16 KiB.)
const MAX_LINE: usize = 4 << 10;
/// Digits of a chunk's size: 2^60 bytes are enough.
const MAX_DIGITS: usize = 15;
/// What says where a message ends, or whom it is for, must not come behind it.
const NO_TRAILERS: [&[u8]; 6] = [b"connection", b"content-length", b"host", b"te", b"trailer", b"transfer-encoding"];
/// As long as the longest of them, and one more.
const NAME: usize = 18;

/// A body from its first byte to its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Body {
    at: Chunks,
    /// Bytes of extensions so far.
    extensions: usize,
    /// Trailers that may still come.
    trailers: usize,
}

impl Body {
    /// `trailers`: how many may stand behind it.
    pub(super) fn new(trailers: usize) -> Self {
        Self { at: Chunks::START, extensions: 0, trailers }
    }

    pub(super) fn is_over(&self) -> bool {
        self.at == Chunks::Done
    }

    /// Goes on through `bytes`; gives how many of them belong to the body.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let mut at = 0;
        while !self.is_over() {
            if let Chunks::Data { left } = self.at {
                let available = u64::try_from(bytes.len() - at).unwrap_or(u64::MAX);
                let step = left.min(available);
                at += usize::try_from(step).unwrap_or(0);
                self.at = if step == left { Chunks::DataCr } else { Chunks::Data { left: left - step } };
                if step < left {
                    return Ok(at);
                }
                continue;
            }
            let Some(byte) = bytes.get(at) else { return Ok(at) };
            self.step(*byte)?;
            at += 1;
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<(), Broken> {
        let before = self.at;
        self.at = before.step(byte)?;
        if matches!(self.at, Chunks::Extension { .. }) {
            self.extensions += 1;
        }
        if matches!((before, self.at), (Chunks::Trailer { .. }, Chunks::TrailerName { .. })) {
            self.trailers = self.trailers.checked_sub(1).ok_or(Broken)?;
        }
        if self.extensions > MAX_LINE { Err(Broken) } else { Ok(()) }
    }
}

/// Where in the body the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunks {
    Size {
        size: u64,
        digits: usize,
    },
    Extension {
        size: u64,
        part: Part,
    },
    SizeEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// At the beginning of a line of the trailer section; `total`: bytes of the section so far.
    Trailer {
        total: usize,
    },
    TrailerName {
        name: Name,
        total: usize,
    },
    TrailerValue {
        total: usize,
    },
    TrailerLf {
        total: usize,
    },
    LastLf,
    Done,
}

/// Of an extension: `;name`, `;name=value` or `;name="value"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    NameStart,
    Name,
    ValueStart,
    Value,
    Quoted,
    Escaped,
    AfterQuoted,
}

/// The beginning of a trailer's name, in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    bytes: [u8; NAME],
    length: usize,
}

/// The framing is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl Chunks {
    const START: Self = Self::Size { size: 0, digits: 0 };

    fn step(self, byte: u8) -> Result<Self, Broken> {
        match (self, byte) {
            (Self::Size { size, digits }, digit) if digit.is_ascii_hexdigit() && digits < MAX_DIGITS => {
                let value = char::from(digit).to_digit(16).ok_or(Broken)?;
                Ok(Self::Size { size: size * 16 + u64::from(value), digits: digits + 1 })
            }
            (Self::Size { size, digits: 1.. }, b'\r') => Ok(Self::SizeEnd { size }),
            (Self::Size { size, digits: 1.. }, b';') => Ok(Self::Extension { size, part: Part::NameStart }),
            (Self::Extension { size, part: Part::Name | Part::Value | Part::AfterQuoted }, b'\r') => {
                Ok(Self::SizeEnd { size })
            }
            (Self::Extension { size, part }, byte) => Ok(Self::Extension { size, part: part.step(byte)? }),
            (Self::SizeEnd { size: 0 }, b'\n') => Ok(Self::Trailer { total: 0 }),
            (Self::SizeEnd { size }, b'\n') => Ok(Self::Data { left: size }),
            (Self::DataCr, b'\r') => Ok(Self::DataLf),
            (Self::DataLf, b'\n') => Ok(Self::START),
            (Self::LastLf, b'\n') => Ok(Self::Done),
            (state, byte) => state.step_trailer(byte),
        }
    }

    fn step_trailer(self, byte: u8) -> Result<Self, Broken> {
        match (self, byte) {
            (Self::Trailer { .. }, b'\r') => Ok(Self::LastLf),
            (Self::Trailer { total }, byte) if is_token(byte) && total < MAX_LINE => {
                Ok(Self::TrailerName { name: Name { bytes: [0; NAME], length: 0 }.with(byte), total: total + 1 })
            }
            (Self::TrailerName { name, total }, b':') if !name.is_forbidden() => Ok(Self::TrailerValue { total }),
            (Self::TrailerName { name, total }, byte) if is_token(byte) && total < MAX_LINE => {
                Ok(Self::TrailerName { name: name.with(byte), total: total + 1 })
            }
            (Self::TrailerValue { total }, b'\r') => Ok(Self::TrailerLf { total }),
            (Self::TrailerValue { total }, byte) if is_text(byte) && total < MAX_LINE => {
                Ok(Self::TrailerValue { total: total + 1 })
            }
            (Self::TrailerLf { total }, b'\n') => Ok(Self::Trailer { total }),
            _ => Err(Broken),
        }
    }
}

impl Part {
    fn step(self, byte: u8) -> Result<Self, Broken> {
        match (self, byte) {
            (Self::NameStart | Self::Name, byte) if is_token(byte) => Ok(Self::Name),
            (Self::ValueStart | Self::Value, byte) if is_token(byte) => Ok(Self::Value),
            (Self::Name, b'=') => Ok(Self::ValueStart),
            (Self::ValueStart, b'"') => Ok(Self::Quoted),
            (Self::Quoted, b'"') => Ok(Self::AfterQuoted),
            (Self::Quoted, b'\\') => Ok(Self::Escaped),
            (Self::Quoted | Self::Escaped, byte) if is_text(byte) => Ok(Self::Quoted),
            (Self::Name | Self::Value | Self::AfterQuoted, b';') => Ok(Self::NameStart),
            _ => Err(Broken),
        }
    }
}

impl Name {
    fn with(mut self, byte: u8) -> Self {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte.to_ascii_lowercase();
            self.length += 1;
        }
        self
    }

    fn is_forbidden(&self) -> bool {
        self.bytes.get(..self.length).is_some_and(|name| NO_TRAILERS.contains(&name))
    }
}

fn is_text(byte: u8) -> bool {
    !byte.is_ascii_control() || byte == b'\t'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Result<(bool, usize), Broken> {
        let mut body = Body::new(100);
        let length = body.advance(bytes)?;
        Ok((body.is_over(), length))
    }

    fn bytewise(bytes: &[u8]) -> Result<(bool, usize), Broken> {
        let mut body = Body::new(100);
        let mut length = 0;
        for byte in bytes {
            length += body.advance(&[*byte])?;
        }
        Ok((body.is_over(), length))
    }

    #[test]
    fn good_bodies_end_where_they_end() {
        for body in [
            &b"0\r\n\r\n"[..],
            b"5\r\nhello\r\n0\r\n\r\n",
            b"A\r\n0123456789\r\n000\r\n\r\n",
            b"5;name=value\r\nhello\r\n0\r\nx-trailer: 1\r\n\r\n",
        ] {
            assert_eq!(whole(body), Ok((true, body.len())));
            assert_eq!(whole(body), bytewise(body));
            let mut more = body.to_vec();
            more.extend(b"GET / HTTP/1.1\r\n");
            assert_eq!(whole(&more), Ok((true, body.len())), "the next request is not the body's");
        }
    }

    #[test]
    fn bad_framing_is_broken_either_way() {
        for body in [
            &b"\r\n"[..],
            b"x\r\n",
            b"5\nhello",
            b"5\r\nhelloX",
            b"5\r\nhello\n",
            b"-5\r\n",
            b"+5\r\n",
            b"0x5\r\n",
            b"5 \r\n",
            b" 5\r\n",
            b"ffffffffffffffff\r\n",
            b"5;\x00\r\n",
            b"5;a\nb\r\n",
            b"0\r\nx: y\n\r\n",
            b"0\r\n\n",
        ] {
            assert_eq!(whole(body), Err(Broken), "{:?}", String::from_utf8_lossy(body));
            assert_eq!(bytewise(body), Err(Broken), "{:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn what_stands_beside_the_data_is_bounded() {
        let extensions = |length: usize| format!("1;{}\r\nx\r\n", "a".repeat(length - 1)).repeat(4) + "0\r\n\r\n";
        assert_eq!(whole(extensions(MAX_LINE / 4).as_bytes()).map(|(is_over, _)| is_over), Ok(true));
        assert_eq!(whole(extensions(MAX_LINE / 4 + 1).as_bytes()), Err(Broken));
        let trailers = |count: usize| format!("0\r\n{}\r\n", "a: b\r\n".repeat(count));
        assert_eq!(whole(trailers(100).as_bytes()).map(|(is_over, _)| is_over), Ok(true));
        assert_eq!(whole(trailers(101).as_bytes()), Err(Broken));
        let long = |length: usize| format!("0\r\na:{}\r\n\r\n", "b".repeat(length - 1));
        assert_eq!(whole(long(MAX_LINE).as_bytes()).map(|(is_over, _)| is_over), Ok(true));
        assert_eq!(whole(long(MAX_LINE + 1).as_bytes()), Err(Broken));
    }
}
