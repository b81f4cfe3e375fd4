//! ICMP of both families: by type, as if it were the port; replies with their requests, errors with what they are about.

use redirect_abi::{ALLOW, AUDIT, Addr, EGRESS_ENFORCED, FLOW_IN, FLOW_OUT, FLOW_PLAIN, FlowKey, REASON_POLICY};

use super::{Case, Judgement, entering::judged, leaving::by_policy};
use crate::{
    ctx::Packet,
    flows::{begin, is_answer, is_known},
    headers::{self, Headers, ICMP, ICMP6, Part, QUOTED, blank},
    verdict::{Verdict, is_link_local},
};

const SOLICIT_ROUTER: u16 = 133;
const SOLICIT_NEIGHBOR: u16 = 135;
const ADVERTISE_NEIGHBOR: u16 = 136;
const REDIRECT_NEIGHBOR: u16 = 137;

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Request,
    /// To a request of this type.
    Reply(u16),
    /// About a packet that is quoted in it.
    Error,
    /// About such a packet too, which must be smaller.
    TooBig,
    Other,
}

#[inline(always)]
fn role(headers: &Headers) -> Role {
    role_of(headers.protocol, headers.destination_port, headers.source_port)
}

#[inline(always)]
fn role_of(protocol: u8, kind: u16, code: u16) -> Role {
    match (protocol, kind) {
        (ICMP, 8 | 13 | 15 | 17 | 42) | (ICMP6, 128 | 139 | 160) => Role::Request,
        (ICMP, 0) => Role::Reply(8),
        (ICMP, 14 | 16 | 18) | (ICMP6, 129 | 140 | 161) => Role::Reply(kind - 1),
        (ICMP, 43) => Role::Reply(42),
        (ICMP, 3) if code == 4 => Role::TooBig,
        (ICMP6, 2) => Role::TooBig,
        (ICMP, 3 | 4 | 11 | 12) | (ICMP6, 1 | 3 | 4) => Role::Error,
        _ => Role::Other,
    }
}

/// The flow of a request, for it and for its replies.
#[inline(always)]
fn exchange(case: &Case<'_>, remote: &Addr, request: u16) -> FlowKey {
    case.flow(remote, case.headers.id, request)
}

#[inline(always)]
pub(super) fn leaving(case: &Case<'_>) -> Judgement {
    let headers = case.headers;
    let role = role(headers);
    match role {
        Role::Reply(request) if is_answer(&exchange(case, &headers.destination, request), case.pod, FLOW_IN) => {
            return Judgement::PASS;
        }
        Role::Error | Role::TooBig if case.is_from_kernel() && is_about_flow_out(case) => return Judgement::PASS,
        _ => {}
    }
    by_policy(case, REASON_POLICY, |case| role != Role::Request || begin_out(case))
}

/// A request leaves a pod whose egress is open.
#[inline(always)]
pub(super) fn remember_out(case: &Case<'_>) {
    if role(case.headers) == Role::Request {
        begin_out(case);
    }
}

#[inline(always)]
fn begin_out(case: &Case<'_>) -> bool {
    let headers = case.headers;
    begin(&exchange(case, &headers.destination, headers.destination_port), case.pod, FLOW_OUT | FLOW_PLAIN)
}

#[inline(always)]
pub(super) fn entering(case: &Case<'_>) -> Judgement {
    let headers = case.headers;
    let role = role(headers);
    let passes = match role {
        Role::Reply(request) => is_answer(&exchange(case, &headers.source, request), case.pod, FLOW_OUT),
        Role::Error | Role::TooBig => is_about_flow_in(case, role == Role::TooBig),
        Role::Request | Role::Other => false,
    };
    if passes {
        return Judgement::PASS;
    }
    let Verdict { action, rule } = judged(case);
    if action != ALLOW && action != AUDIT {
        return Judgement::deny(REASON_POLICY, rule);
    }
    let is_new = role != Role::Request
        || begin(&exchange(case, &headers.source, headers.destination_port), case.pod, FLOW_IN | FLOW_PLAIN);
    if action == AUDIT && is_new { Judgement::audit(rule) } else { Judgement::PASS }
}

