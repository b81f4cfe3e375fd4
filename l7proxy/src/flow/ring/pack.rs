//! Flows as bytes of a block, one after another: each says what it has other than those before it.
//!
//! Owns the form and what is remembered to write it. Never keeps a header field that is not to be seen: only what a flow
//! shows. `unpack` reads it. Start at [`Packer::put`].

use std::{
    mem::size_of,
    sync::{Arc, Weak},
};

use super::{
    numbers::{nanos, put, put_length, put_signed},
    phrases::{self, Phrases},
    shared::{Accounts, Kind, Shared},
};
use crate::flow::{Asked, Ends, Flow, Headers, HttpRecord, LostRecord, LostSource, Record, Verdict, fragments::spread};

/// What kind of record it is, in the lowest bits of its first byte.
pub(super) const REQUEST: u8 = 0;
pub(super) const RESPONSE: u8 = 1;
pub(super) const DROP: u8 = 2;
pub(super) const CONNECTION: u8 = 3;
pub(super) const LOST: u8 = 4;
pub(super) const KINDS: u8 = 7;
/// Its request is in this block.
pub(super) const KNOWN: u8 = 8;
/// The record's time is the flow's.
pub(super) const TIME: u8 = 16;
/// The request's time is the record's, less its latency.
pub(super) const ASKED_TIME: u8 = 32;
/// It has a trace id.
pub(super) const TRACE: u8 = 64;
/// Which its fields tell.
pub(super) const FIELD_TRACE: u8 = 128;

/// Kinds, connections and requests that are looked up.
const KINDS_KEPT: usize = 1024;
/// Kinds that may take each other's places.
const WAYS: usize = 4;
const ENDS_KEPT: usize = 1024;
const ASKED_KEPT: usize = 1024;

/// Place of what only the block before has.
const ELSEWHERE: usize = usize::MAX;

/// What was written, and its place in the block.
type Slot<T> = Option<(T, usize)>;
type Slots<T> = Vec<Slot<T>>;

/// Writes the flows of a block.
#[derive(Debug)]
pub(super) struct Packer {
    bytes: Vec<u8>,
    shared: Vec<Shared>,
    /// Of what this block was the first to keep.
    first_kept: usize,
    phrases: Phrases,
    number: u64,
    time: i64,
    kinds: Slots<Arc<Kind>>,
    ends: Slots<Arc<Ends>>,
    /// Weak ones keep the address, and nothing else.
    asked: Slots<Weak<Asked>>,
    asks: usize,
}

impl Packer {
    pub(super) fn new() -> Self {
        let mut phrases = Phrases::default();
        phrases.clear();
        Self {
            bytes: Vec::new(),
            shared: Vec::new(),
            first_kept: 0,
            phrases,
            number: 0,
            time: 0,
            kinds: slots(KINDS_KEPT),
            ends: slots(ENDS_KEPT),
            asked: slots(ASKED_KEPT),
            asks: 0,
        }
    }

    /// What was written.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What it refers to.
    pub(super) fn shared(&self) -> &[Shared] {
        &self.shared
    }

    /// Bytes that this block takes, without what older ones keep as well.
    pub(super) fn weight(&self) -> usize {
        self.bytes.len() + self.shared.len() * size_of::<Shared>() + self.first_kept
    }

    /// The block is full: what it refers to; and the next one begins.
    pub(super) fn next_block(&mut self) -> Box<[Shared]> {
        let shared = self.shared.as_slice().into();
        self.bytes.clear();
        self.shared.clear();
        // What an untypical block left.
        self.bytes.shrink_to(128 << 10);
        self.shared.shrink_to(4096);
        self.phrases.clear();
        (self.first_kept, self.number, self.time, self.asks) = (0, 0, 0, 0);
        // Blocks share their kinds, as long as each uses them.
        for slot in &mut self.kinds {
            *slot = slot.take().filter(|(_, place)| *place != ELSEWHERE).map(|(kind, _)| (kind, ELSEWHERE));
        }
        self.ends.fill(None);
        self.asked.fill_with(|| None);
        shared
    }

    /// Writes a flow.
    pub(super) fn put(&mut self, flow: Flow, accounts: &mut Accounts) {
        let Flow { number, time, headers, record } = flow;
        let time = nanos(time);
        let head = self.bytes.len();
        self.bytes.push(0);
        put(&mut self.bytes, number.wrapping_sub(self.number));
        put_signed(&mut self.bytes, time.wrapping_sub(self.time));
        (self.number, self.time) = (number, time);
        let flags = match record {
            Record::Request(http) => REQUEST | self.http(&http, time, &headers, accounts),
            Record::Response(http) => RESPONSE | self.http(&http, time, &headers, accounts),
            Record::Drop(record) => {
                self.whole(Shared::Drop(Arc::from(record)), accounts);
                DROP
            }
            Record::Connection(record) => {
                self.whole(Shared::Connection(Arc::from(record)), accounts);
                CONNECTION
            }
            Record::Lost(lost) => {
                self.lost(*lost, time);
                LOST
            }
        };
        if !matches!(flags & KINDS, REQUEST | RESPONSE) {
            self.headers(&headers);
        }
        if let Some(head) = self.bytes.get_mut(head) {
            *head = flags;
        }
    }

