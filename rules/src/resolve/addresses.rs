//! Which peers a block of addresses or a CIDR group is about.
//!
//! Must never let a group that cannot be read open anything, nor take a pod for an address where pods are not meant. Start
//! at [`CidrGroups::is_in`].

use ipnet::IpNet;

use crate::{
    calico::party::Truth,
    cidr_group::CidrGroups,
    labels::Labels,
    policy::{Addresses, Cidr, Effect},
};

impl CidrGroups<'_> {
    /// Addresses outside the cluster by the CIDR that they are known under (`net`); pods, where they are meant, by the CIDRs
    /// that their labels name. What is not known is allowed by no rule, and denied by each that may deny it.
    pub(super) fn is_in(&self, cidr: &Cidr, effect: Effect, labels: &Labels, net: Option<IpNet>) -> bool {
        let has = |net: &IpNet| labels.get("cidr", &net.trunc().to_string()).is_some();
        if labels.get("reserved", "world").is_none() {
            // Only blocks are about pods, and only Kubernetes'.
            let Addresses::Net(net) = &cidr.of else { return false };
            return cidr.pods && has(net) && !cidr.except.iter().any(has);
        }
        if net.is_some_and(|net| cidr.except.iter().any(|except| except.contains(&net))) {
            return false;
        }
        let least = match effect {
            Effect::Allow => Truth::Yes,
            Effect::Deny => Truth::Maybe,
        };
        self.hold(&cidr.of, net) >= least
    }
}
