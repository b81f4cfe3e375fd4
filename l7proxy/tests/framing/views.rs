//! What is judged is what is forwarded: the view of what a client sent is the view of what reaches the server.

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use rules::{Malformed, PathOptions, RequestView};

use crate::{
    exchange::{End, OK, Plan, run},
    requests,
    stage::Stage,
    table::shown,
};

/// Allows every request.
const ALL: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: policy, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress: [{toPorts: [{ports: [{port: "0", protocol: TCP}], rules: {http: [{path: ".*"}]}}]}]
"#;

/// A head as it stands in some bytes.
struct Head {
    method: String,
    target: String,
    http10: bool,
    headers: HeaderMap,
}

impl Head {
    fn read(bytes: &[u8]) -> Self {
        let mut lines = [httparse::EMPTY_HEADER; 101];
        let mut request = httparse::Request::new(&mut lines);
        assert!(request.parse(bytes).unwrap().is_complete(), "{}", shown(bytes));
        let line = |line: &httparse::Header<'_>| {
            (HeaderName::from_bytes(line.name.as_bytes()).unwrap(), HeaderValue::from_bytes(line.value).unwrap())
        };
        let mut headers = HeaderMap::new();
        for (name, value) in request.headers.iter().map(line) {
            headers.append(name, value);
        }
        Self {
            method: request.method.unwrap().to_owned(),
            target: request.path.unwrap().to_owned(),
            http10: request.version == Some(0),
            headers,
        }
    }

    fn view(&self, options: PathOptions) -> Result<RequestView<'_>, Malformed> {
        RequestView::new(&self.method, self.target.as_bytes(), self.http10, &self.headers, &options)
    }
}

fn assert_same(sent: &[u8], arrived: &[u8], options: PathOptions) {
    let (sent, arrived) = (Head::read(sent), Head::read(arrived));
    let (judged, seen) = (sent.view(options).unwrap(), arrived.view(options).unwrap());
    assert_eq!((judged.method(), judged.host(), judged.path()), (seen.method(), seen.host(), seen.path()));
    assert_eq!(judged.forward_target(), seen.forward_target());
    assert!(!seen.changed(), "{} is not its own normal form", arrived.target);
    for name in judged.headers().keys().filter(|name| !is_of_connection(name)) {
        let values = |view: &RequestView<'_>| view.headers().get_all(name).iter().cloned().collect::<Vec<_>>();
        assert_eq!(values(&judged), values(&seen), "{name}");
    }
}

fn in_lower_case(target: &str) -> String {
    match target.split_once("://") {
        Some((scheme, rest)) if !scheme.starts_with('/') => format!("{}://{rest}", scheme.to_ascii_lowercase()),
        _ => target.to_owned(),
    }
}

/// An offer of HTTP/2 is taken out of these.
fn is_of_connection(name: &HeaderName) -> bool {
    ["connection", "upgrade", "http2-settings"].contains(&name.as_str())
}

#[test]
fn every_request_of_the_table_that_passes_is_seen_as_it_was_judged() {
    let passing = requests::all().into_iter().filter(|case| ["pass", "closes"].contains(&case.expected.as_str()));
    let mut count = 0;
    for case in passing {
        assert_same(&case.send, &case.arrives, PathOptions::default());
        count += 1;
    }
    assert!(count > 400, "{count} requests");
}

/// What has one meaning, in one of its forms.
const GOOD: &[&str] = &[
    "any",
    "a",
    "..",
    ".",
    "",
    "%2e%2e",
    ".%2E",
    "%41%5f",
    "a%20b",
    "%c3%a9",
    "%E2%82%AC",
    "...",
    ".a",
    "~!$&'()*+,=:@",
    "\"|{}^",
];
/// What has none, unless that is relaxed.
const BAD: &[&str] = &[
    "%2f",
    "%5C",
    "\\",
    ";x",
    "..;",
    "%00",
    "%0a",
    "%7f",
    "%252e",
    "%25%32%65",
    "%c0%ae",
    "%ff",
    "%zz",
    "%",
    "#",
    "<",
    "`",
    "\u{e9}",
];
const LINES: &[&str] =
    &["X: a\r\n", "x-MiXeD: \u{e9}\tb\r\n", "Cookie: a=b\r\n", "X-Empty:\r\n", "TE: trailers\r\n", "Accept: */*\r\n"];

fn segment() -> impl Strategy<Value = &'static str> {
    prop_oneof![8 => proptest::sample::select(GOOD), 1 => proptest::sample::select(BAD)]
}

fn target() -> impl Strategy<Value = String> {
    let origin = prop_oneof![8 => Just(""), 2 => Just("http://h"), 1 => Just("http://other"), 1 => Just("HTTPS://h")];
    let query =
        prop_oneof![6 => Just(""), 2 => Just("?"), 2 => Just("?a=/../%2f;x?&b"), 1 => Just("?\""), 1 => Just("?#")];
    let segments = proptest::collection::vec(segment(), 1..6);
    (origin, segments, query).prop_map(|(origin, segments, query)| format!("{origin}/{}{query}", segments.join("/")))
}

/// Strict, or any of the relaxations.
fn options() -> impl Strategy<Value = PathOptions> {
    let any =
        any::<[bool; 7]>().prop_map(|[slashes, parameters, slash, backslash, control, double, bytes]| PathOptions {
            merge_slashes: slashes,
            allow_path_parameters: parameters,
            allow_encoded_slash: slash,
            allow_encoded_backslash: backslash,
            allow_encoded_control: control,
            allow_double_encoding: double,
            allow_non_utf8: bytes,
        });
    prop_oneof![1 => Just(PathOptions::default()), 2 => any]
}

fn lines() -> impl Strategy<Value = String> {
    proptest::sample::subsequence(LINES, 0..LINES.len()).prop_map(|lines| lines.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn what_is_judged_is_what_is_forwarded(
        method in proptest::sample::select(&["GET", "get", "OPTIONS", "M-SEARCH", "DELETE"][..]),
        target in target(),
        lines in lines(),
        options in options(),
    ) {
        let request = |target: &str| -> Vec<u8> {
            let text = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
            text.chars().map(|letter| u8::try_from(letter).unwrap()).collect()
        };
        let (stage, sent) = (Stage::relaxed(options), request(&target));
        stage.publish(ALL);
        let headers = HeaderMap::from_iter([(http::header::HOST, HeaderValue::from_static("h"))]);
        let latin: Vec<u8> = target.chars().map(|letter| u8::try_from(letter).unwrap()).collect();
        if let Ok(view) = RequestView::new(method, &latin, false, &headers, &options) {
            // A scheme is rewritten with the path only.
            let target = view.forward_target();
            let forwarded = request(&if view.changed() { in_lower_case(&target) } else { target.into_owned() });
            let plan = Plan { send: &sent, server: vec![(&forwarded, OK)], answers: 1, ..Plan::default() };
            let seen = run(&stage, &plan);
            prop_assert_eq!(shown(&seen.server.bytes), shown(&forwarded));
            assert_same(&forwarded, &seen.server.bytes, options);
        } else {
            let seen = run(&stage, &Plan { send: &sent, answers: 1, closes: true, ..Plan::default() });
            prop_assert_eq!(seen.server.end, End::None);
            prop_assert!(seen.client.bytes.starts_with(b"HTTP/1.1 400 "), "{}", seen.client.shown());
        }
    }
}
