//! What goes by on a client's connection before and behind the HTTP library: what floods, and what the library refuses by
//! itself.
//!
//! The library answers or resets by itself what breaks the protocol or is over its limits, and says nothing of it. Owns that
//! each such stream has its records and its counter, and the limits that the library does not have. Never changes a byte.
//! Start at [`Watch::received`].

use std::{collections::VecDeque, io, rc::Rc};

use h2::Reason;
use http::StatusCode;
use tokio::time::Instant;

use super::{
    Line,
    frames::{CONTINUATION, DATA, Frame, Frames, GOAWAY, HEADERS, RST_STREAM},
};
use crate::reject::{ClientFailure, Limit, Rejection};

/// Control frames that one frame of a message may bring along: windows given back, pings that measure.
const BROUGHT_ALONG: u32 = 4;
/// Bytes of the preface.
const PREFACE: usize = 24;

/// The sight on one connection.
#[derive(Debug)]
pub(super) struct Watch {
    line: Rc<Line>,
    from_client: Frames,
    to_client: Frames,
    /// The newest stream.
    newest: u32,
    /// Streams that began, and that nobody was given yet.
    unseen: VecDeque<u32>,
    /// Blocks of headers that began.
    blocks: u64,
    resets: Bucket,
    control: Bucket,
    /// Why the connection is ended by us.
    end: Option<End>,
    /// That was recorded.
    told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Over(Limit),
    Slow,
    /// The library said goodbye, with this code.
    GoAway(Reason),
}

impl Watch {
    pub(super) fn new(line: Rc<Line>) -> Self {
        let limits = &line.worker.limits;
        let (resets, control) = (Bucket::new(limits.resets), Bucket::new(limits.control_frames));
        let (from_client, to_client) = (Frames::new(PREFACE), Frames::new(0));
        Self {
            line,
            from_client,
            to_client,
            newest: 0,
            unseen: VecDeque::new(),
            blocks: 0,
            resets,
            control,
            end: None,
            told: false,
        }
    }

    /// The number of the block of headers that began and did not end.
    pub(super) fn open_block(&self) -> Option<u64> {
        self.from_client.is_in_block().then_some(self.blocks)
    }

    /// Whether the connection is being ended by us, and not because it goes away in order.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.end, Some(End::Over(_) | End::Slow))
    }

    /// A block of headers took too long.
    pub(super) fn too_slow(&mut self) {
        self.end = Some(End::Slow);
        self.tell(false);
    }

    /// The client sent `bytes`.
    pub(super) fn received(&mut self, mut bytes: &[u8]) {
        while let Some(frame) = self.from_client.next(&mut bytes) {
            if let Some(limit) = self.over(frame) {
                self.end = Some(End::Over(limit));
                return self.tell(false);
            }
        }
    }

    fn over(&mut self, frame: Frame) -> Option<Limit> {
        match frame.kind {
            HEADERS => {
                self.blocks += 1;
                self.control.give(BROUGHT_ALONG);
                if frame.stream > self.newest {
                    self.newest = frame.stream;
                    self.unseen.push_back(frame.stream);
                }
                None
            }
            // Too many for one block are the library's to count.
            CONTINUATION => None,
            DATA if frame.length > 0 || frame.ends_stream() => {
                self.control.give(BROUGHT_ALONG);
                None
            }
            RST_STREAM => (!self.resets.take()).then_some(Limit::Resets),
            _ => (!self.control.take()).then_some(Limit::ControlFrames),
        }
    }

    /// `length` bytes of `slices` went to the client.
    pub(super) fn sent(&mut self, slices: &[io::IoSlice<'_>], mut length: usize) {
        for slice in slices {
            let part = length.min(slice.len());
            length -= part;
            let mut bytes = slice.get(..part).unwrap_or_default();
            while let Some(frame) = self.to_client.next(&mut bytes) {
                self.saw(frame);
            }
        }
    }

    fn saw(&mut self, frame: Frame) {
        match frame.kind {
            DATA => self.control.give(BROUGHT_ALONG),
            // Nobody but the library can have answered what nobody was given.
            HEADERS if self.take(frame.stream) => self.refused(None),
            RST_STREAM if self.take(frame.stream) => self.refused(Some(Reason::from(frame.code))),
            GOAWAY if frame.code != u32::from(Reason::NO_ERROR) => {
                self.end.get_or_insert(End::GoAway(Reason::from(frame.code)));
                self.tell(false);
            }
            _ => {}
        }
    }

    /// The library refused a stream: with this code, or with an answer.
    fn refused(&self, code: Option<Reason>) {
        let exchange = &self.line.exchange;
        match code {
            None => {
                let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                exchange.unread(&Rejection::TooLarge(Limit::Head), Some(status));
            }
            Some(Reason::REFUSED_STREAM) => exchange.unread(&Rejection::TooLarge(Limit::Streams), None),
            Some(code) => exchange.unread(&Rejection::Malformed(word(code)), None),
        }
    }

    /// The library gave a stream away.
    pub(super) fn accepted(&mut self, stream: u32) {
        self.take(stream);
    }

    fn take(&mut self, stream: u32) -> bool {
        let at = self.unseen.iter().position(|known| *known == stream);
        at.is_some_and(|at| self.unseen.remove(at).is_some())
    }

    /// The connection is over: what nobody was given ended with it.
    pub(super) fn ended(&mut self, goes_away: bool) {
        self.tell(goes_away);
    }

    /// Records what nobody was given; and that we end the connection, if there is nothing else to record that with.
    fn tell(&mut self, goes_away: bool) {
        let rejection = match self.end {
            Some(End::Over(limit)) => Rejection::TooLarge(limit),
            Some(End::Slow) => Rejection::TooSlow,
            Some(End::GoAway(Reason::ENHANCE_YOUR_CALM)) => Rejection::TooLarge(Limit::Flood),
            Some(End::GoAway(code)) => Rejection::Malformed(word(code)),
            None if goes_away => Rejection::GoingAway,
            None => Rejection::Client(ClientFailure::Left),
        };
        let is_news = self.end.is_some() && !std::mem::replace(&mut self.told, self.end.is_some());
        for _ in 0..self.unseen.len().max(usize::from(is_news)) {
            self.line.exchange.unread(&rejection, None);
        }
        self.unseen.clear();
    }
}

/// For records.
fn word(code: Reason) -> &'static str {
    match code {
        Reason::COMPRESSION_ERROR => "http2-compression",
        Reason::FLOW_CONTROL_ERROR => "http2-flow-control",
        Reason::FRAME_SIZE_ERROR => "http2-frame-size",
        Reason::STREAM_CLOSED => "http2-stream-closed",
        _ => "http2-protocol",
    }
}

/// So many a second, and as many at once.
#[derive(Debug)]
struct Bucket {
    rate: u32,
    left: u32,
    since: Instant,
}

impl Bucket {
    fn new(rate: u32) -> Self {
        Self { rate, left: rate, since: Instant::now() }
    }

    fn give(&mut self, more: u32) {
        self.left = self.left.saturating_add(more).min(self.rate);
    }

    /// The clock is read only when it is empty.
    fn take(&mut self) -> bool {
        if self.left == 0 {
            let now = Instant::now();
            let earned = now.duration_since(self.since).as_millis().saturating_mul(self.rate.into()) / 1000;
            if earned > 0 {
                self.since = now;
                self.give(u32::try_from(earned).unwrap_or(u32::MAX));
            }
        }
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}
