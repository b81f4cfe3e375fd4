//! The way to the upstream: dialled at the first request that may be sent, and never twice for the same one.
//!
//! Owns the order of requests on it: numbers of streams only grow, so what may not be sent yet holds back what came later.
//! Start at [`Relay::forward`].

use std::{
    rc::Rc,
    task::{Context, Poll},
};

use rules::Permit;

use super::{End, Relay};
use crate::{
    http::http2::{
        frames::{Code, Piece},
        hpack::Shared,
        leg::{Fault, Leg},
        settings,
        streams::{Held, Stream, Waiting},
    },
    http::serve::PREFACE,
    reject::{Rejection, UpstreamFailure},
};

impl Relay {
    /// A request that is allowed goes to the upstream, or waits for it. Its head is in `fields`.
    pub(super) fn forward(&mut self, mut stream: Stream, permit: Permit, is_extended: bool) {
        let id = stream.id;
        if self.goodbye.upstream.is_some_and(|last| id > last) {
            self.client.reset(id, Code::REFUSED_STREAM);
            self.streams.forget(id, true);
            return self.line.record(&mut stream, &Rejection::Upstream(UpstreamFailure::Refused));
        }
        self.dial();
        if self.waiting > 0 || !self.may_open(is_extended) {
            let head = Some(Waiting { fields: self.fields.drain(..).collect(), permit, is_extended });
            stream.held = Some(Box::new(Held { head, ..Held::default() }));
            self.waiting += 1;
            self.streams.open(stream);
            return self.release();
        }
        if stream.is_connect {
            stream.held = Some(Box::default());
        }
        let ends = !stream.is_asking;
        self.streams.open(stream);
        let fields = std::mem::take(&mut self.fields);
        self.open(id, ends, &fields, permit);
        self.fields = fields;
    }

    /// Whether the upstream takes another request now. Before it said how many it takes at once, one is sent: a client that
    /// waited for that word may believe that ours was the upstream's.
    fn may_open(&self, is_extended: bool) -> bool {
        let forwarded = self.streams.forwarded();
        match &self.upstream {
            Some(upstream) if upstream.is_greeted => {
                forwarded < usize::try_from(self.offered.streams).unwrap_or(usize::MAX)
                    && (!is_extended || self.offered.connect)
            }
            _ => forwarded == 0 && !is_extended,
        }
    }

    /// Sends a head: nobody comes here without leave.
    fn open(&mut self, id: u32, ends: bool, fields: &[Shared], _permit: Permit) {
        let Some(upstream) = &mut self.upstream else { return };
        upstream.write_fields(id, ends, fields);
        if let Some(stream) = self.streams.get(id) {
            stream.is_forwarded = true;
            if ends {
                // Nothing follows that could wait for a tunnel.
                stream.held = None;
            }
            upstream.give_window(id, std::mem::take(&mut stream.untold));
        }
    }

    /// Sends what waits, as far as the upstream takes it.
    pub(super) fn release(&mut self) {
        while let Some(id) = self.streams.first_waiting() {
            let Some(stream) = self.streams.get(id) else { return };
            let is_connect = stream.is_connect;
            let Some(held) = &mut stream.held else { return };
            let Some(is_extended) = held.head.as_ref().map(|head| head.is_extended) else { return };
            let is_greeted = self.upstream.as_ref().is_some_and(|upstream| upstream.is_greeted);
            if is_extended && is_greeted && !self.offered.connect {
                self.client.reset(id, Code::PROTOCOL_ERROR);
                if let Some(mut stream) = self.close(id, true) {
                    self.line.record(&mut stream, &Rejection::Upstream(UpstreamFailure::NotOffered));
                }
                continue;
            }
            if !self.may_open(is_extended) {
                return;
            }
            self.waiting -= 1;
            let Some(stream) = self.streams.get(id) else { return };
            let Some(Waiting { fields, permit, .. }) = stream.held.as_mut().and_then(|held| held.head.take()) else {
                return;
            };
            let has_more = stream.held.as_ref().is_some_and(|held| !held.body.is_empty() || !held.trailers.is_empty());
            let ends = !stream.is_asking && !has_more;
            self.open(id, ends, &fields, permit);
            if !is_connect {
                self.release_body(id, ends);
            }
        }
    }

    /// Sends what was held of a body; `is_over`: nothing follows, and that was said.
    pub(super) fn release_body(&mut self, id: u32, is_over: bool) {
        let Some(stream) = self.streams.get(id) else { return };
        let Some(held) = stream.held.take() else { return };
        let Held { body, trailers, .. } = *held;
        self.held -= body.len();
        let ends = !stream.is_asking && !is_over;
        if !body.is_empty() || ends {
            self.forward_data(id, ends && trailers.is_empty(), &body);
        }
        if let (false, Some(upstream)) = (trailers.is_empty(), &mut self.upstream) {
            upstream.write_fields(id, true, &trailers);
        }
    }

