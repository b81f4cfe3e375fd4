//! The kernel side, from here: the eBPF object, its links and its maps.
//!
//! Owns which namespaces are steered and what the kernel's maps hold. Never knows a policy or a request; it is told
//! entries. Start at [`Redirect::apply`]. Failing closed is a matter of order, and the order is in `reconcile.rs`.

use std::{collections::BTreeMap, fmt, io, os::fd::OwnedFd, path::PathBuf};

use aya::Ebpf;

mod attach;
mod backstop;
mod changes;
mod claim;
mod cleanup;
mod connections;
mod counters;
mod entries;
mod events;
mod features;
mod load;
mod maps;
mod moving;
mod neighbours;
mod pod_states;
mod policies;
mod reclaim;
mod reconcile;
mod strangers;

pub use backstop::{Guard, Mechanism};
pub use claim::Claim;
pub use cleanup::cleanup;
pub use connections::{Connections, ends};
pub use counters::help as counter_help;
pub use entries::{Entries, Entry};
pub use events::{Refusals, command, local, remote};
pub use load::check_permission;
pub use maps::{DataMaps, Original};
pub use policies::PolicyFigures;
pub use reconcile::{Desired, DesiredPod, Enrolment, NotEnrolled, Shortfall, egress_ports};
pub use redirect_abi::{
    ACCEPTED_SOCKET, ALLOW, ALLOWED_SOCKET, AUDIT, Connection, DENY, EGRESS, INGRESS, LISTENER_EGRESS, LISTENER_V6,
    OWN_SOCKET, REASON_AUDIT, REASON_BACKSTOP, REASON_FRAGMENT, REASON_MALFORMED, REASON_NO_PROXY, REASON_NO_REDIRECT,
    REASON_NOT_ENROLLED, REASON_NOT_IP, REASON_NOT_REDIRECTED, REASON_UNKNOWN_ADDRESS, REDIRECT, Refusal,
    SHARED_LAYOUT,
};
pub use strangers::{Hold, Strangers};

use crate::sys::ProgramBarrier;

use self::{attach::Links, features::Lacking, maps::ControlMaps, reconcile::Applied};

/// Bytes of what the verifier says that are told.
const VERIFIER: usize = 300;

/// What cannot be done with the kernel. Each text says where, what and what to do.
#[derive(Debug, thiserror::Error)]
pub enum RedirectError {
    /// The binary holds no eBPF object.
    #[error("this binary was built without its eBPF object: run `cargo xtask build`")]
    NoObject,
    /// Not root, or capabilities are missing.
    #[error("loading eBPF needs root (CAP_BPF, CAP_NET_ADMIN, CAP_SYS_ADMIN): run as root")]
    NotPermitted,
    /// The kernel refused the object or a program.
    #[error(
        "kernel feature {feature}: {reason}; l7proxy needs Linux 5.18 or newer with CONFIG_BPF_SYSCALL, CONFIG_CGROUP_BPF and BTF"
    )]
    Feature {
        /// The program or map that needs it.
        feature: &'static str,
        /// What the kernel said.
        reason: String,
    },
    /// What leaves namespaces cannot be held.
    #[error(
        "redirect.unenrolled: hold: this kernel does not tell a packet's namespace ({reason}); that needs Linux 6.15: write \
         deny, or allow"
    )]
    Hold {
        /// What the kernel said.
        reason: String,
    },
    /// A file or directory.
    #[error("{path}: {what}: {source}")]
    Path {
        /// Where.
        path: PathBuf,
        /// What was being done.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A process runs, so nothing may be removed.
    #[error("{}: a process is running with these pins; stop it first", pins.display())]
    InUse {
        /// The directory for pins.
        pins: PathBuf,
    },
    /// A filter of the backstop cannot be removed.
    #[error("{pin}: remove its filter: {reason}")]
    Filter {
        /// Its pin.
        pin: PathBuf,
        /// What the kernel said.
        reason: String,
    },
    /// A map refused an entry.
    #[error("eBPF map {map}: {reason}")]
    Map {
        /// Which.
        map: &'static str,
        /// What the kernel said.
        reason: String,
    },
}

impl RedirectError {
    fn map(map: &'static str) -> impl Fn(aya::maps::MapError) -> Self {
        move |error| Self::Map { map, reason: describe(&error) }
    }

    fn io(map: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::Map { map, reason: error.to_string() }
    }

    fn path(path: impl Into<PathBuf>, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Path { path, what, source }
    }
}

/// An error with all of its causes on one line. What the verifier says at length is cut to its last words.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    let text = text.replace('\n', " ");
    match text.split_once("Verifier output:") {
        Some((what, said)) if said.len() > VERIFIER => {
            format!(
                "{what}Verifier output: …{}",
                said.get(said.ceil_char_boundary(said.len() - VERIFIER)..).unwrap_or_default()
            )
        }
        _ => text,
    }
}

