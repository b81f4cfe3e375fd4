//! The only place that reads or writes a context's fields.
//!
//! By inline assembly with a constant offset: LLVM otherwise merges two loads into one through a computed address, which
//! the verifier refuses ("dereference of modified ctx ptr"). Plain and volatile reads were both seen to fail.

use core::{arch::asm, ffi::c_void, mem::offset_of};

use aya_ebpf::bindings::{bpf_sk_lookup, bpf_sock, bpf_sock_addr, bpf_sock_ops};
use redirect_abi::{Addr, v4};

mod packet;

pub use packet::Packet;

const AF_INET: u32 = 2;

#[inline(always)]
fn ld32<T, const OFF: usize>(p: *const T) -> u32 {
    let v: u64;
    // SAFETY: the verifier proves that `p` is a context with a readable field at `OFF`, or refuses the program.
    unsafe {
        asm!("{v} = *(u32 *)({p} + {o})", v = lateout(reg) v, p = in(reg) p, o = const OFF, options(nostack, preserves_flags, readonly));
    }
    v as u32
}

#[inline(always)]
fn ld16<T, const OFF: usize>(p: *const T) -> u16 {
    let v: u64;
    // SAFETY: as in `ld32`.
    unsafe {
        asm!("{v} = *(u16 *)({p} + {o})", v = lateout(reg) v, p = in(reg) p, o = const OFF, options(nostack, preserves_flags, readonly));
    }
    v as u16
}

#[inline(always)]
fn ld64<T, const OFF: usize>(p: *const T) -> u64 {
    let v: u64;
    // SAFETY: as in `ld32`.
    unsafe {
        asm!("{v} = *(u64 *)({p} + {o})", v = lateout(reg) v, p = in(reg) p, o = const OFF, options(nostack, preserves_flags, readonly));
    }
    v
}

/// A context's pointer to packet data, which has 32 bits there and all of them here.
#[inline(always)]
fn ld_pointer<T, const OFF: usize>(p: *const T) -> u64 {
    let v: u64;
    // SAFETY: as in `ld32`.
    unsafe {
        asm!("{v} = *(u32 *)({p} + {o})", v = lateout(reg) v, p = in(reg) p, o = const OFF, options(nostack, preserves_flags, readonly));
    }
    v
}

#[inline(always)]
fn ld8<T, const OFF: usize>(p: *const T) -> u8 {
    let v: u64;
    // SAFETY: as in `ld32`.
    unsafe {
        asm!("{v} = *(u8 *)({p} + {o})", v = lateout(reg) v, p = in(reg) p, o = const OFF, options(nostack, preserves_flags, readonly));
    }
    v as u8
}

#[inline(always)]
fn st32<T, const OFF: usize>(p: *mut T, v: u32) {
    // SAFETY: as in `ld32`, for a writable field.
    unsafe {
        asm!("*(u32 *)({p} + {o}) = {v}", v = in(reg) u64::from(v), p = in(reg) p, o = const OFF, options(nostack, preserves_flags));
    }
}

/// Context of connect4/6, sendmsg4/6 and getpeername4/6.
#[derive(Clone, Copy)]
pub struct SockAddr {
    raw: *mut bpf_sock_addr,
    six: bool,
}

impl SockAddr {
    #[inline(always)]
    pub fn new(raw: *mut bpf_sock_addr, six: bool) -> Self {
        Self { raw, six }
    }

    #[inline(always)]
    pub fn raw(self) -> *mut c_void {
        self.raw.cast()
    }

    #[inline(always)]
    pub fn sock(self) -> *mut bpf_sock {
        ld64::<_, { offset_of!(bpf_sock_addr, __bindgen_anon_1.sk) }>(self.raw) as *mut bpf_sock
    }

    /// IPv6 protocol or IPv4 protocol number of the socket.
    #[inline(always)]
    pub fn protocol(self) -> u32 {
        ld32::<_, { offset_of!(bpf_sock_addr, protocol) }>(self.raw)
    }

    #[inline(always)]
    pub fn addr(self) -> Addr {
        if self.six {
            const O: usize = offset_of!(bpf_sock_addr, user_ip6);
            [
                ld32::<_, O>(self.raw),
                ld32::<_, { O + 4 }>(self.raw),
                ld32::<_, { O + 8 }>(self.raw),
                ld32::<_, { O + 12 }>(self.raw),
            ]
        } else {
            v4(ld32::<_, { offset_of!(bpf_sock_addr, user_ip4) }>(self.raw))
        }
    }

    /// Host byte order.
    #[inline(always)]
    pub fn port(self) -> u16 {
        u16::from_be(ld32::<_, { offset_of!(bpf_sock_addr, user_port) }>(self.raw) as u16)
    }

