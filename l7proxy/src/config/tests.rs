use super::*;

/// Writes `text` to a file of its own and loads it.
fn load_text(text: &str) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("l7proxy.yaml");
    fs::write(&file, text).unwrap();
    load(&file).map_err(|error| ConfigError {
        lines: error.lines.iter().map(|line| line.replace(&format!("{}", file.display()), "FILE")).collect(),
    })
}

fn refused(text: &str) -> String {
    load_text(text).unwrap_err().to_string()
}

#[test]
fn the_documented_example_is_accepted() {
    let config = load_text(
        r#"
cluster: default
node: node-a
policies: [policies/]
namespaces:
  payments: {team: money}
endpoints:
  - pod: default/reporting-1
    netns: /run/netns/reporting-1
    addresses: [10.77.0.2, "fd77::2"]
    labels: {app: reporting}
    serviceAccount: reporting
    ports: {http: 8080}
    workload: Deployment/reporting
remotes:
  - pod: default/internal-api-1
    addresses: [10.77.0.3]
    labels: {app: internal-api}
services:
  - name: default/internal-api
    clusterIPs: [10.96.0.7]
    ports: [{port: 8080, targetPort: 8080}]
    selector: {app: internal-api}
names: [{name: api.example.com, addresses: [192.0.2.7]}]
host: {addresses: [10.77.0.1], allow: true}
redirect: {cgroup: /sys/fs/cgroup/unified}
proxy: {workers: 2, path: {mergeSlashes: true}, limits: {}}
flows:
  socket: /run/l7proxy/hubble.sock
  listen: 127.0.0.1:4244
  tls: {certificate: hubble.crt, key: hubble.key, clientCa: ca.crt}
  peers: [{name: node-b, address: "10.77.0.9:4244", tlsServerName: node-b.default.hubble-grpc.cilium.io}]
  buffer: {sizeMib: 48, denySizeMib: 16}
  file: {path: flows.jsonl, maxSizeMb: 10, maxBackups: 5}
  stdout: false
admin: {socket: /run/l7proxy/admin.sock, metrics: 127.0.0.1:9965}
"#,
    )
    .unwrap();
    assert_eq!(config.endpoints[0].addresses.len(), 2);
    assert!(config.policies[0].is_absolute(), "relative to the file: {:?}", config.policies);
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let error = refused("cluster: a\nendpoints:\n  - pod: a/b\n    netnss: /x\n    addresses: [10.0.0.1]\n");
    assert!(error.starts_with("FILE:4:5: unknown field `netnss`"), "{error}");
}

/// Each relaxation is known by its name, alone, and means its own option; without any, all is as strict as it can be.
#[test]
fn paths_are_relaxed_by_name() {
    let load = |path: &str| load_text(&format!("proxy:\n  path: {{{path}}}\n")).map(|config| config.proxy.path);
    let strict = rules::PathOptions::default();
    for (line, options) in [
        ("mergeSlashes: false", rules::PathOptions { merge_slashes: false, ..strict }),
        ("allowPathParameters: true", rules::PathOptions { allow_path_parameters: true, ..strict }),
        ("allowEncodedSlash: true", rules::PathOptions { allow_encoded_slash: true, ..strict }),
        ("allowEncodedBackslash: true", rules::PathOptions { allow_encoded_backslash: true, ..strict }),
        ("allowEncodedControl: true", rules::PathOptions { allow_encoded_control: true, ..strict }),
        ("allowDoubleEncoding: true", rules::PathOptions { allow_double_encoding: true, ..strict }),
        ("allowNonUtf8: true", rules::PathOptions { allow_non_utf8: true, ..strict }),
    ] {
        let path = load(line).unwrap();
        assert_eq!(path.options(), options, "{line}");
        assert_eq!(path.relaxed(), [line]);
    }
    let path = load("").unwrap();
    assert_eq!((path.options(), path.relaxed()), (strict, Vec::new()));
    assert!(load_text("{}\n").unwrap().proxy.path == path);
    for line in ["allowNul: true", "allowAboveRoot: true", "AllowEncodedSlash: true", "allowEncodedSlash: yes please"] {
        let error = load(line).unwrap_err().to_string();
        assert!(error.starts_with("FILE:2:"), "{line}: {error}");
    }
}

