//! What is asked: requests of every kind, and a plain request for every answer that a server can give.

/// How the client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Sends, and reads what comes.
    Sends,
    /// Waits for leave before it sends the body.
    Waits,
    /// Stops sending at once.
    Finishes,
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) name: String,
    pub(crate) head: Vec<u8>,
    pub(crate) body: Vec<u8>,
    pub(crate) way: Way,
}

impl Request {
    pub(crate) fn sent(&self) -> Vec<u8> {
        [self.head.as_slice(), &self.body].concat()
    }

    /// For each request whether it is HEAD.
    pub(crate) fn heads(&self) -> Vec<bool> {
        let sent = self.sent();
        crate::message::read(&sent, false, &[], true).iter().map(|one| one.start.starts_with("HEAD ")).collect()
    }
}

/// What servers answer by path; one that a server does not know is its 404.
const ANSWERS: [&str; 21] = [
    "length",
    "empty",
    "chunked",
    "trailers",
    "close",
    "no-length",
    "204",
    "205",
    "304",
    "299",
    "599",
    "reason",
    "headers",
    "redirect",
    "hints",
    "large",
    "bytes",
    "nothing",
    "reset",
    "range",
    "unknown",
];

/// Method and target, then header lines and body. `|` is CR LF.
const REQUESTS: &[(&str, &str)] = &[
    ("names", "GET /any/length HTTP/1.1|hOsT: h|ACCEPT: */*|x-MiXeD-cAsE: 1|X-mixed-CASE: 2|X_Under: 1|X-Empty:||"),
    ("blanks", "GET /any/length HTTP/1.1|Host:h|X-A:   a|X-B: b  |X-C:\tc\t|X-D: a  b\tc||"),
    (
        "values",
        "GET /any/length HTTP/1.1|Host: h|X-L: \u{e9}\u{ff}\u{80}|X-Q: \"a, b\";c=\"\\\"\"|X-C: a,b,,c|X-P: ):(||",
    ),
    ("repeated", "GET /any/length HTTP/1.1|Host: h|X-A: 1|X-B: 2|X-A: 3|Cookie: a=b|Cookie: c=d|X-A: 1||"),
    (
        "forwarding",
        "GET /any/length HTTP/1.1|Host: h|Via: 1.1 a|Forwarded: for=b|X-Forwarded-For: c|X-Forwarded-Proto: https|X-Request-Id: 1|Max-Forwards: 0||",
    ),
    (
        "hop by hop",
        "GET /any/length HTTP/1.1|Host: h|Connection: keep-alive, x-hop|Keep-Alive: timeout=5|X-Hop: 1|Proxy-Connection: keep-alive|Proxy-Authorization: Basic eDp5|TE: trailers||",
    ),
    (
        "credentials",
        "GET /any/length HTTP/1.1|Host: h|Authorization: Basic eDp5|User-Agent: curl/7 (x)|Referer: http://h/x?y||",
    ),
    ("query", "GET /any/length?a=%20&b=/../c&d=%00%zz&e[]=1&f={x}y^z' HTTP/1.1|Host: h||"),
    ("escapes", "GET /any/a%20b/%c3%a9/(x)!$&'*+,=:@~ HTTP/1.1|Host: h||"),
    ("absolute", "GET http://h/any/length HTTP/1.1|Host: h||"),
    ("options *", "OPTIONS * HTTP/1.1|Host: h||"),
    ("options", "OPTIONS /any/length HTTP/1.1|Host: h|Origin: http://x||"),
    ("port", "GET /any/length HTTP/1.1|Host: h:8080||"),
    ("address", "GET /any/length HTTP/1.1|Host: [::1]:8080||"),
    ("unknown method", "FOO /any/length HTTP/1.1|Host: h||"),
    ("lower method", "get /any/length HTTP/1.1|Host: h||"),
    ("webdav", "PROPFIND /any/length HTTP/1.1|Host: h|Depth: 1|Content-Length: 4||<x/>"),
    ("search", "M-SEARCH /any/length HTTP/1.1|Host: h||"),
    ("trace", "TRACE /any/length HTTP/1.1|Host: h||"),
    ("delete", "DELETE /any/length HTTP/1.1|Host: h||"),
    ("get with body", "GET /any/length HTTP/1.1|Host: h|Content-Length: 5||hello"),
    ("head", "HEAD /any/length HTTP/1.1|Host: h||"),
    ("head chunked", "HEAD /any/chunked HTTP/1.1|Host: h||"),
    ("head 304", "HEAD /any/304 HTTP/1.1|Host: h||"),
    ("empty body", "POST /any/unknown HTTP/1.1|Host: h|Content-Length: 0||"),
    ("no body", "POST /any/unknown HTTP/1.1|Host: h||"),
    ("leading zeros", "POST /any/unknown HTTP/1.1|Host: h|Content-Length: 005||hello"),
    ("chunks", "POST /any/unknown HTTP/1.1|Host: h|Transfer-Encoding: chunked||5|hello|006;x=y| world|1|!|0||"),
    ("no chunks", "POST /any/unknown HTTP/1.1|Host: h|Transfer-Encoding: chunked||0||"),
    (
        "trailers",
        "POST /any/unknown HTTP/1.1|Host: h|Trailer: x-sum, x-other|Transfer-Encoding: chunked||5|hello|0|x-sum: 1|x-other: a b||",
    ),
    ("get chunks", "GET /any/unknown HTTP/1.1|Host: h|Transfer-Encoding: chunked||5|hello|0||"),
    ("close", "GET /any/length HTTP/1.1|Host: h|Connection: close||"),
    ("http/1.0", "GET /any/length HTTP/1.0||"),
    ("http/1.0 host", "GET /any/chunked HTTP/1.0|Host: h||"),
    ("http/1.0 keep-alive", "GET /any/length HTTP/1.0|Connection: keep-alive||"),
    ("http/1.0 body", "POST /any/unknown HTTP/1.0|Content-Length: 5||hello"),
    ("modified", "GET /any/range HTTP/1.1|Host: h|If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT||"),
    ("none match", "GET /any/range HTTP/1.1|Host: h|If-None-Match: *||"),
    ("range", "GET /any/range HTTP/1.1|Host: h|Range: bytes=1-3||"),
    ("encodings", "GET /any/large HTTP/1.1|Host: h|Accept-Encoding: gzip, br||"),
    ("te", "GET /any/trailers HTTP/1.1|Host: h|TE: trailers||"),
    ("upgrade", "GET /any/length HTTP/1.1|Host: h|Connection: Upgrade|Upgrade: foo/1||"),
    (
        "pipeline",
        "GET /any/length HTTP/1.1|Host: h||HEAD /any/length HTTP/1.1|Host: h||GET /any/chunked HTTP/1.1|Host: h||",
    ),
    ("empty line", "|GET /any/length HTTP/1.1|Host: h||"),
];

