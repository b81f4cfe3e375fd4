//! The last word about what a pod sends and gets, at the node's end of its interfaces: nothing passes here that no policy
//! allows, whatever kind of socket it came from.
//!
//! `docs/redirect.md` has the threat model. Start at [`backstop_out`]: what is cheap and frequent is decided there.

use core::ptr::null_mut;

use aya_ebpf::{
    bindings::{
        bpf_sock,
        tcx_action_base::{TCX_DROP, TCX_NEXT},
    },
    helpers::generated::bpf_sk_fullsock,
    macros::classifier,
    programs::TcContext,
};
use redirect_abi::{
    EGRESS, EGRESS_ENFORCED, FlowKey, FragmentKey, INGRESS, INGRESS_ENFORCED, Pod, REASON_AUDIT, REASON_FRAGMENT,
    REASON_MALFORMED, REASON_NOT_IP, stat, v4,
};

use crate::{
    connect::is_own,
    ctx::{Ends, Packet, ends, family, state},
    event::{Refused, report_packet, was_told},
    flows::is_wanted,
    headers::{self, Frame, Headers, Part, TCP},
    maps::{ENDS, FRAGMENTS, OWN, count, pod},
    verdict::{identity, is_v4},
};

mod entering;
mod icmp;
mod leaving;

/// States of a connection, as TCP names them: it is open; the SYN was sent, and nothing came back yet; it is open, but the other
/// side sends nothing more.
const ESTABLISHED: u32 = 1;
const SYN_SENT: u32 = 2;
const CLOSE_WAIT: u32 = 8;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
/// Bytes that an ARP frame has at most, padded.
const ARP_FRAME: u32 = 60;

/// What is decided of a packet. No enum with fields: those that a variant lacks would be registers that nobody wrote, which
/// the verifier refuses.
#[derive(Clone, Copy)]
struct Judgement {
    passes: bool,
    /// Whether it is told.
    is_told: bool,
    /// `REASON_*`, of what is told.
    reason: u8,
    /// Number of the rule that denies it; 0: no rule allows it, or policy was not asked.
    rule: u32,
}

impl Judgement {
    const PASS: Self = Self { passes: true, is_told: false, reason: 0, rule: 0 };

    /// It passes, and is told: what denies it is only audited.
    #[inline(always)]
    fn audit(rule: u32) -> Self {
        Self { passes: true, is_told: true, reason: REASON_AUDIT, rule }
    }

    /// It is dropped, for a `REASON_*`.
    #[inline(always)]
    fn drop(reason: u8) -> Self {
        Self::deny(reason, 0)
    }

    /// It is dropped, for a `REASON_*`, because policy says so.
    #[inline(always)]
    fn deny(reason: u8, rule: u32) -> Self {
        Self { passes: false, is_told: true, reason, rule }
    }
}

/// A packet, the pod that it leaves or enters, and the socket that sent it.
struct Case<'a> {
    packet: Packet,
    headers: &'a Headers,
    cookie: u64,
    pod: &'a Pod,
    /// As the packet has it: null when it was forwarded, or made by the kernel without one.
    sock: *mut bpf_sock,
    /// The same if it is a whole socket, else null: what answers for a connection that is not accepted yet is none.
    full: *mut bpf_sock,
}

/// What leaves the pod arrives here.
#[classifier]
pub fn backstop_out(ctx: TcContext) -> i32 {
    let packet = Packet(ctx.skb.skb);
    let sock = packet.sock();
    // A connection was judged when it began; all that it sends later passes with a look at its socket and at where it goes:
    // something in the pod (netfilter, a filter of its own) may have given the packet other ends.
    let mut mark = mark(sock);
    if mark != 0 && is_settled(packet, sock) {
        return TCX_NEXT;
    }
    let full = full(sock);
    let Some((cookie, pod)) = pod_at(packet) else { return TCX_NEXT };
    let Some(headers) = headers::blank(headers::LEAVING) else { return TCX_DROP };
    let frame = headers::read(packet, headers);
    let case = Case { packet, headers, cookie, pod, sock, full };
    if mark != 0 && !case.is_of_its_socket() {
        mark = 0;
    }
    let judgement = if frame == Frame::Ip {
        leaving::judge(&case, mark)
    } else if pod.flags & EGRESS_ENFORCED == 0
        || frame == Frame::Arp && case.is_from_kernel() && packet.len() <= ARP_FRAME
    {
        Judgement::PASS
    } else {
        Judgement::drop(if frame == Frame::Malformed { REASON_MALFORMED } else { REASON_NOT_IP })
    };
    case.end(judgement, EGRESS)
}

