//! A namespace that no pod is enrolled for: it may be that of a pod that is waited for.

use core::ptr;

use aya_ebpf::{
    Global,
    helpers::{bpf_get_current_pid_tgid, bpf_get_netns_cookie, bpf_ktime_get_ns},
    macros::cgroup_sock,
    programs::SockContext,
};
use redirect_abi::{Stranger, stat};

use crate::{
    connect::PROCEED,
    maps::{AWAITED, PODS, STRANGERS, TOLD_STRANGERS, count},
};

/// A namespace is told once in so many nanoseconds.
const EACH: u64 = 1_000_000_000;

/// Cookie of the namespace that the proxy runs in. The proxy sets it when it loads the programs.
#[unsafe(no_mangle)]
static PROXY_NETNS: Global<u64> = Global::new(0);

/// Whether a namespace is the node's or the proxy's own.
#[inline(always)]
fn is_node(cookie: u64) -> bool {
    // SAFETY: a helper that this kind of programs may call; without a context it gives the first namespace's.
    cookie == PROXY_NETNS.load() || cookie == unsafe { bpf_get_netns_cookie(ptr::null_mut()) }
}

#[cgroup_sock(sock_create)]
pub fn socket_made(ctx: SockContext) -> i32 {
    if AWAITED.get(0).is_some_and(|awaited| *awaited != 0) {
        tell(&ctx);
    }
    PROCEED
}

#[inline(always)]
fn tell(ctx: &SockContext) {
    // SAFETY: a helper that sock_create programs may call with their context.
    let cookie = unsafe { bpf_get_netns_cookie(ctx.sock.cast()) };
    if PODS.get_ptr(cookie).is_some() || is_node(cookie) {
        return;
    }
    // SAFETY: a helper that any program may call.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: u64 values are replaced whole.
    if unsafe { TOLD_STRANGERS.get(cookie) }.is_some_and(|told| now.wrapping_sub(*told) < EACH) {
        return;
    }
    count(stat::STRANGERS);
    let Some(mut slot) = STRANGERS.reserve_untyped::<Stranger>(0) else {
        // Its next socket tells.
        count(stat::STRANGERS_LOST);
        return;
    };
    slot.write(Stranger { cookie, pid: (bpf_get_current_pid_tgid() >> 32) as u32, pad: 0 });
    slot.submit(0);
    if TOLD_STRANGERS.insert(cookie, now, 0).is_err() {
        // Told once more at its next socket.
    }
}
