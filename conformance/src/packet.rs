//! Packets byte by byte, for what no ordinary socket would send.
//!
//! Owns their layout. Nothing is checked: what is wrong may be meant. Start at [`Ipv4`] and [`Ipv6`].

use std::net::{Ipv4Addr, Ipv6Addr};

/// IP protocol numbers.
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// ICMP for IPv6.
pub const ICMP6: u8 = 58;

/// TCP flags.
pub const SYN: u8 = 2;
/// Reset.
pub const RST: u8 = 4;
/// Acknowledgement.
pub const ACK: u8 = 16;

/// An IPv4 packet.
#[derive(Clone, Debug)]
pub struct Ipv4<'a> {
    /// Source.
    pub source: Ipv4Addr,
    /// Destination.
    pub destination: Ipv4Addr,
    /// What is inside.
    pub protocol: u8,
    /// Identification.
    pub id: u16,
    /// Flags and offset as they are on the wire: 0x2000 is "more follow", the rest counts eights of bytes.
    pub fragment: u16,
    /// A multiple of four bytes.
    pub options: &'a [u8],
}

impl Ipv4<'_> {
    /// A whole packet without options.
    #[must_use]
    pub fn new(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8) -> Self {
        Self { source, destination, protocol, id: 0x4c37, fragment: 0, options: &[] }
    }

    /// Header and contents.
    #[must_use]
    pub fn with(&self, contents: &[u8]) -> Vec<u8> {
        let header = 20 + self.options.len();
        let mut bytes = vec![0x40 | u8::try_from(header / 4).unwrap_or(15), 0];
        put16(&mut bytes, header + contents.len());
        bytes.extend(self.id.to_be_bytes());
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([64, self.protocol, 0, 0]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes.extend(self.options);
        let sum = checksum(&[&bytes]);
        bytes.splice(10..12, sum.to_be_bytes());
        bytes.extend(contents);
        bytes
    }
}

/// An IPv6 packet.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6 {
    /// Source.
    pub source: Ipv6Addr,
    /// Destination.
    pub destination: Ipv6Addr,
    /// What is inside, or the first extension header.
    pub next: u8,
    /// How often it may be forwarded.
    pub hop_limit: u8,
}

impl Ipv6 {
    /// A packet that may be forwarded.
    #[must_use]
    pub fn new(source: Ipv6Addr, destination: Ipv6Addr, next: u8) -> Self {
        Self { source, destination, next, hop_limit: 64 }
    }

    /// Header and contents.
    #[must_use]
    pub fn with(&self, contents: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0];
        put16(&mut bytes, contents.len());
        bytes.extend([self.next, self.hop_limit]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes.extend(contents);
        bytes
    }

    /// The checksum of contents with this header, which IPv6 demands.
    #[must_use]
    pub fn checksum(&self, protocol: u8, contents: &[u8]) -> u16 {
        let mut lengths = Vec::new();
        put16(&mut lengths, contents.len());
        lengths.extend([0, protocol]);
        checksum(&[&self.source.octets(), &self.destination.octets(), &lengths, contents])
    }
}

/// A UDP datagram without a checksum, which IPv4 permits.
#[must_use]
pub fn udp(source: u16, destination: u16, contents: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(source.to_be_bytes());
    bytes.extend(destination.to_be_bytes());
    put16(&mut bytes, 8 + contents.len());
    bytes.extend([0, 0]);
    bytes.extend(contents);
    bytes
}

/// A UDP datagram for IPv6.
#[must_use]
pub fn udp6(ip: &Ipv6, source: u16, destination: u16, contents: &[u8]) -> Vec<u8> {
    let mut bytes = udp(source, destination, contents);
    let sum = ip.checksum(UDP, &bytes);
    bytes.splice(6..8, sum.to_be_bytes());
    bytes
}

/// A TCP segment. Its checksum is 0: nobody is meant to take it for a part of a connection.
#[must_use]
pub fn tcp(source: u16, destination: u16, flags: u8, contents: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(source.to_be_bytes());
    bytes.extend(destination.to_be_bytes());
    bytes.extend([0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend(contents);
    bytes
}

/// A TCP segment that a receiver takes for whole.
#[must_use]
pub fn tcp_checked(ip: &Ipv4<'_>, source: u16, destination: u16, flags: u8) -> Vec<u8> {
    let mut bytes = tcp(source, destination, flags, &[]);
    let mut lengths = vec![0, TCP];
    put16(&mut lengths, bytes.len());
    let sum = checksum(&[&ip.source.octets(), &ip.destination.octets(), &lengths, &bytes]);
    bytes.splice(16..18, sum.to_be_bytes());
    bytes
}

/// An ICMP message; `rest` is the second word of the header.
#[must_use]
pub fn icmp(kind: u8, code: u8, rest: u32, contents: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, code, 0, 0];
    bytes.extend(rest.to_be_bytes());
    bytes.extend(contents);
    let sum = checksum(&[&bytes]);
    bytes.splice(2..4, sum.to_be_bytes());
    bytes
}

/// An ICMP message of IPv6.
#[must_use]
pub fn icmp6(ip: &Ipv6, kind: u8, code: u8, rest: u32, contents: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, code, 0, 0];
    bytes.extend(rest.to_be_bytes());
    bytes.extend(contents);
    let sum = ip.checksum(ICMP6, &bytes);
    bytes.splice(2..4, sum.to_be_bytes());
    bytes
}

/// An Ethernet frame for everybody on the link.
#[must_use]
pub fn ethernet(kind: u16, contents: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xff; 6];
    bytes.extend([0x02, 0, 0, 0, 0, 0x77]);
    bytes.extend(kind.to_be_bytes());
    bytes.extend(contents);
    bytes
}

/// Two digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn put16(bytes: &mut Vec<u8>, number: usize) {
    bytes.extend(u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes());
}

/// RFC 1071.
fn checksum(parts: &[&[u8]]) -> u16 {
    let all = parts.concat();
    let words = all.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or_default();
        u32::from(u16::from_be_bytes([pair.first().copied().unwrap_or_default(), low]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_as_in_the_rfc_s_example() {
        // The header of RFC 1071's companion example: a received header sums up to nothing.
        let packet = Ipv4::new(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2), UDP).with(b"abc");
        assert_eq!(checksum(&[&packet[..20]]), 0);
        let echo = icmp(8, 0, 7, b"odd");
        assert_eq!(checksum(&[&echo]), 0);
    }
}
