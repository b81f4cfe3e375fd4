//! The end of a connection, in order: what is said arrives, and who closes is who would close without us.

use std::task::{Context, Poll};

use super::{End, Relay, Upstream};
use crate::http::linger::Linger;

/// What is waited for.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// The client's end: closing with unread bytes is a reset, and a reset can overtake an answer.
    client: Option<Linger>,
    /// The upstream's, if it said that it closes: who closes first keeps a local port for a minute.
    upstream: Option<Linger>,
    is_client_over: bool,
    is_upstream_over: bool,
}

impl Relay {
    /// Nothing more is read but the client's end.
    pub(super) fn begin_end(&mut self) {
        if self.ending.is_none() {
            self.ending = Some(Ending::default());
            self.drop_upstream(End::Orderly);
        }
    }

    /// Nothing more is read but the ends: both sides know that this was all.
    pub(super) fn await_ends(&mut self) {
        self.ending.get_or_insert_with(|| Ending { upstream: Some(Linger::begin()), ..Ending::default() });
    }

    /// Whether there is nothing left to wait for.
    pub(super) fn look_for_end(&mut self) {
        let is_read = self.client.unread.is_empty() || self.is_incomplete;
        let is_over = if self.line.is_tunnel() {
            self.client.ended && matches!(&self.upstream, Upstream::Open(side) if side.ended && side.is_flushed())
        } else {
            self.turn.is_none() && (self.line.leaves.get() || (self.client.ended && is_read))
        };
        if is_over {
            self.begin_end();
        }
    }

    pub(super) fn poll_ending(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<End> {
        if let Some(end) = self.end {
            return Poll::Ready(end);
        }
        let Some(mut ending) = self.ending.take() else { return Poll::Pending };
        if !ending.is_client_over {
            ending.is_client_over = self.end_client(cx, &mut ending, scratch);
        }
        if !ending.is_upstream_over {
            ending.is_upstream_over = self.end_upstream(cx, &mut ending, scratch);
        }
        let is_over = ending.is_client_over && ending.is_upstream_over;
        self.ending = Some(ending);
        if is_over { Poll::Ready(End::Orderly) } else { Poll::Pending }
    }

    fn end_client(&mut self, cx: &mut Context<'_>, ending: &mut Ending, scratch: &mut [u8]) -> bool {
        if ending.client.is_none() {
            match self.client.flush(cx) {
                Poll::Pending => return false,
                Poll::Ready(Err(_)) => return true,
                Poll::Ready(Ok(())) => {}
            }
            if self.client.finish(cx).is_err() || self.client.ended {
                return true;
            }
        }
        ending.client.get_or_insert_with(Linger::begin).poll(self.client.stream(), cx, scratch).is_ready()
    }

    fn end_upstream(&mut self, cx: &mut Context<'_>, ending: &mut Ending, scratch: &mut [u8]) -> bool {
        match (&mut self.upstream, &mut ending.upstream) {
            (Upstream::Open(side), Some(linger)) if !side.ended && !self.client.ended => {
                linger.poll(side.stream(), cx, scratch).is_ready()
            }
            _ => true,
        }
    }

    fn drop_upstream(&mut self, end: End) {
        // A body that did not come to its end must not look as if it had.
        let is_half = self.requests.is_in_body() && self.discarding.is_none() && self.turn.is_some();
        if let Upstream::Open(side) = &self.upstream
            && (end == End::Reset || is_half)
        {
            side.abort();
        }
        self.upstream = Upstream::Over;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let is_cut = self.turn.is_some() && self.ending.is_none();
        let end = self.end.unwrap_or(if is_cut || self.line.is_tunnel() { End::Reset } else { End::Orderly });
        if end == End::Reset {
            self.client.abort();
        }
        self.drop_upstream(end);
    }
}
