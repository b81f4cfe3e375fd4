//! Sockets, addresses and routes of the pod that are not what they seem.

use std::net::IpAddr;

use conformance::{client::curl, eventually, skipped};

use super::*;

/// The proxy's own sockets have none, and a mark says nothing.
#[test]
fn a_mark_on_a_socket() -> Result<()> {
    let stage = Stage::new()?;
    let server = server::tcp(&stage.api, "[::]:7001")?;
    for address in stage.api.addresses() {
        assert_eq!(server::connect_marked(&stage.client, (address, 7001))?.result, "refused", "{address}");
        assert_eq!(server::connect_marked(&stage.client, (address, 7000))?.result, "connected", "{address}");
    }
    assert!(server.seen()?.is_empty());
    Ok(())
}

/// A socket belongs to the namespace that it was made in, whoever uses it, and from wherever.
#[test]
fn a_socket_that_is_used_from_another_namespace() -> Result<()> {
    let stage = Stage::new()?;
    let server = server::tcp(&stage.api, "[::]:7001")?;
    for address in stage.api.addresses() {
        let moved = |port| server::connect_moved(&stage.client, &stage.other, (address, port));
        assert!(moved(7001)?.is_refused(), "{address}");
        assert_eq!(moved(7000)?.result, "connected", "{address}");
        // The other way round it is the other pod's, of which nothing is said.
        assert_eq!(server::connect_moved(&stage.other, &stage.client, (address, 7001))?.result, "connected");
    }
    assert_eq!(server.seen()?.len(), 2);
    Ok(())
}

#[test]
fn another_pod_s_address_on_the_pod_s_interface() -> Result<()> {
    let stage = Stage::new()?;
    let (pod, other) = (stage.client.netns().name(), stage.other.v4.to_string());
    assert_eq!(udp_send(&stage.client, (stage.api.v4, 5353), "may arrive")?.text.as_deref(), Some("may arrive"));
    ip_in(pod, &["addr", "add", &format!("{other}/32"), "dev", "eth0"])?;
    ip_in(pod, &["route", "add", &format!("{}/32", stage.api.v4), "dev", "eth0", "src", &other])?;
    let forbidden = std::str::from_utf8(FORBIDDEN)?;
    assert_eq!(udp_send(&stage.client, (stage.api.v4, 5353), forbidden)?.result, "silent");
    assert_ne!(server::connect(&stage.client, (stage.api.v4, 7000), Some(forbidden))?.result, "connected");
    let told = stage.node.wait_flows(0, 2, |flow| flow.verdict() == "DROPPED")?;
    assert!(told.iter().all(|flow| flow.reason() == "address-not-of-a-known-pod"), "{told:#?}");
    ip_in(pod, &["route", "del", &format!("{}/32", stage.api.v4)])?;
    ip_in(pod, &["addr", "del", &format!("{other}/32"), "dev", "eth0"])?;
    stage.nothing_arrived()
}

/// The ports that stand for the proxy, without having been sent there.
#[test]
fn the_proxy_s_ports_themselves() -> Result<()> {
    let stage = Stage::new()?;
    let request = "GET /read/a HTTP/1.1\r\nhost: a\r\n\r\n";
    for port in [15001, 15002, 15064] {
        for address in stage.client.addresses() {
            assert!(server::connect(&stage.client, (address, port), Some(request))?.is_refused(), "{address} {port}");
        }
        for loopback in ["127.0.0.1", "::1"] {
            let loopback: IpAddr = loopback.parse()?;
            let outcome = server::connect(&stage.client, (loopback, port), Some(request))?;
            assert!(outcome.reply.as_deref().unwrap_or_default().is_empty(), "{loopback} {port}: {outcome:?}");
        }
        // By a raw packet on loopback, which no hook sees, and from a neighbour.
        let own = stage.client.v4;
        for (sender, from) in [(&stage.client, own), (&stage.api, stage.api.v4)] {
            let ip = Ipv4::new(from, own, TCP);
            let opening = ip.with(&packet::tcp_checked(&ip, 4000, port, SYN));
            assert_eq!(sniffer::packet(sender, own, &opening)?.result, "sent");
        }
    }
    let told = stage.node.wait_flows(0, 6, |flow| flow.verdict() == "DROPPED" && flow.pid().is_some())?;
    assert!(told.iter().all(|flow| flow.reason() == "egress-port-without-redirection"), "{told:#?}");
    let told = stage.node.wait_flows(0, 2, |flow| flow.verdict() == "DROPPED" && flow.pid().is_none())?;
    assert!(told.iter().all(|flow| flow.reason() == "egress-port-without-redirection"), "{told:#?}");
    assert!(stage.web.seen()?.is_empty());
    Ok(())
}

