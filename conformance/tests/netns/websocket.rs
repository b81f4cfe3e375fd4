//! WebSocket as the Autobahn testsuite judges it: every case has the same end through the proxy as without.

use std::net::SocketAddr;

use anyhow::Result;
use conformance::{
    Node,
    client::{autobahn, node},
    missing,
};

use crate::manifests::READ_ONLY;

#[test]
fn autobahn_finds_the_same() -> Result<()> {
    if autobahn::program().is_none() {
        return missing("the Autobahn testsuite (kosoku)");
    }
    let Some(js) = node::Node::find() else { return missing("Node with ws") };
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let stranger = node.stranger()?;
    let _server = js.serve(&api, 8080)?;
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.start()?;
    let target = SocketAddr::from((api.v4, 8080));
    let (direct, through) = (autobahn::run(&stranger, target)?, autobahn::run(&client, target)?);
    let is_good =
        |line: &&str| ["OK OK", "NON-STRICT OK", "INFORMATIONAL"].iter().any(|verdict| line.contains(verdict));
    let passed = direct.lines().filter(is_good).count();
    assert!(passed > 300, "{passed} cases pass without us: {direct}");
    let differ: Vec<_> = direct.lines().zip(through.lines()).filter(|(direct, through)| direct != through).collect();
    assert!(differ.is_empty(), "without us, and with us: {differ:#?}");
    assert_eq!(direct.lines().count(), through.lines().count());
    // Each is a connection of its own, and each was judged.
    let switched = node.wait_flows(0, passed, |flow| flow.0.pointer("/flow/l7/http/code") == Some(&101.into()))?;
    assert!(switched.len() >= passed, "{} of {passed}", switched.len());
    Ok(())
}
