//! What may differ between a message sent directly and the same through the proxy, and nothing else may.

use std::collections::BTreeMap;

use crate::{
    corpus::Request,
    exchange::Received,
    message::{self, Message},
};

/// The lines of each name, in their order.
type Lines = BTreeMap<String, Vec<message::Line>>;

/// What the client sent and what the server received.
pub(crate) fn requests(sent: &[u8], received: &[u8]) -> Vec<String> {
    // Empty lines in front of a request are no part of it.
    let sent = sent.strip_prefix(b"\r\n").unwrap_or(sent);
    let (sent, received) = (message::read(sent, false, &[], true), message::read(received, false, &[], true));
    messages("the server received", &sent, &received)
}

/// What the client received directly and through the proxy.
pub(crate) fn answers(request: &Request, direct: &Received, through: &Received) -> Vec<String> {
    let read = |received: &Received| message::read(&received.bytes, true, &request.heads(), true);
    let (one, other) = (read(direct), read(through));
    let mut wrong = messages("the client received", &one, &other);
    if (direct.end, direct.by_server) != (through.end, through.by_server) {
        let how = |received: &Received| format!("{:?}, by the server: {}", received.end, received.by_server);
        wrong.push(format!("the connection ended {}, through the proxy {}", how(direct), how(through)));
    }
    wrong
}

fn messages(who: &str, direct: &[Message], through: &[Message]) -> Vec<String> {
    if direct.len() != through.len() {
        return vec![format!("{who} {direct:?}, through the proxy {through:?}")];
    }
    let pairs = direct.iter().zip(through);
    pairs.flat_map(|(one, other)| message(one, other)).map(|difference| format!("{who} {difference}")).collect()
}

fn message(direct: &Message, through: &Message) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut differ = |what: &str, one: String, other: String| {
        if one != other {
            wrong.push(format!("{what} {one}, through the proxy {other}"));
        }
    };
    differ("start line", direct.start.clone(), through.start.clone());
    let (mut one, mut other) = (lines(&direct.headers), lines(&through.headers));
    for name in one.keys().chain(other.keys()).cloned().collect::<std::collections::BTreeSet<String>>() {
        let (one, other) = (one.remove(&name), other.remove(&name));
        if !may_differ(&name, direct, one.as_deref(), other.as_deref()) {
            differ(&name, format!("{one:?}"), format!("{other:?}"));
        }
    }
    let body =
        |message: &Message| format!("of {} bytes: {:.80}", message.body.len(), message.body.escape_ascii().to_string());
    if direct.body != through.body {
        differ("body", body(direct), format!("another, {}", body(through)));
    }
    // The library has them in lower case.
    let trailers = |message: &Message| {
        let lower = |(name, value): &message::Line| (name.to_ascii_lowercase(), value.clone());
        format!("{:?}", message.trailers.iter().map(lower).collect::<Vec<_>>())
    };
    differ("trailers", trailers(direct), trailers(through));
    differ("whole", direct.is_whole.to_string(), through.is_whole.to_string());
    wrong
}

fn lines(headers: &[message::Line]) -> Lines {
    let mut lines = Lines::new();
    for header in headers {
        lines.entry(header.0.to_ascii_lowercase()).or_default().push(header.clone());
    }
    lines
}

/// What is of one connection only.
fn may_differ(
    name: &str,
    message: &Message,
    direct: Option<&[message::Line]>,
    through: Option<&[message::Line]>,
) -> bool {
    match name {
        // An answer that goes on to the end goes on in chunks; and to HEAD nothing comes that could be in chunks.
        "transfer-encoding" => message.start.starts_with("HTTP/") && (direct.is_none() || through.is_none()),
        // It is the time.
        "date" => direct.is_some() == through.is_some(),
        _ => false,
    }
}
