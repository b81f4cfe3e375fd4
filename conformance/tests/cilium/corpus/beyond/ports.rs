//! Pieces of `toPorts`.

use serde_json::{Value, json};

use super::Place;

/// What may stand under `port`.
const NUMBERS: [&str; 20] = [
    "080",
    "0x50",
    "65535",
    "65536",
    "",
    "-1",
    "+80",
    "80 ",
    "a--b",
    "-http",
    "http-",
    "HTTP",
    "a_b",
    "abcdefghijklmnop",
    "00",
    "8_0",
    "1e2",
    "h\u{e9}",
    "80-90",
    "http",
];

pub(super) fn pieces() -> Vec<(Place, Value)> {
    let rules = rules().into_iter().map(|piece| (Place::PortRule, piece));
    let ports = ports().into_iter().map(|piece| (Place::Port, piece));
    rules.chain(ports).chain(http().into_iter().map(|piece| (Place::Http, piece))).collect()
}

fn rules() -> Vec<Value> {
    let tcp = json!([{"port": "8080", "protocol": "TCP"}]);
    let many: Vec<Value> = (1..=41).map(|port: u16| json!({"port": port.to_string()})).collect();
    vec![
        json!({"ports": tcp, "terminatingTLS": {"secret": {"name": "a"}}}),
        json!({"ports": tcp, "originatingTLS": {"secret": {"name": "a"}}}),
        json!({"ports": tcp, "serverNames": ["example.com"]}),
        json!({"ports": tcp, "listener": {"envoyConfig": {"name": "a"}, "name": "b"}}),
        json!({"ports": [{"port": "53", "protocol": "ANY"}], "rules": {"dns": [{"matchPattern": "*"}]}}),
        json!({"ports": tcp, "rules": {"kafka": [{"topic": "a"}]}}),
        json!({"ports": tcp, "rules": {"l7proto": "x", "l7": [{"a": "b"}]}}),
        json!({"ports": tcp, "rules": {"http": null}}),
        json!({"ports": tcp, "rules": null}),
        json!({"ports": tcp, "rules": {}}),
        json!({"ports": tcp, "rules": {"http": [null]}}),
        json!({"ports": null}),
        json!({"ports": [], "rules": {"http": [{}]}}),
        json!({"rules": {"http": [{"path": "/api"}]}}),
        json!({"rules": {"http": []}}),
        json!({"ports": many}),
        json!({"ports": many.get(1..).unwrap_or_default()}),
        json!({"ports": [{"port": "8080"}], "rules": {"http": [{}]}}),
        json!({"ports": [{"port": "8080", "protocol": "ANY"}], "rules": {"http": [{}]}}),
        json!({"ports": [{"port": "0", "protocol": "TCP"}], "rules": {"http": [{}]}}),
        json!({"ports": [{"port": "0"}]}),
        json!({"ports": [{"port": "http", "protocol": "TCP"}], "rules": {"http": [{}]}}),
        json!({"port": "80"}),
    ]
}

fn ports() -> Vec<Value> {
    let mut ports: Vec<Value> = NUMBERS.iter().map(|port| json!({"port": port, "protocol": "TCP"})).collect();
    ports.extend([json!(80), json!(null), json!(true)].map(|port| json!({"port": port})));
    for end in [json!(0), json!(80), json!(79), json!(90), json!("90"), json!(65536), json!(-1), json!(null)] {
        ports.push(json!({"port": "80", "endPort": end, "protocol": "TCP"}));
    }
    for port in ["http", "0"] {
        ports.push(json!({"port": port, "endPort": 90, "protocol": "TCP"}));
    }
    for protocol in ["tcp", "Any", "", "ICMP", "ICMPv6", "VRRP", "GRE", "QUIC", "6"] {
        ports.push(json!({"port": "8080", "protocol": protocol}));
    }
    ports.push(json!({"port": "8080", "protocol": null}));
    ports.push(json!({"protocol": "TCP"}));
    ports.push(json!({"port": "8080", "protocl": "TCP"}));
    ports
}

fn http() -> Vec<Value> {
    vec![
        json!({"headerMatches": [{"name": "X-Key", "value": "42"}]}),
        json!({"headers": [""]}),
        json!({"headers": [" 42"]}),
        json!({"headers": [": 42"]}),
        json!({"headers": [":path /api"]}),
        json!({"headers": [":authority"]}),
        json!({"headers": ["Host: api"]}),
        json!({"headers": ["X Key"]}),
        json!({"headers": ["X\u{e9}: 1"]}),
        json!({"headers": ["X(: 1"]}),
        json!({"headers": ["X-Key: a\nb"]}),
        json!({"headers": ["X-Key\t42"]}),
        json!({"headers": [42]}),
        json!({"headers": []}),
        json!({"method": 1}),
        json!({"method": null}),
        json!({"verb": "GET"}),
        json!({"host": "("}),
        json!({"host": "*.example.com"}),
        json!({"host": "exa mple"}),
        json!({"host": "EXAMPLE\\.com"}),
    ]
}
