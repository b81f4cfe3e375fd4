//! From the upstream to the client.

use std::task::{Context, Poll};

use super::{End, READ, READ_MORE, Relay, Turn, Upstream};
use crate::{
    http::http1::{
        State,
        answer::{Head, NoAnswer, Part},
        rewrite,
    },
    metrics::count,
    reject::UpstreamFailure,
};

impl Relay {
    /// Says whether something happened.
    pub(super) fn down(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Result<bool, End> {
        let mut moved = false;
        while self.ending.is_none() && self.client.is_flushed() {
            let Upstream::Open(side) = &mut self.upstream else { break };
            if side.ended {
                break;
            }
            let length = if side.is_full { READ_MORE } else { READ };
            let buffer = scratch.get_mut(..length).unwrap_or_default();
            match side.read(cx, buffer) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "upstream");
                    if !self.turn.as_ref().is_some_and(|turn| turn.is_answered) {
                        return Err(self.upstream_failed(UpstreamFailure::Closed));
                    }
                    // It had enough of a body: its answer must not be lost to a reset of our own.
                    self.begin_end();
                }
                Poll::Ready(Ok(0)) => self.upstream_ended(cx)?,
                Poll::Ready(Ok(length)) => {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    if side.unread.is_empty() {
                        self.answers(cx, bytes)?;
                    } else {
                        let mut waiting = std::mem::take(&mut side.unread);
                        waiting.extend_from_slice(bytes);
                        self.answers(cx, &waiting)?;
                    }
                }
            }
            moved = true;
        }
        if let Upstream::Open(side) = &mut self.upstream {
            side.is_full &= self.client.is_flushed();
        }
        Ok(moved)
    }

    /// Passes on what of `bytes` is a message, and keeps the beginning of a head.
    fn answers(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Result<(), End> {
        // What stands between these has been looked at, and is sent in one piece.
        let (mut from, mut to) = (0, 0);
        while to < bytes.len() {
            let rest = bytes.get(to..).unwrap_or_default();
            let Some(asked) = self.turn.as_ref().filter(|turn| !turn.is_answered).map(|turn| turn.asked) else {
                // What it says after its answer belongs to nobody.
                self.begin_end();
                break;
            };
            match self.answers.scan(rest, asked) {
                Ok(Part::Body(length)) => to += length,
                Ok(Part::Head(length, head)) => {
                    if let Some(closing) = self.head(head, rest.get(..length).unwrap_or_default()) {
                        self.send_down(cx, bytes.get(from..to).unwrap_or_default())?;
                        self.send_down(cx, &closing)?;
                        from = to + length;
                    }
                    to += length;
                }
                Ok(Part::Incomplete) => break,
                Err(NoAnswer) if self.answers.is_between() => {
                    return Err(self.upstream_failed(UpstreamFailure::Protocol));
                }
                Err(NoAnswer) => {
                    self.send_down(cx, bytes.get(from..to).unwrap_or_default())?;
                    return Err(End::Reset);
                }
            }
            self.answer_is_over();
        }
        if self.ending.is_none()
            && let Upstream::Open(side) = &mut self.upstream
        {
            side.unread.extend_from_slice(bytes.get(to..).unwrap_or_default());
        }
        self.send_down(cx, bytes.get(from..to).unwrap_or_default())
    }

    /// What stands in the place of `bytes`, if they are not passed on as they are.
    fn head(&mut self, head: Head, bytes: &[u8]) -> Option<Vec<u8>> {
        if head.is_interim {
            return None;
        }
        let turn = self.turn.as_mut()?;
        if let Some(flow) = turn.flow.take() {
            let fields = self.line.worker.capture.head(bytes);
            flow.answered(http::StatusCode::from_u16(head.status).unwrap_or_default(), fields);
        }
        turn.closes |= head.closes;
        if head.switches {
            count(&self.line.worker.counters.upgrades);
            self.requests.become_opaque();
            self.is_incomplete = false;
            self.line.state.set(State::Tunnel);
            return None;
        }
        // The client's next connection goes to the next process. Closed while it is idle, a request that is on its way would
        // be lost.
        let is_last = self.line.worker.drain.is_retiring();
        turn.closes |= is_last;
        is_last.then(|| rewrite::closing(bytes))
    }

    /// The answer's, if it is.
    fn answer_is_over(&mut self) {
        if let Some(turn) = &mut self.turn
            && turn.flow.is_none()
            && self.answers.is_between()
            && !turn.is_answered
        {
            turn.is_answered = true;
            self.line.state.set(State::Idle);
            self.turn_is_over();
        }
    }

    /// The request is over with its answer and its own last byte.
    pub(super) fn turn_is_over(&mut self) {
        if !self.line.is_tunnel() && self.turn.as_ref().is_none_or(|turn| turn.flow.is_none()) {
            // Nothing was switched, or ever will be: what comes is the next request.
            self.requests.resume();
        }
        if let Some(Turn { is_answered: true, closes, .. }) = self.turn
            && !self.requests.is_in_body()
        {
            self.turn = None;
            if closes {
                self.await_ends();
            }
        }
    }

    fn send_down(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Result<(), End> {
        self.client.send(cx, bytes).map_err(|error| self.client_left(&error))
    }

    fn upstream_ended(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        if self.line.is_tunnel() {
            // Half-closed, as it would be without us.
            return self.client.finish(cx).map_err(|error| self.client_left(&error));
        }
        match &self.turn {
            Some(turn) if turn.flow.is_some() => return Err(self.upstream_failed(UpstreamFailure::Closed)),
            // Half an answer must not look like a whole one.
            Some(turn) if !turn.is_answered && !self.answers.may_end() => return Err(End::Reset),
            _ => self.begin_end(),
        }
        Ok(())
    }
}