/// What still comes of a connection that was redirected and is over is dropped, and nobody is said to have been refused.
#[test]
fn what_comes_late_to_the_proxy_s_ports() -> Result<()> {
    const PORTS: std::ops::RangeInclusive<u16> = 15001..=15064;
    let stage = Stage::new()?;
    let own = stage.client.v4;
    let answer = curl(&stage.client, &[], &format!("http://{}:8080/read/a", stage.api.v4))?;
    assert_eq!(answer.status, 200, "{answer:?}");
    let send = |port, flags| -> Result<()> {
        let ip = Ipv4::new(own, own, TCP);
        let packet = ip.with(&packet::tcp_checked(&ip, answer.local_port, port, flags));
        assert_eq!(sniffer::packet(&stage.client, own, &packet)?.result, "sent");
        Ok(())
    };
    let counted = || -> Result<[u64; 2]> {
        let counters = stage.node.status()?.counters;
        Ok(["kernel_late_packets", "kernel_refused"].map(|name| counters[name]))
    };
    // It went to one of them. The proxy's end may be there a moment longer.
    let its_own = eventually("a packet that comes late", || {
        for port in PORTS {
            let [late, refused] = counted()?;
            send(port, ACK)?;
            match counted()? {
                [now, same] if (now, same) == (late + 1, refused) => return Ok(Some(port)),
                [same, now] => assert!(same == late && now <= refused + 1, "{port}"),
            }
        }
        Ok(None)
    })?;
    // Nothing can be made of it either, and what has no such connection behind it is told.
    let [late, refused] = counted()?;
    send(its_own, SYN)?;
    assert_eq!(counted()?, [late + 1, refused]);
    send(if its_own == 15001 { 15002 } else { 15001 }, SYN)?;
    assert_eq!(counted()?, [late + 1, refused + 1]);
    stage.node.wait_told(refused + 1)?;
    let told = stage.dropped()?;
    assert!(told.iter().all(|flow| flow.reason() == "egress-port-without-redirection"), "{told:#?}");
    assert_eq!(stage.web.seen()?.len(), 1);
    Ok(())
}

/// What is sent to a pod that may be sent to, for it to send on.
#[test]
fn another_pod_as_router() -> Result<()> {
    let stage = Stage::new()?;
    let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
    anyhow::ensure!(stage.api.command("sh").args(["-c", forward]).status()?.success());
    let other = stage.other.v4.to_string();
    ip_in(stage.client.netns().name(), &["route", "add", &format!("{other}/32"), "via", &stage.api.v4.to_string()])?;
    let forbidden = std::str::from_utf8(FORBIDDEN)?;
    assert!(udp_send(&stage.client, (stage.other.v4, 5353), forbidden)?.is_refused());
    let raw = Ipv4::new(stage.client.v4, stage.other.v4, UDP).with(&packet::udp(9999, 5353, FORBIDDEN));
    assert_eq!(sniffer::packet(&stage.client, stage.other.v4, &raw)?.result, "sent");
    stage.node.wait_flows(0, 1, |flow| flow.reason() == "backstop")?;
    stage.nothing_arrived()
}

