//! Follows the requests of one connection through its bytes.

use super::{
    chunk::Body,
    head::{self, Framing},
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

/// What a scan of bytes came to.
#[derive(Debug)]
pub enum Outcome {
    /// This many bytes may go on; the rest is the beginning of a head, or is held.
    Pass(usize),
    /// This many bytes may go on; then comes a request that is refused, number `index` (from 0) of the connection.
    Refuse(usize, Rejection),
    /// The body is not framed as it said.
    Broken,
}

/// Where in the stream of requests a connection is.
#[derive(Debug)]
pub struct Scanner {
    place: Place,
    hold_after_body: bool,
    /// The newest request is the connection's last.
    closes: bool,
    /// Of the newest request's body, something came.
    body_began: bool,
    /// Of the incomplete head at the beginning of the bytes: known to hold no end.
    searched: usize,
    limits: Limits,
    requests: u64,
}

impl Scanner {
    /// At the first byte of a connection.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            place: Place::Head,
            hold_after_body: false,
            closes: false,
            body_began: false,
            searched: 0,
            limits,
            requests: 0,
        }
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

    /// Whether the newest request has a body of which nothing came yet.
    #[must_use]
    pub fn awaits_body(&self) -> bool {
        self.is_in_body() && !self.body_began
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

    /// `bytes`: what did not pass before, and what came since.
    pub fn scan(&mut self, bytes: &[u8]) -> Outcome {
        let mut at = 0;
        // Where the newest request begins, if nothing of it passed yet.
        let mut whole = None;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            match self.place {
                Place::Opaque => return Outcome::Pass(bytes.len()),
                Place::Hold => return Outcome::Pass(at),
                Place::Closed => {
                    return match whole.filter(|_| !is_blank(rest)) {
                        Some(start) => self.refuse(start, "bytes-after-close"),
                        None => Outcome::Pass(at),
                    };
                }
                _ if rest.is_empty() => return Outcome::Pass(at),
                Place::Length(left) => {
                    self.body_began = true;
                    let step = left.min(u64::try_from(rest.len()).unwrap_or(u64::MAX));
                    at += usize::try_from(step).unwrap_or(0);
                    self.place = Place::Length(left - step);
                    if step == left {
                        self.body_ended();
                    }
                }
                Place::Chunks(mut chunks) => match chunks.advance(rest) {
                    Ok(step) => {
                        self.body_began = true;
                        at += step;
                        self.place = Place::Chunks(chunks);
                        if chunks.is_over() {
                            self.body_ended();
                        }
                    }
                    Err(_) => return whole.map_or(Outcome::Broken, |start| self.refuse(start, "body-framing")),
                },
                Place::Head => match self.head(rest) {
                    Ok(Some(length)) => {
                        whole = Some(at);
                        at += length;
                    }
                    Ok(None) => return Outcome::Pass(at),
                    Err(rejection) => return Outcome::Refuse(at, rejection),
                },
            }
        }
    }

    /// Refuses the newest request, of which nothing passed.
    fn refuse(&mut self, start: usize, why: &'static str) -> Outcome {
        self.requests -= 1;
        Outcome::Refuse(start, Rejection::Malformed(why))
    }

    /// The length of the head at the beginning of `bytes`, or `None` while its end is missing.
    fn head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Rejection> {
        let start = empty_lines(bytes)?;
        let text = bytes.get(start..).unwrap_or_default();
        if text.first().is_some_and(|first| !head::is_token(*first) && *first != b'\r') {
            return Err(Rejection::Malformed("not-http"));
        }
        let from = self.searched.saturating_sub(3).max(start);
        let found = memchr::memmem::find(bytes.get(from..).unwrap_or_default(), b"\r\n\r\n");
        let Some(found) = found else {
            self.searched = bytes.len();
            return self.check_incomplete(bytes, start, from);
        };
        let end = from + found + 4;
        self.searched = 0;
        if end - start > self.limits.head_bytes {
            return Err(Rejection::TooLarge(Limit::Head));
        }
        let head = head::parse(bytes.get(start..end).unwrap_or_default(), &self.limits)?;
        self.requests += 1;
        self.hold_after_body = head.upgrade;
        self.closes = head.closes;
        self.body_began = false;
        match head.framing {
            Framing::Length(0) => self.body_ended(),
            Framing::Length(length) => self.place = Place::Length(length),
            Framing::Chunked => self.place = Place::Chunks(Body::new(self.limits.headers)),
        }
        Ok(Some(end))
    }

    /// What can be told of a head before its end came.
    /// `start`: behind empty lines; up to `from` it was looked at before.
    fn check_incomplete(&self, bytes: &[u8], start: usize, from: usize) -> Result<Option<usize>, Rejection> {
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
        Ok(None)
    }

    fn body_ended(&mut self) {
        self.place = if self.hold_after_body { Place::Hold } else { self.next_request() };
        self.hold_after_body = false;
    }

    fn next_request(&self) -> Place {
        if self.closes { Place::Closed } else { Place::Head }
    }
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
