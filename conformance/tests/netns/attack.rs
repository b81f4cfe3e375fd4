//! A process in a pod with every capability tries to get around its policy. Each try is shown to have been sent, not to have
//! arrived, and to have been recorded; and beside it, that what policy allows does arrive by the same way.

use anyhow::Result;
use conformance::{
    Node, Pod, Process,
    node::{Flow, ip},
    packet::{self, ACK, ICMP, ICMP6, Ipv4, Ipv6, RST, SYN, TCP, UDP},
    server::{self, Outcome, Server, Talk, udp_send},
    sniffer::{self, Sniffer},
};
use serde_json::json;

use crate::manifests::{PORTS, READ_ONLY};

mod entering;
mod forwarded;
mod fragments;
mod link;
mod older;
mod own_kernel;
mod rewritten;
mod sockets;

/// What must not arrive.
const FORBIDDEN: &[u8] = b"this must not arrive";

/// A pod under egress enforcement, and one that hears everything. Allowed are UDP 5353 and TCP 7000 without the proxy, and TCP
/// 8080 through it.
struct Stage {
    client: Pod,
    api: Pod,
    /// Nobody may send anything to it.
    other: Pod,
    wire: Sniffer,
    elsewhere: Sniffer,
    web: Server,
    _servers: (Server, Process),
    node: Node,
}

impl Stage {
    fn new() -> Result<Self> {
        Self::prepared(|_client, _api| Ok(()))
    }

    /// `first` runs before anything is under enforcement.
    fn prepared(first: impl FnOnce(&Pod, &Pod) -> Result<()>) -> Result<Self> {
        let mut node = Node::new()?;
        let client = node.pod("default/client", &[("app", "client")])?;
        let api = node.pod("default/api", &[("app", "api")])?;
        let other = node.pod("default/other", &[("app", "other")])?;
        let servers = (server::tcp(&api, "[::]:7000")?, server::udp(&api, "[::]:5353")?);
        let web = server::http_at(&api, "[::]:8080")?;
        first(&client, &api)?;
        // Sockets that are older than the policy are not ended here: what they send must not pass all the same.
        node.set_redirect("existing", json!("leave"));
        node.write_manifest("policy.yaml", &format!("{PORTS}---{READ_ONLY}"))?;
        node.start()?;
        let (wire, elsewhere) = (Sniffer::start(&api)?, Sniffer::start(&other)?);
        Ok(Self { client, api, other, wire, elsewhere, web, _servers: servers, node })
    }

    fn dropped(&self) -> Result<Vec<Flow>> {
        Ok(self.node.flows()?.into_iter().filter(|flow| flow.verdict() == "DROPPED").collect())
    }

    /// Whatever was sent before this arrived has arrived when this has: one wire, in order.
    fn settle(&self) -> Result<()> {
        let marker = "the last one";
        assert_eq!(udp_send(&self.client, (self.api.v4, 5353), marker)?.text.as_deref(), Some(marker));
        self.wire.wait_for(marker.as_bytes())
    }

    /// What was sent must be dropped for this reason and told, and reach nobody.
    fn must_be_stopped(&self, sent: &Outcome, reason: &str) -> Result<()> {
        assert_eq!(sent.result, "sent", "the pod's own kernel must not be what stops it: {sent:?}");
        let told = self.node.wait_flows(0, 1, |flow| flow.verdict() == "DROPPED")?;
        assert!(told.iter().all(|flow| flow.reason() == reason), "{reason}: {told:#?}");
        self.nothing_arrived()
    }

    fn nothing_arrived(&self) -> Result<()> {
        self.settle()?;
        for sniffer in [&self.wire, &self.elsewhere] {
            assert!(!sniffer.saw(FORBIDDEN)?, "it arrived");
        }
        Ok(())
    }

    fn must_arrive(&self, sent: &Outcome, bytes: &[u8]) -> Result<()> {
        assert_eq!(sent.result, "sent", "{sent:?}");
        self.wire.wait_for(bytes)?;
        assert!(self.dropped()?.is_empty(), "{:#?}", self.dropped());
        Ok(())
    }

