//! Why a request ends here, and the one mapping to what the client gets.
//!
//! Owns the closed list of reasons. Never sends anything. Start at [`Rejection::reply`].

use http::{HeaderValue, Response, StatusCode, header};
use rules::Denial;

use crate::flow::DropReason;

/// Body of a denial, as Cilium's proxy answers.
const DENIED: &str = "Access denied\r\n";
/// What a record says of a client that left before its answer (the status is nginx's), with the reason.
pub const CLIENT_LEFT: (u16, &str) = (499, "client-left");

/// A request may be over one of these limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of the head.
    Head,
    /// Bytes of the request line.
    RequestLine,
    /// Number of header lines.
    Headers,
    /// Streams of an HTTP/2 connection at once.
    Streams,
    /// Streams that a client resets, in a second.
    Resets,
    /// HTTP/2 frames that carry nothing of a message, in a second.
    ControlFrames,
    /// What else of HTTP/2 costs more than requests do: broken streams, frames of one head, the size of what a head unpacks to,
    /// what waits in front of a tunnel.
    Flood,
}

/// Who ended an allowed request before its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamFailure {
    /// It did not take the connection.
    Connect,
    /// It closed or reset the connection before it answered.
    Closed,
    /// It answered with something that is not HTTP, or switched protocols unasked.
    Protocol,
    /// It reset the stream.
    Reset,
    /// It takes no more requests on its connection; it did not serve this one.
    Refused,
    /// Its answer to this request has no single meaning.
    Answer,
    /// It does not offer what this request is (extended CONNECT).
    NotOffered,
}

/// How a client failed in the middle of an allowed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientFailure {
    /// It closed or reset the connection before its body was complete.
    Left,
    /// Its body is not framed as it said.
    Framing,
}

/// Why a request ends here.
#[derive(Debug)]
pub enum Rejection {
    /// No rule allows it.
    Denied(Box<Denial>),
    /// The pod is not known any more, or has no policy state.
    NoPolicy,
    /// It has no single meaning; a stable word says why.
    Malformed(&'static str),
    /// It is over a limit.
    TooLarge(Limit),
    /// Its head took too long.
    TooSlow,
    /// It came when the client had been told that no more is taken on its connection.
    GoingAway,
    /// It was allowed, and policy changed while it was under way.
    Ended,
    /// It was allowed, and the upstream failed.
    Upstream(UpstreamFailure),
    /// It was allowed, and the client failed.
    Client(ClientFailure),
}

/// What the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A response; `close`: nothing more is read from this client.
    Http {
        /// Its status.
        status: StatusCode,
        /// Its body.
        body: &'static str,
        /// Nothing more is read from this client.
        close: bool,
    },
    /// What comes nearest to being without the proxy.
    Reset,
}

