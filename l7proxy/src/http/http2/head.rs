//! What the fields of a block must be to be a request, an answer or trailers (RFC 9113 §8).
//!
//! Must never let pass what the next hop could take for something else. Start at [`Asked::of`].

use http::{
    HeaderMap, HeaderName, Method, Request, StatusCode, Uri, Version, header,
    uri::{Parts, PathAndQuery, Scheme},
};

use super::hpack::{Field, Name, Pseudo, Shared};
use crate::{
    http::Limits,
    reject::{Limit, Rejection},
};

/// Pseudo-headers that a request usually has.
const PSEUDOS: usize = 4;

/// A request, as it came.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request<()>,
    /// It is over a limit, or has no single meaning.
    pub(super) refused: Option<Rejection>,
    /// Bytes that its body has.
    pub(super) length: Option<u64>,
    /// CONNECT with a protocol (RFC 8441).
    pub(super) is_extended: bool,
}

/// The head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) length: Option<u64>,
}

/// Pseudo-headers of a request; each at most once.
#[derive(Default)]
struct Pseudos<'f> {
    method: Option<&'f Field>,
    scheme: Option<&'f Field>,
    authority: Option<&'f Field>,
    path: Option<&'f Field>,
    protocol: Option<&'f Field>,
}

/// What lines `content-length` say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Length {
    bytes: Option<u64>,
    /// More than one line, though all say the same; or nothing in it.
    is_strange: bool,
}

impl Asked {
    /// `None`: it is no request. `ends`: it has no body.
    pub(super) fn of(fields: &[Shared], ends: bool, limits: &Limits) -> Option<Self> {
        let mut pseudos = Pseudos::default();
        let mut headers = HeaderMap::with_capacity(fields.len().saturating_sub(PSEUDOS));
        let mut length = Length::default();
        for field in fields {
            match &field.name {
                Name::Pseudo(pseudo) if headers.is_empty() => pseudos.take(pseudo, field)?,
                Name::Pseudo(_) => return None,
                Name::Header(name) => {
                    length.take(name, field)?;
                    headers.try_append(name.clone(), field.value.clone()).ok()?;
                }
            }
        }
        if ends && length.bytes.is_some_and(|bytes| bytes > 0) {
            return None;
        }
        let is_extended = pseudos.protocol.is_some();
        let mut refused = pseudos.refused(limits);
        if headers.len() > limits.headers {
            refused = Some(Rejection::TooLarge(Limit::Headers));
        } else if refused.is_none() && length.is_strange {
            refused = Some(Rejection::Malformed("content-length"));
        }
        let mut request = Request::new(());
        let (method, uri) = pseudos.line()?;
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = headers;
        Some(Self { request, refused, length: length.bytes, is_extended })
    }
}

impl<'f> Pseudos<'f> {
    fn take(&mut self, pseudo: &Pseudo, field: &'f Field) -> Option<()> {
        let place = match pseudo {
            Pseudo::Method(_) => &mut self.method,
            Pseudo::Scheme => &mut self.scheme,
            Pseudo::Authority(_) => &mut self.authority,
            Pseudo::Path(_) => &mut self.path,
            Pseudo::Protocol => &mut self.protocol,
            Pseudo::Status(_) | Pseudo::Unknown(_) => return None,
        };
        place.replace(field).is_none().then_some(())
    }

    fn refused(&self, limits: &Limits) -> Option<Rejection> {
        let is_http = |scheme: &Field| [&b"http"[..], b"https"].contains(&scheme.value.as_bytes());
        if self.path.is_some_and(|path| path.value.len() > limits.request_line_bytes) {
            return Some(Rejection::TooLarge(Limit::RequestLine));
        }
        self.scheme.is_some_and(|scheme| !is_http(scheme)).then_some(Rejection::Malformed("scheme"))
    }

    /// Method and target.
    fn line(&self) -> Option<(Method, Uri)> {
        let Some(Name::Pseudo(Pseudo::Method(Some(method)))) = self.method.map(|field| &field.name) else {
            return None;
        };
        let mut parts = Parts::default();
        if let Some(field) = self.authority {
            let Name::Pseudo(Pseudo::Authority(Some(authority))) = &field.name else { return None };
            parts.authority = Some(authority.clone());
        }
        let is_connect = method == Method::CONNECT;
        if !is_connect && self.protocol.is_some() {
            return None;
        }
        if is_connect && self.protocol.is_none() {
            // RFC 9113 §8.5.
            if self.scheme.is_some() || self.path.is_some() || self.authority.is_none() {
                return None;
            }
            return Some((method.clone(), Uri::from_parts(parts).ok()?));
        }
        parts.path_and_query = Some(self.path()?.clone());
        let scheme = Scheme::try_from(self.scheme?.value.as_bytes()).ok()?;
        // A target without a host has no scheme.
        parts.scheme = parts.authority.is_some().then_some(scheme);
        Some((method.clone(), Uri::from_parts(parts).ok()?))
    }

    fn path(&self) -> Option<&'f PathAndQuery> {
        let field = self.path?;
        match &field.name {
            Name::Pseudo(Pseudo::Path(Some(path))) if !field.value.is_empty() => Some(path),
            Name::Pseudo(_) | Name::Header(_) => None,
        }
    }
}

impl Length {
    /// Also says whether the field may be there at all.
    fn take(&mut self, name: &HeaderName, field: &Field) -> Option<()> {
        if !may_stand(name, field) {
            return None;
        }
        if *name != header::CONTENT_LENGTH {
            return Some(());
        }
        let value = field.value.as_bytes();
        let bytes = if value.is_empty() { 0 } else { digits(value)? };
        self.is_strange |= value.is_empty() || self.bytes.is_some();
        (self.bytes.replace(bytes).unwrap_or(bytes) == bytes).then_some(())
    }
}

fn digits(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| is_number)?.parse().ok()
}

/// What belongs to one connection of HTTP/1 may not (RFC 9113 §8.2.2).
fn may_stand(name: &HeaderName, field: &Field) -> bool {
    if *name == header::TE {
        return field.value.as_bytes().eq_ignore_ascii_case(b"trailers");
    }
    let is_of_connection = [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE].contains(name);
    !is_of_connection && !matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

impl Answered {
    /// `None`: it is no answer.
    pub(super) fn of(fields: &[Shared]) -> Option<Self> {
        let (first, headers) = fields.split_first()?;
        let Name::Pseudo(Pseudo::Status(Some(status))) = first.name else { return None };
        let mut length = Length::default();
        for field in headers {
            let Name::Header(name) = &field.name else { return None };
            length.take(name, field)?;
        }
        // HTTP/2 has no way to switch protocols.
        let is_one = !length.is_strange && status != StatusCode::SWITCHING_PROTOCOLS;
        is_one.then_some(Self { status, length: length.bytes })
    }
}

/// Whether these may stand behind a body.
pub(super) fn are_trailers(fields: &[Shared]) -> bool {
    fields.iter().all(|field| match &field.name {
        Name::Header(name) => may_stand(name, field),
        Name::Pseudo(_) => false,
    })
}