    /// The socket's own address; all zero, or IPv4's form of it, when it has none yet.
    #[inline(always)]
    pub fn source(self) -> Addr {
        let sock = self.sock();
        if self.six {
            const O: usize = offset_of!(bpf_sock, src_ip6);
            [ld32::<_, O>(sock), ld32::<_, { O + 4 }>(sock), ld32::<_, { O + 8 }>(sock), ld32::<_, { O + 12 }>(sock)]
        } else {
            v4(ld32::<_, { offset_of!(bpf_sock, src_ip4) }>(sock))
        }
    }

    #[inline(always)]
    pub fn set_addr(self, addr: &Addr) {
        if self.six {
            const O: usize = offset_of!(bpf_sock_addr, user_ip6);
            st32::<_, O>(self.raw, addr[0]);
            st32::<_, { O + 4 }>(self.raw, addr[1]);
            st32::<_, { O + 8 }>(self.raw, addr[2]);
            st32::<_, { O + 12 }>(self.raw, addr[3]);
        } else {
            st32::<_, { offset_of!(bpf_sock_addr, user_ip4) }>(self.raw, addr[3]);
        }
    }

    #[inline(always)]
    pub fn set_port(self, port: u16) {
        st32::<_, { offset_of!(bpf_sock_addr, user_port) }>(self.raw, u32::from(port.to_be()));
    }
}

/// Local port of a socket, host byte order, 0 when unbound.
#[inline(always)]
pub fn source_port(sock: *mut bpf_sock) -> u16 {
    ld32::<_, { offset_of!(bpf_sock, src_port) }>(sock) as u16
}

/// Whether a socket that is not connected was bound to an address. (The kernel keeps a loopback address here for what is
/// bound to an IPv6 one.)
#[inline(always)]
pub fn is_bound(sock: *mut bpf_sock) -> bool {
    ld32::<_, { offset_of!(bpf_sock, src_ip4) }>(sock) != 0
}

/// Address family of a socket.
#[inline(always)]
pub fn family(sock: *mut bpf_sock) -> u32 {
    ld32::<_, { offset_of!(bpf_sock, family) }>(sock)
}

/// Type of a socket: stream, datagram, raw.
#[inline(always)]
pub fn kind(sock: *mut bpf_sock) -> u32 {
    ld32::<_, { offset_of!(bpf_sock, type_) }>(sock)
}

/// State of a socket, as TCP names it.
#[inline(always)]
pub fn state(sock: *mut bpf_sock) -> u32 {
    ld32::<_, { offset_of!(bpf_sock, state) }>(sock)
}

/// Both ends of a connection, as its socket has them.
pub struct Ends {
    pub source: Addr,
    pub destination: Addr,
    /// That of the source in the upper half, host byte order.
    pub ports: u32,
}

/// Those of a socket: of its IPv4 addresses, which an IPv6 one that talks IPv4 has too, or of its IPv6 ones.
#[inline(always)]
pub fn ends(sock: *mut bpf_sock, is_v4: bool) -> Ends {
    const S: usize = offset_of!(bpf_sock, src_ip6);
    const D: usize = offset_of!(bpf_sock, dst_ip6);
    let ports =
        source_port_word(sock) << 16 | u32::from(u16::from_be(ld16::<_, { offset_of!(bpf_sock, dst_port) }>(sock)));
    if is_v4 {
        let source = v4(ld32::<_, { offset_of!(bpf_sock, src_ip4) }>(sock));
        return Ends { source, destination: v4(ld32::<_, { offset_of!(bpf_sock, dst_ip4) }>(sock)), ports };
    }
    let source =
        [ld32::<_, S>(sock), ld32::<_, { S + 4 }>(sock), ld32::<_, { S + 8 }>(sock), ld32::<_, { S + 12 }>(sock)];
    let destination =
        [ld32::<_, D>(sock), ld32::<_, { D + 4 }>(sock), ld32::<_, { D + 8 }>(sock), ld32::<_, { D + 12 }>(sock)];
    Ends { source, destination, ports }
}

#[inline(always)]
fn source_port_word(sock: *mut bpf_sock) -> u32 {
    ld32::<_, { offset_of!(bpf_sock, src_port) }>(sock)
}

/// Context of sock_ops.
#[derive(Clone, Copy)]
pub struct SockOps(pub *mut bpf_sock_ops);

impl SockOps {
    #[inline(always)]
    pub fn op(self) -> u32 {
        ld32::<_, { offset_of!(bpf_sock_ops, op) }>(self.0)
    }

