//! The client's socket of an HTTP/2 connection.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

use crate::{http::Linger, sys};

/// Ends with a reset when `broken` was told.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    /// Taken out before, not read yet.
    taken: Vec<u8>,
    broken: CancellationToken,
    linger: Option<Linger>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, taken: Vec<u8>, broken: CancellationToken) -> Self {
        Self { stream, taken, broken, linger: None }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.taken.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let length = this.taken.len().min(buffer.remaining());
        buffer.put_slice(this.taken.get(..length).unwrap_or_default());
        this.taken.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
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

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        this.linger.get_or_insert_with(Linger::begin).poll(&mut this.stream, cx).map(Ok)
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
