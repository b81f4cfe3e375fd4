//! Requests that are under way, so that a change of policy can end those that it does not allow.
//!
//! Owns what is kept of a request to judge it again: little, for it is kept of each one. Never ends anything itself: whoever
//! serves a request asks its [`Ticket`]. Start at [`UnderWay::begin`].

use std::{cell::RefCell, rc::Rc};

use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header};

use crate::flow::Trace;

/// What is kept of a request.
#[derive(Debug)]
pub(super) struct Kept {
    method: Method,
    uri: Uri,
    version: Version,
    /// All of them where rules ask for headers; else what names the host.
    headers: Headers,
}

#[derive(Debug)]
enum Headers {
    Host(Option<HeaderValue>),
    All(HeaderMap),
}

impl Kept {
    /// `all`: rules ask for its headers.
    pub(super) fn of<B>(request: &Request<B>, all: bool) -> Self {
        let headers = request.headers();
        let headers =
            if all { Headers::All(headers.clone()) } else { Headers::Host(headers.get(header::HOST).cloned()) };
        Self { method: request.method().clone(), uri: request.uri().clone(), version: request.version(), headers }
    }

    pub(super) fn is_connect(&self) -> bool {
        self.method == Method::CONNECT
    }

    /// As it was, without what was not kept.
    pub(super) fn request(&self) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = self.version;
        match &self.headers {
            Headers::Host(host) => {
                request.headers_mut().extend(host.iter().map(|host| (header::HOST, host.clone())));
            }
            Headers::All(headers) => request.headers_mut().clone_from(headers),
        }
        request
    }
}

/// One request that is under way.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) kept: Kept,
    pub(super) trace: Trace,
}

#[derive(Debug, Default)]
struct Slot {
    /// Its ticket lives.
    is_taken: bool,
    /// None: the request was revoked, or the place is free.
    begun: Option<Begun>,
}

type Slots = Vec<Slot>;

/// The requests of one connection that are under way.
#[derive(Debug, Default)]
pub(super) struct UnderWay(Rc<RefCell<Slots>>);

/// While it lives, its request is under way.
#[derive(Debug)]
pub struct Ticket {
    slots: Rc<RefCell<Slots>>,
    slot: usize,
}

impl Ticket {
    /// Whether policy does not allow the request any more.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.slots.borrow().get(self.slot).is_some_and(|slot| slot.begun.is_none())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(slot) = self.slots.borrow_mut().get_mut(self.slot) {
            *slot = Slot::default();
        }
    }
}

impl UnderWay {
    pub(super) fn begin(&self, begun: Begun) -> Ticket {
        let mut slots = self.0.borrow_mut();
        // There are no more than streams may be open.
        let free = slots.iter().position(|slot| !slot.is_taken);
        let slot = free.unwrap_or(slots.len());
        let begun = Slot { is_taken: true, begun: Some(begun) };
        match slots.get_mut(slot) {
            Some(place) => *place = begun,
            None => slots.push(begun),
        }
        Ticket { slots: Rc::clone(&self.0), slot }
    }

    /// Revokes those that `judge` says so of, and gives their number. (Each is judged once more only if it stays.)
    pub(super) fn end(&self, judge: impl Fn(&Begun) -> bool) -> usize {
        let mut ended = 0;
        for slot in self.0.borrow_mut().iter_mut() {
            if slot.begun.take_if(|begun| judge(begun)).is_some() {
                ended += 1;
            }
        }
        ended
    }
}
