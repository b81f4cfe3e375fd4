//! Namespaces behind the pod: their sockets meet no hook that knows them.

use conformance::node::Netns;

use super::*;

/// A namespace behind the client, whose packets the client forwards. They have the client's own address, as after
/// masquerading.
fn behind(stage: &mut Stage) -> Result<conformance::node::Place> {
    let name = format!("{}b", stage.client.netns().name());
    let nested = Netns::new(&name)?;
    let pod = stage.client.netns().name().to_owned();
    ip_in(&pod, &["link", "add", "inner", "type", "veth", "peer", "name", "outer", "netns", &name])?;
    ip_in(&pod, &["link", "set", "inner", "up"])?;
    ip_in(&name, &["link", "set", "outer", "up"])?;
    ip_in(&pod, &["addr", "add", "169.254.7.1/30", "dev", "inner"])?;
    ip_in(&name, &["addr", "add", "169.254.7.2/30", "dev", "outer"])?;
    ip_in(&name, &["addr", "add", &format!("{}/32", stage.client.v4), "dev", "outer"])?;
    ip_in(&name, &["route", "add", "default", "via", "169.254.7.1", "src", &stage.client.v4.to_string()])?;
    let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward; cd /proc/sys/net/ipv4/conf; \
                   for i in all inner; do echo 1 > $i/accept_local; echo 0 > $i/rp_filter; done";
    anyhow::ensure!(stage.client.command("sh").args(["-c", forward]).status()?.success());
    Ok(stage.client.beside(nested))
}

#[test]
fn what_the_pod_forwards() -> Result<()> {
    let mut stage = Stage::new()?;
    let nested = behind(&mut stage)?;
    let wire = Sniffer::start(&nested)?;
    // It cannot get an answer: those are for the pod itself.
    assert_eq!(udp_send(&nested, (stage.api.v4, 5353), "may arrive")?.result, "silent");
    stage.wire.wait_for(b"may arrive")?;
    assert_eq!(udp_send(&nested, (stage.api.v4, 5354), std::str::from_utf8(FORBIDDEN)?)?.result, "silent");
    assert!(wire.saw(FORBIDDEN)?, "it was sent");
    let told = stage.node.wait_flows(0, 1, |flow| flow.reason() == "backstop")?;
    assert_eq!(told[0].destination(), Some((stage.api.v4, 5354).into()));
    assert_ne!(server::connect(&nested, (stage.api.v4, 8080), None)?.result, "connected");
    stage.node.wait_flows(0, 2, |flow| flow.reason() == "backstop")?;
    stage.nothing_arrived()
}

/// On the pod's own interface: its packets leave with a socket that nobody judged, and another address.
#[test]
fn an_interface_on_top_of_the_pod_s() -> Result<()> {
    let stage = Stage::new()?;
    let (name, pod) = (format!("{}b", stage.client.netns().name()), stage.client.netns().name().to_owned());
    let nested = stage.client.beside(Netns::new(&name)?);
    ip_in(&pod, &["link", "add", "link", "eth0", "name", "top", "netns", &name, "type", "macvlan", "mode", "bridge"])?;
    let address = std::net::Ipv4Addr::from(u32::from(stage.client.v4) + 100);
    ip_in(&name, &["addr", "add", &format!("{address}/24"), "dev", "top"])?;
    ip_in(&name, &["link", "set", "top", "up"])?;
    let neighbour = ip_in(stage.api.netns().name(), &["-br", "link", "show", "eth0"])?;
    let hardware = neighbour.split_whitespace().nth(2).unwrap_or_default().to_owned();
    ip_in(&name, &["neigh", "add", &stage.api.v4.to_string(), "lladdr", &hardware, "dev", "top"])?;
    assert_eq!(udp_send(&nested, (stage.api.v4, 5353), std::str::from_utf8(FORBIDDEN)?)?.result, "silent");
    stage.node.wait_flows(0, 1, |flow| flow.reason() == "address-not-of-a-known-pod")?;
    stage.nothing_arrived()
}
