//! From what should be true to what the kernel holds, in an order in which no step opens what the result closes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::{Range, RangeInclusive},
    os::fd::{AsRawFd, BorrowedFd},
    process,
    sync::Arc,
};

use ipnet::IpNet;
use redirect_abi::{
    BACKSTOP, EGRESS_ENFORCED, EGRESS_PORTS, HOST_ALLOWED, INGRESS_ENFORCED, LISTENER_EGRESS, LISTENER_V6, Pod, known,
};

use super::{Guard, Redirect, RedirectError, entries::Entries, maps::addr, moving, policies::Plan};
use crate::pod_net::Exit;

mod filing;

use self::filing::Filed;

/// Where the ports of a pod's address begin that stand for its egress listener: the usual place, and one that hardly
/// anybody listens on, for pods whose local ports are in the first.
const EGRESS_PORT: [u16; 2] = [15_001, 325];

/// The ports of a pod's address that stand for its egress listener, given those that its connections get by themselves.
/// None may be in both: a connection to an own port from the same one would meet itself.
#[must_use]
pub fn egress_ports(local: &RangeInclusive<u16>) -> Range<u16> {
    let block = |first: u16| first..first.saturating_add(EGRESS_PORTS);
    let [usual, other] = EGRESS_PORT.map(block);
    if *local.start() >= usual.end || *local.end() < usual.start { usual } else { other }
}

/// A pod as the kernel shall judge it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredPod {
    /// Endpoint number.
    pub endpoint: u32,
    /// Where redirected connects over IPv4 are sent.
    pub ip4: Option<Ipv4Addr>,
    /// Where redirected connects over IPv6 are sent.
    pub ip6: Option<Ipv6Addr>,
    /// All of its addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// Only what an entry allows may enter.
    pub ingress_enforced: bool,
    /// Only what an entry allows may leave.
    pub egress_enforced: bool,
    /// The node itself may always enter.
    pub host_allowed: bool,
    /// What calls are told that policy denies.
    pub errno: i32,
    /// What is allowed or redirected.
    pub entries: Entries,
}

/// Everything that the kernel shall hold. Pods by their namespace's cookie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Pods of this node.
    pub pods: BTreeMap<u64, DesiredPod>,
    /// Exact addresses.
    pub identities: Arc<HashMap<IpAddr, u32>>,
    /// CIDRs that policies name.
    pub cidrs: Arc<HashMap<IpNet, u32>>,
}

/// What a pod that is not enrolled yet brings along.
#[derive(Debug)]
pub struct Enrolment<'a> {
    /// Its namespace.
    pub netns: BorrowedFd<'a>,
    /// First of its [`egress_ports`].
    pub egress_port: u16,
    /// Its listeners, each with what it is for: 0 or [`LISTENER_EGRESS`], and [`LISTENER_V6`].
    pub listeners: Vec<(u64, BorrowedFd<'a>)>,
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

/// What is not as it was to be.
#[derive(Debug, Default)]
pub struct Shortfall {
    /// Pods that could not be enrolled.
    pub not_enrolled: Vec<NotEnrolled>,
    /// Why pods keep the policy that they had.
    pub errors: Vec<RedirectError>,
    /// Those pods.
    behind: Vec<u64>,
}

/// A mirror of the maps: they were empty when this process made them.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) desired: Desired,
    filed: Filed,
    /// `GENERATION` as it is in the kernel.
    generation: u32,
    /// First of each pod's egress ports.
    egress_ports: HashMap<u64, u16>,
    attached: bool,
    /// Identities so far that were for the way only.
    passing: u32,
}

impl Default for Applied {
    fn default() -> Self {
        // Flows that are remembered from the process before name generations of its own: ours begin elsewhere.
        let anywhere = RandomState::new().hash_one(process::id());
        let generation = u32::try_from(anywhere >> 32).unwrap_or_default();
        Self {
            desired: Desired::default(),
            filed: Filed::default(),
            generation,
            egress_ports: HashMap::new(),
            attached: false,
            passing: 0,
        }
    }
}

