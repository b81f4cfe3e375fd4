//! Refusals, for the records.

use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid};
use redirect_abi::{Addr, REASON_AUDIT, Refusal, stat};

use crate::maps::{EVENTS, count};

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
}

/// Hands a refusal to the proxy; without room it is counted.
#[inline(always)]
pub fn report(refused: &Refused<'_>, with_process: bool) {
    count(if refused.reason == REASON_AUDIT { stat::AUDITED } else { stat::REFUSED });
    let Some(mut slot) = EVENTS.reserve_untyped::<Refusal>(0) else {
        count(stat::EVENTS_LOST);
        return;
    };
    let mut pid = 0;
    let mut command = [0; 16];
    if with_process {
        pid = (bpf_get_current_pid_tgid() >> 32) as u32;
        command = bpf_get_current_comm().unwrap_or_default();
    }
    slot.write(Refusal {
        cookie: refused.cookie,
        pid,
        endpoint: refused.endpoint,
        identity: refused.identity,
        local: *refused.local,
        remote: *refused.remote,
        local_port: refused.local_port,
        remote_port: refused.remote_port,
        protocol: refused.protocol,
        direction: refused.direction,
        reason: refused.reason,
        pad: [0; 1],
        command,
        tail: [0; 4],
    });
    slot.submit(0);
}
