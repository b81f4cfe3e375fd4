//! From a frame to what a verdict needs of it. What has no single meaning is malformed, and never guessed at.

use redirect_abi::{Addr, v4};

use crate::{
    ctx::{Ends, Packet},
    maps::SCRATCH,
};

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMP6: u8 = 58;
pub const SCTP: u8 = 132;

pub const SYN: u8 = 2;
pub const ACK: u8 = 16;

/// Bytes of an Ethernet header.
pub const ETHERNET: u32 = 14;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// Of IPv4: routes that the sender chose, so that the destination is not where it goes.
const LOOSE_SOURCE_ROUTE: u8 = 131;
const STRICT_SOURCE_ROUTE: u8 = 137;

/// Which part of a packet.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    #[default]
    Whole,
    /// The first fragment: the transport header is in it.
    First,
    /// Another fragment.
    Later,
}

/// What a frame carries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// IP with headers that were read.
    Ip,
    Arp,
    /// Neither, or tagged.
    Other,
    /// IP whose headers have no single meaning.
    Malformed,
}

/// Kept in a map and not on the stack: the verifier knows nothing of what lies there, so that the many ways through reading
/// meet again behind it.
#[derive(Clone, Copy, Default)]
pub struct Headers {
    pub source: Addr,
    pub destination: Addr,
    /// Of a fragment: of which packet.
    pub fragment_id: u32,
    /// Where the transport header begins.
    pub transport: u32,
    /// Where the IP packet ends.
    pub end: u32,
    /// Host byte order; of ICMP the code, and 0 where there are no ports.
    pub source_port: u16,
    /// Host byte order; of ICMP the type, and 0 where there are no ports.
    pub destination_port: u16,
    /// Of ICMP requests and replies.
    pub id: u16,
    pub protocol: u8,
    pub hop_limit: u8,
    pub part: Part,
    /// Of TCP.
    pub flags: u8,
    /// Of TCP: nothing follows the header, not even behind the packet's end.
    pub is_empty: bool,
    /// Of TCP: such a header, of the size that the kernel's own acknowledgements have at most.
    pub is_bare: bool,
}

/// Where each program keeps what it reads. None is interrupted by itself on one processor.
pub const LEAVING: u32 = 0;
pub const ENTERING: u32 = 1;
/// What an error quotes.
pub const QUOTED: u32 = 2;

/// An empty place for headers.
#[inline(always)]
pub fn blank(index: u32) -> Option<&'static mut Headers> {
    let place = SCRATCH.get_ptr_mut(index)?;
    // SAFETY: per-CPU slot, and see `LEAVING`: nobody else uses it until this program ends.
    let place = unsafe { &mut *place };
    *place = Headers::default();
    Some(place)
}

/// A whole TCP segment behind a plain IP header: most packets are, and this is cheap. `None` says nothing.
#[inline(always)]
pub fn segment(packet: Packet) -> Option<(Ends, u8)> {
    let protocol = packet.protocol();
    if packet.is_tagged() {
        return None;
    }
    if protocol == ETHERTYPE_IPV4 {
        let head = packet.head::<{ 14 + 20 + 20 }>()?;
        let is_plain = head.byte::<14>() == 0x45 && u16::from_be(head.half::<20>()) & 0x3fff == 0;
        if !is_plain || head.byte::<23>() != TCP {
            return None;
        }
        let (source, destination) = (v4(head.word::<26>()), v4(head.word::<30>()));
        return Some((Ends { source, destination, ports: u32::from_be(head.word::<34>()) }, head.byte::<47>()));
    }
    if protocol == ETHERTYPE_IPV6 {
        let head = packet.head::<{ 14 + 40 + 20 }>()?;
        if head.byte::<14>() >> 4 != 6 || head.byte::<20>() != TCP {
            return None;
        }
        let source = [head.word::<22>(), head.word::<26>(), head.word::<30>(), head.word::<34>()];
        let destination = [head.word::<38>(), head.word::<42>(), head.word::<46>(), head.word::<50>()];
        return Some((Ends { source, destination, ports: u32::from_be(head.word::<54>()) }, head.byte::<67>()));
    }
    None
}

