//! Follows the requests of one connection through its bytes: decides that where each of them ends has one meaning.

use http::Request;

use super::{
    chunk::{Body, Broken},
    head::{self, Framing, Head},
};
use crate::{
    http::Limits,
    reject::{Limit, Rejection},
};

/// Empty lines that may stand before a request line (RFC 9112 §2.2 asks for one).
const MAX_EMPTY_LINES: usize = 2;

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Head,
    Length(u64),
    Chunks(Body),
    /// A request that asks to switch protocols is being answered: nobody knows what follows.
    Hold,
    /// A tunnel.
    Opaque,
    /// Behind the last request of the connection.
    Closed,
}

/// What the next bytes are.
#[derive(Debug)]
pub enum Outcome {
    /// A request, with as much of its body as is there.
    Request(Found),
    /// This many bytes go on with what began before; the rest is the beginning of a head, or is held.
    Pass(usize),
    /// A request that is refused.
    Refuse(Rejection),
    /// The body is not framed as it said.
    Broken,
}

/// Where a request at the beginning of some bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where its head begins: behind empty lines.
    pub start: usize,
    /// Where its head ends.
    pub head: usize,
    /// Where what there is of its body ends.
    pub end: usize,
    /// It asks to switch protocols, or for a tunnel.
    pub upgrade: bool,
    /// It is the last one of its connection.
    pub closes: bool,
    /// It is to be sent on with fewer blanks.
    pub is_padded: bool,
}

/// Where a head begins and ends, and what it says.
type FoundHead = (usize, usize, Head);

/// Where in the stream of requests a connection is.
#[derive(Debug)]
pub struct Scanner {
    place: Place,
    hold_after_body: bool,
    /// The newest request is the connection's last.
    closes: bool,
    /// Of the incomplete head at the beginning of the bytes: known to hold no end.
    searched: usize,
    limits: Limits,
    requests: u64,
}

