//! Frames (RFC 9113 §4.1, §6): found in what one side sends, and written for the other.
//!
//! Owns what a frame may look like by itself: sizes, streams, padding. Must never keep a byte: what is not complete is left
//! to whoever reads. Bodies are handed on as they come, a frame in pieces. Start at [`Frames::next`].

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const WITH_PRIORITY: u8 = 0x20;

/// Bytes of a frame's head.
pub(super) const HEAD: usize = 9;
/// Bytes behind it, at most: nobody is told that we take more, and so nobody sends more or is sent more.
pub(super) const LARGEST: usize = 16 << 10;

/// Why a stream or a connection ends (RFC 9113 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub u32);

impl Code {
    pub(super) const NO_ERROR: Self = Self(0);
    pub(super) const PROTOCOL_ERROR: Self = Self(1);
    pub(super) const FLOW_CONTROL_ERROR: Self = Self(3);
    pub(super) const STREAM_CLOSED: Self = Self(5);
    pub(super) const FRAME_SIZE_ERROR: Self = Self(6);
    pub(super) const REFUSED_STREAM: Self = Self(7);
    pub(super) const CANCEL: Self = Self(8);
    pub(super) const COMPRESSION_ERROR: Self = Self(9);
    pub(super) const ENHANCE_YOUR_CALM: Self = Self(11);
}

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'b> {
    /// Of a body.
    Data {
        /// The stream.
        stream: u32,
        /// Some bytes, or none.
        bytes: &'b [u8],
        /// Bytes that count for windows, and are none of the body.
        padding: u32,
        /// Nothing more follows of this stream.
        ends: bool,
        /// Nothing more follows of this frame.
        last: bool,
    },
    /// A part of a block of fields.
    Block {
        /// The stream.
        stream: u32,
        /// Without padding and priority.
        fragment: &'b [u8],
        /// It begins one.
        begins: bool,
        /// It is the last part.
        is_whole: bool,
        /// Nothing follows the block on this stream.
        ends: bool,
        /// It is said to depend on itself.
        is_circular: bool,
    },
    /// Any other frame, of the size that it must have.
    Other {
        /// Its type.
        kind: u8,
        /// Its flags.
        flags: u8,
        /// 0: the connection's.
        stream: u32,
        /// What it carries.
        payload: &'b [u8],
    },
}

/// A frame's head.
#[derive(Clone, Copy, Debug)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Head {
    fn of([a, b, c, kind, flags, stream @ ..]: [u8; HEAD]) -> Self {
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
        Self { length, kind, flags, stream: u32::from_be_bytes(stream) & 0x7fff_ffff }
    }

    fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// What can be said of it before its payload is there.
    fn check(&self) -> Result<(), Code> {
        let is_of_stream = match self.kind {
            DATA | HEADERS | PRIORITY | RST_STREAM | PUSH_PROMISE | CONTINUATION => Some(true),
            SETTINGS | PING | GOAWAY => Some(false),
            _ => None,
        };
        if is_of_stream.is_some_and(|is_of_stream| is_of_stream != (self.stream != 0)) {
            return Err(Code::PROTOCOL_ERROR);
        }
        let is_sized = match self.kind {
            PRIORITY => self.length == 5,
            RST_STREAM | WINDOW_UPDATE => self.length == 4,
            SETTINGS => self.length.is_multiple_of(6) && (self.length == 0 || !self.is(ACK)),
            PING => self.length == 8,
            GOAWAY => self.length >= 8,
            _ => true,
        };
        if is_sized && self.length <= LARGEST { Ok(()) } else { Err(Code::FRAME_SIZE_ERROR) }
    }
}

/// A body's frame that was begun.
#[derive(Clone, Copy, Debug)]
struct Body {
    stream: u32,
    left: usize,
    padding: usize,
    ends: bool,
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub struct Frames {
    body: Option<Body>,
    /// The stream whose block of fields is not complete, and whether the stream ends with it.
    block: Option<(u32, bool)>,
}

impl Frames {
    /// The stream whose block of fields is not complete.
    #[must_use]
    pub fn open_block(&self) -> Option<u32> {
        self.block.map(|(stream, _)| stream)
    }

