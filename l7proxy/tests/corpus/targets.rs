//! What must hold of any bytes that a client sends: one function for each fuzz target, a panic is a finding.
//!
//! Both the fuzz targets of `l7proxy/fuzz` and the replay of their corpus come here, so that a finding that is checked in
//! stays found.

use http::{Method, Uri};
use l7proxy::http::{Found, Frame, Frames, Limits, Outcome, Scanner};

/// Header lines that the HTTP library has room for here.
const ROOM: usize = 101;

/// A stream of requests: however it is cut, the same of it passes, and what passes is read by an HTTP library in the same way.
pub(crate) fn heads(data: &[u8]) {
    let whole = follow(data, data.len().max(1));
    for part in [1, 2, 7, 64] {
        let parts = follow(data, part);
        if whole.is_good() && parts.is_good() {
            assert_eq!((whole.passed, whole.requests), (parts.passed, parts.requests), "in parts of {part}");
        } else {
            // A head that passed cannot be taken back: only a body that came with it is refused with it.
            assert!(parts.passed >= whole.passed, "{whole:?}, but in parts of {part} {parts:?}");
            assert!(!parts.is_good() || parts.is_closed, "{whole:?}, but in parts of {part} {parts:?}");
            assert!(!whole.is_good() || whole.is_closed, "{whole:?}, but in parts of {part} {parts:?}");
        }
        library_agrees(data, &parts);
    }
    library_agrees(data, &whole);
}

/// How far a stream got.
#[derive(Debug)]
struct Followed {
    passed: usize,
    requests: u64,
    /// A request was refused, or its body broke.
    stopped: bool,
    /// Behind the last request of the connection.
    is_closed: bool,
}

impl Followed {
    fn is_good(&self) -> bool {
        !self.stopped
    }
}

/// As a relay does it; no request to switch protocols is granted.
fn follow(data: &[u8], part: usize) -> Followed {
    let limits = Limits::default();
    let mut scanner = Scanner::new(limits);
    let mut waiting: Vec<u8> = Vec::new();
    let mut passed = 0;
    let mut stopped = false;
    'stream: for bytes in data.chunks(part) {
        waiting.extend_from_slice(bytes);
        loop {
            scanner.resume();
            let length = match scanner.scan(&waiting) {
                Outcome::Request(found) => {
                    let Found { start, head, end, .. } = *found;
                    assert!(start < head && head <= end && end <= waiting.len(), "{start} {head} {end}");
                    end
                }
                Outcome::Pass(length) => length,
                Outcome::Refuse(_) | Outcome::Broken => {
                    stopped = true;
                    break 'stream;
                }
            };
            waiting.drain(..length);
            passed += length;
            if scanner.is_closed() {
                waiting.clear();
            }
            if length == 0 {
                break;
            }
        }
        assert!(waiting.len() <= limits.head_bytes, "{} bytes wait", waiting.len());
    }
    Followed { passed, requests: scanner.requests(), stopped, is_closed: scanner.is_closed() }
}

/// The library finds the same requests in what passed.
fn library_agrees(data: &[u8], followed: &Followed) {
    let mut rest = data.get(..followed.passed).expect("no more passes than there is");
    let mut requests = 0;
    loop {
        while let Some(after) = rest.strip_prefix(b"\r\n") {
            rest = after;
        }
        if rest.is_empty() {
            break;
        }
        let (length, framing) = head(rest);
        requests += 1;
        rest = rest.get(length..).unwrap_or_default();
        let body = match framing {
            Framing::Length(length) => rest.len().checked_sub(length).map(|_| length),
            Framing::Chunks => chunks(rest),
        };
        // The body goes on in what did not pass.
        let Some(body) = body else { break };
        rest = rest.get(body..).unwrap_or_default();
    }
    assert_eq!(requests, followed.requests, "{followed:?}");
}

enum Framing {
    Length(usize),
    Chunks,
}

