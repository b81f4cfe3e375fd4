//! HTTP/1 messages as the test reads them: by RFC 9112 and nothing else, without the code under test.

/// A header line: its name as it was spelled, and its value without blanks around it.
pub(crate) type Line = (String, String);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) start: String,
    pub(crate) headers: Vec<Line>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<Line>,
    /// All of it is there.
    pub(crate) is_whole: bool,
}

/// Messages one after the other; `is_answer` also says that what has no length goes on to the end. `heads`: for each
/// answer whether HEAD was asked.
pub(crate) fn read(bytes: &[u8], is_answer: bool, heads: &[bool], is_over: bool) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let finals = messages.iter().filter(|message| !message.is_interim()).count();
        let is_head = heads.get(finals).copied().unwrap_or(false);
        let (message, after) = one(rest, is_answer, is_head, is_over);
        let is_whole = message.is_whole;
        messages.push(message);
        rest = after;
        if !is_whole {
            break;
        }
    }
    messages
}

impl Message {
    pub(crate) fn is_interim(&self) -> bool {
        let status = self.start.split(' ').nth(1).unwrap_or_default();
        self.start.starts_with("HTTP/") && status.starts_with('1') && status != "101"
    }

    fn has(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

fn one(bytes: &[u8], is_answer: bool, is_head: bool, is_over: bool) -> (Message, &[u8]) {
    let mut message = Message::default();
    let Some((head, rest)) = cut(bytes, b"\r\n\r\n") else {
        message.start = latin(bytes);
        return (message, &[]);
    };
    let text = latin(head);
    let mut lines = text.split("\r\n");
    lines.next().unwrap_or_default().clone_into(&mut message.start);
    message.headers = lines.map(line).collect();
    let status = message.start.split(' ').nth(1).unwrap_or_default();
    let has_none = is_answer && (is_head || message.is_interim() || ["101", "204", "304"].contains(&status));
    if has_none {
        message.is_whole = true;
        return (message, rest);
    }
    if message.has("transfer-encoding").is_some() {
        return chunked(message, rest);
    }
    let length = message.has("content-length").map(|value| value.parse::<usize>().unwrap());
    match length {
        None if is_answer => {
            message.body = rest.to_vec();
            message.is_whole = is_over;
            (message, &[])
        }
        length => {
            let length = length.unwrap_or(0);
            message.is_whole = rest.len() >= length;
            let (body, rest) = rest.split_at(length.min(rest.len()));
            message.body = body.to_vec();
            (message, rest)
        }
    }
}

fn chunked(mut message: Message, mut rest: &[u8]) -> (Message, &[u8]) {
    loop {
        let Some((size, after)) = cut(rest, b"\r\n") else { return (message, &[]) };
        // What is said of a chunk besides its size is for the next hop.
        let size = latin(size).split(';').next().and_then(|size| usize::from_str_radix(size, 16).ok()).unwrap();
        if size == 0 {
            rest = after;
            break;
        }
        let available = size.min(after.len());
        message.body.extend_from_slice(&after[..available]);
        let Some(after) = after.get(size + 2..) else { return (message, &[]) };
        rest = after;
    }
    loop {
        let Some((text, after)) = cut(rest, b"\r\n") else { return (message, &[]) };
        rest = after;
        if text.is_empty() {
            message.is_whole = true;
            return (message, rest);
        }
        message.trailers.push(line(&latin(text)));
    }
}

fn line(text: &str) -> Line {
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
}

/// What stands in front of a mark, and behind it.
type Cut<'a> = (&'a [u8], &'a [u8]);

fn cut<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<Cut<'a>> {
    let at = memchr::memmem::find(bytes, mark)?;
    Some((&bytes[..at], &bytes[at + mark.len()..]))
}

/// Each byte is a character.
fn latin(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
