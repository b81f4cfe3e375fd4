//! From a refusal of the kernel to a record.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use rules::{Denial, Direction, Protocol};

use super::RuleIds;
use crate::{
    endpoint::EndpointId,
    flow::{DropReason, DropRecord, Process, Record, Sink},
    policy::{Store, World},
    redirect::{self, EGRESS, Redirect, RedirectError, Refusal, Refusals},
};

/// Policy does not allow every pod behind the Service.
const BACKEND_DENIED: &str = "service-backend";
/// No ready pod is known behind the Service.
const NO_BACKENDS: &str = "service-without-backends";

/// The refusals of the kernel, and those that were lost there.
#[derive(Debug)]
pub(super) struct Telling {
    refusals: Refusals,
    lost: u64,
}

impl Telling {
    pub(super) fn new(redirect: &mut Redirect) -> Result<Self, RedirectError> {
        Ok(Self { refusals: redirect.refusals()?, lost: 0 })
    }

    /// Waits for refusals and records each.
    pub(super) async fn drain(
        &mut self,
        redirect: &Redirect,
        store: &Store,
        ids: &RuleIds,
        flows: &Sink,
    ) -> Result<(), RedirectError> {
        let lost = self.refusals.drain(|refusal, repeats| tell(refusal, repeats, store, ids, flows)).await?;
        self.tell_lost(lost, redirect, flows)
    }

    /// Records what is left, at the end.
    pub(super) fn finish(
        mut self,
        redirect: &Redirect,
        store: &Store,
        ids: &RuleIds,
        flows: &Sink,
    ) -> Result<(), RedirectError> {
        let lost =
            self.refusals.settle(Duration::ZERO, |refusal, repeats| tell(refusal, repeats, store, ids, flows))?;
        self.tell_lost(lost, redirect, flows)
    }

    fn tell_lost(&mut self, lost: u64, redirect: &Redirect, flows: &Sink) -> Result<(), RedirectError> {
        let before = self.lost;
        self.lost = redirect.refusals_lost()?;
        flows.lost(lost + self.lost.saturating_sub(before));
        Ok(())
    }
}

fn tell(refusal: &Refusal, repeats: u64, store: &Store, ids: &RuleIds, flows: &Sink) {
    #[expect(clippy::disallowed_methods, reason = "the hook took no time; this is where the event is first seen")]
    let now = SystemTime::now();
    record(refusal, repeats, &store.current(), ids, flows, now);
}

/// Writes the record of a refusal: by the rule that the kernel says it was, also when policy has changed since; where no
/// rule decided, as the newest policy sees it.
fn record(refusal: &Refusal, repeats: u64, world: &World, ids: &RuleIds, flows: &Sink, now: SystemTime) {
    let direction = if refusal.direction == EGRESS { Direction::Egress } else { Direction::Ingress };
    let (local, remote) = (redirect::local(refusal), redirect::remote(refusal));
    let endpoint = world.endpoints.get(&EndpointId(refusal.endpoint));
    let other = world.ipcache.lookup(remote.ip());
    let [source, destination] = world.ends(EndpointId(refusal.endpoint), direction, local, remote);
    let policy = endpoint.map(|endpoint| endpoint.direction(direction));
    let port = SocketAddr::port(&destination.1);
    let (denial, revision) = match ids.rule(refusal.rule) {
        Some(known) => (Some(Denial::by(&known.rule)), known.until.unwrap_or(world.revision)),
        None => (policy.map(|policy| policy.denial_of(other.identity(), refusal.protocol, port)), world.revision),
    };
    let by_rule = denial.as_ref().is_some_and(|denial| denial.rule.is_some());
    let protocol = Protocol::from_number(refusal.protocol);
    let (reason, mut detail) = reason(refusal.reason, by_rule);
    let service = other.service.as_deref().filter(|_| direction == Direction::Egress);
    let backends = service.zip(policy).and_then(|(service, policy)| service.denied(policy, protocol, port));
    if let (Some(service), Some(denied)) = (service, &backends)
        && matches!(detail, "no-rule" | "deny-rule" | "backstop")
    {
        detail = if denied.is_empty() && service.is_empty(protocol, port) { NO_BACKENDS } else { BACKEND_DENIED };
    }
    let Denial { denied_by, rule, tier, nearest, .. } = denial.unwrap_or_default();
    let refused = DropRecord {
        time: now,
        direction,
        protocol: refusal.protocol,
        source,
        destination,
        denied_by,
        rule,
        tier,
        nearest,
        audit: refusal.reason == redirect::REASON_AUDIT,
        process: (refusal.pid != 0).then(|| Process { pid: refusal.pid, command: redirect::command(&refusal.command) }),
        reason,
        detail,
        flags: refusal.flags,
        backends,
        repeats,
        revision,
        is_verdict: false,
    };
    if let Some(decision) = refused.decision() {
        flows.emit(Record::Drop(Box::new(decision)));
    }
    flows.emit(Record::Drop(Box::new(refused)));
}

/// What the kernel's reason is for records; `by_rule`: a rule denies it, rather than that none allows it.
fn reason(number: u8, by_rule: bool) -> (DropReason, &'static str) {
    match number {
        redirect::REASON_NO_REDIRECT => (DropReason::ProxyRedirection, "needs-http-rules-on-redirectable-tcp"),
        redirect::REASON_NO_PROXY => (DropReason::ProxyRedirection, "proxy-not-listening"),
        redirect::REASON_UNKNOWN_ADDRESS => (DropReason::UnroutableIp, "address-not-of-a-known-pod"),
        redirect::REASON_NOT_ENROLLED => (DropReason::NoPolicy, "namespace-not-enrolled"),
        redirect::REASON_NOT_REDIRECTED => (DropReason::PolicyDenied, "egress-port-without-redirection"),
        redirect::REASON_MALFORMED => (DropReason::InvalidPacket, "backstop-malformed"),
        redirect::REASON_NOT_IP => (DropReason::UnsupportedProtocol, "backstop-not-ip"),
        redirect::REASON_FRAGMENT => (DropReason::Fragment, "backstop-fragment"),
        redirect::REASON_BACKSTOP if by_rule => (DropReason::PolicyDeny, "backstop"),
        redirect::REASON_BACKSTOP => (DropReason::PolicyDenied, "backstop"),
        _ if by_rule => (DropReason::PolicyDeny, "deny-rule"),
        _ => (DropReason::PolicyDenied, "no-rule"),
    }
}
