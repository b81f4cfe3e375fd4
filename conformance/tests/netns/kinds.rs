//! Other kinds than `CiliumNetworkPolicy`, through the kernel.

use anyhow::Result;
use conformance::{Node, Pod, client::curl, server};

struct Stage {
    client: Pod,
    api: Pod,
    node: Node,
}

fn stage(manifest: &str) -> Result<Stage> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    node.write_manifest("policy.yaml", manifest)?;
    node.start()?;
    Ok(Stage { client, api, node })
}

const DENY: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: wide}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
    - toEntities: [cluster]
  egressDeny:
    - toPorts: [{ports: [{port: "9000", endPort: 9010, protocol: TCP}]}]
"#;

#[test]
fn a_denied_range_is_refused_by_its_rule() -> Result<()> {
    let Stage { client, api, node } = stage(DENY)?;
    let _servers = [server::tcp(&api, "0.0.0.0:8999")?, server::tcp(&api, "0.0.0.0:9005")?];
    assert_eq!(server::connect(&client, (api.v4, 8999), Some("x"))?.reply.as_deref(), Some("x"));
    for port in [9000, 9005, 9010] {
        assert!(server::connect(&client, (api.v4, port), None)?.is_refused(), "{port}");
    }
    let dropped = &node.wait_flows(0, 3, conformance::node::Flow::is_verdict)?[0];
    assert_eq!(dropped.0["flow"]["drop_reason_desc"], "POLICY_DENY");
    assert_eq!(dropped.rule(), "egressDeny[0].toPorts[0]");
    Ok(())
}

const KUBERNETES: &str = r"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: by-address, namespace: default}
spec:
  podSelector: {matchLabels: {app: client}}
  policyTypes: [Egress]
  egress:
    - to: [{ipBlock: {cidr: API/32}}]
      ports: [{port: 8080}]
";

#[test]
fn a_block_of_addresses_is_about_pods() -> Result<()> {
    let Stage { client, api, node } = stage("")?;
    let server = server::http(&api, 8080)?;
    let url = format!("http://{}:8080/", api.v4);
    node.apply("policy.yaml", &KUBERNETES.replace("API", &api.v4.to_string()))?;
    assert_eq!(curl(&client, &[], &url)?.status, 200);
    assert!(server::connect(&client, (api.v4, 8081), None)?.is_refused());
    node.apply("policy.yaml", &KUBERNETES.replace("API", "192.0.2.1"))?;
    assert!(server::connect(&client, (api.v4, 8080), None)?.is_refused());
    assert_eq!(server.seen()?.len(), 1);
    Ok(())
}

const CALICO: &str = r"
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: api, namespace: default}
spec:
  selector: app == 'api'
  ingress:
    - action: Allow
      protocol: TCP
      source: {selector: app == 'client'}
      destination: {ports: [8080]}
      http: {methods: [GET], paths: [{prefix: /read}]}
";

#[test]
fn a_request_is_judged_by_calico_s_rules() -> Result<()> {
    let Stage { client, api, node: _node } = stage(CALICO)?;
    let server = server::http(&api, 8080)?;
    let status =
        |path: &str| Ok::<_, anyhow::Error>(curl(&client, &[], &format!("http://{}:8080{path}", api.v4))?.status);
    assert_eq!((status("/read/a")?, status("/readers")?, status("/write")?), (200, 403, 403));
    assert!(server::connect(&client, (api.v4, 8081), None)?.is_refused());
    assert_eq!(server.seen()?.len(), 1);
    Ok(())
}