    /// Whether a body's frame began and is not complete.
    pub(super) fn is_in_body(&self) -> bool {
        self.body.is_some()
    }

    /// Whether `rest`, which is not enough for a piece, is the beginning of fields.
    pub(super) fn begins_block(&self, rest: &[u8]) -> bool {
        self.body.is_none() && rest.len() >= HEAD && matches!(rest.get(3), Some(&(HEADERS | CONTINUATION)))
    }

    /// Takes the next piece off the front of `bytes`, of a body at most `most` bytes; `None`: more is needed, or a body's bytes
    /// may not be taken. What is left must be shown again.
    pub fn next<'b>(&mut self, bytes: &mut &'b [u8], most: usize) -> Result<Option<Piece<'b>>, Code> {
        if let Some(body) = self.body.take() {
            return Ok(self.go_on(body, bytes, most));
        }
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else { return Ok(None) };
        let head = Head::of(*head);
        let is_in_order = match self.block {
            Some((stream, _)) => head.kind == CONTINUATION && head.stream == stream,
            None => head.kind != CONTINUATION,
        };
        if !is_in_order {
            return Err(Code::PROTOCOL_ERROR);
        }
        head.check()?;
        if head.kind == DATA {
            return self.begin(head, bytes, most);
        }
        let Some((payload, rest)) = rest.split_at_checked(head.length) else { return Ok(None) };
        *bytes = rest;
        let Head { kind, flags, stream, .. } = head;
        match kind {
            HEADERS | CONTINUATION => self.fields(head, payload).map(Some),
            _ => Ok(Some(Piece::Other { kind, flags, stream, payload })),
        }
    }

    fn fields<'b>(&mut self, head: Head, payload: &'b [u8]) -> Result<Piece<'b>, Code> {
        let begins = head.kind == HEADERS;
        let (fragment, is_circular) = if begins { unwrap(head, payload)? } else { (payload, false) };
        let ends = self.block.take().map_or(head.is(END_STREAM), |(_, ends)| ends);
        let is_whole = head.is(END_HEADERS);
        if !is_whole {
            self.block = Some((head.stream, ends));
        }
        Ok(Piece::Block { stream: head.stream, fragment, begins, is_whole, ends, is_circular })
    }

    fn begin<'b>(&mut self, head: Head, bytes: &mut &'b [u8], most: usize) -> Result<Option<Piece<'b>>, Code> {
        let rest = bytes.get(HEAD..).unwrap_or_default();
        let mut body = Body { stream: head.stream, left: head.length, padding: 0, ends: head.is(END_STREAM) };
        if !head.is(PADDED) {
            *bytes = rest;
            return Ok(self.go_on(body, bytes, most));
        }
        if head.length == 0 {
            return Err(Code::FRAME_SIZE_ERROR);
        }
        // Its own length is padding too.
        let Some(padding) = rest.first().map(|padding| usize::from(*padding) + 1) else { return Ok(None) };
        body.left = head.length.checked_sub(padding).ok_or(Code::PROTOCOL_ERROR)?;
        body.padding = padding - 1;
        *bytes = rest.get(1..).unwrap_or_default();
        let piece = self.go_on(body, bytes, most);
        let first = Piece::Data { stream: head.stream, bytes: &[], padding: 0, ends: false, last: false };
        match piece.unwrap_or(first) {
            Piece::Data { stream, bytes, padding, ends, last } => {
                Ok(Some(Piece::Data { stream, bytes, padding: padding + 1, ends, last }))
            }
            other @ (Piece::Block { .. } | Piece::Other { .. }) => Ok(Some(other)),
        }
    }

    /// What there is of a body's frame.
    fn go_on<'b>(&mut self, mut body: Body, bytes: &mut &'b [u8], most: usize) -> Option<Piece<'b>> {
        let is_over = body.left + body.padding == 0;
        if (bytes.is_empty() && !is_over) || (most == 0 && body.left > 0) {
            self.body = Some(body);
            return None;
        }
        let taken = body.left.min(bytes.len()).min(most);
        let (data, rest) = bytes.split_at_checked(taken)?;
        body.left -= taken;
        let padding = if body.left == 0 { body.padding.min(rest.len()) } else { 0 };
        body.padding -= padding;
        *bytes = rest.get(padding..).unwrap_or_default();
        let last = body.left + body.padding == 0;
        if !last {
            self.body = Some(body);
        }
        let padding = u32::try_from(padding).unwrap_or(u32::MAX);
        Some(Piece::Data { stream: body.stream, bytes: data, padding, ends: last && body.ends, last })
    }
}

