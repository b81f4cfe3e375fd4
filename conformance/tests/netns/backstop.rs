//! The programs at the node's end of pods' interfaces: that they are there, stay there, and go.

use std::process::Command;

use anyhow::Result;
use conformance::{
    Node, Pod,
    client::curl,
    node::ip,
    packet::{self, Ipv4},
    server::{self, Outcome, Server, ping},
    sniffer::{self, Sniffer},
};
use serde_json::json;

use crate::manifests::{PORTS, READ_ONLY};

struct Stage {
    client: Pod,
    api: Pod,
    _server: Server,
    node: Node,
}

fn stage(mode: &str) -> Result<Stage> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let server = server::http(&api, 8080)?;
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.set_redirect("backstop", json!(mode));
    node.start()?;
    Ok(Stage { client, api, _server: server, node })
}

fn guard(node: &Node, pod: &str) -> Result<String> {
    Ok(node.status()?.endpoint(pod).and_then(|endpoint| endpoint.backstop.clone()).unwrap_or_default())
}

/// Filters at the node's end of a pod's interface, both ways.
fn filters(pod: &Pod) -> Result<String> {
    let show = |direction: &str| -> Result<String> {
        let output = Command::new("tc").args(["filter", "show", "dev", &pod.host_end(), direction]).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    Ok(show("ingress")? + &show("egress")?)
}

fn request(stage: &Stage) -> Result<u16> {
    Ok(curl(&stage.client, &[], &format!("http://{}:8080/read/a", stage.api.v4))?.status)
}

/// A datagram by a raw socket: only the programs at the interface judge it.
fn datagram(stage: &Stage, port: u16, contents: &[u8]) -> Result<Outcome> {
    let ip = Ipv4::new(stage.client.v4, stage.api.v4, packet::UDP);
    sniffer::packet(&stage.client, stage.api.v4, &ip.with(&packet::udp(9999, port, contents)))
}

fn must_be_judged(stage: &Stage) -> Result<()> {
    let wire = Sniffer::start(&stage.api)?;
    assert_eq!(datagram(stage, 5353, b"this must not arrive")?.result, "sent");
    // What the other way round may pass came behind it, on the same wire.
    assert_eq!(ping(&stage.api, stage.client.v4, "raw", 8, "the last one")?.text.as_deref(), Some("the last one"));
    wire.wait_for(b"the last one")?;
    assert!(!wire.saw(b"this must not arrive")?);
    Ok(())
}

#[test]
fn every_pod_s_way_out_is_guarded() -> Result<()> {
    let stage = stage("auto")?;
    for pod in ["default/client", "default/api"] {
        assert_eq!(guard(&stage.node, pod)?, "tcx");
    }
    assert_eq!(request(&stage)?, 200);
    Ok(())
}

#[test]
fn the_next_process_takes_the_programs_over() -> Result<()> {
    let mut stage = stage("auto")?;
    let pins = stage.node.pins()?;
    assert!(pins.iter().filter(|pin| pin.contains("backstop_")).count() == 4, "two of each pod: {pins:?}");
    for _ in 0..2 {
        stage.node.kill()?;
        must_be_judged(&stage)?;
        stage.node.start()?;
        assert_eq!(stage.node.pins()?, pins);
        assert_eq!(request(&stage)?, 200);
        must_be_judged(&stage)?;
    }
    // By the policy of the next process, and not by that of the one before.
    stage.node.kill()?;
    stage.node.write_manifest("policy.yaml", PORTS)?;
    stage.node.start()?;
    let wire = Sniffer::start(&stage.api)?;
    assert_eq!(datagram(&stage, 5353, b"may arrive now")?.result, "sent");
    wire.wait_for(b"may arrive now")
}

#[test]
fn without_tcx_there_is_clsact() -> Result<()> {
    let mut stage = stage("clsact")?;
    for _ in 0..2 {
        assert_eq!(guard(&stage.node, "default/client")?, "clsact");
        assert_eq!(request(&stage)?, 200);
        must_be_judged(&stage)?;
        stage.node.kill()?;
        must_be_judged(&stage)?;
        let shown = filters(&stage.client)?;
        assert_eq!(shown.matches(" name backstop_out").count(), 1, "stays when the process is gone: {shown}");
        assert_eq!(shown.matches(" name backstop_in").count(), 1, "{shown}");
        stage.node.start()?;
    }
    stage.node.kill()?;
    let output = stage.node.run("cleanup", &[])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown = filters(&stage.client)?;
    assert!(!shown.contains("backstop"), "{shown}");
    Ok(())
}

#[test]
fn what_was_attached_another_way_before_goes() -> Result<()> {
    let mut stage = stage("clsact")?;
    let clsact = stage.node.pins()?;
    stage.node.kill()?;
    stage.node.set_redirect("backstop", json!("auto"));
    stage.node.start()?;
    assert_eq!(guard(&stage.node, "default/client")?, "tcx");
    let shown = filters(&stage.client)?;
    assert!(!shown.contains("backstop"), "{shown}");
    assert_ne!(stage.node.pins()?, clsact);
    Ok(())
}

#[test]
fn switched_off_it_is_absent_and_says_so() -> Result<()> {
    let stage = stage("off")?;
    let guard = guard(&stage.node, "default/client")?;
    assert!(guard.starts_with("absent (eth0: ") && guard.contains("redirect.backstop"), "{guard}");
    assert!(stage.node.pins()?.iter().all(|pin| !pin.contains("backstop")), "{:?}", stage.node.pins());
    assert_eq!(request(&stage)?, 200, "the pod is enrolled all the same");
    Ok(())
}

/// A pod on a macvlan of one of the node's devices: nothing on the node sees its packets alone.
#[test]
fn a_pod_without_an_end_on_the_node_is_enrolled() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let parent = format!("m{}", client.netns().name());
    ip(&["link", "add", &parent, "type", "veth"])?;
    ip(&["link", "add", "link", &parent, "name", "eth1", "netns", client.netns().name(), "type", "macvlan"])?;
    ip(&["-n", client.netns().name(), "link", "del", "eth0"])?;
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.start()?;
    let status = node.status()?;
    let endpoint = status.endpoint("default/client").expect("it is configured");
    assert_eq!((endpoint.state.as_str(), endpoint.egress.enforced), ("ready", true));
    assert_eq!(guard(&node, "default/client")?, "absent (eth1: macvlan has no end on the node)");
    Ok(())
}