    /// From the client to the API.
    fn ip(&self, protocol: u8) -> Ipv4<'static> {
        Ipv4::new(self.client.v4, self.api.v4, protocol)
    }

    fn ip6(&self, next: u8) -> Ipv6 {
        Ipv6::new(self.client.v6, self.api.v6, next)
    }

    fn send(&self, bytes: &[u8]) -> Result<Outcome> {
        sniffer::packet(&self.client, self.api.v4, bytes)
    }

    fn send6(&self, bytes: &[u8]) -> Result<Outcome> {
        sniffer::packet(&self.client, self.api.v6, bytes)
    }
}

#[test]
fn udp_by_a_raw_socket() -> Result<()> {
    let stage = Stage::new()?;
    let allowed = stage.ip(UDP).with(&packet::udp(9999, 5353, b"may arrive"));
    stage.must_arrive(&stage.send(&allowed)?, b"may arrive")?;
    let denied = stage.ip(UDP).with(&packet::udp(9999, 5354, FORBIDDEN));
    stage.must_be_stopped(&stage.send(&denied)?, "backstop")
}

#[test]
fn udp_by_a_raw_socket_over_ipv6() -> Result<()> {
    let stage = Stage::new()?;
    let ip = stage.ip6(UDP);
    stage.must_arrive(&stage.send6(&ip.with(&packet::udp6(&ip, 9999, 5353, b"may arrive")))?, b"may arrive")?;
    stage.must_be_stopped(&stage.send6(&ip.with(&packet::udp6(&ip, 9999, 5354, FORBIDDEN)))?, "backstop")
}

#[test]
fn a_connection_by_a_raw_socket() -> Result<()> {
    let stage = Stage::new()?;
    let opening = stage.ip(TCP).with(&packet::tcp(9999, 7001, SYN, FORBIDDEN));
    stage.must_be_stopped(&stage.send(&opening)?, "backstop")?;
    let told = &stage.dropped()?[0];
    assert_eq!(told.destination(), Some((stage.api.v4, 7001).into()));
    Ok(())
}

/// Requests that only the proxy may make.
#[test]
fn data_for_a_port_with_http_rules() -> Result<()> {
    let stage = Stage::new()?;
    for flags in [SYN, ACK] {
        let request = stage.ip(TCP).with(&packet::tcp(9999, 8080, flags, FORBIDDEN));
        stage.must_be_stopped(&stage.send(&request)?, "backstop")?;
    }
    assert!(stage.web.seen()?.is_empty());
    Ok(())
}

/// They carry a little, and nobody asked for them.
#[test]
fn resets_and_acknowledgements_of_no_connection() -> Result<()> {
    let stage = Stage::new()?;
    // Sequence number of `packet::tcp`.
    let number = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88];
    for flags in [RST, ACK, RST | ACK, SYN | ACK] {
        assert_eq!(stage.send(&stage.ip(TCP).with(&packet::tcp(9999, 7001, flags, &[])))?.result, "sent");
    }
    stage.settle()?;
    assert!(!stage.wire.saw(&number)?);
    assert_eq!(stage.send(&stage.ip(TCP).with(&packet::tcp(9999, 7000, ACK, &[])))?.result, "sent");
    stage.wire.wait_for(&number)
}

#[test]
fn packets_of_another_pod_s_address() -> Result<()> {
    let stage = Stage::new()?;
    let spoofed = Ipv4::new(stage.other.v4, stage.api.v4, UDP).with(&packet::udp(9999, 5353, FORBIDDEN));
    stage.must_be_stopped(&stage.send(&spoofed)?, "address-not-of-a-known-pod")
}

#[test]
fn a_route_that_the_sender_chose() -> Result<()> {
    let stage = Stage::new()?;
    // Loose source route by way of the API, which may be sent to, to the other pod.
    let [a, b, c, d] = stage.other.v4.octets();
    let options = [131, 7, 4, a, b, c, d, 0];
    let routed = Ipv4 { options: &options, ..stage.ip(UDP) }.with(&packet::udp(9999, 5353, FORBIDDEN));
    // By a packet socket: the kernel would not take the option from a raw one.
    stage.must_be_stopped(
        &sniffer::frame(&stage.client, "eth0", &packet::ethernet(0x0800, &routed))?,
        "backstop-malformed",
    )?;
    // Router alert is harmless.
    let harmless = Ipv4 { options: &[148, 4, 0, 0], ..stage.ip(UDP) }.with(&packet::udp(9999, 5353, b"may arrive"));
    assert_eq!(stage.send(&harmless)?.result, "sent");
    stage.wire.wait_for(b"may arrive")
}

