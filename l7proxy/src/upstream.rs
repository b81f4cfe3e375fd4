//! The upstream of one downstream connection: one connection, never shared, never tried twice.
//!
//! Owns the upstream's socket and its HTTP client. Never decides whether something may be sent: whoever sends shows a
//! [`Permit`]. Start at [`Upstream::send`].

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::{HeaderMap, Request, Response, Version, header};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rules::Permit;
use tokio::task;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    http::{Control, body::RequestBody},
    reject::UpstreamFailure,
};

mod dial;
mod http2;
mod socket;

pub use dial::{Dialer, Leg, Side};
pub use http2::{Failed, Http2};
use socket::Socket;

/// The upstream side of one downstream connection.
#[derive(Debug)]
pub struct Upstream {
    dialer: Dialer,
    state: State,
    /// It answered with HTTP/1.0: then the library speaks 1.0 to it, and leaves out bodies in chunks.
    is_old: bool,
    /// Knows whether the client failed.
    control: Control,
    /// Cancelled when the upstream's connection is over.
    gone: CancellationToken,
}

#[derive(Debug)]
enum State {
    /// No request was allowed yet.
    NotDialled,
    Open {
        sender: SendRequest<RequestBody>,
        _connection: Running,
    },
    /// It is over; the client's connection ends with it.
    Over,
}

/// The task that carries the connection's bytes. Ends with this, unless it only waits for the upstream's end.
#[derive(Debug)]
struct Running {
    task: Option<AbortOnDropHandle<()>>,
    is_ending: Arc<AtomicBool>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_ending.load(Ordering::Relaxed)
            && let Some(task) = self.task.take()
        {
            drop(task.detach());
        }
    }
}

impl Upstream {
    /// Nothing is dialled before the first permit.
    #[must_use]
    pub fn new(dialer: Dialer, control: Control, gone: CancellationToken) -> Self {
        Self { dialer, state: State::NotDialled, is_old: false, control, gone }
    }

    /// Sends a request and gives its answer; bodies stream.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
        _permit: Permit,
    ) -> Result<Response<Incoming>, UpstreamFailure> {
        if let State::NotDialled = self.state {
            self.dial().await?;
        }
        if self.is_old && request.headers().contains_key(header::TRANSFER_ENCODING) {
            self.state = State::Over;
            return Err(UpstreamFailure::Protocol);
        }
        let State::Open { sender, .. } = &mut self.state else { return Err(UpstreamFailure::Closed) };
        let sent = match sender.ready().await {
            Ok(()) => sender.send_request(request).await,
            Err(error) => Err(error),
        };
        let response = sent.map_err(|error| {
            tracing::debug!(%error, upstream = %self.dialer.target(), "request");
            self.state = State::Over;
            if error.is_parse() { UpstreamFailure::Protocol } else { UpstreamFailure::Closed }
        })?;
        self.is_old |= response.version() == Version::HTTP_10;
        if has_one_framing(response.headers()) {
            return Ok(response);
        }
        self.state = State::Over;
        Err(UpstreamFailure::Protocol)
    }

    /// Ends the upstream's connection.
    pub fn close(&mut self) {
        self.state = State::Over;
    }

    async fn dial(&mut self) -> Result<(), UpstreamFailure> {
        let stream = self.dialer.connect().await.map_err(|error| {
            tracing::debug!(%error, upstream = %self.dialer.target(), "connect");
            UpstreamFailure::Connect
        })?;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "nodelay");
        }
        let is_ending = Arc::new(AtomicBool::new(false));
        let socket = Socket::new(stream, self.control.clone(), Arc::clone(&is_ending));
        let handshake = http1::Builder::new().preserve_header_case(true).handshake(TokioIo::new(socket)).await;
        let (sender, connection) = handshake.map_err(|_| UpstreamFailure::Connect)?;
        let gone = self.gone.clone();
        let connection = task::spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "upstream connection");
            }
            gone.cancel();
        });
        let running = Running { task: Some(AbortOnDropHandle::new(connection)), is_ending };
        self.state = State::Open { sender, _connection: running };
        Ok(())
    }
}

/// Whether clients can only agree on where an answer ends. (The library takes the coding's word, and a list of equal
/// lengths, and goes on.)
#[must_use]
pub fn has_one_framing(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (lengths.next(), codings.next()) {
        (None, None) => true,
        (Some(length), None) => length.as_bytes().iter().all(u8::is_ascii_digit) && lengths.next().is_none(),
        (None, Some(coding)) => coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none(),
        (Some(_), Some(_)) => false,
    }
}
