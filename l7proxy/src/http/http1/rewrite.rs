//! Changes of a head that is passed on: as few as possible; a line that is not named keeps its bytes and its place.
//!
//! Must never change what the rules judged. Start at [`Rewrite::of_request`] and [`closing`].

use http::{HeaderName, header};
use rules::HeaderEdit;

/// What is changed of a request's head.
#[derive(Debug, Default)]
pub(super) struct Rewrite<'a> {
    /// Stands in the place of the one that was sent.
    pub(super) target: Option<&'a str>,
    /// What the rules want of headers.
    pub(super) edits: &'a [HeaderEdit],
    /// An offer of HTTP/2 is taken away.
    pub(super) without_http2: bool,
    /// The lines that say where the body ends get one blank.
    pub(super) trim: bool,
}

impl Rewrite<'_> {
    /// Whether there is nothing to change.
    pub(super) fn is_empty(&self) -> bool {
        self.target.is_none() && self.edits.is_empty() && !self.without_http2 && !self.trim
    }

    /// `head` was read by `head::parse`, and ends with its empty line.
    pub(super) fn of_request(&self, head: &[u8]) -> Vec<u8> {
        let mut lines: Vec<Line<'_>> = lines(head).map(Line::Kept).collect();
        if let (Some(target), Some(Line::Kept(first))) = (self.target, lines.first()) {
            let mut parts = first.split(|byte| *byte == b' ');
            if let (Some(method), Some(_), Some(version)) = (parts.next(), parts.next(), parts.next()) {
                let line = [method, target.as_bytes(), version].join(&b' ');
                lines.splice(..1, [Line::New(line)]);
            }
        }
        if self.without_http2 {
            lines.retain(|line| !line.has(&header::UPGRADE) && !line.is_named(b"http2-settings"));
            lines =
                lines.into_iter().filter_map(|line| line.without_options(&[b"upgrade", b"http2-settings"])).collect();
        }
        if self.trim {
            for line in &mut lines {
                if line.has(&header::CONTENT_LENGTH) || line.has(&header::TRANSFER_ENCODING) {
                    *line = line.with(line.value().to_vec().as_slice());
                }
            }
        }
        for edit in self.edits {
            edited(&mut lines, edit);
        }
        written(&lines, head.len())
    }
}

/// The head of an answer behind which its connection ends.
pub(super) fn closing(head: &[u8]) -> Vec<u8> {
    let mut lines: Vec<Line<'_>> = lines(head).map(Line::Kept).collect();
    lines.retain(|line| !line.has(&header::CONNECTION));
    lines.push(Line::New(b"connection: close".to_vec()));
    written(&lines, head.len())
}

/// Lines without their ends, and without the empty one.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.take_while(|line| !line.is_empty())
}

fn written(lines: &[Line<'_>], about: usize) -> Vec<u8> {
    let mut head = Vec::with_capacity(about + 64);
    for line in lines {
        head.extend_from_slice(line.bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// The first line of a name is its place.
fn edited(lines: &mut Vec<Line<'_>>, edit: &HeaderEdit) {
    match edit {
        HeaderEdit::Remove(name) => lines.retain(|line| !line.has(name)),
        HeaderEdit::Append(name, value) => lines.push(Line::of(name.as_str().as_bytes(), value.as_bytes())),
        HeaderEdit::Set(name, value) => {
            let mut is_set = false;
            lines.retain_mut(|line| {
                if !line.has(name) {
                    return true;
                }
                if !is_set {
                    *line = line.with(value.as_bytes());
                }
                !std::mem::replace(&mut is_set, true)
            });
            if !is_set {
                lines.push(Line::of(name.as_str().as_bytes(), value.as_bytes()));
            }
        }
    }
}

enum Line<'a> {
    Kept(&'a [u8]),
    New(Vec<u8>),
}

impl Line<'_> {
    fn of(name: &[u8], value: &[u8]) -> Self {
        Self::New([name, b": ", value].concat())
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Kept(bytes) => bytes,
            Self::New(bytes) => bytes,
        }
    }

    fn name(&self) -> &[u8] {
        let bytes = self.bytes();
        memchr::memchr(b':', bytes).and_then(|colon| bytes.get(..colon)).unwrap_or_default()
    }

    fn value(&self) -> &[u8] {
        self.bytes().get(self.name().len() + 1..).unwrap_or_default().trim_ascii()
    }

    fn has(&self, name: &HeaderName) -> bool {
        self.is_named(name.as_str().as_bytes())
    }

    fn is_named(&self, name: &[u8]) -> bool {
        self.name().eq_ignore_ascii_case(name)
    }

    /// The same name, in its spelling.
    fn with(&self, value: &[u8]) -> Self {
        Self::of(self.name(), value)
    }

    /// Of `Connection`, without `options`; nothing if that is all.
    fn without_options(self, options: &[&[u8]]) -> Option<Self> {
        if !self.has(&header::CONNECTION) {
            return Some(self);
        }
        let stays =
            |option: &&[u8]| !option.is_empty() && !options.iter().any(|name| option.eq_ignore_ascii_case(name));
        let kept: Vec<&[u8]> = self.value().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(stays).collect();
        (!kept.is_empty()).then(|| self.with(&kept.join(&b", "[..])))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const HEAD: &str = "GET /a/../b HTTP/1.1\r\nhOsT: h\r\nX-A:1\r\nx-b: 1\r\nX-B:  2\r\nX-C: 1\r\n\r\n";

    fn rewritten(rewrite: &Rewrite<'_>) -> String {
        String::from_utf8(rewrite.of_request(HEAD.as_bytes())).unwrap()
    }

    #[test]
    fn nothing_to_do_changes_nothing() {
        assert!(Rewrite::default().is_empty());
        assert_eq!(rewritten(&Rewrite::default()), HEAD);
    }

    #[test]
    fn the_target_alone_is_another() {
        let rewrite = Rewrite { target: Some("/b"), ..Rewrite::default() };
        assert_eq!(rewritten(&rewrite), HEAD.replace("/a/../b", "/b"));
    }

    #[test]
    fn others_keep_their_place() {
        let (name, value) = (HeaderName::from_static, HeaderValue::from_static);
        let edits = [
            HeaderEdit::Remove(name("x-a")),
            HeaderEdit::Remove(name("x-none")),
            HeaderEdit::Set(name("x-b"), value("3")),
            HeaderEdit::Set(name("x-e"), value("3")),
            HeaderEdit::Append(name("x-c"), value("4")),
        ];
        let rewrite = Rewrite { edits: &edits, ..Rewrite::default() };
        assert_eq!(
            rewritten(&rewrite),
            "GET /a/../b HTTP/1.1\r\nhOsT: h\r\nx-b: 3\r\nX-C: 1\r\nx-e: 3\r\nx-c: 4\r\n\r\n"
        );
    }

    #[test]
    fn forgetting_http2_keeps_other_options() {
        let head = b"GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings, close\r\nConnection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n";
        let rewrite = Rewrite { without_http2: true, ..Rewrite::default() };
        assert_eq!(rewrite.of_request(head), b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
    }

    #[test]
    fn an_answer_that_closes_says_so_once() {
        let head = b"HTTP/1.1 200 OK\r\nconnection: keep-alive\r\nX: y\r\n\r\n";
        assert_eq!(closing(head), b"HTTP/1.1 200 OK\r\nX: y\r\nconnection: close\r\n\r\n");
    }
}
