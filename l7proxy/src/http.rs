//! HTTP on a redirected connection.
//!
//! Owns how bytes become requests and answers become bytes. Never asks the rules (that is `request`) and never dials
//! (that is `upstream`). Start at [`serve`].

use std::{
    cell::{Cell, RefCell},
    fmt,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use http::Request;
use rules::{Direction, PathOptions};

use crate::{
    drain,
    flow::{self, Capture},
    metrics::Counters,
    policy::Live,
    reject::Rejection,
    upstream::Dialer,
};

mod changes;
pub mod edit;
mod http1;
mod http2;
mod linger;
mod serve;

pub use changes::Changes;
pub use http1::{Found, Outcome, Scanner};
pub use http2::{Broken, Code, Decoder, Encoder, Field, Frames, Piece};
pub use serve::serve;

/// What is known of a connection that was redirected here.
#[derive(Debug)]
pub struct Connection {
    /// Seen from the pod.
    pub direction: Direction,
    /// The true client.
    pub client: SocketAddr,
    /// Where the client wanted to go.
    pub original: SocketAddr,
    /// The newest policy at each request.
    pub live: Live,
    /// The way to the upstream.
    pub dialer: Dialer,
}

/// What all connections of one data worker share.
#[derive(Debug)]
pub struct Worker {
    /// Where records go.
    pub flows: flow::Sink,
    /// What of messages they show.
    pub capture: Capture,
    /// Counters of the process.
    pub counters: Arc<Counters>,
    /// What a client may cost.
    pub limits: Limits,
    /// How paths are brought to their normal form.
    pub path: PathOptions,
    /// Tells connections of changes of policy.
    pub changes: Changes,
    /// Tells when to end.
    pub drain: drain::Watch,
    /// What connections read into.
    pub scratch: Scratch,
}

/// What one connection of a worker uses at a time, while it is its turn: those that wait hold none of it.
#[derive(Default)]
pub struct Scratch {
    bytes: Cell<Vec<u8>>,
    /// The newest HTTP/1 request; its room is the next one's.
    request: RefCell<Request<()>>,
    http2: Cell<http2::Spare>,
}

impl Scratch {
    /// As much as anybody reads at once.
    const SIZE: usize = 64 << 10;

    pub(in crate::http) fn take(&self) -> Vec<u8> {
        let bytes = self.bytes.take();
        if bytes.is_empty() { vec![0; Self::SIZE] } else { bytes }
    }

    pub(in crate::http) fn give_back(&self, bytes: Vec<u8>) {
        self.bytes.set(bytes);
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").finish_non_exhaustive()
    }
}

/// A request that is refused before anybody asks the rules.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub rejection: Rejection,
    /// How it began, for the record, if it is none that could be read.
    pub bytes: Option<Vec<u8>>,
}

impl Refused {
    /// Of these bytes so many are kept.
    const KEPT: usize = 16 << 10;

    /// A request that could be read.
    #[must_use]
    pub fn whole(rejection: Rejection) -> Self {
        Self { rejection, bytes: None }
    }

    /// What begins with `bytes`.
    #[must_use]
    pub fn of(rejection: Rejection, bytes: &[u8]) -> Self {
        let kept = bytes.get(..Self::KEPT).unwrap_or(bytes);
        Self { rejection, bytes: Some(kept.to_vec()) }
    }
}

/// What a client may cost (`docs/limits.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request head.
    pub head_bytes: usize,
    /// Bytes of a request line.
    pub request_line_bytes: usize,
    /// Header lines of a request.
    pub headers: usize,
    /// From the first byte of a head to its last.
    pub header_timeout: Duration,
    /// Streams of an HTTP/2 connection that are open at once.
    pub streams: u32,
    /// Streams that a client resets, in a second; as many at once.
    pub resets: u32,
    /// HTTP/2 frames that carry nothing of a message, in a second; as many at once.
    pub control_frames: u32,
    /// Bytes that are read of a denied request's body before its connection is closed instead.
    pub denied_body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 60 << 10,
            request_line_bytes: 8 << 10,
            headers: 100,
            header_timeout: Duration::from_secs(10),
            streams: 100,
            resets: 500,
            control_frames: 1000,
            denied_body_bytes: 64 << 10,
        }
    }
}