/// A counter's name and value.
pub type Count = (&'static str, u64);

/// Where the programs are attached and where the links are pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Directory of the cgroup2 hierarchy below which pods' processes are judged.
    pub cgroup: PathBuf,
    /// Directory for pins; a bpf file system is mounted on it when it is none.
    pub pins: PathBuf,
    /// How the programs at the node's end of pods' interfaces are attached.
    pub backstop: Mechanism,
    /// What becomes of what namespaces send that no pod is enrolled for.
    pub unenrolled: Unenrolled,
    /// Whether connections that policy allows without the proxy are told.
    pub connections: bool,
}

/// What becomes of what namespaces send that no pod is enrolled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unenrolled {
    /// It passes.
    Allow,
    /// It is refused.
    Deny,
    /// It waits for the enrolment of a pod.
    Hold,
}

/// Loaded programs and maps. Dropping it leaves what is pinned in force: selected traffic is refused, not let by.
pub struct Redirect {
    ebpf: Ebpf,
    maps: ControlMaps,
    links: Links,
    barrier: ProgramBarrier,
    applied: Applied,
    lacking: Lacking,
    guards: BTreeMap<u64, Guard>,
}

impl fmt::Debug for Redirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redirect").field("links", &self.links).field("applied", &self.applied).finish_non_exhaustive()
    }
}

impl Redirect {
    /// Loads programs and maps; nothing is attached yet and nothing that runs is touched.
    pub fn load(place: Place) -> Result<Self, RedirectError> {
        let mut links = Links::new(place)?;
        let (mut ebpf, lacking) = load::load(&mut links)?;
        let maps = ControlMaps::take(&mut ebpf)?;
        let barrier = ProgramBarrier::new();
        let barrier = barrier.map_err(|error| RedirectError::Map { map: "barrier", reason: error.to_string() })?;
        let applied = Applied::default();
        Ok(Self { ebpf, maps, links, barrier, applied, lacking, guards: BTreeMap::new() })
    }

    /// Handles for one data worker.
    pub fn data_maps(&self) -> Result<DataMaps, RedirectError> {
        self.maps.for_worker()
    }

    /// The storage that marks the proxy's own sockets.
    pub fn own_sockets(&self) -> io::Result<OwnedFd> {
        self.maps.own_sockets()
    }

    /// The stream of refusals; to be taken once.
    pub fn refusals(&mut self) -> Result<Refusals, RedirectError> {
        Refusals::new(&mut self.ebpf)
    }

    /// The stream of connections that need no proxy; to be taken once.
    pub fn connections(&mut self) -> Result<Connections, RedirectError> {
        Connections::new(&mut self.ebpf)
    }

    /// Refusals of which nothing is known but that there were so many.
    pub fn refusals_lost(&self) -> Result<u64, RedirectError> {
        self.maps.refusals_lost()
    }

    /// Whether the namespace with this cookie is one of an enrolled pod, and still there.
    #[must_use]
    pub fn is_steered(&self, cookie: u64) -> bool {
        self.links.is_steered(cookie)
    }

    /// Namespaces that no pod is enrolled for; to be taken once.
    pub fn strangers(&mut self) -> Result<Strangers, RedirectError> {
        Strangers::new(&mut self.ebpf)
    }

    /// Lets go what is held, where that is configured.
    pub fn hold(&self) -> Result<Option<Hold>, RedirectError> {
        match self.links.unenrolled() {
            Unenrolled::Hold => self.maps.hold().map(Some),
            Unenrolled::Allow | Unenrolled::Deny => Ok(None),
        }
    }

    /// Number of links that are attached.
    #[must_use]
    pub fn link_count(&self) -> usize {
        self.links.count()
    }

    /// What guards the ways out of a pod.
    #[must_use]
    pub fn guard(&self, cookie: u64) -> Option<&Guard> {
        self.guards.get(&cookie)
    }

    /// Features of the kernel by name, and whether they are there; those without which there is nothing are, or this value
    /// would not exist.
    #[must_use]
    pub fn features(&self) -> BTreeMap<&'static str, bool> {
        self.lacking.all()
    }

    /// What is done without those that are not there, one line each.
    #[must_use]
    pub fn lacking(&self) -> Vec<String> {
        self.lacking.lines()
    }

    /// Counters of the kernel side by name.
    pub fn counters(&self) -> Result<Vec<Count>, RedirectError> {
        let mut all = self.maps.counters()?;
        let filed = self.policy_figures();
        all.push((counters::POLICY_WRITES.0, self.policy_writes()));
        all.push((counters::STANDBYS_DROPPED.0, filed.shed));
        Ok(all)
    }
}
