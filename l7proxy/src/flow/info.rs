//! What a record says of a request.

use std::net::SocketAddr;

use http::{Request, Version, header};

/// Bytes of a URL that a record keeps: a line must stay below 64 KiB for Hubble's reader.
const MAX_URL: usize = 8 << 10;
/// Bytes of a method that a record keeps.
const MAX_METHOD: usize = 64;

/// Method, URL and protocol, as sent.
#[derive(Debug, PartialEq, Eq)]
pub struct HttpInfo {
    /// The method.
    pub method: String,
    /// `http://host/path?query`, cut if it is too long.
    pub url: String,
    /// `HTTP/1` (for 1.0) or `HTTP/1.1`, as Hubble writes them.
    pub protocol: &'static str,
}

impl HttpInfo {
    /// Of a request to `original`; without a Host header, that is the host.
    #[must_use]
    pub fn of<B>(request: &Request<B>, original: SocketAddr) -> Self {
        let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
        let uri = request.uri();
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        let mut url = String::with_capacity(path.len() + host.map_or(32, str::len) + 8);
        url.push_str("http://");
        match host.or(uri.authority().map(http::uri::Authority::as_str)) {
            Some(host) => url.push_str(host),
            None => url.push_str(&original.to_string()),
        }
        if !path.starts_with('/') {
            url.push('/');
        }
        url.push_str(path);
        cut(&mut url, MAX_URL);
        let mut method = request.method().as_str().to_owned();
        cut(&mut method, MAX_METHOD);
        let protocol = if request.version() == Version::HTTP_10 { "HTTP/1" } else { "HTTP/1.1" };
        Self { method, url, protocol }
    }
}

fn cut(text: &mut String, length: usize) {
    if text.len() > length {
        text.truncate(text.floor_char_boundary(length));
        text.push_str("...");
    }
}
