//! One HTTP/1 request head, read strictly (RFC 9112): what servers disagree on is refused.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use crate::{
    http::Limits,
    reject::{Limit, Rejection},
};

/// Bytes of the longest target that `http::Uri` takes, whatever is configured.
const MAX_TARGET: usize = 65_533;

/// How a message's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After this many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
}

/// What must be known of a head to find the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) framing: Framing,
    /// It asks to switch protocols, or for a tunnel: what follows may be no HTTP.
    pub(super) upgrade: bool,
    /// It is the last one of its connection.
    pub(super) closes: bool,
    /// Around the value that says where the body ends stand blanks that not everybody takes off.
    pub(super) is_padded: bool,
}

/// `head` ends with its empty line. Empty lines in front were taken off. `request` becomes the one that it is of, if there is
/// one; whatever it was before is forgotten.
pub(super) fn parse(head: &[u8], limits: &Limits, request: &mut Request<()>) -> Result<Head, Rejection> {
    let shared = Bytes::copy_from_slice(head);
    let mut lines = Lines(&shared);
    let request_line = lines.next_line()?.ok_or(Rejection::Malformed("head"))?;
    if request_line.len() > limits.request_line_bytes {
        return Err(Rejection::TooLarge(Limit::RequestLine));
    }
    parse_request_line(request_line, &shared, request)?;
    let mut fields = Fields::default();
    let headers = request.headers_mut();
    headers.clear();
    let mut count = 0;
    while let Some(line) = lines.next_line()? {
        if line.is_empty() {
            break;
        }
        count += 1;
        if count > limits.headers {
            return Err(Rejection::TooLarge(Limit::Headers));
        }
        fields.take(line, &shared, headers)?;
    }
    let http10 = request.version() == Version::HTTP_10;
    let connect = request.method() == Method::CONNECT;
    if connect && (fields.length.is_some() || fields.chunked) {
        // What follows is the tunnel's, or the next request: servers disagree.
        return Err(Rejection::Malformed("connect-body"));
    }
    let framing = fields.framing(http10)?;
    let closes = fields.close || (http10 && !fields.keep_alive);
    let upgrade = fields.upgrade || connect;
    Ok(Head { framing, upgrade, closes, is_padded: fields.is_padded })
}

/// A line without its end.
type Line<'a> = &'a [u8];

/// Lines that end with CR LF, and nothing else.
struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    fn next_line(&mut self) -> Result<Option<Line<'a>>, Rejection> {
        let Some(end) = memchr::memchr(b'\n', self.0) else { return Ok(None) };
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        let line = line.strip_suffix(b"\r").ok_or(Rejection::Malformed("bare-lf"))?;
        if line.contains(&b'\r') {
            return Err(Rejection::Malformed("bare-cr"));
        }
        Ok(Some(line))
    }
}

fn parse_request_line(line: &[u8], shared: &Bytes, request: &mut Request<()>) -> Result<(), Rejection> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Rejection::Malformed("request-line"));
    };
    if !method.iter().copied().all(is_token) {
        return Err(Rejection::Malformed("method"));
    }
    *request.method_mut() = Method::from_bytes(method).map_err(|_| Rejection::Malformed("method"))?;
    *request.uri_mut() = parse_target(target, shared)?;
    *request.version_mut() = match version {
        b"HTTP/1.1" => Version::HTTP_11,
        b"HTTP/1.0" => Version::HTTP_10,
        _ => return Err(Rejection::Malformed("version")),
    };
    Ok(())
}

/// Only what [`Uri`] takes over unchanged: it would cut off a fragment.
fn parse_target(target: &[u8], shared: &Bytes) -> Result<Uri, Rejection> {
    let strange = |byte: &u8| !byte.is_ascii_graphic() || matches!(byte, b'#' | b'<' | b'>' | b'`');
    // Of a path it takes over a quotation mark, of a query it does not.
    let query = memchr::memchr(b'?', target).and_then(|at| target.get(at..)).unwrap_or_default();
    if target.is_empty() || target.iter().any(strange) || query.contains(&b'"') {
        return Err(Rejection::Malformed("target-byte"));
    }
    if target.len() > MAX_TARGET {
        return Err(Rejection::TooLarge(Limit::RequestLine));
    }
    // It would put a path in front of "http://host?query".
    if !target.starts_with(b"/") {
        let after = memchr::memmem::find(target, b"://").and_then(|at| target.get(at + 3..)).unwrap_or_default();
        if after.iter().find(|byte| matches!(byte, b'/' | b'?')) == Some(&b'?') {
            return Err(Rejection::Malformed("target-form"));
        }
    }
    Uri::from_maybe_shared(shared.slice_ref(target)).map_err(|_| Rejection::Malformed("target-form"))
}

