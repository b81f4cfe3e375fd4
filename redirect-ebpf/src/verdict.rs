//! L3/L4: who is the other side, and what does the pod's policy say to it.

use aya_ebpf::btf_maps::lpm_trie::Key;
use redirect_abi::{
    ALLOW, AUDIT, Addr, DENY, IDENTITY_WORLD, POLICY_BITS, Pod, PolicyKey, PolicyValue, REDIRECT, V4_MAPPED,
    identity_of, v4,
};

use crate::maps::{CIDRS4, CIDRS6, IDENTITIES, POLICY_EXACT, POLICY_PREFIX};

/// Identity of an address: exact, then longest CIDR, then world.
#[inline(always)]
pub fn identity(addr: &Addr) -> u32 {
    if let Some(id) = exact(addr).or_else(|| exact(addr)) {
        return id;
    }
    let found = if is_v4(addr) { CIDRS4.get(&Key::new(32, addr[3])) } else { CIDRS6.get(&Key::new(128, *addr)) };
    found.copied().unwrap_or(IDENTITY_WORLD)
}

/// An element that is another address's by now is found nowhere, or elsewhere the second time.
#[inline(always)]
fn exact(addr: &Addr) -> Option<u32> {
    // SAFETY: u64 values are replaced whole.
    let known = *unsafe { IDENTITIES.get(addr) }?;
    identity_of(known, addr)
}

/// What the policy says, and which rule does.
#[derive(Clone, Copy)]
pub struct Verdict {
    /// `ALLOW`, `REDIRECT`, `AUDIT` or `DENY`.
    pub action: u8,
    /// `PolicyValue::rule`.
    pub rule: u32,
}

/// Without an entry it is a denial.
#[inline(always)]
pub fn verdict(pod: &Pod, direction: u8, identity: u32, protocol: u8, port: u16) -> Verdict {
    let port_be = port.to_be();
    let key = |identity| PolicyKey { policy: pod.policy, identity, direction, protocol, port_be };
    let value = match entry(key(identity)) {
        Some(value) => value,
        None => match entry(key(0)) {
            Some(value) => value,
            None => return Verdict { action: DENY, rule: 0 },
        },
    };
    let action = match value.action {
        ALLOW => ALLOW,
        REDIRECT => REDIRECT,
        AUDIT => AUDIT,
        _ => DENY,
    };
    Verdict { action, rule: value.rule }
}

/// The entry with the longest prefix of a key; the whole key is the longest.
#[inline(always)]
fn entry(key: PolicyKey) -> Option<&'static PolicyValue> {
    // SAFETY: an entry is never written while a program reads under its number.
    unsafe { POLICY_EXACT.get(key) }.or_else(|| POLICY_PREFIX.get(&Key::new(POLICY_BITS, key)))
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

/// fe80::/10 and ff02::/16: no router sends it on, and it means something else on each interface.
#[inline(always)]
pub fn is_link_local(addr: &Addr) -> bool {
    let first = u32::from_be(addr[0]);
    first >> 22 == 0xfe80 >> 6 || first >> 16 == 0xff02
}

/// Whether an address is IPv4.
#[inline(always)]
pub fn is_v4(addr: &Addr) -> bool {
    addr[0] == 0 && addr[1] == 0 && addr[2] == V4_MAPPED
}

/// Address of the pod in the family of `other`, all zero when it has none.
#[inline(always)]
pub fn own_address(pod: &Pod, other: &Addr) -> Addr {
    match (is_v4(other), pod.ip4) {
        (true, 0) => [0; 4],
        (true, four) => v4(four),
        (false, _) => pod.ip6,
    }
}
