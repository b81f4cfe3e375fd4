//! One side of a connection: its socket, what was read of it and what it is to get.
//!
//! Owns that little is held: a side that has nothing to say or to hear holds no buffer, and what it does not take is bounded by
//! not reading the other ([`Leg::may_go_on`]). Start at [`Leg::poll_read`].

use std::{
    future::poll_fn,
    io,
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{
    frames::{self, Code, Frames, HEAD, LARGEST, Piece},
    hpack::{Broken, Decoder, Encoder, Shared},
};
use crate::reject::Limit;

/// Bytes that wait for one side: when there are more, the other is not read.
const LOW: usize = 512;
/// And when there are so many, what was read of the other waits too.
const HIGH: usize = 16 << 10;
/// As [`HIGH`], of what a side's own frames bring it: a side that writes all before it reads must be read, but not without
/// bound.
const OWN: usize = 32 << 10;
/// Bytes that are read at once.
const READ: usize = 15 << 10;
/// Bytes that are shown again with the next ones: at most a frame that is not complete, or what one read brought.
const REST: usize = HEAD + LARGEST + READ;
/// Frames of a block of fields behind its first.
const CONTINUATIONS: u32 = 5;
/// Buffers that a worker keeps for the next connection that has something to say to both sides.
const SPARE: usize = 2;
/// Their bytes: as much as may wait for a side that does not read.
const SPARE_BYTES: usize = 16 << 10;

/// What one worker's connections need only while they work, besides what all of them read into.
#[derive(Debug, Default)]
pub(in crate::http) struct Spare {
    /// Of the block that is looked at.
    pub(super) fields: Vec<Shared>,
    buffers: Vec<Vec<u8>>,
}

/// Bytes that wait for a side.
#[derive(Debug, Default)]
pub(super) struct Out {
    bytes: Vec<u8>,
    sent: usize,
}

impl Out {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    fn lend(&mut self, spare: &mut Spare) {
        if self.bytes.capacity() == 0 {
            self.bytes = spare.buffers.pop().unwrap_or_else(|| Vec::with_capacity(SPARE_BYTES));
        }
    }

    fn give_back(&mut self, spare: &mut Spare) {
        if self.bytes.is_empty() {
            let bytes = std::mem::take(&mut self.bytes);
            if spare.buffers.len() < SPARE && bytes.capacity() == SPARE_BYTES {
                spare.buffers.push(bytes);
            }
        }
    }

    fn poll(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.bytes.len() {
            let waiting = self.bytes.get(self.sent..).unwrap_or_default();
            match Pin::new(&mut *stream).poll_write(cx, waiting) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(sent)) => self.sent += sent,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    // Room for what comes behind it.
                    self.bytes.drain(..self.sent);
                    self.sent = 0;
                    return Poll::Pending;
                }
            }
        }
        self.clear();
        Poll::Ready(Ok(()))
    }

    /// As much as goes at once.
    pub(super) fn try_flush(&mut self, stream: &TcpStream) -> io::Result<()> {
        match stream.try_write(self.bytes.get(self.sent..).unwrap_or_default()) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
    }
}

/// Where what was read is.
type Place = Range<usize>;

/// What is known of a block of fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) stream: u32,
    pub(super) ends: bool,
    pub(super) is_circular: bool,
    /// Of all fields together.
    pub(super) size: usize,
}

/// Why a side breaks its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Protocol(Code),
    Flood(Limit),
}

impl From<Code> for Fault {
    fn from(code: Code) -> Self {
        Self::Protocol(code)
    }
}

impl From<Limit> for Fault {
    fn from(limit: Limit) -> Self {
        Self::Flood(limit)
    }
}

impl From<Broken> for Fault {
    fn from(broken: Broken) -> Self {
        Self::Protocol(match broken {
            Broken::Packing => Code::COMPRESSION_ERROR,
            Broken::Field => Code::PROTOCOL_ERROR,
        })
    }
}

/// One side.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Leg {
    /// Not there yet while it is dialled.
    pub(super) stream: Option<TcpStream>,
    pub(super) frames: Frames,
    /// What is shown again.
    rest: Vec<u8>,
    /// That is not because something is missing, but because there was no room.
    is_stalled: bool,
    /// A block of fields in more than one frame, its frames, and whether it is said to depend on itself.
    block: Vec<u8>,
    parts: u32,
    is_circular: bool,
    /// Blocks of fields that began.
    pub(super) blocks: u64,
    pub(super) out: Out,
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
    /// Its first SETTINGS were there.
    pub(super) is_greeted: bool,
    /// It acknowledged ours.
    pub(super) is_agreed: bool,
    /// SETTINGS that it is to acknowledge to the other side.
    pub(super) unacknowledged: u32,
    /// Nothing more comes.
    pub(super) is_over: bool,
    /// It takes nothing more.
    pub(super) is_deaf: bool,
}

impl Leg {
    pub(super) fn new(stream: Option<TcpStream>) -> Self {
        Self {
            stream,
            frames: Frames::default(),
            rest: Vec::new(),
            is_stalled: false,
            block: Vec::new(),
            parts: 0,
            is_circular: false,
            blocks: 0,
            out: Out::default(),
            decoder: Decoder::default(),
            encoder: Encoder::default(),
            is_greeted: false,
            is_agreed: false,
            unacknowledged: 0,
            is_over: false,
            is_deaf: false,
        }
    }

