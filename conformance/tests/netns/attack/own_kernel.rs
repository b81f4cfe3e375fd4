//! The pod's own kernel as an accomplice: a raw packet on loopback that seems to come from outside makes it answer there.

use super::*;

impl Stage {
    /// A packet that seems to come from the API, to the client's own address: it never leaves the pod.
    fn to_itself(&self, protocol: u8, contents: &[u8]) -> Result<()> {
        let bytes = Ipv4::new(self.api.v4, self.client.v4, protocol).with(contents);
        assert_eq!(sniffer::packet(&self.client, self.client.v4, &bytes)?.result, "sent");
        Ok(())
    }
}

#[test]
fn echo_replies() -> Result<()> {
    let stage = Stage::new()?;
    stage.to_itself(ICMP, &packet::icmp(8, 0, 1, FORBIDDEN))?;
    let told = stage.node.wait_flows(0, 1, |flow| flow.verdict() == "DROPPED")?;
    assert_eq!((told[0].icmp(), told[0].reason()), (Some((0, 0)), "no-rule"));
    stage.nothing_arrived()
}

#[test]
fn quotations_in_errors() -> Result<()> {
    let stage = Stage::new()?;
    stage.to_itself(UDP, &packet::udp(4000, 4001, FORBIDDEN))?;
    let told = stage.node.wait_flows(0, 1, |flow| flow.verdict() == "DROPPED")?;
    assert_eq!((told[0].icmp(), told[0].reason()), (Some((3, 3)), "no-rule"));
    stage.nothing_arrived()
}

/// Numbers that the answers would repeat: 32 bits with each.
#[test]
fn numbers_in_answers_of_tcp() -> Result<()> {
    let stage = Stage::new()?;
    let _listener = server::tcp(&stage.client, "0.0.0.0:6000")?;
    // `packet::tcp` has sequence number 0x11223344: a SYN-ACK acknowledges the next one; a reset takes the acknowledgement
    // 0x55667788 for its own number.
    let from = Ipv4::new(stage.api.v4, stage.client.v4, TCP);
    stage.to_itself(TCP, &packet::tcp_checked(&from, 4000, 6000, SYN))?;
    stage.to_itself(TCP, &packet::tcp_checked(&from, 4000, 6001, SYN))?;
    stage.to_itself(TCP, &packet::tcp_checked(&from, 4000, 6001, ACK))?;
    let own = Sniffer::start(&stage.client)?;
    stage.to_itself(TCP, &packet::tcp_checked(&from, 4000, 6000, SYN))?;
    own.wait_for(&[0x11, 0x22, 0x33, 0x45])?;
    stage.node.wait_flows(0, 1, |flow| flow.reason() == "backstop")?;
    stage.settle()?;
    for number in [[0x11, 0x22, 0x33, 0x45], [0x55, 0x66, 0x77, 0x88]] {
        assert!(!stage.wire.saw(&number)?, "{number:x?}");
    }
    Ok(())
}

/// Nothing is known of a connection that its other end still has: its reset passes when the other end insists.
#[test]
fn a_reset_of_a_forgotten_connection() -> Result<()> {
    let stage = Stage::new()?;
    // From outside, with an acknowledgement number that the reset takes for its own.
    let from = Ipv4::new(stage.api.v4, stage.client.v4, TCP);
    let segment = from.with(&packet::tcp_checked(&from, 4000, 6001, ACK));
    let number = [0x55, 0x66, 0x77, 0x88, 0, 0, 0, 0, 0x50, RST];
    assert_eq!(sniffer::packet(&stage.api, stage.client.v4, &segment)?.result, "sent");
    stage.node.wait_flows(0, 1, |flow| flow.reason() == "backstop")?;
    stage.settle()?;
    assert!(!stage.wire.saw(&number)?, "of the first nobody knows whether it is an answer");
    assert_eq!(sniffer::packet(&stage.api, stage.client.v4, &segment)?.result, "sent");
    stage.wire.wait_for(&number)
}

/// The real thing: what came from outside is answered, also with a refusal.
#[test]
fn real_connections_are_answered() -> Result<()> {
    let stage = Stage::new()?;
    let _listener = server::tcp(&stage.client, "0.0.0.0:6000")?;
    let outcome = server::connect(&stage.api, (stage.client.v4, 6000), Some("hello"))?;
    assert_eq!(outcome.reply.as_deref(), Some("hello"), "{outcome:?}");
    assert!(server::connect(&stage.api, (stage.client.v4, 6001), None)?.is_refused(), "the reset arrives");
    let _echo = server::udp(&stage.client, "0.0.0.0:6002")?;
    assert_eq!(udp_send(&stage.api, (stage.client.v4, 6002), "hello")?.text.as_deref(), Some("hello"));
    let outcome = server::udp_connect(&stage.api, (stage.client.v4, 6003), "hello")?;
    assert!(outcome.is_refused(), "the error arrives: {outcome:?}");
    assert!(stage.dropped()?.is_empty(), "{:#?}", stage.dropped());
    Ok(())
}

/// A connection from the pod to itself that seems to come from elsewhere: what accepts it is no server of that one.
#[test]
fn an_accepted_connection_that_nobody_opened() -> Result<()> {
    let stage = Stage::new()?;
    let _echo = server::tcp(&stage.client, "0.0.0.0:6000")?;
    let other = stage.other.v4;
    stage.must("nft", &["add table inet t"])?;
    stage.must("nft", &["add chain inet t post { type nat hook postrouting priority 100; }"])?;
    stage.must("nft", &["add chain inet t raw { type filter hook output priority -300; }"])?;
    stage.must("nft", &[&format!("add rule inet t post oif lo tcp dport 6000 snat ip to {other}")])?;
    let mut talk = Talk::tcp(&stage.client, (stage.client.v4, 6000))?;
    assert!(talk.word()?.is_answered());
    // From now on answers are not translated back.
    stage.must("nft", &[&format!("add rule inet t raw ip daddr {other} tcp sport 6000 notrack")])?;
    assert_eq!(silent(&mut talk)?.result, "silent");
    let told = stage.node.wait_flows(0, 1, |flow| flow.reason() == "backstop")?;
    assert_eq!(told[0].destination_ip(), Some(other.into()));
    stage.nothing_arrived()
}