#[test]
fn overlapping_addresses_name_both_owners() {
    let error = refused(
        "endpoints:\n  - {pod: a/b, pid: 1, addresses: [10.0.0.1]}\nremotes:\n  - {pod: a/c, addresses: ['::ffff:10.0.0.1']}\n",
    );
    assert_eq!(
        error,
        "FILE: remotes[0].addresses: ::ffff:10.0.0.1 is also an address of endpoints[0]; each address belongs to one of them"
    );
}

#[test]
fn all_problems_are_told_at_once() {
    let error = refused("endpoints:\n  - {pod: b, addresses: [127.0.0.1]}\nproxy: {workers: 0}\n");
    assert_eq!(error.lines().count(), 4, "{error}");
}

#[test]
fn what_is_held_must_be_judged() {
    load_text("redirect: {unenrolled: hold}\n").unwrap();
    let error = refused("redirect: {unenrolled: hold, existing: leave}\n");
    assert!(error.contains("redirect.unenrolled") && error.contains("redirect.existing"), "{error}");
}

#[test]
fn a_missing_file_is_one_line() {
    let error = load(Path::new("/nonexistent/l7proxy.yaml")).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/l7proxy.yaml: cannot be read"), "{error}");
    assert_eq!(error.lines().count(), 1);
}

#[test]
fn the_hubble_api_is_checked() {
    let config = load_text("flows: {socket: hubble.sock, listen: '[::]:4244', tls: {certificate: a, key: b}}").unwrap();
    let flows = &config.flows;
    let tls = flows.tls.as_ref().unwrap();
    assert!(flows.socket.as_ref().unwrap().is_absolute() && tls.certificate.is_absolute() && tls.key.is_absolute());
    assert_eq!((flows.buffer.size_mib, flows.buffer.deny_size_mib), (48, 16));
    let served = "node: node-a\nflows:\n  socket: s\n  ";
    for (text, problem) in [
        (
            "flows: {socket: s, tls: {certificate: a, key: b}}".to_owned(),
            "FILE: flows.tls: is about flows.listen, which is not given; give it, or remove flows.tls",
        ),
        (
            "flows: {peers: [{name: b, address: 'b:1'}]}".to_owned(),
            "FILE: flows.peers: nobody is told of them without flows.socket or flows.listen; give one of these",
        ),
        (format!("{served}buffer: {{sizeMib: 0}}"), "FILE: flows.buffer.sizeMib: 0; give mebibytes from 1 to 16384"),
        (
            format!("{served}buffer: {{denySizeMib: 99999}}"),
            "FILE: flows.buffer.denySizeMib: 99999; give mebibytes from 1 to 16384",
        ),
        (
            format!("{served}peers: [{{name: node-a, address: 'b:1'}}]"),
            "FILE: flows.peers[0].name: \"node-a\"; give each other node once, by its name",
        ),
        (
            format!("{served}peers: [{{name: b, address: 'b:1'}}, {{name: b, address: 'c:1'}}]"),
            "FILE: flows.peers[1].name: \"b\"; give each other node once, by its name",
        ),
        (
            format!("{served}peers: [{{name: b, address: 'unix://relative'}}]"),
            "FILE: flows.peers[0].address: \"unix://relative\"; give address:port or unix:///path",
        ),
    ] {
        assert_eq!(refused(&text), problem);
    }
    for address in ["b", "b:", ":4244", "b:0", "b:99999"] {
        let text = format!("{served}peers: [{{name: b, address: '{address}'}}]");
        assert!(refused(&text).contains("flows.peers[0].address"), "{address}");
    }
}

