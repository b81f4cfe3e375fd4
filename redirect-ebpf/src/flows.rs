//! What was let out of or into a pod lately, so that its answers pass as well.
//!
//! An entry belongs to the direction that policy allowed first; what goes the other way are answers. When anything has changed
//! since, what began the flow is judged anew before an answer passes.

use redirect_abi::{
    ALLOW, AUDIT, Addr, EGRESS, EGRESS_ENFORCED, FLOW_IN, FLOW_OUT, FLOW_PLAIN, Flow, FlowKey, HOST_ALLOWED,
    IDENTITY_HOST, INGRESS, INGRESS_ENFORCED, Pod,
};

use crate::{
    event::now,
    headers::{ICMP, ICMP6, TCP},
    maps::{FLOWS, GENERATION, WANTED},
    verdict::{identity, verdict},
};

/// How long an answer may take, in nanoseconds, but for TCP, which says itself when it ends.
const ANSWER_TIME: u64 = 120_000_000_000;

/// Flags of a pod that change what its flows may do.
const ENFORCEMENT: u32 = EGRESS_ENFORCED | INGRESS_ENFORCED;

/// Policy allowed a packet that may begin a flow: remembers it. Says whether it was unknown.
#[inline(always)]
pub fn begin(key: &FlowKey, pod: &Pod, state: u32) -> bool {
    let flow = Flow { seen: now(), generation: generation(), state: state | (pod.flags & ENFORCEMENT) << 16 };
    if let Some(known) = FLOWS.get_ptr_mut(key) {
        // SAFETY: a value of this map; the fields are read one by one and any mixture of two is judged anew.
        let known = unsafe { &mut *known };
        if known.state == flow.state && known.generation == flow.generation {
            known.seen = flow.seen;
            return false;
        }
        *known = flow;
        return true;
    }
    if FLOWS.insert(key, flow, 0).is_err() {
        // Without memory for it its answers are refused.
    }
    true
}

/// Whether a packet goes on with a flow: policy as it is now allowed one like it before, or it is an answer. `began`: as for
/// [`is_answer`].
#[inline(always)]
pub fn goes_on(key: &FlowKey, pod: &Pod, began: u32) -> bool {
    let Some(flow) = FLOWS.get_ptr_mut(key) else { return false };
    // SAFETY: as in `begin`.
    let flow = unsafe { &mut *flow };
    let own = (FLOW_IN | FLOW_OUT) ^ began | FLOW_PLAIN;
    if flow.state & own == own && flow.generation == generation() && flow.state >> 16 == pod.flags & ENFORCEMENT {
        flow.seen = now();
        return true;
    }
    answers(flow, key, pod, began)
}

/// Whether a packet is an answer in a flow that the other side (`FLOW_OUT`: the pod, `FLOW_IN`: the remote) began and that
/// is still allowed.
#[inline(always)]
pub fn is_answer(key: &FlowKey, pod: &Pod, began: u32) -> bool {
    let Some(flow) = FLOWS.get_ptr_mut(key) else { return false };
    // SAFETY: as in `begin`.
    answers(unsafe { &mut *flow }, key, pod, began)
}

#[inline(always)]
fn answers(flow: &mut Flow, key: &FlowKey, pod: &Pod, began: u32) -> bool {
    if flow.state & (began | FLOW_PLAIN) != began | FLOW_PLAIN {
        return false;
    }
    if key.protocol != TCP && now().wrapping_sub(flow.seen) > ANSWER_TIME {
        return false;
    }
    // Before it is judged: a change in between has it judged once more.
    let (generation, enforcement) = (generation(), pod.flags & ENFORCEMENT);
    if flow.generation == generation && flow.state >> 16 == enforcement {
        return true;
    }
    if !is_allowed(key, pod, began) {
        return false;
    }
    flow.generation = generation;
    flow.state = began | FLOW_PLAIN | enforcement << 16;
    true
}

#[inline(always)]
fn generation() -> u32 {
    GENERATION.get(0).copied().unwrap_or(0)
}

/// What policy says today of what began a flow.
#[inline(never)]
fn is_allowed(key: &FlowKey, pod: &Pod, began: u32) -> bool {
    let identity = identity(&key.remote);
    // Of ICMP the type of the request is kept as the pod's port, in both directions.
    let is_icmp = key.protocol == ICMP || key.protocol == ICMP6;
    let action = if began == FLOW_IN {
        if pod.flags & INGRESS_ENFORCED == 0 || identity == IDENTITY_HOST && pod.flags & HOST_ALLOWED != 0 {
            return true;
        }
        verdict(pod, INGRESS, identity, key.protocol, key.local_port).action
    } else {
        if pod.flags & EGRESS_ENFORCED == 0 {
            return true;
        }
        let port = if is_icmp { key.local_port } else { key.remote_port };
        verdict(pod, EGRESS, identity, key.protocol, port).action
    };
    action == ALLOW || action == AUDIT
}

/// Whether anything is known of a flow, whoever began it and whatever became of it.
#[inline(always)]
pub fn is_known(key: &FlowKey) -> bool {
    FLOWS.get_ptr(key).is_some()
}

/// The state of a flow that began outside, 0 when there is none.
#[inline(always)]
pub fn state(key: &FlowKey) -> u32 {
    // SAFETY: one word is read.
    FLOWS.get_ptr(key).map_or(0, |flow| unsafe { (*flow).state })
}

/// Remembers that nothing was known of a flow for which a pod wanted to send, by way of this interface of the node.
#[inline(always)]
pub fn want(interface: u32, key: &FlowKey) {
    let sum = sum(interface, &key.remote, u32::from(key.remote_port) << 16 | u32::from(key.local_port));
    if let Some(slot) = WANTED.get_ptr_mut(sum & 1023) {
        // SAFETY: one word is written.
        unsafe { *slot = sum };
    }
}

/// Whether a pod wanted to send in this flow, or in one of the same sum, and was not let. `ports`: the remote's in the upper
/// half.
#[inline(always)]
pub fn is_wanted(interface: u32, remote: &Addr, ports: u32) -> bool {
    let sum = sum(interface, remote, ports);
    WANTED.get(sum & 1023).is_some_and(|slot| *slot == sum)
}

/// Of somebody's flow, to find it again by. Never 0, which is an empty slot.
#[inline(always)]
pub fn sum(whose: u32, remote: &Addr, ports: u32) -> u32 {
    let mut sum = whose ^ ports.wrapping_mul(0x9e37_79b1);
    sum = (sum ^ remote[0] ^ remote[1]).wrapping_mul(0x85eb_ca6b);
    sum = (sum ^ sum >> 15 ^ remote[2] ^ remote[3]).wrapping_mul(0xc2b2_ae35);
    (sum ^ sum >> 13) | 1 << 31
}
