//! Below IP.

use super::*;

#[test]
fn datagrams_by_a_packet_socket() -> Result<()> {
    let stage = Stage::new()?;
    let allowed = stage.ip(UDP).with(&packet::udp(9999, 5353, b"may arrive"));
    stage.must_arrive(&frame(&stage, 0x0800, &allowed)?, b"may arrive")?;
    let denied = stage.ip(UDP).with(&packet::udp(9999, 5354, FORBIDDEN));
    stage.must_be_stopped(&frame(&stage, 0x0800, &denied)?, "backstop")?;
    let ip = stage.ip6(UDP);
    stage.must_be_stopped(&frame(&stage, 0x86dd, &ip.with(&packet::udp6(&ip, 9999, 5354, FORBIDDEN)))?, "backstop")
}

#[test]
fn frames_that_are_not_ip() -> Result<()> {
    let stage = Stage::new()?;
    // Local experiments, LLDP, PPPoE, MPLS, and a length where the type is.
    for kind in [0x88b5, 0x88cc, 0x8864, 0x8847, 0x0026] {
        stage.must_be_stopped(&frame(&stage, kind, FORBIDDEN)?, "backstop-not-ip")?;
    }
    Ok(())
}

#[test]
fn a_vlan_tag() -> Result<()> {
    let stage = Stage::new()?;
    // Tag 5, then what would be allowed without it.
    let mut contents = vec![0, 5, 0x08, 0];
    contents.extend(stage.ip(UDP).with(&packet::udp(9999, 5353, FORBIDDEN)));
    stage.must_be_stopped(&frame(&stage, 0x8100, &contents)?, "backstop-not-ip")?;
    stage.must_be_stopped(&frame(&stage, 0x88a8, &contents)?, "backstop-not-ip")
}

/// The kernel's own find the neighbours, as every other test shows.
#[test]
fn address_resolution_by_a_packet_socket() -> Result<()> {
    let stage = Stage::new()?;
    let mut request = vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 0x77];
    request.extend(stage.client.v4.octets());
    request.extend([0; 6]);
    request.extend(stage.api.v4.octets());
    request.extend(&FORBIDDEN[..16]);
    assert_eq!(frame(&stage, 0x0806, &request)?.result, "sent");
    stage.settle()?;
    assert!(!stage.wire.saw(&FORBIDDEN[..16])?);
    Ok(())
}

#[test]
fn an_ip_version_that_the_frame_denies() -> Result<()> {
    let stage = Stage::new()?;
    let ip = stage.ip6(UDP);
    let six = ip.with(&packet::udp6(&ip, 9999, 5353, FORBIDDEN));
    stage.must_be_stopped(&frame(&stage, 0x0800, &six)?, "backstop-malformed")?;
    // A header that is longer than the packet.
    let mut bytes = stage.ip(UDP).with(&packet::udp(9999, 5353, FORBIDDEN));
    bytes[2..4].copy_from_slice(&4000_u16.to_be_bytes());
    stage.must_be_stopped(&frame(&stage, 0x0800, &bytes)?, "backstop-malformed")
}

/// A segment of a connection that is known, with a tail behind what it says is its end.
#[test]
fn data_behind_a_packet() -> Result<()> {
    let stage = Stage::new()?;
    let mut held = server::Held::open(&stage.client, (stage.api.v4, 8080), "/read/a")?;
    assert_eq!(held.request()?["status"], 200);
    let port = stage.web.seen()?[0].accepted.port();
    let mut bytes = stage.ip(TCP).with(&packet::tcp(port, 8080, ACK, &[]));
    bytes.extend(FORBIDDEN);
    // By a raw socket the kernel would say that the tail belongs to the packet.
    stage.must_be_stopped(&frame(&stage, 0x0800, &bytes)?, "backstop")?;
    stage.must_be_stopped(&stage.send(&stage.ip(TCP).with(&packet::tcp(port, 8080, ACK, FORBIDDEN)))?, "backstop")
}
