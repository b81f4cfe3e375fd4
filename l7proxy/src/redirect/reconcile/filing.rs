//! The writes to the policy maps that its mirror plans.
//!
//! Each write is counted. Must never write under a number that a pod is on: [`Policies`] says what is written where. Start
//! at [`Redirect::file`].

use redirect_abi::{POLICY_BITS_ANY, POLICY_BITS_PROTOCOL, POLICY_ENTRIES, PolicyKey, PolicyValue};

use super::{Desired, Redirect};
use crate::redirect::{
    PolicyFigures, RedirectError,
    entries::Entry,
    policies::{Change, Plan, Policies},
};

/// The mirror of the policy maps, and what keeps it one.
#[derive(Debug)]
pub(super) struct Filed {
    pub(super) policies: Policies,
    /// A program may still read what no pod is on any more.
    is_read: bool,
    writes: u64,
}

impl Default for Filed {
    fn default() -> Self {
        Self { policies: Policies::new(POLICY_ENTRIES), is_read: false, writes: 0 }
    }
}

impl Redirect {
    /// Writes the policies of `desired` under numbers that no pod is on. What cannot be written is told in `errors`; its
    /// pods have no number in the plan.
    pub(super) fn file(&mut self, desired: &Desired, errors: &mut Vec<RedirectError>) -> Result<Plan, RedirectError> {
        // After a failure something may be left that is still read.
        self.settle()?;
        let wanted = desired.pods.iter().map(|(cookie, pod)| (*cookie, &pod.entries));
        let mut plan = self.applied.filed.policies.plan(wanted);
        if plan.left_out > 0 {
            let reason = format!(
                "no room for the entries of {} pods beside those in force ({POLICY_ENTRIES} at most): they keep what they had",
                plan.left_out
            );
            errors.push(RedirectError::Map { map: "POLICY_EXACT", reason });
        }
        let emptied = self.remove_waste();
        for change in std::mem::take(&mut plan.changes) {
            let written = if emptied.is_ok() { self.write(&change) } else { Ok(()) };
            self.applied.filed.policies.written(change, emptied.is_ok() && written.is_ok());
            errors.extend(written.err());
        }
        emptied.map(|()| plan)
    }

    fn write(&mut self, change: &Change) -> Result<(), RedirectError> {
        let (gone, written) = change.writes();
        for entry in gone {
            self.remove(change.number, &entry)?;
        }
        for entry in written {
            let Entry { action, precedence, rule, .. } = entry;
            let value = PolicyValue { action, pad: [0; 3], precedence, rule };
            self.applied.filed.count();
            let (bits, key) = policy_key(change.number, &entry);
            self.maps.policy.insert(bits, key, value)?;
        }
        Ok(())
    }

    fn remove(&mut self, number: u32, entry: &Entry) -> Result<(), RedirectError> {
        self.applied.filed.count();
        let (bits, key) = policy_key(number, entry);
        self.maps.policy.remove(bits, key)
    }

    fn remove_waste(&mut self) -> Result<(), RedirectError> {
        while let Some((number, entry)) = self.applied.filed.policies.next_waste() {
            self.remove(number, &entry)?;
            self.applied.filed.policies.removed();
        }
        Ok(())
    }

    /// After pods were switched: what they were on is kept for the next change, or removed.
    pub(super) fn settle(&mut self) -> Result<(), RedirectError> {
        if self.applied.filed.is_read && self.applied.attached {
            self.wait_for_programs()?;
        }
        self.applied.filed.is_read = false;
        self.maps.pods.settle();
        self.applied.filed.policies.settle();
        self.remove_waste()
    }

    /// What is filed in the kernel.
    #[must_use]
    pub fn policy_figures(&self) -> PolicyFigures {
        self.applied.filed.policies.figures()
    }

    /// Writes and removals in the kernel's policy map so far.
    pub(in crate::redirect) fn policy_writes(&self) -> u64 {
        self.applied.filed.writes
    }
}

impl Filed {
    pub(super) fn switched(&mut self, cookie: u64, number: Option<u32>) {
        self.policies.switched(cookie, number);
        self.is_read = true;
    }

    fn count(&mut self) {
        self.writes = self.writes.saturating_add(1);
    }
}

/// The leading bits that count, and the key.
fn policy_key(number: u32, entry: &Entry) -> (u32, PolicyKey) {
    let Entry { direction, identity, protocol, port, port_bits, .. } = *entry;
    let bits = if protocol == 0 { POLICY_BITS_ANY } else { POLICY_BITS_PROTOCOL + u32::from(port_bits) };
    (bits, PolicyKey { policy: number, identity, direction, protocol, port_be: port.to_be() })
}
