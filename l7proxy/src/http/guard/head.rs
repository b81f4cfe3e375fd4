//! One HTTP/1 request head, read strictly (RFC 9112): what servers disagree on is refused.

use http::Uri;

use crate::{
    http::Limits,
    reject::{Limit, Rejection},
};

/// Bytes of the longest target that the HTTP library takes over, whatever is configured.
const MAX_TARGET: usize = 65_533;

/// How the request's body ends.
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
}

/// `head` ends with its empty line. Empty lines in front were taken off.
pub(super) fn parse(head: &[u8], limits: &Limits) -> Result<Head, Rejection> {
    let mut lines = Lines(head);
    let request_line = lines.next_line()?.ok_or(Rejection::Malformed("head"))?;
    if request_line.len() > limits.request_line_bytes {
        return Err(Rejection::TooLarge(Limit::RequestLine));
    }
    let RequestLine { http10, connect } = parse_request_line(request_line)?;
    let mut fields = Fields::default();
    let mut count = 0;
    while let Some(line) = lines.next_line()? {
        if line.is_empty() {
            break;
        }
        count += 1;
        if count > limits.headers {
            return Err(Rejection::TooLarge(Limit::Headers));
        }
        fields.take(line)?;
    }
    if connect && (fields.length.is_some() || fields.chunked) {
        // What follows is the tunnel's, or the next request: servers disagree.
        return Err(Rejection::Malformed("connect-body"));
    }
    let framing = fields.framing(http10)?;
    let closes = fields.close || (http10 && !fields.keep_alive);
    Ok(Head { framing, upgrade: fields.upgrade || connect, closes })
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
        if memchr::memchr(b'\r', line).is_some() {
            return Err(Rejection::Malformed("bare-cr"));
        }
        Ok(Some(line))
    }
}

/// What a request line says besides the target.
struct RequestLine {
    http10: bool,
    connect: bool,
}

fn parse_request_line(line: &[u8]) -> Result<RequestLine, Rejection> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Rejection::Malformed("request-line"));
    };
    if method.is_empty() || !method.iter().copied().all(is_token) {
        return Err(Rejection::Malformed("method"));
    }
    check_target(target)?;
    let connect = method == b"CONNECT";
    match version {
        b"HTTP/1.1" => Ok(RequestLine { http10: false, connect }),
        b"HTTP/1.0" => Ok(RequestLine { http10: true, connect }),
        _ => Err(Rejection::Malformed("version")),
    }
}

/// Only what the HTTP library takes over unchanged: it would cut off a fragment, and answer by itself what it cannot
/// parse.
fn check_target(target: &[u8]) -> Result<(), Rejection> {
    let strange = |byte: &u8| !byte.is_ascii_graphic() || matches!(byte, b'#' | b'<' | b'>' | b'`');
    // Of a path it takes over a quotation mark, of a query it does not.
    let query = memchr::memchr(b'?', target).and_then(|at| target.get(at..)).unwrap_or_default();
    if target.is_empty() || target.iter().any(strange) || query.contains(&b'"') {
        return Err(Rejection::Malformed("target-byte"));
    }
    if target.len() > MAX_TARGET {
        return Err(Rejection::TooLarge(Limit::RequestLine));
    }
    if target.starts_with(b"/") {
        return Ok(());
    }
    // The library would put a path in front of "http://host?query".
    let after = memchr::memmem::find(target, b"://").and_then(|at| target.get(at + 3..)).unwrap_or_default();
    let is_pathless = after.iter().find(|byte| matches!(byte, b'/' | b'?')) == Some(&b'?');
    if is_pathless || Uri::try_from(target).is_err() {
        return Err(Rejection::Malformed("target-form"));
    }
    Ok(())
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
}

impl Fields {
    fn take(&mut self, line: &[u8]) -> Result<(), Rejection> {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Err(Rejection::Malformed("obs-fold"));
        }
        let colon = memchr::memchr(b':', line).ok_or(Rejection::Malformed("header-line"))?;
        let (name, value) = line.split_at(colon);
        if name.is_empty() || !name.iter().copied().all(is_token) {
            return Err(Rejection::Malformed("header-name"));
        }
        let value = value.get(1..).unwrap_or_default();
        if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err(Rejection::Malformed("header-value"));
        }
        let value = value.trim_ascii();
        match name.len() {
            7 => self.upgrade |= name.eq_ignore_ascii_case(b"upgrade"),
            10 if name.eq_ignore_ascii_case(b"connection") => return self.take_options(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => return self.take_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => return self.take_coding(value),
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
        let digits = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
        let length = length.ok_or(Rejection::Malformed("content-length"))?;
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

/// RFC 9110 §5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
