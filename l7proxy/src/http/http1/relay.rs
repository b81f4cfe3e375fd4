//! The bytes of one HTTP/1 connection on their way between its client and its upstream.
//!
//! A request's head waits for its verdict; all else goes on as it came, at the pace of the slower side: what one side does not
//! take, the other is not asked for. Owns both sockets, and where in their streams of messages they are. Never asks the rules
//! itself. Start at [`Relay::poll`]; what comes from the client is in `relay/up.rs`, what comes from the upstream in
//! `relay/down.rs`, and the end in `relay/end.rs`.

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use tokio::{
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    Line,
    answer::{Answers, Asked},
    scan::Scanner,
    side::Side,
};
use crate::{
    flow::FlowGuard,
    reject::{ClientFailure, Rejection, UpstreamFailure},
    request::Ticket,
    upstream::Dialer,
};

mod down;
mod end;
mod up;

use end::Ending;

/// Bytes that are read at once, and so the most that wait for a side that does not take them.
const READ: usize = 16 << 10;
/// The same, while the other side takes all that comes.
const READ_MORE: usize = 64 << 10;
/// Bytes of requests that may wait for the answer to the one before them.
const AHEAD: usize = 4 << 10;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As one that has nothing more to say.
    Orderly,
    /// What is missing must not look as if it were all.
    Reset,
}

type Dialling = Pin<Box<dyn Future<Output = io::Result<TcpStream>>>>;

enum Upstream {
    /// No request was allowed yet.
    NotDialled(Dialer),
    /// With what is to be sent.
    Dialling(Dialling, Vec<u8>),
    Open(Side),
    /// It is over; the client's connection ends with it.
    Over,
}

/// A request whose answer, or whose own body, is not over.
struct Turn {
    /// Until the answer's head is there.
    flow: Option<FlowGuard>,
    is_grpc: bool,
    asked: Asked,
    /// The connection ends with it.
    closes: bool,
    /// The answer is over.
    is_answered: bool,
    _ticket: Option<Ticket>,
}

pub(super) struct Relay {
    line: Rc<Line>,
    client: Side,
    upstream: Upstream,
    requests: Scanner,
    answers: Answers,
    turn: Option<Turn>,
    /// What the client sent and was not passed is not enough for a head.
    is_incomplete: bool,
    /// Of a denied request's body, what may still be read.
    discarding: Option<usize>,
    /// Whose turn it is.
    task: Waker,
    /// Runs while a head is incomplete.
    deadline: Option<Pin<Box<Sleep>>>,
    ending: Option<Ending>,
    end: Option<End>,
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("client", &self.client).field("requests", &self.requests).finish_non_exhaustive()
    }
}

impl Relay {
    /// `taken` was taken out of the client's socket before, since `since`.
    pub(super) fn new(line: Rc<Line>, client: TcpStream, dialer: Dialer, taken: Vec<u8>, since: Instant) -> Self {
        let limits = line.worker.limits;
        let deadline = (!taken.is_empty()).then(|| Box::pin(sleep_until(since + limits.header_timeout)));
        let mut client = Side::new(client);
        client.unread = taken;
        Self {
            line,
            client,
            upstream: Upstream::NotDialled(dialer),
            requests: Scanner::new(limits),
            answers: Answers::new(),
            turn: None,
            is_incomplete: false,
            discarding: None,
            task: Waker::noop().clone(),
            deadline,
            ending: None,
            end: None,
        }
    }

