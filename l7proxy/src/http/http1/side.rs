//! One of the two sockets of a relay, and what is on its way through it.
//!
//! Holds next to nothing while nothing waits. Start at [`Side::send`].

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::sys;

/// A socket.
#[derive(Debug)]
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
}

impl Side {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, unread: Vec::new(), unsent: Vec::new(), sent: 0, ended: false, finished: false, is_full: false }
    }

    /// Whether it takes more.
    pub(super) fn is_flushed(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Sends, as far as it takes it; the rest goes with [`Self::flush`].
    pub(super) fn send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while self.is_flushed() && !rest.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
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
            self.sent += ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
        }
        self.unsent = Vec::new();
        self.sent = 0;
        Poll::Ready(Ok(()))
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

    /// Bytes that came, at the beginning of `buffer`; none: it sends nothing more.
    pub(super) fn read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        self.ended = buffer.filled().is_empty();
        self.is_full = buffer.remaining() == 0;
        Poll::Ready(Ok(buffer.filled().len()))
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
