//! What is asked: connections, and requests on them.

use serde::Serialize;

use crate::random::Random;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Query {
    /// A pod, an address, or the name of a reserved identity.
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) direction: &'static str,
    /// Of ICMP, the type.
    pub(crate) port: u16,
    pub(crate) protocol: &'static str,
    pub(crate) http: Option<Request>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    /// With the query.
    pub(crate) path: &'static str,
    pub(crate) host: &'static str,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
}

const PODS: [&str; 6] = ["default/client", "default/api", "default/db", "other/client", "other/api", "other/bare"];
const ADDRESSES: [&str; 6] =
    ["192.0.2.10", "192.0.2.200", "198.51.100.7", "203.0.113.1", "2001:db8::1", "2001:db8:1::1"];
const RESERVED: [&str; 7] = ["host", "remote-node", "kube-apiserver", "ingress", "init", "health", "unmanaged"];
/// Types of ICMP messages.
const TYPES: [u16; 6] = [8, 8, 0, 3, 128, 255];
const PORTS: [u16; 14] = [8080, 8080, 8080, 8080, 8080, 8080, 80, 80, 8081, 53, 9090, 443, 1, 65535];
const METHODS: [&str; 8] = ["GET", "GET", "GET", "POST", "HEAD", "OPTIONS", "get", "PROPFIND"];
const PATHS: [&str; 16] = [
    "/",
    "/",
    "/api",
    "/api/",
    "/api/v1",
    "/api/v1/users/42",
    "/api?q=1",
    "/public",
    "/publicx",
    "/public?x=/api",
    "/v1.0",
    "/v1x0",
    "/API",
    "/a%20b",
    "/users/{id}",
    "/a+b",
];
/// Paths that have another form, or no single meaning.
const ODD_PATHS: [&str; 8] =
    ["//api", "/api/../public", "/%61pi", "/api/./v1", "/api%2fv1", "/public;x=1", "/%252e", "/api\\v1"];
const HOSTS: [&str; 6] = ["api", "api.default", "api.default:8080", "API", "example.com", "exampleXcom"];
const HEADERS: [(&str, &str); 10] = [
    ("x-key", "42"),
    ("X-Key", "42"),
    ("x-key", "43"),
    ("x-key", ""),
    ("x-key", "42,42"),
    ("x-two", "a b"),
    ("x-two", " a"),
    ("x-two", "A B"),
    ("x-other", "1"),
    ("X-Key", "a:b"),
];

/// Asked in every case.
pub(crate) fn fixed() -> Vec<Query> {
    let query = |from: &str, to: &str, direction, port, http| Query {
        from: from.to_owned(),
        to: to.to_owned(),
        direction,
        port,
        protocol: "TCP",
        http,
    };
    let with = |path, headers| Some(Request { method: "GET", path, host: "api", headers });
    let get = |path| with(path, Vec::new());
    let twice = |value| with("/api", vec![("x-key", "42"), ("X-Key", value)]);
    vec![
        query("default/client", "default/api", "egress", 8080, get("/api")),
        query("default/client", "default/api", "ingress", 8080, get("/api")),
        query("default/client", "other/api", "egress", 8081, get("/")),
        query("other/client", "default/api", "ingress", 8080, get("/public")),
        query("default/client", "192.0.2.10", "egress", 80, get("/")),
        query("192.0.2.10", "default/api", "ingress", 8080, None),
        query("default/client", "default/api", "egress", 8080, None),
        query("default/client", "default/api", "egress", 8080, get("/%61pi")),
        query("default/client", "default/api", "egress", 8080, get("/public;x=1")),
        query("default/client", "default/api", "egress", 8080, twice("42")),
        query("default/client", "default/api", "egress", 8080, twice("43")),
        query("default/client", "other/bare", "egress", 8080, get("/")),
    ]
}

/// Every path that has one form: for patterns.
pub(crate) fn of_all_paths() -> Vec<Query> {
    let query = |path: &&'static str| Query {
        from: "default/client".to_owned(),
        to: "default/api".to_owned(),
        direction: "egress",
        port: 8080,
        protocol: "TCP",
        http: Some(Request { method: "GET", path, host: "api", headers: Vec::new() }),
    };
    PATHS.iter().map(query).collect()
}

/// Every type of both families: for names of types.
pub(crate) fn of_all_types() -> Vec<Query> {
    let to = "default/api";
    let of = |protocol| (0..=255).map(move |port| connection(to, protocol, port));
    of("ICMP").chain(of("ICMPv6")).collect()
}

/// Every address: for CIDR groups.
pub(crate) fn of_all_addresses() -> Vec<Query> {
    ADDRESSES.iter().map(|address| connection(address, "TCP", 80)).collect()
}

fn connection(to: &str, protocol: &'static str, port: u16) -> Query {
    let (from, to) = ("default/client".to_owned(), to.to_owned());
    Query { from, to, direction: "egress", port, protocol, http: None }
}

pub(crate) fn query(random: &mut Random) -> Query {
    let egress = random.percent(55);
    // Policies are of namespace default, mostly.
    let subject = if random.percent(80) { random.between(0, 2) } else { random.between(3, 5) };
    let subject = PODS.get(subject).copied().unwrap_or_default().to_owned();
    let peer = match random.below(20) {
        0 => random.pick(&RESERVED),
        1..8 => random.pick(&ADDRESSES),
        _ => random.pick(&PODS),
    };
    let peer = peer.to_owned();
    let (from, to) = if egress { (subject, peer) } else { (peer, subject) };
    let protocol = random.pick(&["TCP", "TCP", "TCP", "TCP", "TCP", "TCP", "UDP", "UDP", "SCTP", "ICMP", "ICMPv6"]);
    let port = if protocol.starts_with("ICMP") { random.pick(&TYPES) } else { random.pick(&PORTS) };
    let http = (protocol == "TCP" && random.percent(80)).then(|| request(random));
    let direction = if egress { "egress" } else { "ingress" };
    Query { from, to, direction, port, protocol, http }
}

fn request(random: &mut Random) -> Request {
    let path = if random.percent(6) { random.pick(&ODD_PATHS) } else { random.pick(&PATHS) };
    let mut headers = Vec::new();
    if random.percent(50) {
        headers = random.list(1, 2, |random| random.pick(&HEADERS));
    }
    Request { method: random.pick(&METHODS), path, host: random.pick(&HOSTS), headers }
}
