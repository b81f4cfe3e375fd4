//! The other way: into a pod that nobody may enter, as a process in it with a packet socket would hear it.

use conformance::node::Netns;

use super::*;
use crate::manifests::GUARDED;

/// Nothing enters the API but UDP 5353 from clients.
const ONE_PORT: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: one-port, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: api}}
  ingress:
    - fromEndpoints: [{matchLabels: {app: client}}]
      toPorts: [{ports: [{port: "5353", protocol: UDP}]}]
"#;

struct Guarded {
    client: Pod,
    api: Pod,
    wire: Sniffer,
    _servers: (Server, Process),
    node: Node,
}

fn guarded(manifest: &str) -> Result<Guarded> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let servers = (server::tcp(&api, "[::]:7000")?, server::udp(&api, "[::]:5353")?);
    node.write_manifest("policy.yaml", manifest)?;
    node.start()?;
    let wire = Sniffer::start(&api)?;
    Ok(Guarded { client, api, wire, _servers: servers, node })
}

impl Guarded {
    fn ip(&self, protocol: u8) -> Ipv4<'static> {
        Ipv4::new(self.client.v4, self.api.v4, protocol)
    }

    fn must_not_be_heard(&self, bytes: &[u8], reason: &str) -> Result<()> {
        let known = self.node.flows()?.len();
        assert_eq!(sniffer::packet(&self.client, self.api.v4, bytes)?.result, "sent");
        for told in self.node.wait_flows(known, 1, |flow| flow.verdict() == "DROPPED")? {
            assert_eq!((told.direction(), told.reason()), ("INGRESS", reason), "{told:#?}");
        }
        let marker = "the last one";
        assert_eq!(udp_send(&self.client, (self.api.v4, 5353), marker)?.text.as_deref(), Some(marker));
        self.wire.wait_for(marker.as_bytes())?;
        assert!(!self.wire.saw(FORBIDDEN)?, "it was heard");
        Ok(())
    }
}

#[test]
fn what_may_not_enter_is_not_heard() -> Result<()> {
    let stage = guarded(ONE_PORT)?;
    stage.must_not_be_heard(&stage.ip(UDP).with(&packet::udp(9999, 5354, FORBIDDEN)), "no-rule")?;
    stage.must_not_be_heard(&stage.ip(ICMP).with(&packet::icmp(8, 0, 0, FORBIDDEN)), "no-rule")?;
    stage.must_not_be_heard(&stage.ip(47).with(FORBIDDEN), "no-rule")?;
    let later = Ipv4 { fragment: 3, ..stage.ip(UDP) };
    stage.must_not_be_heard(&later.with(FORBIDDEN), "backstop-fragment")?;
    // A connection is refused where its socket is looked up; not so what it would bring along.
    stage.must_not_be_heard(&stage.ip(TCP).with(&packet::tcp(9999, 7000, SYN, FORBIDDEN)), "no-rule")?;
    assert!(server::connect(&stage.client, (stage.api.v4, 7000), None)?.is_refused());
    Ok(())
}

#[test]
fn what_may_enter_in_pieces_does() -> Result<()> {
    let stage = guarded(ONE_PORT)?;
    let text = "large".repeat(400);
    for address in stage.api.addresses() {
        assert_eq!(udp_send(&stage.client, (address, 5353), &text)?.text.as_deref(), Some(text.as_str()), "{address}");
    }
    assert!(stage.node.flows()?.is_empty(), "{:#?}", stage.node.flows());
    Ok(())
}

/// Behind the pod no socket is looked up by anybody who knows the policy.
#[test]
fn what_the_pod_would_forward() -> Result<()> {
    let stage = guarded(&format!("{ONE_PORT}---{}", GUARDED.replace("name: guarded", "name: requests")))?;
    let (name, pod) = (format!("{}b", stage.api.netns().name()), stage.api.netns().name().to_owned());
    let nested = stage.api.beside(Netns::new(&name)?);
    ip_in(&pod, &["link", "add", "inner", "type", "veth", "peer", "name", "outer", "netns", &name])?;
    ip_in(&pod, &["link", "set", "inner", "up"])?;
    ip_in(&pod, &["addr", "add", "169.254.7.1/30", "dev", "inner"])?;
    ip_in(&name, &["link", "set", "outer", "up"])?;
    ip_in(&name, &["addr", "add", "169.254.7.2/30", "dev", "outer"])?;
    ip_in(&name, &["route", "add", "default", "via", "169.254.7.1"])?;
    anyhow::ensure!(stage.api.command("sh").args(["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]).status()?.success());
    let via = stage.api.v4.to_string();
    ip_in(stage.client.netns().name(), &["route", "add", "169.254.7.0/30", "via", &via])?;
    let behind = std::net::Ipv4Addr::new(169, 254, 7, 2);
    let wire = Sniffer::start(&nested)?;
    let servers = [server::tcp(&nested, "0.0.0.0:7000")?, server::http(&nested, 8080)?];
    let _echo = server::udp(&nested, "0.0.0.0:5353")?;
    // UDP 5353 may enter the pod, whatever it does with it.
    assert_eq!(udp_send(&stage.client, (behind, 5353), "may arrive")?.text.as_deref(), Some("may arrive"));
    let forbidden = std::str::from_utf8(FORBIDDEN)?;
    assert_eq!(udp_send(&stage.client, (behind, 5354), forbidden)?.result, "silent");
    for port in [7000, 8080] {
        assert_ne!(server::connect(&stage.client, (behind, port), None)?.result, "connected", "{port}");
    }
    let told = stage.node.wait_flows(0, 3, |flow| flow.verdict() == "DROPPED")?;
    assert!(told.iter().all(|flow| flow.direction() == "INGRESS"), "{told:#?}");
    assert!(!wire.saw(FORBIDDEN)?);
    for server in servers {
        assert!(server.seen()?.is_empty());
    }
    Ok(())
}
