//! Connections of clients: accepted, shaken hands with, served.
//!
//! Owns the bounds of what a client may hold without asking for anything. Never waits for one client while another one comes.
//! Start at [`Accepting`].

use std::{
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener},
    sync::OwnedSemaphorePermit,
    time::{self, Instant, Sleep},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{Limits, Places, service::Service, tls::Tls};
use crate::metrics::{Counters, count};

/// The first bytes of a client that speaks HTTP/2.
const PREFACE: usize = 24;
/// Calls of one connection at once.
const CALLS: u32 = 100;
/// Bytes that a client may send of a call, and of all of its calls, before we took them.
const CALL_WINDOW: u32 = 64 << 10;
const WINDOW: u32 = 256 << 10;
/// Bytes of an answer that wait for a client that does not read.
const UNSENT: usize = 64 << 10;
/// Bytes of a call's headers.
const HEADERS: u32 = 16 << 10;
/// A client that is silent for so long is asked whether it is there, and has so long to say so.
const SILENCE: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(20);
/// After an accept that failed: descriptors may be free again.
const PAUSE: Duration = Duration::from_millis(100);

/// What all connections share.
#[derive(Clone)]
pub(super) struct Accepting {
    pub(super) service: Service,
    pub(super) places: Places,
    pub(super) limits: Limits,
    pub(super) counters: Arc<Counters>,
    /// Nothing new is served from then on.
    pub(super) stop: CancellationToken,
}

impl Accepting {
    /// Serves who comes by the socket, until told to stop.
    pub(super) async fn unix(self, listener: UnixListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => self.admit(|place, this| this.serve(stream, place)),
                Err(error) => self.pause(&error).await,
            }
        }
    }

    /// Serves who comes by TCP, until told to stop.
    pub(super) async fn tcp(self, listener: TcpListener, mut tls: Option<Tls>) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    self.pause(&error).await;
                    continue;
                }
            };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "hubble connection");
            }
            match &mut tls {
                Some(tls) => {
                    let acceptor = TlsAcceptor::from(tls.current());
                    self.admit(|place, this| this.shake_hands(acceptor, stream, place));
                }
                None => self.admit(|place, this| this.serve(stream, place)),
            }
        }
    }

    /// Gives a connection a place, if there is one.
    fn admit<F>(&self, serve: impl FnOnce(OwnedSemaphorePermit, Self) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match self.places.take() {
            Some(place) => drop(tokio::spawn(serve(place, self.clone()))),
            None => count(&self.counters.hubble_connections_refused),
        }
    }

    async fn pause(&self, error: &io::Error) {
        count(&self.counters.accept_errors);
        tracing::warn!(%error, "hubble connection");
        time::sleep(PAUSE).await;
    }

    async fn shake_hands(self, acceptor: TlsAcceptor, stream: TcpStream, place: OwnedSemaphorePermit) {
        match time::timeout(self.limits.handshake, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.serve(stream, place).await,
            Ok(Err(error)) => self.failed(&error),
            Err(elapsed) => self.failed(&elapsed.into()),
        }
    }

    fn failed(&self, error: &io::Error) {
        count(&self.counters.hubble_handshakes_failed);
        tracing::debug!(%error, "hubble handshake");
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, place: OwnedSemaphorePermit) {
        let stream = Opening::new(stream, self.limits.handshake, Arc::clone(&self.counters));
        let Self { service, stop, .. } = self;
        let call = service_fn(move |request| service.clone().call(request));
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(CALLS)
            .initial_stream_window_size(CALL_WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_send_buf_size(UNSENT)
            .max_header_list_size(HEADERS)
            .keep_alive_interval(SILENCE)
            .keep_alive_timeout(PATIENCE)
            .serve_connection(TokioIo::new(stream), call);
        let mut connection = pin!(connection);
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "hubble connection");
        }
        drop(place);
    }
}

/// A connection whose client has to say something first.
struct Opening<S> {
    stream: S,
    /// Until it has said enough.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Bytes that it has still to say.
    missing: usize,
    counters: Arc<Counters>,
}

impl<S> Opening<S> {
    fn new(stream: S, patience: Duration, counters: Arc<Counters>) -> Self {
        let deadline = Box::pin(time::sleep_until(Instant::now() + patience));
        Self { stream, deadline: Some(deadline), missing: PREFACE, counters }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opening<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(deadline) = &mut self.deadline else { return read };
        match &read {
            Poll::Ready(_) => {
                self.missing = self.missing.saturating_sub(buffer.filled().len() - before);
                if self.missing == 0 {
                    self.deadline = None;
                }
                read
            }
            Poll::Pending => {
                std::task::ready!(deadline.as_mut().poll(context));
                self.deadline = None;
                count(&self.counters.hubble_handshakes_failed);
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opening<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
