//! A first packet for a pod: pass, drop, or hand to the pod's proxy listener. Runs in the pod's namespace.

use aya_ebpf::{macros::sk_lookup, programs::SkLookupContext};
use redirect_abi::{
    ALLOW, AUDIT, Addr, BACKSTOP, ConnKey, EGRESS, EGRESS_ENFORCED, EGRESS_PORTS, FLOW_IN, FLOW_PLAIN, FlowKey,
    HOST_ALLOWED, IDENTITY_HOST, INGRESS, INGRESS_ENFORCED, LISTENER_EGRESS, LISTENER_V6, Pod, REASON_AUDIT,
    REASON_NO_PROXY, REASON_NO_REDIRECT, REASON_NOT_REDIRECTED, REASON_POLICY, REASON_UNKNOWN_ADDRESS, REDIRECT,
    ReplyKey, stat,
};

use crate::{
    connect::is_own,
    ctx::Lookup,
    event::{Refused, report_packet},
    flows,
    headers::{TCP, UDP},
    late::is_late,
    maps::{ADDRESSES, CONNS, LISTENERS, REPLIES, count, pod},
    verdict::{Verdict, identity, is_loopback, own_address, verdict},
};

const SK_DROP: u32 = 0;
const SK_PASS: u32 = 1;

#[sk_lookup]
pub fn lookup(ctx: SkLookupContext) -> u32 {
    let packet = Lookup(ctx.lookup);
    let local = packet.local();
    if is_loopback(&local) {
        return SK_PASS;
    }
    // SAFETY: u64 values are replaced whole.
    let Some(&cookie) = (unsafe { ADDRESSES.get(local) }) else {
        return refuse(packet, 0, 0, 0, REASON_UNKNOWN_ADDRESS, 0);
    };
    // Without one the pod is being enrolled or removed: not judged.
    let Some(pod) = pod(cookie) else { return SK_PASS };
    let remote = packet.remote();
    let port = packet.local_port();
    if packet.protocol() == TCP
        && local == own_address(pod, &local)
        && port.wrapping_sub(pod.egress_port) < EGRESS_PORTS
    {
        return egress(&ctx, packet, cookie, pod, &remote);
    }
    // From itself, also from another of its addresses. From outside the kernel drops loopback sources, and a pod's own ones
    // over IPv4; over IPv6 a forged one completes no handshake, and a datagram is judged by the backstop alone.
    if is_own(cookie, &remote) || is_loopback(&remote) {
        return SK_PASS;
    }
    if pod.flags & INGRESS_ENFORCED == 0 {
        return pass(packet, cookie, pod, &remote);
    }
    ingress(&ctx, packet, cookie, pod, &remote)
}

/// A connection that the connect hook sent here, and only such a one, goes to the egress listener. What comes of one that is
/// over finds no socket any more, and gets here too.
#[inline(always)]
fn egress(ctx: &SkLookupContext, packet: Lookup, cookie: u64, pod: &Pod, remote: &Addr) -> u32 {
    let key =
        ConnKey { cookie, source: *remote, source_port: packet.remote_port(), port: packet.local_port(), pad: [0; 4] };
    if CONNS.get_ptr(key).is_none() {
        if is_late(&key) {
            count(stat::LATE);
            return SK_DROP;
        }
        return refuse(packet, cookie, pod.endpoint, 0, REASON_NOT_REDIRECTED, 0);
    }
    match LISTENERS.redirect_sk_lookup(ctx, cookie | LISTENER_EGRESS | family(packet), 0) {
        Ok(()) => SK_PASS,
        Err(_) => refuse(packet, cookie, pod.endpoint, 0, REASON_NO_PROXY, 0),
    }
}

#[inline(always)]
fn ingress(ctx: &SkLookupContext, packet: Lookup, cookie: u64, pod: &Pod, remote: &Addr) -> u32 {
    let protocol = packet.protocol();
    if protocol == UDP {
        let key = ReplyKey {
            cookie,
            remote: *remote,
            remote_port: packet.remote_port(),
            local_port: packet.local_port(),
            pad: [0; 4],
        };
        if REPLIES.get_ptr(key).is_some() {
            return SK_PASS;
        }
    }
    let identity = identity(remote);
    if identity == IDENTITY_HOST && pod.flags & HOST_ALLOWED != 0 {
        return pass(packet, cookie, pod, remote);
    }
    let Verdict { action, rule } = verdict(pod, INGRESS, identity, protocol, packet.local_port());
    match action {
        ALLOW => pass(packet, cookie, pod, remote),
        AUDIT => {
            refuse(packet, cookie, pod.endpoint, identity, REASON_AUDIT, rule);
            pass(packet, cookie, pod, remote)
        }
        REDIRECT if protocol == TCP => match LISTENERS.redirect_sk_lookup(ctx, cookie | family(packet), 0) {
            Ok(()) => SK_PASS,
            Err(_) => refuse(packet, cookie, pod.endpoint, identity, REASON_NO_PROXY, rule),
        },
        REDIRECT => refuse(packet, cookie, pod.endpoint, identity, REASON_NO_REDIRECT, rule),
        _ => refuse(packet, cookie, pod.endpoint, identity, REASON_POLICY, rule),
    }
}

/// The answer to a datagram that may enter may leave. With a backstop it is that which sees what really came from outside.
#[inline(always)]
fn pass(packet: Lookup, cookie: u64, pod: &Pod, remote: &Addr) -> u32 {
    if packet.protocol() == UDP && pod.flags & (EGRESS_ENFORCED | BACKSTOP) == EGRESS_ENFORCED {
        let key = FlowKey {
            cookie,
            remote: *remote,
            remote_port: packet.remote_port(),
            local_port: packet.local_port(),
            protocol: UDP,
            pad: [0; 3],
        };
        flows::begin(&key, pod, FLOW_IN | FLOW_PLAIN);
    }
    SK_PASS
}

/// Which of the pod's listeners takes packets like this one.
#[inline(always)]
fn family(packet: Lookup) -> u64 {
    if packet.is_v4() { 0 } else { LISTENER_V6 }
}

/// The kernel answers with RST or port unreachable: the client sees "connection refused".
#[inline(always)]
fn refuse(packet: Lookup, cookie: u64, endpoint: u32, identity: u32, reason: u8, rule: u32) -> u32 {
    // What came by way of an egress port is the pod's own outgoing connection.
    let outgoing = reason == REASON_NOT_REDIRECTED;
    let refused = Refused {
        cookie,
        endpoint,
        identity,
        local: &packet.local(),
        local_port: packet.local_port(),
        remote: &packet.remote(),
        remote_port: packet.remote_port(),
        protocol: packet.protocol(),
        direction: if outgoing { EGRESS } else { INGRESS },
        reason,
        flags: 0,
        rule,
    };
    report_packet(&refused);
    SK_DROP
}
