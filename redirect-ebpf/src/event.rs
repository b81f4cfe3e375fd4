//! Refusals, for the records.

use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, generated::bpf_ktime_get_coarse_ns};
use redirect_abi::{Addr, EGRESS, REASON_AUDIT, Refusal, Told, ToldKey, stat};

use crate::maps::{EVENTS, TOLD, add_one, count};

/// Of equal refusals few are handed over in so many nanoseconds.
const EACH: u64 = 1_000_000_000;
/// So many where a process asks: it may ask again, for a reason that its command tells.
const CALLS: u32 = 8;
/// So many where a packet came: it is sent again by itself.
const PACKETS: u32 = 1;
/// `BPF_NOEXIST` of linux/bpf.h.
const NO_EXIST: u64 = 1;

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
    pub rule: u32,
}

/// Hands a refusal of a call to the proxy, with the process that asks.
#[inline(always)]
pub fn report_call(refused: &Refused<'_>) {
    let process =
        Process { pid: (bpf_get_current_pid_tgid() >> 32) as u32, command: bpf_get_current_comm().unwrap_or_default() };
    report(refused, Some(&process), CALLS);
}

/// Hands a refusal of a packet, or of what was found for one, to the proxy.
#[inline(always)]
pub fn report_packet(refused: &Refused<'_>) {
    report(refused, None, PACKETS);
}

struct Process {
    pid: u32,
    command: [u8; 16],
}

/// Each is counted by `STATS`, and either handed over or counted by `TOLD`, so that the records come to the same sum.
#[inline(always)]
fn report(refused: &Refused<'_>, process: Option<&Process>, burst: u32) {
    count(if refused.reason == REASON_AUDIT { stat::AUDITED } else { stat::REFUSED });
    let told = told(&key(refused));
    if let Some(told) = told {
        // SAFETY: a value of this map; two processors may open or fill a second at the same time, and each tells one more.
        let told = unsafe { &mut *told };
        let now = now();
        if now.wrapping_sub(told.at) >= EACH {
            told.at = now;
            told.told = 0;
        }
        if told.told >= burst {
            return untold(told);
        }
        told.told += 1;
    }
    let Some(mut slot) = EVENTS.reserve_untyped::<Refusal>(0) else {
        return match told {
            // SAFETY: as above.
            Some(told) => untold(unsafe { &mut *told }),
            None => count(stat::EVENTS_LOST),
        };
    };
    // Field by field into its place: a whole one does not fit on the stack beside what the backstop has there.
    let event = slot.as_mut_ptr();
    // SAFETY: reserved for one `Refusal`, and every field is written.
    unsafe {
        (*event).cookie = refused.cookie;
        (*event).pid = process.map_or(0, |process| process.pid);
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
        (*event).command = process.map_or([0; 16], |process| process.command);
        (*event).rule = refused.rule;
    }
    slot.submit(0);
}

#[inline(always)]
fn untold(told: &mut Told) {
    add_one(&mut told.untold);
    count(stat::REPEATS);
}

/// The entry of refusals like this one, which is made if there is none and room for it.
#[inline(always)]
fn told(key: &ToldKey) -> Option<*mut Told> {
    if let Some(told) = TOLD.get_ptr_mut(key) {
        return Some(told);
    }
    if TOLD.insert(key, Told { untold: 0, at: 0, told: 0, pad: 0 }, NO_EXIST).is_err() {
        // Without room for it this one is handed over; or another processor was first.
    }
    TOLD.get_ptr_mut(key)
}

/// Whether what an audited packet is about was just told of the call that sent it.
#[inline(always)]
pub fn was_told(refused: &Refused<'_>) -> bool {
    // SAFETY: a u64 is read.
    TOLD.get_ptr(&key(refused)).is_some_and(|told| now().wrapping_sub(unsafe { (*told).at }) < 2 * EACH)
}

#[inline(always)]
fn key(refused: &Refused<'_>) -> ToldKey {
    let port = if refused.direction == EGRESS { refused.remote_port } else { refused.local_port };
    ToldKey {
        cookie: refused.cookie,
        remote: *refused.remote,
        rule: refused.rule,
        port,
        protocol: refused.protocol,
        direction: refused.direction,
        reason: refused.reason,
        pad: [0; 7],
    }
}

/// Nanoseconds since boot, as exact as the last tick: cheaper, and nothing here needs more.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: a helper that any program may call.
    unsafe { bpf_ktime_get_coarse_ns() }
}
