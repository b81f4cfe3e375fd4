//! When what an eBPF program may still be reading can be changed.

use std::{
    io,
    os::fd::{AsFd, FromRawFd, OwnedFd},
};

use super::bpf::{address, bpf, number};

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_ARRAY_OF_MAPS: u32 = 12;

/// Part of `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
}

/// Part of `union bpf_attr` for `BPF_MAP_UPDATE_ELEM`.
#[repr(C)]
#[derive(Default)]
struct MapUpdate {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Waits for programs. The kernel does so whenever a map inside a map is replaced, so that user space knows that nobody
/// reads the one that was there (`maybe_wait_bpf_programs`); this replaces one that nobody reads at all.
#[derive(Debug)]
pub struct ProgramBarrier {
    outer: OwnedFd,
    inner: OwnedFd,
}

impl ProgramBarrier {
    /// Two small maps.
    pub fn new() -> io::Result<Self> {
        let inner = create(BPF_MAP_TYPE_ARRAY, 0)?;
        let outer = create(BPF_MAP_TYPE_ARRAY_OF_MAPS, number(inner.as_fd())?)?;
        Ok(Self { outer, inner })
    }

    /// Returns when every program that ran when it was called has ended.
    pub fn wait(&self) -> io::Result<()> {
        let (key, value) = (0_u32, number(self.inner.as_fd())?);
        let map_fd = number(self.outer.as_fd())?;
        let (key, value) = (address(&raw const key), address(&raw const value));
        bpf(BPF_MAP_UPDATE_ELEM, &mut MapUpdate { map_fd, key, value, ..MapUpdate::default() }).map(drop)
    }
}

fn create(map_type: u32, inner_map_fd: u32) -> io::Result<OwnedFd> {
    let sizes = MapCreate { key_size: 4, value_size: 4, max_entries: 1, ..MapCreate::default() };
    let fd = bpf(BPF_MAP_CREATE, &mut MapCreate { map_type, inner_map_fd, ..sizes })?;
    #[expect(unsafe_code, reason = "BPF_MAP_CREATE returns a plain number")]
    // SAFETY: the kernel just made this file descriptor for us; nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok(fd)
}
