//! Requests that are under way, so that a change of policy can end those that it does not allow.
//!
//! Owns what is kept of a request to judge it again: little, for it is kept of each one. Never ends anything itself: whoever
//! serves a request asks its [`Revoked`]. Start at [`UnderWay::begin`].

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header};

use crate::flow::Trace;

/// Told to whoever serves something that policy does not allow any more.
#[derive(Debug, Default)]
pub struct Revoked {
    is_set: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Revoked {
    fn set(&self) {
        self.is_set.set(true);
        self.wake();
    }

    /// Whoever waits for it looks at what else there is.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Whether it was told.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.is_set.get()
    }

    /// Ready when it was told.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_set.get() {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        if waker.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// What `work` came to; or nothing, when this was told first. `work` is dropped then.
    pub async fn or<F: Future>(&self, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        poll_fn(|cx| if self.poll(cx).is_ready() { Poll::Ready(None) } else { work.as_mut().poll(cx).map(Some) }).await
    }
}

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
    pub(super) revoked: Rc<Revoked>,
}

type Slots = Vec<Option<Begun>>;

/// The requests of one connection that are under way.
#[derive(Debug, Default)]
pub(super) struct UnderWay(Rc<RefCell<Slots>>);

/// While it lives, its request is under way.
#[derive(Debug)]
pub struct Ticket {
    slots: Rc<RefCell<Slots>>,
    slot: usize,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(slot) = self.slots.borrow_mut().get_mut(self.slot) {
            *slot = None;
        }
    }
}

impl UnderWay {
    pub(super) fn begin(&self, begun: Begun) -> Ticket {
        let mut slots = self.0.borrow_mut();
        // There are no more than streams may be open.
        let free = slots.iter().position(Option::is_none);
        let slot = free.unwrap_or(slots.len());
        match slots.get_mut(slot) {
            Some(place) => *place = Some(begun),
            None => slots.push(Some(begun)),
        }
        Ticket { slots: Rc::clone(&self.0), slot }
    }

    /// Ends those that `judge` says so of, and gives their number. (Each is judged once more only if it stays.)
    pub(super) fn end(&self, judge: impl Fn(&Begun) -> bool) -> usize {
        let mut ended = 0;
        for slot in self.0.borrow_mut().iter_mut() {
            if let Some(begun) = slot.take_if(|begun| judge(begun)) {
                begun.revoked.set();
                ended += 1;
            }
        }
        ended
    }
}
