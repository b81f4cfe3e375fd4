use http::Request;

use super::scan::{Outcome, Scanner};
use crate::{
    http::Limits,
    reject::{Limit, Rejection},
};

/// How many bytes passed, and what stopped the scan: a refusal, or broken framing.
struct Scanned {
    passed: usize,
    refused: Option<Rejection>,
    broken: bool,
}

fn scan(parts: &[&[u8]]) -> Scanned {
    let mut scanner = Scanner::new(Limits::default());
    let (mut waiting, mut request) = (Vec::new(), Request::new(()));
    let mut passed = 0;
    for part in parts {
        waiting.extend_from_slice(part);
        loop {
            let length = match scanner.scan(&waiting, &mut request) {
                Outcome::Request(found) => found.end,
                Outcome::Pass(0) => break,
                Outcome::Pass(length) => length,
                Outcome::Refuse(rejection) => return Scanned { passed, refused: Some(rejection), broken: false },
                Outcome::Broken => return Scanned { passed, refused: None, broken: true },
            };
            waiting.drain(..length);
            passed += length;
        }
    }
    Scanned { passed, refused: None, broken: false }
}

/// The length of a request that is whole.
fn request_in(scanner: &mut Scanner, bytes: &[u8]) -> usize {
    let Outcome::Request(found) = scanner.scan(bytes, &mut Request::new(())) else {
        panic!("no request in {}", bytes.escape_ascii())
    };
    found.end
}

fn whole_and_bytewise(bytes: &[u8]) -> String {
    let whole = scan(&[bytes]);
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    let bytewise = scan(&single);
    let show = |scanned: &Scanned| match &scanned.refused {
        _ if scanned.broken => "broken".to_owned(),
        None => format!("{} passed", scanned.passed),
        Some(rejection) => format!("{} passed, {}", scanned.passed, rejection.reason()),
    };
    assert_eq!(show(&whole), show(&bytewise), "{:?}", String::from_utf8_lossy(bytes));
    show(&whole)
}

#[test]
fn good_requests_pass_whole() {
    for request in [
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET http://h/x HTTP/1.1\r\nHost: h\r\nX-Empty:\r\nX-Tab:\ta\tb\r\n\r\n",
        "M-SEARCH /x HTTP/1.1\r\nHost: h\r\nX-Obs: \u{e9}\r\n\r\n",
        "GET /a|b{c}\"d^e HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        let twice = format!("{request}{}", request.trim_start());
        assert_eq!(whole_and_bytewise(twice.as_bytes()), format!("{} passed", twice.len()), "{request:?}");
    }
}

