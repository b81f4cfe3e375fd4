//! What `l7proxy status` shows, as metrics: states and sums, never a line's text.

use super::{ApiStatus, EndpointStatus, Status};
use crate::{
    metrics::{Family, Source},
    redirect,
    source::PolicyState,
};

/// States of pods.
const STATES: [&str; 4] = ["ready", "waiting", "ended", "error"];
/// States of policies.
const POLICIES: [(PolicyState, &str); 3] = [
    (PolicyState::InForce, "in force"),
    (PolicyState::LastGood, "last good version"),
    (PolicyState::Refused, "refused"),
];

impl Source for Status {
    fn families(&self) -> Vec<Family> {
        let mut families = vec![
            gauge(
                "ready",
                "1: every pod is enrolled, or its error is told by `l7proxy status`.",
                u64::from(self.ready),
            ),
            gauge("policy_revision", "Revision of policy that is in force.", self.revision),
            gauge(
                "errors",
                "What is wrong with the configuration, or cannot be tied to a policy; see `l7proxy status`.",
                sum(self.errors.len()),
            ),
            gauge(
                "not_enforced",
                "What the configuration asks for and this version does not do; see `l7proxy status`.",
                sum(self.not_enforced.len()),
            ),
            gauge(
                "path_relaxations",
                "Relaxations of the path's normal form (proxy.path).",
                sum(self.path_relaxed.len()),
            ),
            gauge(
                "backstop_absent",
                "Pods with a way out that no packet filter guards.",
                sum(self.endpoints.iter().filter(|pod| pod.unguarded).count()),
            ),
        ];
        families.extend([self.pods(), self.policies_by_state(), self.audited()]);
        families.extend(self.directions());
        families.extend(self.kernel());
        families.extend(self.hubble.iter().flat_map(of_api));
        families
    }
}

impl Status {
    fn pods(&self) -> Family {
        let mut pods = Family::gauge("l7proxy_pods", "Pods of this node by state.");
        for state in STATES {
            let count = self.endpoints.iter().filter(|pod| pod.state == state).count();
            pods.add_count(&[("state", state)], sum(count));
        }
        pods
    }

    fn policies_by_state(&self) -> Family {
        let help = "Policies by how they are in force; in error is what is not `in force` as its manifest says.";
        let mut policies = Family::gauge("l7proxy_policies", help);
        for (state, name) in POLICIES {
            let count = self.policies.iter().filter(|policy| policy.state == state).count();
            policies.add_count(&[("state", name)], sum(count));
        }
        policies
    }

    fn audited(&self) -> Family {
        let count = self.policies.iter().filter(|policy| policy.audit).count();
        gauge("policies_audited", "Policies whose denials are only told.", sum(count))
    }

    fn directions(&self) -> [Family; 2] {
        let mut enforced = Family::gauge("l7proxy_pods_enforced", "Pods under enforcement, by direction.");
        let mut redirects =
            Family::gauge("l7proxy_redirects", "Entries of pods' policies that send connections to the proxy.");
        let of = |pod: &EndpointStatus, name: &str| if name == "ingress" { pod.ingress } else { pod.egress };
        for name in ["ingress", "egress"] {
            let pods = || self.endpoints.iter().map(|pod| of(pod, name));
            enforced.add_count(&[("direction", name)], sum(pods().filter(|pod| pod.enforced).count()));
            redirects.add_count(&[("direction", name)], sum(pods().map(|pod| pod.redirects).sum()));
        }
        [enforced, redirects]
    }

    fn kernel(&self) -> Vec<Family> {
        let help = "Features of the kernel that are used where they are there: 1, or 0 where they are missing.";
        let mut features = Family::gauge("l7proxy_kernel_feature", help);
        for (name, is_there) in &self.kernel.features {
            features.add_count(&[("feature", name)], u64::from(*is_there));
        }
        let mut families = vec![
            features,
            gauge("kernel_links", "Programs that are attached.", sum(self.kernel.links)),
            gauge(
                "kernel_overriders",
                "Programs of others that run after ours at a hook.",
                sum(self.kernel.overriders.len()),
            ),
            gauge(
                "kernel_policies",
                "Different policies that pods are on; pods that may do the same share one.",
                sum(self.kernel.policies),
            ),
            gauge("kernel_policy_entries", "Entries of all of them.", sum(self.kernel.policy_entries)),
        ];
        // The others are told where they are counted.
        for (name, value) in &self.counters {
            match redirect::counter_help(name) {
                Some(help) => families.push(Family::own_counter(name, help, *value)),
                None if *name == super::PENDING => {
                    families.push(gauge(
                        name,
                        "Pods that are to be looked at for connections older than policy.",
                        *value,
                    ));
                }
                None => {}
            }
        }
        families
    }
}

fn of_api(api: &ApiStatus) -> [Family; 5] {
    let help = "Records in memory that newer ones took the place of.";
    [
        gauge("hubble_connections", "Connections to the Hubble API.", sum(api.connections)),
        gauge("hubble_streams", "Streams of the Hubble API that are open.", sum(api.streams)),
        gauge("hubble_records", "Records in memory that the Hubble API can answer with.", api.records),
        gauge("hubble_records_bytes", "Bytes that they take.", sum(api.bytes)),
        Family::own_counter("hubble_records_forgotten", help, api.records_forgotten),
    ]
}

fn gauge(name: &str, help: &str, value: u64) -> Family {
    Family::gauge(format!("l7proxy_{name}"), help).with(&[], value)
}

fn sum(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