    /// Whether frames of it may be looked at, that go to `other`.
    pub(super) fn may_say(&self, other: Option<&Self>) -> bool {
        self.out.len() < OWN && other.is_none_or(|other| other.out.len() < HIGH)
    }

    /// Whether it may be read, or what was read of it looked at.
    pub(super) fn may_go_on(&self, other: Option<&Self>) -> bool {
        // What waits for one that is dialled says nothing of its pace.
        let takes = |other: &Self| other.stream.is_none() || other.out.len() < LOW;
        let is_low = self.is_stalled || other.is_none_or(takes);
        is_low && !self.is_over && self.may_say(other)
    }

    /// The number of the block of fields that began and is not complete.
    pub(super) fn open_block(&self) -> Option<u64> {
        if self.frames.open_block().is_some() {
            return Some(self.blocks);
        }
        // Of a block's first frame some is there.
        self.frames.begins_block(&self.rest).then_some(self.blocks + 1)
    }

    pub(super) fn begin_turn(&mut self, spare: &mut Spare) {
        self.out.lend(spare);
    }

    pub(super) fn end_turn(&mut self, spare: &mut Spare) {
        self.out.give_back(spare);
    }

    /// Reads what there is; its place in `input` says where it is, with what is shown again in front of it. Nothing new, and
    /// nothing over: the other end is done.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, input: &mut [u8]) -> Poll<io::Result<Place>> {
        let mut new = 0;
        if !std::mem::take(&mut self.is_stalled) {
            let Some(stream) = &mut self.stream else { return Poll::Pending };
            let mut buffer = ReadBuf::new(input.get_mut(REST..REST + READ).unwrap_or_default());
            ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
            new = buffer.filled().len();
            self.is_over = new == 0;
        }
        let begin = REST.saturating_sub(self.rest.len());
        if let Some(room) = input.get_mut(begin..REST)
            && room.len() == self.rest.len()
        {
            room.copy_from_slice(&self.rest);
        }
        self.rest = Vec::new();
        Poll::Ready(Ok(begin..REST + new))
    }

    /// Keeps what was not used; `is_stalled`: for want of room.
    pub(super) fn keep(&mut self, rest: &[u8], is_stalled: bool) {
        self.rest.extend_from_slice(rest);
        self.is_stalled = is_stalled && !rest.is_empty();
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_deaf {
            self.out.clear();
        }
        match &mut self.stream {
            Some(stream) => self.out.poll(stream, cx),
            None => Poll::Pending,
        }
    }

    /// Says all that is to be said.
    pub(super) async fn flush(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        if self.is_deaf {
            return Ok(());
        }
        poll_fn(|cx| self.out.poll(stream, cx)).await
    }

    /// Takes a part of a block; when that was the last one, `fields` are those of all, if they are of `limit` bytes at most.
    pub(super) fn fields(
        &mut self,
        piece: Piece<'_>,
        limit: usize,
        fields: &mut Vec<Shared>,
    ) -> Result<Option<Block>, Fault> {
        let Piece::Block { stream, fragment, begins, is_whole, ends, is_circular } = piece else { return Ok(None) };
        fields.clear();
        if begins {
            self.blocks += 1;
            (self.parts, self.is_circular) = (0, is_circular);
            if is_whole {
                let size = self.decoder.decode(fragment, limit, fields)?;
                return Ok(Some(Block { stream, ends, is_circular, size }));
            }
        } else {
            self.parts += 1;
            if self.parts > CONTINUATIONS.max(u32::try_from(limit / LARGEST).unwrap_or(u32::MAX)) {
                return Err(Fault::Flood(Limit::Flood));
            }
        }
        self.block.extend_from_slice(fragment);
        if !is_whole {
            return Ok(None);
        }
        let block = std::mem::take(&mut self.block);
        let size = self.decoder.decode(&block, limit, fields)?;
        Ok(Some(Block { stream, ends, is_circular: self.is_circular, size }))
    }

    /// Writes a head or trailers.
    pub(super) fn write_fields(&mut self, stream: u32, ends: bool, fields: &[Shared]) {
        let Self { out, encoder, .. } = self;
        frames::write_block(stream, ends, out.buffer(), |block| {
            encoder.begin(block);
            for field in fields {
                encoder.field(field, block);
            }
        });
    }

    /// Writes bytes of a body: in as few frames as can be.
    pub(super) fn write_data(&mut self, stream: u32, ends: bool, bytes: &[u8]) {
        let mut parts = bytes.chunks(LARGEST).peekable();
        if parts.peek().is_none() && ends {
            return frames::write(frames::DATA, frames::END_STREAM, stream, &[], self.out.buffer());
        }
        while let Some(part) = parts.next() {
            let flags = if ends && parts.peek().is_none() { frames::END_STREAM } else { 0 };
            frames::write(frames::DATA, flags, stream, part, self.out.buffer());
        }
    }

    pub(super) fn reset(&mut self, stream: u32, code: Code) {
        frames::write_reset(stream, code, self.out.buffer());
    }

    /// Lets it send so much more; `stream` 0: of all together.
    pub(super) fn give_window(&mut self, stream: u32, more: u32) {
        if more > 0 {
            frames::write_window(stream, more, self.out.buffer());
        }
    }
}