#[test]
fn ipv6_extension_headers_hide_nothing() -> Result<()> {
    let stage = Stage::new()?;
    // Hop-by-hop options, then destination options (both padding only), then UDP.
    let wrapped = |port: u16, contents: &[u8]| {
        let datagram = packet::udp6(&stage.ip6(0), 9999, port, contents);
        let mut bytes = vec![60, 0, 1, 4, 0, 0, 0, 0, UDP, 0, 1, 4, 0, 0, 0, 0];
        bytes.extend(datagram);
        stage.ip6(0).with(&bytes)
    };
    stage.must_arrive(&stage.send6(&wrapped(5353, b"may arrive"))?, b"may arrive")?;
    stage.must_be_stopped(&stage.send6(&wrapped(5354, FORBIDDEN))?, "backstop")
}

#[test]
fn an_ipv6_routing_header() -> Result<()> {
    let stage = Stage::new()?;
    // Type 4, one segment left: by way of the API to the other pod.
    let mut bytes = vec![UDP, 2, 4, 1, 0, 0, 0, 0];
    bytes.extend(stage.other.v6.octets());
    bytes.extend(packet::udp(9999, 5353, FORBIDDEN));
    let routed = stage.ip6(43).with(&bytes);
    stage.must_be_stopped(
        &sniffer::frame(&stage.client, "eth0", &packet::ethernet(0x86dd, &routed))?,
        "backstop-malformed",
    )
}

#[test]
fn protocols_without_ports() -> Result<()> {
    let stage = Stage::new()?;
    for protocol in [2, 47, 50, 253] {
        let sent = stage.send(&stage.ip(protocol).with(FORBIDDEN))?;
        stage.must_be_stopped(&sent, "no-rule")?;
    }
    // A rule without ports is about them.
    stage.node.apply(
        "policy.yaml",
        &PORTS.replace(
            "      toPorts:\n        - ports: [{port: \"7000\", protocol: TCP}, {port: \"5353\", protocol: UDP}]\n",
            "",
        ),
    )?;
    assert_eq!(stage.send(&stage.ip(47).with(b"may arrive"))?.result, "sent");
    stage.wire.wait_for(b"may arrive")
}

/// Which no hook sees; its ports are where those of TCP are.
#[test]
fn sctp_by_its_ports() -> Result<()> {
    const SCTP: u8 = 132;
    let stage = Stage::new()?;
    let with_sctp = PORTS.replace("protocol: UDP}]", "protocol: UDP}, {port: \"9000\", protocol: SCTP}]");
    stage.node.apply("policy.yaml", &with_sctp)?;
    let packet = |port: u16, contents: &[u8]| {
        let mut bytes = [9999_u16.to_be_bytes(), port.to_be_bytes()].concat();
        bytes.extend([0; 8]);
        bytes.extend(contents);
        stage.ip(SCTP).with(&bytes)
    };
    stage.must_arrive(&stage.send(&packet(9000, b"may arrive"))?, b"may arrive")?;
    stage.must_be_stopped(&stage.send(&packet(9001, FORBIDDEN))?, "no-rule")
}

/// A quotation of anything, to anybody.
#[test]
fn forged_icmp_errors() -> Result<()> {
    let stage = Stage::new()?;
    let quoted = |from, port| {
        let inner = Ipv4::new(from, stage.client.v4, UDP).with(&packet::udp(port, 9999, FORBIDDEN));
        stage.ip(ICMP).with(&packet::icmp(3, 3, 0, &inner))
    };
    // Of a packet that never was, and of one that came from elsewhere.
    for from in [stage.api.v4, stage.other.v4] {
        stage.must_be_stopped(&stage.send(&quoted(from, 5354))?, "no-rule")?;
    }
    let told = &stage.dropped()?[0];
    assert_eq!(told.icmp(), Some((3, 3)));
    Ok(())
}

