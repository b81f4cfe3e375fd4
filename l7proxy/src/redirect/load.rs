//! From the embedded object to loaded programs.

use std::{
    io,
    net::{Ipv4Addr, UdpSocket},
    time::Duration,
};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::MapError,
    programs::{CgroupSockAddr, Program, ProgramError},
};

use redirect_abi::{
    ConnKey, Flow, FlowKey, FragmentKey, Peer, ReplyKey, UNENROLLED_ALLOW, UNENROLLED_DENY, UNENROLLED_HOLD,
};

use super::{RedirectError, Unenrolled, attach::Links, describe, features::Lacking};
use crate::sys;

#[cfg(redirect_ebpf_object)]
const OBJECT: Option<&[u8]> = Some(aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/redirect.o")));
#[cfg(not(redirect_ebpf_object))]
const OBJECT: Option<&[u8]> = None;

/// Programs at the cgroup, in the order in which they are switched on: connect last, so that nothing is redirected
/// before it can be steered and remembered.
const AT_CGROUP: [&str; 8] =
    ["getpeername4", "getpeername6", "tcp_events", "socket_made", "sendmsg4", "sendmsg6", "connect4", "connect6"];
/// The program that holds what namespaces send that no pod is enrolled for. It is attached in that mode only.
pub(super) const HOLD: &str = "hold";
/// A connection request that is held is sent again after this time, and then after twice of it, and so on.
const HOLD_TIME: Duration = Duration::from_millis(12);

/// Programs at the cgroup, in the order in which they are switched on.
pub(super) fn at_cgroup(unenrolled: Unenrolled) -> impl Iterator<Item = &'static str> {
    (unenrolled == Unenrolled::Hold).then_some(HOLD).into_iter().chain(AT_CGROUP)
}

/// The program of each pod's namespace.
pub(super) const AT_NETNS: &str = "lookup";

/// The programs at the node's end of a pod's interfaces: what leaves the pod, and what enters it. The kernel may lack what
/// they need; then there is no backstop, and `status` says so.
pub(super) const BACKSTOP_OUT: &str = "backstop_out";
pub(super) const BACKSTOP_IN: &str = "backstop_in";

type Shared = (&'static str, usize, usize);

/// Maps that the process before and the next one use too, also while both run, with the sizes of key and value: what is known
/// of connections that are open must not be forgotten.
const SHARED: [Shared; 7] = [
    ("OWN", size_of::<i32>(), size_of::<u32>()),
    ("SEEN", size_of::<i32>(), size_of::<Peer>()),
    ("CONNS", size_of::<ConnKey>(), size_of::<Peer>()),
    ("PEERS", size_of::<ConnKey>(), size_of::<Peer>()),
    ("REPLIES", size_of::<ReplyKey>(), size_of::<u32>()),
    ("FLOWS", size_of::<FlowKey>(), size_of::<Flow>()),
    ("FRAGMENTS", size_of::<FragmentKey>(), size_of::<u32>()),
];

/// Whether this process may do what it is here for; asked first, because everything else fails without.
pub fn check_permission() -> Result<(), RedirectError> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(RedirectError::NotPermitted) }
}

/// Loads all programs: each feature that the kernel lacks shows here, before anything is attached.
pub(super) fn load(links: &mut Links) -> Result<(Ebpf, Lacking), RedirectError> {
    let own = |error: io::Error| RedirectError::Feature { feature: "SO_NETNS_COOKIE", reason: error.to_string() };
    let object = OBJECT.ok_or(RedirectError::NoObject)?;
    let home = sys::netns_cookie(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(own)?).map_err(own)?;
    let unenrolled = links.unenrolled();
    let mode = match unenrolled {
        Unenrolled::Allow => UNENROLLED_ALLOW,
        Unenrolled::Deny => UNENROLLED_DENY,
        Unenrolled::Hold => UNENROLLED_HOLD,
    };
    let ticks = ticks(HOLD_TIME);
    let connections = u32::from(links.tells_connections());
    let mut loader = EbpfLoader::new();
    loader.override_global("PROXY_NETNS", &home, true);
    for (name, key, value) in SHARED {
        loader.map_pin_path(name, links.shared_map(name, key, value)?);
    }
    loader.override_global("UNENROLLED", &mode, true);
    loader.override_global("HOLD_TICKS", &ticks, true);
    loader.override_global("TELL_CONNECTIONS", &connections, true);
    let mut ebpf = loader.load(object).map_err(|error| refused("object", &error, is_eperm(&error)))?;
    for name in AT_CGROUP.into_iter().chain([AT_NETNS]) {
        load_program(&mut ebpf, name).map_err(|error| refused(name, &*error, false))?;
    }
    let lacking = Lacking::probe(&mut ebpf);
    match lacking.hold() {
        Some(reason) if unenrolled == Unenrolled::Hold => Err(RedirectError::Hold { reason: reason.to_owned() }),
        _ => Ok((ebpf, lacking)),
    }
}

/// In ticks of the kernel's clock, at least one.
fn ticks(time: Duration) -> u32 {
    // The coarse clock moves with each tick.
    let tick = rustix::time::clock_getres(rustix::time::ClockId::MonotonicCoarse);
    let tick = u128::try_from(tick.tv_nsec).unwrap_or_default().max(1);
    u32::try_from(time.as_nanos() / tick).unwrap_or(u32::MAX).max(1)
}

pub(super) fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<(), Box<ProgramError>> {
    let Some(program) = ebpf.program_mut(name) else {
        return Err(Box::new(ProgramError::IOError(io::Error::other("not in the object; run `cargo xtask build`"))));
    };
    if let Program::SkLookup(program) = program {
        program.load()?;
    } else if let Program::SockOps(program) = program {
        program.load()?;
    } else if let Program::SchedClassifier(program) = program {
        program.load()?;
    } else if let Program::CgroupSock(program) = program {
        program.load()?;
    } else if let Program::CgroupSkb(program) = program {
        program.load()?;
    } else {
        <&mut CgroupSockAddr>::try_from(program)?.load()?;
    }
    Ok(())
}

fn refused(feature: &'static str, error: &dyn std::error::Error, not_permitted: bool) -> RedirectError {
    if not_permitted {
        return RedirectError::NotPermitted;
    }
    RedirectError::Feature { feature, reason: describe(error) }
}

fn is_eperm(error: &EbpfError) -> bool {
    let EbpfError::MapError(MapError::CreateError { io_error, .. }) = error else { return false };
    io_error.kind() == io::ErrorKind::PermissionDenied
}
