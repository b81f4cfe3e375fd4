//! Socket options without a safe wrapper elsewhere.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use socket2::{SockRef, Socket};

/// `SO_NETNS_COOKIE` of asm-generic/socket.h (Linux 5.14); in no crate yet.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// Cookie of the network namespace that `socket` was made in: unique until reboot.
pub fn netns_cookie(socket: impl AsFd) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut len = libc::socklen_t::try_from(size_of::<u64>()).map_err(io::Error::other)?;
    let fd = socket.as_fd().as_raw_fd();
    #[expect(unsafe_code, reason = "no safe wrapper for SO_NETNS_COOKIE")]
    // SAFETY: both pointers are to live locals and `len` is the size of `cookie`.
    let rc = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, SO_NETNS_COOKIE, (&raw mut cookie).cast(), &raw mut len) };
    if rc == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// The next close of `socket` sends a reset instead of a FIN.
pub fn abort_on_close(socket: impl AsFd) -> io::Result<()> {
    SockRef::from(&socket).set_linger(Some(Duration::ZERO))
}

/// Binds a socket to an address and no port yet: the one that it gets when it connects may be in use towards others.
pub fn bind_address(socket: &Socket, address: IpAddr) -> io::Result<()> {
    set(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
    socket.bind(&SocketAddr::new(address, 0).into())
}

/// When this end closes first, the socket does not wait for last packets (`TIME_WAIT`) and so keeps no local port: once
/// the other end has everything, the end included, it is reset.
pub fn leave_no_time_wait(socket: &Socket) -> io::Result<()> {
    set(socket, libc::IPPROTO_TCP, libc::TCP_LINGER2, -1)
}

fn set(socket: &Socket, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of_val(&value)).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "no safe wrapper for these options")]
    // SAFETY: the pointer is to a live local and `len` is its size.
    let rc = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_one_cookie() {
        let first = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let second = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let cookie = netns_cookie(&first).unwrap();
        assert_ne!(cookie, 0);
        assert_eq!(cookie, netns_cookie(&second).unwrap());
    }
}
