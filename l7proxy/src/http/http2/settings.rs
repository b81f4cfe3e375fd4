//! SETTINGS (RFC 9113 §6.5): what one side wants of the other.
//!
//! What is about bodies and streams is agreed between client and upstream; what is about frames and tables is ours on both sides.
//! Start at [`Settings::take`].

use super::frames::{self, Code};
use crate::http::Limits;

const TABLE: u16 = 1;
const PUSH: u16 = 2;
const STREAMS: u16 = 3;
const INITIAL_WINDOW: u16 = 4;
const FRAME: u16 = 5;
const HEADER_LIST: u16 = 6;
const CONNECT: u16 = 8;

/// Of a connection and of each of its streams, unless somebody says otherwise.
pub(super) const WINDOW: u32 = 65_535;
/// The largest window.
pub(super) const MOST: u32 = 0x7fff_ffff;
/// Bytes of an answer's head.
pub(super) const ANSWER_HEAD: u32 = 256 << 10;

/// What one side wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// Bytes of a body that each stream may carry at first.
    pub(super) window: u32,
    /// Streams at once.
    pub(super) streams: u32,
    /// Bytes of a head.
    pub(super) header_list: u32,
    /// Bytes of the table that it unpacks with.
    pub(super) table: u32,
    /// It takes extended CONNECT.
    pub(super) connect: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { window: WINDOW, streams: u32::MAX, header_list: u32::MAX, table: 4 << 10, connect: false }
    }
}

impl Settings {
    /// What we want of a client. Windows are what the upstream gives at first.
    pub(super) fn ours(limits: &Limits) -> Self {
        let header_list = u32::try_from(limits.head_bytes).unwrap_or(u32::MAX);
        Self { streams: limits.streams, header_list, connect: true, ..Self::default() }
    }

    /// Reads a frame.
    pub(super) fn take(&mut self, payload: &[u8]) -> Result<(), Code> {
        for entry in payload.chunks_exact(6) {
            let [n0, n1, v0, v1, v2, v3] = *entry else { return Err(Code::FRAME_SIZE_ERROR) };
            let value = u32::from_be_bytes([v0, v1, v2, v3]);
            match u16::from_be_bytes([n0, n1]) {
                TABLE => self.table = value,
                PUSH | CONNECT if value > 1 => return Err(Code::PROTOCOL_ERROR),
                CONNECT => self.connect = value == 1,
                STREAMS => self.streams = value,
                INITIAL_WINDOW if value > MOST => return Err(Code::FLOW_CONTROL_ERROR),
                INITIAL_WINDOW => self.window = value,
                FRAME if !(1 << 14..1 << 24).contains(&value) => return Err(Code::PROTOCOL_ERROR),
                HEADER_LIST => self.header_list = value,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Our first to a client.
pub(super) fn write_ours(ours: &Settings, out: &mut Vec<u8>) {
    write(&[(STREAMS, ours.streams), (HEADER_LIST, ours.header_list), (CONNECT, u32::from(ours.connect))], out);
}

/// Our first to an upstream: what its client wants.
pub(super) fn write_first(wanted: &Settings, out: &mut Vec<u8>) {
    let head = (HEADER_LIST, wanted.header_list.min(ANSWER_HEAD));
    if wanted.window == WINDOW {
        return write(&[(PUSH, 0), head], out);
    }
    write(&[(PUSH, 0), (INITIAL_WINDOW, wanted.window), head], out);
}

/// What an upstream wants of a client that was told something else; false: nothing.
pub(super) fn write_changes_to_client(told: &Settings, wanted: &Settings, out: &mut Vec<u8>) -> bool {
    changes(
        &[
            (STREAMS, told.streams, wanted.streams),
            (INITIAL_WINDOW, told.window, wanted.window),
            (HEADER_LIST, told.header_list, wanted.header_list),
        ],
        out,
    )
}

/// What a client wants of an upstream that was told something else; false: nothing.
pub(super) fn write_changes_to_upstream(told: &Settings, wanted: &Settings, out: &mut Vec<u8>) -> bool {
    let head = |settings: &Settings| settings.header_list.min(ANSWER_HEAD);
    changes(&[(INITIAL_WINDOW, told.window, wanted.window), (HEADER_LIST, head(told), head(wanted))], out)
}

/// What it is about, what was told, and what is wanted.
type Change = (u16, u32, u32);

fn changes(all: &[Change], out: &mut Vec<u8>) -> bool {
    let changed = all.iter().filter(|(_, told, wanted)| told != wanted);
    let changed: Vec<_> = changed.map(|(name, _, wanted)| (*name, *wanted)).collect();
    if !changed.is_empty() {
        write(&changed, out);
    }
    !changed.is_empty()
}

fn write(all: &[(u16, u32)], out: &mut Vec<u8>) {
    let entry = |(name, value): &(u16, u32)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
    let payload: Vec<u8> = all.iter().flat_map(entry).collect();
    frames::write(frames::SETTINGS, 0, 0, &payload, out);
}

/// That they were taken.
pub(super) fn write_ack(out: &mut Vec<u8>) {
    frames::write(frames::SETTINGS, frames::ACK, 0, &[], out);
}
