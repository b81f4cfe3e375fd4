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

const CALICO: &str = r#"
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: trial}
spec: {order: 1}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: trial.api, annotations: {l7proxy.io/audit: "true"}}
spec:
  tier: trial
  selector: app == 'api'
  ingress:
    - {action: Deny, protocol: TCP, destination: {ports: [9091]}}
    - action: Allow
      protocol: TCP
      source: {selector: app == 'client'}
      destination: {ports: [8080]}
      http: {methods: [GET], paths: [{prefix: /read}]}
"#;

#[test]
fn what_an_audited_calico_policy_denies_passes_and_is_told() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let server = server::http(&api, 8080)?;
    let _others = [server::tcp(&api, "0.0.0.0:9090")?, server::tcp(&api, "0.0.0.0:9091")?];
    node.write_manifest("policy.yaml", CALICO)?;
    node.start()?;
    let url = format!("http://{}:8080/write", api.v4);
    assert_eq!(curl(&client, &[], &url)?.status, 200);
    assert_eq!(server.seen()?.len(), 1);
    let reply = |port| Ok::<_, anyhow::Error>(server::connect(&client, (api.v4, port), Some("hello"))?.reply);
    assert_eq!((reply(9090)?.as_deref(), reply(9091)?.as_deref()), (Some("hello"), Some("hello")));
    let told = node.wait_flows(0, 3, Flow::is_verdict)?;
    assert!(told.iter().all(|flow| flow.verdict() == "AUDIT"), "{told:?}");
    assert!(told.iter().all(|flow| flow.policies() == ["GlobalNetworkPolicy /trial.api"]), "{told:?}");
    assert_eq!(told.iter().map(Flow::tier).collect::<Vec<_>>(), ["trial", "trial", ""]);
    assert_eq!(told.iter().map(Flow::failed_field).collect::<Vec<_>>(), ["path", "destination.ports", ""]);
    assert_eq!(told[2].rule(), "ingress[0]");
    node.apply("policy.yaml", &CALICO.replace("\"true\"", "\"false\""))?;
    assert_eq!(curl(&client, &[], &url)?.status, 403, "enforced from now on");
    for port in [9090, 9091] {
        assert!(server::connect(&client, (api.v4, port), None)?.is_refused(), "{port}");
    }
    let refused = node.wait_flows(0, 6, Flow::is_verdict)?;
    assert!(refused[3..].iter().all(|flow| flow.verdict() == "DROPPED"), "{refused:?}");
    assert_eq!(refused[3..].iter().map(Flow::tier).collect::<Vec<_>>(), ["trial", "trial", ""]);
    Ok(())
}
