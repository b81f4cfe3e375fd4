//! What must hold of any bytes that a client sends: one function for each fuzz target, a panic is a finding.
//!
//! Both the fuzz targets of `l7proxy/fuzz` and the replay of their corpus come here, so that a finding that is checked in
//! stays found.

use http::{Method, Request, Uri};
use l7proxy::http::{Code, Decoder, Encoder, Found, Frames, Limits, Outcome, Piece, Scanner};

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
    let mut request = Request::new(());
    let mut passed = 0;
    let mut stopped = false;
    'stream: for bytes in data.chunks(part) {
        waiting.extend_from_slice(bytes);
        loop {
            scanner.resume();
            let length = match scanner.scan(&waiting, &mut request) {
                Outcome::Request(found) => {
                    let Found { start, head, end, .. } = found;
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

/// A block of fields or another frame: stream, what says what it is, and what it carries.
type Whole = (u32, [u8; 2], Vec<u8>);

/// Stream, bytes, padding, and whether it ended.
type Body = (u32, Vec<u8>, u32, bool);

/// What is found in one direction of an HTTP/2 connection, as far as it does not depend on how it is cut.
#[derive(Debug, Default, PartialEq, Eq)]
struct OneWay {
    /// All that does not come in pieces.
    frames: Vec<Whole>,
    /// Pieces of a body that stand side by side are one.
    bodies: Vec<Body>,
    broken: Option<Code>,
}

impl OneWay {
    fn of(data: &[u8], part: usize, most: usize) -> Self {
        let (mut found, mut frames, mut rest) = (Self::default(), Frames::default(), Vec::new());
        for bytes in data.chunks(part) {
            rest.extend_from_slice(bytes);
            let mut left = rest.as_slice();
            loop {
                match frames.next(&mut left, most) {
                    Ok(Some(piece)) => found.add(piece),
                    Ok(None) => break,
                    Err(code) => {
                        found.broken = Some(code);
                        return found;
                    }
                }
            }
            rest = left.to_vec();
            assert!(rest.len() < 9 + (16 << 10), "a frame that is there is taken");
        }
        found
    }

    fn add(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Data { stream, bytes, padding, ends, .. } => match self.bodies.last_mut() {
                Some((known, body, padded, ended)) if *known == stream && !*ended => {
                    body.extend_from_slice(bytes);
                    *padded += padding;
                    *ended = ends;
                }
                Some(_) | None => self.bodies.push((stream, bytes.to_vec(), padding, ends)),
            },
            Piece::Block { stream, fragment, begins, is_whole, ends, is_circular } => {
                let flags =
                    [begins, is_whole, ends, is_circular].into_iter().fold(0, |all, one| all * 2 + u8::from(one));
                self.frames.push((stream, [u8::from(begins), flags], fragment.to_vec()));
            }
            Piece::Other { kind, flags, stream, payload } => {
                self.frames.push((stream, [kind, flags], payload.to_vec()));
            }
        }
    }
}

/// A direction of an HTTP/2 connection: however it is cut, the same is found; and whatever its blocks of fields are, they are
/// unpacked, packed and unpacked again to the same.
pub(crate) fn frames(data: &[u8]) {
    let expected = OneWay::of(data, data.len().max(1), usize::MAX);
    for (part, most) in [(1, usize::MAX), (2, 1), (7, 3), (64, usize::MAX)] {
        assert_eq!(OneWay::of(data, part, most), expected, "in parts of {part}");
    }
    let (mut theirs, mut ours, mut others) = (Decoder::default(), Encoder::default(), Decoder::default());
    for (_, _, block) in &expected.frames {
        let (mut fields, mut again, mut packed) = (Vec::new(), Vec::new(), Vec::new());
        let Ok(size) = theirs.decode(block, LIMIT, &mut fields) else { break };
        assert_eq!(size <= LIMIT, size == fields.iter().map(|field| field.size()).sum::<usize>());
        ours.begin(&mut packed);
        for field in &fields {
            ours.field(field, &mut packed);
        }
        assert_eq!(others.decode(&packed, LIMIT, &mut again), Ok(fields.iter().map(|field| field.size()).sum()));
        assert!(fields.iter().map(|field| &**field).eq(again.iter().map(|field| &**field)));
    }
}

/// Bytes of a block's fields.
const LIMIT: usize = 60 << 10;
