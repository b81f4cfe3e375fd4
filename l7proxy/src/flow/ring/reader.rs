//! Who reads the rings: both as one row, by number.
//!
//! Owns the place of one reader, and what it was overtaken by. Never unpacks under the lock, and keeps at most a block of each
//! ring: a slow reader costs nobody anything but itself. Start at [`Reader::next`].

use std::{mem, sync::Arc, time::SystemTime};

use super::{
    Item, Rings, State, Wanted,
    block::{Block, Range, Ring},
    shared::Shared,
    unpack::Unpacker,
};
use crate::flow::{Flow, LostRecord, LostSource};

/// Reads flows from where it starts, and then those that come.
#[derive(Debug)]
pub struct Reader {
    rings: Arc<Rings>,
    cursors: [Cursor; 2],
    lost: Lost,
}

/// Where a reader starts.
pub(super) enum Place {
    /// At the oldest flows that it can keep up with.
    Oldest,
    /// With what comes.
    Now,
    /// At the first flow that is as new as this.
    Time(SystemTime),
    /// At the first one with this number or a higher one.
    Number(u64),
}

impl Reader {
    pub(super) fn new(rings: Arc<Rings>, place: &Place) -> Self {
        let mut cursors = [Cursor::new(), Cursor::new()];
        let state = rings.lock();
        for (cursor, ring) in cursors.iter_mut().zip(&state.rings) {
            let block = match *place {
                Place::Oldest => ring.safe(),
                Place::Now => ring.newest(),
                Place::Time(time) => ring.first(|range| range.times.is_some_and(|(_, last)| last >= time)),
                Place::Number(number) => ring.first(|range| range.last_number >= number),
            };
            cursor.start(block, ring, state.newest);
            if let Place::Now = place {
                cursor.next = ring.open.end();
            }
        }
        drop(state);
        let mut lost = Lost::default();
        for cursor in &mut cursors {
            cursor.unpack();
            cursor.skip(&mut lost, |flow| match *place {
                Place::Oldest | Place::Now => true,
                Place::Time(time) => flow.time >= time,
                Place::Number(number) => flow.number >= number,
            });
        }
        Self { rings, cursors, lost }
    }

    /// The next flow, or that some were lost before it; `None`: there is nothing more now.
    #[expect(clippy::should_implement_trait, reason = "what gave nothing may give something later")]
    pub fn next(&mut self) -> Option<Item> {
        loop {
            let Self { rings, cursors, lost } = self;
            for cursor in &mut *cursors {
                cursor.peek(lost);
            }
            let numbers = cursors.iter().filter_map(|cursor| cursor.peeked.as_ref().map(|flow| flow.number));
            // Up to here each ring has to be known: what one has not may be in the other.
            let target = numbers.min().unwrap_or_else(|| rings.newest());
            if cursors.iter().all(|cursor| cursor.is_known(target)) {
                break;
            }
            let state = rings.lock();
            let State { rings, newest, .. } = &*state;
            for (cursor, ring) in cursors.iter_mut().zip(rings).filter(|(cursor, _)| !cursor.is_known(target)) {
                cursor.fetch(ring, *newest, lost);
            }
            drop(state);
            cursors.iter_mut().for_each(Cursor::unpack);
        }
        if let Some(lost) = self.lost.take() {
            return Some(Item::Lost(lost));
        }
        let next = self.cursors.iter_mut().filter(|cursor| cursor.peeked.is_some());
        let next = next.min_by_key(|cursor| cursor.peeked.as_ref().map(|flow| flow.number))?;
        next.peeked.take().map(Item::Flow)
    }
}

/// The number of the flow at which one starts who is to read the last `count` that are wanted, of those up to number `newest`, and
/// what comes after them.
pub(super) fn latest(rings: &Rings, count: u64, newest: u64, wanted: &Wanted<'_>) -> u64 {
    let state = rings.lock();
    let newest = newest.min(state.newest);
    let mut walks = state.rings.each_ref().map(|ring| Walk { next: ring.newest().checked_add(1), found: Vec::new() });
    drop(state);
    let mut start = newest + 1;
    for _ in 0..count {
        for (index, walk) in walks.iter_mut().enumerate() {
            walk.load(rings, index, &|flow| flow.number <= newest && wanted(flow));
        }
        let Some(walk) = walks.iter_mut().max_by_key(|walk| walk.found.last().copied()) else { break };
        let Some(number) = walk.found.pop() else { break };
        start = number;
    }
    start
}

/// Goes through the blocks of a ring, newest first.
struct Walk {
    /// The block after the next one; `None`: there are no more.
    next: Option<u64>,
    /// Numbers of the wanted flows of the block that was read last.
    found: Vec<u64>,
}

impl Walk {
    /// Until something is found.
    fn load(&mut self, rings: &Rings, index: usize, wanted: &Wanted<'_>) {
        while self.found.is_empty()
            && let Some(block) = self.next.take().and_then(|next| next.checked_sub(1))
        {
            let mut cursor = Cursor::new();
            let state = rings.lock();
            let Some(ring) = state.rings.get(index).filter(|ring| block >= ring.safe()) else { break };
            cursor.start(block, ring, state.newest);
            drop(state);
            cursor.unpack();
            while let Some(flow) = cursor.take(&mut Lost::default()) {
                self.found.extend(wanted(&flow).then_some(flow.number));
            }
            self.next = Some(block);
        }
    }
}

