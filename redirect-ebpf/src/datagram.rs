//! `sendto()` of a pod's unconnected UDP socket: allow or refuse. (A connected one was judged at connect.)

use aya_ebpf::{
    bindings::bpf_sock, helpers::bpf_get_netns_cookie, macros::cgroup_sock_addr, programs::SockAddrContext,
};
use redirect_abi::{
    ALLOW, AUDIT, Addr, BACKSTOP, EGRESS, EGRESS_ENFORCED, FLOW_IN, FlowKey, INGRESS_ENFORCED, OWN_SOCKET, Pod,
    REASON_AUDIT, REASON_NO_REDIRECT, REASON_POLICY, REDIRECT, ReplyKey,
};

use crate::{
    connect::{FAIL, PROCEED, is_own, refuse, tell},
    ctx::{SockAddr, source_port},
    flows,
    headers::{ICMP, ICMP6, UDP},
    maps::{OWN, REPLIES, pod},
    stranger,
    verdict::{Verdict, identity, is_loopback, verdict},
};

/// What a ping socket may send beside an echo request.
const EXTENDED_ECHO: u16 = 42;
const EXTENDED_ECHO6: u16 = 160;
const ECHO: u16 = 8;
const ECHO6: u16 = 128;

#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    sendmsg(SockAddr::new(ctx.sock_addr, false))
}

#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    sendmsg(SockAddr::new(ctx.sock_addr, true))
}

#[inline(always)]
fn sendmsg(ctx: SockAddr) -> i32 {
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
    }
    let addr = ctx.addr();
    if is_loopback(&addr) || is_own(cookie, &addr) {
        return PROCEED;
    }
    if is_answer(sock, cookie, pod, &addr, ctx.port()) {
        return PROCEED;
    }
    if pod.flags & EGRESS_ENFORCED != 0 {
        let identity = identity(&addr);
        let Verdict { action, rule } = verdict(pod, EGRESS, identity, UDP, ctx.port());
        match action {
            ALLOW => {}
            AUDIT => tell(ctx, cookie, pod, &addr, identity, UDP, REASON_AUDIT, rule),
            REDIRECT => return refuse(ctx, cookie, pod, &addr, identity, UDP, REASON_NO_REDIRECT, rule),
            _ => return refuse(ctx, cookie, pod, &addr, identity, UDP, REASON_POLICY, rule),
        }
    }
    if pod.flags & INGRESS_ENFORCED != 0 {
        // The answer to what may leave may enter. Full is no error: the oldest gives way.
        let key =
            ReplyKey { cookie, remote: addr, remote_port: ctx.port(), local_port: source_port(sock), pad: [0; 4] };
        if REPLIES.insert(key, 1, 0).is_err() {
            return FAIL;
        }
    }
    PROCEED
}

/// Whether a datagram from this socket to there answers one that was let in.
#[inline(always)]
fn is_answer(sock: *mut bpf_sock, cookie: u64, pod: &Pod, addr: &Addr, port: u16) -> bool {
    let key =
        FlowKey { cookie, remote: *addr, remote_port: port, local_port: source_port(sock), protocol: UDP, pad: [0; 3] };
    flows::is_answer(&key, pod, FLOW_IN)
}

/// Whether a `connect()` passes because it sends nothing, and what is sent is judged elsewhere or answers what was let in.
///
/// Ports 0 and 9 are the resolvers' (getaddrinfo, Go) when they ask which source address a destination would get, 1025 is
/// that of ping; a refusal there would change what they do next. Of a ping socket the message's type is not known yet.
#[inline(always)]
pub fn need_not_be_asked(
    sock: *mut bpf_sock,
    cookie: u64,
    pod: &Pod,
    identity: u32,
    addr: &Addr,
    port: u16,
    protocol: u8,
) -> bool {
    if protocol == UDP && is_answer(sock, cookie, pod, addr, port) {
        return true;
    }
    // Without the backstop nobody judges later.
    if pod.flags & BACKSTOP == 0 {
        return false;
    }
    match protocol {
        UDP => matches!(port, 0 | 9 | 1025),
        ICMP => verdict(pod, EGRESS, identity, ICMP, EXTENDED_ECHO).action == ALLOW,
        ICMP6 => verdict(pod, EGRESS, identity, ICMP6, EXTENDED_ECHO6).action == ALLOW,
        _ => false,
    }
}

/// Of a ping socket the type of what it is for stands for the port.
#[inline(always)]
pub fn port(protocol: u8, port: u16) -> u16 {
    match protocol {
        ICMP => ECHO,
        ICMP6 => ECHO6,
        _ => port,
    }
}