/// Whether an error that leaves quotes a packet of a flow that policy allows as a whole, and goes to where the packet came
/// from. Otherwise a process could put anything into a quotation, and send it anywhere.
#[inline(always)]
fn is_about_flow_out(case: &Case<'_>) -> bool {
    let Some(quoted) = blank(QUOTED) else { return false };
    if !headers::quoted(case.packet, case.headers, quoted) || quoted.source != case.headers.destination {
        return false;
    }
    let key = quoted_flow(case, quoted, &quoted.source, quoted.source_port, quoted.destination_port);
    is_answer(&key, case.pod, FLOW_IN) || is_answer(&key, case.pod, FLOW_OUT)
}

/// Whether an error that enters quotes a packet of the pod in a flow that is known. That a packet was too big must reach the
/// pod even when the flow has been forgotten: its kernel compares with its own sockets.
#[inline(always)]
fn is_about_flow_in(case: &Case<'_>, too_big: bool) -> bool {
    let Some(quoted) = blank(QUOTED) else { return false };
    if !headers::quoted(case.packet, case.headers, quoted) || !case.is_own(&quoted.source) {
        return false;
    }
    if too_big {
        return true;
    }
    is_known(&quoted_flow(case, quoted, &quoted.destination, quoted.destination_port, quoted.source_port))
}

#[inline(always)]
fn quoted_flow(case: &Case<'_>, quoted: &Headers, remote: &Addr, remote_port: u16, local_port: u16) -> FlowKey {
    let (remote_port, local_port) = match role(quoted) {
        _ if quoted.protocol != ICMP && quoted.protocol != ICMP6 => (remote_port, local_port),
        Role::Request => (quoted.id, quoted.destination_port),
        Role::Reply(request) => (quoted.id, request),
        // Errors are not told of errors.
        Role::Error | Role::TooBig | Role::Other => (0, 0),
    };
    FlowKey { protocol: quoted.protocol, ..case.flow(remote, remote_port, local_port) }
}

/// What finds neighbours and routers, and says which groups are listened to: without it there is no IPv6. It stays on the
/// link; where it could be sent further, it says no more than the kernel's own does.
#[inline(always)]
pub(super) fn is_link_control_out(case: &Case<'_>) -> bool {
    let headers = case.headers;
    if headers.part != Part::Whole || !case.is_from_kernel() || headers.end != case.packet.len() {
        return false;
    }
    let stays = is_link_local(&headers.destination);
    match headers.destination_port {
        131 | 132 | 143 => stays && headers.hop_limit == 1,
        SOLICIT_ROUTER => stays && headers.hop_limit == 255,
        SOLICIT_NEIGHBOR if headers.hop_limit == 255 => stays || is_plain_solicitation(case.packet, headers),
        ADVERTISE_NEIGHBOR if headers.hop_limit == 255 => {
            stays || is_known(&case.flow(&headers.destination, 0, SOLICIT_NEIGHBOR))
        }
        _ => false,
    }
}

#[inline(always)]
pub(super) fn is_link_control_in(case: &Case<'_>) -> bool {
    let headers = case.headers;
    let kind = headers.destination_port;
    if headers.part != Part::Whole {
        return false;
    }
    let is_neighbor = (SOLICIT_ROUTER..=REDIRECT_NEIGHBOR).contains(&kind) && headers.hop_limit == 255;
    if is_neighbor && kind == SOLICIT_NEIGHBOR && case.pod.flags & EGRESS_ENFORCED != 0 {
        begin(&case.flow(&headers.source, 0, kind), case.pod, 0);
    }
    is_neighbor || matches!(kind, 130..=132 | 143) && headers.hop_limit == 1
}

/// Whether a neighbour is asked for by its own address, with no more said than the sender's link address.
#[inline(never)]
fn is_plain_solicitation(packet: Packet, headers: &Headers) -> bool {
    let at = headers.transport;
    if packet.words(at + 8) != Some(headers.destination) {
        return false;
    }
    if headers.end == at + 24 {
        return true;
    }
    // Kind and length in eights, then the address. In the frame's own header the source is behind the destination.
    let (Some([option, address]), Some([high, low])) = (packet.words(at + 24), packet.words(4)) else { return false };
    let (option, high) = (u32::from_be(option), u32::from_be(high));
    headers.end == at + 32 && option >> 16 == 0x0101 && option & 0xffff == high & 0xffff && address == low
}
