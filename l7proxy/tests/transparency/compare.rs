//! What may differ between a message sent directly and the same through the proxy, and nothing else may.

use crate::{
    corpus::Request,
    exchange::Received,
    message::{self, Message},
};

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
    differ("headers", format!("{:?}", lines(&direct.headers)), format!("{:?}", lines(&through.headers)));
    let body =
        |message: &Message| format!("of {} bytes: {:.80}", message.body.len(), message.body.escape_ascii().to_string());
    if direct.body != through.body {
        differ("body", body(direct), format!("another, {}", body(through)));
    }
    differ("trailers", format!("{:?}", direct.trailers), format!("{:?}", through.trailers));
    differ("whole", direct.is_whole.to_string(), through.is_whole.to_string());
    wrong
}

/// In their order, with their spelling. `Date` is the time.
fn lines(headers: &[message::Line]) -> Vec<message::Line> {
    let line = |(name, value): &message::Line| {
        let is_time = name.eq_ignore_ascii_case("date");
        (name.clone(), if is_time { String::new() } else { value.clone() })
    };
    headers.iter().map(line).collect()
}