/// What is refused and why; `|` is CR LF.
const REFUSED: &[Case] = &[
    ("content-length-and-transfer-encoding", "POST / HTTP/1.1|Host: h|Content-Length: 5|Transfer-Encoding: chunked||"),
    ("content-length-and-transfer-encoding", "POST / HTTP/1.1|Host: h|Transfer-Encoding: chunked|Content-Length: 5||"),
    ("content-length-repeated", "POST / HTTP/1.1|Host: h|Content-Length: 5|Content-Length: 5||"),
    ("content-length-repeated", "POST / HTTP/1.1|Host: h|Content-Length: 5|content-length: 6||"),
    ("content-length", "POST / HTTP/1.1|Host: h|Content-Length: 5, 5||"),
    ("content-length", "POST / HTTP/1.1|Host: h|Content-Length: +5||"),
    ("content-length", "POST / HTTP/1.1|Host: h|Content-Length: -5||"),
    ("content-length", "POST / HTTP/1.1|Host: h|Content-Length: 0x5||"),
    ("content-length", "POST / HTTP/1.1|Host: h|Content-Length:||"),
    ("content-length", "POST / HTTP/1.1|Host: h|Content-Length: 9999999999999999999||"),
    ("transfer-encoding", "POST / HTTP/1.1|Host: h|Transfer-Encoding: gzip, chunked||"),
    ("transfer-encoding", "POST / HTTP/1.1|Host: h|Transfer-Encoding: identity||"),
    ("transfer-encoding", "POST / HTTP/1.1|Host: h|Transfer-Encoding: xchunked||"),
    ("transfer-encoding", "POST / HTTP/1.1|Host: h|Transfer-Encoding: chunked|Transfer-Encoding: chunked||"),
    ("transfer-encoding", "POST / HTTP/1.1|Host: h|Transfer-Encoding: \"chunked\"||"),
    ("transfer-encoding-in-http10", "POST / HTTP/1.0|Host: h|Transfer-Encoding: chunked||"),
    ("header-name", "POST / HTTP/1.1|Host: h|Transfer-Encoding : chunked||"),
    ("header-name", "POST / HTTP/1.1|Host: h|Content Length: 5||"),
    ("header-name", "GET / HTTP/1.1|Host: h|X\u{e9}: 5||"),
    ("header-name", "GET / HTTP/1.1|Host: h|: 5||"),
    ("header-line", "GET / HTTP/1.1|Host: h|novalue||"),
    ("obs-fold", "GET / HTTP/1.1|Host: h|X: a| b||"),
    ("obs-fold", "GET / HTTP/1.1| Host: h||"),
    ("header-value", "GET / HTTP/1.1|Host: h|X: a\0b||"),
    ("header-value", "GET / HTTP/1.1|Host: h|X: a\u{1}b||"),
    ("bare-cr", "GET / HTTP/1.1|Host: h|X: a\rb||"),
    ("bare-lf", "GET / HTTP/1.1\nHost: h||"),
    ("bare-lf", "GET / HTTP/1.1|Host: h\nX: y||"),
    ("bare-lf", "GET / HTTP/1.1|Host: h\n\n"),
    ("version", "GET / HTTP/1.2|Host: h||"),
    ("version", "GET / HTTP/2.0|Host: h||"),
    ("version", "PRI * HTTP/2.0||SM||"),
    ("version", "GET / http/1.1|Host: h||"),
    ("version", "GET / HTTP/1.1x|Host: h||"),
    ("request-line", "GET /||"),
    ("request-line", "GET  / HTTP/1.1|Host: h||"),
    ("request-line", "GET / x HTTP/1.1|Host: h||"),
    ("request-line", "GET / HTTP/1.1 |Host: h||"),
    ("method", "G(ET / HTTP/1.1|Host: h||"),
    ("target-byte", "GET /a#b HTTP/1.1|Host: h||"),
    ("target-byte", "GET /\u{e9} HTTP/1.1|Host: h||"),
    ("target-byte", "GET /a<b HTTP/1.1|Host: h||"),
    ("target-form", "GET a/b HTTP/1.1|Host: h||"),
    ("not-http", "\u{16}\u{3}\u{1}\u{2}"),
    ("empty-lines", "|||GET / HTTP/1.1|Host: h||"),
];

type Case = (&'static str, &'static str);

#[test]
fn what_is_read_differently_by_others_is_refused() {
    for (reason, lines) in REFUSED {
        let bytes = lines.replace('|', "\r\n");
        let outcome = whole_and_bytewise(bytes.as_bytes());
        assert_eq!(outcome, format!("0 passed, {reason}"), "{lines:?}");
        let first = "GET /first HTTP/1.1\r\nHost: h\r\n\r\n";
        let second = format!("{first}{}", bytes.trim_start_matches("\r\n\r\n"));
        if *reason != "empty-lines" {
            assert_eq!(whole_and_bytewise(second.as_bytes()), format!("{} passed, {reason}", first.len()), "{lines:?}");
        }
    }
}

/// Together with its head a body is refused; behind a head that passed it is broken.
#[test]
fn broken_chunks_are_broken() {
    let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in ["x\r\n", "5\r\nhelloX", "5\nhello\r\n", "5;\0\r\n", "0\r\nHost: h\r\n\r\n"] {
        let bytes = format!("{head}{body}");
        let whole = scan(&[bytes.as_bytes()]);
        assert_eq!(whole.refused.map(|rejection| rejection.reason()), Some("body-framing"), "{body:?}");
        assert_eq!((whole.passed, whole.broken), (0, false), "{body:?}");
        let single: Vec<&[u8]> = bytes.as_bytes().chunks(1).collect();
        assert!(scan(&single).broken, "{body:?}");
    }
}

