//! HTTP/2 and gRPC as other people's programs speak them.

use std::net::SocketAddr;

use anyhow::Result;
use conformance::{
    Node, Pod,
    client::{curl, grpc, h2spec},
    missing, server,
};

/// Clients may ask everything of the API but `/write` and below.
const OPEN: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: open, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
    - toEndpoints: [{matchLabels: {app: api}}]
      toPorts:
        - ports: [{port: "8080", protocol: TCP}]
          rules:
            http:
              - {path: "/"}
              - {path: "/read.*"}
              - {method: POST, path: "/grpc[.]testing[.]TestService/.*"}
"#;

struct Stage {
    client: Pod,
    api: Pod,
    node: Node,
}

impl Stage {
    fn new() -> Result<Self> {
        let mut node = Node::new()?;
        let client = node.pod("default/client", &[("app", "client")])?;
        let api = node.pod("default/api", &[("app", "api")])?;
        node.write_manifest("policy.yaml", OPEN)?;
        node.start()?;
        Ok(Self { client, api, node })
    }

    fn target(&self) -> SocketAddr {
        (self.api.v4, 8080).into()
    }
}

#[test]
fn curl_by_prior_knowledge() -> Result<()> {
    let stage = Stage::new()?;
    let server = server::http2(&stage.api, 8080)?;
    let ask =
        |path: &str| curl(&stage.client, &["--http2-prior-knowledge"], &format!("http://{}{path}", stage.target()));
    assert_eq!(ask("/read/a")?.status, 200);
    assert_eq!(ask("/write")?.status, 403);
    let seen = server.seen()?;
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].target.as_str(), seen[0].accepted.ip()), ("/read/a", stage.client.v4.into()));
    let flows = stage.node.wait_flows(0, 4, |_| true)?;
    assert!(flows.iter().all(|flow| flow.0["flow"]["l7"]["http"]["protocol"] == "HTTP/2"), "{flows:?}");
    Ok(())
}

/// Section, a part of the case's name, why it is not as h2spec wants it.
type Expected = (&'static str, &'static str, &'static str);

/// What h2spec wants otherwise than it is.
const EXPECTED: &[Expected] = &[(
    "http2/3.5",
    "Sends invalid connection preface",
    "what does not begin with the preface is HTTP/1: it is answered with 400 in HTTP/1, and closed",
)];

#[test]
fn h2spec_as_expected() -> Result<()> {
    if h2spec::program().is_none() {
        return missing("h2spec");
    }
    let stage = Stage::new()?;
    let _server = server::http2(&stage.api, 8080)?;
    let cases = h2spec::run(&stage.client, stage.target())?;
    assert!(cases.len() > 140, "{} cases", cases.len());
    let is_expected = |case: &h2spec::Case| {
        EXPECTED.iter().any(|(section, name, _)| case.section == *section && case.name.contains(name))
    };
    let others: Vec<_> =
        cases.iter().filter(|case| (case.outcome == h2spec::Outcome::Passed) == is_expected(case)).collect();
    assert!(others.is_empty(), "not as expected: {others:#?}");
    let is_a_case =
        |expected: &&Expected| cases.iter().any(|case| case.section == expected.0 && case.name.contains(expected.1));
    assert_eq!(EXPECTED.iter().filter(is_a_case).count(), EXPECTED.len(), "an entry that is no case");
    Ok(())
}

/// Every case that needs no credentials.
const CASES: [&str; 13] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
];

#[test]
fn grpc_interop() -> Result<()> {
    if grpc::programs().is_none() {
        return missing("gRPC's interoperability client and server");
    }
    let stage = Stage::new()?;
    // Nobody listens yet: a client is told so as without us.
    let nobody = grpc::run(&stage.client, stage.target(), "empty_unary")?;
    let told = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(!nobody.status.success() && told.contains("Unavailable"), "{told}");
    let _server = grpc::serve(&stage.api, 8080)?;
    for case in CASES {
        let outcome = grpc::run(&stage.client, stage.target(), case)?;
        assert!(outcome.status.success(), "{case}: {}", String::from_utf8_lossy(&outcome.stderr));
    }
    // The same would tell Unimplemented if it were asked.
    let denied = grpc::run(&stage.client, stage.target(), "unimplemented_service")?;
    let told = String::from_utf8_lossy(&denied.stderr).into_owned();
    assert!(!denied.status.success() && told.contains("PermissionDenied"), "{told}");
    Ok(())
}
