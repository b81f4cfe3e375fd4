//! Connections that policy allows without the proxy, for the records: when they begin and when they end. Silent unless asked.

use aya_ebpf::{
    Global,
    bindings::bpf_sock,
    helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid},
};
use redirect_abi::{ALLOW, Connection, EGRESS, HOST_ALLOWED, IDENTITY_HOST, INGRESS, INGRESS_ENFORCED, Pod, stat};

use crate::{
    connect::is_own,
    ctx::SockOps,
    event::now,
    headers::TCP,
    maps::{CONNECTIONS, OPENED, count},
    verdict::{Verdict, identity, is_loopback, verdict},
};

/// Whether connections are told: 0 = no. The proxy sets it when it loads the programs.
#[unsafe(no_mangle)]
static TELL_CONNECTIONS: Global<u32> = Global::new(0);

/// What is known of a connection while it lasts.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Opened {
    /// When its beginning was told, in nanoseconds since boot; 0: it was not.
    at: u64,
    endpoint: u32,
    identity: u32,
    rule: u32,
    pid: u32,
    command: [u8; 16],
    direction: u8,
    pad: [u8; 7],
}

/// A `connect()` is allowed; what it leads to is told by [`begins`].
#[inline(always)]
pub fn allowed(sock: *mut bpf_sock, pod: &Pod, identity: u32, rule: u32) {
    if TELL_CONNECTIONS.load() == 0 {
        return;
    }
    // Without memory for it there is no record.
    let Some(opened) = OPENED.get_or_create(sock) else { return count(stat::CONNECTIONS_LOST) };
    *opened = Opened {
        at: 0,
        endpoint: pod.endpoint,
        identity,
        rule,
        pid: (bpf_get_current_pid_tgid() >> 32) as u32,
        command: bpf_get_current_comm().unwrap_or_default(),
        direction: EGRESS,
        pad: [0; 7],
    };
}

/// A connection is about to be opened, or was accepted. Says whether its end is to be told.
#[inline(always)]
pub fn begins(ops: SockOps, sock: *mut bpf_sock, cookie: u64) -> bool {
    let Some(opened) = OPENED.get(sock) else { return false };
    opened.at = now();
    tell(ops, opened, cookie, false);
    true
}

/// A pod accepted a connection, not by way of the proxy.
#[inline(always)]
pub fn accepted(ops: SockOps, sock: *mut bpf_sock, cookie: u64, pod: &Pod) -> bool {
    if TELL_CONNECTIONS.load() == 0 || pod.flags & INGRESS_ENFORCED == 0 {
        return false;
    }
    let remote = ops.remote();
    if is_own(cookie, &remote) || is_loopback(&remote) {
        return false;
    }
    let identity = identity(&remote);
    let rule = if identity == IDENTITY_HOST && pod.flags & HOST_ALLOWED != 0 {
        0
    } else {
        let Verdict { action, rule } = verdict(pod, INGRESS, identity, TCP, ops.local_port());
        if action != ALLOW {
            return false;
        }
        rule
    };
    let Some(opened) = OPENED.get_or_create(sock) else {
        count(stat::CONNECTIONS_LOST);
        return false;
    };
    let (endpoint, pid, command) = (pod.endpoint, 0, [0; 16]);
    *opened = Opened { at: 0, endpoint, identity, rule, pid, command, direction: INGRESS, pad: [0; 7] };
    begins(ops, sock, cookie)
}

/// A socket is over. Says whether it was one of these.
#[inline(always)]
pub fn ends(ops: SockOps, sock: *mut bpf_sock, cookie: u64) -> bool {
    let Some(opened) = OPENED.get(sock) else { return false };
    if opened.at == 0 {
        return false;
    }
    tell(ops, opened, cookie, true);
    OPENED.remove(sock);
    true
}

#[inline(always)]
fn tell(ops: SockOps, opened: &Opened, cookie: u64, is_end: bool) {
    let Some(mut slot) = CONNECTIONS.reserve_untyped::<Connection>(0) else { return count(stat::CONNECTIONS_LOST) };
    slot.write(Connection {
        cookie,
        lasted: if is_end { now().wrapping_sub(opened.at) } else { 0 },
        sent: if is_end { ops.bytes_acked() } else { 0 },
        received: if is_end { ops.bytes_received() } else { 0 },
        pid: opened.pid,
        endpoint: opened.endpoint,
        identity: opened.identity,
        rule: opened.rule,
        local: ops.local(),
        remote: ops.remote(),
        local_port: ops.local_port(),
        remote_port: ops.remote_port(),
        direction: opened.direction,
        ended: u8::from(is_end),
        pad: [0; 2],
        command: opened.command,
    });
    slot.submit(0);
}
