//! One ring: blocks of flows, the newest of which is open.
//!
//! Owns the bound. Evicts whole blocks, oldest first. Nobody waits here: readers take what they need and unpack it
//! elsewhere. Start at [`Ring::push`].

use std::{collections::VecDeque, fmt, mem::size_of, sync::Arc, time::SystemTime};

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress, get_maximum_output_size};

use super::{
    numbers::long,
    pack::Packer,
    shared::{Accounts, Shared},
};
use crate::flow::Flow;

/// Packed bytes of a block: below 64 KiB with the longest flow, so that a small table compresses it.
const MAX_PACKED: usize = 44 << 10;
/// Parts that a ring has at least.
const PARTS: usize = 32;
/// Of a full ring, the part at which readers do not start: it is overwritten next.
const MARGIN: usize = 16;

/// Where flows of a block are, and when they were.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Range {
    /// Flows of this ring before the first one.
    pub(super) start: u64,
    /// How many.
    pub(super) flows: u64,
    /// Number of the last one.
    pub(super) last_number: u64,
    /// Of the first and the last one.
    pub(super) times: Option<(SystemTime, SystemTime)>,
}

impl Range {
    /// Flows of this ring up to the last one.
    pub(super) fn end(&self) -> u64 {
        self.start + self.flows
    }

    fn add(&mut self, flow: &Flow) {
        self.flows += 1;
        self.last_number = flow.number;
        self.times = Some((self.times.map_or(flow.time, |(first, _)| first), flow.time));
    }
}

/// A full block.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) range: Range,
    pub(super) shared: Box<[Shared]>,
    compressed: Box<[u8]>,
    packed: usize,
}

impl Block {
    /// The packed flows; nothing of what was damaged.
    pub(super) fn unpacked(&self) -> Vec<u8> {
        decompress(&self.compressed, self.packed).unwrap_or_default()
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + 2 * size_of::<usize>() + self.compressed.len() + size_of_val(&*self.shared)
    }
}

/// Flows of one kind, the oldest of which are forgotten.
#[derive(Debug)]
pub(super) struct Ring {
    bound: usize,
    /// A block is full from here on, packed.
    full: usize,
    sealed: VecDeque<Arc<Block>>,
    /// Blocks that were evicted.
    gone: u64,
    /// When the last flow was that was evicted.
    pub(super) gone_until: Option<SystemTime>,
    pub(super) packer: Packer,
    /// Of the open block.
    pub(super) open: Range,
    /// Of sealed blocks.
    bytes: usize,
    accounts: Accounts,
    compressor: Compressor,
}

/// What compressing needs each time.
struct Compressor {
    table: CompressTable,
    out: Vec<u8>,
}

impl Compressor {
    fn compress(&mut self, packed: &[u8]) -> Box<[u8]> {
        self.out.resize(get_maximum_output_size(packed.len()), 0);
        // It fails only where there is too little room.
        let length = compress_into_with_table(packed, &mut self.out, &mut self.table).unwrap_or_default();
        self.out.get(..length).unwrap_or_default().into()
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl Ring {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            bound,
            full: (bound / PARTS).clamp(1 << 10, MAX_PACKED),
            sealed: VecDeque::new(),
            gone: 0,
            gone_until: None,
            packer: Packer::new(),
            open: Range::default(),
            bytes: 0,
            accounts: Accounts::default(),
            compressor: Compressor { table: CompressTable::small(), out: Vec::new() },
        }
    }

    /// Takes a flow in. What is forgotten for it goes to `evicted`.
    pub(super) fn push(&mut self, flow: Flow, evicted: &mut Vec<Arc<Block>>) {
        self.open.add(&flow);
        self.packer.put(flow, &mut self.accounts);
        if self.packer.bytes().len() >= self.full || self.packer.weight() >= 2 * self.full {
            self.seal();
        }
        while self.bytes() > self.bound
            && let Some(oldest) = self.sealed.pop_front()
        {
            self.gone += 1;
            self.gone_until = oldest.range.times.map(|(_, last)| last);
            self.bytes -= oldest.bytes();
            oldest.shared.iter().for_each(|shared| self.accounts.remove(shared));
            evicted.push(oldest);
        }
    }

    fn seal(&mut self) {
        let packed = self.packer.bytes();
        let compressed = self.compressor.compress(packed);
        let (range, packed) = (self.open, packed.len());
        let block = Block { range, packed, compressed, shared: self.packer.next_block() };
        self.bytes += block.bytes();
        self.sealed.push_back(Arc::new(block));
        self.open = Range { start: range.end(), last_number: range.last_number, ..Range::default() };
    }

    /// Of all flows, and all that they refer to.
    pub(super) fn bytes(&self) -> usize {
        let open = self.packer.bytes().len() + size_of_val(self.packer.shared());
        self.bytes + open + self.accounts.bytes()
    }

    /// A block is full from so many packed bytes on.
    #[cfg(test)]
    pub(super) fn seal_at(&mut self, full: usize) {
        self.full = full;
    }

    /// Values that are counted.
    #[cfg(test)]
    pub(super) fn values(&self) -> usize {
        self.accounts.values()
    }

    /// As many bytes as it may have.
    pub(super) fn bound(&self) -> usize {
        self.bound
    }

    /// Number of the oldest block.
    pub(super) fn oldest(&self) -> u64 {
        self.gone
    }

    /// Number of the open block.
    pub(super) fn newest(&self) -> u64 {
        self.gone + long(self.sealed.len())
    }

    /// Number of the oldest block that is not overwritten soon.
    pub(super) fn safe(&self) -> u64 {
        if self.gone == 0 { 0 } else { self.gone + long(self.sealed.len().div_ceil(MARGIN)) }
    }

    /// A full block.
    pub(super) fn block(&self, number: u64) -> Option<&Arc<Block>> {
        self.sealed.get(usize::try_from(number.checked_sub(self.gone)?).ok()?)
    }

    /// A block, full or open.
    pub(super) fn range(&self, number: u64) -> Range {
        self.block(number).map_or(self.open, |block| block.range)
    }

    /// The first block that is `reached`, not before the safe ones.
    pub(super) fn first(&self, reached: impl Fn(&Range) -> bool) -> u64 {
        let first = self.sealed.partition_point(|block| !reached(&block.range));
        self.safe().max(self.gone + long(first))
    }

    /// Flows that were evicted, and those that can be read.
    pub(super) fn flows(&self) -> (u64, u64) {
        let start = self.range(self.gone).start;
        (start, self.open.end() - start)
    }

    /// When the oldest was.
    pub(super) fn oldest_time(&self) -> Option<SystemTime> {
        self.range(self.gone).times.map(|(first, _)| first)
    }
}
