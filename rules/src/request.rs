//! A request in its one normal form: what is judged is what must be forwarded.
//!
//! Owns what is ambiguous. Must never judge one thing and let another be forwarded: the view of what is forwarded is the
//! same view. Start at [`RequestView::new`].

use std::borrow::Cow;

use http::{HeaderMap, header};

mod bytes;
mod path;

/// How a path is brought to its normal form. Everything that is `false` by default is a relaxation, by name: what it
/// allows stays in the path as it was sent. A NUL, however encoded, and `..` above the root are never allowed.
#[expect(clippy::struct_excessive_bools, reason = "one switch for each relaxation, so that each can be shown by name")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathOptions {
    /// `//` becomes `/`.
    pub merge_slashes: bool,
    /// `;` inside a segment passes (servlet containers cut segments there: `/admin;x` may be `/admin` to them), but not
    /// behind dots alone: `/..;x` may be `/..` to them.
    pub allow_path_parameters: bool,
    /// `%2F` passes and is no separator.
    pub allow_encoded_slash: bool,
    /// `%5C` passes.
    pub allow_encoded_backslash: bool,
    /// `%01` to `%1F` and `%7F` pass.
    pub allow_encoded_control: bool,
    /// `%252E`, `%252F` and `%255C` pass, however often encoded.
    pub allow_double_encoding: bool,
    /// Escapes that are no UTF-8 pass.
    pub allow_non_utf8: bool,
}

impl Default for PathOptions {
    fn default() -> Self {
        Self {
            merge_slashes: true,
            allow_path_parameters: false,
            allow_encoded_slash: false,
            allow_encoded_backslash: false,
            allow_encoded_control: false,
            allow_double_encoding: false,
            allow_non_utf8: false,
        }
    }
}

/// Why a request has no single meaning. It is answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Empty, or with bytes that no method has.
    #[error("the method is not a token")]
    Method,
    /// Neither `/path`, nor `http://host/path`, nor `*` with OPTIONS, nor `host:port` with CONNECT.
    #[error("the request target is neither a path nor an absolute URL, nor, with CONNECT, a host and a port")]
    Target,
    /// A byte that a request target may not have: control, blank, non-ASCII, `#`; and `<`, `>`, `` ` ``, in a query `"`
    /// too, which HTTP libraries refuse to send.
    #[error("the request target has a byte that must be percent-encoded")]
    Byte,
    /// `%` without two hexadecimal digits.
    #[error("the path has a broken percent-encoding")]
    Escape,
    /// `%2F`.
    #[error("the path has an encoded slash")]
    EncodedSlash,
    /// `\` or `%5C`.
    #[error("the path has a backslash")]
    Backslash,
    /// `%00`.
    #[error("the path has an encoded NUL")]
    EncodedNul,
    /// `%01` to `%1F`, `%7F`.
    #[error("the path has an encoded control character")]
    EncodedControl,
    /// `%252e`, `%252f`, `%255c`, `%2500`.
    #[error("the path has a doubly encoded dot, slash, backslash or NUL")]
    DoubleEncoding,
    /// Escapes that are no UTF-8, overlong forms included.
    #[error("the path's percent-encoded bytes are not UTF-8")]
    Utf8,
    /// `;` inside a segment.
    #[error("the path has parameters (;)")]
    PathParameter,
    /// More `..` than there are segments.
    #[error("the path leads above the root")]
    AboveRoot,
    /// None, several, or not a host.
    #[error("the Host header is missing, repeated or not a host")]
    Host,
    /// The authority of an absolute URL is not the Host header's.
    #[error("the Host header differs from the request target's authority")]
    HostDiffers,
}

impl Malformed {
    /// A stable word for metrics and records.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Target => "target-form",
            Self::Byte => "target-byte",
            Self::Escape => "escape",
            Self::EncodedSlash => "encoded-slash",
            Self::Backslash => "backslash",
            Self::EncodedNul => "encoded-nul",
            Self::EncodedControl => "encoded-control",
            Self::DoubleEncoding => "double-encoding",
            Self::Utf8 => "utf-8",
            Self::PathParameter => "path-parameter",
            Self::AboveRoot => "above-root",
            Self::Host => "host",
            Self::HostDiffers => "host-differs",
        }
    }
}

/// One request as rules see it.
#[derive(Clone, Debug)]
pub struct RequestView<'a> {
    method: &'a str,
    /// `http://authority` of an absolute-form target, `host:port` of a CONNECT, else empty.
    origin: &'a str,
    host: &'a str,
    path: Cow<'a, str>,
    changed: bool,
    headers: &'a HeaderMap,
}

impl<'a> RequestView<'a> {
    /// The view of a request line and its headers. `target` is what stood in the request line, byte for byte; `http10`
    /// says that the Host header may be missing.
    pub fn new(
        method: &'a str,
        target: &'a [u8],
        http10: bool,
        headers: &'a HeaderMap,
        options: &PathOptions,
    ) -> Result<Self, Malformed> {
        check_method(method)?;
        let target = std::str::from_utf8(target).map_err(|_| Malformed::Byte)?;
        if method == "CONNECT" {
            return Self::tunnel(method, target, host(headers, http10.then_some(target))?, headers);
        }
        let Target { origin, authority, path: sent } = split(method, target)?;
        let host = host(headers, http10.then_some(authority.unwrap_or_default()))?;
        // Byte for byte: rules compare the one, and the server may go by the other.
        if authority.is_some_and(|authority| authority != host) {
            return Err(Malformed::HostDiffers);
        }
        let path = match sent {
            "*" => Cow::Borrowed(sent),
            // An empty path is "/", and "*" with OPTIONS (RFC 9112 §3.2.1, §3.2.4).
            "" => Cow::Borrowed(if method == "OPTIONS" { "*" } else { "/" }),
            sent => path::normalize(sent, *options)?,
        };
        let changed = matches!(path, Cow::Owned(_)) || (sent.is_empty() && path == "/");
        Ok(Self { method, origin, host, path, changed, headers })
    }

