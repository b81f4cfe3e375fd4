//! Follows the answers of one connection through their bytes: where each of them ends has one meaning for every client.
//!
//! A server that is merely old is forgiven (lines that end with LF alone); one that says two things is not. Start at
//! [`Answers::scan`].

use super::{
    chunk::Body,
    head::{Framing, content_length, field, has_control},
    upgrade::Protocol,
};

/// Bytes of an answer's head.
const MAX_HEAD: usize = 128 << 10;
/// Trailers of an answer.
const MAX_TRAILERS: usize = 1000;

/// What an answer is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// HEAD: there is no body, whatever the head says.
    pub(super) is_head: bool,
    pub(super) switch: Protocol,
}

/// A head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// Another one follows.
    pub(super) is_interim: bool,
    /// What follows is no HTTP any more: the server agreed to that.
    pub(super) switches: bool,
    /// The connection ends with it.
    pub(super) closes: bool,
}

/// It has no single meaning, or is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoAnswer;

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Head,
    Length(u64),
    Chunks(Body),
    /// A body that ends with the connection.
    ToTheEnd,
    /// A tunnel.
    Opaque,
}

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A head, this long.
    Head(usize, Head),
    /// So many bytes of a body, or of a tunnel.
    Body(usize),
    /// The beginning of a head.
    Incomplete,
}

/// Where in the stream of answers a connection is.
#[derive(Debug)]
pub(super) struct Answers {
    place: Place,
    /// Of the incomplete head: known to hold no end.
    searched: usize,
}

impl Answers {
    pub(super) fn new() -> Self {
        Self { place: Place::Head, searched: 0 }
    }

    /// Whether a final answer is over, or none has begun.
    pub(super) fn is_between(&self) -> bool {
        self.place == Place::Head
    }

    /// Whether the end of the connection is the end of the answer.
    pub(super) fn may_end(&self) -> bool {
        self.place == Place::ToTheEnd
    }

    /// `bytes` are not empty, and answer what was `asked`.
    pub(super) fn scan(&mut self, bytes: &[u8], asked: Asked) -> Result<Part, NoAnswer> {
        let length = match &mut self.place {
            Place::Head => return self.head(bytes, asked),
            Place::ToTheEnd | Place::Opaque => bytes.len(),
            Place::Length(left) => {
                let step = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= u64::try_from(step).unwrap_or(0);
                step
            }
            Place::Chunks(chunks) => chunks.advance(bytes).map_err(|_| NoAnswer)?,
        };
        let is_over = match &self.place {
            Place::Length(left) => *left == 0,
            Place::Chunks(chunks) => chunks.is_over(),
            Place::Head | Place::ToTheEnd | Place::Opaque => false,
        };
        if is_over {
            self.place = Place::Head;
        }
        Ok(Part::Body(length))
    }

    fn head(&mut self, bytes: &[u8], asked: Asked) -> Result<Part, NoAnswer> {
        let Some(end) = end_of_head(bytes, self.searched) else {
            self.searched = bytes.len();
            // What cannot become a head is told at once.
            let begins = bytes.iter().zip(b"HTTP/1.").all(|(byte, known)| byte == known);
            return if begins && bytes.len() <= MAX_HEAD { Ok(Part::Incomplete) } else { Err(NoAnswer) };
        };
        self.searched = 0;
        let (head, place) = parse(bytes.get(..end).unwrap_or_default(), asked)?;
        self.place = place;
        Ok(Part::Head(end, head))
    }
}

/// Behind the empty line; up to `searched` there is none.
fn end_of_head(bytes: &[u8], searched: usize) -> Option<usize> {
    let from = searched.saturating_sub(3);
    memchr::memchr_iter(b'\n', bytes.get(from..)?).map(|at| from + at + 1).find_map(|next| match bytes.get(next..)? {
        [b'\n', ..] => Some(next + 1),
        [b'\r', b'\n', ..] => Some(next + 2),
        _ => None,
    })
}

fn parse(head: &[u8], asked: Asked) -> Result<(Head, Place), NoAnswer> {
    let mut begin = 0;
    let mut lines = memchr::memchr_iter(b'\n', head).map(|end| {
        let line = head.get(std::mem::replace(&mut begin, end + 1)..end).unwrap_or_default();
        line.strip_suffix(b"\r").unwrap_or(line)
    });
    let (http10, status) = parse_status_line(lines.next().ok_or(NoAnswer)?)?;
    let mut fields = Fields::default();
    for line in lines.take_while(|line| !line.is_empty()) {
        fields.take(line)?;
    }
    let framing = fields.framing(http10)?;
    let granted = match (asked.switch, status) {
        // A tunnel with 204 is one to some and none to others; unasked, what would follow is nothing that anybody judged.
        (Protocol::Tunnel, 204) => return Err(NoAnswer),
        (Protocol::Tunnel, 200..=299) | (Protocol::Other, 101) => true,
        (_, 101) => return Err(NoAnswer),
        _ => false,
    };
    let is_interim = status < 200 && !granted;
    let place = match framing {
        _ if granted => Place::Opaque,
        _ if is_interim || asked.is_head || matches!(status, 204 | 304) => Place::Head,
        Some(Framing::Length(0)) => Place::Head,
        Some(Framing::Length(length)) => Place::Length(length),
        Some(Framing::Chunked) => Place::Chunks(Body::new(MAX_TRAILERS)),
        None => Place::ToTheEnd,
    };
    let closes = fields.close || (http10 && !fields.keep_alive) || place == Place::ToTheEnd;
    Ok((Head { status, is_interim, switches: granted, closes: closes && !is_interim && !granted }, place))
}