/// What enters the pod leaves here.
#[classifier]
pub fn backstop_in(ctx: TcContext) -> i32 {
    let packet = Packet(ctx.skb.skb);
    // In the middle of a connection nothing is judged, and only now and then something is to be remembered.
    if let Some(middle) = headers::middle(packet) {
        if !is_wanted(packet.interface(), &middle.source, middle.ports) {
            return TCX_NEXT;
        }
    }
    let Some((cookie, pod)) = pod_at(packet) else { return TCX_NEXT };
    let Some(headers) = headers::blank(headers::ENTERING) else { return TCX_DROP };
    let frame = headers::read(packet, headers);
    let case = Case { packet, headers, cookie, pod, sock: null_mut(), full: null_mut() };
    let judgement = if frame == Frame::Ip {
        entering::judge(&case)
    } else if pod.flags & INGRESS_ENFORCED == 0 || frame == Frame::Arp {
        Judgement::PASS
    } else if frame == Frame::Other {
        // The node's own bridge says something now and then; the pod does not miss it.
        count(stat::BACKSTOP_DROPPED);
        return TCX_DROP;
    } else {
        Judgement::drop(REASON_MALFORMED)
    };
    case.end(judgement, INGRESS)
}

/// The pod at the other end of the packet's interface, if anything of it is under enforcement.
#[inline(always)]
fn pod_at(packet: Packet) -> Option<(u64, &'static Pod)> {
    // SAFETY: u64 values are replaced whole.
    let cookie = *(unsafe { ENDS.get(packet.interface()) }?);
    let pod = pod(cookie)?;
    (pod.flags & (EGRESS_ENFORCED | INGRESS_ENFORCED) != 0).then_some((cookie, pod))
}

#[inline(always)]
fn full(sock: *mut bpf_sock) -> *mut bpf_sock {
    if sock.is_null() {
        return null_mut();
    }
    // SAFETY: the verifier knows that it is a packet's socket and not null.
    unsafe { bpf_sk_fullsock(sock) }
}

/// What is known of a socket; 0 is nothing. One that is not whole has no storage.
#[inline(always)]
fn mark(sock: *mut bpf_sock) -> u32 {
    if sock.is_null() {
        return 0;
    }
    OWN.get(sock).map_or(0, |mark| *mark)
}

/// Whether a packet of a socket that has a mark needs nothing but to pass. At the end of a connection it must be remembered,
/// because its last packets are sent when its socket is gone; at its beginning, where errors about it may enter only then.
#[inline(always)]
fn is_settled(packet: Packet, sock: *mut bpf_sock) -> bool {
    let Some((ends, _)) = headers::segment(packet) else { return false };
    if !is_of(sock, &ends) {
        return false;
    }
    match state(sock) {
        ESTABLISHED | CLOSE_WAIT => true,
        SYN_SENT => pod_at(packet)
            .is_some_and(|(cookie, pod)| pod.flags & INGRESS_ENFORCED == 0 && is_own(cookie, &ends.source)),
        _ => false,
    }
}

/// Whether these are a socket's own ends.
#[inline(always)]
fn is_of(sock: *mut bpf_sock, packet: &Ends) -> bool {
    let socket = ends(sock, is_v4(&packet.source));
    socket.ports == packet.ports && socket.destination == packet.destination && socket.source == packet.source
}

