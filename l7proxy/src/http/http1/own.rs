//! Our own answers, as HTTP/1 writes them.

use std::io::Write;

use http::{HeaderValue, Method, Request, Response, Version, header};

/// What an own answer to a request must fit.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is said by something else in the request")]
pub(super) struct Own {
    is_head: bool,
    http10: bool,
    /// The connection ends with it.
    pub(super) closes: bool,
    /// Its client waits for leave to send its body.
    pub(super) waits: bool,
}

impl Own {
    pub(super) fn to(request: &Request<()>, closes: bool) -> Self {
        let expect = request.headers().get(header::EXPECT).map(HeaderValue::as_bytes);
        Self {
            is_head: request.method() == Method::HEAD,
            http10: request.version() == Version::HTTP_10,
            closes,
            waits: expect.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue")),
        }
    }

    /// To what is no request.
    pub(super) fn to_nobody() -> Self {
        Self { is_head: false, http10: false, closes: true, waits: false }
    }

    /// `ends`: the connection does with it.
    pub(super) fn written(self, response: &Response<&'static str>, ends: bool) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        let status = response.status();
        let body = *response.body();
        let reason = status.canonical_reason().unwrap_or_default();
        // Writing to memory does not fail.
        drop(write!(bytes, "HTTP/1.1 {} {reason}\r\n", status.as_u16()));
        for (name, value) in response.headers() {
            line(name.as_str(), value.as_bytes(), &mut bytes);
        }
        line("content-length", body.len().to_string().as_bytes(), &mut bytes);
        if ends {
            line("connection", b"close", &mut bytes);
        } else if self.http10 {
            line("connection", b"keep-alive", &mut bytes);
        }
        bytes.extend_from_slice(b"\r\n");
        if !self.is_head {
            bytes.extend_from_slice(body.as_bytes());
        }
        bytes
    }
}

fn line(name: &str, value: &[u8], bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(b": ");
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
}
