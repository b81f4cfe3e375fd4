//! When the proxy is gone, what it guarded is refused and not let by.

use anyhow::Result;
use conformance::{Node, client::curl, server};

use crate::manifests::{GUARDED, READ_ONLY};

#[test]
fn a_dead_proxy_lets_nothing_by() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let free = node.pod("default/free", &[("app", "free")])?;
    let server = server::http(&api, 8080)?;
    let other = server::tcp(&api, "0.0.0.0:9090")?;
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.start()?;
    let url = format!("http://{}:8080/read/a", api.v4);
    assert_eq!(curl(&client, &[], &url)?.status, 200);

    node.kill()?;
    assert!(!node.pins()?.is_empty(), "what is pinned stays in force");
    for _ in 0..20 {
        let outcome = server::connect(&client, (api.v4, 8080), None)?;
        assert!(outcome.is_refused(), "redirected connections are refused: {outcome:?}");
    }
    assert!(server::connect(&client, (api.v4, 9090), None)?.is_refused(), "denied stays denied");
    assert_eq!(server.seen()?.len(), 1, "nothing reached the server");
    assert!(other.seen()?.is_empty());
    assert_eq!(curl(&free, &[], &url)?.status, 200, "who is not selected does not notice");

    node.start()?;
    assert_eq!(curl(&client, &[], &url)?.status, 200, "the next process takes over");
    assert_eq!(curl(&client, &["--request", "POST"], &url)?.status, 403);
    assert!(server::connect(&client, (api.v4, 9090), None)?.is_refused());
    Ok(())
}

#[test]
fn a_dead_proxy_lets_nothing_in() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let server = server::http(&api, 8080)?;
    node.write_manifest("policy.yaml", GUARDED)?;
    node.start()?;
    node.kill()?;
    for _ in 0..20 {
        assert!(server::connect(&client, (api.v4, 8080), None)?.is_refused());
    }
    assert!(server.seen()?.is_empty());
    node.start()?;
    assert_eq!(curl(&client, &[], &format!("http://{}:8080/read/a", api.v4))?.status, 200);
    Ok(())
}

#[test]
fn links_do_not_pile_up_over_crashes() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let _server = server::http(&api, 8080)?;
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.start()?;
    let (links, pins) = (node.status()?.kernel.links, node.pins()?);
    for round in 0..5 {
        node.kill()?;
        node.start()?;
        assert_eq!((node.status()?.kernel.links, node.pins()?), (links, pins.clone()), "round {round}");
        assert_eq!(curl(&client, &[], &format!("http://{}:8080/read/a", api.v4))?.status, 200, "round {round}");
    }
    Ok(())
}

#[test]
fn cleanup_gives_the_node_back() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let server = server::http(&api, 8080)?;
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.start()?;
    node.kill()?;
    let output = node.run("cleanup", &[])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(node.pins()?.is_empty());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    assert!(!mounts.contains(&node.path("bpf").display().to_string()), "the bpf file system is still mounted");
    assert_eq!(curl(&client, &["--request", "POST"], &format!("http://{}:8080/anything", api.v4))?.status, 200);
    assert_eq!(server.seen()?.len(), 1);
    let again = node.run("cleanup", &[])?;
    assert!(again.status.success(), "a clean node can be cleaned: {}", String::from_utf8_lossy(&again.stderr));
    Ok(())
}
