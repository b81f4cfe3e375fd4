//! The streams of a connection, those that are open and the last that were closed.
//!
//! Start at [`Streams::get`].

use std::collections::VecDeque;

use rules::Permit;

use super::hpack::Shared;
use crate::{flow::FlowGuard, request::Ticket};

/// Closed streams that are remembered.
const REMEMBERED: usize = 128;

/// One request and its answer.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Stream {
    pub(super) id: u32,
    /// The client did not say that it is done.
    pub(super) is_asking: bool,
    /// The answer is not over.
    pub(super) is_answering: bool,
    /// The upstream knows it.
    pub(super) is_forwarded: bool,
    /// It is to become a tunnel, and did not yet.
    pub(super) is_connect: bool,
    /// Its answer has no body, whatever its head says.
    pub(super) is_head: bool,
    /// What its client still sends goes nowhere.
    pub(super) is_mute: bool,
    /// Bytes of the answer that the client takes.
    pub(super) window: i64,
    /// Of those, what the upstream was not told of.
    pub(super) untold: u32,
    /// Bytes that are missing of the request's body, if it named a length.
    pub(super) request_left: Option<u64>,
    /// As `request_left`, of the answer's.
    pub(super) answer_left: Option<u64>,
    /// What is left of an answer of our own.
    pub(super) text: &'static str,
    /// What waits to be forwarded.
    pub(super) held: Option<Box<Held>>,
    /// Until the answer's head.
    pub(super) flow: Option<Box<FlowGuard>>,
    /// From then on, if its record waits for the trailers.
    pub(super) begun: Option<Box<FlowGuard>>,
    pub(super) ticket: Option<Ticket>,
}

/// What waits, because the upstream does not take it yet.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The head, if it was not sent.
    pub(super) head: Option<Waiting>,
    /// What came behind it.
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<Shared>,
}

/// A head that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) fields: Vec<Shared>,
    pub(super) permit: Permit,
    /// It is an extended CONNECT, which the upstream must offer.
    pub(super) is_extended: bool,
}

impl Stream {
    pub(super) fn new(id: u32, is_asking: bool, window: u32) -> Self {
        Self {
            id,
            is_asking,
            is_answering: true,
            is_forwarded: false,
            is_connect: false,
            is_head: false,
            is_mute: false,
            window: window.into(),
            untold: 0,
            request_left: None,
            answer_left: None,
            text: "",
            held: None,
            flow: None,
            begun: None,
            ticket: None,
        }
    }

    /// Whether its head waits.
    pub(super) fn waits(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.head.is_some())
    }
}

/// A stream that was closed.
#[derive(Clone, Copy, Debug)]
struct Closed {
    id: u32,
    /// By us, or the upstream: the client may not have known when it sent more.
    by_us: bool,
}

/// What is known of a stream that is not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Past {
    /// It never began.
    Idle,
    /// What comes of it was sent before the client knew of its end, or may have been.
    Left,
    /// Its client ended it.
    Ended,
}

/// All of one connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// In the order of their numbers.
    open: Vec<Stream>,
    closed: VecDeque<Closed>,
    /// The greatest number that a client used.
    pub(super) newest: u32,
}

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn get(&mut self, id: u32) -> Option<&mut Stream> {
        let at = self.find(id).ok()?;
        self.open.get_mut(at)
    }

    fn find(&self, id: u32) -> Result<usize, usize> {
        self.open.binary_search_by_key(&id, |stream| stream.id)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.open.iter_mut()
    }

    /// Of all that are open.
    pub(super) fn ids(&self, is_wanted: impl Fn(&Stream) -> bool) -> Vec<u32> {
        self.open.iter().filter(|stream| is_wanted(stream)).map(|stream| stream.id).collect()
    }

    pub(super) fn is_any(&self, is_wanted: impl Fn(&Stream) -> bool) -> bool {
        self.open.iter().any(is_wanted)
    }

    /// How many the upstream has.
    pub(super) fn forwarded(&self) -> usize {
        self.open.iter().filter(|stream| stream.is_forwarded).count()
    }

    /// The first whose head waits.
    pub(super) fn first_waiting(&self) -> Option<u32> {
        self.open.iter().find(|stream| stream.waits()).map(|stream| stream.id)
    }

    /// Of the newest number.
    pub(super) fn open(&mut self, stream: Stream) {
        self.open.push(stream);
    }

    /// `by_us`: its client may still send something.
    pub(super) fn close(&mut self, id: u32, by_us: bool) -> Option<Stream> {
        let at = self.find(id).ok()?;
        self.forget(id, by_us);
        Some(self.open.remove(at))
    }

    /// Of one that never was open.
    pub(super) fn forget(&mut self, id: u32, by_us: bool) {
        if self.closed.len() >= REMEMBERED {
            self.closed.pop_front();
        }
        self.closed.push_back(Closed { id, by_us });
    }

    /// Of one that is not open.
    pub(super) fn past(&self, id: u32) -> Past {
        if id > self.newest || id.is_multiple_of(2) {
            return Past::Idle;
        }
        match self.closed.iter().rfind(|closed| closed.id == id) {
            Some(closed) if closed.by_us => Past::Left,
            Some(_) => Past::Ended,
            // Skipped numbers are closed too, and nobody may use them; but what is too old to be remembered is let be.
            None if self.closed.len() < REMEMBERED => Past::Idle,
            None => Past::Left,
        }
    }
}