    /// The view of an HTTP/2 request: its pseudo-headers and its headers. `authority` may be missing where a Host header is
    /// there (RFC 9113 §8.3.1); `path` is empty for a plain CONNECT, and only there.
    pub fn http2(
        method: &'a str,
        authority: Option<&'a str>,
        path: &'a [u8],
        headers: &'a HeaderMap,
        options: &PathOptions,
    ) -> Result<Self, Malformed> {
        check_method(method)?;
        let sent = std::str::from_utf8(path).map_err(|_| Malformed::Byte)?;
        if method == "CONNECT" && sent.is_empty() {
            let target = authority.ok_or(Malformed::Target)?;
            return Self::tunnel(method, target, host(headers, Some(target))?, headers);
        }
        let path = match sent {
            "*" if method == "OPTIONS" => Cow::Borrowed(sent),
            sent if sent.starts_with('/') => path::normalize(sent, *options)?,
            _ => return Err(Malformed::Target),
        };
        let host = host(headers, authority.filter(|authority| !authority.is_empty()))?;
        if authority.is_some_and(|authority| authority != host) {
            return Err(Malformed::HostDiffers);
        }
        let changed = matches!(path, Cow::Owned(_));
        Ok(Self { method, origin: "", host, path, changed, headers })
    }

    /// CONNECT: who is to be reached is the host; there is no path.
    fn tunnel(method: &'a str, target: &'a str, host: &'a str, headers: &'a HeaderMap) -> Result<Self, Malformed> {
        let has_port = target.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if !is_authority(target) || !has_port {
            return Err(Malformed::Target);
        }
        if target != host {
            return Err(Malformed::HostDiffers);
        }
        Ok(Self { method, origin: target, host, path: Cow::Borrowed(""), changed: false, headers })
    }

    /// Whether there is one: CONNECT, but the extended one of HTTP/2, has none, and no pattern of a path is about it.
    #[must_use]
    pub fn has_path(&self) -> bool {
        !self.path.is_empty()
    }

    /// As sent; methods are case-sensitive.
    #[must_use]
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// Normal form, with the query as it was sent. Empty if there is none.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// As sent, with its port if it had one; empty when HTTP/1.0 named none.
    #[must_use]
    pub fn host(&self) -> &'a str {
        self.host
    }

    /// All headers.
    #[must_use]
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The target to forward: the path of this view, in the form (origin or absolute) that was sent.
    #[must_use]
    pub fn forward_target(&self) -> Cow<'_, str> {
        if self.origin.is_empty() {
            Cow::Borrowed(&self.path)
        } else if self.path == "*" || self.path.is_empty() {
            Cow::Borrowed(self.origin)
        } else {
            Cow::Owned(format!("{}{}", self.origin, self.path))
        }
    }

    /// Whether the target to forward differs from what was sent.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.changed
    }
}

fn check_method(method: &str) -> Result<(), Malformed> {
    let is_token = !method.is_empty() && method.bytes().all(bytes::is_token);
    if is_token { Ok(()) } else { Err(Malformed::Method) }
}

/// The parts of a request target.
struct Target<'a> {
    /// `http://authority`, or nothing.
    origin: &'a str,
    authority: Option<&'a str>,
    /// With its query.
    path: &'a str,
}

fn split<'a>(method: &str, target: &'a str) -> Result<Target<'a>, Malformed> {
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(Target { origin: "", authority: None, path: target });
    }
    let (scheme, rest) = target.split_once("://").ok_or(Malformed::Target)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Malformed::Target);
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).ok_or(Malformed::Target)?;
    let length = target.len().saturating_sub(path.len());
    let origin = target.get(..length).ok_or(Malformed::Target)?;
    if authority.is_empty() {
        return Err(Malformed::Target);
    }
    match path.as_bytes().first() {
        None | Some(b'/') => Ok(Target { origin, authority: Some(authority), path }),
        // "http://host?query": proxies and servers disagree on it.
        Some(_) => Err(Malformed::Target),
    }
}

/// `otherwise`: what it is when there is no Host header, if there may be none.
fn host<'a>(headers: &'a HeaderMap, otherwise: Option<&'a str>) -> Result<&'a str, Malformed> {
    let mut values = headers.get_all(header::HOST).iter();
    let Some(value) = values.next() else {
        return otherwise.filter(|host| host.is_empty() || is_authority(host)).ok_or(Malformed::Host);
    };
    if values.next().is_some() {
        return Err(Malformed::Host);
    }
    let host = value.to_str().map_err(|_| Malformed::Host)?;
    if is_authority(host) { Ok(host) } else { Err(Malformed::Host) }
}

/// `name`, `1.2.3.4` or `[::1]`, each with an optional port. No user information.
pub(crate) fn is_authority(text: &str) -> bool {
    let (is_name, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        (address.parse::<std::net::Ipv6Addr>().is_ok(), port)
    } else {
        let end = text.bytes().position(|byte| !bytes::is_name(byte)).unwrap_or(text.len());
        (end > 0, text.get(end..).unwrap_or_default())
    };
    let is_port = |digits: &str| {
        digits.is_empty() || (digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok())
    };
    is_name && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

#[cfg(test)]
mod tests;