/// A fragment, and whether its stream is said to depend on itself.
type Unwrapped<'b> = (&'b [u8], bool);

/// A block's first fragment without what stands around it.
fn unwrap(head: Head, mut payload: &[u8]) -> Result<Unwrapped<'_>, Code> {
    let mut padding = 0;
    if head.is(PADDED) {
        let (length, rest) = payload.split_first().ok_or(Code::FRAME_SIZE_ERROR)?;
        (padding, payload) = (usize::from(*length), rest);
    }
    let mut is_circular = false;
    if head.is(WITH_PRIORITY) {
        let (priority, rest) = payload.split_first_chunk::<5>().ok_or(Code::FRAME_SIZE_ERROR)?;
        is_circular = depends_on(priority) == head.stream;
        payload = rest;
    }
    let length = payload.len().checked_sub(padding).ok_or(Code::PROTOCOL_ERROR)?;
    Ok((payload.get(..length).unwrap_or_default(), is_circular))
}

/// The stream that a priority is relative to.
pub(super) fn depends_on(priority: &[u8]) -> u32 {
    number(priority) & 0x7fff_ffff
}

/// The first four bytes.
pub(super) fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// Appends a frame of at most [`LARGEST`] bytes.
pub(super) fn write(kind: u8, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&head(kind, flags, stream, payload.len()));
    out.extend_from_slice(payload);
}

fn head(kind: u8, flags: u8, stream: u32, length: usize) -> [u8; HEAD] {
    let [.., a, b, c] = length.to_be_bytes();
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    [a, b, c, kind, flags, s0, s1, s2, s3]
}

/// Appends a block of fields, which `pack` makes, in as many frames as it needs.
pub(super) fn write_block(stream: u32, ends: bool, out: &mut Vec<u8>, pack: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    out.extend_from_slice(&[0; HEAD]);
    pack(out);
    let end = if ends { END_STREAM } else { 0 };
    let length = out.len() - begin - HEAD;
    if length <= LARGEST {
        if let Some(room) = out.get_mut(begin..begin + HEAD) {
            room.copy_from_slice(&head(HEADERS, END_HEADERS | end, stream, length));
        }
        return;
    }
    let block = out.split_off(begin + HEAD);
    out.truncate(begin);
    let mut parts = block.chunks(LARGEST).peekable();
    let (mut kind, mut flags) = (HEADERS, end);
    while let Some(part) = parts.next() {
        let last = if parts.peek().is_none() { END_HEADERS } else { 0 };
        write(kind, flags | last, stream, part, out);
        (kind, flags) = (CONTINUATION, 0);
    }
}

pub(super) fn write_reset(stream: u32, code: Code, out: &mut Vec<u8>) {
    write(RST_STREAM, 0, stream, &code.0.to_be_bytes(), out);
}

pub(super) fn write_window(stream: u32, more: u32, out: &mut Vec<u8>) {
    write(WINDOW_UPDATE, 0, stream, &more.to_be_bytes(), out);
}

pub(super) fn write_goaway(last: u32, code: Code, said: &[u8], out: &mut Vec<u8>) {
    let said = said.get(..said.len().min(LARGEST - 8)).unwrap_or_default();
    write(GOAWAY, 0, 0, &[&last.to_be_bytes(), &code.0.to_be_bytes(), said].concat(), out);
}