#[test]
fn nodes_are_named_as_hubble_names_them() {
    let names = |text: &str| {
        let config = load_text(text).unwrap();
        (config.peer_name(), config.tls_server_name())
    };
    assert_eq!(names("node: a.b"), ("a.b".to_owned(), "a-b.default.hubble-grpc.cilium.io".to_owned()));
    let expected = ("eu.1/a".to_owned(), "a.eu-1.hubble-grpc.cilium.io".to_owned());
    assert_eq!(names("node: a\ncluster: eu.1"), expected);
}

#[test]
fn metrics_of_records_are_checked_with_their_place() {
    let load = |flows: &str, admin: &str| load_text(&format!("flows: {{{flows}}}\nadmin: {{{admin}}}\n"));
    let config = load("metrics: ['drop:sourceContext=pod'], metricsSeries: 5", "metrics: 127.0.0.1:9965").unwrap();
    assert_eq!(config.flows.metrics.unwrap().len(), 1);
    let error = load("metrics: [flow]", "").unwrap_err().to_string();
    assert_eq!(error, "FILE: flows.metrics: nobody could read them; give an address as admin.metrics");
    let error = load("metrics: [flow, flow]", "metrics: 127.0.0.1:9965").unwrap_err().to_string();
    assert_eq!(error, "FILE: flows.metrics[1]: \"flow\" is there before; give each metric once");
    let error = load("metrics: [flow:x]", "metrics: 127.0.0.1:9965").unwrap_err().to_string();
    assert!(error.starts_with("FILE:1:19: flow: unknown option \"x\"; write one of "), "{error}");
    let error = load("metricsSeries: 0", "metrics: 127.0.0.1:9965").unwrap_err().to_string();
    assert!(error.starts_with("FILE: flows.metricsSeries: 0 "), "{error}");
}

#[test]
fn names_are_of_addresses_that_are_nobodys() {
    let text = "remotes: [{pod: a/b, addresses: [10.0.0.3]}]\n";
    let names = |names: &str| format!("{text}names: [{names}]\n");
    let config = load_text(&names(
        "{name: b.example.com, addresses: ['::ffff:192.0.2.1', '2001:db8::1']}, {name: a_1.example, addresses: [192.0.2.1]}",
    ));
    let by_address = config.unwrap().names_by_address();
    let of = |address: &str| by_address[&address.parse::<IpAddr>().unwrap()].join(" ");
    assert_eq!(
        (of("192.0.2.1"), of("2001:db8::1")),
        ("a_1.example b.example.com".to_owned(), "b.example.com".to_owned())
    );
    let of_many = |count: usize| {
        let one = |number| format!("{{name: n{number}.example, addresses: [192.0.2.1]}}");
        names(&(0..count).map(one).collect::<Vec<_>>().join(", "))
    };
    assert!(load_text(&of_many(16)).is_ok());
    let problem = "names: 192.0.2.1 has 17 names, more than 16; leave out those that nobody looks for";
    assert_eq!(refused(&of_many(17)), format!("FILE: {problem}"));
    let problem = "FILE: names[0].addresses: 10.0.0.3 is remotes[0], which has a name; leave it out here";
    assert_eq!(refused(&names("{name: b.example, addresses: [10.0.0.3]}")), problem);
    assert_eq!(
        refused(&names("{name: b.example, addresses: []}")),
        "FILE: names[0].addresses: nobody is called so; give at least one"
    );
    let longest = "a.".repeat(126) + "b";
    let long = longest.clone() + "c";
    for name in ["", ".", "a.", "A.example", "a..b", "*.example", "a b", "é.example", &"a".repeat(64), &long] {
        let error = refused(&names(&format!("{{name: '{name}', addresses: [192.0.2.1]}}")));
        assert!(error.starts_with(&format!("FILE: names[0].name: {name:?} is no domain name; write ")), "{error}");
    }
    assert!(load_text(&names(&format!("{{name: {longest}, addresses: [192.0.2.1]}}"))).is_ok());
}
