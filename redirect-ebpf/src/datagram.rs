//! `sendto()` of a pod's unconnected UDP socket: allow or refuse. (A connected one was judged at connect.)

use aya_ebpf::{helpers::bpf_get_netns_cookie, macros::cgroup_sock_addr, programs::SockAddrContext};
use redirect_abi::{
    ALLOW, AUDIT, EGRESS, EGRESS_ENFORCED, INGRESS_ENFORCED, OWN_SOCKET, REASON_AUDIT, REASON_NO_REDIRECT,
    REASON_POLICY, REDIRECT, ReplyKey,
};

use crate::{
    connect::{FAIL, PROCEED, is_own, refuse, tell},
    ctx::{SockAddr, source_port},
    maps::{OWN, PODS, REPLIES},
    verdict::{identity, is_loopback, verdict},
};

pub const UDP: u8 = 17;

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
    // SAFETY: a `Pod` is replaced whole.
    let Some(pod) = (unsafe { PODS.get(cookie) }) else { return PROCEED };
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
    if pod.flags & EGRESS_ENFORCED != 0 {
        let identity = identity(&addr);
        match verdict(pod, EGRESS, identity, UDP, ctx.port()) {
            ALLOW => {}
            AUDIT => tell(ctx, cookie, pod, &addr, identity, UDP, REASON_AUDIT),
            REDIRECT => return refuse(ctx, cookie, pod, &addr, identity, UDP, REASON_NO_REDIRECT),
            _ => return refuse(ctx, cookie, pod, &addr, identity, UDP, REASON_POLICY),
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