impl Case<'_> {
    /// Whether the packet has the ends of the socket that it came from, which is there. What has no ports is not told to have.
    #[inline(always)]
    fn is_of_its_socket(&self) -> bool {
        let headers = self.headers;
        let ports = u32::from(headers.source_port) << 16 | u32::from(headers.destination_port);
        let packet = Ends { source: headers.source, destination: headers.destination, ports };
        !self.full.is_null() && headers.protocol == TCP && is_of(self.full, &packet)
    }

    /// Whether the kernel itself made the packet, or at least its headers. What a packet socket sends (or a tunnel device, or
    /// anything else that is no IP socket) is the work of a process from the first byte to the last.
    #[inline(always)]
    fn is_from_kernel(&self) -> bool {
        self.full.is_null() || matches!(family(self.full), AF_INET | AF_INET6)
    }

    /// The flow of a packet that leaves.
    #[inline(always)]
    fn flow_out(&self) -> FlowKey {
        let headers = self.headers;
        self.flow(&headers.destination, headers.destination_port, headers.source_port)
    }

    /// The flow of a packet that enters.
    #[inline(always)]
    fn flow_in(&self) -> FlowKey {
        let headers = self.headers;
        self.flow(&headers.source, headers.source_port, headers.destination_port)
    }

    #[inline(always)]
    fn flow(&self, remote: &redirect_abi::Addr, remote_port: u16, local_port: u16) -> FlowKey {
        let protocol = self.headers.protocol;
        FlowKey { cookie: self.cookie, remote: *remote, remote_port, local_port, protocol, pad: [0; 3] }
    }

    /// A later fragment passes with its first.
    #[inline(always)]
    fn judge_fragment(&self, direction: u8) -> Judgement {
        match FRAGMENTS.get_ptr(&self.fragment(direction)) {
            Some(_) => Judgement::PASS,
            None => Judgement::drop(REASON_FRAGMENT),
        }
    }

    #[inline(always)]
    fn fragment(&self, direction: u8) -> FragmentKey {
        let headers = self.headers;
        FragmentKey {
            cookie: self.cookie,
            source: headers.source,
            destination: headers.destination,
            id: headers.fragment_id,
            protocol: headers.protocol,
            direction,
            pad: [0; 2],
        }
    }

    /// Does what was decided.
    #[inline(always)]
    fn end(&self, judgement: Judgement, direction: u8) -> i32 {
        if !judgement.passes {
            count(stat::BACKSTOP_DROPPED);
        }
        if judgement.is_told {
            tell(self, direction, judgement.reason, judgement.rule);
        }
        if judgement.passes { self.pass(direction) } else { TCX_DROP }
    }

    #[inline(always)]
    fn pass(&self, direction: u8) -> i32 {
        if self.headers.part == Part::First && FRAGMENTS.insert(&self.fragment(direction), 1, 0).is_err() {
            // Without memory for it the rest is dropped.
        }
        TCX_NEXT
    }

    /// Whether an address is the pod's own.
    #[inline(always)]
    fn is_own(&self, address: &redirect_abi::Addr) -> bool {
        is_own(self.cookie, address)
    }
}

/// Writes a refusal. A frame that is not IP has no addresses.
#[inline(never)]
fn tell(case: &Case<'_>, direction: u8, reason: u8, rule: u32) {
    let Case { headers, pod, cookie, .. } = *case;
    let is_out = direction == EGRESS;
    let (local, remote) =
        if is_out { (&headers.source, &headers.destination) } else { (&headers.destination, &headers.source) };
    let (local_port, remote_port) = if is_out {
        (headers.source_port, headers.destination_port)
    } else {
        (headers.destination_port, headers.source_port)
    };
    let (own, nobody) = (v4(pod.ip4), v4(0));
    let is_ip = reason != REASON_NOT_IP;
    let refused = Refused {
        cookie,
        endpoint: pod.endpoint,
        identity: identity(remote),
        local: if is_ip { local } else { &own },
        local_port,
        remote: if is_ip { remote } else { &nobody },
        remote_port,
        protocol: headers.protocol,
        direction,
        reason,
        flags: headers.flags,
        rule,
    };
    // Of an audited call the packet comes right behind: it was told of already.
    if reason != REASON_AUDIT || !was_told(&refused) {
        report_packet(&refused);
    }
}
