//! Remembers and gives back the original destination and the true client.

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
        BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_SOCK_OPS_TIMEOUT_INIT, BPF_TCP_CLOSE,
    },
    helpers::{bpf_get_netns_cookie, bpf_sock_ops_cb_flags_set},
    macros::{cgroup_sock_addr, sock_ops},
    programs::{SockAddrContext, SockOpsContext},
};
use redirect_abi::{
    ACCEPTED_SOCKET, ANNOUNCED, BACKSTOP, ConnKey, EGRESS_ENFORCED, FLOW_IN, FlowKey, INGRESS_ENFORCED, LEG,
    OWN_SOCKET, Peer, Pod,
};

use crate::{
    connect::{MPTCP, PROCEED},
    connection,
    ctx::{SockAddr, SockOps, source_port},
    flows,
    headers::TCP,
    late,
    maps::{CONNS, OWN, PEERS, SEEN, pod},
    stranger,
};

const OK: u32 = 1;

#[sock_ops]
pub fn tcp_events(ctx: SockOpsContext) -> u32 {
    let ops = SockOps(ctx.ops);
    match ops.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => publish(ops),
        BPF_SOCK_OPS_TIMEOUT_INIT => {
            if let Some(ticks) = stranger::first_timeout(|| cookie(ops)) {
                ops.set_reply(ticks);
            }
        }
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => adopt(ops),
        BPF_SOCK_OPS_STATE_CB if ops.new_state() == BPF_TCP_CLOSE => forget(ops),
        _ => {}
    }
    OK
}

/// Before the SYN of a redirected connection: the local port is known now.
#[inline(always)]
fn publish(ops: SockOps) {
    let sock = ops.sock();
    if sock.is_null() {
        return;
    }
    let Some(seen) = SEEN.get(sock) else {
        if connection::begins(ops, sock, cookie(ops)) {
            watch(ops);
        }
        return;
    };
    if seen.flags & LEG != 0 {
        // Without the entry the application would be told the proxy's end: the proxy asks for this mark and gives up.
        if PEERS.insert(client_key(ops), *seen, 0).is_err() {
            return;
        }
        seen.flags |= ANNOUNCED;
    } else if CONNS.insert(client_key(ops), *seen, 0).is_err() {
        // Without the entry sk_lookup drops the SYN: refused, never passed.
        return;
    }
    watch(ops);
}

/// From now on the socket's end is told to this program.
#[inline(always)]
fn watch(ops: SockOps) {
    // SAFETY: a helper that sock_ops programs may call with their context.
    unsafe { bpf_sock_ops_cb_flags_set(ops.0, BPF_SOCK_OPS_STATE_CB_FLAG as i32) };
}

/// A pod accepted a connection, which was judged before: its packets need not be. If it is one of the proxy, tell its socket who
/// the true client is.
#[inline(always)]
fn adopt(ops: SockOps) {
    let sock = ops.sock();
    if sock.is_null() {
        return;
    }
    let cookie = cookie(ops);
    let Some(pod) = pod(cookie) else { return };
    let mut is_plain = false;
    if let Some(own) = OWN.get_or_create(sock) {
        // The proxy's listener gave its mark to the proxy's side of a connection.
        if *own != OWN_SOCKET {
            *own = if came_from_outside(ops, cookie, pod) { ACCEPTED_SOCKET } else { 0 };
            is_plain = *own == ACCEPTED_SOCKET;
        }
    }
    let key =
        ConnKey { cookie, source: ops.remote(), source_port: ops.remote_port(), port: ops.local_port(), pad: [0; 4] };
    // SAFETY: written once, before the SYN of this connection.
    let Some(client) = (unsafe { PEERS.get(key) }) else {
        if is_plain && connection::accepted(ops, sock, cookie, pod) {
            watch(ops);
        }
        return;
    };
    if let Some(seen) = SEEN.get_or_create(sock) {
        *seen = Peer { flags: 0, ..*client };
    }
    if PEERS.remove(key).is_err() {
        // Somebody else removed it: nothing is left to do.
    }
}

/// Whether a connection that a pod accepted was opened by somebody else: the backstop saw its first packet. What something in
/// the pod only made look so (by translation, or raw packets on loopback) is no server's side of anything. Without a backstop
/// nobody asks for the mark; while nothing of the pod is under enforcement nothing was seen, and it may send what it wants.
#[inline(always)]
fn came_from_outside(ops: SockOps, cookie: u64, pod: &Pod) -> bool {
    if pod.flags & BACKSTOP == 0 || pod.flags & (EGRESS_ENFORCED | INGRESS_ENFORCED) == 0 {
        return true;
    }
    let key = FlowKey {
        cookie,
        remote: ops.remote(),
        remote_port: ops.remote_port(),
        local_port: ops.local_port(),
        protocol: TCP,
        pad: [0; 3],
    };
    flows::state(&key) & FLOW_IN != 0
}

/// A socket that is watched is over.
#[inline(always)]
fn forget(ops: SockOps) {
    let sock = ops.sock();
    if !sock.is_null() && connection::ends(ops, sock, cookie(ops)) {
        return;
    }
    let is_leg = !sock.is_null() && SEEN.get(sock).is_some_and(|seen| seen.flags & LEG != 0);
    let key = client_key(ops);
    if is_leg {
        if PEERS.remove(key).is_err() {
            // Taken by the application's socket: nothing is left to do.
        }
    } else if CONNS.remove(key).is_ok() {
        late::ended(&key);
    }
}

#[inline(always)]
fn client_key(ops: SockOps) -> ConnKey {
    ConnKey {
        cookie: cookie(ops),
        source: ops.local(),
        source_port: ops.local_port(),
        port: ops.remote_port(),
        pad: [0; 4],
    }
}

#[inline(always)]
fn cookie(ops: SockOps) -> u64 {
    // SAFETY: a helper that sock_ops programs may call with their context.
    unsafe { bpf_get_netns_cookie(ops.0.cast()) }
}

#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(ctx: SockAddrContext) -> i32 {
    getpeername(SockAddr::new(ctx.sock_addr, false))
}

#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(ctx: SockAddrContext) -> i32 {
    getpeername(SockAddr::new(ctx.sock_addr, true))
}

/// Also runs inside `accept()`.
#[inline(always)]
fn getpeername(ctx: SockAddr) -> i32 {
    let sock = ctx.sock();
    if sock.is_null() {
        return PROCEED;
    }
    if let Some(seen) = SEEN.get(sock) {
        give(ctx, seen);
    } else if ctx.protocol() == MPTCP {
        // What connected is a socket below this one, and only that has a storage; both have the same addresses.
        // SAFETY: a helper that any sock_addr program may call with its context.
        let cookie = unsafe { bpf_get_netns_cookie(ctx.raw()) };
        let key =
            ConnKey { cookie, source: ctx.source(), source_port: source_port(sock), port: ctx.port(), pad: [0; 4] };
        // SAFETY: written once, before the connection is opened.
        if let Some(seen) = unsafe { CONNS.get(key) } {
            give(ctx, seen);
        }
    }
    PROCEED
}

#[inline(always)]
fn give(ctx: SockAddr, peer: &Peer) {
    ctx.set_addr(&peer.addr);
    ctx.set_port(peer.port);
}
