//! What leaves a pod. The order is: answers, then policy, then what a connection needs to end in order.

use aya_ebpf::helpers::generated::bpf_get_listener_sock;
use redirect_abi::{
    ALLOW, AUDIT, EGRESS, EGRESS_ENFORCED, FLOW_IN, FLOW_OUT, FLOW_PLAIN, INGRESS_ENFORCED, OWN_SOCKET,
    REASON_BACKSTOP, REASON_POLICY, REASON_UNKNOWN_ADDRESS,
};

use super::{Case, Judgement, SYN_SENT, icmp, mark};
use crate::{
    ctx::{self, kind},
    flows::{begin, goes_on, is_answer, is_known, state, want},
    headers::{ACK, ICMP, ICMP6, Part, SCTP, SYN, TCP, UDP},
    verdict::{Verdict, identity, is_link_local, verdict},
};

const SOCK_STREAM: u32 = 1;

/// `mark`: that of the socket; one that has a mark sends the first packet of its connection, or one of the last.
#[inline(always)]
pub(super) fn judge(case: &Case<'_>, mark: u32) -> Judgement {
    let headers = case.headers;
    let is_spoofed = !case.is_own(&headers.source) && !is_link_local(&headers.source);
    if mark != 0 && !is_spoofed {
        let key = case.flow_out();
        if ctx::state(case.sock) == SYN_SENT || !is_known(&key) {
            let plain = if mark == OWN_SOCKET { 0 } else { FLOW_PLAIN };
            begin(&key, case.pod, FLOW_OUT | plain);
        }
        return Judgement::PASS;
    }
    if headers.protocol == TCP && headers.part != Part::Later && headers.flags & (SYN | ACK) == SYN | ACK {
        // Also of a pod whose egress is open: what enters may have been meant for the proxy.
        return synack(case);
    }
    if case.pod.flags & EGRESS_ENFORCED == 0 {
        remember(case);
        return Judgement::PASS;
    }
    if headers.protocol == ICMP6 && icmp::is_link_control_out(case) {
        return Judgement::PASS;
    }
    if is_spoofed {
        return Judgement::drop(REASON_UNKNOWN_ADDRESS);
    }
    if headers.part == Part::Later && matches!(headers.protocol, TCP | UDP | SCTP | ICMP | ICMP6) {
        return case.judge_fragment(EGRESS);
    }
    match headers.protocol {
        TCP => tcp(case),
        ICMP | ICMP6 => icmp::leaving(case),
        UDP => other(case, REASON_BACKSTOP),
        _ => other(case, REASON_POLICY),
    }
}

/// What answers to nothing begins a flow, so that its answers may enter.
#[inline(always)]
fn remember(case: &Case<'_>) {
    let headers = case.headers;
    if headers.part == Part::Later {
        return;
    }
    if headers.protocol == ICMP || headers.protocol == ICMP6 {
        icmp::remember_out(case);
    } else if headers.protocol != TCP || headers.flags & SYN != 0 {
        let key = case.flow_out();
        if !goes_on(&key, case.pod, FLOW_IN) {
            begin(&key, case.pod, FLOW_OUT | FLOW_PLAIN);
        }
    }
}

/// Datagrams, and protocols without ports: each packet by policy, unless it is an answer. `denied`: why not, else.
#[inline(always)]
fn other(case: &Case<'_>, denied: u8) -> Judgement {
    let key = case.flow_out();
    if goes_on(&key, case.pod, FLOW_IN) {
        return Judgement::PASS;
    }
    by_policy(case, denied, |case| begin(&key, case.pod, FLOW_OUT | FLOW_PLAIN))
}

/// `allowed` remembers a packet that policy allows, and says whether it is the first of its kind.
#[inline(always)]
pub(super) fn by_policy(case: &Case<'_>, denied: u8, allowed: impl FnOnce(&Case<'_>) -> bool) -> Judgement {
    let headers = case.headers;
    let identity = identity(&headers.destination);
    let Verdict { action, rule } = verdict(case.pod, EGRESS, identity, headers.protocol, headers.destination_port);
    match action {
        ALLOW => {
            allowed(case);
            Judgement::PASS
        }
        AUDIT if allowed(case) => Judgement::audit(rule),
        AUDIT => Judgement::PASS,
        _ => Judgement::deny(denied, rule),
    }
}

/// TCP of a socket that no hook allowed.
#[inline(always)]
fn tcp(case: &Case<'_>) -> Judgement {
    let headers = case.headers;
    let key = case.flow_out();
    let is_first = headers.flags & SYN != 0;
    if !is_first && is_answer(&key, case.pod, FLOW_IN) {
        return Judgement::PASS;
    }
    let judgement = by_policy(case, REASON_BACKSTOP, |case| is_first && begin(&key, case.pod, FLOW_OUT | FLOW_PLAIN));
    if judgement.passes || is_first || !headers.is_bare || !case.is_from_kernel() {
        return judgement;
    }
    // Resets, and the last acknowledgements of a connection whose socket is gone: the other side waits for them. They say
    // nothing, and only to whom something was heard from. A stream socket's own come from the kernel whoever opened it.
    if is_known(&key) || !case.full.is_null() && kind(case.full) == SOCK_STREAM {
        return Judgement::PASS;
    }
    want(case.packet.interface(), &key);
    judgement
}

/// The kernel accepts a connection: one that policy allows, or that the proxy's own listener takes.
#[inline(always)]
fn synack(case: &Case<'_>) -> Judgement {
    let key = case.flow_out();
    let flow = state(&key);
    if flow & FLOW_IN == 0 {
        // Nothing is known of a connection's beginning: it is older than what remembers, or an invention.
        let open = case.pod.flags & EGRESS_ENFORCED == 0 && flow >> 16 & INGRESS_ENFORCED == 0;
        return if open { Judgement::PASS } else { Judgement::drop(REASON_BACKSTOP) };
    }
    if is_answer(&key, case.pod, FLOW_IN) && case.headers.is_empty {
        return Judgement::PASS;
    }
    if case.full.is_null() && !case.sock.is_null() {
        // SAFETY: the verifier knows that it is a packet's socket and not null.
        let listener = unsafe { bpf_get_listener_sock(case.sock) };
        if mark(listener) == OWN_SOCKET {
            return Judgement::PASS;
        }
    }
    Judgement::drop(REASON_BACKSTOP)
}
