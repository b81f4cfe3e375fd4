//! One body type per leg. Bytes are handed on as they come; the slower side sets the pace.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use super::Control;

/// What goes to the upstream.
#[derive(Debug)]
pub struct RequestBody {
    body: Incoming,
    /// The client waits for leave (`Expect: 100-continue`): nothing is asked of it before the upstream gave it.
    gate: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    control: Control,
}

impl RequestBody {
    /// At once.
    #[must_use]
    pub fn new(body: Incoming, control: &Control) -> Self {
        control.going();
        if body.is_end_stream() {
            control.sent();
        }
        Self { body, gate: None, control: control.clone() }
    }

    /// When `leave` was given.
    #[must_use]
    pub fn after(body: Incoming, control: &Control, leave: CancellationToken) -> Self {
        control.going();
        Self { body, gate: Some(Box::pin(leave.cancelled_owned())), control: control.clone() }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.control.let_go();
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(gate) = &mut self.gate {
            ready!(gate.as_mut().poll(cx));
            self.gate = None;
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Err(_)) => self.control.client_left(),
            Some(Ok(frame)) if frame.is_trailers() || self.body.is_end_stream() => self.control.sent(),
            None => self.control.sent(),
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What goes to the client. Dropping it says that the answer is over.
#[derive(Debug)]
pub struct ResponseBody {
    source: Source,
    over: Over,
    /// The head names a length, and there is no body (204, 304). The library takes such a length away when it knows.
    conceals_end: bool,
}

/// Where an answer's bytes come from.
#[derive(Debug)]
pub enum Source {
    /// The upstream's, as it comes. With the leave that a waiting client has, at the latest, when the answer is on its
    /// way.
    Upstream(Incoming, Option<DropGuard>),
    /// Our own.
    Text(&'static str),
}

impl ResponseBody {
    /// `over` is told when the answer is.
    #[must_use]
    pub fn new(source: Source, control: &Control) -> Self {
        let over = Over(control.clone());
        if let Source::Upstream(body, _) = &source {
            over.0.set_answering(!body.is_end_stream());
        }
        Self { source, over, conceals_end: false }
    }

    /// `names_length`: the head has a Content-Length, which stays there whatever the body is.
    #[must_use]
    pub fn under(self, names_length: bool) -> Self {
        let conceals_end = names_length && self.is_end_stream();
        Self { conceals_end, ..self }
    }
}

/// Tells the guard on drop.
#[derive(Debug)]
struct Over(Control);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.answered();
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        match &mut this.source {
            Source::Upstream(body, leave) => {
                drop(leave.take());
                let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
                let is_last = match &frame {
                    Some(Ok(frame)) => frame.is_trailers() || body.is_end_stream(),
                    Some(Err(_)) => false,
                    None => true,
                };
                if is_last {
                    this.over.0.set_answering(false);
                }
                Poll::Ready(frame)
            }
            Source::Text("") => Poll::Ready(None),
            Source::Text(text) => {
                let bytes = Bytes::from_static(std::mem::take(text).as_bytes());
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Upstream(..) if self.conceals_end => false,
            Source::Upstream(body, _) => body.is_end_stream(),
            Source::Text(text) => text.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Upstream(..) if self.conceals_end => SizeHint::default(),
            Source::Upstream(body, _) => body.size_hint(),
            Source::Text(text) => SizeHint::with_exact(u64::try_from(text.len()).unwrap_or(u64::MAX)),
        }
    }
}
