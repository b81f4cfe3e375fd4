//! From records to flows: each gets its place among those of this node, and what may be shown of its message.
//!
//! Never gives a number or a time twice. Start at [`Order::flow`].

use std::time::{Duration, SystemTime};

use super::{Flow, Headers, Record, Redaction};

/// What an answer's flow repeats of its request's fields, as Cilium's does.
const REPEATED: &str = "X-Request-Id";

/// Gives places.
#[derive(Debug)]
pub(super) struct Order {
    number: u64,
    last: SystemTime,
    redaction: Redaction,
}

impl Order {
    pub(super) fn new(redaction: Redaction) -> Self {
        Self { number: 0, last: SystemTime::UNIX_EPOCH, redaction }
    }

    /// The next one. Its time is that of its record, or a nanosecond more than the last one's.
    pub(super) fn flow(&mut self, record: Record) -> Flow {
        self.number += 1;
        self.last = record.time().max(self.last + Duration::from_nanos(1));
        let headers = match &record {
            Record::Request(http) => self.redaction.show(&http.asked.http.headers, None),
            Record::Response(http) => self
                .redaction
                .show(&http.answer, http.asked.http.headers.field(REPEATED).map(|value| (REPEATED.as_bytes(), value))),
            Record::Drop(_) | Record::Connection(_) | Record::Lost(_) => Headers::default(),
        };
        Flow { number: self.number, time: self.last, headers, record }
    }
}
