//! Socket options without a safe wrapper elsewhere.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use socket2::SockRef;

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