#[test]
fn an_interface_that_leads_elsewhere_is_named() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let other = node.stranger()?;
    let (from, to) = (client.netns().name(), other.netns().name());
    ip(&["-n", from, "link", "add", "side", "type", "veth", "peer", "name", "side", "netns", to])?;
    // What stands on eth0 leaves by eth0; what both ends of are here leads nowhere.
    ip(&["-n", from, "link", "add", "link", "eth0", "name", "on-eth0", "type", "macvlan"])?;
    ip(&["-n", from, "link", "add", "here", "type", "veth", "peer", "name", "there"])?;
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.start()?;
    assert_eq!(
        guard(&node, "default/client")?,
        "tcx, absent (side: its other end is not in the node's network namespace)"
    );
    Ok(())
}

/// Interfaces that come, go or are replaced while the pod lives are seen with the next change.
#[test]
fn a_new_interface_is_guarded_too() -> Result<()> {
    let stage = stage("auto")?;
    let (pod, end) = (stage.client.netns().name(), stage.client.host_end());
    let guarded = stage.node.pins()?;
    ip(&["link", "del", &end])?;
    ip(&["link", "add", &end, "type", "veth", "peer", "name", "eth9", "netns", pod])?;
    stage.node.apply("policy.yaml", &READ_ONLY.replace("GET", "PUT"))?;
    assert_eq!(guard(&stage.node, "default/client")?, "tcx");
    let pins = stage.node.pins()?;
    assert!(pins != guarded && pins.len() == guarded.len(), "at another interface: {guarded:?} {pins:?}");
    let parent = format!("m{pod}");
    ip(&["link", "add", &parent, "type", "veth"])?;
    ip(&["link", "add", "link", &parent, "name", "eth1", "netns", pod, "type", "macvlan"])?;
    stage.node.apply("policy.yaml", READ_ONLY)?;
    assert_eq!(guard(&stage.node, "default/client")?, "tcx, absent (eth1: macvlan has no end on the node)");
    Ok(())
}

#[test]
fn a_pod_that_goes_takes_its_programs_along() -> Result<()> {
    let mut stage = stage("auto")?;
    stage.node.endpoints_mut().remove(0);
    stage.node.write_config()?;
    stage.node.wait_status("the pod to be removed", |status| status.endpoint("default/client").is_none())?;
    let pins = stage.node.pins()?;
    assert_eq!(pins.iter().filter(|pin| pin.contains("backstop_")).count(), 2, "{pins:?}");
    Ok(())
}
