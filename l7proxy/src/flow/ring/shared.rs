//! What many flows have in common, kept as values beside the packed bytes; and records that are kept whole.
//!
//! Owns their equality and the estimate of their bytes. What several blocks keep is counted once: [`Accounts`]. Start at
//! [`Shared`].

use std::{borrow::Cow, collections::HashMap, mem::size_of, sync::Arc};

use rules::{Denial, HeaderNotes, Nearest, PolicyKey, RuleRef};

use crate::{
    endpoint::{End, Peer},
    flow::{Allowed, ConnectionRecord, DropRecord, Ends, HttpRecord, Process, Verdict},
};

/// What the allocator and the counters of an `Arc` take.
const EACH: usize = 32;

/// A value beside the bytes of a block.
#[derive(Clone, Debug)]
pub(super) enum Shared {
    Kind(Arc<Kind>),
    Ends(Arc<Ends>),
    Drop(Arc<DropRecord>),
    Connection(Arc<ConnectionRecord>),
}

/// What a request or response has in common with others.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) verdict: Verdict,
    pub(super) reason: &'static str,
    pub(super) code: u16,
    pub(super) revision: u64,
    pub(super) method: Cow<'static, str>,
    pub(super) protocol: &'static str,
    pub(super) notes: Option<Arc<HeaderNotes>>,
}

impl Kind {
    pub(super) fn of(record: &HttpRecord) -> Self {
        Self {
            verdict: record.verdict.clone(),
            reason: record.reason,
            code: record.code,
            revision: record.revision,
            method: record.asked.http.method.clone(),
            protocol: record.asked.http.protocol,
            notes: record.notes.clone(),
        }
    }

    pub(super) fn is_of(&self, record: &HttpRecord) -> bool {
        self.code == record.code
            && self.revision == record.revision
            && self.reason == record.reason
            && self.method == record.asked.http.method
            && self.protocol == record.asked.http.protocol
            && self.notes == record.notes
            && same_verdict(&self.verdict, &record.verdict)
    }
}

fn same_verdict(one: &Verdict, other: &Verdict) -> bool {
    match (one, other) {
        (Verdict::Forwarded(one), Verdict::Forwarded(other)) => one == other,
        (Verdict::Dropped { reason, denial }, Verdict::Dropped { reason: other, denial: by }) => {
            reason == other && same_denial(denial, by)
        }
        (Verdict::Audited(one), Verdict::Audited(other)) => same_denial(one, other),
        (Verdict::Error, Verdict::Error) => true,
        (Verdict::Forwarded(_) | Verdict::Dropped { .. } | Verdict::Audited(_) | Verdict::Error, _) => false,
    }
}

fn same_denial(one: &Denial, other: &Denial) -> bool {
    let Denial { denied_by, rule, tier, nearest, notes } = one;
    *denied_by == other.denied_by
        && *rule == other.rule
        && *tier == other.tier
        && *nearest == other.nearest
        && *notes == other.notes
}

/// Bytes of values that blocks share, each counted once for as long as a block keeps it.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    /// By address: uses, bytes. What is used is kept by a block, so that no other value has its address.
    uses: HashMap<usize, (u32, usize)>,
    bytes: usize,
}

impl Accounts {
    /// Of all that is in use.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.uses.len() * 2 * size_of::<(usize, (u32, usize))>()
    }

    #[cfg(test)]
    pub(super) fn values(&self) -> usize {
        self.uses.len()
    }

    /// A block keeps it: the bytes that were not counted yet.
    pub(super) fn add(&mut self, shared: &Shared) -> usize {
        let before = self.bytes;
        shared.parts(&mut |address, bytes| {
            let (uses, counted) = self.uses.entry(address).or_insert((0, bytes));
            if *uses == 0 {
                self.bytes += *counted;
            }
            *uses += 1;
        });
        self.bytes - before
    }

    /// The block is gone.
    pub(super) fn remove(&mut self, shared: &Shared) {
        shared.parts(&mut |address, _| {
            let Some((uses, bytes)) = self.uses.get_mut(&address) else { return };
            *uses -= 1;
            if *uses == 0 {
                self.bytes -= *bytes;
                self.uses.remove(&address);
            }
        });
        if self.uses.capacity() > 4 * self.uses.len().max(1024) {
            self.uses.shrink_to_fit();
        }
    }
}

