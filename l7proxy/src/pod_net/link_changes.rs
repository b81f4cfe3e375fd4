//! Changes of a namespace's interfaces and addresses, as rtnetlink tells of them.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, recv, socket_with},
};

/// `RTMGRP_LINK` and `RTMGRP_IPV6_IFADDR` of linux/rtnetlink.h.
const GROUPS: u32 = 0x1 | 0x100;
/// Messages that are read before others get their turn.
const TURN: usize = 1024;

/// In this thread's namespace.
pub(super) fn open() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // NETLINK_ROUTE is protocol 0.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    Ok(socket)
}

/// Reads what there is. What it says is of no interest: whoever wants to know how things are now, looks.
pub fn forget_changes(changes: BorrowedFd<'_>) -> io::Result<()> {
    let mut buffer = [0; 64];
    for _ in 0..TURN {
        match recv(changes, &mut buffer, RecvFlags::empty()) {
            // More than there is room for is a change too.
            Ok(_) | Err(Errno::NOBUFS) => {}
            Err(Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
