//! Between the client's socket and the HTTP library: sees every request's framing before the library does.
//!
//! The library forgives what others read differently (it drops Content-Length beside Transfer-Encoding, merges repeated
//! ones, cuts fragments off). Owns the decision that a head or a body's framing has one meaning. Never changes a byte: a
//! request that is refused is replaced, as a whole, by a harmless one that closes the connection, so that the refusal is
//! answered in its turn by the one pipeline. Start at [`Guard::poll_read`] and `guard/head.rs`.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep, sleep_until},
};

use super::Limits;
use crate::{reject::Rejection, sys};

mod chunk;
mod control;
mod head;
mod linger;
mod scan;

pub use self::{
    control::{Control, Refused},
    linger::Linger,
    scan::{Outcome, Scanner},
};

/// Stands in for a request that is refused.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
/// Of a refused request, kept for its record.
const KEPT: usize = 16 << 10;

/// The client's socket as the HTTP library sees it.
#[derive(Debug)]
pub(super) struct Guard {
    stream: TcpStream,
    control: Control,
    scanner: Scanner,
    timeout: Duration,
    /// Read, but not passed yet.
    waiting: Vec<u8>,
    /// To be passed, from `passed` on.
    ready: Vec<u8>,
    passed: usize,
    /// Runs while a head is incomplete.
    deadline: Option<Pin<Box<Sleep>>>,
    refused: bool,
    /// The client sends nothing more, but may wait for answers.
    half_closed: bool,
    /// Interim answers on their way.
    interim: Vec<u8>,
    /// Everything that the library has written so far is out.
    flushed: bool,
    linger: Option<Linger>,
}

impl Guard {
    pub(super) fn new(stream: TcpStream, control: Control, limits: Limits) -> Self {
        Self {
            stream,
            control,
            scanner: Scanner::new(limits),
            timeout: limits.header_timeout,
            waiting: Vec::new(),
            ready: Vec::new(),
            passed: 0,
            deadline: None,
            refused: false,
            half_closed: false,
            interim: Vec::new(),
            flushed: true,
            linger: None,
        }
    }

    /// `bytes` were taken out of the socket before, since `since`.
    pub(super) fn begin(&mut self, bytes: Vec<u8>, since: Instant) -> io::Result<()> {
        self.waiting = bytes;
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.deadline = Some(Box::pin(sleep_until(since + self.timeout)));
        self.judge_waiting()
    }

    /// Passes what is ready; says whether there was something.
    fn hand_over(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let rest = self.ready.get(self.passed..).unwrap_or_default();
        let length = rest.len().min(buffer.remaining());
        let Some(part) = rest.get(..length).filter(|part| !part.is_empty()) else { return false };
        buffer.put_slice(part);
        self.passed += length;
        if self.passed == self.ready.len() {
            self.ready.clear();
            self.passed = 0;
        }
        true
    }

    /// Judges what `waiting` holds and moves what may pass to `ready`.
    fn judge_waiting(&mut self) -> io::Result<()> {
        match self.scanner.scan(&self.waiting) {
            Outcome::Pass(length) => self.ready.extend(self.waiting.drain(..length)),
            Outcome::Refuse(length, rejection) => {
                self.ready.extend(self.waiting.drain(..length));
                self.refuse(rejection, None);
            }
            Outcome::Broken => return Err(self.broken()),
        }
        self.forget_the_rest();
        Ok(())
    }

    /// What stands behind the connection's last request is read for the client's end only.
    fn forget_the_rest(&mut self) {
        if self.scanner.is_closed() {
            self.waiting.clear();
        }
    }

    /// `request`: its bytes, if they are not those that wait.
    fn refuse(&mut self, rejection: Rejection, request: Option<&[u8]>) {
        let mut bytes = std::mem::take(&mut self.waiting);
        if let Some(request) = request {
            bytes.extend(request.iter().take(KEPT));
        }
        bytes.truncate(KEPT);
        self.control.refuse(self.scanner.requests(), rejection, bytes);
        self.ready.extend_from_slice(STAND_IN);
        self.deadline = None;
        self.refused = true;
    }

    fn broken(&self) -> io::Error {
        self.control.broken();
        io::Error::new(io::ErrorKind::InvalidData, "the request body is not framed as it says")
    }

    /// Ready when the pipeline said what a request that asked to switch came to.
    fn poll_held(&mut self, cx: &Context<'_>) -> Poll<()> {
        if ready!(self.control.poll_switched(cx)) {
            self.scanner.become_opaque();
        } else {
            self.scanner.resume();
        }
        Poll::Ready(())
    }

