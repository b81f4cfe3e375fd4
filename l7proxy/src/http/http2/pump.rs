//! One body on its way from one connection to the other, with its trailers. The slower side sets the pace: what is not passed
//! on is not asked for.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};

/// Why a body ended before its end.
#[derive(Debug)]
pub(super) enum Broken {
    /// Where it comes from failed.
    Source(h2::Error),
    /// Where it goes to was reset with this code, or its connection is over.
    Sink(Option<Reason>),
}

/// A body that is passed on.
#[derive(Debug)]
pub(super) struct Pump {
    from: RecvStream,
    to: SendStream<Bytes>,
    /// Taken from `from`, not sent yet.
    waiting: Bytes,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Data,
    /// What waits is the last of it.
    Last,
    Trailers,
    Done,
}

impl Pump {
    /// `ended`: there is nothing to pass on.
    pub(super) fn new(from: RecvStream, to: SendStream<Bytes>, ended: bool) -> Self {
        let state = if ended { State::Done } else { State::Data };
        Self { from, to, waiting: Bytes::new(), state }
    }

    /// Whether nothing more is sent.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes back what was sent, as far as it can be.
    pub(super) fn reset(&mut self, reason: Reason) {
        self.state = State::Done;
        self.to.send_reset(reason);
    }

    /// Nothing more is sent.
    pub(super) fn stop(&mut self) {
        self.state = State::Done;
    }

    /// Ready when everything was sent.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        while self.state != State::Done {
            if let Poll::Ready(reset) = self.to.poll_reset(cx) {
                return Poll::Ready(Err(Broken::Sink(reset.ok())));
            }
            if !self.waiting.is_empty() {
                ready!(self.poll_send(cx))?;
            } else if self.state == State::Trailers {
                let trailers = ready!(self.from.poll_trailers(cx)).map_err(Broken::Source)?;
                self.state = State::Done;
                let sent = match trailers {
                    Some(trailers) => self.to.send_trailers(trailers),
                    None => self.to.send_data(Bytes::new(), true),
                };
                sent.map_err(|error| sink(&error))?;
            } else {
                match ready!(self.from.poll_data(cx)) {
                    Some(data) => self.take(data.map_err(Broken::Source)?)?,
                    None => self.state = State::Trailers,
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn take(&mut self, data: Bytes) -> Result<(), Broken> {
        let is_last = self.from.is_end_stream();
        if !data.is_empty() {
            self.to.reserve_capacity(data.len());
            self.waiting = data;
            self.state = if is_last { State::Last } else { State::Data };
        } else if is_last {
            self.state = State::Done;
            self.to.send_data(data, true).map_err(|error| sink(&error))?;
        }
        Ok(())
    }

    /// Sends as much of what waits as the other side takes.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        while self.to.capacity() == 0 {
            match ready!(self.to.poll_capacity(cx)) {
                Some(capacity) => capacity.map_err(|error| sink(&error))?,
                None => return Poll::Ready(Err(Broken::Sink(None))),
            };
        }
        let length = self.to.capacity().min(self.waiting.len());
        let part = self.waiting.split_to(length);
        let is_end = self.state == State::Last && self.waiting.is_empty();
        self.to.send_data(part, is_end).map_err(|error| sink(&error))?;
        if is_end {
            self.state = State::Done;
        }
        // Fails only when more is given back than was taken.
        let released = self.from.flow_control().release_capacity(length);
        Poll::Ready(released.map_err(Broken::Source))
    }
}

fn sink(error: &h2::Error) -> Broken {
    Broken::Sink(error.reason())
}
