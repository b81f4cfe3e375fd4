//! An HTTP/2 connection by prior knowledge: many requests at once, all to one upstream connection of their own.
//!
//! Built on the h2 library itself, not on hyper: hyper adds headers (content-length) and keeps to itself with which code a
//! stream was reset and which interim answers came. Owns the connection's life; its streams are `http2/stream.rs`. Never
//! speaks HTTP/1 to an upstream: what one side resets or takes back, the other must be able to hear. Start at [`serve`].

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, server};
use tokio::{net::TcpStream, task::JoinSet, time};

use super::{
    Connection, Limits, Worker,
    changes::{Changed, Changes, Due},
    serve::First,
};
use crate::{request::Exchange, upstream::Http2};

mod frames;
mod pump;
mod socket;
mod stream;
mod watch;

pub use frames::{Frame, Frames};
use socket::{Signals, Socket};
use watch::Watch;

/// Of one stream, and of a whole connection, this much may be on its way without having been passed on.
pub const STREAM_WINDOW: u32 = 64 << 10;
/// As [`STREAM_WINDOW`].
pub const CONNECTION_WINDOW: u32 = 1 << 20;

/// How long a client that is shed may take to hear of it.
const ENDING: Duration = Duration::from_secs(1);
/// Streams that break the protocol, of one connection.
const BROKEN_STREAMS: usize = 100;
/// Streams that were reset before anybody was given them.
const RESETS_PENDING: usize = 20;
/// Bytes of the table that heads are packed with.
const PACKING_TABLE: u32 = 4 << 10;

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

impl Changed for Line {
    fn policy_changed(&self, due: Due) {
        self.exchange.policy_changed(due == Due::Tunnels);
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
    let signals = Signals::default();
    let upstream = Http2::new(dialer, signals.leaving.clone(), signals.broken.clone());
    let line = Rc::new(Line { exchange, upstream, worker: Rc::clone(&worker), deciding: Cell::new(0) });
    let watch = Rc::new(RefCell::new(Watch::new(Rc::clone(&line))));
    let socket = Socket::new(stream, first.taken, Rc::clone(&watch), worker.limits.header_timeout, &signals);
    let handshake = builder(&worker.limits).handshake::<_, Bytes>(socket);
    let client = match time::timeout(worker.limits.header_timeout, handshake).await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => return tracing::debug!(%error, "connection"),
        Err(_) => return tracing::debug!("connection: the preface took too long"),
    };
    let who: Weak<dyn Changed> = Rc::<Line>::downgrade(&line);
    let _told = Changes::add(&worker, who, line.exchange.revisions());
    let mut serving = Serving { line, client, watch, signals, streams: JoinSet::new() };
    let goes_away = serving.run().await;
    serving.end(goes_away).await;
}

/// A connection that is being served.
struct Serving {
    line: Rc<Line>,
    client: server::Connection<Socket, Bytes>,
    watch: Rc<RefCell<Watch>>,
    signals: Signals,
    streams: JoinSet<()>,
}

impl Serving {
    /// Says whether the client was told to go away.
    async fn run(&mut self) -> bool {
        let drain = &self.line.worker.drain;
        let mut ending = false;
        loop {
            tokio::select! {
                biased;
                // Nothing more is written: the client's connection ends as the upstream's did.
                () = self.signals.broken.cancelled() => return ending,
                () = self.signals.over.cancelled() => {
                    self.shed().await;
                    return ending;
                }
                accepted = self.client.accept() => match accepted {
                    Some(Ok((request, respond))) => {
                        self.watch.borrow_mut().accepted(respond.stream_id().as_u32());
                        self.streams.spawn_local(stream::serve(Rc::clone(&self.line), Box::new(request), respond));
                    }
                    Some(Err(error)) => {
                        tracing::debug!(%error, "connection");
                        return ending;
                    }
                    None => return ending,
                },
                Some(_) = self.streams.join_next() => {}
                // What is new goes to another connection: the client is told, and loses nothing.
                () = drain.leaving(), if !ending => {
                    ending = true;
                    self.client.graceful_shutdown();
                }
                () = self.signals.leaving.cancelled(), if !ending => {
                    ending = true;
                    self.client.graceful_shutdown();
                }
            }
        }
    }

    /// Until it is said; but a client that floods may not read.
    async fn shed(&mut self) {
        self.client.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        let saying = async { while let Some(Ok(_)) = self.client.accept().await {} };
        if time::timeout(ENDING, saying).await.is_err() {
            tracing::debug!("a client that was shed does not read");
        }
    }

    async fn end(mut self, goes_away: bool) {
        if self.signals.broken.is_cancelled() {
            // What waits for an answer fails with the upstream, and its record says so: not before may the client be gone.
            while self.line.deciding.get() > 0 && self.streams.join_next().await.is_some() {}
            self.streams.abort_all();
        }
        drop(self.client);
        self.watch.borrow_mut().ended(goes_away);
        while self.streams.join_next().await.is_some() {}
    }
}

fn builder(limits: &Limits) -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .max_concurrent_streams(limits.streams)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .enable_connect_protocol()
        .header_table_size(PACKING_TABLE)
        .max_local_error_reset_streams(Some(BROKEN_STREAMS))
        .max_pending_accept_reset_streams(RESETS_PENDING)
        .max_send_buffer_size(usize::try_from(STREAM_WINDOW).unwrap_or(usize::MAX));
    builder
}
