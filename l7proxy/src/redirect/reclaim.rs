//! Back to this process: another one had begun to take over, and died in the middle of it.
//!
//! Owns the second attachment of programs whose maps are as they should be. Never changes an entry. Start at
//! [`Redirect::reclaim`].

use super::{Enrolment, Redirect, RedirectError};

impl Redirect {
    /// All links run this process' programs again, and links that came meanwhile go. Pods without an `enrolment` are those
    /// that ended and whose namespaces may be left. Gives what could not be done.
    pub fn reclaim<'a>(&mut self, enrolment: impl Fn(u64) -> Option<Enrolment<'a>>) -> Vec<RedirectError> {
        let mut errors = Vec::new();
        let cookies: Vec<u64> = self.applied.desired.pods.keys().copied().collect();
        for cookie in cookies {
            // One pod's trouble (its namespace just ended) is not the others'.
            let attached = match enrolment(cookie) {
                Some(sockets) => self.attach_again(cookie, &sockets),
                None => self.links.run_again(&mut self.ebpf, cookie),
            };
            errors.extend(attached.err());
        }
        self.links.forget_cgroup();
        errors.extend(self.links.attach_cgroup(&mut self.ebpf).err());
        errors.extend(self.links.remove_foreign().err());
        errors
    }

    fn attach_again(&mut self, cookie: u64, sockets: &Enrolment<'_>) -> Result<(), RedirectError> {
        self.guards.remove(&cookie);
        self.guard_pod(cookie, sockets.exits)?;
        self.links.attach_pod(&mut self.ebpf, cookie, sockets.netns)
    }

    /// Every program that ran when this was called has ended: none reads what was gone by then, and after a take-over none of
    /// this process runs.
    pub fn wait_for_programs(&self) -> Result<(), RedirectError> {
        self.barrier.wait().map_err(|error| RedirectError::Map { map: "barrier", reason: error.to_string() })
    }
}
