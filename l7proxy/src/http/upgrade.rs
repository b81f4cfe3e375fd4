//! Switching protocols: what a request asks for, and the tunnel after a 101, or after CONNECT's 2xx.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use super::edit::remove;

const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// What a request asks to switch to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Nothing.
    None,
    /// HTTP/2 over cleartext: ignored, as RFC 9113 §3.1 allows; a tunnel would carry requests that nobody judges.
    Http2,
    /// Anything else: switched when the upstream agrees.
    Other,
    /// CONNECT: a tunnel, when the upstream agrees.
    Tunnel,
}

impl Protocol {
    /// Whether an answer with `status` agrees.
    #[must_use]
    pub fn is_granted(self, status: StatusCode) -> bool {
        match self {
            Self::None | Self::Http2 => false,
            Self::Other => status == StatusCode::SWITCHING_PROTOCOLS,
            Self::Tunnel => status.is_success(),
        }
    }
}

/// What a request asks for.
#[must_use]
pub fn asked(method: &Method, headers: &HeaderMap) -> Protocol {
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

/// Takes the wish for HTTP/2 away, and what goes with it.
pub fn forget_http2(headers: &mut HeaderMap) {
    remove(&header::UPGRADE, headers);
    remove(&HTTP2_SETTINGS, headers);
    let mut kept: Vec<String> = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        let tokens = value.to_str().unwrap_or_default().split(',').map(str::trim);
        let stays = |token: &&str| {
            !token.is_empty() && !token.eq_ignore_ascii_case("upgrade") && !token.eq_ignore_ascii_case("http2-settings")
        };
        kept.extend(tokens.filter(stays).map(str::to_owned));
    }
    match HeaderValue::from_str(&kept.join(", ")) {
        Ok(value) if !kept.is_empty() => drop(headers.insert(header::CONNECTION, value)),
        _ => remove(&header::CONNECTION, headers),
    }
}

/// Carries bytes both ways until both sides are done.
pub async fn tunnel(client: OnUpgrade, upstream: OnUpgrade) {
    let (client, upstream) = match (client.await, upstream.await) {
        (Ok(client), Ok(upstream)) => (client, upstream),
        (Err(error), _) | (_, Err(error)) => {
            tracing::debug!(%error, "the protocol was not switched after all");
            return;
        }
    };
    if let Err(error) = copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(upstream)).await {
        tracing::debug!(%error, "tunnel");
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn forgetting_http2_keeps_other_options() {
        let mut map = headers(&[
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("connection", "Upgrade, HTTP2-Settings, close"),
        ]);
        forget_http2(&mut map);
        assert_eq!(map.len(), 1);
        assert_eq!(map[header::CONNECTION], "close");
    }
}
