//! The upstream of one downstream connection: one connection, never shared, never tried twice.
//!
//! Owns the upstream's socket and its HTTP client. Never decides whether something may be sent: whoever sends shows a
//! [`Permit`]. Start at [`Upstream::send`].

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rules::Permit;
use tokio::task;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{http::body::RequestBody, reject::UpstreamFailure};

mod dial;

pub use dial::{Dialer, Leg};

/// The upstream side of one downstream connection.
#[derive(Debug)]
pub struct Upstream {
    dialer: Dialer,
    state: State,
    /// Cancelled when the upstream's connection is over.
    gone: CancellationToken,
}

#[derive(Debug)]
enum State {
    /// No request was allowed yet.
    NotDialled,
    Open {
        sender: SendRequest<RequestBody>,
        _connection: AbortOnDropHandle<()>,
    },
    /// It is over; the client's connection ends with it.
    Over,
}

impl Upstream {
    /// Nothing is dialled before the first permit.
    #[must_use]
    pub fn new(dialer: Dialer, gone: CancellationToken) -> Self {
        Self { dialer, state: State::NotDialled, gone }
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
        let State::Open { sender, .. } = &mut self.state else { return Err(UpstreamFailure::Closed) };
        let sent = match sender.ready().await {
            Ok(()) => sender.send_request(request).await,
            Err(error) => Err(error),
        };
        sent.map_err(|error| {
            tracing::debug!(%error, upstream = %self.dialer.target(), "request");
            self.state = State::Over;
            if error.is_parse() { UpstreamFailure::Protocol } else { UpstreamFailure::Closed }
        })
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
        let handshake = http1::Builder::new().preserve_header_case(true).handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|_| UpstreamFailure::Connect)?;
        let gone = self.gone.clone();
        let connection = task::spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "upstream connection");
            }
            gone.cancel();
        });
        self.state = State::Open { sender, _connection: AbortOnDropHandle::new(connection) };
        Ok(())
    }
}