/// The fields that decide where a request ends, and a connection.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is said by a header of its own")]
struct Fields {
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
    close: bool,
    keep_alive: bool,
    is_padded: bool,
}

impl Fields {
    /// `line` is a part of `shared`.
    fn take(&mut self, line: &[u8], shared: &Bytes, headers: &mut HeaderMap) -> Result<(), Rejection> {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Err(Rejection::Malformed("obs-fold"));
        }
        let (name, blanks) = field(line)
            .ok_or_else(|| Rejection::Malformed(if line.contains(&b':') { "header-name" } else { "header-line" }))?;
        if has_control(blanks) {
            return Err(Rejection::Malformed("header-value"));
        }
        let value = blanks.trim_ascii();
        Self::append(name, value, shared, headers)?;
        let is_plain = blanks.strip_prefix(b" ").unwrap_or(blanks) == value;
        match name.len() {
            7 => self.upgrade |= name.eq_ignore_ascii_case(b"upgrade"),
            10 if name.eq_ignore_ascii_case(b"connection") => return self.take_options(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                self.is_padded |= !is_plain;
                return self.take_length(value);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.is_padded |= !is_plain;
                return self.take_coding(value);
            }
            // To what hands headers on as variables (CGI, WSGI) they are the same.
            14 if name.eq_ignore_ascii_case(b"content_length") => {
                return Err(Rejection::Malformed("header-look-alike"));
            }
            17 if name.eq_ignore_ascii_case(b"transfer_encoding") => {
                return Err(Rejection::Malformed("header-look-alike"));
            }
            _ => {}
        }
        Ok(())
    }

    fn append(name: &[u8], value: &[u8], shared: &Bytes, headers: &mut HeaderMap) -> Result<(), Rejection> {
        let name = HeaderName::from_bytes(name).map_err(|_| Rejection::Malformed("header-name"))?;
        let value = HeaderValue::from_maybe_shared(shared.slice_ref(value));
        let value = value.map_err(|_| Rejection::Malformed("header-value"))?;
        headers.try_append(name, value).map_err(|_| Rejection::TooLarge(Limit::Headers))?;
        Ok(())
    }

    /// A next hop takes away what is named here: it must not be what says where the request ends or whom it is for.
    fn take_options(&mut self, value: &[u8]) -> Result<(), Rejection> {
        for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            self.close |= is(b"close");
            self.keep_alive |= is(b"keep-alive");
            if is(b"content-length") || is(b"transfer-encoding") || is(b"host") || !option.is_ascii() {
                return Err(Rejection::Malformed("connection-option"));
            }
        }
        Ok(())
    }

    fn take_length(&mut self, value: &[u8]) -> Result<(), Rejection> {
        let length = content_length(value).ok_or(Rejection::Malformed("content-length"))?;
        if self.length.replace(length).is_some() {
            return Err(Rejection::Malformed("content-length-repeated"));
        }
        Ok(())
    }

    fn take_coding(&mut self, value: &[u8]) -> Result<(), Rejection> {
        if !value.eq_ignore_ascii_case(b"chunked") || self.chunked {
            return Err(Rejection::Malformed("transfer-encoding"));
        }
        self.chunked = true;
        Ok(())
    }

    fn framing(&self, http10: bool) -> Result<Framing, Rejection> {
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Rejection::Malformed("content-length-and-transfer-encoding")),
            (None, true) if http10 => Err(Rejection::Malformed("transfer-encoding-in-http10")),
            (None, true) => Ok(Framing::Chunked),
            (length, false) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

/// A name, and a value with the blanks around it.
type Field<'a> = (&'a [u8], &'a [u8]);

/// What a header line says.
pub(super) fn field(line: &[u8]) -> Option<Field<'_>> {
    let end = line.iter().position(|byte| !is_token(*byte)).filter(|end| *end > 0)?;
    let (name, rest) = line.split_at_checked(end)?;
    Some((name, rest.strip_prefix(b":")?))
}

/// 1 to 18 digits.
pub(super) fn content_length(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    match byte {
        b'a'..=b'z' | b'-' | b'A'..=b'Z' | b'0'..=b'9' => true,
        _ => matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        ),
    }
}

/// But a tab. Every byte is looked at: that is quicker than to look whether it is over.
pub(super) fn has_control(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, byte| found | (byte.is_ascii_control() && *byte != b'\t'))
}