impl Scanner {
    /// At the first byte of a connection.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { place: Place::Head, hold_after_body: false, closes: false, searched: 0, limits, requests: 0 }
    }

    /// Heads that passed.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Whether nothing goes on until it is known whether the protocol is switched.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.place == Place::Hold
    }

    /// Whether bytes that did not pass are nothing that anybody may read.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.place == Place::Closed
    }

    /// Whether bytes that did not pass are the beginning of a head.
    #[must_use]
    pub fn is_in_head(&self) -> bool {
        self.place == Place::Head
    }

    /// Whether a body is not complete.
    #[must_use]
    pub fn is_in_body(&self) -> bool {
        matches!(self.place, Place::Length(_) | Place::Chunks(_))
    }

    /// The protocol was switched.
    pub fn become_opaque(&mut self) {
        self.place = Place::Opaque;
    }

    /// The protocol was not switched: HTTP goes on.
    pub fn resume(&mut self) {
        if self.place == Place::Hold {
            self.place = self.next_request();
        }
    }

    /// `bytes`: what did not pass before, and what came since. One request at a time; `request` becomes it. (What it was before
    /// is forgotten: its room is used again.)
    pub fn scan(&mut self, bytes: &[u8], request: &mut Request<()>) -> Outcome {
        match self.place {
            Place::Head => self.request(bytes, request),
            Place::Opaque => Outcome::Pass(bytes.len()),
            Place::Hold | Place::Closed => Outcome::Pass(0),
            Place::Length(_) | Place::Chunks(_) => self.body(bytes).map_or(Outcome::Broken, Outcome::Pass),
        }
    }

    fn request(&mut self, bytes: &[u8], request: &mut Request<()>) -> Outcome {
        let (start, head, parsed) = match self.head(bytes, request) {
            Ok(Some(found)) => found,
            Ok(None) => return Outcome::Pass(0),
            Err(rejection) => return Outcome::Refuse(rejection),
        };
        let rest = bytes.get(head..).unwrap_or_default();
        // What stands in the same bytes is looked at before anything of it goes on.
        let Ok(length) = self.body(rest) else { return Outcome::Refuse(Rejection::Malformed("body-framing")) };
        if self.place == Place::Closed && !is_blank(rest.get(length..).unwrap_or_default()) {
            return Outcome::Refuse(Rejection::Malformed("bytes-after-close"));
        }
        self.requests += 1;
        let Head { upgrade, closes, is_padded, .. } = parsed;
        Outcome::Request(Found { start, head, end: head + length, upgrade, closes, is_padded })
    }

    /// How many of `bytes` belong to the body of the newest request.
    fn body(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let length = match &mut self.place {
            Place::Length(left) => {
                let step = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= u64::try_from(step).unwrap_or(0);
                step
            }
            Place::Chunks(chunks) => chunks.advance(bytes)?,
            Place::Head | Place::Hold | Place::Opaque | Place::Closed => return Ok(0),
        };
        let is_over = match &self.place {
            Place::Length(left) => *left == 0,
            Place::Chunks(chunks) => chunks.is_over(),
            Place::Head | Place::Hold | Place::Opaque | Place::Closed => false,
        };
        if is_over {
            self.place = if self.hold_after_body { Place::Hold } else { self.next_request() };
        }
        Ok(length)
    }

    /// Where the head at the beginning of `bytes` begins and ends, or `None` while its end is missing.
    fn head(&mut self, bytes: &[u8], request: &mut Request<()>) -> Result<Option<FoundHead>, Rejection> {
        let start = empty_lines(bytes)?;
        let text = bytes.get(start..).unwrap_or_default();
        if text.first().is_some_and(|first| !head::is_token(*first) && *first != b'\r') {
            return Err(Rejection::Malformed("not-http"));
        }
        let from = self.searched.saturating_sub(3).max(start);
        let Some(end) = end_of_head(bytes, from) else {
            self.searched = bytes.len();
            self.check_incomplete(bytes, start, from)?;
            return Ok(None);
        };
        self.searched = 0;
        if end - start > self.limits.head_bytes {
            return Err(Rejection::TooLarge(Limit::Head));
        }
        let head = head::parse(bytes.get(start..end).unwrap_or_default(), &self.limits, request)?;
        self.hold_after_body = head.upgrade;
        self.closes = head.closes;
        self.place = match head.framing {
            Framing::Length(length) => Place::Length(length),
            Framing::Chunked => Place::Chunks(Body::new(self.limits.headers)),
        };
        Ok(Some((start, end, head)))
    }

    /// What can be told of a head before its end came.
    /// `start`: behind empty lines; up to `from` it was looked at before.
    fn check_incomplete(&self, bytes: &[u8], start: usize, from: usize) -> Result<(), Rejection> {
        if bytes.len() > self.limits.head_bytes {
            return Err(Rejection::TooLarge(Limit::Head));
        }
        let text = bytes.get(start..).unwrap_or_default();
        if memchr::memchr(b'\n', text).is_none() && text.len() > self.limits.request_line_bytes + 2 {
            return Err(Rejection::TooLarge(Limit::RequestLine));
        }
        // A head that others see the end of would never end for us.
        let mut before = from.checked_sub(1).and_then(|at| bytes.get(at)).copied().unwrap_or(b' ');
        for byte in bytes.get(from..).unwrap_or_default() {
            match (before, *byte) {
                (b'\r', b'\n') => {}
                (b'\r', _) => return Err(Rejection::Malformed("bare-cr")),
                (_, b'\n') => return Err(Rejection::Malformed("bare-lf")),
                _ => {}
            }
            before = *byte;
        }
        Ok(())
    }

    fn next_request(&self) -> Place {
        if self.closes { Place::Closed } else { Place::Head }
    }
}

/// Behind the first empty line from `from` on.
fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    let searched = bytes.get(from..)?;
    let mut ends = memchr::memchr_iter(b'\n', searched).map(|at| at + 1);
    let is_empty = |end: &usize| searched.get(..*end).is_some_and(|head| head.ends_with(b"\r\n\r\n"));
    ends.find(is_empty).map(|end| from + end)
}

/// Empty lines: what some clients send behind a body.
fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
}

fn empty_lines(bytes: &[u8]) -> Result<usize, Rejection> {
    let mut start = 0;
    while bytes.get(start..).unwrap_or_default().starts_with(b"\r\n") {
        start += 2;
        if start > MAX_EMPTY_LINES * 2 {
            return Err(Rejection::Malformed("empty-lines"));
        }
    }
    Ok(start)
}
