//! Switching protocols: what a request asks for.

use http::{HeaderMap, Method, header};

/// What a request asks to switch to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Nothing.
    None,
    /// HTTP/2 over cleartext: ignored, as RFC 9113 §3.1 allows; a tunnel would carry requests that nobody judges.
    Http2,
    /// Anything else: switched when the upstream agrees.
    Other,
    /// CONNECT: a tunnel, when the upstream agrees.
    Tunnel,
}

/// What a request asks for.
pub(super) fn asked(method: &Method, headers: &HeaderMap) -> Protocol {
    if method == Method::CONNECT {
        return Protocol::Tunnel;
    }
    let mut asked = Protocol::None;
    for value in headers.get_all(header::UPGRADE) {
        for token in value.as_bytes().split(|byte| *byte == b',') {
            if token.trim_ascii().eq_ignore_ascii_case(b"h2c") {
                return Protocol::Http2;
            }
            asked = Protocol::Other;
        }
    }
    asked
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn http2_is_seen_in_any_place() {
        assert_eq!(asked(&Method::GET, &headers(&[("upgrade", "websocket")])), Protocol::Other);
        assert_eq!(asked(&Method::GET, &headers(&[("upgrade", "websocket, H2C")])), Protocol::Http2);
        assert_eq!(asked(&Method::GET, &headers(&[("connection", "close")])), Protocol::None);
    }
}
