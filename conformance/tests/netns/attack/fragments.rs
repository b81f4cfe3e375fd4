//! Packets in pieces.

use super::*;

const MORE: u16 = 0x2000;

#[test]
fn a_large_datagram_of_an_ordinary_socket_arrives() -> Result<()> {
    let stage = Stage::new()?;
    for address in [std::net::IpAddr::from(stage.api.v4), stage.api.v6.into()] {
        let text = "large".repeat(400);
        let outcome = udp_send(&stage.client, (address, 5353), &text)?;
        assert_eq!(outcome.text.as_deref(), Some(text.as_str()), "{outcome:?}");
        let outcome = server::udp_connect(&stage.client, (address, 5353), &text)?;
        assert_eq!(outcome.text.as_deref(), Some(text.as_str()), "{outcome:?}");
    }
    assert!(stage.dropped()?.is_empty());
    Ok(())
}

#[test]
fn the_first_fragment_says_the_port() -> Result<()> {
    let stage = Stage::new()?;
    let datagram = packet::udp(9999, 5354, &[b'x'; 24]);
    let first = Ipv4 { fragment: MORE, ..stage.ip(UDP) }.with(&datagram[..16]);
    stage.must_be_stopped(&stage.send(&first)?, "backstop")
}

#[test]
fn a_fragment_without_its_first() -> Result<()> {
    let stage = Stage::new()?;
    // Also when another packet's first one passed.
    let first = Ipv4 { fragment: MORE, id: 7, ..stage.ip(UDP) }.with(&packet::udp(9999, 5353, b"may arrive      "));
    stage.must_arrive(&stage.send(&first)?, b"may arrive")?;
    let of_it = Ipv4 { fragment: 3, id: 7, ..stage.ip(UDP) }.with(b"and so may this one");
    stage.must_arrive(&stage.send(&of_it)?, b"and so may this one")?;
    let later = Ipv4 { fragment: 3, id: 8, ..stage.ip(UDP) }.with(FORBIDDEN);
    stage.must_be_stopped(&stage.send(&later)?, "backstop-fragment")?;
    let of_tcp = Ipv4 { fragment: 3, id: 7, ..stage.ip(TCP) }.with(FORBIDDEN);
    stage.must_be_stopped(&stage.send(&of_tcp)?, "backstop-fragment")
}

#[test]
fn a_first_fragment_that_is_too_small_to_judge() -> Result<()> {
    let stage = Stage::new()?;
    let segment = packet::tcp(9999, 7000, SYN, FORBIDDEN);
    let first = Ipv4 { fragment: MORE, ..stage.ip(TCP) }.with(&segment[..8]);
    stage.must_be_stopped(&stage.send(&first)?, "backstop-malformed")?;
    // The rest: flags and contents.
    let rest = Ipv4 { fragment: 1, ..stage.ip(TCP) }.with(&segment[8..]);
    assert_eq!(stage.send(&rest)?.result, "sent");
    stage.nothing_arrived()
}

#[test]
fn fragments_of_ipv6() -> Result<()> {
    let stage = Stage::new()?;
    let piece = |offset: u16, more: u16, contents: &[u8]| {
        let mut bytes = vec![UDP, 0];
        bytes.extend((offset << 3 | more).to_be_bytes());
        bytes.extend([0, 0, 0, 9]);
        bytes.extend(contents);
        stage.ip6(44).with(&bytes)
    };
    let first = piece(0, 1, &packet::udp(9999, 5354, FORBIDDEN)[..24]);
    stage.must_be_stopped(&stage.send6(&first)?, "backstop")?;
    assert_eq!(stage.send6(&piece(3, 0, FORBIDDEN))?.result, "sent");
    stage.nothing_arrived()
}
