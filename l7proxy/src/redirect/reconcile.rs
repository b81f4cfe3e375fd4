//! From what should be true to what the kernel holds, in an order in which no step opens what the result closes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsRawFd, BorrowedFd},
    process,
    sync::Arc,
};

use aya::maps::lpm_trie::Key;
use ipnet::IpNet;
use redirect_abi::{
    Addr, BACKSTOP, EGRESS_ENFORCED, HOST_ALLOWED, INGRESS_ENFORCED, LISTENER_EGRESS, POLICY_BITS_ANY,
    POLICY_BITS_PROTOCOL, Pod, PolicyKey, PolicyValue,
};

use super::{Guard, Redirect, RedirectError, maps::addr};
use crate::pod_net::Exit;

/// First of the ports of a pod's address that stand for its egress listener.
const EGRESS_PORT: u16 = 15_001;

/// One line of a pod's policy. 0 in `identity` is every one without lines of its own, 0 in `protocol` every protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// `INGRESS` or `EGRESS`.
    pub direction: u8,
    /// The other side.
    pub identity: u32,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination ports: those that agree with this one in `port_bits`.
    pub port: u16,
    /// Leading bits of the port that count.
    pub port_bits: u8,
    /// `ALLOW`, `REDIRECT`, `AUDIT` or `DENY`.
    pub action: u8,
}

/// A pod as the kernel shall judge it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredPod {
    /// Endpoint number.
    pub endpoint: u32,
    /// Where redirected connects are sent.
    pub ip4: Ipv4Addr,
    /// All of its addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// Only what an entry allows may enter.
    pub ingress_enforced: bool,
    /// Only what an entry allows may leave.
    pub egress_enforced: bool,
    /// The node itself may always enter.
    pub host_allowed: bool,
    /// What is allowed or redirected.
    pub entries: Arc<BTreeSet<Entry>>,
}

/// Everything that the kernel shall hold. Pods by their namespace's cookie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Pods of this node.
    pub pods: BTreeMap<u64, DesiredPod>,
    /// Exact addresses.
    pub identities: HashMap<IpAddr, u32>,
    /// CIDRs that policies name.
    pub cidrs: HashMap<IpNet, u32>,
}

/// What a pod that is not enrolled yet brings along.
#[derive(Debug)]
pub struct Enrolment<'a> {
    /// Its namespace.
    pub netns: BorrowedFd<'a>,
    /// Listener for what enters the pod.
    pub ingress: BorrowedFd<'a>,
    /// Listener for what leaves the pod.
    pub egress: BorrowedFd<'a>,
    /// Interfaces that lead out of it.
    pub exits: &'a [Exit],
}

/// A pod that could not be enrolled.
#[derive(Debug)]
pub struct NotEnrolled {
    /// Its namespace.
    pub cookie: u64,
    /// Why not.
    pub error: RedirectError,
}

/// Entries and the number that they are filed under.
#[derive(Debug)]
struct Slot {
    number: u32,
    entries: Arc<BTreeSet<Entry>>,
}

/// A mirror of the maps: they were empty when this process made them.
#[derive(Debug)]
pub(super) struct Applied {
    desired: Desired,
    /// Which number a pod's entries are filed under.
    slots: HashMap<u64, u32>,
    last_slot: u32,
    attached: bool,
}

impl Default for Applied {
    fn default() -> Self {
        // Flows that are remembered from the process before name numbers of its own: ours begin elsewhere.
        let anywhere = RandomState::new().hash_one(process::id());
        let last_slot = u32::try_from(anywhere >> 32).unwrap_or_default();
        Self { desired: Desired::default(), slots: HashMap::new(), last_slot, attached: false }
    }
}

