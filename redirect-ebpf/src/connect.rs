//! `connect()` of a pod: allow, refuse, or send to the pod's proxy listener.

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::{bpf_get_netns_cookie, bpf_get_prandom_u32, bpf_set_retval},
    macros::cgroup_sock_addr,
    programs::SockAddrContext,
};
use redirect_abi::{
    ALLOW, ALLOWED_SOCKET, AUDIT, Addr, ConnKey, DENY, EGRESS, EGRESS_ENFORCED, EGRESS_PORTS, OWN_SOCKET, Peer, Pod,
    REASON_AUDIT, REASON_NO_REDIRECT, REASON_NOT_REDIRECTED, REASON_POLICY, REDIRECT, SOURCE_BOUND, stat,
};

use crate::{
    connection,
    ctx::{SockAddr, is_bound, source_port},
    datagram,
    event::{Refused, report_call},
    headers::TCP,
    maps::{ADDRESSES, CONNS, OWN, SEEN, count, pod},
    stranger,
    verdict::{Verdict, identity, is_link_local, is_loopback, own_address, verdict},
};

/// Result of a hook: go on.
pub const PROCEED: i32 = 1;
/// Result of a hook: fail with the errno set before.
pub const FAIL: i32 = 0;

pub const MPTCP: u32 = 262;

#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    connect(SockAddr::new(ctx.sock_addr, false))
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    connect(SockAddr::new(ctx.sock_addr, true))
}

#[inline(always)]
fn connect(ctx: SockAddr) -> i32 {
    // SAFETY: a helper that any sock_addr program may call with its context.
    let cookie = unsafe { bpf_get_netns_cookie(ctx.raw()) };
    let Some(pod) = pod(cookie) else { return stranger::call(ctx, cookie) };
    let sock = ctx.sock();
    if sock.is_null() {
        return FAIL;
    }
    if let Some(own) = OWN.get(sock) {
        if *own == OWN_SOCKET {
            return PROCEED;
        }
        // What an earlier connect() of the same socket was allowed says nothing of this one.
        *own = 0;
    }
    let addr = ctx.addr();
    let port = ctx.port();
    let protocol = if ctx.protocol() == MPTCP { TCP } else { ctx.protocol() as u8 };
    let is_own = is_own(cookie, &addr);
    if protocol == TCP && is_own && port.wrapping_sub(pod.egress_port) < EGRESS_PORTS {
        return refuse(ctx, cookie, pod, &addr, 0, protocol, REASON_NOT_REDIRECTED, 0);
    }
    if is_own || is_loopback(&addr) || pod.flags & EGRESS_ENFORCED == 0 {
        SEEN.remove(sock);
        return PROCEED;
    }
    let identity = identity(&addr);
    if datagram::need_not_be_asked(sock, cookie, pod, identity, &addr, port, protocol) {
        return PROCEED;
    }
    let port = datagram::port(protocol, port);
    let Verdict { action, rule } = verdict(pod, EGRESS, identity, protocol, port);
    match action {
        ALLOW => {
            if protocol == TCP {
                connection::allowed(sock, pod, identity, rule);
            }
            allow(sock, protocol)
        }
        AUDIT => {
            tell(ctx, cookie, pod, &addr, identity, protocol, REASON_AUDIT, rule);
            allow(sock, protocol)
        }
        REDIRECT if protocol == TCP && can_redirect(pod, &addr) => redirect(ctx, cookie, pod, addr, port),
        REDIRECT => refuse(ctx, cookie, pod, &addr, identity, protocol, REASON_NO_REDIRECT, rule),
        DENY | _ => refuse(ctx, cookie, pod, &addr, identity, protocol, REASON_POLICY, rule),
    }
}

/// The connection's packets need not be judged again.
#[inline(always)]
fn allow(sock: *mut bpf_sock, protocol: u8) -> i32 {
    // The socket may have been redirected by an earlier connect(); its peer is the real one now.
    SEEN.remove(sock);
    if protocol == TCP {
        if let Some(own) = OWN.get_or_create(sock) {
            *own = ALLOWED_SOCKET;
        }
    }
    PROCEED
}

#[inline(always)]
fn can_redirect(pod: &Pod, addr: &Addr) -> bool {
    own_address(pod, addr) != [0; 4] && !is_link_local(addr)
}

/// Sends the connection to one of the pod's egress ports and remembers where it wanted to go.
#[inline(always)]
fn redirect(ctx: SockAddr, cookie: u64, pod: &Pod, addr: Addr, port: u16) -> i32 {
    let Some(seen) = SEEN.get_or_create(ctx.sock()) else { return FAIL };
    let flags = if is_bound(ctx.sock()) { SOURCE_BOUND } else { 0 };
    *seen = Peer { addr, port, flags, pad: 0 };
    let own = own_address(pod, &addr);
    ctx.set_port(egress_port(ctx, cookie, pod, own));
    ctx.set_addr(&own);
    count(stat::REDIRECTED);
    PROCEED
}

/// One of the pod's egress ports, at random: chosen by destination, two busy ones could share one and its local ports.
#[inline(always)]
fn egress_port(ctx: SockAddr, cookie: u64, pod: &Pod, own: Addr) -> u16 {
    // SAFETY: a helper that takes nothing.
    let first = unsafe { bpf_get_prandom_u32() } as u16;
    let nth = |n: u16| pod.egress_port.wrapping_add(first.wrapping_add(n) % EGRESS_PORTS);
    let source_port = source_port(ctx.sock());
    if source_port != 0 {
        // The application may have bound others to this port, for other destinations: here they must differ too.
        let source = if is_bound(ctx.sock()) { ctx.source() } else { own };
        for n in 0..EGRESS_PORTS {
            let port = nth(n);
            let key = ConnKey { cookie, source, source_port, port, pad: [0; 4] };
            if port != source_port && CONNS.get_ptr(key).is_none() {
                return port;
            }
        }
    }
    nth(0)
}

/// Whether an address belongs to the pod itself; its traffic to itself is never judged.
#[inline(always)]
pub fn is_own(cookie: u64, addr: &Addr) -> bool {
    // SAFETY: u64 values are replaced whole.
    unsafe { ADDRESSES.get(addr) }.is_some_and(|owner| *owner == cookie)
}

/// Fails the call with the pod's errno and reports it.
#[inline(always)]
pub fn refuse(
    ctx: SockAddr,
    cookie: u64,
    pod: &Pod,
    addr: &Addr,
    identity: u32,
    protocol: u8,
    reason: u8,
    rule: u32,
) -> i32 {
    tell(ctx, cookie, pod, addr, identity, protocol, reason, rule);
    // SAFETY: a helper that cgroup programs may call; a negative errno is what it takes.
    unsafe { bpf_set_retval(-(pod.errno as i32)) };
    FAIL
}

/// Reports a call that is refused, or would be.
#[inline(always)]
pub fn tell(ctx: SockAddr, cookie: u64, pod: &Pod, addr: &Addr, identity: u32, protocol: u8, reason: u8, rule: u32) {
    let refused = Refused {
        cookie,
        endpoint: pod.endpoint,
        identity,
        local: &own_address(pod, addr),
        local_port: source_port(ctx.sock()),
        remote: addr,
        remote_port: datagram::port(protocol, ctx.port()),
        protocol,
        direction: EGRESS,
        reason,
        flags: 0,
        rule,
    };
    report_call(&refused);
}
