//! One connection from its first byte to its last: which HTTP it speaks, and who serves it.

use std::{io, rc::Rc, time::Duration};

use tokio::{
    net::TcpStream,
    time::{self, Instant},
};

use super::{Connection, Worker, http1, http2};
use crate::metrics::count;

/// What an HTTP/2 client begins with when it knows that the server speaks it (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the first bytes say.
#[derive(Debug)]
pub(super) struct First {
    is_http2: bool,
    /// What was taken out of the socket.
    pub(super) taken: Vec<u8>,
    /// When its first byte was there.
    pub(super) since: Instant,
}

/// Serves requests until the client, the upstream or the process ends; then `place` is dropped. To be run on a worker's own
/// thread.
pub async fn serve<P>(stream: TcpStream, connection: Connection, worker: Rc<Worker>, place: P) {
    count(&worker.counters.connections);
    let _open = worker.drain.count();
    let first = tokio::select! {
        biased;
        first = first(&stream, worker.limits.header_timeout) => first,
        () = worker.drain.draining() => return,
    };
    match first {
        // Its state is large; most connections have none.
        Ok(first) if first.is_http2 => Box::pin(http2::serve(stream, first, connection, worker)).await,
        Ok(first) => http1::serve(stream, first, connection, worker).await,
        Err(error) => tracing::debug!(%error, "connection"),
    }
    drop(place);
}

/// Looks at the first bytes and leaves them in the socket. Only what may still become a preface has to be taken out: more must
/// be waited for.
async fn first(stream: &TcpStream, timeout: Duration) -> io::Result<First> {
    let mut bytes = [0; PREFACE.len()];
    let length = stream.peek(&mut bytes).await?;
    let seen = bytes.get(..length).unwrap_or_default();
    let mut first = First { is_http2: seen == PREFACE, taken: Vec::new(), since: Instant::now() };
    if !seen.is_empty() && length < PREFACE.len() && PREFACE.starts_with(seen) {
        let more = more(stream, &mut first.taken);
        // What takes too long is refused as HTTP/1.
        if let Ok(read) = time::timeout(timeout, more).await {
            read?;
        }
        first.is_http2 = first.taken == PREFACE;
    }
    Ok(first)
}

/// Reads until it is known what it is.
async fn more(stream: &TcpStream, taken: &mut Vec<u8>) -> io::Result<()> {
    while taken.len() < PREFACE.len() && PREFACE.starts_with(taken) {
        stream.readable().await?;
        let mut bytes = [0; PREFACE.len()];
        let room = bytes.get_mut(taken.len()..).unwrap_or_default();
        match stream.try_read(room) {
            Ok(0) => return Ok(()),
            Ok(length) => taken.extend_from_slice(room.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