    /// Passes bytes of a body on.
    pub(super) fn forward_data(&mut self, id: u32, ends: bool, bytes: &[u8]) {
        let Some(upstream) = &mut self.upstream else { return };
        upstream.write_data(id, ends, bytes);
        if self.dialling.is_some() {
            self.unsettled = self.unsettled.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        }
    }

    /// Once; again only for a request that came after all that the last attempt was for had failed.
    fn dial(&mut self) {
        if self.upstream.is_some() {
            return;
        }
        let mut upstream = Leg::new(None);
        let out = upstream.out.buffer();
        out.extend_from_slice(PREFACE);
        settings::write_first(&self.wanted, out);
        upstream.give_window(0, self.first_window());
        self.upstream = Some(Box::new(upstream));
        let dialer = Rc::clone(&self.dialer);
        self.dialling = Some(Box::pin(async move { dialer.connect().await }));
    }

    pub(super) fn poll_dial(&mut self, cx: &mut Context<'_>) {
        let Some(dialling) = &mut self.dialling else { return };
        let Poll::Ready(dialled) = dialling.as_mut().poll(cx) else { return };
        self.dialling = None;
        match dialled {
            Ok(stream) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "nodelay");
                }
                self.unsettled = 0;
                if let Some(upstream) = &mut self.upstream {
                    upstream.stream = Some(stream);
                }
            }
            Err(error) => {
                tracing::debug!(%error, upstream = %self.dialer.target(), "connect");
                self.no_upstream();
            }
        }
    }

    /// Nobody took the connection: whatever was for it may be tried again by its client.
    fn no_upstream(&mut self) {
        self.upstream = None;
        let unsettled = std::mem::take(&mut self.unsettled);
        self.client.give_window(0, unsettled);
        for id in self.streams.ids(|stream| stream.is_forwarded || stream.waits()) {
            self.client.reset(id, Code::REFUSED_STREAM);
            if let Some(mut stream) = self.close(id, true) {
                self.line.record(&mut stream, &Rejection::Upstream(UpstreamFailure::Connect));
            }
        }
    }

    pub(super) fn poll_upstream(&mut self, cx: &mut Context<'_>, input: &mut [u8]) -> Result<bool, End> {
        let is_blocked = self.is_blocked();
        let is_ready = |upstream: &&mut Box<Leg>| !is_blocked && upstream.may_go_on(Some(&self.client));
        let Some(upstream) = self.upstream.as_mut().filter(is_ready) else { return Ok(false) };
        let place = match upstream.poll_read(cx, input) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "upstream");
                return Err(self.upstream_ended());
            }
            Poll::Ready(Ok(place)) => place,
        };
        let bytes = input.get(place).unwrap_or_default();
        if self.read_upstream(bytes).is_err() {
            return Err(End::Upstream(UpstreamFailure::Protocol));
        }
        if self.upstream.as_ref().is_some_and(|upstream| upstream.is_over) {
            return Err(self.upstream_ended());
        }
        Ok(true)
    }

    fn read_upstream(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        let mut is_stalled = false;
        while let Some(upstream) = &mut self.upstream {
            // What answers of our own took of the client's window it does not know of.
            let most = if self.debt > 0 { usize::try_from(self.window).unwrap_or(0) } else { usize::MAX };
            is_stalled = !upstream.may_say(Some(&self.client));
            if is_stalled {
                break;
            }
            let Some(piece) = upstream.frames.next(&mut bytes, most)? else { break };
            let is_first = matches!(piece, Piece::Other { kind, flags, .. } if Self::is_greeting(kind, flags));
            if !upstream.is_greeted && !is_first {
                return Err(Code::PROTOCOL_ERROR.into());
            }
            self.upstream_sent(piece)?;
        }
        let is_blocked = self.is_blocked();
        if let Some(upstream) = &mut self.upstream {
            upstream.keep(bytes, is_stalled || is_blocked);
        }
        Ok(())
    }

    /// Whether the upstream is in the middle of a body that the client has no window for. (For each body that it takes that the
    /// upstream was not told of, the client tells us.)
    fn is_blocked(&self) -> bool {
        let is_in_body = self.upstream.as_ref().is_some_and(|upstream| upstream.frames.is_in_body());
        is_in_body && self.debt > 0 && self.window <= 0
    }

    /// It closed its connection, in order or not.
    fn upstream_ended(&self) -> End {
        if self.goodbye.is_failure {
            return End::Upstream(UpstreamFailure::Refused);
        }
        if self.streams.is_any(|stream| stream.waits() || (stream.is_forwarded && stream.is_answering)) {
            return End::Upstream(UpstreamFailure::Closed);
        }
        End::Over
    }
}
