//! A namespace that no pod is enrolled for: it may be that of a pod that is waited for.

use core::ptr;

use aya_ebpf::{
    Global,
    helpers::{bpf_get_current_pid_tgid, bpf_get_netns_cookie, bpf_ktime_get_ns, bpf_set_retval},
    macros::{cgroup_skb, cgroup_sock},
    programs::{SkBuffContext, SockContext},
};
use redirect_abi::{EGRESS, REASON_NOT_ENROLLED, Stranger, UNENROLLED_DENY, UNENROLLED_HOLD, stat, v4};

use crate::{
    connect::{FAIL, PROCEED},
    ctx::{Packet, SockAddr, source_port},
    event::{Refused, report_call},
    maps::{AWAITED, RELEASED, STRANGERS, TOLD_STRANGERS, count, is_enrolled},
    verdict::{identity, is_loopback},
};

/// A namespace is told once in so many nanoseconds.
const EACH: u64 = 1_000_000_000;
/// The interface of a namespace to itself; it is made first.
const LOOPBACK: u32 = 1;
const ECONNREFUSED: i32 = 111;
/// Result of a program for packets: drop it as a full queue does. Whoever sent it is not told; TCP sends it again.
const CONGESTED: i32 = 2;

/// Cookie of the namespace that the proxy runs in. The proxy sets this and what follows when it loads the programs.
#[unsafe(no_mangle)]
static PROXY_NETNS: Global<u64> = Global::new(0);

/// One of `UNENROLLED_*`.
#[unsafe(no_mangle)]
static UNENROLLED: Global<u32> = Global::new(0);

/// Ticks of the kernel's clock after which a connection request that is held is sent again, for the first time.
#[unsafe(no_mangle)]
static HOLD_TICKS: Global<u32> = Global::new(0);

/// Whether a namespace is the node's or the proxy's own.
#[inline(always)]
fn is_node(cookie: u64) -> bool {
    // SAFETY: a helper that these kinds of programs may call; without a context it gives the first namespace's.
    cookie == PROXY_NETNS.load() || cookie == unsafe { bpf_get_netns_cookie(ptr::null_mut()) }
}

/// `connect()` or `sendto()` of a namespace that no pod is enrolled for.
#[inline(always)]
pub fn call(ctx: SockAddr, cookie: u64) -> i32 {
    if UNENROLLED.load() != UNENROLLED_DENY || is_node(cookie) {
        return PROCEED;
    }
    let addr = ctx.addr();
    if is_loopback(&addr) {
        return PROCEED;
    }
    count(stat::UNENROLLED);
    let refused = Refused {
        cookie,
        endpoint: 0,
        identity: identity(&addr),
        local: &v4(0),
        local_port: source_port(ctx.sock()),
        remote: &addr,
        remote_port: ctx.port(),
        protocol: ctx.protocol() as u8,
        direction: EGRESS,
        reason: REASON_NOT_ENROLLED,
        flags: 0,
        rule: 0,
    };
    report_call(&refused);
    // SAFETY: a helper that cgroup programs may call; a negative errno is what it takes.
    unsafe { bpf_set_retval(-ECONNREFUSED) };
    FAIL
}

/// Drops what leaves a namespace until a pod is enrolled for it and what it began before is judged.
#[cgroup_skb(egress)]
pub fn hold(ctx: SkBuffContext) -> i32 {
    if Packet(ctx.skb.skb).interface() == LOOPBACK {
        return PROCEED;
    }
    // SAFETY: a helper that programs for packets of a cgroup may call with their context.
    let cookie = unsafe { bpf_get_netns_cookie(ctx.skb.skb.cast()) };
    if is_node(cookie) || RELEASED.get_ptr(cookie).is_some() {
        return PROCEED;
    }
    count(stat::HELD);
    CONGESTED
}

/// When a connection request is sent again that is held; `None` is the kernel's own time.
#[inline(always)]
pub fn first_timeout(cookie: impl FnOnce() -> u64) -> Option<u32> {
    if UNENROLLED.load() != UNENROLLED_HOLD {
        return None;
    }
    let cookie = cookie();
    if is_node(cookie) || RELEASED.get_ptr(cookie).is_some() {
        return None;
    }
    Some(HOLD_TICKS.load())
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
    if is_enrolled(cookie) || is_node(cookie) {
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
