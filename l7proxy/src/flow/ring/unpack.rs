//! Flows out of the bytes of a block, in the order in which they were written.
//!
//! Owns what is remembered to read them. Never panics: bytes that mean nothing end the block, and who reads tells the loss.
//! Start at [`Unpacker::next`].

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use super::{
    numbers::{Bytes, time},
    pack::{ASKED_TIME, CONNECTION, DROP, FIELD_TRACE, KINDS, KNOWN, LOST, REQUEST, RESPONSE, TIME, TRACE, trace_of},
    phrases::Read,
    shared::{Kind, Shared},
};
use crate::flow::{Asked, Flow, Headers, HttpInfo, HttpRecord, LostRecord, LostSource, RawHeaders, Record};

/// Reads the flows of a block, from its first one on.
#[derive(Debug)]
pub(super) struct Unpacker {
    at: usize,
    phrases: Read,
    number: u64,
    time: i64,
    asked: Vec<Arc<Asked>>,
    /// Of requests: the clock that durations are measured with does not tell when they were.
    started: Instant,
    fields: String,
}

impl Unpacker {
    pub(super) fn new() -> Self {
        let (started, fields) = (Instant::now(), String::new());
        Self { at: 0, phrases: Read::default(), number: 0, time: 0, asked: Vec::new(), started, fields }
    }

    /// At the first flow of another block.
    pub(super) fn clear(&mut self) {
        (self.at, self.number, self.time) = (0, 0, 0);
        self.phrases.clear();
        self.asked.clear();
    }

    /// The next flow of a block. What was read of it before may be there or not: only what follows is looked at, and the
    /// shapes of texts. `None`: the bytes mean nothing.
    pub(super) fn next(&mut self, all: &[u8], shared: &[Shared]) -> Option<Flow> {
        let mut bytes = Bytes(all.get(self.at..)?);
        let flags = bytes.byte()?;
        self.number = self.number.wrapping_add(bytes.number()?);
        self.time = self.time.wrapping_add(bytes.signed()?);
        let record = match flags & KINDS {
            REQUEST => Record::Request(self.http(flags, all, &mut bytes, shared)?),
            RESPONSE => Record::Response(self.http(flags, all, &mut bytes, shared)?),
            DROP => match shared.get(bytes.length()?)? {
                Shared::Drop(record) => Record::Drop(Box::new((**record).clone())),
                Shared::Kind(_) | Shared::Ends(_) | Shared::Connection(_) => return None,
            },
            CONNECTION => match shared.get(bytes.length()?)? {
                Shared::Connection(record) => Record::Connection(Box::new((**record).clone())),
                Shared::Kind(_) | Shared::Ends(_) | Shared::Drop(_) => return None,
            },
            LOST => Record::Lost(Box::new(self.lost(&mut bytes)?)),
            _ => return None,
        };
        if !matches!(flags & KINDS, REQUEST | RESPONSE) {
            self.fields(all, &mut bytes)?;
        }
        self.at = all.len().checked_sub(bytes.0.len())?;
        Some(Flow { number: self.number, time: time(self.time), headers: Headers::of_text(&self.fields), record })
    }

    fn http(&mut self, flags: u8, all: &[u8], bytes: &mut Bytes<'_>, shared: &[Shared]) -> Option<HttpRecord> {
        let kind = match shared.get(bytes.length()?)? {
            Shared::Kind(kind) => kind,
            Shared::Ends(_) | Shared::Drop(_) | Shared::Connection(_) => return None,
        };
        let latency_ns = bytes.number()?;
        let own = if flags & TIME == 0 { self.time.wrapping_add(bytes.signed()?) } else { self.time };
        self.fields(all, bytes)?;
        let asked = if flags & KNOWN == 0 {
            let asked =
                Arc::new(self.asked(flags, kind, own.wrapping_sub_unsigned(latency_ns), (all, bytes), shared)?);
            self.asked.push(Arc::clone(&asked));
            asked
        } else {
            let place = self.asked.len().checked_sub(bytes.length()?)?;
            Arc::clone(self.asked.get(place)?)
        };
        Some(HttpRecord {
            time: time(own),
            asked,
            verdict: kind.verdict.clone(),
            code: kind.code,
            latency_ns,
            reason: kind.reason,
            answer: RawHeaders::default(),
            notes: kind.notes.clone(),
            revision: kind.revision,
        })
    }

    fn asked(
        &mut self,
        flags: u8,
        kind: &Kind,
        usual: i64,
        (all, bytes): (&[u8], &mut Bytes<'_>),
        shared: &[Shared],
    ) -> Option<Asked> {
        let ends = match shared.get(bytes.length()?)? {
            Shared::Ends(ends) => Arc::clone(ends),
            Shared::Kind(_) | Shared::Drop(_) | Shared::Connection(_) => return None,
        };
        let asked = if flags & ASKED_TIME == 0 { usual.wrapping_add(bytes.signed()?) } else { usual };
        let url = self.phrases.text(all, bytes)?.to_owned();
        let trace = if flags & TRACE == 0 {
            None
        } else if flags & FIELD_TRACE == 0 {
            Some(self.phrases.text(all, bytes)?.to_owned())
        } else {
            Some(trace_of(&self.fields)?.to_owned())
        };
        let (method, protocol, headers) = (kind.method.clone(), kind.protocol, RawHeaders::default());
        let http = HttpInfo { method, url, protocol, trace, headers };
        // Its end was recorded, or never will be: nobody records another one.
        let ended = AtomicBool::new(true);
        Some(Asked { ends, http, time: time(asked), started: self.started, ended })
    }

    fn fields(&mut self, all: &[u8], bytes: &mut Bytes<'_>) -> Option<()> {
        self.fields.clear();
        while !Read::is_end(bytes) {
            self.fields.push_str(self.phrases.text(all, bytes)?);
        }
        Some(())
    }

    fn lost(&self, bytes: &mut Bytes<'_>) -> Option<LostRecord> {
        let source = match bytes.byte()? {
            0 => LostSource::PerfEventRingBuffer,
            1 => LostSource::ObserverEventsQueue,
            2 => LostSource::HubbleRingBuffer,
            _ => return None,
        };
        let count = bytes.number()?;
        let (first, last) = (self.time.wrapping_add(bytes.signed()?), self.time.wrapping_add(bytes.signed()?));
        Some(LostRecord { source, count, first: time(first), last: time(last) })
    }
}
