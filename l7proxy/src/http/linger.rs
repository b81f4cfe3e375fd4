//! The end of a connection: of a client's that we close first (closing with unread bytes is a reset, and a reset can
//! overtake the answer), of an upstream's that said it would (who closes first keeps a local port for a minute).

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

/// Bytes that are read and thrown away.
const BYTES: usize = 256 << 10;
/// How long.
const TIME: Duration = Duration::from_secs(1);

/// Reads and throws away until the other end closes.
#[derive(Debug)]
pub(super) struct Linger {
    left: usize,
    until: Pin<Box<Sleep>>,
}

impl Linger {
    /// Begins now.
    pub(super) fn begin() -> Self {
        Self { left: BYTES, until: Box::pin(sleep(TIME)) }
    }

    /// Ready when the other end closed, or after a while.
    pub(super) fn poll(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<()> {
        while self.left > 0 {
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.left = self.left.saturating_sub(buffer.filled().len());
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.until.as_mut().poll(cx),
            }
        }
        Poll::Ready(())
    }
}