fn head(bytes: &[u8]) -> (usize, Framing) {
    let mut headers = [httparse::EMPTY_HEADER; ROOM];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(length)) = request.parse(bytes) else {
        panic!("the library does not find a head in {}", bytes.escape_ascii());
    };
    assert!(Method::from_bytes(request.method.expect("a method").as_bytes()).is_ok());
    let target = request.path.expect("a target");
    let uri = Uri::try_from(target).unwrap_or_else(|error| panic!("{target}: {error}"));
    let kept = match uri.path_and_query() {
        Some(path) if uri.scheme().is_none() => path.to_string(),
        _ => uri.to_string(),
    };
    // Of an absolute target the scheme becomes lower case, and a path that is not there "/".
    assert!(
        kept.eq_ignore_ascii_case(target) || kept.eq_ignore_ascii_case(&format!("{target}/")),
        "{target} is {kept}"
    );
    let of = |name: &str| -> Vec<&[u8]> {
        let named = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value).collect()
    };
    let framing = match (of("content-length").as_slice(), of("transfer-encoding").as_slice()) {
        ([], []) => Framing::Length(0),
        ([one], []) => {
            Framing::Length(std::str::from_utf8(one).ok().and_then(|text| text.parse().ok()).expect("a length"))
        }
        ([], [one]) if one.eq_ignore_ascii_case(b"chunked") && request.version == Some(1) => Framing::Chunks,
        other => panic!("framed as {other:?}"),
    };
    (length, framing)
}

/// The length of a body, or none if its end is not there.
fn chunks(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..)?;
        let (line, size) = match httparse::parse_chunk_size(rest).expect("the library reads each size") {
            httparse::Status::Complete(found) => found,
            httparse::Status::Partial => return None,
        };
        at += line;
        if size == 0 {
            break;
        }
        at = at.checked_add(usize::try_from(size).ok()?)?.checked_add(2)?;
    }
    let mut headers = vec![httparse::EMPTY_HEADER; 4096];
    match httparse::parse_headers(bytes.get(at..)?, &mut headers).expect("the library reads each trailer") {
        httparse::Status::Complete((length, _)) => Some(at + length),
        httparse::Status::Partial => None,
    }
}

/// A direction of an HTTP/2 connection: however it is cut, the same frames are found, and they are those of the whole.
pub(crate) fn frames(data: &[u8]) {
    let expected = frames_of(data);
    for part in [data.len().max(1), 1, 2, 7, 64] {
        let mut watched = Frames::new(0);
        let mut found = Vec::new();
        for mut bytes in data.chunks(part) {
            while let Some(frame) = watched.next(&mut bytes) {
                found.push(frame);
            }
            assert!(bytes.is_empty(), "all that came is taken");
        }
        assert_eq!((found, watched.is_in_block()), expected, "in parts of {part}");
    }
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

/// All frames whose head, and code where one is of interest, is there; and whether a block of headers is open at the end.
fn frames_of(data: &[u8]) -> (Vec<Frame>, bool) {
    let (mut found, mut open, mut rest) = (Vec::new(), false, data);
    while let Some((head, payload)) = rest.split_first_chunk::<9>() {
        let [a, b, c, kind, flags, stream @ ..] = *head;
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).expect("24 bits");
        let from = match kind {
            RST_STREAM => 0..length.min(4),
            GOAWAY => length.min(4)..length.min(8),
            _ => 0..0,
        };
        // Of the code what is there; all of it must have come.
        let Some(code) = payload.get(from) else { break };
        let mut bytes = [0; 4];
        bytes.get_mut(..code.len()).expect("four at most").copy_from_slice(code);
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        found.push(Frame { kind, flags, stream, length, code: u32::from_be_bytes(bytes) });
        let after = payload.get(length..);
        if kind == HEADERS || kind == CONTINUATION {
            open = flags & 4 == 0 || after.is_none();
        }
        let Some(after) = after else { break };
        rest = after;
    }
    (found, open)
}
