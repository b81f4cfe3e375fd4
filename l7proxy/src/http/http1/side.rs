//! One of the two sockets of a relay, and what is on its way through it.
//!
//! Holds next to nothing while nothing waits. Bytes are moved by the kernel's own calls: the C library's may be cancelled, and
//! what makes that safe costs with each of them. Start at [`Side::send`].

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::{
    io::{AsyncWrite, Interest},
    net::TcpStream,
    task::coop::{has_budget_remaining, poll_proceed},
};

use crate::sys;

/// A socket.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is known of it at another time")]
pub(super) struct Side {
    stream: TcpStream,
    /// Read, and not understood or not due yet.
    pub(super) unread: Vec<u8>,
    /// What it did not take yet, from `sent` on.
    unsent: Vec<u8>,
    sent: usize,
    /// It sends nothing more.
    pub(super) ended: bool,
    /// Nothing more is sent to it.
    finished: bool,
    /// The newest read found as much as was asked for.
    pub(super) is_full: bool,
    /// Whoever reads is woken when something comes. Unless something is there already, nothing has to be said again.
    is_awaited: bool,
}

impl Side {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            unread: Vec::new(),
            unsent: Vec::new(),
            sent: 0,
            ended: false,
            finished: false,
            is_full: false,
            is_awaited: false,
        }
    }

    /// Whether it takes more.
    pub(super) fn is_flushed(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Sends, as far as it takes it; the rest goes with [`Self::flush`].
    pub(super) fn send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while self.is_flushed() && !rest.is_empty() {
            match self.poll_write(cx, rest) {
                Poll::Ready(written) => rest = rest.get(written?..).unwrap_or_default(),
                Poll::Pending => break,
            }
        }
        self.unsent.extend_from_slice(rest);
        Ok(())
    }

    /// Ready when all is sent.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.unsent.get(self.sent..).filter(|rest| !rest.is_empty()) {
            self.sent += ready!(self.poll_write(cx, rest))?;
        }
        if self.sent > 0 {
            self.forget_unsent();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let written =
                self.stream.try_io(Interest::WRITABLE, || Ok(send(&self.stream, bytes, SendFlags::NOSIGNAL)?));
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.stream.poll_write_ready(cx))?,
                written => return Poll::Ready(written),
            }
        }
    }

    /// What it did not take reaches nobody.
    pub(super) fn forget_unsent(&mut self) {
        self.unsent = Vec::new();
        self.sent = 0;
    }

    /// Says that nothing more is sent, once.
    pub(super) fn finish(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if std::mem::replace(&mut self.finished, true) {
            return Ok(());
        }
        // Shutting a TCP socket down does not wait.
        match Pin::new(&mut self.stream).poll_shutdown(cx) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    /// Another task than before waits for it.
    pub(super) fn forget_task(&mut self) {
        self.is_awaited = false;
    }

    /// Bytes that came, at the beginning of `buffer`; none: it sends nothing more.
    pub(super) fn read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let turn = ready!(poll_proceed(cx));
        let length = loop {
            match self.try_read(buffer) {
                Some(length) => break length?,
                None if self.is_awaited => return Poll::Pending,
                None => {}
            }
            match self.stream.poll_read_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => {
                    // Else it is others' turn, and nobody noted who waits here.
                    self.is_awaited = has_budget_remaining();
                    return Poll::Pending;
                }
            }
        };
        turn.made_progress();
        self.ended = length == 0;
        self.is_full = length == buffer.len();
        Poll::Ready(Ok(length))
    }

    /// Nothing: nothing is there.
    fn try_read(&mut self, buffer: &mut [u8]) -> Option<io::Result<usize>> {
        let (mut read, is_awaited) = (None, &mut self.is_awaited);
        let wanted = buffer.len();
        let tried = self.stream.try_io(Interest::READABLE, || {
            // Who was to be woken has been.
            *is_awaited = false;
            let (length, _) = recv(&self.stream, buffer, RecvFlags::empty())?;
            read = Some(length);
            // Less than was asked for is all there is: to ask again would be in vain.
            if (1..wanted).contains(&length) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match (read, tried) {
            (Some(length), _) => Some(Ok(length)),
            (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => Some(Err(error)),
            (None, _) => None,
        }
    }

    /// The socket ends with a reset.
    pub(super) fn abort(&self) {
        if let Err(error) = sys::abort_on_close(&self.stream) {
            tracing::debug!(%error, "reset");
        }
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}
