//! What sockets a namespace has, and their end: netlink's `sock_diag`.
//!
//! Owns the conversation with the kernel. Reads as it goes, so that a namespace with very many sockets costs no memory.
//! Never decides which socket is to end. Start at [`Diag::each`].

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recvfrom, send, socket_with,
    sockopt::{Timeout, set_socket_timeout},
};

use super::PodNetns;

mod wire;

use self::wire::{Answer, Request};

/// The kernel fills at most 32 KiB of one answer.
const BUFFER: usize = 64 << 10;
/// The kernel answers at once; what takes this long does not come.
const PATIENCE: Duration = Duration::from_secs(5);
const FAMILIES: [AddressFamily; 2] = [AddressFamily::INET, AddressFamily::INET6];

/// A protocol whose sockets can be listed and ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP, also below MPTCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// IP protocol number.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

/// Which sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With a peer, from the first SYN to the last acknowledgement.
    Connected,
    /// Without: they take what comes.
    Listening,
    /// Connections that were asked for and are not complete.
    Opening,
}

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opener {
    /// This end.
    Local,
    /// The other one.
    Remote,
}

/// One socket of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its protocol.
    pub transport: Transport,
    /// This end. IPv4, also when the socket is an IPv6 one.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Who opened it, where the kernel's own numbers tell.
    pub opener: Option<Opener>,
    /// A connection that was asked for and is not complete: no socket yet, and nobody can tell whose it will be.
    pub half_open: bool,
    /// Its value in the storage that was asked for, 0 without one.
    pub mark: u32,
    id: wire::Id,
}

impl Flow {
    /// Whether both are the same socket, at whatever time.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// A conversation about the sockets of one namespace. It keeps the namespace alive.
#[derive(Debug)]
pub struct Diag {
    /// For lists.
    list: OwnedFd,
    /// For ends, which may come in the middle of a list.
    end: OwnedFd,
    buffer: Vec<u8>,
}

impl Diag {
    /// About the sockets of `netns`.
    pub fn open(netns: &PodNetns) -> io::Result<Self> {
        netns.inside(Self::here)
    }

    /// About the sockets of this thread's namespace.
    pub fn here() -> io::Result<Self> {
        Ok(Self { list: netlink_socket()?, end: netlink_socket()?, buffer: vec![0; BUFFER] })
    }

    /// Whether this kernel can list and end sockets of a protocol.
    pub fn can_end(&mut self, transport: Transport, marks: BorrowedFd<'_>) -> io::Result<bool> {
        let lacks = |error: &io::Error| {
            error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::EOPNOTSUPP)
        };
        let listed = self.each(transport, Kind::Listening, marks, |_flow, _hand| Ok(()));
        match listed.and_then(|()| Hand(self.end.as_fd()).destroy(&Request::end_nothing(transport))) {
            Ok(_) => Ok(true),
            Err(error) if lacks(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Hands over every socket of a kind, as the kernel lists them, with a hand to end it by. `marks` is a map of socket
    /// storage. Sockets that come or go meanwhile may be missed.
    pub fn each(
        &mut self,
        transport: Transport,
        kind: Kind,
        marks: BorrowedFd<'_>,
        mut take: impl FnMut(&Flow, &Hand<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let map = u32::try_from(marks.as_raw_fd()).map_err(io::Error::other)?;
        let hand = Hand(self.end.as_fd());
        for family in FAMILIES {
            send(&self.list, &Request::list(family, transport, kind, map).bytes(), SendFlags::empty())?;
            while let Some(length) = receive(self.list.as_fd(), &mut self.buffer)? {
                let answers = wire::answers(self.buffer.get(..length).unwrap_or_default(), transport);
                let mut done = false;
                for answer in answers {
                    match answer? {
                        Answer::Flow(flow) => take(&flow, &hand)?,
                        Answer::Done => done = true,
                        Answer::Error(error) => return Err(error),
                    }
                }
                if done {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Ends sockets of a namespace.
#[derive(Debug)]
pub struct Hand<'d>(BorrowedFd<'d>);

impl Hand<'_> {
    /// Both ends are told: reset, and "connection aborted" here. `false`: it had ended by itself.
    pub fn end(&self, flow: &Flow) -> io::Result<bool> {
        self.destroy(&Request::end(flow))
    }

    fn destroy(&self, request: &Request) -> io::Result<bool> {
        send(self.0, &request.bytes(), SendFlags::empty())?;
        let mut buffer = [0; 1024];
        let length = receive(self.0, &mut buffer)?.unwrap_or_default();
        match wire::answers(buffer.get(..length).unwrap_or_default(), Transport::Tcp).next() {
            Some(Ok(Answer::Done)) => Ok(true),
            Some(Ok(Answer::Error(error))) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Some(Ok(Answer::Error(error)) | Err(error)) => Err(error),
            Some(Ok(Answer::Flow(_))) | None => Err(io::Error::other("sock_diag: no answer to SOCK_DESTROY")),
        }
    }
}

fn netlink_socket() -> io::Result<OwnedFd> {
    let (family, protocol) = (AddressFamily::NETLINK, Some(netlink::SOCK_DIAG));
    let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    Ok(socket)
}

/// The kernel's next answer. Whoever is root in the namespace can send to this socket too: that is thrown away.
fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        let (_, length, from) = recvfrom(socket, &mut *buffer, RecvFlags::TRUNC)?;
        let from = from.and_then(|from| netlink::SocketAddrNetlink::try_from(from).ok());
        if from.is_none_or(|from| from.pid() != 0) {
            continue;
        }
        if length > buffer.len() {
            return Err(io::Error::other(format!("sock_diag: an answer of {length} bytes was cut off")));
        }
        return Ok((length > 0).then_some(length));
    }
}