/// Our own answer, and whether nothing more is read from the client.
pub type Answer = (Response<&'static str>, bool);

impl Rejection {
    /// The one mapping.
    #[must_use]
    pub fn reply(&self) -> Reply {
        let answer = |status, body, close| Reply::Http { status, body, close };
        match self {
            Self::Denied(_) | Self::NoPolicy => answer(StatusCode::FORBIDDEN, DENIED, false),
            Self::Malformed(_) => answer(StatusCode::BAD_REQUEST, "Bad request\r\n", true),
            Self::TooLarge(Limit::RequestLine) => answer(StatusCode::URI_TOO_LONG, "Request line too long\r\n", true),
            Self::TooLarge(Limit::Head | Limit::Headers) => {
                answer(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "Request head too large\r\n", true)
            }
            Self::TooSlow => answer(StatusCode::REQUEST_TIMEOUT, "Request head took too long\r\n", true),
            Self::TooLarge(Limit::Streams | Limit::Resets | Limit::ControlFrames | Limit::Flood)
            | Self::GoingAway
            | Self::Ended
            | Self::Upstream(_)
            | Self::Client(_) => Reply::Reset,
        }
    }

    /// Of a denial, enforced or not.
    #[must_use]
    pub fn reason_of(denial: &Denial) -> &'static str {
        if denial.rule.is_some() { "deny-rule" } else { "no-rule" }
    }

    /// For records: a stable word.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Denied(denial) => Self::reason_of(denial),
            Self::NoPolicy => "no-policy",
            Self::Malformed(reason) => reason,
            Self::TooLarge(Limit::Head) => "head-too-large",
            Self::TooLarge(Limit::RequestLine) => "request-line-too-long",
            Self::TooLarge(Limit::Headers) => "too-many-headers",
            Self::TooLarge(Limit::Streams) => "too-many-streams",
            Self::TooLarge(Limit::Resets) => "too-many-resets",
            Self::TooLarge(Limit::ControlFrames) => "too-many-control-frames",
            Self::TooLarge(Limit::Flood) => "http2-flood",
            Self::TooSlow => "head-too-slow",
            Self::GoingAway => "going-away",
            Self::Ended => "ended-policy-changed",
            Self::Upstream(UpstreamFailure::Connect) => "upstream-connect",
            Self::Upstream(UpstreamFailure::Closed) => "upstream-closed",
            Self::Upstream(UpstreamFailure::Protocol | UpstreamFailure::Answer) => "upstream-protocol",
            Self::Upstream(UpstreamFailure::Reset) => "upstream-reset",
            Self::Upstream(UpstreamFailure::Refused) => "upstream-refused",
            Self::Upstream(UpstreamFailure::NotOffered) => "upstream-not-offered",
            Self::Client(ClientFailure::Left) => CLIENT_LEFT.1,
            Self::Client(ClientFailure::Framing) => "body-framing",
        }
    }

    /// For the record of an end without an answer: a status that says who failed.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::Upstream(_) => 502,
            Self::Client(ClientFailure::Left) => CLIENT_LEFT.0,
            Self::Client(ClientFailure::Framing) | Self::Malformed(_) => 400,
            Self::Denied(_) | Self::NoPolicy | Self::Ended => 403,
            Self::TooLarge(Limit::Head | Limit::RequestLine | Limit::Headers) => 431,
            Self::TooLarge(Limit::Streams | Limit::Resets | Limit::ControlFrames | Limit::Flood) => 429,
            Self::GoingAway => 503,
            Self::TooSlow => 408,
        }
    }

    /// For records, as Hubble names drops.
    #[must_use]
    pub fn drop_reason(&self) -> DropReason {
        match self {
            Self::Denied(denial) if denial.rule.is_some() => DropReason::PolicyDeny,
            Self::Denied(_) | Self::Ended => DropReason::PolicyDenied,
            Self::NoPolicy => DropReason::NoPolicy,
            Self::Malformed(_) | Self::TooLarge(_) | Self::TooSlow => DropReason::InvalidPacket,
            Self::GoingAway | Self::Upstream(_) | Self::Client(_) => DropReason::Unknown,
        }
    }
}

/// The response to a rejection, and whether nothing more is read from the client; trailers-only for gRPC, as Envoy answers.
/// `None` is a reset.
#[must_use]
pub fn response(rejection: &Rejection, is_grpc: bool) -> Option<Answer> {
    let Reply::Http { status, body, close } = rejection.reply() else { return None };
    Some((if is_grpc { grpc(status) } else { plain(status, body) }, close))
}

fn plain(status: StatusCode, body: &'static str) -> Response<&'static str> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// HTTP status 200; the gRPC status is in the headers, there is no body.
fn grpc(status: StatusCode) -> Response<&'static str> {
    let (code, message) = match status {
        StatusCode::FORBIDDEN => ("7", "Access denied%0D%0A"),
        StatusCode::BAD_REQUEST => ("13", "Bad request%0D%0A"),
        _ => ("2", "Request refused%0D%0A"),
    };
    let mut response = Response::new("");
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static(code));
    headers.insert("grpc-message", HeaderValue::from_static(message));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_is_what_users_of_cilium_know() {
        let (response, close) = response(&Rejection::NoPolicy, false).unwrap();
        assert_eq!((response.status(), *response.body()), (StatusCode::FORBIDDEN, "Access denied\r\n"));
        assert!(!close, "the connection stays usable");
    }

    #[test]
    fn grpc_is_told_in_trailers_only() {
        let (response, _) = response(&Rejection::NoPolicy, true).unwrap();
        assert_eq!((response.status(), *response.body()), (StatusCode::OK, ""));
        assert_eq!(response.headers()["grpc-status"], "7");
    }

    #[test]
    fn an_upstream_failure_is_never_a_made_up_answer() {
        let failure = Rejection::Upstream(UpstreamFailure::Closed);
        assert!(response(&failure, false).is_none());
    }

    #[test]
    fn what_is_malformed_closes_the_connection() {
        let (_, close) = response(&Rejection::Malformed("x"), false).unwrap();
        assert!(close);
    }
}
