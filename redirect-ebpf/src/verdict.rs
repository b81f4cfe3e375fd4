//! L3/L4: who is the other side, and what does the pod's policy say to it.

use aya_ebpf::btf_maps::lpm_trie::Key;
use redirect_abi::{ALLOW, Addr, DENY, IDENTITY_WORLD, Pod, PolicyKey, REDIRECT, V4_MAPPED};

use crate::maps::{CIDRS, IDENTITIES, POLICY};

/// Identity of an address: exact, then longest CIDR, then world.
#[inline(always)]
pub fn identity(addr: &Addr) -> u32 {
    // SAFETY: u32 values are replaced whole.
    if let Some(id) = unsafe { IDENTITIES.get(addr) } {
        return *id;
    }
    CIDRS.get(&Key::new(128, *addr)).copied().unwrap_or(IDENTITY_WORLD)
}

/// What the policy says: `ALLOW`, `REDIRECT` or `DENY`. Of all matching entries the strongest wins; none is a denial.
#[inline(always)]
pub fn verdict(pod: &Pod, direction: u8, identity: u32, protocol: u8, port: u16) -> u8 {
    let mut strongest = 0;
    let mut consider = |identity: u32, protocol: u8, port: u16| {
        let key = PolicyKey { policy: pod.policy, identity, port, protocol, direction };
        // SAFETY: four-byte values are replaced whole.
        if let Some(value) = unsafe { POLICY.get(key) } {
            if value.action > strongest {
                strongest = value.action;
            }
        }
    };
    consider(identity, protocol, port);
    consider(0, protocol, port);
    consider(identity, protocol, 0);
    consider(0, protocol, 0);
    consider(identity, 0, 0);
    consider(0, 0, 0);
    match strongest {
        ALLOW => ALLOW,
        REDIRECT => REDIRECT,
        _ => DENY,
    }
}

/// 127.0.0.0/8, ::1 and the unspecified address, which connects to the socket's own host.
#[inline(always)]
pub fn is_loopback(addr: &Addr) -> bool {
    if addr[0] != 0 || addr[1] != 0 {
        return false;
    }
    if addr[2] == V4_MAPPED {
        return u32::from_be(addr[3]) >> 24 == 127 || addr[3] == 0;
    }
    addr[2] == 0 && (addr[3] == 0 || addr[3] == 1_u32.to_be())
}

/// Whether an address is IPv4.
#[inline(always)]
pub fn is_v4(addr: &Addr) -> bool {
    addr[0] == 0 && addr[1] == 0 && addr[2] == V4_MAPPED
}
