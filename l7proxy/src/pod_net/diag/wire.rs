//! The messages of `sock_diag`: `linux/netlink.h`, `linux/sock_diag.h`, `linux/inet_diag.h`.
//!
//! Owns their layout. Written here because the libraries have neither the request for socket storage nor its answer.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use rustix::net::AddressFamily;

use super::{Flow, Kind, Opener, Transport};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct inet_diag_sockid`.
const ID: usize = 48;
/// `struct inet_diag_msg`.
const BODY: usize = 72;
/// `struct nlattr`.
const ATTRIBUTE: usize = 4;
/// Bits of an attribute's type that name it.
const NAME: u16 = 0x3fff;

const INET_DIAG_REQ_SK_BPF_STORAGES: u16 = 2;
const SK_DIAG_BPF_STORAGE_REQ_MAP_FD: u16 = 1;
const INET_DIAG_INFO: u16 = 2;
const INET_DIAG_SK_BPF_STORAGES: u16 = 20;
const SK_DIAG_BPF_STORAGE: u16 = 1;
const SK_DIAG_BPF_STORAGE_MAP_VALUE: u16 = 3;

const ESTABLISHED: u8 = 1;
const SYN_SENT: u8 = 2;
const SYN_RECV: u8 = 3;
const FIN_WAIT2: u8 = 5;
const TIME_WAIT: u8 = 6;
const CLOSE: u8 = 7;
const CLOSE_WAIT: u8 = 8;
const LISTEN: u8 = 10;
const CLOSING: u8 = 11;

/// `struct inet_diag_sockid` as it came, with the family that it belongs to: with its cookie it names one socket for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Id {
    family: u8,
    bytes: [u8; ID],
}

impl Flow {
    /// Of no socket.
    pub(crate) fn unnamed(transport: Transport, local: SocketAddr, remote: SocketAddr) -> Self {
        let id = Id { family: number(AddressFamily::INET), bytes: [0; ID] };
        Self { transport, local, remote, opener: None, half_open: false, mark: 0, id }
    }
}

/// A whole message.
pub(super) struct Request {
    kind: u16,
    flags: u16,
    family: u8,
    protocol: u8,
    extensions: u8,
    states: u32,
    id: [u8; ID],
    /// A map of socket storage.
    storage: Option<u32>,
}

impl Request {
    pub(super) fn list(family: AddressFamily, transport: Transport, kind: Kind, storage: u32) -> Self {
        let states = match (transport, kind) {
            // Who waits for the last stray packets exchanges nothing any more.
            (Transport::Tcp, Kind::Connected) => {
                (ESTABLISHED..=CLOSING).filter(|state| ![TIME_WAIT, CLOSE, LISTEN].contains(state)).map(bit).sum()
            }
            (Transport::Tcp, Kind::Listening) => bit(LISTEN),
            (Transport::Tcp, Kind::Opening) => bit(SYN_RECV),
            (Transport::Udp, Kind::Connected) => bit(ESTABLISHED),
            (Transport::Udp, Kind::Listening) => bit(CLOSE),
            // It has none.
            (Transport::Udp, Kind::Opening) => 0,
        };
        Self {
            kind: SOCK_DIAG_BY_FAMILY,
            flags: NLM_F_REQUEST | NLM_F_DUMP,
            family: number(family),
            protocol: transport.number(),
            extensions: 1 << (INET_DIAG_INFO - 1),
            states,
            id: [0; ID],
            storage: Some(storage),
        }
    }

    pub(super) fn end(flow: &Flow) -> Self {
        Self {
            kind: SOCK_DESTROY,
            flags: NLM_F_REQUEST | NLM_F_ACK,
            family: flow.id.family,
            protocol: flow.transport.number(),
            extensions: 0,
            states: u32::MAX,
            id: flow.id.bytes,
            storage: None,
        }
    }

    /// Ports 0 are nobody's.
    pub(super) fn end_nothing(transport: Transport) -> Self {
        let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        Self::end(&Flow::unnamed(transport, nobody, nobody))
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut body = vec![self.family, self.protocol, self.extensions, 0];
        body.extend(self.states.to_ne_bytes());
        body.extend(self.id);
        if let Some(map) = self.storage {
            let inner = attribute(SK_DIAG_BPF_STORAGE_REQ_MAP_FD, &map.to_ne_bytes());
            body.extend(attribute(INET_DIAG_REQ_SK_BPF_STORAGES, &inner));
        }
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX).to_ne_bytes());
        message.extend(self.kind.to_ne_bytes());
        message.extend(self.flags.to_ne_bytes());
        // Sequence number and sender: one conversation at a time, and the kernel knows who asks.
        message.extend([0; 8]);
        message.extend(body);
        message
    }
}

/// All of its values have a length that needs no padding.
fn attribute(name: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(ATTRIBUTE + value.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::with_capacity(ATTRIBUTE + value.len());
    bytes.extend(length.to_ne_bytes());
    bytes.extend(name.to_ne_bytes());
    bytes.extend(value);
    bytes
}

fn bit(state: u8) -> u32 {
    1 << state
}

fn number(family: AddressFamily) -> u8 {
    u8::try_from(family.as_raw()).unwrap_or_default()
}

/// One message from the kernel.
pub(super) enum Answer {
    Flow(Flow),
    /// The end of a list, or that what was asked for was done.
    Done,
    Error(io::Error),
}

/// The messages of one read.
pub(super) fn answers(bytes: &[u8], transport: Transport) -> impl Iterator<Item = io::Result<Answer>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let answer = next(&mut rest, transport);
        if answer.is_none() {
            rest = &[];
        }
        Some(answer.ok_or_else(|| io::Error::other("sock_diag: an answer that is no message")))
    })
}

fn next(rest: &mut &[u8], transport: Transport) -> Option<Answer> {
    let length = usize::try_from(u32_at(rest, 0)?).ok()?;
    let kind = u16_at(rest, 4)?;
    let body = rest.get(HEADER..length)?;
    *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some(match kind {
        SOCK_DIAG_BY_FAMILY => Answer::Flow(flow(body, transport)?),
        // A negative errno, or 0.
        NLMSG_DONE | NLMSG_ERROR => match i32::from_ne_bytes(array(body, 0)?) {
            0 => Answer::Done,
            errno => Answer::Error(io::Error::from_raw_os_error(errno.checked_neg()?)),
        },
        _ => return None,
    })
}

fn flow(body: &[u8], transport: Transport) -> Option<Flow> {
    let [family, state] = array(body, 0)?;
    let id: [u8; ID] = array(body, 4)?;
    let (mut info, mut mark) = (None, 0);
    for (name, value) in attributes(body.get(BODY..)?) {
        match name {
            INET_DIAG_INFO => info = Some(value),
            INET_DIAG_SK_BPF_STORAGES => mark = stored(value),
            _ => {}
        }
    }
    let opener = if transport == Transport::Tcp { opener(state, info) } else { None };
    // Only what is asked for and not complete has no socket, and no numbers of one.
    let half_open = state == SYN_RECV && info.is_none_or(<[u8]>::is_empty);
    Some(Flow {
        transport,
        local: end(family, &id, 4, 0)?,
        remote: end(family, &id, 20, 2)?,
        opener,
        half_open,
        mark,
        id: Id { family, bytes: id },
    })
}

fn end(family: u8, id: &[u8], address: usize, port: usize) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(array(id, port)?);
    let address = if family == number(AddressFamily::INET) {
        IpAddr::from(array::<4>(id, address)?)
    } else {
        IpAddr::from(array::<16>(id, address)?)
    };
    Some(SocketAddr::new(address.to_canonical(), port))
}

/// Who opened a TCP connection. The kernel counts its own SYN among the bytes that were acknowledged and not among those
/// that were sent; so with nothing in flight, one more was acknowledged than sent by the end that opened, and as many by
/// the other. (An acknowledged FIN counts in the same way.)
fn opener(state: u8, info: Option<&[u8]>) -> Option<Opener> {
    let fin = match state {
        SYN_SENT => return Some(Opener::Local),
        SYN_RECV => return Some(Opener::Remote),
        ESTABLISHED | CLOSE_WAIT => 0,
        FIN_WAIT2 => 1,
        _ => return None,
    };
    // Offsets of `struct tcp_info`; shorter before Linux 4.19.
    let info = info?;
    let in_flight = u32_at(info, 24)?;
    let (acknowledged, sent, repeated) = (u64_at(info, 120)?, u64_at(info, 200)?, u64_at(info, 208)?);
    let data = sent.checked_sub(repeated)?.checked_add(fin)?;
    match acknowledged.checked_sub(data) {
        Some(1) if in_flight == 0 => Some(Opener::Local),
        Some(0) if in_flight == 0 => Some(Opener::Remote),
        _ => None,
    }
}

/// The value in the one storage that was asked for.
fn stored(storages: &[u8]) -> u32 {
    let mut values = attributes(storages)
        .filter(|(name, _)| *name == SK_DIAG_BPF_STORAGE)
        .flat_map(|(_, storage)| attributes(storage))
        .filter(|(name, _)| *name == SK_DIAG_BPF_STORAGE_MAP_VALUE);
    values.find_map(|(_, value)| u32_at(value, 0)).unwrap_or_default()
}

/// Names and values; what is cut off is none.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let name = u16_at(rest, 2)? & NAME;
        let value = rest.get(ATTRIBUTE..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((name, value))
    })
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_ne_bytes)
}

#[cfg(test)]
mod tests;
