//! What policy decided of a connection or datagram: a policy verdict, as Cilium's monitor tells one beside what became of it.
//!
//! Owns which records have one. Never a decision that was not made: who ends or sheds a connection tells none. Start at
//! [`DropRecord::decision`].

use rules::MatchType;

use super::{Allowed, ConnectionRecord, DropReason, DropRecord};

impl DropRecord {
    /// The decision behind a refusal. `None`: policy did not make it, or the record tells it itself.
    #[must_use]
    pub fn decision(&self) -> Option<Self> {
        (self.is_by_policy() && !self.tells_decision()).then(|| Self { is_verdict: true, repeats: 0, ..self.clone() })
    }

    /// Whether it is a policy verdict: of what is audited there is no other record.
    pub(super) fn tells_decision(&self) -> bool {
        self.is_verdict || self.audit
    }

    /// Whether policy refused it.
    pub(super) fn is_by_policy(&self) -> bool {
        matches!(self.reason, DropReason::PolicyDenied | DropReason::PolicyDeny)
    }

    /// What of it the rule looked at that decided.
    pub(super) fn match_type(&self) -> MatchType {
        self.rule.as_ref().map(|rule| rule.matches).unwrap_or_default()
    }
}

impl ConnectionRecord {
    /// The decision behind a connection that begins.
    #[must_use]
    pub fn decision(&self) -> Option<Self> {
        let begins = self.end.is_none() && self.allowed.is_none();
        begins.then(|| Self { allowed: Some(Allowed::Forwarded), ..self.clone() })
    }

    /// What of it the rule looked at that allowed it.
    pub(super) fn match_type(&self) -> MatchType {
        self.rule.as_ref().map(|rule| rule.matches).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
