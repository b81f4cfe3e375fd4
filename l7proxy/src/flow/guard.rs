//! One verdict record and one end record per request, by construction.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use http::StatusCode;
use rules::{Denial, HeaderNotes, Permit};

use super::{Asked, Ends, HttpInfo, HttpRecord, RawHeaders, Record, Sink, Verdict};
use crate::reject::{CLIENT_LEFT, Rejection};

/// Lives as long as its request: whatever happens, both records are written.
#[derive(Debug)]
pub struct FlowGuard {
    sink: Sink,
    trace: Trace,
    revision: u64,
    /// Its answer's head, when the record waits for what stands behind the body.
    begun: Option<Box<Answer>>,
}

/// An answer's head.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    fields: RawHeaders,
    latency: Duration,
}

/// How a request ended.
#[derive(Debug)]
struct Ending {
    verdict: Verdict,
    code: u16,
    reason: &'static str,
    fields: RawHeaders,
    /// Until the answer's head; `None`: until now.
    latency: Option<Duration>,
}

impl Ending {
    fn new(verdict: Verdict, code: u16, reason: &'static str) -> Self {
        Self { verdict, code, reason, fields: RawHeaders::default(), latency: None }
    }
}

/// What is needed to record that a request was ended, while whoever serves it has its guard.
#[derive(Clone, Debug)]
pub struct Trace(Arc<Asked>);

impl Trace {
    /// Policy of `revision` does not allow it any more.
    pub fn revoked(&self, sink: &Sink, rejection: &Rejection, revision: u64) {
        let ending = Ending::new(denied(rejection).0, Rejection::Ended.code(), Rejection::Ended.reason());
        self.end(sink, ending, revision);
    }

    /// From now on nobody else records its end.
    fn end(&self, sink: &Sink, ending: Ending, revision: u64) {
        // All who have a part in a request are on one thread.
        self.0.ended.store(true, Ordering::Relaxed);
        let passed = self.0.started.elapsed();
        let Ending { verdict, code, reason, fields, latency } = ending;
        sink.emit(Record::Response(HttpRecord {
            time: self.0.time + passed,
            asked: Arc::clone(&self.0),
            verdict,
            code,
            latency_ns: u64::try_from(latency.unwrap_or(passed).as_nanos()).unwrap_or(u64::MAX),
            reason,
            answer: fields,
            notes: None,
            revision,
        }));
    }
}

/// What a rejection says of who denies, and of headers.
fn denied(rejection: &Rejection) -> (Verdict, Option<Arc<HeaderNotes>>) {
    let denial = match rejection {
        Rejection::Denied(denial) => denial.clone(),
        Rejection::NoPolicy
        | Rejection::Malformed(_)
        | Rejection::TooLarge(_)
        | Rejection::TooSlow
        | Rejection::GoingAway
        | Rejection::Ended
        | Rejection::Upstream(_)
        | Rejection::Client(_) => Box::default(),
    };
    let notes = denial.notes.clone();
    (Verdict::Dropped { reason: rejection.drop_reason(), denial }, notes)
}

impl FlowGuard {
    /// The time is read once, here.
    #[must_use]
    pub fn new(sink: Sink, ends: Arc<Ends>, http: HttpInfo, revision: u64) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one reading of the clock of a request")]
        let time = SystemTime::now();
        sink.requests().came(ends.direction, http.protocol);
        let asked = Asked { ends, http, time, started: Instant::now(), ended: AtomicBool::new(false) };
        Self { sink, trace: Trace(Arc::new(asked)), revision, begun: None }
    }

    /// For who may end it.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.trace.clone()
    }

    /// It was allowed.
    pub fn forwarded(&self, permit: &Permit) {
        self.judge(Verdict::Forwarded(permit.rule().cloned()), "", permit.notes());
    }

    /// It was let pass although policy denies it.
    pub fn audited(&self, denial: &Denial) {
        let reason = Rejection::reason_of(denial);
        self.judge(Verdict::Audited(Box::new(denial.clone())), reason, denial.notes.as_ref());
    }

    /// It was refused.
    pub fn dropped(&self, rejection: &Rejection) {
        let (verdict, notes) = denied(rejection);
        self.judge(verdict, rejection.reason(), notes.as_ref());
    }

    /// It was answered. Our own answer to a denied request was forwarded, as Hubble's users know it. Who allowed the request
    /// stands in its own record.
    pub fn answered(mut self, status: StatusCode, fields: RawHeaders) {
        self.end(Ending { fields, ..Ending::new(Verdict::Forwarded(None), status.as_u16(), "") });
    }

    /// The head of its answer came. The record waits until the answer is over, or [`Self::trailers`].
    pub fn begun(&mut self, status: StatusCode, fields: RawHeaders) {
        let latency = self.trace.0.started.elapsed();
        self.begun = Some(Box::new(Answer { status, fields, latency }));
    }

    /// What stands behind the body: gRPC says there how it went.
    pub fn trailers(&mut self, fields: &RawHeaders) {
        if let Some(answer) = &mut self.begun {
            answer.fields.append(fields);
        }
    }

    /// It was allowed and failed; the rejection blames who did.
    pub fn failed(mut self, rejection: &Rejection) {
        self.end(Ending::new(Verdict::Error, rejection.code(), rejection.reason()));
    }

    fn judge(&self, verdict: Verdict, reason: &'static str, notes: Option<&Arc<HeaderNotes>>) {
        let asked = Arc::clone(&self.trace.0);
        self.sink.emit(Record::Request(HttpRecord {
            time: asked.time,
            asked,
            verdict,
            code: 0,
            latency_ns: 0,
            reason,
            answer: RawHeaders::default(),
            notes: notes.cloned(),
            revision: self.revision,
        }));
    }

    fn end(&mut self, ending: Ending) {
        if !self.trace.0.ended.load(Ordering::Relaxed) {
            self.trace.end(&self.sink, ending, self.revision);
        }
    }
}

impl Drop for FlowGuard {
    fn drop(&mut self) {
        let ending = match self.begun.take() {
            Some(answer) => {
                let Answer { status, fields, latency } = *answer;
                Ending { fields, latency: Some(latency), ..Ending::new(Verdict::Forwarded(None), status.as_u16(), "") }
            }
            None => Ending::new(Verdict::Error, CLIENT_LEFT.0, CLIENT_LEFT.1),
        };
        self.end(ending);
        self.sink.requests().ended(self.trace.0.ends.direction);
    }
}
