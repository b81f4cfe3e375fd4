//! From the client to the upstream.

use std::{
    rc::Rc,
    task::{Context, Poll},
};

use http::{Method, Request, Response};

use rules::Permit;

use super::{AHEAD, End, READ, READ_MORE, Relay, Turn, Upstream};
use crate::{
    http::{
        Refused,
        http1::{
            State,
            answer::Asked,
            own::Own,
            rewrite::Rewrite,
            scan::{Found, Outcome},
            upgrade::{Protocol, asked},
        },
    },
    metrics::count,
    reject::{ClientFailure, Rejection},
    request::{Allowed, Barred},
};

/// What happened on the way up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Went {
    /// Something did.
    pub(super) moved: bool,
    /// Nothing more will before the client sends something.
    pub(super) waits: bool,
}

impl Relay {
    /// Says what happened.
    pub(super) fn up(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Result<Went, End> {
        let (mut moved, mut waits) = (false, false);
        while self.ending.is_none() {
            if self.may_pass() && !self.client.unread.is_empty() && !self.is_incomplete {
                let waiting = std::mem::take(&mut self.client.unread);
                let passed = self.pass(cx, &waiting)?;
                self.keep(waiting, passed);
                moved |= passed > 0;
                continue;
            }
            let Some(room) = self.room() else { break };
            let buffer = scratch.get_mut(..room).unwrap_or_default();
            match self.client.read(cx, buffer) {
                Poll::Pending => {
                    waits = true;
                    break;
                }
                Poll::Ready(Err(error)) => return Err(self.client_left(&error)),
                Poll::Ready(Ok(0)) => self.client_ended()?,
                Poll::Ready(Ok(length)) => self.take(cx, buffer.get(..length).unwrap_or_default())?,
            }
            moved = true;
        }
        self.client.is_full &= self.upstream_takes();
        Ok(Went { moved, waits: waits && (self.client.unread.is_empty() || self.is_incomplete) })
    }

    /// Whether what the client sent may go on now.
    fn may_pass(&self) -> bool {
        if self.discarding.is_some() {
            return true;
        }
        // Answers of our own wait for a client that does not read them: so do its next requests.
        let is_free = self.turn.is_none() && self.client.is_flushed() && !self.line.leaves.get();
        self.upstream_takes() && !self.requests.is_held() && (is_free || !self.requests.is_in_head())
    }

    /// How much may be read, if anything.
    fn room(&self) -> Option<usize> {
        if self.client.ended || (self.line.leaves.get() && self.turn.is_none()) {
            return None;
        }
        if self.may_pass() {
            return Some(if self.client.is_full { READ_MORE } else { READ });
        }
        let is_ahead = self.requests.is_in_head() || self.requests.is_held();
        AHEAD.checked_sub(self.client.unread.len()).filter(|room| is_ahead && *room > 0)
    }

    fn take(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Result<(), End> {
        self.is_incomplete = false;
        if !self.client.unread.is_empty() || !self.may_pass() {
            self.client.unread.extend_from_slice(bytes);
            return Ok(());
        }
        let passed = self.pass(cx, bytes)?;
        self.client.unread.extend_from_slice(bytes.get(passed..).unwrap_or_default());
        Ok(())
    }

    fn keep(&mut self, mut waiting: Vec<u8>, passed: usize) {
        waiting.drain(..passed);
        if !waiting.is_empty() {
            self.client.unread = waiting;
        }
    }

    /// Passes what may be, and says how much that was.
    fn pass(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Result<usize, End> {
        let worker = Rc::clone(&self.line.worker);
        self.pass_with(cx, bytes, &mut worker.scratch.request.borrow_mut())
    }

    /// In `request` there is nothing that is needed, before and after.
    fn pass_with(&mut self, cx: &mut Context<'_>, bytes: &[u8], request: &mut Request<()>) -> Result<usize, End> {
        let mut at = 0;
        while at < bytes.len() && self.may_pass() && self.ending.is_none() {
            let rest = bytes.get(at..).unwrap_or_default();
            match self.requests.scan(rest, request) {
                Outcome::Request(found) => {
                    at += found.end;
                    self.request(cx, found, request, rest);
                }
                // What stands behind the connection's last request is nobody's.
                Outcome::Pass(0) if self.requests.is_closed() => return Ok(bytes.len()),
                Outcome::Pass(0) => {
                    self.is_incomplete = true;
                    break;
                }
                Outcome::Pass(length) => {
                    at += length;
                    self.body(cx, rest.get(..length).unwrap_or_default());
                }
                Outcome::Refuse(rejection) => {
                    self.refuse(cx, rejection, rest);
                    return Ok(bytes.len());
                }
                Outcome::Broken if self.discarding.is_some() => {
                    self.begin_end();
                    return Ok(bytes.len());
                }
                Outcome::Broken => return Err(self.fail(&Rejection::Client(ClientFailure::Framing))),
            }
        }
        Ok(at)
    }

    /// `bytes` begin with it.
    fn request(&mut self, cx: &mut Context<'_>, found: Found, request: &mut Request<()>, bytes: &[u8]) {
        let Found { start, head, end, upgrade, closes, is_padded } = found;
        let part = |from: usize, to: usize| bytes.get(from..to).unwrap_or_default();
        // As it came: rules may change headers.
        let protocol = if upgrade { asked(request.method(), request.headers()) } else { Protocol::None };
        match self.line.exchange.judge(request, None) {
            Ok(allowed) => {
                let Allowed { permit, normal, is_grpc, flow, ticket } = allowed;
                let rewrite = Rewrite {
                    target: normal.as_deref(),
                    edits: permit.edits(),
                    without_http2: protocol == Protocol::Http2,
                    trim: is_padded,
                };
                let turn = Turn {
                    flow: Some(flow),
                    is_grpc,
                    asked: Asked { is_head: request.method() == Method::HEAD, switch: protocol },
                    closes,
                    is_answered: false,
                    _ticket: ticket,
                };
                self.begin_turn(turn, &permit);
                if rewrite.is_empty() {
                    self.send_up(cx, part(start, end));
                } else {
                    let mut changed = rewrite.of_request(part(start, head));
                    changed.extend_from_slice(part(head, end));
                    self.send_up(cx, &changed);
                }
            }
            Err(barred) => {
                self.deny(cx, *barred, Own::to(request, closes));
                self.body(cx, part(head, end));
            }
        }
    }

    /// Nothing is dialled before the first permit.
    fn begin_turn(&mut self, turn: Turn, _leave: &Permit) {
        self.turn = Some(turn);
        self.line.state.set(State::Busy);
        if let Upstream::NotDialled(_) = self.upstream
            && let Upstream::NotDialled(dialer) = std::mem::replace(&mut self.upstream, Upstream::Over)
        {
            self.upstream = Upstream::Dialling(Box::pin(async move { dialer.connect().await }), Vec::new());
        }
    }

    /// Its body is read so that the connection stays usable, but not without bound.
    fn deny(&mut self, cx: &mut Context<'_>, barred: Barred, own: Own) {
        let has_more = self.requests.is_in_body();
        let Barred { rejection, is_grpc, flow } = barred;
        // Nobody knows whether a client that waits for leave sends its body now: end there.
        let mut ends = own.closes || (own.waits && has_more) || self.line.worker.drain.is_retiring();
        if let Some((response, close)) = self.line.exchange.refuse(&rejection, is_grpc, flow) {
            ends |= close;
            self.answer(cx, &response, own, ends);
        } else {
            self.end = Some(End::Reset);
            ends = true;
        }
        if ends {
            self.begin_end();
        } else if has_more {
            self.discarding = Some(self.line.worker.limits.denied_body_bytes);
        }
    }

    fn answer(&mut self, cx: &mut Context<'_>, response: &Response<&'static str>, own: Own, ends: bool) {
        if let Err(error) = self.client.send(cx, &own.written(response, ends)) {
            tracing::debug!(%error, "client");
        }
    }

    /// Bytes of a body, or of a tunnel.
    fn body(&mut self, cx: &mut Context<'_>, bytes: &[u8]) {
        match self.discarding {
            None if self.turn.is_some() => {
                self.send_up(cx, bytes);
            }
            None => {}
            Some(left) => match left.checked_sub(bytes.len()) {
                Some(_) if !self.requests.is_in_body() => self.discarding = None,
                Some(rest) => self.discarding = Some(rest),
                None => {
                    count(&self.line.worker.counters.denied_bodies_cut);
                    self.begin_end();
                }
            },
        }
        self.turn_is_over();
    }

    /// What begins with `bytes` has no single meaning, or is over a limit.
    pub(super) fn refuse(&mut self, cx: &mut Context<'_>, rejection: Rejection, bytes: &[u8]) {
        let refused = Refused::of(rejection, bytes);
        if let Err(barred) = self.line.exchange.judge(&mut Request::new(()), Some(refused)) {
            self.deny(cx, *barred, Own::to_nobody());
        }
        self.begin_end();
    }

    fn client_ended(&mut self) -> Result<(), End> {
        if self.requests.is_in_body() && self.discarding.is_none() {
            // Half a request must not look like a whole one.
            return Err(self.fail(&Rejection::Client(ClientFailure::Left)));
        }
        Ok(())
    }
}
