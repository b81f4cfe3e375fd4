//! The relay of one connection: frames of the client become frames of the upstream and the other way round, on the same
//! streams, and nobody but the two of them sets the pace.
//!
//! Owns which stream is where, and what each side may still send. Must never forward a request that was not judged, and never
//! hold more for one side than [`Leg::may_go_on`] says. Windows are the two sides' own: what is given by one is told to the
//! other, and what is not passed on is given back by us. Start at [`Relay::poll`].

use std::{
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use tokio::{
    net::TcpStream,
    time::{Sleep, sleep},
};

use super::{
    Line,
    floods::Floods,
    frames::{self, Code},
    hpack::Shared,
    leg::{Fault, Leg, Spare},
    pace::Pace,
    settings::{self, Settings, WINDOW},
    streams::{Stream, Streams},
};
use crate::{
    http::Worker,
    reject::{ClientFailure, Rejection, UpstreamFailure},
    request::Ticket,
    upstream::Dialer,
};

mod answers;
mod control;
mod ends;
mod requests;
mod upstream;

/// Bytes that a connection's streams may wait with, until the upstream takes them.
const HELD: usize = 64 << 10;
/// More streams than there are.
const ALL: u32 = 0x7fff_ffff;

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// The client is gone.
    Client,
    /// It broke the protocol, or is over a limit.
    Shed(Rejection, Code),
    /// The upstream's connection failed as a whole.
    Upstream(UpstreamFailure),
    /// Nothing is left to do.
    Over,
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Protocol(code) => Self::Shed(Rejection::Malformed(word(code)), code),
            Fault::Flood(limit) => Self::Shed(Rejection::TooLarge(limit), Code::ENHANCE_YOUR_CALM),
        }
    }
}

/// For records.
fn word(code: Code) -> &'static str {
    match code {
        Code::COMPRESSION_ERROR => "http2-compression",
        Code::FLOW_CONTROL_ERROR => "http2-flow-control",
        Code::FRAME_SIZE_ERROR => "http2-frame-size",
        Code::STREAM_CLOSED => "http2-stream-closed",
        _ => "http2-protocol",
    }
}

type Dialling = Pin<Box<dyn Future<Output = io::Result<TcpStream>>>>;

/// Runs while a block of fields is incomplete.
struct Deadline {
    block: u64,
    sleep: Pin<Box<Sleep>>,
}

/// How far goodbye is said.
#[derive(Clone, Copy, Debug, Default)]
struct Goodbye {
    /// The client was told to open no more streams.
    is_said: bool,
    /// Those up to this one are served.
    last: Option<u32>,
    /// The upstream serves those up to this one.
    upstream: Option<u32>,
    /// It said that something is wrong.
    is_failure: bool,
}

/// A connection of a client and one of its own to the upstream.
pub(super) struct Relay {
    line: Rc<Line>,
    worker: Rc<Worker>,
    dialer: Rc<Dialer>,
    client: Leg,
    upstream: Option<Box<Leg>>,
    dialling: Option<Dialling>,
    streams: Streams,
    /// Of the block that is looked at.
    fields: Vec<Shared>,
    from_client: Floods,
    from_upstream: Floods,
    pace: Pace,
    /// What the client wants.
    wanted: Settings,
    /// What it was told of what is wanted of it.
    told: Settings,
    /// What the upstream wants.
    offered: Settings,
    /// Bytes of bodies that the client takes, of all streams together.
    window: i64,
    /// What the upstream takes that to be too much, because answers of our own used it up.
    debt: i64,
    /// Bytes of bodies that were passed on to an upstream that is not there yet.
    unsettled: u32,
    /// Bytes that streams wait with.
    held: usize,
    /// Streams whose head waits.
    waiting: usize,
    /// Streams with a text of ours that the client has no window for.
    texts: usize,
    goodbye: Goodbye,
    deadline: Option<Deadline>,
}

impl Relay {
    /// What comes next of the client is behind its preface.
    pub(super) fn new(line: Rc<Line>, worker: Rc<Worker>, dialer: Dialer, stream: TcpStream) -> Self {
        let mut client = Leg::new(Some(stream));
        let told = Settings::ours(&worker.limits);
        settings::write_ours(&told, client.out.buffer());
        Self {
            line,
            dialer: Rc::new(dialer),
            client,
            upstream: None,
            dialling: None,
            streams: Streams::default(),
            fields: Vec::new(),
            from_client: Floods::new(&worker.limits),
            from_upstream: Floods::new(&worker.limits),
            pace: Pace::new(),
            wanted: Settings::default(),
            told,
            offered: Settings::default(),
            window: WINDOW.into(),
            debt: 0,
            unsettled: 0,
            held: 0,
            waiting: 0,
            texts: 0,
            goodbye: Goodbye::default(),
            deadline: None,
            worker,
        }
    }

