//! The upstream's socket of an HTTP/2 connection, and what the library does not tell of what the upstream says.

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

use crate::http::Frames;

#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    frames: Frames,
    /// The first SETTINGS began.
    greeted: bool,
    /// Told when the upstream's first SETTINGS are there.
    settings: CancellationToken,
    /// Told when it takes no more requests.
    leaving: CancellationToken,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, settings: CancellationToken, leaving: CancellationToken) -> Self {
        Self { stream, frames: Frames::new(0), greeted: false, settings, leaving }
    }

    fn look(&mut self, mut bytes: &[u8]) {
        while let Some(frame) = self.frames.next(&mut bytes) {
            if self.greeted {
                self.settings.cancel();
            }
            self.greeted |= frame.is_settings();
            if frame.is_go_away() {
                self.leaving.cancel();
            }
        }
        if self.greeted && self.frames.is_between() {
            self.settings.cancel();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        this.look(buffer.filled().get(before..).unwrap_or_default());
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
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
