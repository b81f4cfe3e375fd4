//! Pods come and go.

use std::fs;

use anyhow::Result;
use conformance::{
    Node,
    client::curl,
    eventually,
    node::{Netns, ip},
    server,
};
use serde_json::json;

use crate::manifests::READ_ONLY;

fn file_descriptors(node: &mut Node) -> Result<usize> {
    let id = node.proxy()?.id();
    Ok(fs::read_dir(format!("/proc/{id}/fd"))?.count())
}

#[test]
fn nothing_is_left_of_200_pods() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let _server = server::http(&api, 8080)?;
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.start()?;
    let url = format!("http://{}:8080/read/a", api.v4);
    assert_eq!(curl(&client, &[], &url)?.status, 200);
    let links = node.status()?.kernel.links;
    let pins = node.pins()?;
    let descriptors = file_descriptors(&mut node)?;
    let others = node.endpoints_mut().len();
    for round in 0..200 {
        let netns = Netns::new(&format!("guest{round}"))?;
        // The host end goes when the namespace really is gone, and not before.
        let host_end = format!("guest{round}");
        ip(&["link", "add", &host_end, "type", "veth", "peer", "name", "eth0", "netns", &host_end])?;
        node.endpoints_mut().push(json!({
            "pod": format!("default/guest-{round}"),
            "netns": netns.path(),
            "addresses": ["10.99.0.1"],
            "labels": { "app": "client" },
        }));
        node.write_config()?;
        let name = format!("default/guest-{round}");
        let there = |status: &conformance::node::Status| {
            status.endpoint(&name).is_some_and(|pod| pod.state == "ready" && pod.egress.enforced)
        };
        node.wait_status("the pod to be enrolled", there)?;
        node.endpoints_mut().truncate(others);
        node.write_config()?;
        node.wait_status("the pod to be removed", |status| status.endpoint(&name).is_none())?;
        drop(netns);
        eventually("the end of the namespace", || Ok(ip(&["link", "show", &host_end]).is_err().then_some(())))?;
    }
    assert_eq!(node.status()?.kernel.links, links, "links");
    assert_eq!(node.pins()?, pins, "pins");
    eventually("the end of all file descriptors", || Ok((file_descriptors(&mut node)? <= descriptors).then_some(())))?;
    assert_eq!(curl(&client, &[], &url)?.status, 200);
    Ok(())
}

#[test]
fn a_namespace_that_dies_first_harms_no_other() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let guest = node.pod("default/guest", &[("app", "client")])?;
    let _server = server::http(&api, 8080)?;
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.start()?;
    guest.netns().delete()?;
    node.apply("policy.yaml", &READ_ONLY.replace("GET", "PUT"))?;
    let url = format!("http://{}:8080/read/a", api.v4);
    assert_eq!(curl(&client, &[], &url)?.status, 403);
    assert_eq!(curl(&client, &["--request", "PUT"], &url)?.status, 200);
    Ok(())
}

#[test]
fn a_pod_is_enrolled_while_running() -> Result<()> {
    let mut node = Node::new()?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let _server = server::http(&api, 8080)?;
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.start()?;
    let late = node.pod("default/late", &[("app", "client")])?;
    let before = node.status()?.revision;
    node.write_config()?;
    node.wait_revision(before)?;
    let url = |path: &str| format!("http://{}:8080{path}", api.v4);
    assert_eq!(curl(&late, &[], &url("/read/a"))?.status, 200);
    assert_eq!(curl(&late, &[], &url("/write"))?.status, 403);
    Ok(())
}