#[test]
fn nothing_passes_behind_a_request_that_closes() {
    for request in ["GET / HTTP/1.1\r\nHost: h\r\nConnection: x, Close\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"] {
        let mut scanner = Scanner::new(Limits::default());
        assert_eq!(request_in(&mut scanner, request.as_bytes()), request.len());
        assert!(scanner.is_closed());
        assert!(matches!(scanner.scan(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", &mut Request::new(())), Outcome::Pass(0)));
        assert_eq!(scanner.requests(), 1);
        let together = scan(&[format!("{request}GET / HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()]);
        assert_eq!(together.refused.map(|rejection| rejection.reason()), Some("bytes-after-close"));
    }
}

/// Else what is judged would not be what is forwarded.
#[test]
fn each_target_that_passes_is_judged_as_it_stands() {
    let mut passed = 0;
    for byte in 0..=u8::MAX {
        for (before, after) in
            [("/a", "z"), ("/?a", "z"), ("http://h/a", "z"), ("http://h/?a", "z"), ("http://h", "/"), ("", "")]
        {
            let target = [before.as_bytes(), &[byte], after.as_bytes()].concat();
            let request = [b"OPTIONS ", target.as_slice(), b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
            if scan(&[&request]).refused.is_some() {
                continue;
            }
            passed += 1;
            let uri = http::Uri::try_from(target.as_slice()).unwrap_or_else(|error| panic!("{target:?}: {error}"));
            let kept = uri
                .path_and_query()
                .filter(|_| uri.scheme().is_none())
                .map_or_else(|| uri.to_string(), ToString::to_string);
            assert_eq!(kept.as_bytes(), target);
        }
    }
    assert!(passed > 300, "{passed} passed");
}

#[test]
fn limits_hold_at_their_numbers() {
    let limits = Limits::default();
    let refusal = |bytes: &[u8]| match scan(&[bytes]).refused {
        Some(Rejection::TooLarge(limit)) => Some(limit),
        Some(other) => panic!("{other:?}"),
        None => None,
    };
    let line = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(length - 14));
    assert_eq!(refusal(line(limits.request_line_bytes).as_bytes()), None);
    assert_eq!(refusal(line(limits.request_line_bytes + 1).as_bytes()), Some(Limit::RequestLine));
    let headers = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
    assert_eq!(refusal(headers(limits.headers).as_bytes()), None);
    assert_eq!(refusal(headers(limits.headers + 1).as_bytes()), Some(Limit::Headers));
    let head = |length: usize| {
        let frame = "GET / HTTP/1.1\r\na: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(length - frame))
    };
    assert_eq!(refusal(head(limits.head_bytes).as_bytes()), None);
    assert_eq!(refusal(head(limits.head_bytes + 1).as_bytes()), Some(Limit::Head));
    let endless = "a".repeat(limits.request_line_bytes + 3);
    assert_eq!(refusal(endless.as_bytes()), Some(Limit::RequestLine), "without an end in sight");
}

#[test]
fn nothing_passes_behind_a_request_to_switch_protocols() {
    let request = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
    let bytes = format!("{request}GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut scanner = Scanner::new(Limits::default());
    assert_eq!(request_in(&mut scanner, bytes.as_bytes()), request.len());
    assert!(scanner.is_held());
    assert!(matches!(scanner.scan(&bytes.as_bytes()[request.len()..], &mut Request::new(())), Outcome::Pass(0)));
    scanner.resume();
    let rest = &bytes.as_bytes()[request.len()..];
    assert_eq!(request_in(&mut scanner, rest), rest.len());
    assert_eq!(scanner.requests(), 2);
}
