//! What a record says besides who and when, the same for every form that it is written in.
//!
//! Owns which of it is told of which kind of record. Never formats. Start at [`Said::of`].

use std::{slice, sync::Arc};

use rules::{Denial, HeaderNote, Nearest, PolicyKey, RuleRef};

use super::{Allowed, ConnectionEnd, ConnectionRecord, DropReason, DropRecord, HttpRecord, Process, Verdict};

/// Pods behind a Service that a record names.
const MAX_BACKENDS: usize = 8;

/// `flow.Verdict`, as far as it is used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Forwarded,
    Dropped,
    Error,
    Audit,
    Redirected,
}

impl Shown {
    /// Of a request or a response.
    pub(super) fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Forwarded(_) => Self::Forwarded,
            Verdict::Dropped { .. } => Self::Dropped,
            Verdict::Audited(_) => Self::Audit,
            Verdict::Error => Self::Error,
        }
    }

    /// Number and name.
    pub(super) fn hubble(self) -> (u32, &'static str) {
        match self {
            Self::Forwarded => (1, "FORWARDED"),
            Self::Dropped => (2, "DROPPED"),
            Self::Error => (3, "ERROR"),
            Self::Audit => (4, "AUDIT"),
            Self::Redirected => (5, "REDIRECTED"),
        }
    }

    /// As Hubble's metrics name it.
    pub(super) fn action(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Dropped => "dropped",
            Self::Error => "error",
            Self::Audit => "audit",
            Self::Redirected => "redirected",
        }
    }
}

/// What a record says.
#[derive(Debug)]
pub(super) struct Said<'a> {
    pub(super) verdict: Shown,
    pub(super) drop: Option<DropReason>,
    /// Policies that allow it, or that deny it.
    pub(super) is_allowed: bool,
    policies: &'a [Arc<PolicyKey>],
    pub(super) rule: Option<&'a Arc<RuleRef>>,
    pub(super) revision: u64,
    tier: Option<&'a str>,
    nearest: Option<&'a Nearest>,
    process: Option<&'a Process>,
    connection: Option<&'a ConnectionRecord>,
    reason: &'a str,
    missing: &'a [HeaderNote],
    rejected: &'a [HeaderNote],
    repeats: u64,
    backends: Option<&'a [String]>,
}

