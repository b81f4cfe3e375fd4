use proptest::{collection::vec, option, prelude::*};

use super::*;

/// What the kernel holds in the middle of a change: switches of pods, identities and CIDRs are each before or after.
#[derive(Clone, Copy)]
struct Middle<'a> {
    pod: &'a DesiredPod,
    identities: &'a HashMap<IpAddr, u32>,
    cidrs: &'a HashMap<IpNet, u32>,
}

impl Middle<'_> {
    fn verdict(&self, address: IpAddr, port: u16) -> Option<u8> {
        if !self.pod.egress_enforced {
            return Some(1);
        }
        let held = Desired {
            identities: Arc::new(self.identities.clone()),
            cidrs: Arc::new(self.cidrs.clone()),
            ..Desired::default()
        };
        let identity = identity(&held, address);
        let of = |identity| self.pod.entries.lines().iter().find(|line| (line.identity, line.port) == (identity, port));
        of(identity).or_else(|| of(0)).map(|line| line.action)
    }
}

fn at(desired: &Desired, pod: u64) -> Option<Middle<'_>> {
    Some(Middle { pod: desired.pods.get(&pod)?, identities: &desired.identities, cidrs: &desired.cidrs })
}

const ADDRESSES: [&str; 4] = ["10.0.0.1", "10.0.0.2", "10.1.0.1", "fd00::1"];
const NETS: [&str; 3] = ["10.0.0.0/8", "10.0.0.0/16", "fd00::/8"];

fn addresses() -> impl Iterator<Item = IpAddr> {
    ADDRESSES.into_iter().map(|text| text.parse().unwrap())
}

fn pod(entries: Entries, egress_enforced: bool) -> DesiredPod {
    DesiredPod {
        endpoint: 1,
        ip4: None,
        ip6: None,
        addresses: BTreeSet::new(),
        ingress_enforced: true,
        egress_enforced,
        host_allowed: false,
        errno: 0,
        entries,
    }
}

fn some_entries() -> impl Strategy<Value = Entries> {
    // 2 is world, 11 to 13 are CIDRs', 21 to 23 pods'.
    let identity = prop::sample::select(vec![0, 2, 11, 12, 13, 21, 22, 23]);
    let entry = (identity, 1..3_u16, 1..4_u8).prop_map(|(identity, port, action)| Entry {
        direction: 2,
        identity,
        protocol: 6,
        port,
        port_bits: 16,
        action,
        precedence: 0,
        rule: 0,
    });
    vec(entry, 0..8).prop_map(Entries::new)
}

/// CIDRs are as they are: who names others has them told apart before, see `Control::announce`.
fn states() -> impl Strategy<Value = [Desired; 2]> {
    let cidrs = vec(any::<bool>(), NETS.len());
    (cidrs, state(), state()).prop_map(|(cidrs, first, second)| {
        let cidrs: Arc<HashMap<IpNet, u32>> = Arc::new(
            NETS.iter()
                .zip(11..)
                .zip(cidrs)
                .filter(|(_, is)| *is)
                .map(|((net, id), _)| (net.parse().unwrap(), id))
                .collect(),
        );
        [first, second].map(|state| Desired { cidrs: Arc::clone(&cidrs), ..state })
    })
}

fn state() -> impl Strategy<Value = Desired> {
    let identities = vec(option::of(21..24_u32), ADDRESSES.len());
    let pods = vec((some_entries(), prop::bool::weighted(0.9)), 2);
    (identities, pods).prop_map(|(identities, pods)| Desired {
        identities: Arc::new(addresses().zip(identities).filter_map(|(address, id)| Some((address, id?))).collect()),
        pods: (1..).zip(pods).map(|(cookie, (entries, enforced))| (cookie, pod(entries, enforced))).collect(),
        ..Desired::default()
    })
}

/// Every verdict that there is while `before` becomes `after` as `reconcile.rs` does it.
fn verdicts(before: &Desired, after: &Desired, cookie: u64, address: IpAddr, port: u16) -> Vec<Option<u8>> {
    let (Some(old), Some(new)) = (at(before, cookie), at(after, cookie)) else { return Vec::new() };
    let switched = Middle { pod: new.pod, ..old };
    let told = Middle { pod: new.pod, identities: new.identities, cidrs: old.cidrs };
    [old, switched, told, new].iter().map(|middle| middle.verdict(address, port)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_address_is_judged_as_before_or_as_after([before, after] in states()) {
        let ways = ways(&before, &after, &mut 0);
        let stations: Vec<&Desired> = [&before].into_iter().chain(&ways).chain([&after]).collect();
        for (cookie, address, port) in (1..3).flat_map(|cookie| addresses().map(move |address| (cookie, address, 1))) {
            let ends = [&before, &after].map(|end| at(end, cookie).unwrap().verdict(address, port));
            let mut seen = Vec::new();
            for pair in stations.windows(2) {
                seen.extend(verdicts(pair[0], pair[1], cookie, address, port));
            }
            prop_assert!(seen.iter().all(|verdict| ends.contains(verdict)), "{address}: {seen:?}, not only {ends:?}");
            let changes = seen.windows(2).filter(|pair| pair[0] != pair[1]).count();
            prop_assert!(changes <= 1, "{address}: there and back: {seen:?}");
        }
    }
}

fn state_of(entries: &[(u32, u8)], identities: &[(&str, u32)]) -> Desired {
    let line = |(identity, action): &(u32, u8)| Entry {
        direction: 2,
        identity: *identity,
        protocol: 6,
        port: 1,
        port_bits: 16,
        action: *action,
        precedence: 0,
        rule: 0,
    };
    Desired {
        pods: [(1, pod(Entries::new(entries.iter().map(line)), true))].into(),
        identities: Arc::new(identities.iter().map(|(address, id)| (address.parse().unwrap(), *id)).collect()),
        ..Desired::default()
    }
}

#[test]
fn two_that_were_the_same_part() {
    let before = state_of(&[(21, 1)], &[("10.0.0.1", 21), ("10.0.0.2", 21)]);
    let after = state_of(&[(22, 1), (23, 3), (21, 3)], &[("10.0.0.1", 22), ("10.0.0.2", 23)]);
    let mut number = 7;
    let ways = ways(&before, &after, &mut number);
    assert_eq!((ways.len(), number), (3, 9), "an identity for each way");
    let of = |desired: &Desired| addresses().take(2).map(|one| identity(desired, one)).collect::<Vec<_>>();
    let passing: Vec<u32> = of(&ways[0]);
    assert!(passing.iter().all(|one| one & PASSING != 0) && passing[0] != passing[1], "{passing:?}");
    assert_eq!((of(&ways[1]), of(&ways[2])), (passing, of(&after)));
}

#[test]
fn what_says_the_same_of_an_address_needs_no_way() {
    let before = state_of(&[(21, 1)], &[("10.0.0.1", 21)]);
    let moved = state_of(&[(21, 1)], &[("10.0.0.1", 22)]);
    assert!(ways(&before, &moved, &mut 0).is_empty(), "policies are as they were");
    let said = state_of(&[(21, 1), (22, 1)], &[("10.0.0.1", 22), ("10.0.0.2", 22)]);
    assert!(ways(&before, &said, &mut 0).is_empty(), "of who they were it is said what was said");
    let unsaid = state_of(&[(22, 1)], &[("10.0.0.1", 22)]);
    assert_eq!(ways(&before, &unsaid, &mut 0).len(), 3);
}