    /// Second argument: the new state in a state callback.
    #[inline(always)]
    pub fn new_state(self) -> u32 {
        ld32::<_, { offset_of!(bpf_sock_ops, __bindgen_anon_1) + 4 }>(self.0)
    }

    #[inline(always)]
    pub fn sock(self) -> *mut bpf_sock {
        ld64::<_, { offset_of!(bpf_sock_ops, __bindgen_anon_2.sk) }>(self.0) as *mut bpf_sock
    }

    /// Bytes that the other side acknowledged.
    #[inline(always)]
    pub fn bytes_acked(self) -> u64 {
        ld64::<_, { offset_of!(bpf_sock_ops, bytes_acked) }>(self.0)
    }

    #[inline(always)]
    pub fn bytes_received(self) -> u64 {
        ld64::<_, { offset_of!(bpf_sock_ops, bytes_received) }>(self.0)
    }

    /// What the callback answers.
    #[inline(always)]
    pub fn set_reply(self, value: u32) {
        st32::<_, { offset_of!(bpf_sock_ops, __bindgen_anon_1) }>(self.0, value);
    }

    #[inline(always)]
    fn is_v4(self) -> bool {
        ld32::<_, { offset_of!(bpf_sock_ops, family) }>(self.0) == AF_INET
    }

    #[inline(always)]
    pub fn local(self) -> Addr {
        if self.is_v4() {
            return v4(ld32::<_, { offset_of!(bpf_sock_ops, local_ip4) }>(self.0));
        }
        const O: usize = offset_of!(bpf_sock_ops, local_ip6);
        [
            ld32::<_, O>(self.0),
            ld32::<_, { O + 4 }>(self.0),
            ld32::<_, { O + 8 }>(self.0),
            ld32::<_, { O + 12 }>(self.0),
        ]
    }

    #[inline(always)]
    pub fn remote(self) -> Addr {
        if self.is_v4() {
            return v4(ld32::<_, { offset_of!(bpf_sock_ops, remote_ip4) }>(self.0));
        }
        const O: usize = offset_of!(bpf_sock_ops, remote_ip6);
        [
            ld32::<_, O>(self.0),
            ld32::<_, { O + 4 }>(self.0),
            ld32::<_, { O + 8 }>(self.0),
            ld32::<_, { O + 12 }>(self.0),
        ]
    }

    #[inline(always)]
    pub fn local_port(self) -> u16 {
        ld32::<_, { offset_of!(bpf_sock_ops, local_port) }>(self.0) as u16
    }

    #[inline(always)]
    pub fn remote_port(self) -> u16 {
        u32::from_be(ld32::<_, { offset_of!(bpf_sock_ops, remote_port) }>(self.0)) as u16
    }
}

/// Context of sk_lookup.
#[derive(Clone, Copy)]
pub struct Lookup(pub *mut bpf_sk_lookup);

impl Lookup {
    #[inline(always)]
    pub fn is_v4(self) -> bool {
        ld32::<_, { offset_of!(bpf_sk_lookup, family) }>(self.0) == AF_INET
    }

    #[inline(always)]
    pub fn protocol(self) -> u8 {
        ld32::<_, { offset_of!(bpf_sk_lookup, protocol) }>(self.0) as u8
    }

    #[inline(always)]
    pub fn local(self) -> Addr {
        if self.is_v4() {
            return v4(ld32::<_, { offset_of!(bpf_sk_lookup, local_ip4) }>(self.0));
        }
        const O: usize = offset_of!(bpf_sk_lookup, local_ip6);
        [
            ld32::<_, O>(self.0),
            ld32::<_, { O + 4 }>(self.0),
            ld32::<_, { O + 8 }>(self.0),
            ld32::<_, { O + 12 }>(self.0),
        ]
    }

    #[inline(always)]
    pub fn remote(self) -> Addr {
        if self.is_v4() {
            return v4(ld32::<_, { offset_of!(bpf_sk_lookup, remote_ip4) }>(self.0));
        }
        const O: usize = offset_of!(bpf_sk_lookup, remote_ip6);
        [
            ld32::<_, O>(self.0),
            ld32::<_, { O + 4 }>(self.0),
            ld32::<_, { O + 8 }>(self.0),
            ld32::<_, { O + 12 }>(self.0),
        ]
    }

    #[inline(always)]
    pub fn local_port(self) -> u16 {
        ld32::<_, { offset_of!(bpf_sk_lookup, local_port) }>(self.0) as u16
    }

    #[inline(always)]
    pub fn remote_port(self) -> u16 {
        u16::from_be(ld16::<_, { offset_of!(bpf_sk_lookup, remote_port) }>(self.0))
    }
}