    /// Ready when the connection is to end.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.line.follow(cx);
        let mut input = self.worker.scratch.take();
        let mut spare = self.worker.scratch.http2.take();
        std::mem::swap(&mut self.fields, &mut spare.fields);
        self.client.begin_turn(&mut spare);
        let end = loop {
            match self.turn(cx, &mut input, &mut spare) {
                Ok(true) => {}
                Ok(false) => break self.poll_deadline(cx),
                Err(end) => break Poll::Ready(end),
            }
        };
        self.client.end_turn(&mut spare);
        if let Some(upstream) = &mut self.upstream {
            upstream.end_turn(&mut spare);
        }
        self.fields.clear();
        std::mem::swap(&mut self.fields, &mut spare.fields);
        self.worker.scratch.http2.set(spare);
        self.worker.scratch.give_back(input);
        end
    }

    /// Says whether there may be more to do.
    fn turn(&mut self, cx: &mut Context<'_>, input: &mut [u8], spare: &mut Spare) -> Result<bool, End> {
        if self.line.has_changed() {
            self.revoke();
        }
        self.poll_dial(cx);
        if let Some(upstream) = &mut self.upstream {
            upstream.begin_turn(spare);
            if let Poll::Ready(Err(error)) = upstream.poll_flush(cx) {
                // It may have answered before it stopped to listen.
                tracing::debug!(%error, "upstream");
                upstream.is_deaf = true;
            }
        }
        if let Poll::Ready(Err(error)) = self.client.poll_flush(cx) {
            tracing::debug!(%error, "client");
            return Err(End::Client);
        }
        if self.is_done() {
            return Err(End::Over);
        }
        let from_client = self.poll_client(cx, input)?;
        let from_upstream = self.poll_upstream(cx, input)?;
        Ok(from_client || from_upstream)
    }

    /// Whether goodbye was said and nobody waits for anything.
    fn is_done(&self) -> bool {
        let is_last = self.goodbye.last.is_some() || self.goodbye.upstream.is_some_and(|last| last < ALL);
        is_last && self.streams.len() == 0
    }

    fn poll_client(&mut self, cx: &mut Context<'_>, input: &mut [u8]) -> Result<bool, End> {
        if !self.client.may_go_on(self.upstream.as_deref()) || self.pace.poll(cx).is_pending() {
            return Ok(false);
        }
        let place = match self.client.poll_read(cx, input) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "client");
                return Err(End::Client);
            }
            Poll::Ready(Ok(place)) => place,
        };
        let mut bytes = input.get(place).unwrap_or_default();
        let mut is_stalled;
        let done = loop {
            is_stalled = !self.client.may_say(self.upstream.as_deref()) || self.pace.pauses();
            if is_stalled {
                break Ok(());
            }
            match self.client.frames.next(&mut bytes, usize::MAX) {
                Ok(Some(piece)) => match self.client_sent(piece) {
                    Ok(()) => {}
                    Err(fault) => break Err(fault),
                },
                Ok(None) => break Ok(()),
                Err(code) => break Err(code.into()),
            }
        };
        self.client.keep(bytes, is_stalled);
        done?;
        if self.client.is_over { Err(End::Client) } else { Ok(true) }
    }

    /// Ready when a block of fields took too long.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let Some(block) = self.client.open_block() else {
            self.deadline = None;
            return Poll::Pending;
        };
        let timeout = self.worker.limits.header_timeout;
        let begin = || Deadline { block, sleep: Box::pin(sleep(timeout)) };
        let mut deadline = self.deadline.take().filter(|known| known.block == block).unwrap_or_else(begin);
        let elapsed = deadline.sleep.as_mut().poll(cx);
        self.deadline = Some(deadline);
        elapsed.map(|()| End::Shed(Rejection::TooSlow, Code::ENHANCE_YOUR_CALM))
    }

    /// Tells the client that what is new goes to another connection.
    pub(super) fn go_away(&mut self) {
        if !std::mem::replace(&mut self.goodbye.is_said, true) {
            frames::write_goaway(ALL, Code::NO_ERROR, &[], self.client.out.buffer());
        }
        // When it answers, it has heard it: what it sent before is served.
        frames::write(frames::PING, 0, 0, &control::FAREWELL, self.client.out.buffer());
    }

    /// Policy changed: ends what is not allowed any more.
    fn revoke(&mut self) {
        for id in self.streams.ids(|stream| stream.ticket.as_ref().is_some_and(Ticket::is_revoked)) {
            self.end_stream(id, Code::CANCEL, &Rejection::Ended);
        }
    }

    /// Ends a stream on both sides, whoever made it necessary.
    fn end_stream(&mut self, id: u32, code: Code, rejection: &Rejection) {
        let Some(mut stream) = self.close(id, true) else { return };
        self.client.reset(id, code);
        if let (true, Some(upstream)) = (stream.is_forwarded, &mut self.upstream) {
            upstream.reset(id, code);
        }
        self.line.record(&mut stream, rejection);
    }

    /// Takes a stream out; `by_us`: its client may still send something.
    fn close(&mut self, id: u32, by_us: bool) -> Option<Stream> {
        let mut stream = self.streams.close(id, by_us)?;
        self.waiting -= usize::from(stream.waits());
        self.texts -= usize::from(!stream.text.is_empty());
        if let Some(held) = stream.held.take() {
            self.drop_held(&held.body);
        }
        Some(stream)
    }

    /// What was held goes nowhere.
    fn drop_held(&mut self, body: &[u8]) {
        self.held -= body.len();
        self.give_back(body.len());
    }

    /// Lets the client send so much more: it was not passed on.
    fn give_back(&mut self, bytes: usize) {
        self.client.give_window(0, u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// A request is over when both sides are.
    fn close_if_over(&mut self, id: u32) {
        if self.streams.get(id).is_some_and(|stream| !stream.is_asking && !stream.is_answering) {
            self.close(id, false);
        }
    }

    /// The client breaks one stream.
    fn break_stream(&mut self, id: u32, code: Code) -> Result<(), Fault> {
        self.end_stream(id, code, &Rejection::Client(ClientFailure::Framing));
        Ok(self.from_client.broken()?)
    }
}