impl Redirect {
    /// Makes the kernel agree with `desired`. `enrolment` gives sockets for a pod that is new.
    ///
    /// Order: new policy entries under numbers that no pod is on → each pod's one switch to them → identities → CIDRs that
    /// come → CIDRs that go (the new entries say the same of their addresses as of those of wider ones) → pods that go → pods
    /// that come, their switch last → old entries, when no program reads them any more. On the first call the programs are
    /// attached at the end. All of that several times where addresses become somebody else's, see `moving.rs`.
    pub fn apply<'a>(
        &mut self,
        desired: &Desired,
        enrolment: impl Fn(u64) -> Option<Enrolment<'a>>,
    ) -> Result<Shortfall, RedirectError> {
        for way in moving::ways(&self.applied.desired, desired, &mut self.applied.passing) {
            let shortfall = self.apply_at_once(&way, &enrolment)?;
            if let Some(error) = shortfall.errors.into_iter().next() {
                // The same again, or there is room without the way; then it is one that is not safe at each step.
                tracing::error!(%error, "addresses that become somebody else's are not told apart meanwhile");
                break;
            }
        }
        self.apply_at_once(desired, &enrolment)
    }

    fn apply_at_once<'a>(
        &mut self,
        desired: &Desired,
        enrolment: &impl Fn(u64) -> Option<Enrolment<'a>>,
    ) -> Result<Shortfall, RedirectError> {
        let mut before = std::mem::take(&mut self.applied.desired);
        let mut shortfall = Shortfall::default();
        let done = self.steps(&before, desired, enrolment, &mut shortfall);
        if done.is_ok() {
            let behind = shortfall.behind.iter().filter_map(|cookie| before.pods.remove_entry(cookie));
            self.applied.desired = desired.clone();
            self.applied.desired.pods.extend(behind);
        } else {
            self.applied.desired = merge(before, desired);
        }
        for pod in &shortfall.not_enrolled {
            self.applied.desired.pods.remove(&pod.cookie);
        }
        let settled = self.settle();
        done.and(settled).and(self.judge_flows_anew()).map(|()| shortfall)
    }

    /// No program runs any more that judged by what was in force before.
    fn judge_flows_anew(&mut self) -> Result<(), RedirectError> {
        self.applied.generation = self.applied.generation.wrapping_add(1);
        self.maps.generation.set(0, self.applied.generation, 0).map_err(RedirectError::map("GENERATION"))
    }

    fn steps<'a>(
        &mut self,
        before: &Desired,
        desired: &Desired,
        enrolment: &impl Fn(u64) -> Option<Enrolment<'a>>,
        shortfall: &mut Shortfall,
    ) -> Result<(), RedirectError> {
        let plan = self.file(desired, &mut shortfall.errors)?;
        for (cookie, pod) in &desired.pods {
            let Some(known) = before.pods.get(cookie) else { continue };
            // Interfaces come and go while a pod lives.
            let is_news = enrolment(*cookie).map_or(Ok(false), |sockets| self.guard_pod(*cookie, sockets.exits))?;
            match self.applied.filed.policies.number(&plan, *cookie) {
                Some(number) => self.update_pod(*cookie, known, pod, number, is_news)?,
                None => shortfall.behind.push(*cookie),
            }
        }
        self.write_identities(before, desired)?;
        self.write_cidrs(before, desired)?;
        let goes = |(cookie, _): &(&u64, &DesiredPod)| !desired.pods.contains_key(*cookie);
        let comes = |(cookie, _): &(&u64, &DesiredPod)| !before.pods.contains_key(*cookie);
        for (cookie, pod) in before.pods.iter().filter(goes) {
            self.remove_pod(*cookie, pod)?;
        }
        if before.pods.iter().any(|pod| goes(&pod)) && desired.pods.iter().any(|pod| comes(&pod)) {
            // What the ones had in the maps becomes the others'.
            self.wait_for_programs()?;
        }
        for (cookie, pod) in desired.pods.iter().filter(comes) {
            let Some(sockets) = enrolment(*cookie) else { continue };
            if let Err(error) = self.add_pod(*cookie, pod, &sockets, &plan) {
                // One pod's trouble (its namespace just ended) is not the others'.
                self.remove_pod(*cookie, pod)?;
                shortfall.not_enrolled.push(NotEnrolled { cookie: *cookie, error });
            }
        }
        if !self.applied.attached {
            // What these sent was not held until now either.
            let mut hold = self.maps.hold()?;
            desired.pods.keys().try_for_each(|cookie| hold.release(*cookie))?;
            self.links.attach_cgroup(&mut self.ebpf)?;
            self.links.remove_foreign()?;
            self.applied.attached = true;
        }
        Ok(())
    }

    fn write_cidrs(&mut self, before: &Desired, desired: &Desired) -> Result<(), RedirectError> {
        for (net, id) in desired.cidrs.iter().filter(|(net, id)| before.cidrs.get(*net) != Some(*id)) {
            self.maps.cidrs.insert(*net, *id)?;
        }
        for net in before.cidrs.keys().filter(|net| !desired.cidrs.contains_key(*net)) {
            self.maps.cidrs.remove(*net)?;
        }
        Ok(())
    }

    fn write_identities(&mut self, before: &Desired, desired: &Desired) -> Result<(), RedirectError> {
        if Arc::ptr_eq(&before.identities, &desired.identities) {
            return Ok(());
        }
        for (address, id) in desired.identities.iter().filter(|(a, id)| before.identities.get(*a) != Some(*id)) {
            let address = addr(*address);
            let value = known(*id, &address);
            self.maps.identities.insert(address, value, 0).map_err(RedirectError::map("IDENTITIES"))?;
        }
        for address in before.identities.keys().filter(|address| !desired.identities.contains_key(*address)) {
            ignore_missing(self.maps.identities.remove(&addr(*address)), "IDENTITIES")?;
        }
        Ok(())
    }

    /// What is steered to a pod's listeners goes to these from now on.
    pub fn listen(&mut self, cookie: u64, sockets: &Enrolment<'_>) -> Result<(), RedirectError> {
        for (kind, listener) in &sockets.listeners {
            let key = cookie | kind;
            self.maps.listeners.insert(key, listener.as_raw_fd(), 0).map_err(RedirectError::map("LISTENERS"))?;
        }
        Ok(())
    }

    /// Listeners → steering → switch.
    fn add_pod(
        &mut self,
        cookie: u64,
        pod: &DesiredPod,
        sockets: &Enrolment<'_>,
        plan: &Plan,
    ) -> Result<(), RedirectError> {
        let number = self.applied.filed.policies.number(plan, cookie);
        let no_policy =
            || RedirectError::Map { map: "POLICY_EXACT", reason: "its policy could not be written".to_owned() };
        let number = number.ok_or_else(no_policy)?;
        self.listen(cookie, sockets)?;
        self.applied.egress_ports.insert(cookie, sockets.egress_port);
        for address in &pod.addresses {
            self.maps.addresses.insert(addr(*address), cookie, 0).map_err(RedirectError::map("ADDRESSES"))?;
        }
        if !self.applied.attached {
            // Links of a process before are given programs that read this process' maps: they must find the pod there.
            self.switch(cookie, pod, number)?;
        }
        self.guard_pod(cookie, sockets.exits)?;
        self.links.attach_pod(&mut self.ebpf, cookie, sockets.netns)?;
        self.switch(cookie, pod, number)
    }

    fn update_pod(
        &mut self,
        cookie: u64,
        known: &DesiredPod,
        pod: &DesiredPod,
        number: u32,
        is_news: bool,
    ) -> Result<(), RedirectError> {
        if !is_news && known == pod && self.applied.filed.policies.of_pod(cookie) == Some(number) {
            return Ok(());
        }
        for address in pod.addresses.difference(&known.addresses) {
            self.maps.addresses.insert(addr(*address), cookie, 0).map_err(RedirectError::map("ADDRESSES"))?;
        }
        self.switch(cookie, pod, number)?;
        for address in known.addresses.difference(&pod.addresses) {
            self.remove_address(cookie, *address)?;
        }
        Ok(())
    }

    /// Switch → steering and backstop → the rest. Its listeners leave the map when they are closed. Its namespace is unknown
    /// then, and held where such are.
    fn remove_pod(&mut self, cookie: u64, pod: &DesiredPod) -> Result<(), RedirectError> {
        self.maps.pods.remove(cookie)?;
        self.maps.hold()?.keep(cookie)?;
        self.applied.filed.switched(cookie, None);
        self.links.detach_pod(cookie)?;
        self.unguard_pod(cookie)?;
        for address in &pod.addresses {
            self.remove_address(cookie, *address)?;
        }
        for kind in [0, LISTENER_EGRESS, LISTENER_V6, LISTENER_EGRESS | LISTENER_V6] {
            ignore_missing(self.maps.listeners.remove(&(cookie | kind)), "LISTENERS")?;
        }
        self.applied.egress_ports.remove(&cookie);
        Ok(())
    }

    /// Unless it is another pod's by now.
    fn remove_address(&mut self, cookie: u64, address: IpAddr) -> Result<(), RedirectError> {
        let address = addr(address);
        if self.maps.addresses.get(&address, 0).ok() == Some(cookie) {
            ignore_missing(self.maps.addresses.remove(&address), "ADDRESSES")?;
        }
        Ok(())
    }

    fn switch(&mut self, cookie: u64, pod: &DesiredPod, number: u32) -> Result<(), RedirectError> {
        let flag = |on: bool, bit: u32| if on { bit } else { 0 };
        let value = Pod {
            endpoint: pod.endpoint,
            flags: flag(pod.ingress_enforced, INGRESS_ENFORCED)
                | flag(pod.egress_enforced, EGRESS_ENFORCED)
                | flag(pod.host_allowed, HOST_ALLOWED)
                | flag(self.guard(cookie).is_some_and(Guard::is_complete), BACKSTOP),
            policy: number,
            ip4: pod.ip4.map_or(0, |four| u32::from_ne_bytes(four.octets())),
            ip6: pod.ip6.map_or([0; 4], |six| addr(six.into())),
            egress_port: self.applied.egress_ports.get(&cookie).copied().unwrap_or(EGRESS_PORT[0]),
            pad: [0; 2],
            errno: pod.errno.unsigned_abs(),
        };
        self.maps.pods.switch(cookie, value)?;
        self.applied.filed.switched(cookie, Some(number));
        Ok(())
    }
}

/// After a failure part of the new state may be in the kernel: remember both, so that the next call misses nothing.
fn merge(mut before: Desired, desired: &Desired) -> Desired {
    Arc::make_mut(&mut before.cidrs).retain(|net, _| desired.cidrs.contains_key(net));
    Arc::make_mut(&mut before.identities).retain(|address, id| desired.identities.get(address) == Some(id));
    before
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn egress_ports_are_no_local_ports() {
        for local in [32_768..=60_999, 1_024..=15_000, 15_065..=65_535] {
            assert_eq!(egress_ports(&local), 15_001..15_065, "{local:?}");
        }
        for local in [1_024..=65_535, 15_064..=15_100, 1_024..=15_001, 15_020..=15_030] {
            assert_eq!(egress_ports(&local), 325..389, "{local:?}");
        }
    }
}