    /// Ready when both sides are over, with how they shall end: they do when this is dropped.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if !self.task.will_wake(cx.waker()) {
            self.task.clone_from(cx.waker());
            self.client.forget_task();
            if let Upstream::Open(side) = &mut self.upstream {
                side.forget_task();
            }
        }
        let mut scratch = self.line.worker.scratch.take();
        let polled = self.poll_with(cx, &mut scratch);
        self.line.worker.scratch.give_back(scratch);
        if let Poll::Ready(end) = polled {
            self.end = Some(end);
        }
        polled
    }

    fn poll_with(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<End> {
        loop {
            if self.ending.is_some() {
                return self.poll_ending(cx, scratch);
            }
            match self.go_on(cx, scratch) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(end) => return Poll::Ready(end),
            }
        }
    }

    /// Says whether something happened that something else may have waited for.
    fn go_on(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Result<bool, End> {
        if let Poll::Ready(Err(error)) = self.client.flush(cx) {
            return Err(self.client_left(&error));
        }
        self.poll_upstream(cx)?;
        let up = self.up(cx, scratch)?;
        let is_open = matches!(self.upstream, Upstream::Open(_));
        let moved = self.down(cx, scratch)?;
        self.follow_client(cx);
        self.look_for_end();
        // What the client sent may be the first that is to be dialled for; else only the way down came too late for it.
        let again = (up.moved && !is_open) || (moved && !up.waits);
        Ok(again || self.poll_deadline(cx) || self.ending.is_some())
    }

    /// Connects, and sends what waits.
    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        if let Upstream::Dialling(dialling, waiting) = &mut self.upstream {
            match dialling.as_mut().poll(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(stream)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "nodelay");
                    }
                    let waiting = std::mem::take(waiting);
                    self.upstream = Upstream::Open(Side::new(stream));
                    self.send_up(cx, &waiting);
                }
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "connect");
                    return Err(self.upstream_failed(UpstreamFailure::Connect));
                }
            }
        }
        if let Upstream::Open(side) = &mut self.upstream
            && let Poll::Ready(Err(error)) = side.flush(cx)
        {
            // It may have answered before it closed: what it says decides.
            tracing::debug!(%error, "upstream");
            side.forget_unsent();
        }
        Ok(())
    }

    fn send_up(&mut self, cx: &mut Context<'_>, bytes: &[u8]) {
        match &mut self.upstream {
            Upstream::Dialling(_, waiting) => waiting.extend_from_slice(bytes),
            Upstream::Open(side) => {
                if let Err(error) = side.send(cx, bytes) {
                    tracing::debug!(%error, "upstream");
                    side.forget_unsent();
                }
            }
            Upstream::NotDialled(_) | Upstream::Over => {}
        }
    }

    /// Whether the upstream takes more.
    fn upstream_takes(&self) -> bool {
        match &self.upstream {
            Upstream::Dialling(_, waiting) => waiting.is_empty(),
            Upstream::Open(side) => side.is_flushed(),
            Upstream::NotDialled(_) | Upstream::Over => true,
        }
    }

    /// A client that stops sending is followed when its last request is at the upstream: who serves it may want to give up.
    fn follow_client(&mut self, cx: &mut Context<'_>) {
        let waits = self.turn.as_ref().is_some_and(|turn| !turn.is_answered);
        let is_last = (self.client.unread.is_empty() || self.is_incomplete) && !self.requests.is_in_body();
        if self.client.ended
            && (waits || self.line.is_tunnel())
            && is_last
            && let Upstream::Open(side) = &mut self.upstream
            && side.is_flushed()
            && let Err(error) = side.finish(cx)
        {
            tracing::debug!(%error, "upstream");
        }
    }

    /// Whether an incomplete head took too long.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> bool {
        if self.turn.is_some() || self.client.unread.is_empty() || self.ending.is_some() || !self.requests.is_in_head()
        {
            self.deadline = None;
            return false;
        }
        let until = self.line.worker.limits.header_timeout;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + until)));
        if deadline.as_mut().poll(cx).is_pending() {
            return false;
        }
        let waiting = std::mem::take(&mut self.client.unread);
        self.refuse(cx, Rejection::TooSlow, &waiting);
        true
    }

    /// The upstream did not answer, or not with an answer.
    fn upstream_failed(&mut self, failure: UpstreamFailure) -> End {
        let gave_up = self.client.ended && failure == UpstreamFailure::Closed;
        self.fail(&if gave_up { Rejection::Client(ClientFailure::Left) } else { Rejection::Upstream(failure) })
    }

    /// The client is gone before everything was said.
    fn client_left(&mut self, error: &io::Error) -> End {
        tracing::debug!(%error, "client");
        self.fail(&Rejection::Client(ClientFailure::Left))
    }

    /// Records how the request that is under way ended, if it is not known yet. Both sides end with a reset.
    fn fail(&mut self, rejection: &Rejection) -> End {
        if let Some(turn) = &mut self.turn
            && let Some(flow) = turn.flow.take()
        {
            // A failure has no answer.
            drop(self.line.exchange.refuse(rejection, turn.is_grpc, flow));
        }
        End::Reset
    }
}
