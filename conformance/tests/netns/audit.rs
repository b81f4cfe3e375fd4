//! Policies that only tell what they would deny.

use anyhow::Result;
use conformance::{Node, client::curl, node::Flow, server};

use crate::manifests::{READ_ONLY, READ_ONLY_NAME};

#[test]
fn what_an_audited_policy_denies_passes_and_is_told() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let server = server::http(&api, 8080)?;
    let other = server::tcp(&api, "0.0.0.0:9090")?;
    let audited =
        READ_ONLY.replace("{name: read-only,", "{annotations: {l7proxy.io/audit: \"true\"}, name: read-only,");
    node.write_manifest("policy.yaml", &audited)?;
    node.start()?;
    let url = format!("http://{}:8080/write", api.v4);
    assert_eq!(curl(&client, &[], &url)?.status, 200);
    assert_eq!(server.seen()?.len(), 1);
    let told = &node.wait_flows(0, 1, Flow::is_verdict)?[0];
    assert_eq!((told.verdict(), told.failed_field()), ("AUDIT", "path"));
    assert_eq!(told.policies(), [READ_ONLY_NAME]);
    assert_eq!(server::connect(&client, (api.v4, 9090), Some("hello"))?.reply.as_deref(), Some("hello"));
    assert_eq!(other.seen()?.len(), 1);
    let connection = &node.wait_flows(0, 2, Flow::is_verdict)?[1];
    assert_eq!((connection.verdict(), connection.failed_field()), ("AUDIT", "port"));
    assert_eq!(connection.destination(), Some((api.v4, 9090).into()));
    node.apply("policy.yaml", READ_ONLY)?;
    assert_eq!(curl(&client, &[], &url)?.status, 403, "enforced from now on");
    assert!(server::connect(&client, (api.v4, 9090), None)?.is_refused());
    Ok(())
}