    fn http(&mut self, record: &HttpRecord, time: i64, headers: &Headers, accounts: &mut Accounts) -> u8 {
        let Asked { http, .. } = &*record.asked;
        let kind = self.kind(record, accounts);
        put_length(&mut self.bytes, kind);
        put(&mut self.bytes, record.latency_ns);
        let mut flags = 0;
        let own = nanos(record.time);
        if own == time {
            flags |= TIME;
        } else {
            put_signed(&mut self.bytes, own.wrapping_sub(time));
        }
        self.headers(headers);
        if let Some(known) = self.known(&record.asked) {
            put_length(&mut self.bytes, known);
            return flags | KNOWN;
        }
        let ends = self.ends(&record.asked.ends, accounts);
        put_length(&mut self.bytes, ends);
        let (asked, usual) = (nanos(record.asked.time), own.wrapping_sub_unsigned(record.latency_ns));
        if asked == usual {
            flags |= ASKED_TIME;
        } else {
            put_signed(&mut self.bytes, asked.wrapping_sub(usual));
        }
        self.phrases.put(http.url.as_bytes(), &mut self.bytes);
        match &http.trace {
            None => flags,
            Some(trace) if trace_of(headers.text()) == Some(trace) => flags | TRACE | FIELD_TRACE,
            Some(trace) => {
                self.phrases.put(trace.as_bytes(), &mut self.bytes);
                flags | TRACE
            }
        }
    }

    fn headers(&mut self, headers: &Headers) {
        for line in headers.text().split_inclusive('\n') {
            self.phrases.put(line.as_bytes(), &mut self.bytes);
        }
        self.bytes.push(phrases::END);
    }

    fn whole(&mut self, shared: Shared, accounts: &mut Accounts) {
        put_length(&mut self.bytes, self.shared.len());
        self.keep(shared, accounts);
    }

    fn lost(&mut self, lost: LostRecord, time: i64) {
        self.bytes.push(match lost.source {
            LostSource::PerfEventRingBuffer => 0,
            LostSource::ObserverEventsQueue => 1,
            LostSource::HubbleRingBuffer => 2,
        });
        put(&mut self.bytes, lost.count);
        put_signed(&mut self.bytes, nanos(lost.first).wrapping_sub(time));
        put_signed(&mut self.bytes, nanos(lost.last).wrapping_sub(time));
    }

    /// How many requests ago it was; if it was not, it is now the newest.
    fn known(&mut self, asked: &Arc<Asked>) -> Option<usize> {
        let slot = at(&mut self.asked, Arc::as_ptr(asked).addr())?;
        if let Some((known, number)) = slot
            && known.as_ptr() == Arc::as_ptr(asked)
        {
            let ago = self.asks - *number;
            // It is answered once.
            *slot = None;
            return Some(ago);
        }
        *slot = Some((Arc::downgrade(asked), self.asks));
        self.asks += 1;
        None
    }

    fn kind(&mut self, record: &HttpRecord, accounts: &mut Accounts) -> usize {
        let by = match &record.verdict {
            Verdict::Forwarded(rule) => rule.as_ref().map_or(1, |rule| Arc::as_ptr(rule).addr()),
            Verdict::Dropped { denial, .. } | Verdict::Audited(denial) => {
                let nearest = denial.nearest.as_ref().map_or(2, |nearest| Arc::as_ptr(&nearest.rule).addr());
                denial.rule.as_ref().map_or(nearest, |rule| Arc::as_ptr(rule).addr())
            }
            Verdict::Error => 3,
        };
        let Asked { http, .. } = &*record.asked;
        let hash =
            by.rotate_left(20) ^ (usize::from(record.code) << 8) ^ (http.method.len() << 4) ^ record.reason.len();
        let next = self.shared.len();
        let Some(slots) = set(&mut self.kinds, hash) else { return next };
        let known = slots.iter().position(|slot| slot.as_ref().is_some_and(|(kind, _)| kind.is_of(record)));
        let place = known.or_else(|| slots.iter().position(Option::is_none)).unwrap_or(next % WAYS);
        let Some(slot) = slots.get_mut(place) else { return next };
        let kind = match slot.take().filter(|_| known.is_some()) {
            Some((kind, place)) if place != ELSEWHERE => {
                *slot = Some((kind, place));
                return place;
            }
            Some((kind, _)) => kind,
            None => Arc::new(Kind::of(record)),
        };
        *slot = Some((Arc::clone(&kind), next));
        self.keep(Shared::Kind(kind), accounts);
        next
    }

    fn ends(&mut self, ends: &Arc<Ends>, accounts: &mut Accounts) -> usize {
        let place = self.shared.len();
        if let Some(slot) = at(&mut self.ends, Arc::as_ptr(ends).addr()) {
            if let Some((known, place)) = slot
                && Arc::ptr_eq(known, ends)
            {
                return *place;
            }
            *slot = Some((Arc::clone(ends), place));
        }
        self.keep(Shared::Ends(Arc::clone(ends)), accounts);
        place
    }

    fn keep(&mut self, shared: Shared, accounts: &mut Accounts) {
        self.first_kept += accounts.add(&shared);
        self.shared.push(shared);
    }
}

/// The trace id that header fields tell.
pub(super) fn trace_of(headers: &str) -> Option<&str> {
    const NAME: &str = "Traceparent:00-";
    const LENGTH: usize = 32;
    let line = headers.lines().find(|line| line.starts_with(NAME))?;
    line.get(NAME.len()..NAME.len() + LENGTH)
}

fn slots<T: Clone>(count: usize) -> Slots<T> {
    vec![None; count]
}

/// Where a value is looked up.
fn at<T>(slots: &mut Slots<T>, address: usize) -> Option<&mut Slot<T>> {
    let slot = spread(address) % slots.len().max(1);
    slots.get_mut(slot)
}

/// Where one of several may be.
fn set<T>(slots: &mut Slots<T>, address: usize) -> Option<&mut [Slot<T>; WAYS]> {
    let (sets, _) = slots.as_chunks_mut();
    let set = spread(address) % sets.len().max(1);
    sets.get_mut(set)
}