    /// Ready when the library may know that the client sends nothing more. Told of it before every answer is over, it
    /// would drop them; but half a body it must know of. (A reset it is told at once: nobody works on for a client that
    /// is gone.)
    fn poll_end(&self, cx: &Context<'_>) -> Poll<()> {
        if self.scanner.is_in_body() {
            return Poll::Ready(());
        }
        self.control.poll_answered(self.scanner.requests(), cx)
    }

    /// Ready when an incomplete head took too long.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiting.is_empty() || !self.scanner.is_in_head() {
            self.deadline = None;
            return Poll::Pending;
        }
        let timeout = self.timeout;
        self.deadline.get_or_insert_with(|| Box::pin(sleep(timeout))).as_mut().poll(cx)
    }

    /// Reads straight into the library's buffer; only an incomplete head is taken out again.
    fn read_through(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<Read>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let new = buffer.filled().get(before..).unwrap_or_default();
        if new.is_empty() {
            return Poll::Ready(Ok(Read::End));
        }
        if !self.waiting.is_empty() {
            self.waiting.extend_from_slice(new);
            buffer.set_filled(before);
            self.judge_waiting()?;
            return Poll::Ready(Ok(Read::Judged));
        }
        let (length, rejection) = match self.scanner.scan(new) {
            Outcome::Pass(length) => (length, None),
            Outcome::Refuse(length, rejection) => (length, Some(rejection)),
            Outcome::Broken => return Poll::Ready(Err(self.broken())),
        };
        let rest = new.get(length..).unwrap_or_default();
        match rejection {
            Some(rejection) => self.refuse(rejection, Some(rest)),
            None => self.waiting.extend_from_slice(rest),
        }
        self.forget_the_rest();
        buffer.set_filled(before + length);
        Poll::Ready(Ok(if length > 0 { Read::Passed } else { Read::Judged }))
    }
}

/// What a read came to.
enum Read {
    /// The client sends nothing more.
    End,
    /// Bytes are in the library's buffer.
    Passed,
    /// Bytes were taken out and judged.
    Judged,
}

impl AsyncRead for Guard {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.hand_over(buffer) {
                return Poll::Ready(Ok(()));
            }
            if this.refused {
                // The stand-in closes the connection when it is answered.
                return Poll::Pending;
            }
            if this.scanner.is_held() {
                ready!(this.poll_held(cx));
                this.judge_waiting()?;
                continue;
            }
            if this.half_closed {
                return this.poll_end(cx).map(Ok);
            }
            match this.read_through(cx, buffer) {
                Poll::Ready(Ok(Read::End)) => {
                    this.half_closed = true;
                    if !this.scanner.is_in_body() {
                        this.control.finished(this.scanner.requests());
                    }
                }
                Poll::Ready(Ok(Read::Passed)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(Read::Judged)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    ready!(this.poll_deadline(cx));
                    this.refuse(Rejection::TooSlow, None);
                }
            }
        }
    }
}

impl Guard {
    /// Ready when interim answers are out. They go between what the library has written and what it writes next.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.interim.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.interim))?;
            self.interim.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    /// Before the library writes: interim answers that it was too early or too late for in [`Self::poll_flush`].
    fn poll_before_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.flushed) {
            self.interim.append(&mut self.control.take_interim());
        }
        self.poll_interim(cx)
    }
}

impl AsyncWrite for Guard {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_before_write(cx))?;
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_before_write(cx))?;
        Pin::new(&mut this.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// The library flushes at the end of each of its turns.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut flushing = this.control.flushing(cx, this.interim.is_empty());
        this.flushed = true;
        this.interim.append(&mut flushing.interim);
        ready!(this.poll_interim(cx))?;
        if let Some(leave) = flushing.leave {
            // A client may send without leave after a while: the library does not look before leave is given.
            let waits = leave.is_of_newest(this.scanner.requests()) && this.scanner.awaits_body();
            let mut byte = [0];
            if !waits || this.stream.poll_peek(cx, &mut ReadBuf::new(&mut byte)).is_ready() {
                leave.give();
            }
        }
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if this.half_closed || this.control.must_reset() {
                return Poll::Ready(Ok(()));
            }
        }
        this.linger.get_or_insert_with(Linger::begin).poll(&mut this.stream, cx).map(Ok)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.control.must_reset()
            && let Err(error) = sys::abort_on_close(&self.stream)
        {
            tracing::debug!(%error, "reset");
        }
    }
}

#[cfg(test)]
mod tests;
