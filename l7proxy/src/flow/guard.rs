//! One verdict record and one end record per request, by construction.

use std::{
    cell::Cell,
    rc::Rc,
    sync::Arc,
    time::{Instant, SystemTime},
};

use http::StatusCode;
use rules::{Denial, HeaderNotes, Permit};

use super::{Ends, HttpInfo, HttpRecord, Record, Sink, Verdict};
use crate::reject::{CLIENT_LEFT, Rejection};

/// Lives as long as its request: whatever happens, both records are written.
#[derive(Debug)]
pub struct FlowGuard {
    sink: Sink,
    trace: Trace,
    revision: u64,
    /// The verdict, once it was recorded.
    verdict: Option<Verdict>,
}

/// What is needed to record that a request was ended, while whoever serves it has its guard.
#[derive(Clone, Debug)]
pub struct Trace {
    ends: Arc<Ends>,
    http: Arc<HttpInfo>,
    time: SystemTime,
    started: Instant,
    ended: Rc<Cell<bool>>,
}

impl Trace {
    /// Policy of `revision` does not allow it any more.
    pub fn revoked(&self, sink: &Sink, rejection: &Rejection, revision: u64) {
        sink.emit(self.end(denied(rejection).0, Rejection::Ended.code(), Rejection::Ended.reason(), revision));
    }

    /// From now on nobody else records its end.
    fn end(&self, verdict: Verdict, code: u16, reason: &'static str, revision: u64) -> Record {
        self.ended.set(true);
        let latency = self.started.elapsed();
        Record::Response(HttpRecord {
            time: self.time + latency,
            code,
            latency_ns: u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX),
            ..self.record(verdict, reason, revision)
        })
    }

    /// Of its beginning.
    fn record(&self, verdict: Verdict, reason: &'static str, revision: u64) -> HttpRecord {
        HttpRecord {
            time: self.time,
            ends: Arc::clone(&self.ends),
            http: Arc::clone(&self.http),
            verdict,
            code: 0,
            latency_ns: 0,
            reason,
            notes: None,
            revision,
        }
    }
}

/// What a rejection says of who denies, and of headers.
fn denied(rejection: &Rejection) -> (Verdict, Option<Arc<HeaderNotes>>) {
    let Denial { denied_by, rule, tier, nearest, notes } = match rejection {
        Rejection::Denied(denial) => Denial::clone(denial),
        Rejection::NoPolicy
        | Rejection::Malformed(_)
        | Rejection::TooLarge(_)
        | Rejection::TooSlow
        | Rejection::GoingAway
        | Rejection::Ended
        | Rejection::Upstream(_)
        | Rejection::Client(_) => Denial::default(),
    };
    (Verdict::Dropped { reason: rejection.drop_reason(), denied_by, rule, tier, nearest }, notes)
}

impl FlowGuard {
    /// The time is read once, here.
    #[must_use]
    pub fn new(sink: Sink, ends: Arc<Ends>, http: HttpInfo, revision: u64) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one reading of the clock of a request")]
        let time = SystemTime::now();
        let trace = Trace { ends, http: Arc::new(http), time, started: Instant::now(), ended: Rc::default() };
        Self { sink, trace, revision, verdict: None }
    }

    /// For who may end it.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.trace.clone()
    }

    /// It was allowed.
    pub fn forwarded(&mut self, permit: &Permit) {
        self.judge(Verdict::Forwarded(permit.rule().cloned()), "", permit.notes());
    }

    /// It was let pass although policy denies it.
    pub fn audited(&mut self, denial: &Denial) {
        let Denial { denied_by, rule, tier, nearest, notes } = denial.clone();
        let reason = Rejection::reason_of(denial);
        self.judge(Verdict::Audited { denied_by, rule, tier, nearest }, reason, notes.as_ref());
    }

    /// It was refused.
    pub fn dropped(&mut self, rejection: &Rejection) {
        let (verdict, notes) = denied(rejection);
        self.judge(verdict, rejection.reason(), notes.as_ref());
    }

    /// It was answered.
    pub fn answered(mut self, status: StatusCode) {
        let verdict = match self.verdict.take() {
            // Our own answer to a denied request was forwarded, as Hubble's users know it.
            Some(Verdict::Forwarded(rule)) => Verdict::Forwarded(rule),
            Some(Verdict::Dropped { .. } | Verdict::Audited { .. } | Verdict::Error) | None => Verdict::Forwarded(None),
        };
        self.end(verdict, status.as_u16(), "");
    }

    /// It was allowed and failed; the rejection blames who did.
    pub fn failed(mut self, rejection: &Rejection) {
        self.end(Verdict::Error, rejection.code(), rejection.reason());
    }

    fn judge(&mut self, verdict: Verdict, reason: &'static str, notes: Option<&Arc<HeaderNotes>>) {
        self.verdict = Some(verdict.clone());
        let record = self.trace.record(verdict, reason, self.revision);
        self.sink.emit(Record::Request(HttpRecord { notes: notes.cloned(), ..record }));
    }

    fn end(&mut self, verdict: Verdict, code: u16, reason: &'static str) {
        if !self.trace.ended.get() {
            self.sink.emit(self.trace.end(verdict, code, reason, self.revision));
        }
    }
}

impl Drop for FlowGuard {
    fn drop(&mut self) {
        let (code, reason) = CLIENT_LEFT;
        self.end(Verdict::Error, code, reason);
    }
}
