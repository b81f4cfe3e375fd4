//! What enters a pod. TCP and UDP for its own addresses are also judged where their sockets are looked up, which refuses a
//! connection so that the other side notices; what no such lookup sees is judged here alone.

use redirect_abi::{
    ALLOW, AUDIT, DENY, EGRESS_ENFORCED, FLOW_IN, FLOW_OUT, FLOW_PLAIN, HOST_ALLOWED, IDENTITY_HOST, INGRESS,
    INGRESS_ENFORCED, REASON_NO_REDIRECT, REASON_POLICY, REDIRECT,
};

use super::{Case, Judgement, icmp};
use crate::{
    flows::{begin, goes_on, is_known, is_wanted},
    headers::{ACK, ICMP, ICMP6, Part, SCTP, SYN, TCP, UDP},
    verdict::{Verdict, identity, verdict},
};

#[inline(always)]
pub(super) fn judge(case: &Case<'_>) -> Judgement {
    let headers = case.headers;
    let is_enforced = case.pod.flags & INGRESS_ENFORCED != 0;
    if headers.part == Part::Later && matches!(headers.protocol, TCP | UDP | SCTP | ICMP | ICMP6) {
        return if is_enforced { case.judge_fragment(INGRESS) } else { Judgement::PASS };
    }
    match headers.protocol {
        TCP if headers.flags & (SYN | ACK) == SYN => connection(case),
        TCP => {
            // A connection of which nothing is known any more; the pod is to be able to say so.
            let key = case.flow_in();
            if answer_is_wanted(case) && !is_known(&key) {
                begin(&key, case.pod, FLOW_IN);
            }
            Judgement::PASS
        }
        ICMP6 if icmp::is_link_control_in(case) => Judgement::PASS,
        ICMP | ICMP6 => icmp::entering(case),
        _ => other(case),
    }
}

#[inline(always)]
fn answer_is_wanted(case: &Case<'_>) -> bool {
    let headers = case.headers;
    let ports = u32::from(headers.source_port) << 16 | u32::from(headers.destination_port);
    case.pod.flags & EGRESS_ENFORCED != 0 && is_wanted(case.packet.interface(), &headers.source, ports)
}

/// What policy says of a packet that enters.
#[inline(always)]
pub(super) fn judged(case: &Case<'_>) -> Verdict {
    let headers = case.headers;
    if case.pod.flags & INGRESS_ENFORCED == 0 {
        return Verdict { action: ALLOW, rule: 0 };
    }
    let identity = identity(&headers.source);
    if identity == IDENTITY_HOST && case.pod.flags & HOST_ALLOWED != 0 {
        return Verdict { action: ALLOW, rule: 0 };
    }
    verdict(case.pod, INGRESS, identity, headers.protocol, headers.destination_port)
}

/// A connection begins. What is denied is refused by the lookup of its socket; here it is only remembered, so that the refusal
/// may leave. Where no such lookup will be, it is dropped: for an address that is not the pod's own, or with data.
#[inline(always)]
fn connection(case: &Case<'_>) -> Judgement {
    let headers = case.headers;
    let is_own = case.is_own(&headers.destination);
    let Verdict { action, rule } = judged(case);
    let (state, judgement) = match action {
        ALLOW | AUDIT => (FLOW_IN | FLOW_PLAIN, Judgement::PASS),
        REDIRECT if is_own => (FLOW_IN, Judgement::PASS),
        REDIRECT => (0, Judgement::drop(REASON_NO_REDIRECT)),
        _ if is_own && headers.is_empty => (0, Judgement::PASS),
        _ => (0, Judgement::deny(REASON_POLICY, rule)),
    };
    begin(&case.flow_in(), case.pod, state);
    judgement
}

/// Datagrams, and protocols without ports.
#[inline(always)]
fn other(case: &Case<'_>) -> Judgement {
    let key = case.flow_in();
    if goes_on(&key, case.pod, FLOW_OUT) {
        return Judgement::PASS;
    }
    let is_looked_up = case.headers.protocol == UDP;
    let Verdict { action, rule } = judged(case);
    match action {
        ALLOW | AUDIT => {
            let is_new = begin(&key, case.pod, FLOW_IN | FLOW_PLAIN);
            if action == AUDIT && is_new && !is_looked_up { Judgement::audit(rule) } else { Judgement::PASS }
        }
        REDIRECT => Judgement::drop(REASON_NO_REDIRECT),
        DENY | _ => Judgement::deny(REASON_POLICY, rule),
    }
}