/// Errors about a connection that the proxy has must not carry what the proxy would not.
#[test]
fn forged_icmp_errors_about_a_proxied_connection() -> Result<()> {
    let stage = Stage::new()?;
    let mut held = server::Held::open(&stage.client, (stage.api.v4, 8080), "/read/a")?;
    assert_eq!(held.request()?["status"], 200);
    let proxy_s = stage.web.seen()?[0].accepted;
    let inner = Ipv4::new(stage.api.v4, stage.client.v4, TCP).with(&packet::tcp(8080, proxy_s.port(), ACK, FORBIDDEN));
    stage.must_be_stopped(&stage.send(&stage.ip(ICMP).with(&packet::icmp(3, 3, 0, &inner)))?, "no-rule")
}

/// What a neighbour discovery message says beside what it must, and where it goes.
#[test]
fn data_in_neighbour_discovery() -> Result<()> {
    let stage = Stage::new()?;
    for (destination, kind) in [(stage.api.v6, 135), (stage.api.v6, 136), (stage.api.v6, 133), (stage.api.v6, 143)] {
        let ip = Ipv6 { hop_limit: 255, ..Ipv6::new(stage.client.v6, destination, ICMP6) };
        let mut contents = destination.octets().to_vec();
        contents.extend(FORBIDDEN);
        stage.must_be_stopped(&stage.send6(&ip.with(&packet::icmp6(&ip, kind, 0, 0, &contents)))?, "no-rule")?;
    }
    Ok(())
}

#[test]
fn a_flood_is_counted_and_not_written_out() -> Result<()> {
    let stage = Stage::new()?;
    let denied = stage.ip(UDP).with(&packet::udp(9999, 5354, FORBIDDEN));
    let sent = 40;
    for _ in 0..sent {
        assert_eq!(stage.send(&denied)?.result, "sent");
    }
    stage.nothing_arrived()?;
    let count =
        |name: &str| -> Result<u64> { Ok(stage.node.status()?.counters.get(name).copied().unwrap_or_default()) };
    assert_eq!(count("kernel_backstop_dropped")?, sent);
    stage.node.wait_told(sent)?;
    assert!(u64::try_from(stage.dropped()?.len())? < sent);
    Ok(())
}

/// Restarted programs go on with what was known, and stop what was stopped.
#[test]
fn what_was_stopped_stays_stopped_without_a_process() -> Result<()> {
    let mut stage = Stage::new()?;
    let denied = stage.ip(UDP).with(&packet::udp(9999, 5354, FORBIDDEN));
    for _ in 0..2 {
        stage.node.kill()?;
        assert_eq!(stage.send(&denied)?.result, "sent");
        stage.nothing_arrived()?;
        stage.node.start()?;
        assert_eq!(stage.send(&denied)?.result, "sent");
        stage.nothing_arrived()?;
    }
    Ok(())
}

/// While processes come and go: at no moment is there a program that does not know the pod.
#[test]
fn a_flood_while_one_process_takes_over_from_another() -> Result<()> {
    let mut stage = Stage::new()?;
    let denied = stage.ip(UDP).with(&packet::udp(9999, 5354, FORBIDDEN));
    let flood = sniffer::Flood::start(&stage.client, stage.api.v4, &denied)?;
    for _ in 0..5 {
        stage.node.kill()?;
        stage.node.start()?;
    }
    assert!(flood.finish()? > 100, "it went on all the time");
    stage.nothing_arrived()
}

/// A frame from the client, whatever is in it.
fn frame(stage: &Stage, kind: u16, contents: &[u8]) -> Result<Outcome> {
    sniffer::frame(&stage.client, "eth0", &packet::ethernet(kind, contents))
}

/// A connection or socket that is kept, and what it is told.
fn silent(kept: &mut Talk) -> Result<Outcome> {
    kept.say(std::str::from_utf8(FORBIDDEN)?)
}

/// Runs `ip` inside a namespace.
fn ip_in(netns: &str, arguments: &[&str]) -> Result<String> {
    ip(&[&["-n", netns], arguments].concat())
}
