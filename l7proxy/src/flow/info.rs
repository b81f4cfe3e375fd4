//! What a record says of a request.

use std::{borrow::Cow, net::SocketAddr};

use http::{HeaderName, Request, Version, header};

use super::{Capture, RawHeaders, headers::REDACTED};

/// Bytes of a URL that a record keeps: a line must stay below 64 KiB for Hubble's reader.
const MAX_URL: usize = 8 << 10;
/// Bytes of a method that a record keeps.
const MAX_METHOD: usize = 64;
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const HTTP10: &str = "HTTP/1";
const HTTP11: &str = "HTTP/1.1";
const HTTP2: &str = "HTTP/2";

/// Method, URL and protocol, as sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpInfo {
    /// The method.
    pub method: Cow<'static, str>,
    /// `http://host/path?query`, cut if it is too long.
    pub url: String,
    /// `HTTP/1` (for 1.0), `HTTP/1.1` or `HTTP/2`, as Hubble writes them.
    pub protocol: &'static str,
    /// Trace id of `traceparent` (W3C Trace Context), if there is a valid one.
    pub trace: Option<String>,
    /// The request's fields; empty where they are not kept.
    pub headers: RawHeaders,
}

impl HttpInfo {
    /// Of a request to `original`; without a Host header, that is the host.
    /// Values of fields that are named `secret` are not kept.
    #[must_use]
    pub fn of<B>(request: &Request<B>, original: SocketAddr, capture: &Capture, secret: &[HeaderName]) -> Self {
        let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
        let uri = request.uri();
        let path = uri.path_and_query().map_or("", |path| if capture.query() { path.as_str() } else { path.path() });
        let url = url(host.or(uri.authority().map(http::uri::Authority::as_str)), path, original);
        let method = known(request.method().as_str());
        let protocol = match request.version() {
            Version::HTTP_10 => HTTP10,
            Version::HTTP_2 => HTTP2,
            _ => HTTP11,
        };
        let mut traces = request.headers().get_all(&TRACEPARENT).iter();
        let trace = traces.next().filter(|_| traces.next().is_none()).and_then(|value| trace_id(value.as_bytes()));
        // Host is in the URL.
        let shown = request.headers().iter().filter(|(name, _)| **name != header::HOST);
        let headers = capture.fields(shown.map(|(name, value)| {
            let value = if secret.contains(name) { REDACTED.as_bytes() } else { value.as_bytes() };
            (name.as_str().as_bytes(), value)
        }));
        Self { method, url, protocol, trace, headers }
    }

    /// Of an HTTP/2 request that nobody read.
    #[must_use]
    pub fn unread(original: SocketAddr) -> Self {
        Self {
            method: Cow::Borrowed(""),
            url: url(None, "", original),
            protocol: HTTP2,
            trace: None,
            headers: RawHeaders::default(),
        }
    }

    /// Of what is no request, or not one with a single meaning, as far as it can be told from its first bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8], original: SocketAddr, capture: &Capture) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.trim_start_matches("\r\n").split('\n').map(str::trim_end);
        let mut words = lines.next().unwrap_or_default().split(' ');
        let method = words.next().filter(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic()));
        let target = words.next().filter(|_| method.is_some()).unwrap_or_default();
        let protocol = if words.next() == Some("HTTP/1.0") { HTTP10 } else { HTTP11 };
        let host = lines.take_while(|line| !line.is_empty()).filter_map(|line| line.split_once(':'));
        let host = host.filter(|(name, _)| name.eq_ignore_ascii_case("host")).map(|(_, value)| value.trim()).next();
        let (host, path) = match target.strip_prefix("http://") {
            Some(rest) => rest.split_at_checked(rest.find('/').unwrap_or(rest.len())).unwrap_or((rest, "")),
            // Its target is who it wants to reach.
            None if method == Some("CONNECT") => (target, ""),
            None => (host.unwrap_or_default(), target),
        };
        let path = if capture.query() { path } else { path.split('?').next().unwrap_or_default() };
        let method = known(method.unwrap_or_default());
        let host = Some(host).filter(|host| !host.is_empty());
        Self { method, url: url(host, path, original), protocol, trace: None, headers: RawHeaders::default() }
    }
}

/// Those of most requests take no memory.
fn known(method: &str) -> Cow<'static, str> {
    const KNOWN: [&str; 6] = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH"];
    if let Some(known) = KNOWN.into_iter().find(|known| *known == method) {
        return Cow::Borrowed(known);
    }
    let mut method = method.to_owned();
    cut(&mut method, MAX_METHOD);
    Cow::Owned(method)
}

fn url(host: Option<&str>, path: &str, original: SocketAddr) -> String {
    let mut url = String::with_capacity(path.len() + host.map_or(32, str::len) + 8);
    url.push_str("http://");
    match host {
        // Who shows a password in a URL shows it to everybody who reads records.
        Some(host) => {
            let begin = memchr::memrchr(b'@', host.as_bytes()).map_or(0, |at| at + 1);
            url.push_str(host.get(begin..).unwrap_or_default());
        }
        None => url.push_str(&original.to_string()),
    }
    if !path.starts_with('/') {
        url.push('/');
    }
    url.push_str(path);
    cut(&mut url, MAX_URL);
    url
}

/// `00-<trace id>-<parent id>-<flags>` in lower-case hexadecimal digits; zero is none.
fn trace_id(value: &[u8]) -> Option<String> {
    let id = std::str::from_utf8(value).ok()?.strip_prefix("00-")?.split_once('-')?.0;
    let is_hex = id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (is_hex && id.bytes().any(|byte| byte != b'0')).then(|| id.to_owned())
}

/// To what JSON writes of it: a control character takes six bytes there, a quote two.
fn cut(text: &mut String, length: usize) {
    if text.len() <= length / 6 {
        return;
    }
    let mut left = length;
    let end = text.char_indices().find_map(|(at, letter)| {
        let takes = if letter.is_control() { 6 } else { letter.len_utf8() + usize::from(matches!(letter, '"' | '\\')) };
        match left.checked_sub(takes) {
            Some(rest) => left = rest,
            None => return Some(at),
        }
        None
    });
    if let Some(end) = end {
        text.truncate(end);
        text.push_str("...");
    }
}
