//! Links: made once, pinned, and given new programs in place when a process takes over.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use aya::{
    Ebpf,
    maps::MapInfo,
    programs::{
        CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSock, CgroupSockAddr, Program, ProgramError, SkLookup,
        SockOps,
        links::{FdLink, LinkError},
    },
};
use redirect_abi::SHARED_LAYOUT;

use super::{
    Mechanism, Place, RedirectError, Unenrolled,
    backstop::{CLSACT_PREFIX, remove_filter},
    describe, load,
};
use crate::sys;

/// Pins of pods' links are named after the namespace's cookie, which is never used again.
pub(super) const POD_PREFIX: &str = "pod_";
/// Pins on their way to their name.
pub(super) const NEW_PREFIX: &str = "new_";
/// Maps that outlive a process.
pub(super) const MAP_PREFIX: &str = "map_";
const CGROUP_PREFIX: &str = "cgroup_";

/// The links of this node, by the name of their pin.
#[derive(Debug)]
pub(super) struct Links {
    place: Place,
    cgroup: Arc<File>,
    /// Part of the pins' names: links of another cgroup are not ours to go on with.
    cgroup_inode: u64,
    ours: BTreeMap<String, PathBuf>,
    /// Pins of maps that outlive this process.
    maps: BTreeSet<PathBuf>,
}

impl Links {
    pub(super) fn new(place: Place) -> Result<Self, RedirectError> {
        let cgroup = File::open(&place.cgroup).map_err(RedirectError::path(&place.cgroup, "open the cgroup"))?;
        let inode = cgroup.metadata().map_err(RedirectError::path(&place.cgroup, "read the cgroup"))?.ino();
        Ok(Self { place, cgroup: Arc::new(cgroup), cgroup_inode: inode, ours: BTreeMap::new(), maps: BTreeSet::new() })
    }

    pub(super) fn count(&self) -> usize {
        self.ours.len()
    }

    pub(super) fn tells_connections(&self) -> bool {
        self.place.connections
    }

    pub(super) fn unenrolled(&self) -> Unenrolled {
        self.place.unenrolled
    }

    /// The cgroup, and where the link of one of the programs at it is pinned.
    pub(super) fn at_cgroup(&self, name: &str) -> (BorrowedFd<'_>, PathBuf) {
        (self.cgroup.as_fd(), self.pin_path(&self.cgroup_pin(name)))
    }

    fn cgroup_pin(&self, name: &str) -> String {
        format!("{CGROUP_PREFIX}{}_{name}", self.cgroup_inode)
    }

    /// Switches the programs at the cgroup on, or in for those of the process before.
    pub(super) fn attach_cgroup(&mut self, ebpf: &mut Ebpf) -> Result<(), RedirectError> {
        for name in load::at_cgroup(self.place.unenrolled) {
            let pin = self.cgroup_pin(name);
            if self.ours.contains_key(&pin) {
                continue;
            }
            let program = ebpf.program_mut(name).ok_or(RedirectError::NoObject)?;
            let cgroup = Arc::clone(&self.cgroup);
            self.attach(pin, program, |program| {
                if let Program::SockOps(_) = program {
                    attach_sock_ops(program, cgroup.as_fd()).map_err(|error| describe(&*error))
                } else if let Program::CgroupSkb(_) = program {
                    attach_skb(program, cgroup.as_fd()).map_err(|error| describe(&*error))
                } else if let Program::CgroupSock(_) = program {
                    attach_sock(program, cgroup.as_fd()).map_err(|error| describe(&*error))
                } else {
                    attach_sock_addr(program, cgroup.as_fd()).map_err(|error| describe(&*error))
                }
            })
            .map_err(|reason| RedirectError::Feature { feature: name, reason })?;
        }
        Ok(())
    }

    /// Switches steering on in a pod's namespace, or in for that of the process before.
    pub(super) fn attach_pod(
        &mut self,
        ebpf: &mut Ebpf,
        cookie: u64,
        netns: BorrowedFd<'_>,
    ) -> Result<(), RedirectError> {
        let program = ebpf.program_mut(load::AT_NETNS).ok_or(RedirectError::NoObject)?;
        self.attach(format!("{POD_PREFIX}{cookie:x}"), program, |program| {
            attach_lookup(program, netns).map_err(|error| describe(&*error))
        })
        .map_err(|reason| RedirectError::Feature { feature: load::AT_NETNS, reason })
    }

