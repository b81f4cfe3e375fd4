//! The upstream of one HTTP/2 connection: one connection, never shared with another client, nothing sent twice.
//!
//! Start at [`Http2::open`].

use std::time::Duration;

use bytes::Bytes;
use h2::{
    Reason, SendStream,
    client::{self, ResponseFuture, SendRequest},
    ext::Protocol,
};
use http::{Request, Version};
use rules::Permit;
use tokio::{
    sync::{Mutex, OnceCell},
    task, time,
};
use tokio_util::sync::CancellationToken;

mod socket;

use self::socket::Socket;
use super::Dialer;
use crate::{
    http::{CONNECTION_WINDOW, STREAM_WINDOW},
    reject::UpstreamFailure,
};

/// Bytes of an answer's head.
const ANSWER_HEAD: u32 = 256 << 10;
/// Bytes of a head that is not large.
const LARGE: usize = 1 << 10;
/// How long an upstream may take for the end of a connection whose client is gone.
const ENDING: Duration = Duration::from_secs(1);

/// Why the upstream gives no answer.
#[derive(Clone, Copy, Debug)]
pub struct Failed {
    /// What failed.
    pub failure: UpstreamFailure,
    /// For the client's stream.
    pub code: Reason,
}

type Dialled = Result<SendRequest<Bytes>, UpstreamFailure>;

/// The upstream side of one downstream connection.
#[derive(Debug)]
pub struct Http2 {
    dialer: Dialer,
    sender: OnceCell<Dialled>,
    /// Of heads that are large.
    turn: Mutex<()>,
    /// Cancelled when the upstream's first SETTINGS are there.
    settings: CancellationToken,
    /// Cancelled when the upstream takes no more requests.
    leaving: CancellationToken,
    /// Cancelled when the upstream's connection failed as a whole.
    broken: CancellationToken,
    /// Cancelled on drop.
    abandoned: CancellationToken,
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.abandoned.cancel();
    }
}

impl Http2 {
    /// Nothing is dialled before the first permit.
    #[must_use]
    pub fn new(dialer: Dialer, leaving: CancellationToken, broken: CancellationToken) -> Self {
        let (settings, abandoned) = (CancellationToken::new(), CancellationToken::new());
        Self { dialer, sender: OnceCell::new(), turn: Mutex::default(), settings, leaving, broken, abandoned }
    }

    /// Sends a request's head; `ended` if that is all of it.
    pub async fn open(
        &self,
        mut request: Request<()>,
        ended: bool,
        _permit: Permit,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Failed> {
        // Boxed: only the first stream needs room for it.
        let sender = self.sender.get_or_init(|| Box::pin(self.dial())).await;
        // It never got the request: the client may send it again, as after a connection that was refused.
        let refused = |failure| Failed { failure, code: Reason::REFUSED_STREAM };
        let sender = sender.clone().map_err(refused)?;
        let mut sender = sender.ready().await.map_err(|error| self.refused(&error))?;
        if request.extensions().get::<Protocol>().is_some() {
            // Whether the upstream offers it (RFC 8441) is known when it has said what it wants; or never.
            tokio::select! {
                biased;
                () = self.settings.cancelled() => {}
                () = self.leaving.cancelled() => {}
            }
            if !sender.is_extended_connect_protocol_enabled() {
                return Err(Failed { failure: UpstreamFailure::NotOffered, code: Reason::PROTOCOL_ERROR });
            }
        }
        if request.uri().authority().is_none() {
            // Its Host header says where it goes. (The library then names the scheme.)
            *request.version_mut() = Version::HTTP_11;
        }
        // A client's table can make a large head of a few bytes, and the library writes all heads that wait into one buffer:
        // large ones go one by one.
        let turn = if bytes(&request) > LARGE { Some(self.turn.lock().await) } else { None };
        let opened = sender.send_request(request, ended).map_err(|error| self.refused(&error));
        if turn.is_some() {
            task::yield_now().await;
        }
        opened
    }

    /// The upstream's connection failed as a whole: the client's ends with it.
    pub fn broke(&self) {
        self.broken.cancel();
    }

    fn refused(&self, error: &h2::Error) -> Failed {
        tracing::debug!(%error, upstream = %self.dialer.target(), "request");
        self.leaving.cancel();
        let failed = Failed::of(error);
        if failed.failure == UpstreamFailure::Protocol {
            return failed;
        }
        Failed { failure: UpstreamFailure::Refused, code: Reason::REFUSED_STREAM }
    }

    async fn dial(&self) -> Dialled {
        let stream = self.dialer.connect().await.map_err(|error| {
            tracing::debug!(%error, upstream = %self.dialer.target(), "connect");
            UpstreamFailure::Connect
        })?;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "nodelay");
        }
        let handshake = client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(ANSWER_HEAD)
            .max_send_buffer_size(usize::try_from(STREAM_WINDOW).unwrap_or(usize::MAX))
            .enable_push(false)
            .handshake(Socket::new(stream, self.settings.clone(), self.leaving.clone()));
        let (sender, connection) = handshake.await.map_err(|_| UpstreamFailure::Connect)?;
        let (leaving, abandoned) = (self.leaving.clone(), self.abandoned.clone());
        task::spawn_local(async move {
            tokio::pin!(connection);
            let result = tokio::select! {
                biased;
                result = connection.as_mut() => result,
                // What was begun is taken back, and the upstream is told; but nobody waits for it for long.
                () = abandoned.cancelled() => time::timeout(ENDING, connection).await.unwrap_or(Ok(())),
            };
            if let Err(error) = result {
                tracing::debug!(%error, "upstream connection");
            }
            leaving.cancel();
        });
        Ok(sender)
    }
}

fn bytes(request: &Request<()>) -> usize {
    let path = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    path + request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>()
}

impl Failed {
    /// Whose fault an error of the upstream's connection or of one stream is.
    #[must_use]
    pub fn of(error: &h2::Error) -> Self {
        let code = error.reason().unwrap_or(Reason::INTERNAL_ERROR);
        let failed = |failure| Self { failure, code };
        match (error.is_remote(), error.is_reset(), error.is_go_away()) {
            (true, true, _) => failed(UpstreamFailure::Reset),
            // It did not answer this one, and says so.
            (true, _, true) if code == Reason::NO_ERROR => {
                Self { failure: UpstreamFailure::Refused, code: Reason::REFUSED_STREAM }
            }
            (true, _, true) => failed(UpstreamFailure::Refused),
            (false, true, _) => failed(UpstreamFailure::Answer),
            (false, _, true) => failed(UpstreamFailure::Protocol),
            (_, false, false) => failed(UpstreamFailure::Closed),
        }
    }
}