impl Shared {
    /// Every allocation of its own: address and bytes.
    fn parts(&self, part: &mut dyn FnMut(usize, usize)) {
        match self {
            Self::Kind(kind) => {
                let own = kind.method.len() + verdict(&kind.verdict, part);
                notes(kind.notes.as_ref(), part);
                part(Arc::as_ptr(kind).addr(), EACH + size_of::<Kind>() + own);
            }
            Self::Ends(ends) => {
                peers([&ends.source, &ends.destination], part);
                part(Arc::as_ptr(ends).addr(), EACH + size_of::<Ends>());
            }
            Self::Drop(record) => {
                peers([&record.source, &record.destination], part);
                record.rule.iter().for_each(|rule| self::rule(rule, part));
                policies(&record.denied_by, part);
                let own = nearest(record.nearest.as_ref(), part) + process(record.process.as_ref());
                let own = own + record.backends.iter().flatten().map(text).sum::<usize>();
                let own = own + record.tier.as_ref().map_or(0, |tier| tier.len());
                part(Arc::as_ptr(record).addr(), EACH + size_of::<DropRecord>() + own);
            }
            Self::Connection(record) => {
                peers([&record.ends.source, &record.ends.destination], part);
                record.rule.iter().for_each(|rule| self::rule(rule, part));
                if let Some(Allowed::Redirected(by)) = &record.allowed {
                    policies(by, part);
                }
                let own = process(record.process.as_ref());
                part(Arc::as_ptr(record).addr(), EACH + size_of::<ConnectionRecord>() + own);
            }
        }
    }
}

type Part<'p> = &'p mut dyn FnMut(usize, usize);

/// Bytes of a text that is one of many.
fn text(text: &String) -> usize {
    size_of::<String>() + text.capacity()
}

/// What is not shared is returned.
fn verdict(verdict: &Verdict, part: Part<'_>) -> usize {
    match verdict {
        Verdict::Forwarded(by) => {
            if let Some(by) = by {
                rule(by, part);
            }
            0
        }
        Verdict::Dropped { denial, .. } | Verdict::Audited(denial) => {
            policies(&denial.denied_by, part);
            denial.rule.iter().for_each(|by| rule(by, part));
            notes(denial.notes.as_ref(), part);
            let own = nearest(denial.nearest.as_ref(), part) + denial.tier.as_ref().map_or(0, |tier| tier.len());
            EACH + size_of::<Denial>() + own
        }
        Verdict::Error => 0,
    }
}

fn nearest(nearest: Option<&Nearest>, part: Part<'_>) -> usize {
    let Some(nearest) = nearest else { return 0 };
    rule(&nearest.rule, part);
    nearest.field.capacity() + nearest.expected.capacity()
}

fn notes(notes: Option<&Arc<HeaderNotes>>, part: Part<'_>) {
    let Some(notes) = notes else { return };
    let all = notes.missing.iter().chain(&notes.rejected);
    let bytes: usize = all.map(|note| text(&note.name) + text(&note.value)).sum();
    part(Arc::as_ptr(notes).addr(), EACH + size_of::<HeaderNotes>() + bytes);
}

fn rule(rule: &Arc<RuleRef>, part: Part<'_>) {
    let RuleRef { policy, rule: place, summary, log, matches: _ } = &**rule;
    self::policy(policy, part);
    let own = place.capacity() + summary.capacity() + log.as_ref().map_or(0, |log| EACH + log.len());
    part(Arc::as_ptr(rule).addr(), EACH + size_of::<RuleRef>() + own);
}

fn policies(policies: &Arc<[Arc<PolicyKey>]>, part: Part<'_>) {
    policies.iter().for_each(|policy| self::policy(policy, part));
    let address = Arc::as_ptr(policies).cast::<u8>().addr();
    part(address, EACH + policies.len() * size_of::<Arc<PolicyKey>>());
}

fn policy(policy: &Arc<PolicyKey>, part: Part<'_>) {
    let bytes = policy.namespace.capacity() + policy.name.capacity();
    part(Arc::as_ptr(policy).addr(), EACH + size_of::<PolicyKey>() + bytes);
}

fn peers(ends: [&End; 2], part: Part<'_>) {
    for (peer, _) in ends {
        let Peer { identity: _, id: _, cluster, namespace, pod, labels, workload, service, names } = &**peer;
        let texts = [cluster, namespace, pod].map(String::capacity).iter().sum::<usize>();
        let lists: usize = labels.iter().chain(names).map(text).sum();
        let workload = workload.as_ref().map_or(0, |(kind, name)| kind.capacity() + name.capacity());
        let service = service.as_ref().map_or(0, |service| {
            let backends = service.backends.iter().map(|backend| size_of_val(backend) + backend.pod.capacity());
            let own = size_of_val(&**service) + service.namespace.capacity() + service.name.capacity();
            EACH + own + service.ports.len() * size_of::<(rules::Protocol, u16)>() + backends.sum::<usize>()
        });
        let bytes = size_of::<Peer>() + texts + lists + workload + service;
        part(Arc::as_ptr(peer).addr(), EACH + bytes);
    }
}

fn process(process: Option<&Process>) -> usize {
    process.map_or(0, |process| process.command.capacity())
}