impl Redirect {
    /// Makes the kernel agree with `desired`. `enrolment` gives sockets for a pod that is new.
    ///
    /// Order: CIDRs that go (their addresses fall back to wider ones) → new policy entries under a number of their own →
    /// each pod's one switch to them → identities → CIDRs that come → pods that go → pods that come, their switch last →
    /// old entries. On the first call the programs are attached at the end. Gives the pods that could not be enrolled.
    pub fn apply<'a>(
        &mut self,
        desired: &Desired,
        enrolment: impl Fn(u64) -> Option<Enrolment<'a>>,
    ) -> Result<Vec<NotEnrolled>, RedirectError> {
        let before = std::mem::take(&mut self.applied.desired);
        match self.steps(&before, desired, enrolment) {
            Ok(failed) => {
                self.applied.desired = desired.clone();
                for pod in &failed {
                    self.applied.desired.pods.remove(&pod.cookie);
                }
                Ok(failed)
            }
            Err(error) => {
                self.applied.desired = merge(before, desired);
                Err(error)
            }
        }
    }

    fn steps<'a>(
        &mut self,
        before: &Desired,
        desired: &Desired,
        enrolment: impl Fn(u64) -> Option<Enrolment<'a>>,
    ) -> Result<Vec<NotEnrolled>, RedirectError> {
        for net in before.cidrs.keys().filter(|net| !desired.cidrs.contains_key(*net)) {
            ignore_missing(self.maps.cidrs.remove(&lpm_key(*net)), "CIDRS")?;
        }
        let mut old_slots = Vec::new();
        let mut failed = Vec::new();
        for (cookie, pod) in &desired.pods {
            let Some(known) = before.pods.get(cookie) else { continue };
            // Interfaces come and go while a pod lives.
            let is_news = enrolment(*cookie).map_or(Ok(false), |sockets| self.guard_pod(*cookie, sockets.exits))?;
            if is_news || known != pod {
                old_slots.extend(self.update_pod(*cookie, known, pod)?);
            }
        }
        self.write_identities(before, desired)?;
        for (net, id) in desired.cidrs.iter().filter(|(net, id)| before.cidrs.get(*net) != Some(*id)) {
            self.maps.cidrs.insert(&lpm_key(*net), *id, 0).map_err(RedirectError::map("CIDRS"))?;
        }
        for (cookie, pod) in before.pods.iter().filter(|(cookie, _)| !desired.pods.contains_key(*cookie)) {
            old_slots.extend(self.remove_pod(*cookie, pod)?);
        }
        for (cookie, pod) in desired.pods.iter().filter(|(cookie, _)| !before.pods.contains_key(*cookie)) {
            let Some(sockets) = enrolment(*cookie) else { continue };
            if let Err(error) = self.add_pod(*cookie, pod, &sockets) {
                // One pod's trouble (its namespace just ended) is not the others'.
                self.remove_pod(*cookie, pod)?;
                failed.push(NotEnrolled { cookie: *cookie, error });
            }
        }
        for slot in old_slots {
            self.remove_entries(&slot)?;
        }
        if !self.applied.attached {
            self.links.attach_cgroup(&mut self.ebpf)?;
            self.links.remove_foreign()?;
            self.applied.attached = true;
        }
        Ok(failed)
    }

    fn write_identities(&mut self, before: &Desired, desired: &Desired) -> Result<(), RedirectError> {
        for (address, id) in desired.identities.iter().filter(|(a, id)| before.identities.get(*a) != Some(*id)) {
            self.maps.identities.insert(addr(*address), *id, 0).map_err(RedirectError::map("IDENTITIES"))?;
        }
        for address in before.identities.keys().filter(|address| !desired.identities.contains_key(*address)) {
            ignore_missing(self.maps.identities.remove(&addr(*address)), "IDENTITIES")?;
        }
        Ok(())
    }

    /// Listeners → backstop → steering → switch.
    fn add_pod(&mut self, cookie: u64, pod: &DesiredPod, sockets: &Enrolment<'_>) -> Result<(), RedirectError> {
        for (key, listener) in [(cookie, sockets.ingress), (cookie | LISTENER_EGRESS, sockets.egress)] {
            self.maps.listeners.insert(key, listener.as_raw_fd(), 0).map_err(RedirectError::map("LISTENERS"))?;
        }
        let slot = self.write_entries(&pod.entries)?;
        self.applied.slots.insert(cookie, slot);
        for address in &pod.addresses {
            self.maps.addresses.insert(addr(*address), cookie, 0).map_err(RedirectError::map("ADDRESSES"))?;
        }
        if !self.applied.attached {
            // Links of a process before are given programs that read this process' maps: they must find the pod there.
            self.switch(cookie, pod, slot)?;
        }
        self.guard_pod(cookie, sockets.exits)?;
        self.links.attach_pod(&mut self.ebpf, cookie, sockets.netns)?;
        self.switch(cookie, pod, slot)
    }

    /// Gives the number and the entries that are out of use now.
    fn update_pod(&mut self, cookie: u64, known: &DesiredPod, pod: &DesiredPod) -> Result<Option<Slot>, RedirectError> {
        let old = self.applied.slots.get(&cookie).copied().unwrap_or_default();
        let slot = if known.entries == pod.entries { old } else { self.write_entries(&pod.entries)? };
        for address in pod.addresses.difference(&known.addresses) {
            self.maps.addresses.insert(addr(*address), cookie, 0).map_err(RedirectError::map("ADDRESSES"))?;
        }
        self.switch(cookie, pod, slot)?;
        self.applied.slots.insert(cookie, slot);
        for address in known.addresses.difference(&pod.addresses) {
            ignore_missing(self.maps.addresses.remove(&addr(*address)), "ADDRESSES")?;
        }
        Ok((slot != old).then(|| Slot { number: old, entries: Arc::clone(&known.entries) }))
    }

    /// Switch → steering and backstop → the rest. Its listeners leave the map when they are closed.
    fn remove_pod(&mut self, cookie: u64, pod: &DesiredPod) -> Result<Option<Slot>, RedirectError> {
        ignore_missing(self.maps.pods.remove(&cookie), "PODS")?;
        self.links.detach_pod(cookie)?;
        self.unguard_pod(cookie)?;
        for address in &pod.addresses {
            let owner = self.maps.addresses.get(&addr(*address), 0).ok();
            if owner == Some(cookie) {
                ignore_missing(self.maps.addresses.remove(&addr(*address)), "ADDRESSES")?;
            }
        }
        for key in [cookie, cookie | LISTENER_EGRESS] {
            ignore_missing(self.maps.listeners.remove(&key), "LISTENERS")?;
        }
        Ok(self.applied.slots.remove(&cookie).map(|number| Slot { number, entries: Arc::clone(&pod.entries) }))
    }

    fn switch(&mut self, cookie: u64, pod: &DesiredPod, slot: u32) -> Result<(), RedirectError> {
        let flag = |on: bool, bit: u32| if on { bit } else { 0 };
        let value = Pod {
            endpoint: pod.endpoint,
            flags: flag(pod.ingress_enforced, INGRESS_ENFORCED)
                | flag(pod.egress_enforced, EGRESS_ENFORCED)
                | flag(pod.host_allowed, HOST_ALLOWED)
                | flag(self.guard(cookie).is_some_and(Guard::is_complete), BACKSTOP),
            policy: slot,
            ip4: u32::from_ne_bytes(pod.ip4.octets()),
            egress_port: EGRESS_PORT,
            pad: [0; 2],
            errno: libc::ECONNREFUSED.unsigned_abs(),
        };
        self.maps.pods.insert(cookie, value, 0).map_err(RedirectError::map("PODS"))
    }

    /// Writes entries under a number that nothing refers to yet.
    fn write_entries(&mut self, entries: &BTreeSet<Entry>) -> Result<u32, RedirectError> {
        self.applied.last_slot = self.applied.last_slot.wrapping_add(1).max(1);
        let slot = self.applied.last_slot;
        for entry in entries {
            let value = PolicyValue { action: entry.action, pad: [0; 3] };
            self.maps.policy.insert(&policy_key(slot, entry), value, 0).map_err(RedirectError::map("POLICY"))?;
        }
        Ok(slot)
    }

    fn remove_entries(&mut self, slot: &Slot) -> Result<(), RedirectError> {
        for entry in slot.entries.iter() {
            ignore_missing(self.maps.policy.remove(&policy_key(slot.number, entry)), "POLICY")?;
        }
        Ok(())
    }
}

