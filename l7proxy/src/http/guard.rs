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
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

use super::Limits;
use crate::{reject::Rejection, sys};

mod chunk;
mod head;
mod scan;

use self::scan::{Outcome, Scanner};

/// Stands in for a request that is refused.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
/// After a refusal: bytes that are read and thrown away, so that the answer is not lost to a reset.
const LINGER_BYTES: usize = 256 << 10;
/// After a refusal: how long.
const LINGER: Duration = Duration::from_secs(1);

/// What the pipeline and the guard of one connection tell each other.
#[derive(Clone, Debug, Default)]
pub struct Control(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    refused: Option<(u64, Rejection)>,
    broken: bool,
    reset: bool,
    switched: Option<bool>,
    /// Answers that are over.
    answered: u64,
    waker: Option<Waker>,
}

impl Control {
    /// The refusal, when request number `index` (from 0) is the one that was replaced.
    #[must_use]
    pub fn take_refusal(&self, index: u64) -> Option<Rejection> {
        let mut shared = self.lock();
        shared.refused.take_if(|(refused, _)| *refused == index).map(|(_, rejection)| rejection)
    }

    /// Whether a body was not framed as it said.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.lock().broken
    }

    /// The connection shall end with a reset.
    pub fn reset(&self) {
        self.lock().reset = true;
    }

    /// Answers what the guard waits for after a request that asks to switch protocols.
    pub fn switched(&self, switched: bool) {
        let mut shared = self.lock();
        shared.switched = Some(switched);
        if let Some(waker) = shared.waker.take() {
            waker.wake();
        }
    }

    /// An answer is over: it was written, or never will be.
    pub(super) fn answered(&self) {
        let mut shared = self.lock();
        shared.answered += 1;
        if let Some(waker) = shared.waker.take() {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
    linger: Option<Linger>,
}

#[derive(Debug)]
struct Linger {
    left: usize,
    until: Pin<Box<Sleep>>,
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
            linger: None,
        }
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
                self.refuse(rejection);
            }
            Outcome::Broken => return Err(self.broken()),
        }
        Ok(())
    }

    fn refuse(&mut self, rejection: Rejection) {
        self.control.lock().refused = Some((self.scanner.requests(), rejection));
        self.ready.extend_from_slice(STAND_IN);
        self.waiting = Vec::new();
        self.deadline = None;
        self.refused = true;
    }

    fn broken(&self) -> io::Error {
        let mut shared = self.control.lock();
        shared.broken = true;
        shared.reset = true;
        io::Error::new(io::ErrorKind::InvalidData, "the request body is not framed as it says")
    }

    /// Ready when the pipeline said what a request that asked to switch came to.
    fn poll_held(&mut self, cx: &Context<'_>) -> Poll<()> {
        let mut shared = self.control.lock();
        match shared.switched.take() {
            Some(true) => self.scanner.become_opaque(),
            Some(false) => self.scanner.resume(),
            None => {
                shared.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// Ready when every answer is over. Told of the end before, the library would drop them; a reset it is told at once,
    /// and nobody works on for a client that is gone.
    fn poll_end(&self, cx: &Context<'_>) -> Poll<()> {
        let mut shared = self.control.lock();
        if shared.answered >= self.scanner.requests() {
            return Poll::Ready(());
        }
        shared.waker = Some(cx.waker().clone());
        Poll::Pending
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
        self.waiting.extend_from_slice(new.get(length..).unwrap_or_default());
        buffer.set_filled(before + length);
        if let Some(rejection) = rejection {
            self.refuse(rejection);
        }
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
                Poll::Ready(Ok(Read::End)) => this.half_closed = true,
                Poll::Ready(Ok(Read::Passed)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(Read::Judged)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    ready!(this.poll_deadline(cx));
                    this.refuse(Rejection::TooSlow);
                }
            }
        }
    }
}

impl AsyncWrite for Guard {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    /// After a refusal what the client still sends is read for a while: closing with unread bytes would be a reset, and
    /// the reset would overtake the answer.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.refused {
            return Pin::new(&mut this.stream).poll_shutdown(cx);
        }
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        let linger = this.linger.get_or_insert_with(|| Linger { left: LINGER_BYTES, until: Box::pin(sleep(LINGER)) });
        let mut scratch = [0; 4096];
        while linger.left > 0 {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut this.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    linger.left = linger.left.saturating_sub(buffer.filled().len());
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return linger.until.as_mut().poll(cx).map(Ok),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.control.lock().reset
            && let Err(error) = sys::abort_on_close(&self.stream)
        {
            tracing::debug!(%error, "reset");
        }
    }
}

#[cfg(test)]
mod tests;
