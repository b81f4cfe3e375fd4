//! Finds the frames in one direction of a connection (RFC 9113 §4.1), without what they carry.
//!
//! Must never keep more than a frame's head and the code of resets and goodbyes. Start at [`Frames::next`].

/// Bytes of a frame's head.
const HEAD: usize = 9;
/// Of a GOAWAY: the last stream and the code. Of a reset the first half is the code.
const CODE: usize = 8;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
pub(super) const GOAWAY: u8 = 7;
pub(super) const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// What its bits mean depends on the type.
    pub flags: u8,
    /// 0: the connection's.
    pub stream: u32,
    /// Bytes behind the head.
    pub length: usize,
    /// Of a reset, or a GOAWAY.
    pub code: u32,
}

impl Frame {
    pub(super) fn ends_stream(&self) -> bool {
        self.flags & END_STREAM != 0
    }

    /// Whether it is a GOAWAY.
    #[must_use]
    pub fn is_go_away(&self) -> bool {
        self.kind == GOAWAY
    }

    /// Whether it says what its sender wants.
    #[must_use]
    pub fn is_settings(&self) -> bool {
        self.kind == SETTINGS && self.flags & ACK == 0
    }

    fn ends_headers(&self) -> bool {
        self.flags & END_HEADERS != 0
    }

    fn of(kept: &[u8; HEAD + CODE]) -> Self {
        let [a, b, c, kind, flags, s0, s1, s2, s3, code @ ..] = *kept;
        let [c0, c1, c2, c3, c4, c5, c6, c7] = code;
        let code = if kind == GOAWAY { [c4, c5, c6, c7] } else { [c0, c1, c2, c3] };
        let length = u32::from_be_bytes([0, a, b, c]);
        Self {
            kind,
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
            length: usize::try_from(length).unwrap_or(usize::MAX),
            code: u32::from_be_bytes(code),
        }
    }

    /// Bytes behind the head that are of interest.
    fn kept(&self) -> usize {
        match self.kind {
            RST_STREAM => self.length.min(CODE / 2),
            GOAWAY => self.length.min(CODE),
            _ => 0,
        }
    }
}

/// One direction of a connection.
#[derive(Debug)]
pub struct Frames {
    kept: [u8; HEAD + CODE],
    /// How much of that is there.
    length: usize,
    /// Still to come of what is not looked at.
    skip: usize,
    /// A block of headers began, and its last frame was not there yet.
    block: bool,
    /// The block ends with what is skipped.
    last: bool,
}

impl Frames {
    /// `preface`: bytes before the first frame.
    #[must_use]
    pub fn new(preface: usize) -> Self {
        Self { kept: [0; HEAD + CODE], length: 0, skip: preface, block: false, last: false }
    }

    /// Whether the last frame is there to its end, and no other began.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.skip == 0 && self.length == 0
    }

    /// Whether a block of headers began and is not complete.
    #[must_use]
    pub fn is_in_block(&self) -> bool {
        self.block
    }

    /// Takes bytes off the front of `bytes` up to where the next frame is known; `None`: all of them.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        loop {
            let passed = self.skip.min(bytes.len());
            self.skip -= passed;
            *bytes = bytes.get(passed..).unwrap_or_default();
            if self.skip > 0 {
                return None;
            }
            if std::mem::take(&mut self.last) {
                self.block = false;
            }
            if bytes.is_empty() {
                return None;
            }
            if let Some(frame) = self.keep(bytes) {
                return Some(frame);
            }
        }
    }

    fn keep(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        let wanted = if self.length < HEAD { HEAD } else { HEAD + Frame::of(&self.kept).kept() };
        let taken = wanted.saturating_sub(self.length).min(bytes.len());
        let (head, rest) = bytes.split_at_checked(taken)?;
        if let Some(room) = self.kept.get_mut(self.length..self.length + taken) {
            room.copy_from_slice(head);
        }
        self.length += taken;
        *bytes = rest;
        if self.length < HEAD {
            return None;
        }
        let frame = Frame::of(&self.kept);
        if self.length < HEAD + frame.kept() {
            return None;
        }
        self.length = 0;
        self.skip = frame.length - frame.kept();
        if matches!(frame.kind, HEADERS | CONTINUATION) {
            self.block = true;
            self.last = frame.ends_headers();
        }
        self.kept = [0; HEAD + CODE];
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0x80, 0, 0, stream], payload].concat()
    }

    /// All frames, and whether a block was open after each piece.
    fn seen(bytes: &[u8], piece: usize) -> (Vec<Frame>, Vec<bool>) {
        let mut frames = Frames::new(3);
        let (mut found, mut open) = (Vec::new(), Vec::new());
        for mut part in bytes.chunks(piece) {
            while let Some(frame) = frames.next(&mut part) {
                found.push(frame);
            }
            open.push(frames.is_in_block());
        }
        (found, open)
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let bytes = [
            b"PRI".to_vec(),
            frame(SETTINGS, 0, 0, &[]),
            frame(HEADERS, END_STREAM, 1, b"abc"),
            frame(CONTINUATION, END_HEADERS, 1, b""),
            frame(DATA, 0, 3, &[7; 200]),
            frame(RST_STREAM, 0, 3, &[0, 0, 1, 2]),
            frame(GOAWAY, 0, 0, &[0, 0, 0, 5, 0, 0, 0, 11, b'x']),
            frame(RST_STREAM, 0, 3, &[9]),
            frame(DATA, END_STREAM, 5, &[]),
        ]
        .concat();
        for piece in 1..bytes.len() {
            let (found, open) = seen(&bytes, piece);
            let told: Vec<_> = found.iter().map(|frame| (frame.kind, frame.stream, frame.length, frame.code)).collect();
            let expected = [
                (SETTINGS, 0, 0, 0),
                (HEADERS, 1, 3, 0),
                (CONTINUATION, 1, 0, 0),
                (DATA, 3, 200, 0),
                (RST_STREAM, 3, 4, 0x102),
                (GOAWAY, 0, 9, 11),
                (RST_STREAM, 3, 1, 0x0900_0000),
                (DATA, 5, 0, 0),
            ];
            assert_eq!(told, expected, "in pieces of {piece}");
            assert!(!open.last().unwrap(), "in pieces of {piece}");
        }
    }

    #[test]
    fn a_block_is_open_until_its_last_byte() {
        let bytes = [b"PRI".to_vec(), frame(HEADERS, 0, 1, b"ab"), frame(CONTINUATION, END_HEADERS, 1, b"c")].concat();
        let (_, open) = seen(&bytes, 1);
        let first = open.iter().position(|open| *open).unwrap();
        assert_eq!(first, 3 + HEAD - 1, "from the frame's head on");
        assert!(open[first..open.len() - 1].iter().all(|open| *open));
        assert!(!open[open.len() - 1]);
    }
}
