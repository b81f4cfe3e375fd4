//! What the kernel is given of policies: once for all pods under the same, and only what changed.

use std::fmt::Write as _;

use anyhow::Result;
use conformance::{
    Node,
    node::{Flow, Status},
    server,
};

/// So many ports from 20,000 on, and `more`.
const PORTS: u16 = 2_000;

/// For every pod of an app.
fn policy(app: &str, more: &[u16]) -> String {
    let mut text = format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: {app}, namespace: default}}\nspec:\n  \
         endpointSelector: {{matchLabels: {{app: {app}}}}}\n  egress:\n  - toPorts:\n"
    );
    // Every second one, so that no two have a common prefix.
    let ports: Vec<u16> = (0..PORTS).map(|number| 20_000 + 2 * number).chain(more.iter().copied()).collect();
    for ports in ports.chunks(40) {
        let ports: Vec<String> = ports.iter().map(|port| format!("{{port: \"{port}\", protocol: TCP}}")).collect();
        // Writing to a String never fails.
        let _written = writeln!(text, "    - ports: [{}]", ports.join(", "));
    }
    text
}

fn writes(status: &Status) -> u64 {
    status.counters.get("kernel_policy_writes").copied().unwrap_or_default()
}

#[test]
fn pods_share_a_policy_and_a_change_is_few_writes() -> Result<()> {
    let mut node = Node::new()?;
    let pods: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|name| node.pod(&format!("default/{name}"), &[("app", "client"), ("name", name)]))
        .collect::<Result<_>>()?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let _server = server::tcp(&api, "0.0.0.0:8080")?;
    let _other = server::tcp(&api, "0.0.0.0:9090")?;
    node.write_manifest("policy.yaml", &policy("client", &[8080]))?;
    node.start()?;
    let first = node.status()?;
    assert_eq!(first.kernel.policies, 2, "one of three pods, one of the pod that nothing selects");
    assert_eq!(first.kernel.policy_entries, usize::from(PORTS) + 1, "once");
    let are = |port: u16, refused: bool| -> Result<()> {
        for pod in &pods {
            let outcome = server::connect(pod, (api.v4, port), None)?;
            assert_eq!(outcome.is_refused(), refused, "{} to {port}: {outcome:?}", pod.name);
        }
        Ok(())
    };
    are(8080, false)?;
    are(9090, true)?;
    let mut before = first;
    for (round, more) in [&[8080, 9090][..], &[8080], &[8080, 9090], &[9090]].into_iter().enumerate() {
        node.apply("policy.yaml", &policy("client", more))?;
        are(8080, !more.contains(&8080))?;
        are(9090, !more.contains(&9090))?;
        let after = node.status()?;
        let written = writes(&after) - writes(&before);
        if round > 0 {
            assert!(written <= 6, "round {round}: {written} writes");
        }
        assert_eq!((after.kernel.policies, after.kernel.policy_standbys), (2, 1));
        before = after;
    }
    node.apply("policy.yaml", &policy("nobody", &[]))?;
    let without = node.status()?;
    assert_eq!((without.kernel.policies, without.kernel.policy_entries), (1, 0), "nothing is left of it");
    are(8080, false)
}

#[test]
fn a_refusal_is_told_with_the_rule_that_it_was() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let _server = server::tcp(&api, "0.0.0.0:9090")?;
    let policy = |name: &str, port: u16| {
        format!(
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  \
             endpointSelector: {{matchLabels: {{app: client}}}}\n  egress: [{{toEntities: [all]}}]\n  \
             egressDeny: [{{toPorts: [{{ports: [{{port: '{port}', protocol: TCP}}]}}]}}]\n"
        )
    };
    node.write_manifest("policy.yaml", &policy("old", 9090))?;
    node.start()?;
    let before = node.status()?.revision;
    // Refused by the kernel alone; the process reads of it when policy has changed already.
    node.proxy()?.pause()?;
    assert!(server::connect(&client, (api.v4, 9090), None)?.is_refused());
    node.write_manifest("policy.yaml", &policy("new", 9091))?;
    node.proxy()?.resume()?;
    node.wait_revision(before)?;
    assert!(!server::connect(&client, (api.v4, 9090), None)?.is_refused(), "it is allowed now");
    let dropped = &node.wait_flows(0, 1, Flow::is_verdict)?[0];
    assert_eq!(dropped.policies(), ["CiliumNetworkPolicy default/old"]);
    assert_eq!(dropped.rule(), "egressDeny[0].toPorts[0]");
    assert_eq!(dropped.revision(), Some(before), "not the newest: that allows it");
    Ok(())
}
