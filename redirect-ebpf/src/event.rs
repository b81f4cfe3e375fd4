//! Refusals, for the records.

use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, generated::bpf_ktime_get_coarse_ns};
use redirect_abi::{Addr, EGRESS, REASON_AUDIT, Refusal, Told, ToldKey, stat};

use crate::maps::{EVENTS, TOLD, count};

/// Equal refusals of packets are told once in so many nanoseconds.
const EACH: u64 = 1_000_000_000;

/// What a hook knows of what it refused.
pub struct Refused<'a> {
    pub cookie: u64,
    pub endpoint: u32,
    pub identity: u32,
    pub local: &'a Addr,
    pub local_port: u16,
    pub remote: &'a Addr,
    pub remote_port: u16,
    pub protocol: u8,
    pub direction: u8,
    pub reason: u8,
    /// Of a TCP packet.
    pub flags: u8,
    /// Equal ones that were not told.
    pub repeats: u32,
    pub rule: u32,
}

/// Hands a refusal to the proxy; without room it is counted.
#[inline(always)]
pub fn report(refused: &Refused<'_>, with_process: bool) {
    count_one(refused);
    let Some(mut slot) = EVENTS.reserve_untyped::<Refusal>(0) else {
        count(stat::EVENTS_LOST);
        return;
    };
    let (mut pid, mut command) = (0, [0; 16]);
    if with_process {
        pid = (bpf_get_current_pid_tgid() >> 32) as u32;
        command = bpf_get_current_comm().unwrap_or_default();
    }
    // Field by field into its place: a whole one does not fit on the stack beside what the backstop has there.
    let event = slot.as_mut_ptr();
    // SAFETY: reserved for one `Refusal`, and every field is written.
    unsafe {
        (*event).cookie = refused.cookie;
        (*event).pid = pid;
        (*event).endpoint = refused.endpoint;
        (*event).identity = refused.identity;
        (*event).local = *refused.local;
        (*event).remote = *refused.remote;
        (*event).local_port = refused.local_port;
        (*event).remote_port = refused.remote_port;
        (*event).protocol = refused.protocol;
        (*event).direction = refused.direction;
        (*event).reason = refused.reason;
        (*event).flags = refused.flags;
        (*event).command = command;
        (*event).repeats = refused.repeats;
        (*event).rule = refused.rule;
        (*event).tail = [0; 4];
    }
    slot.submit(0);
}

/// Counts one, told or not.
#[inline(always)]
pub fn count_one(refused: &Refused<'_>) {
    count(if refused.reason == REASON_AUDIT { stat::AUDITED } else { stat::REFUSED });
}

/// Whether to tell of a packet, and how many equal ones were not told before it. Each packet is counted.
#[inline(always)]
pub fn may_tell(refused: &Refused<'_>) -> Option<u32> {
    let key = told_key(refused);
    let now = now();
    if let Some(told) = TOLD.get_ptr_mut(&key) {
        // SAFETY: a value of this map. Two processors may count one at the same time: `STATS` is exact, this is not.
        let told = unsafe { &mut *told };
        if now.wrapping_sub(told.at) < EACH {
            told.repeats = told.repeats.wrapping_add(1);
            count(stat::REPEATS);
            return None;
        }
        let repeats = told.repeats;
        *told = Told { at: now, repeats: 0, pad: 0 };
        return Some(repeats);
    }
    remember(&key, now);
    Some(0)
}

/// A hook told of a call: the packet of an audited one, which comes right behind, need not be told too.
#[inline(always)]
pub fn told(refused: &Refused<'_>) {
    remember(&told_key(refused), now());
}

#[inline(always)]
fn remember(key: &ToldKey, at: u64) {
    if TOLD.insert(key, Told { at, repeats: 0, pad: 0 }, 0).is_err() {
        // Without memory for it the next one is told as well.
    }
}

#[inline(always)]
fn told_key(refused: &Refused<'_>) -> ToldKey {
    let port = if refused.direction == EGRESS { refused.remote_port } else { refused.local_port };
    ToldKey {
        cookie: refused.cookie,
        remote: *refused.remote,
        port,
        protocol: refused.protocol,
        direction: refused.direction,
        pad: [0; 4],
    }
}

/// Nanoseconds since boot, as exact as the last tick: cheaper, and nothing here needs more.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: a helper that any program may call.
    unsafe { bpf_ktime_get_coarse_ns() }
}
