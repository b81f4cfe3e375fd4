//! The client's socket of an HTTP/2 connection as the HTTP library sees it: watched, and closed so that the last words arrive.

use std::{
    cell::RefCell,
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};
use tokio_util::sync::CancellationToken;

use super::watch::Watch;
use crate::{http::linger::Linger, sys};

#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    /// Taken out before, not read yet.
    taken: Vec<u8>,
    watch: Rc<RefCell<Watch>>,
    timeout: Duration,
    deadline: Option<Deadline>,
    over: CancellationToken,
    broken: CancellationToken,
    linger: Option<Linger>,
}

/// Runs while a block of headers is incomplete.
#[derive(Debug)]
struct Deadline {
    block: u64,
    sleep: Pin<Box<Sleep>>,
}

/// What whoever serves a connection is told.
#[derive(Clone, Debug, Default)]
pub(super) struct Signals {
    /// The watch has seen too much.
    pub(super) over: CancellationToken,
    /// The upstream's connection failed: the client's ends with a reset.
    pub(super) broken: CancellationToken,
    /// The upstream takes no more requests.
    pub(super) leaving: CancellationToken,
}

impl Socket {
    pub(super) fn new(
        stream: TcpStream,
        taken: Vec<u8>,
        watch: Rc<RefCell<Watch>>,
        timeout: Duration,
        signals: &Signals,
    ) -> Self {
        let Signals { over, broken, .. } = signals.clone();
        Self { stream, taken, watch, timeout, deadline: None, over, broken, linger: None }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.taken.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let length = self.taken.len().min(buffer.remaining());
        buffer.put_slice(self.taken.get(..length).unwrap_or_default());
        self.taken.drain(..length);
        Poll::Ready(Ok(()))
    }

    /// Ready when a block of headers took too long.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(block) = self.watch.borrow().open_block() else {
            self.deadline = None;
            return Poll::Pending;
        };
        let timeout = self.timeout;
        let begin = || Deadline { block, sleep: Box::pin(sleep(timeout)) };
        let mut deadline = self.deadline.take().filter(|known| known.block == block).unwrap_or_else(begin);
        let elapsed = deadline.sleep.as_mut().poll(cx);
        self.deadline = Some(deadline);
        elapsed
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.watch.borrow().is_over() {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        match this.poll_bytes(cx, buffer) {
            Poll::Ready(Ok(())) => {
                let new = buffer.filled().get(before..).unwrap_or_default();
                let mut watch = this.watch.borrow_mut();
                watch.received(new);
                if !watch.is_over() {
                    return Poll::Ready(Ok(()));
                }
                buffer.set_filled(before);
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {
                ready!(this.poll_deadline(cx));
                this.watch.borrow_mut().too_slow();
            }
        }
        // Nothing more is read: whoever serves the connection ends it.
        this.over.cancel();
        Poll::Pending
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let length = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, slices))?;
        this.watch.borrow_mut().sent(slices, length);
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        let linger = this.linger.get_or_insert_with(Linger::begin);
        linger.poll(&mut this.stream, cx, &mut [0; 4096]).map(Ok)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.broken.is_cancelled()
            && let Err(error) = sys::abort_on_close(&self.stream)
        {
            tracing::debug!(%error, "reset");
        }
    }
}
