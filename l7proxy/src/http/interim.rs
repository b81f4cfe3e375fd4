//! Interim answers (1xx but 101): passed on as they come, and leave for a client that waits for it.

use std::io::Write;

use http::{HeaderMap, Request, StatusCode};
use hyper::ext;
use tokio_util::sync::CancellationToken;

use super::{Control, body::RequestBody};

/// Has the interim answers to `request` passed on to its client. A 100 gives `leave` instead when the client waits: then
/// the HTTP library writes it.
pub fn pass_on(request: &mut Request<RequestBody>, control: Control, leave: Option<CancellationToken>) {
    ext::on_informational(request, move |answer| match &leave {
        Some(leave) if answer.status() == StatusCode::CONTINUE => leave.cancel(),
        _ => control.interim(&written(answer.status(), answer.headers())),
    });
}

/// As HTTP/1.1. (The library keeps the case of names and the reason phrase of interim answers to itself.)
fn written(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let reason = status.canonical_reason().unwrap_or_default();
    let mut bytes = Vec::with_capacity(256);
    // Writing to memory does not fail.
    drop(write!(bytes, "HTTP/1.1 {} {reason}\r\n", status.as_u16()));
    for (name, value) in headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}
