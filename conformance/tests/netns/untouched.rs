//! What policy does not select is as without us.

use std::net::Ipv6Addr;

use anyhow::Result;
use conformance::{
    Node,
    client::curl,
    node::ip,
    server::{self, udp_send},
};

use crate::{
    WHOLE_NODE,
    manifests::{GUARDED, READ_ONLY},
};

#[test]
fn a_pod_without_policy() -> Result<()> {
    let mut node = Node::new()?;
    node.pod("default/client", &[("app", "client")])?;
    let free = node.pod("default/free", &[("app", "free")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let server = server::http_at(&api, "[::]:8080")?;
    let _udp = server::udp(&api, "0.0.0.0:5353")?;
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.start()?;
    assert_eq!(curl(&free, &["--request", "POST"], &format!("http://{}:8080/anything", api.v4))?.status, 200);
    assert_eq!(curl(&free, &[], &format!("http://[{}]:8080/anything", api.v6))?.status, 200);
    assert_eq!(udp_send(&free, (api.v4, 5353), "hello")?.text.as_deref(), Some("hello"));
    assert_eq!(server.seen()?.len(), 2);
    assert!(node.flows()?.is_empty(), "nobody had to judge it");
    let status = node.status()?;
    let pod = status.endpoint("default/free").expect("it is configured");
    assert!(!pod.egress.enforced && !pod.ingress.enforced);
    Ok(())
}

/// Nobody configures it, and yet it is the pod's; what two pods have is nobody's.
#[test]
fn a_pod_s_link_local_address() -> Result<()> {
    let mut node = Node::new()?;
    let free = node.pod("default/free", &[("app", "free")])?;
    let double = node.pod("default/double", &[("app", "free")])?;
    let stranger = node.stranger()?;
    let local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x77);
    let address = format!("{local}/64");
    free.add_address(&address)?;
    let _servers = [server::http_at(&free, "[::]:8080")?, server::http_at(&double, "[::]:8080")?];
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.start()?;
    let target = stranger.link_local(local, 8080)?;
    assert_eq!(server::connect(&stranger, target, None)?.peer, Some(target));
    double.add_address(&address)?;
    node.apply("policy.yaml", &READ_ONLY.replace("/read", "/other"))?;
    assert!(server::connect(&stranger, target, None)?.is_refused());
    double.remove_address(&address)?;
    node.apply("policy.yaml", READ_ONLY)?;
    ip(&["-n", stranger.netns().name(), "neigh", "flush", "dev", "eth0"])?;
    assert_eq!(server::connect(&stranger, target, None)?.peer, Some(target));
    Ok(())
}

#[test]
fn a_namespace_that_nobody_named() -> Result<()> {
    let mut node = Node::new()?;
    node.pod("default/client", &[("app", "client")])?;
    let (one, two) = (node.stranger()?, node.stranger()?);
    let server = server::http(&two, 8080)?;
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.start()?;
    assert_eq!(curl(&one, &[], &format!("http://{}:8080/", two.v4))?.status, 200);
    assert_eq!(server.seen()?.len(), 1);
    Ok(())
}

#[test]
fn a_pod_s_traffic_to_itself() -> Result<()> {
    let mut node = Node::new()?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let server = server::http(&api, 8080)?;
    let selfish = READ_ONLY.replace("app: client", "app: api").replace("read-only", "selfish");
    node.write_manifest("policy.yaml", &format!("{GUARDED}---{selfish}"))?;
    node.start()?;
    for address in ["127.0.0.1".to_owned(), api.v4.to_string()] {
        let answer = curl(&api, &["--request", "POST"], &format!("http://{address}:8080/anything"))?;
        assert_eq!(answer.status, 200, "{address}");
    }
    assert_eq!(server.seen()?.len(), 2);
    Ok(())
}

#[test]
fn the_other_direction_of_a_selected_pod() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let other = node.pod("default/other", &[("app", "other")])?;
    let server = server::http(&client, 8080)?;
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.start()?;
    assert_eq!(curl(&other, &[], &format!("http://{}:8080/anything", client.v4))?.status, 200);
    assert_eq!(server.seen()?.len(), 1);
    Ok(())
}

/// As on a real node: at the root of the hierarchy, where all of the machine's processes are.
#[test]
fn everybody_but_pods_on_the_whole_node() -> Result<()> {
    let _alone = WHOLE_NODE.lock();
    let mut beside = Node::new()?;
    beside.start()?;
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let stranger = node.stranger()?;
    let server = server::http_at(&api, "[::]:8080")?;
    node.set_redirect("cgroup", serde_json::Value::Null);
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.start()?;
    let url = format!("http://{}:8080/read/a", api.v4);
    assert_eq!(curl(&client, &[], &url)?.status, 200);
    assert_eq!(curl(&client, &["--request", "POST"], &url)?.status, 403);
    assert_eq!(curl(&stranger, &["--request", "POST"], &url)?.status, 200);
    assert_eq!(server.seen()?.len(), 2);
    let above = beside.wait_status("programs above", |status| !status.kernel.overriders.is_empty())?;
    assert!(above.kernel.overriders[0].contains("(connect4) runs after ours"), "{:?}", above.kernel);
    node.stop()?;
    let output = node.run("cleanup", &[])?;
    assert!(output.status.success(), "{output:?}");
    beside.wait_status("nothing above", |status| status.kernel.overriders.is_empty())?;
    Ok(())
}
