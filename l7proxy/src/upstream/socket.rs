//! The upstream's socket, which ends as the client's did: orderly when the client stopped sending after its last request,
//! with a reset when it failed in the middle of one (half a request must not look like a whole one). An upstream that says
//! that it ends the connection is left to do so, as the client would: who does it first keeps a local port for a minute.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::{
    http::{Control, Linger},
    sys,
};

#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    control: Control,
    /// Everything that the library has written is out.
    flushed: bool,
    /// Nothing more will be.
    finished: bool,
    /// The upstream's end is waited for.
    is_ending: Arc<AtomicBool>,
    linger: Option<Linger>,
}

impl Socket {
    /// `is_ending` is set when nothing is left but to wait, for a short while, for the upstream's end.
    pub(super) fn new(stream: TcpStream, control: Control, is_ending: Arc<AtomicBool>) -> Self {
        Self { stream, control, flushed: true, finished: false, is_ending, linger: None }
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
        ready!(this.control.poll_room(cx));
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
        this.control.flushed();
        Poll::Ready(this.follow_client(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.control.client_failure().is_some() {
            // The reset comes with the drop; an orderly end before it would be believed.
            return Poll::Ready(Ok(()));
        }
        if this.control.is_tunnel() {
            return Pin::new(&mut this.stream).poll_shutdown(cx);
        }
        this.is_ending.store(true, Ordering::Relaxed);
        this.linger.get_or_insert_with(Linger::begin).poll(&mut this.stream, cx).map(Ok)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.control.upstream_over();
        if self.control.client_failure().is_some()
            && let Err(error) = sys::abort_on_close(&self.stream)
        {
            tracing::debug!(%error, "reset");
        }
    }
}