    /// The links of a pod that nothing can be attached to any more run these programs, where they are still attached.
    pub(super) fn run_again(&self, ebpf: &mut Ebpf, cookie: u64) -> Result<(), RedirectError> {
        let lookup = format!("{POD_PREFIX}{cookie:x}");
        let ends = format!("{lookup}_");
        for (name, pin) in self.ours.iter().filter(|(name, _)| **name == lookup || name.starts_with(&ends)) {
            let program = [load::BACKSTOP_OUT, load::BACKSTOP_IN].into_iter().find(|program| name.ends_with(program));
            let program = ebpf.program_mut(program.unwrap_or(load::AT_NETNS)).ok_or(RedirectError::NoObject)?;
            if pin.exists() && sys::link_is_alive(pin).unwrap_or(false) {
                let fd = program
                    .fd()
                    .map_err(|error| RedirectError::Feature { feature: "link", reason: describe(&error) })?;
                sys::replace_program(pin, fd.as_fd()).map_err(RedirectError::path(pin, "replace the program"))?;
            }
        }
        Ok(())
    }

    /// As though nothing had been attached at the cgroup yet.
    pub(super) fn forget_cgroup(&mut self) {
        self.ours.retain(|name, _| !name.starts_with(CGROUP_PREFIX));
    }

    pub(super) fn detach_pod(&mut self, cookie: u64) -> Result<(), RedirectError> {
        if let Some(pin) = self.ours.remove(&format!("{POD_PREFIX}{cookie:x}")) {
            remove(&pin)?;
        }
        self.detach_ends(cookie, &[])
    }

    /// Removes what is attached at ends of a pod's interfaces but these.
    pub(super) fn detach_ends(&mut self, cookie: u64, but: &[u32]) -> Result<(), RedirectError> {
        let begins = |prefix: &str| format!("{prefix}{cookie:x}_");
        let kept: Vec<String> = but
            .iter()
            .flat_map(|index| [POD_PREFIX, CLSACT_PREFIX].map(|prefix| format!("{}{index}_", begins(prefix))))
            .collect();
        let goes = |name: &str| {
            [POD_PREFIX, CLSACT_PREFIX].iter().any(|prefix| name.starts_with(&begins(prefix)))
                && !kept.iter().any(|kept| name.starts_with(kept))
        };
        let names: Vec<String> = self.ours.keys().filter(|name| goes(name)).cloned().collect();
        for name in names {
            if let Some(pin) = self.ours.remove(&name) {
                remove(&pin)?;
            }
        }
        Ok(())
    }

    /// How the backstop is to be attached.
    pub(super) fn mechanism(&self) -> Mechanism {
        self.place.backstop
    }

    pub(super) fn pin_path(&self, name: &str) -> PathBuf {
        self.place.pins.join(name)
    }

    /// Where a map is pinned that outlives this process. One of another size is of another version: it begins anew.
    pub(super) fn shared_map(&mut self, name: &str, key: usize, value: usize) -> Result<PathBuf, RedirectError> {
        let pin = self.place.pins.join(format!("{MAP_PREFIX}{}_{SHARED_LAYOUT}", name.to_lowercase()));
        self.maps.insert(pin.clone());
        if pin.exists() {
            let fits = MapInfo::from_pin(&pin).is_ok_and(|info| {
                let sizes = (usize::try_from(info.key_size()), usize::try_from(info.value_size()));
                sizes == (Ok(key), Ok(value))
            });
            if !fits {
                tracing::warn!(pin = %pin.display(), "of another version: begins anew");
                fs::remove_file(&pin).map_err(RedirectError::path(&pin, "remove the pin"))?;
            }
        }
        Ok(pin)
    }

    /// Remembers a pin as one of ours.
    pub(super) fn keep(&mut self, name: String, pin: PathBuf) {
        self.ours.insert(name, pin);
    }

    /// Whether the namespace of a pod is still there; a link ends with its namespace.
    pub(super) fn is_steered(&self, cookie: u64) -> bool {
        let pin = self.ours.get(&format!("{POD_PREFIX}{cookie:x}"));
        // Where nothing can be read it is taken for there: what is there is judged.
        pin.is_some_and(|pin| sys::link_is_alive(pin).unwrap_or(true))
    }