/// Whether it is HTTP/1.0, and the status.
fn parse_status_line(line: &[u8]) -> Result<(bool, u16), NoAnswer> {
    let (version, rest) = line.split_at_checked(9).ok_or(NoAnswer)?;
    let http10 = match version {
        b"HTTP/1.1 " => false,
        b"HTTP/1.0 " => true,
        _ => return Err(NoAnswer),
    };
    let (digits, reason) = rest.split_at_checked(3).ok_or(NoAnswer)?;
    if !digits.iter().all(u8::is_ascii_digit) || !matches!(reason.first(), None | Some(b' ')) || has_control(reason) {
        return Err(NoAnswer);
    }
    let status = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(NoAnswer)?;
    if status < 100 { Err(NoAnswer) } else { Ok((http10, status)) }
}

/// The fields that decide where an answer ends.
#[derive(Default)]
struct Fields {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

impl Fields {
    fn take(&mut self, line: &[u8]) -> Result<(), NoAnswer> {
        let (name, value) = field(line).filter(|(_, value)| !has_control(value)).ok_or(NoAnswer)?;
        let value = value.trim_ascii();
        match name.len() {
            10 if name.eq_ignore_ascii_case(b"connection") => {
                for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let is_repeated = self.length.replace(content_length(value).ok_or(NoAnswer)?).is_some();
                return if is_repeated { Err(NoAnswer) } else { Ok(()) };
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(NoAnswer);
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn framing(&self, http10: bool) -> Result<Option<Framing>, NoAnswer> {
        match (self.length, self.chunked) {
            (Some(_), true) => Err(NoAnswer),
            (None, true) if http10 => Err(NoAnswer),
            (None, true) => Ok(Some(Framing::Chunked)),
            (length, false) => Ok(length.map(Framing::Length)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Status of each head, and bytes of its body.
    type Seen = Vec<(u16, usize)>;

    /// What `bytes` are seen as when they come in steps.
    fn parts(bytes: &[u8], asked: Asked, step: usize) -> Result<Seen, NoAnswer> {
        let mut answers = Answers::new();
        let (mut waiting, mut found) = (Vec::new(), Vec::new());
        for some in bytes.chunks(step) {
            waiting.extend_from_slice(some);
            while !waiting.is_empty() {
                match answers.scan(&waiting, asked)? {
                    Part::Incomplete => break,
                    Part::Head(length, head) => {
                        found.push((head.status, 0));
                        waiting.drain(..length);
                    }
                    Part::Body(length) => {
                        found.last_mut().unwrap().1 += length;
                        waiting.drain(..length);
                    }
                }
            }
        }
        Ok(found)
    }

    fn asked(switch: Protocol) -> Asked {
        Asked { is_head: false, switch }
    }

    #[test]
    fn answers_end_where_they_end_however_they_come() {
        let stream = b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\
            HTTP/1.0 204 No\nX: y\n\nHTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nto the end";
        for step in 1..stream.len() {
            let found = parts(stream, asked(Protocol::None), step);
            assert_eq!(found, Ok(vec![(103, 0), (200, 5), (204, 0), (200, 12), (200, 10)]), "in steps of {step}");
        }
    }

    #[test]
    fn only_who_asked_gets_a_tunnel() {
        let switched = b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\nanything";
        assert_eq!(parts(switched, asked(Protocol::Other), 7), Ok(vec![(101, 8)]));
        assert_eq!(parts(switched, asked(Protocol::None), 7), Err(NoAnswer));
        assert_eq!(
            parts(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nanything", asked(Protocol::Tunnel), 7),
            Ok(vec![(200, 8)])
        );
        assert_eq!(parts(b"HTTP/1.1 204 No\r\n\r\n", asked(Protocol::Tunnel), 7), Err(NoAnswer));
    }

    #[test]
    fn to_head_there_is_no_body_whatever_else_was_asked() {
        let answers =
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for switch in [Protocol::None, Protocol::Http2, Protocol::Other] {
            assert_eq!(parts(answers, Asked { is_head: true, switch }, 7), Ok(vec![(200, 0), (200, 0)]));
        }
    }

    #[test]
    fn a_head_without_end_is_given_up() {
        let endless = [&b"HTTP/1.1 200 OK\r\nX: "[..], &vec![b'x'; MAX_HEAD]].concat();
        assert_eq!(parts(&endless, asked(Protocol::None), 4096), Err(NoAnswer));
        assert_eq!(parts(b"SSH-2.0-x", asked(Protocol::None), 1), Err(NoAnswer), "without waiting for an end of line");
    }
}
