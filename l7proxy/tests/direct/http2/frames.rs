//! HTTP/2 by hand: frames as a client that means no good writes them.

use crate::{stage::Stage, wire::Wire};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const PRIORITIZED: u8 = 0x20;
/// A whole request.
pub(crate) const WHOLE: u8 = END_STREAM | END_HEADERS;

pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const COMPRESSION_ERROR: u32 = 9;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field that is not put into the table, without Huffman's code.
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    [&[0][..], &length(name), name.as_bytes(), &length(value), value.as_bytes()].concat()
}

/// RFC 7541 §5.1, with a prefix of seven bits.
fn length(text: &str) -> Vec<u8> {
    let mut left = text.len();
    if left < 127 {
        return vec![u8::try_from(left).unwrap()];
    }
    let mut bytes = vec![127];
    left -= 127;
    while left >= 128 {
        bytes.push(u8::try_from(left % 128).unwrap() | 128);
        left /= 128;
    }
    bytes.push(u8::try_from(left).unwrap());
    bytes
}

/// `:method`, `:scheme`, `:path`, `:authority`.
pub(crate) fn pseudo(method: &str, path: &str) -> Vec<u8> {
    [field(":method", method), field(":scheme", "http"), field(":path", path), field(":authority", "api")].concat()
}

/// GET of an allowed path, or one that is not.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &pseudo("GET", path))
}

/// A connection that has said hello.
pub(crate) fn connect(stage: &Stage) -> Wire {
    let mut wire = stage.client();
    wire.send([&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &[])].concat());
    wire
}

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// Everything that came.
pub(crate) fn parse(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while bytes.len() >= 9 {
        let length = usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2]);
        let stream = u32::from_be_bytes(bytes[5..9].try_into().unwrap());
        let payload = bytes[9..(9 + length).min(bytes.len())].to_vec();
        frames.push(Frame { kind: bytes[3], flags: bytes[4], stream, payload });
        bytes = &bytes[(9 + length).min(bytes.len())..];
    }
    frames
}

pub(crate) fn number(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload.try_into().unwrap())
}

/// The server's end of the next connection, which begins with `greeting`.
pub(crate) fn serve(stage: &Stage, greeting: &[u8]) -> Wire {
    let mut wire = stage.accept();
    assert_eq!(wire.exactly_bytes(24), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    wire.send(greeting);
    wire
}

/// Reads until a frame of a kind.
#[track_caller]
pub(crate) fn until(wire: &mut Wire, kind: u8) -> Frame {
    loop {
        let next = next(wire);
        if next.kind == kind {
            return next;
        }
    }
}

/// Reads to the end, and gives the code of the GOAWAY with an error.
#[track_caller]
pub(crate) fn gone_away(wire: &mut Wire) -> u32 {
    let (bytes, _) = wire.rest_bytes();
    let frames = parse(&bytes);
    let mut codes = frames.iter().filter(|frame| frame.kind == GOAWAY).map(|frame| number(&frame.payload[4..8]));
    codes.rfind(|code| *code != 0).unwrap_or_else(|| panic!("no GOAWAY: {frames:?}"))
}

/// Reads until stream `stream` is reset, and gives the code.
#[track_caller]
pub(crate) fn was_reset(wire: &mut Wire, stream: u32) -> u32 {
    loop {
        let next = next(wire);
        if next.kind == RST_STREAM && next.stream == stream {
            return number(&next.payload);
        }
    }
}

#[track_caller]
pub(crate) fn next(wire: &mut Wire) -> Frame {
    let head = wire.exactly_bytes(9);
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let payload = wire.exactly_bytes(length);
    Frame { kind: head[3], flags: head[4], stream: u32::from_be_bytes(head[5..9].try_into().unwrap()), payload }
}
