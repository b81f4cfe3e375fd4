//! An HTTP/2 connection by prior knowledge: many requests at once, all to one upstream connection of their own.
//!
//! Built on the h2 library itself, not on hyper: hyper adds headers (content-length) and keeps to itself with which code a
//! stream was reset and which interim answers came. Owns the connection's life; its streams are `http2/stream.rs`. Never
//! speaks HTTP/1 to an upstream: what one side resets or takes back, the other must be able to hear. Start at [`serve`].

use std::{cell::Cell, rc::Rc};

use bytes::Bytes;
use h2::server;
use tokio::{net::TcpStream, task::JoinSet, time};
use tokio_util::sync::CancellationToken;

use super::{Connection, Limits, Worker, serve::First};
use crate::{request::Exchange, upstream::Http2};

mod pump;
mod socket;
mod stream;

use socket::Socket;

/// Of one stream, and of a whole connection, this much may be on its way without having been passed on.
pub const STREAM_WINDOW: u32 = 64 << 10;
/// As [`STREAM_WINDOW`].
pub const CONNECTION_WINDOW: u32 = 1 << 20;

/// What the streams of a connection share.
#[derive(Debug)]
struct Line {
    exchange: Exchange,
    upstream: Http2,
    worker: Rc<Worker>,
    /// Requests whose verdict or answer is not known yet.
    deciding: Cell<usize>,
}

/// One of them.
struct Deciding<'l>(&'l Cell<usize>);

impl Drop for Deciding<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Line {
    fn deciding(&self) -> Deciding<'_> {
        self.deciding.set(self.deciding.get() + 1);
        Deciding(&self.deciding)
    }
}

/// Serves streams until the client, the upstream or the process ends.
pub(super) async fn serve(stream: TcpStream, first: First, connection: Connection, worker: Rc<Worker>) {
    let (exchange, dialer) = Exchange::new(connection, Rc::clone(&worker));
    let (leaving, broken) = (CancellationToken::new(), CancellationToken::new());
    let upstream = Http2::new(dialer, leaving.clone(), broken.clone());
    let socket = Socket::new(stream, first.taken, broken.clone());
    let handshake = builder(&worker.limits).handshake::<_, Bytes>(socket);
    let mut client = match time::timeout(worker.limits.header_timeout, handshake).await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => return tracing::debug!(%error, "connection"),
        Err(_) => return tracing::debug!("connection: the preface took too long"),
    };
    let line = Rc::new(Line { exchange, upstream, worker: Rc::clone(&worker), deciding: Cell::new(0) });
    let mut streams = JoinSet::new();
    let mut ending = false;
    loop {
        tokio::select! {
            biased;
            // Nothing more is written: the client's connection ends as the upstream's did.
            () = broken.cancelled() => break,
            accepted = client.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    streams.spawn_local(stream::serve(Rc::clone(&line), request, respond));
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, "connection");
                    break;
                }
                None => break,
            },
            Some(_) = streams.join_next() => {}
            // What is new goes to another connection: the client is told, and loses nothing.
            () = worker.drain.leaving(), if !ending => {
                ending = true;
                client.graceful_shutdown();
            }
            () = leaving.cancelled(), if !ending => {
                ending = true;
                client.graceful_shutdown();
            }
        }
    }
    if broken.is_cancelled() {
        // What waits for an answer fails with the upstream, and its record says so: not before may the client be gone.
        while line.deciding.get() > 0 && streams.join_next().await.is_some() {}
        streams.abort_all();
    }
    drop(client);
    while streams.join_next().await.is_some() {}
}

fn builder(limits: &Limits) -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .max_concurrent_streams(limits.streams)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_send_buffer_size(usize::try_from(STREAM_WINDOW).unwrap_or(usize::MAX));
    builder
}
