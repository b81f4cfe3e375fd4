//! Which pods a change is about.

use std::{collections::BTreeSet, sync::Arc};

use super::{Desired, Redirect};

impl Redirect {
    /// Cookies of the pods that will be judged in another way once `desired` is applied: new ones, those with other
    /// entries, and all of them when addresses have other identities.
    #[must_use]
    pub fn changed_by(&self, desired: &Desired) -> BTreeSet<u64> {
        changed(&self.applied.desired, desired)
    }
}

fn changed(before: &Desired, after: &Desired) -> BTreeSet<u64> {
    // Of the same map nothing need be compared: pods come and go more often than addresses.
    let everybody = !Arc::ptr_eq(&before.identities, &after.identities) && before.identities != after.identities
        || !Arc::ptr_eq(&before.cidrs, &after.cidrs) && before.cidrs != after.cidrs;
    let pods = after.pods.iter().filter(|(cookie, pod)| everybody || before.pods.get(cookie) != Some(pod));
    pods.map(|(cookie, _)| *cookie).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redirect::{DesiredPod, Entries};

    #[test]
    fn a_change_is_about_the_pods_that_it_is_about() {
        let pod = |endpoint| DesiredPod {
            endpoint,
            ip4: None,
            ip6: None,
            addresses: BTreeSet::new(),
            ingress_enforced: false,
            egress_enforced: false,
            host_allowed: false,
            errno: 0,
            entries: Entries::default(),
        };
        let mut before = Desired::default();
        before.pods.extend([(10, pod(1)), (20, pod(2))]);
        let mut after = before.clone();
        assert!(changed(&before, &after).is_empty());
        after.pods.insert(30, pod(3));
        after.pods.insert(20, DesiredPod { egress_enforced: true, ..pod(2) });
        after.pods.remove(&10);
        assert_eq!(changed(&before, &after), [20, 30].into());
        before = after.clone();
        Arc::make_mut(&mut after.identities).insert("10.0.0.1".parse().unwrap(), 256);
        assert_eq!(changed(&before, &after), [20, 30].into());
    }
}
