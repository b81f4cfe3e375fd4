//! `l7proxy explain` beside what happens.

use anyhow::{Result, ensure};
use conformance::{
    Node,
    client::curl,
    server::{self, udp_connect},
};

const CLIENT: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: client}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
    - toEndpoints: [{matchLabels: {app: api}}]
      toPorts:
        - ports: [{port: "7000", protocol: TCP}, {port: "7001", protocol: TCP}, {port: "5353", protocol: UDP}, {port: "5354", protocol: UDP}]
        - ports: [{port: "8080", protocol: TCP}]
          rules: {http: [{method: GET}]}
"#;
const API: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: api}
spec:
  endpointSelector: {matchLabels: {app: api}}
  ingress:
    - fromEndpoints: [{matchLabels: {app: client}}]
      toPorts:
        - ports: [{port: "7000", protocol: TCP}, {port: "7002", protocol: TCP}, {port: "5353", protocol: UDP}]
        - ports: [{port: "8080", protocol: TCP}]
          rules: {http: [{path: "/read.*"}]}
"#;

#[test]
fn connections_and_datagrams_are_explained_as_they_are_judged() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let _http = server::http(&api, 8080)?;
    let (tcp, udp) = ([7000, 7001, 7002, 7003], [5353, 5354, 5355]);
    let _tcp: Vec<_> =
        tcp.map(|port| server::tcp(&api, &format!("0.0.0.0:{port}"))).into_iter().collect::<Result<_>>()?;
    let _udp: Vec<_> =
        udp.map(|port| server::udp(&api, &format!("0.0.0.0:{port}"))).into_iter().collect::<Result<_>>()?;
    node.write_manifest("client.yaml", CLIENT)?;
    node.write_manifest("api.yaml", API)?;
    node.start()?;
    let mut wrong = Vec::new();
    // What egress says, what ingress says.
    for (protocol, port, sides) in [
        ("tcp", 7000, ["ALLOWED", "ALLOWED"]),
        ("tcp", 7001, ["ALLOWED", "DENIED"]),
        ("tcp", 7002, ["DENIED", "ALLOWED"]),
        ("tcp", 7003, ["DENIED", "DENIED"]),
        ("tcp", 8080, ["REDIRECTED", "REDIRECTED"]),
        ("udp", 5353, ["ALLOWED", "ALLOWED"]),
        ("udp", 5354, ["ALLOWED", "DENIED"]),
        ("udp", 5355, ["DENIED", "DENIED"]),
    ] {
        let number = port.to_string();
        let pods = ["--from", "default/client", "--to", "default/api", "--port", &number, "--protocol", protocol];
        let explained = node.explain(&pods)?;
        let told = ["egress", "ingress"].map(|direction| explained.verdict_of(direction));
        let passes = match protocol {
            "tcp" if port == 8080 => !server::connect(&client, (api.v4, port), None)?.is_refused(),
            "tcp" => server::connect(&client, (api.v4, port), Some("x"))?.reply.is_some(),
            _ => udp_connect(&client, (api.v4, port), "x")?.result == "answered",
        };
        if told != sides || passes != explained.allowed {
            wrong.push(format!("{protocol} {port}: told {told:?}, must be {sides:?}; it passes: {passes}"));
        }
    }
    for (method, path, status) in [("GET", "/read", 200), ("GET", "/write", 403), ("POST", "/read", 403)] {
        let pods = ["--from", "default/client", "--to", "default/api", "--port", "8080", method, path];
        let explained = node.explain(&pods)?;
        let answer = curl(&client, &["--request", method], &format!("http://{}:8080{path}", api.v4))?;
        if answer.status != status || explained.allowed != (status == 200) {
            wrong.push(format!("{method} {path}: {}, told {}", answer.status, explained.told));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