/// Frames that seem to come from the node's end, or go to everybody.
#[test]
fn link_addresses_of_others() -> Result<()> {
    let stage = Stage::new()?;
    let host_end = ip(&["-br", "link", "show", &stage.client.host_end()])?;
    let text = host_end.split_whitespace().nth(2).unwrap_or_default();
    let node_s: Vec<u8> = text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
    let from_node = |port: u16, contents: &[u8]| {
        let mut frame = packet::ethernet(0x0800, &stage.ip(UDP).with(&packet::udp(9999, port, contents)));
        frame[6..12].copy_from_slice(&node_s);
        sniffer::frame(&stage.client, "eth0", &frame)
    };
    stage.must_be_stopped(&from_node(5354, FORBIDDEN)?, "backstop")?;
    let mut everybody = packet::ethernet(0x0800, &stage.ip(UDP).with(&packet::udp(9999, 5354, FORBIDDEN)));
    everybody[..6].fill(0xff);
    stage.must_be_stopped(&sniffer::frame(&stage.client, "eth0", &everybody)?, "backstop")
}

/// The server's SYN first, then an answer to it that carries something.
#[test]
fn a_handshake_the_other_way_round() -> Result<()> {
    let stage = Stage::new()?;
    let from = Ipv4::new(stage.api.v4, stage.client.v4, TCP);
    let opening = from.with(&packet::tcp_checked(&from, 7001, 4000, SYN));
    assert_eq!(sniffer::packet(&stage.api, stage.client.v4, &opening)?.result, "sent");
    let answer = stage.ip(TCP).with(&packet::tcp(4000, 7001, SYN | ACK, FORBIDDEN));
    stage.must_be_stopped(&stage.send(&answer)?, "backstop")
}

/// Inside others: IP, IPv6, GRE, and a port of tunnels.
#[test]
fn packets_in_packets() -> Result<()> {
    let stage = Stage::new()?;
    let inner = Ipv4::new(stage.client.v4, stage.other.v4, UDP).with(&packet::udp(9999, 5353, FORBIDDEN));
    let six = Ipv6::new(stage.client.v6, stage.other.v6, UDP);
    let inner6 = six.with(&packet::udp6(&six, 9999, 5353, FORBIDDEN));
    stage.must_be_stopped(&stage.send(&stage.ip(4).with(&inner))?, "no-rule")?;
    stage.must_be_stopped(&stage.send(&stage.ip(41).with(&inner6))?, "no-rule")?;
    stage.must_be_stopped(&stage.send(&stage.ip(47).with(&[&[0, 0, 8, 0], inner.as_slice()].concat()))?, "no-rule")?;
    stage.must_be_stopped(&stage.send6(&stage.ip6(4).with(&inner))?, "no-rule")
}

/// The kernel's own tunnels.
#[test]
fn devices_that_pack_packets() -> Result<()> {
    let stage = Stage::new()?;
    let (pod, own, api) = (stage.client.netns().name(), stage.client.v4.to_string(), stage.api.v4.to_string());
    for kind in [
        &["ipip", "local", &own, "remote", &api][..],
        &["gre", "local", &own, "remote", &api],
        &["vxlan", "id", "5", "local", &own, "remote", &api, "dstport", "4789"],
    ] {
        if let Err(error) = ip_in(pod, &[&["link", "add", "tunnel", "type"], kind].concat()) {
            skipped(format!("a tunnel of this kernel: {kind:?}: {error}"));
            continue;
        }
        let known = stage.dropped()?.len();
        ip_in(pod, &["link", "set", "tunnel", "up"])?;
        ip_in(pod, &["addr", "add", "192.0.2.1/24", "dev", "tunnel"])?;
        ip_in(pod, &["neigh", "replace", "192.0.2.2", "lladdr", "02:00:00:00:00:09", "dev", "tunnel"]).ok();
        let inner = Ipv4::new(std::net::Ipv4Addr::new(192, 0, 2, 1), std::net::Ipv4Addr::new(192, 0, 2, 2), UDP);
        let inner = inner.with(&packet::udp(9999, 5353, FORBIDDEN));
        assert_eq!(sniffer::packet(&stage.client, std::net::Ipv4Addr::new(192, 0, 2, 2), &inner)?.result, "sent");
        stage.node.wait_flows(known, 1, |flow| flow.verdict() == "DROPPED")?;
        stage.nothing_arrived()?;
        ip_in(pod, &["link", "del", "tunnel"])?;
    }
    Ok(())
}