/// The same of one that does not open a connection.
#[inline(always)]
pub fn middle(packet: Packet) -> Option<Ends> {
    let (ends, flags) = segment(packet)?;
    (flags & (SYN | ACK) != SYN).then_some(ends)
}

/// Reads a frame's headers.
#[inline(always)]
pub fn read(packet: Packet, headers: &mut Headers) -> Frame {
    if packet.is_tagged() {
        return Frame::Other;
    }
    let read = match packet.protocol() {
        ETHERTYPE_IPV4 => ipv4(packet, headers),
        ETHERTYPE_IPV6 => ipv6(packet, headers),
        ETHERTYPE_ARP => return Frame::Arp,
        _ => return Frame::Other,
    };
    if read.and_then(|()| transport(packet, headers)).is_some() { Frame::Ip } else { Frame::Malformed }
}

#[inline(always)]
fn ipv4(packet: Packet, headers: &mut Headers) -> Option<()> {
    let [begin, fragment, middle, source, destination] = packet.words(ETHERNET)?;
    let begin = u32::from_be(begin);
    let length = (begin >> 24 & 15) * 4;
    if begin >> 28 != 4 || length < 20 {
        return None;
    }
    headers.end = end(packet, begin & 0xffff, ETHERNET)?;
    headers.transport = ETHERNET + length;
    headers.source = v4(source);
    headers.destination = v4(destination);
    let middle = u32::from_be(middle);
    headers.hop_limit = (middle >> 24) as u8;
    headers.protocol = (middle >> 16) as u8;
    let fragment = u32::from_be(fragment);
    headers.fragment_id = fragment >> 16;
    headers.part = part(fragment & 0x1fff, fragment & 0x2000 != 0);
    if length > 20 && !is_without_route(packet, length - 20) {
        return None;
    }
    Some(())
}

/// Where an IP packet ends: within its frame. Length 0 is that of a packet too big for the field, which only the kernel makes.
#[inline(always)]
fn end(packet: Packet, length: u32, start: u32) -> Option<u32> {
    let frame = packet.len();
    let end = if length == 0 { frame } else { start + length };
    (end <= frame).then_some(end)
}

#[inline(always)]
fn part(offset: u32, more: bool) -> Part {
    match (offset, more) {
        (0, false) => Part::Whole,
        (0, true) => Part::First,
        _ => Part::Later,
    }
}

/// Whether no IPv4 option is a route. Options are not told from their contents here, which is a loop that the verifier does not
/// follow to its end: a byte with the number of such an option is enough.
#[inline(never)]
fn is_without_route(packet: Packet, length: u32) -> bool {
    for word in 0..10 {
        if word * 4 >= length {
            break;
        }
        let Some([bytes]) = packet.words(ETHERNET + 20 + word * 4) else { return false };
        for byte in [bytes, bytes >> 8, bytes >> 16, bytes >> 24] {
            if matches!(byte as u8, LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE) {
                return false;
            }
        }
    }
    true
}

#[inline(always)]
fn ipv6(packet: Packet, headers: &mut Headers) -> Option<()> {
    let [version, next] = packet.words(ETHERNET)?;
    if u32::from_be(version) >> 28 != 6 {
        return None;
    }
    let next = u32::from_be(next);
    headers.end = end(packet, next >> 16, ETHERNET + 40)?;
    headers.protocol = (next >> 8) as u8;
    headers.hop_limit = next as u8;
    headers.source = packet.words(ETHERNET + 8)?;
    headers.destination = packet.words(ETHERNET + 24)?;
    headers.transport = ETHERNET + 40;
    // More of them than there are kinds of them has no meaning.
    for _ in 0..6 {
        match headers.protocol {
            HOP_BY_HOP | DESTINATION_OPTIONS => {
                let [word] = packet.words(headers.transport)?;
                let word = u32::from_be(word);
                headers.protocol = (word >> 24) as u8;
                headers.transport += ((word >> 16 & 0xff) + 1) * 8;
            }
            FRAGMENT => {
                let [place, id] = packet.words(headers.transport)?;
                let place = u32::from_be(place);
                headers.protocol = (place >> 24) as u8;
                headers.transport += 8;
                headers.part = part(place >> 3 & 0x1fff, place & 1 != 0);
                headers.fragment_id = u32::from_be(id);
                if headers.part == Part::Later {
                    return Some(());
                }
            }
            // By way of others: the destination is not where it goes.
            ROUTING => return None,
            _ => return Some(()),
        }
    }
    None
}