/// After a failure part of the new state may be in the kernel: remember both, so that the next call misses nothing.
fn merge(mut before: Desired, desired: &Desired) -> Desired {
    before.cidrs.retain(|net, _| desired.cidrs.contains_key(net));
    before.identities.retain(|address, id| desired.identities.get(address) == Some(id));
    before
}

fn policy_key(slot: u32, entry: &Entry) -> Key<PolicyKey> {
    let Entry { direction, identity, protocol, port, port_bits, .. } = *entry;
    let bits = if protocol == 0 { POLICY_BITS_ANY } else { POLICY_BITS_PROTOCOL + u32::from(port_bits) };
    Key::new(bits, PolicyKey { policy: slot, identity, direction, protocol, port_be: port.to_be() })
}

fn lpm_key(net: IpNet) -> Key<Addr> {
    let bits = u32::from(net.prefix_len()) + if net.addr().is_ipv4() { 96 } else { 0 };
    Key::new(bits, addr(net.network()))
}

pub(super) fn ignore_missing(result: Result<(), aya::maps::MapError>, map: &'static str) -> Result<(), RedirectError> {
    match result {
        Ok(()) | Err(aya::maps::MapError::KeyNotFound) => Ok(()),
        Err(error) => {
            let missing = matches!(&error, aya::maps::MapError::SyscallError(call)
                if call.io_error.kind() == std::io::ErrorKind::NotFound);
            if missing { Ok(()) } else { Err(RedirectError::map(map)(error)) }
        }
    }
}