    /// Removes links of a process before that nothing in the configuration asks for any more, and its maps if they are of
    /// another layout.
    pub(super) fn remove_foreign(&self) -> Result<(), RedirectError> {
        for pin in pins(&self.place.pins)? {
            let ours = self.ours.values().any(|known| known == &pin);
            if !ours {
                remove(&pin)?;
            }
        }
        let left = pinned(&self.place.pins, &[MAP_PREFIX, NEW_PREFIX])?;
        for pin in left.into_iter().filter(|pin| !self.maps.contains(pin)) {
            remove(&pin)?;
        }
        Ok(())
    }

    pub(super) fn attach(
        &mut self,
        name: String,
        program: &mut Program,
        make: impl FnOnce(&mut Program) -> Result<FdLink, String>,
    ) -> Result<(), String> {
        let pin = self.place.pins.join(&name);
        let adopted = pin.exists() && sys::link_is_alive(&pin).unwrap_or(false) && {
            let fd = program.fd().map_err(|error| describe(&error))?;
            sys::replace_program(&pin, fd.as_fd()).is_ok()
        };
        if !adopted {
            if pin.exists() {
                // Its namespace is gone: an empty shell.
                fs::remove_file(&pin).map_err(|error| format!("{}: {error}", pin.display()))?;
            }
            let link: FdLink = make(program)?;
            drop(link.pin(&pin).map_err(|error| describe(&error))?);
        }
        self.ours.insert(name, pin);
        Ok(())
    }
}

fn attach_lookup(program: &mut Program, netns: BorrowedFd<'_>) -> Result<FdLink, Box<ProgramError>> {
    let program: &mut SkLookup = program.try_into()?;
    let id = program.attach(netns)?;
    Ok(program.take_link(id)?.into())
}

fn attach_sock_ops(program: &mut Program, cgroup: BorrowedFd<'_>) -> Result<FdLink, Box<ProgramError>> {
    let program: &mut SockOps = program.try_into()?;
    let id = program.attach(cgroup, CgroupAttachMode::Single)?;
    as_fd_link(program.take_link(id)?.try_into())
}

fn attach_skb(program: &mut Program, cgroup: BorrowedFd<'_>) -> Result<FdLink, Box<ProgramError>> {
    let program: &mut CgroupSkb = program.try_into()?;
    let id = program.attach(cgroup, CgroupSkbAttachType::Egress, CgroupAttachMode::Single)?;
    as_fd_link(program.take_link(id)?.try_into())
}

fn attach_sock(program: &mut Program, cgroup: BorrowedFd<'_>) -> Result<FdLink, Box<ProgramError>> {
    let program: &mut CgroupSock = program.try_into()?;
    let id = program.attach(cgroup, CgroupAttachMode::Single)?;
    as_fd_link(program.take_link(id)?.try_into())
}

fn attach_sock_addr(program: &mut Program, cgroup: BorrowedFd<'_>) -> Result<FdLink, Box<ProgramError>> {
    let program: &mut CgroupSockAddr = program.try_into()?;
    let id = program.attach(cgroup, CgroupAttachMode::Single)?;
    as_fd_link(program.take_link(id)?.try_into())
}

pub(super) fn as_fd_link(link: Result<FdLink, LinkError>) -> Result<FdLink, Box<ProgramError>> {
    link.map_err(|error| Box::new(ProgramError::IOError(std::io::Error::other(error))))
}

/// Pins of links, and of what stands for one.
pub(super) fn pins(directory: &Path) -> Result<Vec<PathBuf>, RedirectError> {
    pinned(directory, &[POD_PREFIX, CGROUP_PREFIX, CLSACT_PREFIX])
}

pub(super) fn pinned(directory: &Path, prefixes: &[&str]) -> Result<Vec<PathBuf>, RedirectError> {
    let entries = fs::read_dir(directory).map_err(RedirectError::path(directory, "list the pins"))?;
    let mut pins = Vec::new();
    for entry in entries {
        let entry = entry.map_err(RedirectError::path(directory, "list the pins"))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if prefixes.iter().any(|prefix| name.starts_with(prefix)) {
            pins.push(entry.path());
        }
    }
    // Connect hooks sort first among the cgroup's: switched off first, as they were switched on last.
    pins.sort();
    Ok(pins)
}

/// Switches off what a pin stands for.
pub(super) fn remove(pin: &Path) -> Result<(), RedirectError> {
    remove_filter(pin).map_err(|reason| RedirectError::Filter { pin: pin.to_path_buf(), reason })?;
    fs::remove_file(pin).map_err(RedirectError::path(pin, "remove the pin"))
}
