//! Sockets in other network namespaces.
//!
//! Owns the way into a pod's namespace and back. Never awaits there, never leaves a closure of somebody else running
//! there, and never decides what a socket is for. Start at [`PodNetns`].

use std::{
    fs::{self, File},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    ops::RangeInclusive,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    process,
};

use rustix::{
    fs::{Mode, OFlags, fstatfs, open},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::sys;

mod diag;
mod exits;
mod link_changes;
mod netlink;

pub use diag::{Diag, Flow, Hand, Kind, Opener, Transport};
pub use exits::{Exit, HostEnd, NoHostEnd};
pub use link_changes::forget_changes;

/// `NSFS_MAGIC` of linux/magic.h: the file system of namespaces.
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// Connections that may wait in a listener for their accept.
const BACKLOG: i32 = 1024;

/// Version of the Internet protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Where a pod's namespace is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetnsPath {
    /// A file, e.g. `/run/netns/NAME`.
    File(PathBuf),
    /// The namespace of a running process.
    Pid(u32),
}

impl NetnsPath {
    /// The file to open.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Pid(pid) => PathBuf::from(format!("/proc/{pid}/ns/net")),
        }
    }
}

/// A pod's network namespace, held open. While it or a socket of it lives, the kernel keeps the namespace.
#[derive(Debug)]
pub struct PodNetns {
    namespace: File,
    home: File,
    cookie: u64,
}

impl PodNetns {
    /// Opens the namespace and reads its cookie.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Without waiting, whatever is there (a FIFO).
        let namespace: File = open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?.into();
        if fstatfs(&namespace)?.f_type != NSFS_MAGIC {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no namespace"));
        }
        let home = File::open("/proc/thread-self/ns/net")?;
        let probe = inside(&namespace, &home, || Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)))?;
        let cookie = sys::netns_cookie(&probe)?;
        Ok(Self { namespace, home, cookie })
    }

    /// Unique until reboot, also when the file's name is used again.
    #[must_use]
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// Whether `path` leads to this namespace now.
    pub fn is_at(&self, path: &Path) -> io::Result<bool> {
        let (there, here) = (path.metadata()?, self.namespace.metadata()?);
        Ok((there.dev(), there.ino()) == (here.dev(), here.ino()))
    }

    /// Readable when its interfaces or addresses changed. It keeps the namespace alive.
    pub fn link_changes(&self) -> io::Result<OwnedFd> {
        self.inside(link_changes::open)
    }

    /// The interfaces that lead out of it, with their ends on the node.
    pub fn exits(&self) -> io::Result<Vec<Exit>> {
        if sys::netns_cookie(Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?)? == self.cookie {
            return Ok(vec![Exit { name: "everything".to_owned(), end: Err(NoHostEnd::HostNetwork) }]);
        }
        exits::exits(&self.namespace, &self.home)
    }

    /// A listener on the namespace's loopback, on the first of `ports` that is free: connections reach it by steering only.
    pub fn listen(&self, family: Family, ports: impl IntoIterator<Item = u16>) -> io::Result<TcpListener> {
        let socket = self.socket(family)?;
        if family == Family::V6 {
            socket.set_only_v6(true)?;
            // Unlike 127.0.0.1, ::1 is there only when the loopback interface is up: a pod that is just being made waits.
            socket.set_freebind_v6(true)?;
        }
        let mut bound = Err(io::ErrorKind::AddrInUse.into());
        for port in ports {
            // No SO_REUSEPORT: root in the pod has the same uid and could join the group.
            bound = socket.bind(&SocketAddr::new(family.loopback(), port).into());
            if !bound.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse) {
                break;
            }
        }
        bound?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    }

    /// The ports that connections get which chose none.
    pub fn local_port_range(&self) -> io::Result<RangeInclusive<u16>> {
        let path = "/proc/sys/net/ipv4/ip_local_port_range";
        let text = self.inside(|| fs::read_to_string(path))?;
        let mut ports = text.split_whitespace().map(str::parse);
        match (ports.next(), ports.next()) {
            (Some(Ok(first)), Some(Ok(last))) => Ok(first..=last),
            _ => Err(io::Error::other(format!("{path}: {text:?} is no range"))),
        }
    }

    /// Link-local IPv6 addresses that its interfaces have now.
    pub fn link_local_addresses(&self) -> io::Result<Vec<Ipv6Addr>> {
        // Without IPv6 in the kernel there is no such file.
        let table = self.inside(|| match fs::read_to_string("/proc/thread-self/net/if_inet6") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            table => table,
        })?;
        let addresses = table.lines().filter_map(|line| u128::from_str_radix(line.split(' ').next()?, 16).ok());
        Ok(addresses.map(Ipv6Addr::from).filter(Ipv6Addr::is_unicast_link_local).collect())
    }

    /// A TCP socket of the namespace, not bound and not connected, non-blocking.
    pub fn socket(&self, family: Family) -> io::Result<Socket> {
        self.inside(|| Socket::new(family.domain(), Type::STREAM.nonblocking(), Some(Protocol::TCP)))
    }

    fn inside<T>(&self, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        inside(&self.namespace, &self.home, make)
    }
}

impl Family {
    /// Family of the packets to an address: those to `::ffff:a.b.c.d` are IPv4.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.to_canonical().is_ipv4() { Self::V4 } else { Self::V6 }
    }

    fn loopback(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::LOCALHOST.into(),
            Self::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }

    fn domain(self) -> Domain {
        match self {
            Self::V4 => Domain::IPV4,
            Self::V6 => Domain::IPV6,
        }
    }
}

impl AsFd for PodNetns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }
}

/// Runs `make` in `namespace`, on this thread, and comes back whatever happens in it.
fn inside<T>(namespace: &File, home: &File, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    let _back = Return(home.as_fd());
    make()
}

/// Moves the thread back on drop, also when a panic unwinds.
struct Return<'n>(BorrowedFd<'n>);

impl Drop for Return<'_> {
    fn drop(&mut self) {
        if move_into_link_name_space(self.0, Some(LinkNameSpaceType::Network)).is_err() {
            // A thread that stays in a pod's namespace would make other pods' sockets there: die instead.
            process::abort();
        }
    }
}
