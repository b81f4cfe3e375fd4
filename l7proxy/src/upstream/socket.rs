//! The upstream's socket, which ends as the client's did: orderly when the client stopped sending after its last request,
//! with a reset when it failed in the middle of one (half a request must not look like a whole one).

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::{http::Control, sys};

#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    control: Control,
    /// Everything that the library has written is out.
    flushed: bool,
    /// Nothing more will be.
    finished: bool,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, control: Control) -> Self {
        Self { stream, control, flushed: true, finished: false }
    }

    fn begin_write(&mut self) {
        self.flushed = false;
        self.control.written();
    }

    /// Tells the upstream that the client stopped sending: it may want to give up.
    fn follow_client(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.flushed && !self.finished && self.control.poll_finished(cx).is_ready() {
            self.finished = true;
            // Shutting a TCP socket down does not wait.
            if let Poll::Ready(result) = Pin::new(&mut self.stream).poll_shutdown(cx) {
                return result;
            }
        }
        Ok(())
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.follow_client(cx)?;
        Pin::new(&mut this.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.begin_write();
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.begin_write();
        Pin::new(&mut this.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        this.flushed = true;
        Poll::Ready(this.follow_client(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.control.client_failure().is_some() {
            // The reset comes with the drop; an orderly end before it would be believed.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.control.client_failure().is_some()
            && let Err(error) = sys::abort_on_close(&self.stream)
        {
            tracing::debug!(%error, "reset");
        }
    }
}