/// The corpus.
pub(crate) fn requests() -> Vec<Request> {
    let of_lines = |name: &str, lines: &str, way| {
        let bytes: Vec<u8> = lines.replace('|', "\r\n").chars().map(|letter| u8::try_from(letter).unwrap()).collect();
        Request { name: name.to_owned(), head: bytes, body: Vec::new(), way }
    };
    let mut requests = Vec::new();
    for answer in ANSWERS {
        for method in ["GET", "POST"] {
            let lines = format!("{method} /any/{answer} HTTP/1.1|Host: h|Content-Length: 0||");
            requests.push(of_lines(&format!("{method} {answer}"), &lines, Way::Sends));
        }
    }
    requests.extend(REQUESTS.iter().map(|(name, lines)| of_lines(name, lines, Way::Sends)));
    requests.push(of_lines("finishes", "GET /any/length HTTP/1.1|Host: h||", Way::Finishes));
    requests.push(of_lines("finishes large", "GET /any/large HTTP/1.1|Host: h||", Way::Finishes));
    requests.push(of_lines(
        "many headers",
        &format!("GET /any/length HTTP/1.1|Host: h|{}|", "X-N: 1|".repeat(90)),
        Way::Sends,
    ));
    requests.push(of_lines(
        "long header",
        &format!("GET /any/length HTTP/1.1|Host: h|X: {}||", "x".repeat(7000)),
        Way::Sends,
    ));
    let head = |lines: &str| of_lines("", lines, Way::Sends).head;
    let post = "POST /any/unknown HTTP/1.1|Host: h|";
    let with = |name: &str, lines: &str, body: Vec<u8>, way| Request {
        name: name.to_owned(),
        head: head(&format!("{post}{lines}||")),
        body,
        way,
    };
    requests.push(with("every byte", "Content-Length: 256", (0..=255).collect(), Way::Sends));
    requests.push(with("large body", "Content-Length: 300000", vec![b'x'; 300_000], Way::Sends));
    requests.push(with("leave", "Expect: 100-continue|Content-Length: 5", b"hello".to_vec(), Way::Waits));
    requests
}
