//! Addresses that come to be somebody else's in the change that changes what policies say.
//!
//! Pods are switched to new entries one after the other, and addresses are given other identities one after the other. In
//! between, an address would be judged by the new entries as who it was: by what neither the state before says of it nor the
//! one after. So it is given an identity for the way ([`PASSING`]), of which entries say what they say of who it was until
//! pods are switched, and from then on what they say of who it will be. Only decides, and never writes. Start at [`ways`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;
use redirect_abi::IDENTITY_WORLD;

use super::{
    Desired, DesiredPod,
    entries::{Entries, Entry, difference},
};

/// Set in identities that addresses have while they become somebody else's. Those of pods, CIDRs and Services have other bits.
const PASSING: u32 = 1 << 27;

/// What the kernel is to hold on the way from `before` to `after`, in this order and before `after` itself. Nothing, when each
/// address is judged as before or as after however far the change is. `number`: grows with each identity for the way.
pub(super) fn ways(before: &Desired, after: &Desired, number: &mut u32) -> Vec<Desired> {
    let Some(changed) = Changed::between(before, after) else { return Vec::new() };
    let moves: Vec<Move> = moves(before, after).into_iter().filter(|one| changed.concerns(one.from)).collect();
    if moves.is_empty() {
        return Vec::new();
    }
    let mut passing: BTreeMap<(u32, u32), u32> = BTreeMap::new();
    for one in &moves {
        passing.entry((one.from, one.to)).or_insert_with(|| {
            *number = number.wrapping_add(1);
            PASSING | (*number & (PASSING - 1))
        });
    }
    let on_the_way = |identities: &HashMap<IpAddr, u32>| {
        let mut identities = identities.clone();
        let of = |one: &Move| Some((one.address, *passing.get(&(one.from, one.to))?));
        identities.extend(moves.iter().filter_map(of));
        Arc::new(identities)
    };
    let from = by_like(passing.iter().map(|((from, _), passing)| (*from, *passing)));
    let to = by_like(passing.iter().map(|((_, to), passing)| (*to, *passing)));
    let leaving = Desired {
        pods: alike(&before.pods, &from),
        identities: on_the_way(&before.identities),
        cidrs: Arc::clone(&before.cidrs),
    };
    let switched = Desired {
        pods: alike(&after.pods, &to),
        identities: on_the_way(&after.identities),
        cidrs: Arc::clone(&after.cidrs),
    };
    let arrived = Desired { identities: Arc::clone(&after.identities), ..switched.clone() };
    vec![leaving, switched, arrived]
}

/// An address that gets another identity.
struct Move {
    address: IpAddr,
    from: u32,
    to: u32,
}

fn moves(before: &Desired, after: &Desired) -> Vec<Move> {
    if Arc::ptr_eq(&before.identities, &after.identities) {
        return Vec::new();
    }
    // There may be a hundred thousand: none is looked at more often than needed.
    let other = before.identities.iter().filter(|(address, id)| after.identities.get(*address) != Some(*id));
    let new = after.identities.keys().filter(|address| !before.identities.contains_key(*address));
    let differ = other.map(|(address, _)| address).chain(new);
    let of =
        |address: &IpAddr| Move { address: *address, from: identity(before, *address), to: identity(after, *address) };
    differ.map(of).filter(|one| one.from != one.to).collect()
}

/// As the kernel's programs find it.
fn identity(desired: &Desired, address: IpAddr) -> u32 {
    desired.identities.get(&address).copied().unwrap_or_else(|| {
        let nets = desired.cidrs.iter().filter(|(net, _)| net.contains(&address));
        nets.max_by_key(|(net, _)| IpNet::prefix_len(net)).map_or(IDENTITY_WORLD, |(_, identity)| *identity)
    })
}

/// Of whom pods that stay say something else.
enum Changed {
    Everybody,
    These(BTreeSet<u32>),
}

impl Changed {
    /// `None`: of nobody.
    fn between(before: &Desired, after: &Desired) -> Option<Self> {
        let mut these = BTreeSet::new();
        let mut compared: Vec<(&Entries, &Entries)> = Vec::new();
        for (cookie, now) in &after.pods {
            let Some(then) = before.pods.get(cookie) else { continue };
            if switches(then) != switches(now) {
                return Some(Self::Everybody);
            }
            let pair = (&then.entries, &now.entries);
            let is_known =
                |known: &(&Entries, &Entries)| known.0.is_shared_with(pair.0) && known.1.is_shared_with(pair.1);
            if pair.0 == pair.1 || compared.iter().any(is_known) {
                continue;
            }
            compared.push(pair);
            let (gone, written) = difference(pair.0, pair.1);
            these.extend(gone.iter().chain(&written).map(|line| line.identity));
        }
        match these.first() {
            None => None,
            // What is said of all others.
            Some(0) => Some(Self::Everybody),
            Some(_) => Some(Self::These(these)),
        }
    }

    fn concerns(&self, identity: u32) -> bool {
        match self {
            Self::Everybody => true,
            Self::These(these) => these.contains(&identity),
        }
    }
}

fn switches(pod: &DesiredPod) -> [bool; 3] {
    [pod.ingress_enforced, pod.egress_enforced, pod.host_allowed]
}

/// Identities for the way, by whom they are to be judged like.
type Alike = BTreeMap<u32, Vec<u32>>;

fn by_like(pairs: impl Iterator<Item = (u32, u32)>) -> Alike {
    let mut alike = Alike::new();
    for (like, passing) in pairs {
        alike.entry(like).or_default().push(passing);
    }
    alike
}

/// Pods with lines for these too.
fn alike(pods: &BTreeMap<u64, DesiredPod>, like: &Alike) -> BTreeMap<u64, DesiredPod> {
    let mut known: Vec<(Entries, Entries)> = Vec::new();
    let mut of = |entries: &Entries| {
        if let Some((_, made)) = known.iter().find(|(from, _)| from.is_shared_with(entries)) {
            return made.clone();
        }
        let more = entries.lines().iter().flat_map(|line| {
            let passing = like.get(&line.identity).map(Vec::as_slice).unwrap_or_default();
            passing.iter().map(|passing| Entry { identity: *passing, ..*line })
        });
        let made = Entries::new(entries.lines().iter().copied().chain(more));
        known.push((entries.clone(), made.clone()));
        made
    };
    pods.iter().map(|(cookie, pod)| (*cookie, DesiredPod { entries: of(&pod.entries), ..pod.clone() })).collect()
}

#[cfg(test)]
mod tests;