/// Ports, or what stands for them. A header that is not whole has no meaning: what follows could complete it otherwise.
#[inline(always)]
fn transport(packet: Packet, headers: &mut Headers) -> Option<()> {
    if headers.part == Part::Later {
        return Some(());
    }
    let at = headers.transport;
    let size = match headers.protocol {
        TCP => 20,
        UDP | ICMP | ICMP6 => 8,
        SCTP => 12,
        _ => return (at <= headers.end).then_some(()),
    };
    if at + size > headers.end {
        return None;
    }
    ports(packet, at, headers)?;
    if headers.protocol == TCP {
        let [word] = packet.words(at + 12)?;
        let word = u32::from_be(word);
        let length = (word >> 28) * 4;
        if length < 20 || at + length > headers.end {
            return None;
        }
        headers.flags = (word >> 16) as u8;
        headers.is_empty = at + length == packet.len();
        // 20 bytes, and time stamps.
        headers.is_bare = headers.is_empty && length <= 32;
    }
    Some(())
}

/// The first eight bytes of a transport header.
#[inline(always)]
fn ports(packet: Packet, at: u32, headers: &mut Headers) -> Option<()> {
    let [first, second] = packet.words(at)?;
    let first = u32::from_be(first);
    if headers.protocol == ICMP || headers.protocol == ICMP6 {
        headers.destination_port = (first >> 24) as u16;
        headers.source_port = (first >> 16) as u16 & 0xff;
        headers.id = (u32::from_be(second) >> 16) as u16;
    } else {
        headers.source_port = (first >> 16) as u16;
        headers.destination_port = first as u16;
    }
    Some(())
}

/// Reads what an ICMP error quotes: an IP header, and the eight bytes behind it where they say something.
#[inline(never)]
pub fn quoted(packet: Packet, error: &Headers, headers: &mut Headers) -> bool {
    let at = error.transport + 8;
    let read = if error.protocol == ICMP { quoted_ipv4(packet, at, headers) } else { quoted_ipv6(packet, at, headers) };
    read.and_then(|()| match headers.protocol {
        TCP | UDP | SCTP | ICMP | ICMP6 => ports(packet, headers.transport, headers),
        _ => Some(()),
    })
    .is_some()
}

#[inline(always)]
fn quoted_ipv4(packet: Packet, at: u32, headers: &mut Headers) -> Option<()> {
    let [begin, fragment, middle, source, destination] = packet.words(at)?;
    let begin = u32::from_be(begin);
    let length = (begin >> 24 & 15) * 4;
    if begin >> 28 != 4 || length < 20 || u32::from_be(fragment) & 0x1fff != 0 {
        return None;
    }
    headers.source = v4(source);
    headers.destination = v4(destination);
    headers.protocol = (u32::from_be(middle) >> 16) as u8;
    headers.transport = at + length;
    Some(())
}

#[inline(always)]
fn quoted_ipv6(packet: Packet, at: u32, headers: &mut Headers) -> Option<()> {
    let [version, next] = packet.words(at)?;
    if u32::from_be(version) >> 28 != 6 {
        return None;
    }
    headers.source = packet.words(at + 8)?;
    headers.destination = packet.words(at + 24)?;
    headers.protocol = (u32::from_be(next) >> 8) as u8;
    headers.transport = at + 40;
    Some(())
}