/// A place in one ring.
#[derive(Debug)]
struct Cursor {
    /// The block that is read, and what was known of it.
    block: u64,
    range: Range,
    /// `None`: it was open.
    sealed: Option<Arc<Block>>,
    packed: Vec<u8>,
    /// Of an open block.
    shared: Vec<Shared>,
    /// It has to be unpacked.
    is_new: bool,
    unpacker: Unpacker,
    /// Flows of the block that were unpacked.
    done: u64,
    peeked: Option<Flow>,
    /// Flows of the ring before the one that comes after `peeked`.
    next: u64,
    /// Up to this number nothing more comes.
    known: u64,
    /// Of the newest flow that was read.
    time: Option<SystemTime>,
}

impl Cursor {
    fn new() -> Self {
        Self {
            block: 0,
            range: Range::default(),
            sealed: None,
            packed: Vec::new(),
            shared: Vec::new(),
            is_new: false,
            unpacker: Unpacker::new(),
            done: 0,
            peeked: None,
            next: 0,
            known: 0,
            time: None,
        }
    }

    /// At the first flow of a block.
    fn start(&mut self, block: u64, ring: &Ring, newest: u64) {
        self.block = block;
        self.next = ring.range(block).start;
        self.copy(ring, newest);
    }

    /// Takes what follows, and tells what was evicted before it was read.
    fn fetch(&mut self, ring: &Ring, newest: u64, lost: &mut Lost) {
        let wanted = if self.sealed.is_some() { self.block + 1 } else { self.block };
        let block = wanted.max(ring.oldest());
        if block != self.block {
            self.sealed = None;
            self.packed.clear();
            self.shared.clear();
            self.unpacker.clear();
            self.done = 0;
        }
        if block > wanted {
            let start = ring.range(block).start;
            lost.add(start.saturating_sub(self.next), self.time, ring.gone_until);
            self.next = start;
        }
        self.block = block;
        self.copy(ring, newest);
    }

    fn copy(&mut self, ring: &Ring, newest: u64) {
        self.range = ring.range(self.block);
        if let Some(block) = ring.block(self.block) {
            (self.sealed, self.is_new, self.known) = (Some(Arc::clone(block)), true, 0);
        } else {
            let (bytes, shared) = (ring.packer.bytes(), ring.packer.shared());
            self.packed.extend_from_slice(bytes.get(self.packed.len()..).unwrap_or_default());
            self.shared.extend_from_slice(shared.get(self.shared.len()..).unwrap_or_default());
            self.known = newest;
        }
    }

    /// Outside the lock.
    fn unpack(&mut self) {
        if let Some(block) = self.sealed.as_ref().filter(|_| mem::take(&mut self.is_new)) {
            // It begins with what was read while it was open.
            self.packed = block.unpacked();
            self.shared.clear();
        }
    }

    fn is_known(&self, target: u64) -> bool {
        self.peeked.is_some() || self.known >= target
    }

    fn peek(&mut self, lost: &mut Lost) {
        while self.peeked.is_none() && self.done < self.range.flows {
            let shared = self.sealed.as_ref().map_or(self.shared.as_slice(), |block| &block.shared);
            let Some(flow) = self.unpacker.next(&self.packed, shared) else {
                // Damaged: what is left of it is lost.
                self.done = self.range.flows;
                lost.add(self.range.end().saturating_sub(self.next), self.time, self.range.times.map(|(_, last)| last));
                self.next = self.range.end();
                return;
            };
            self.done += 1;
            let place = self.range.start + self.done;
            if place > self.next {
                self.next = place;
                self.time = Some(flow.time);
                self.peeked = Some(flow);
            }
        }
    }

    /// The next flow of this block.
    fn take(&mut self, lost: &mut Lost) -> Option<Flow> {
        self.peek(lost);
        self.peeked.take()
    }

    /// Leaves flows of this block out until one is `reached`.
    fn skip(&mut self, lost: &mut Lost, reached: impl Fn(&Flow) -> bool) {
        self.peek(lost);
        while self.peeked.as_ref().is_some_and(|flow| !reached(flow)) {
            self.peeked = None;
            self.peek(lost);
        }
    }
}

/// Flows that were evicted before they were read, and not yet told.
#[derive(Debug, Default)]
struct Lost {
    count: u64,
    times: Option<(SystemTime, SystemTime)>,
}

impl Lost {
    fn add(&mut self, count: u64, first: Option<SystemTime>, last: Option<SystemTime>) {
        let Some(last) = last.filter(|_| count > 0) else { return };
        let first = first.unwrap_or(last).min(last);
        self.count += count;
        self.times = Some(self.times.map_or((first, last), |(one, other)| (one.min(first), other.max(last))));
    }

    fn take(&mut self) -> Option<LostRecord> {
        let (first, last) = self.times.take()?;
        let count = mem::take(&mut self.count);
        Some(LostRecord { source: LostSource::HubbleRingBuffer, count, first, last })
    }
}
