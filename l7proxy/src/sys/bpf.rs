//! The `bpf(2)` commands that aya has no safe call for, and the file system of pins.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::{
    fs::statfs,
    mount::{MountFlags, mount},
};

const BPF_OBJ_GET: libc::c_int = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// Part of `union bpf_attr` for `BPF_OBJ_GET`.
#[repr(C)]
#[derive(Default)]
struct ObjGet {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Part of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
    /// Of tcx: which other one it goes before or after, and the expected revision.
    relative_fd: u32,
    pad: u32,
    expected_revision: u64,
}

/// Part of `union bpf_attr` for `BPF_LINK_UPDATE`.
#[repr(C)]
#[derive(Default)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// Part of `union bpf_attr` for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
#[derive(Default)]
struct ObjInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// Head of `struct bpf_link_info`; for cgroup and netns links two words follow the common three.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    prog_id: u32,
    pad: u32,
    /// `cgroup_id` (u64) of a cgroup link; `netns_ino` or `ifindex`, and `attach_type` (u32 each) of a netns or tcx link.
    target: [u32; 4],
}

/// Part of `union bpf_attr` for `BPF_PROG_QUERY`.
#[repr(C)]
#[derive(Default)]
struct ProgQuery {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    pad: u32,
}

/// Those of the cgroups above it too, in the order in which they run.
const BPF_F_QUERY_EFFECTIVE: u32 = 1;
/// Programs at one hook of a cgroup; the kernel takes at most 64 of each cgroup.
const MAX_PROGRAMS: usize = 512;

const LINK_TYPE_NETNS: u32 = 5;
const LINK_TYPE_TCX: u32 = 11;

/// Whether `path` lies on a bpf file system.
#[must_use]
pub fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| fs.f_type == BPF_FS_MAGIC)
}

/// Mounts a bpf file system of its own at `path`.
pub fn mount_bpffs(path: &Path) -> io::Result<()> {
    mount("bpf", path, "bpf", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None)?;
    Ok(())
}

/// Lets the pinned link at `pin` run `program` from now on, without a moment in which it runs none.
pub fn replace_program(pin: &Path, program: BorrowedFd<'_>) -> io::Result<()> {
    let link = open_pin(pin)?;
    let mut attr =
        LinkUpdate { link_fd: number(link.as_fd())?, new_prog_fd: number(program)?, ..LinkUpdate::default() };
    bpf(BPF_LINK_UPDATE, &mut attr).map(drop)
}

/// Whether the kernel links a program for packets to an interface by tcx: asked of an interface that cannot be, so nothing is
/// attached. A kernel that knows tcx looks for the interface first.
pub fn can_link_tcx(program: BorrowedFd<'_>) -> io::Result<()> {
    let prog_fd = number(program)?;
    let nobody = i32::MAX.unsigned_abs();
    let mut attr =
        LinkCreate { prog_fd, target_ifindex: nobody, attach_type: BPF_TCX_INGRESS, ..LinkCreate::default() };
    match bpf(BPF_LINK_CREATE, &mut attr) {
        Err(error) if error.raw_os_error() != Some(libc::ENODEV) => Err(error),
        _no_such_interface => Ok(()),
    }
}

/// Whether the pinned link at `pin` is still attached: a link outlives its namespace or interface as an empty shell.
pub fn link_is_alive(pin: &Path) -> io::Result<bool> {
    let info = link_info(pin)?;
    let ends_with_target = [LINK_TYPE_NETNS, LINK_TYPE_TCX].contains(&info.kind);
    Ok(!ends_with_target || info.target.first().is_some_and(|target| *target != 0))
}

/// Number of the program that the pinned link at `pin` runs.
pub fn link_program(pin: &Path) -> io::Result<u32> {
    Ok(link_info(pin)?.prog_id)
}

/// Numbers of the programs that run at a hook of a cgroup, in their order.
pub fn programs_at(cgroup: BorrowedFd<'_>, attach_type: u32) -> io::Result<Vec<u32>> {
    let mut ids = vec![0_u32; MAX_PROGRAMS];
    let mut attr = ProgQuery {
        target_fd: number(cgroup)?,
        attach_type,
        query_flags: BPF_F_QUERY_EFFECTIVE,
        prog_ids: address(ids.as_mut_ptr()),
        prog_cnt: u32::try_from(MAX_PROGRAMS).map_err(io::Error::other)?,
        ..ProgQuery::default()
    };
    bpf(BPF_PROG_QUERY, &mut attr)?;
    ids.truncate(usize::try_from(attr.prog_cnt).map_err(io::Error::other)?);
    Ok(ids)
}

fn link_info(pin: &Path) -> io::Result<LinkInfo> {
    let link = open_pin(pin)?;
    let mut info = LinkInfo::default();
    let mut attr = ObjInfo {
        bpf_fd: number(link.as_fd())?,
        info_len: u32::try_from(size_of::<LinkInfo>()).map_err(io::Error::other)?,
        info: address(&raw mut info),
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

fn open_pin(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let mut attr = ObjGet { pathname: address(path.as_ptr()), ..ObjGet::default() };
    let fd = bpf(BPF_OBJ_GET, &mut attr)?;
    #[expect(unsafe_code, reason = "BPF_OBJ_GET returns a plain number")]
    // SAFETY: the kernel just made this file descriptor for us; nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok(fd)
}

pub(super) fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_int> {
    #[expect(unsafe_code, reason = "no safe wrapper for these bpf(2) commands")]
    // SAFETY: `attr` is a live value of the size that is passed; pointers in it point to live values of the caller.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    libc::c_int::try_from(result).map_err(io::Error::other)
}

pub(super) fn number(fd: BorrowedFd<'_>) -> io::Result<u32> {
    u32::try_from(fd.as_raw_fd()).map_err(io::Error::other)
}

#[expect(clippy::as_conversions, reason = "bpf(2) takes pointers as 64-bit numbers")]
pub(super) fn address<T>(pointer: *const T) -> u64 {
    pointer as u64
}
