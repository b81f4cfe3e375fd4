//! The other way: into a pod that nobody may enter, as a process in it with a packet socket would hear it.

use super::*;

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