/// A form that the fields of our extension are written in.
pub(super) trait Fields: Sized {
    fn number(&mut self, name: &'static str, value: u64);
    fn text(&mut self, name: &'static str, value: &str);
    fn texts(&mut self, name: &'static str, values: &[String]);
    fn notes(&mut self, name: &'static str, notes: &[HeaderNote]);
    /// `policy`, `rule` (its place in the spec) and `summary` (what it asks for).
    fn rule(&mut self, rule: &Arc<RuleRef>);
    fn object(&mut self, name: &'static str, content: impl FnOnce(&mut Self));
}

impl<'a> Said<'a> {
    fn nothing(verdict: Shown, revision: u64) -> Self {
        Self {
            verdict,
            drop: None,
            is_allowed: true,
            policies: &[],
            rule: None,
            revision,
            tier: None,
            nearest: None,
            process: None,
            connection: None,
            reason: "",
            missing: &[],
            rejected: &[],
            repeats: 0,
            backends: None,
        }
    }

    /// Of a request, or of a response. Who allowed it stands in the request's record alone, as in Hubble.
    pub(super) fn http(record: &'a HttpRecord, is_reply: bool) -> Self {
        let shown = Shown::of(&record.verdict);
        let mut said = Self { reason: record.reason, ..Self::nothing(shown, record.revision) };
        if let Some(notes) = &record.notes {
            (said.missing, said.rejected) = (&notes.missing, &notes.rejected);
        }
        match &record.verdict {
            Verdict::Forwarded(Some(rule)) if !is_reply => {
                said.rule = Some(rule);
                said.policies = slice::from_ref(&rule.policy);
            }
            Verdict::Dropped { reason, denial } => {
                said.drop = Some(*reason);
                said.deny(denial);
            }
            Verdict::Audited(denial) => said.deny(denial),
            Verdict::Forwarded(_) | Verdict::Error => {}
        }
        said
    }

    fn deny(&mut self, denial: &'a Denial) {
        self.is_allowed = false;
        self.policies = &denial.denied_by;
        self.rule = denial.rule.as_ref();
        self.tier = denial.tier.as_deref();
        self.nearest = denial.nearest.as_ref();
    }

    /// Of what the kernel refused.
    pub(super) fn refusal(record: &'a DropRecord) -> Self {
        let verdict = if record.audit { Shown::Audit } else { Shown::Dropped };
        Self {
            drop: Some(record.reason).filter(|_| !record.audit),
            is_allowed: false,
            policies: &record.denied_by,
            rule: record.rule.as_ref(),
            tier: record.tier.as_deref(),
            nearest: record.nearest.as_ref(),
            process: record.process.as_ref(),
            reason: record.detail,
            repeats: record.repeats,
            backends: record.backends.as_deref(),
            ..Self::nothing(verdict, record.revision)
        }
    }

    /// Of a connection that was allowed, began or ended.
    pub(super) fn connection(record: &'a ConnectionRecord) -> Self {
        let (verdict, policies) = match &record.allowed {
            Some(Allowed::Redirected(policies)) => (Shown::Redirected, &**policies),
            Some(Allowed::Forwarded) | None => {
                let of_rule = record.rule.as_ref().map(|rule| slice::from_ref(&rule.policy));
                (Shown::Forwarded, of_rule.unwrap_or_default())
            }
        };
        Self {
            policies,
            rule: record.rule.as_ref(),
            process: record.process.as_ref(),
            connection: Some(record).filter(|record| record.allowed.is_none()),
            ..Self::nothing(verdict, record.revision)
        }
    }

    /// Policies that allow it, or that deny it.
    pub(super) fn policies(&self) -> slice::Iter<'a, Arc<PolicyKey>> {
        self.policies.iter()
    }

    /// `log.value` of the deciding rule's policy.
    pub(super) fn log(&self) -> Option<&'a str> {
        self.rule.and_then(|rule| rule.log.as_deref())
    }

    /// What Hubble has no field for.
    pub(super) fn extension(&self, out: &mut impl Fields) {
        out.number("policyRevision", self.revision);
        if !self.reason.is_empty() {
            out.text("reason", self.reason);
        }
        if self.repeats != 0 {
            out.number("repeats", self.repeats);
        }
        if let Some(rule) = self.rule {
            out.rule(rule);
        }
        if let Some(tier) = self.tier {
            out.text("tier", tier);
        }
        if let Some(nearest) = self.nearest {
            out.object("nearest", |out| {
                out.rule(&nearest.rule);
                out.text("field", &nearest.field);
                out.text("expected", &nearest.expected);
            });
        }
        for (name, notes) in [("missingHeaders", self.missing), ("rejectedHeaders", self.rejected)] {
            if !notes.is_empty() {
                out.notes(name, notes);
            }
        }
        if let Some(backends) = self.backends {
            out.texts("deniedBackends", backends.get(..MAX_BACKENDS).unwrap_or(backends));
        }
        if let Some(process) = self.process {
            out.object("process", |out| {
                out.number("pid", process.pid.into());
                out.text("command", &process.command);
            });
        }
        if let Some(connection) = self.connection {
            out.object("connection", |out| life(connection.end, out));
        }
    }
}

fn life(end: Option<ConnectionEnd>, out: &mut impl Fields) {
    let Some(ConnectionEnd { lasted, sent, received }) = end else { return out.text("state", "opened") };
    out.text("state", "ended");
    out.number("durationMs", u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX));
    out.number("bytesSent", sent);
    out.number("bytesReceived", received);
}

/// Labels of a policy, as Cilium gives them to what it makes of one: sorted.
pub(super) fn policy_labels(policy: &PolicyKey) -> Vec<String> {
    let label = |key: &str, value: &str| format!("k8s:io.cilium.k8s.policy.{key}={value}");
    let mut labels = vec![label("derived-from", &policy.kind.to_string()), label("name", &policy.name)];
    if !policy.namespace.is_empty() {
        labels.push(label("namespace", &policy.namespace));
    }
    labels
}
