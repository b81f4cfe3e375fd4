//! The programs at the node's end of each pod's interfaces: what passes there is judged packet by packet.
//!
//! Owns how they get there (tcx, or clsact where tcx is missing), how they stay when this process ends, and how the next one
//! takes them over. Never decides what passes. Start at [`Guard`] and [`Links::guard`].

use std::{fmt, fs, mem::ManuallyDrop, path::Path};

use aya::{
    Ebpf,
    programs::{
        LinkOrder, Program, ProgramError, SchedClassifier, TcAttachType,
        links::FdLink,
        tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle},
    },
};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketType, netdevice, socket},
};

use super::{
    Redirect, RedirectError,
    attach::{Links, NEW_PREFIX, POD_PREFIX, as_fd_link},
    describe, load,
    reconcile::ignore_missing,
};
use crate::pod_net::{Exit, HostEnd};

/// Pins of programs (not links) whose filters are attached by clsact: cookie, index of the interface, program.
pub(super) const CLSACT_PREFIX: &str = "clsact_";

/// First of all filters; among those of the same priority the newest comes first.
const PRIORITY: u16 = 1;
/// Any number that is not taken, and always the same, so that the next process finds its predecessor's filter.
const HANDLE: TcHandle = TcHandle::new(0, 0x17);

/// Which of the kernel's ways is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mechanism {
    /// tcx where the kernel has it (6.6), else clsact.
    #[default]
    Tcx,
    /// Filters of a clsact qdisc.
    Clsact,
    /// None: switched off.
    Off,
}

/// What guards a pod's ways out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// What there was to guard.
    exits: Vec<Exit>,
    /// How it is attached where it is.
    mechanism: Option<Mechanism>,
    /// Interface and why it is not attached there.
    absent: Vec<(String, String)>,
    /// Indexes of the node's ends that are guarded.
    ends: Vec<u32>,
}

impl Guard {
    /// Whether every way out is guarded.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.ends.is_empty() && self.absent.is_empty()
    }

    /// Whether a way out is not guarded.
    #[must_use]
    pub fn lacks_some(&self) -> bool {
        !self.absent.is_empty()
    }

    /// A guard of nothing, for one reason.
    fn without(exits: &[Exit], why: &str) -> Self {
        let mut guard = Self { exits: exits.to_vec(), ..Self::default() };
        for exit in exits {
            guard.missing(exit, &why);
        }
        guard
    }

    fn missing(&mut self, exit: &Exit, why: &dyn fmt::Display) {
        self.absent.push((exit.name.clone(), why.to_string()));
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = self.absent.iter().map(|(name, why)| format!("{name}: {why}")).collect::<Vec<_>>().join("; ");
        let name = match self.mechanism {
            Some(Mechanism::Tcx) => "tcx",
            Some(Mechanism::Clsact) => "clsact",
            Some(Mechanism::Off) | None if why.is_empty() => {
                return f.write_str("absent (nothing leads out of the pod)");
            }
            Some(Mechanism::Off) | None => return write!(f, "absent ({why})"),
        };
        if why.is_empty() { f.write_str(name) } else { write!(f, "{name}, absent ({why})") }
    }
}

impl Redirect {
    /// Guards a pod's ways out, and says whether that is news. The programs must know whose they are before they run.
    pub(super) fn guard_pod(&mut self, cookie: u64, exits: &[Exit]) -> Result<bool, RedirectError> {
        if self.guards.get(&cookie).is_some_and(|guard| guard.exits == exits) {
            return Ok(false);
        }
        for end in exits.iter().flat_map(|exit| &exit.end) {
            self.maps.ends.insert(end.index, cookie, 0).map_err(RedirectError::map("ENDS"))?;
        }
        let guard = match self.lacking.backstop() {
            Some(reason) => Guard::without(exits, reason),
            None => self.links.guard(&mut self.ebpf, cookie, exits),
        };
        if !guard.is_complete() {
            tracing::warn!(pod = format!("{cookie:x}"), backstop = %guard, "not all ways out are guarded");
        }
        self.links.detach_ends(cookie, &guard.ends)?;
        let known = self.guards.insert(cookie, guard).unwrap_or_default();
        for end in
            known.ends.iter().filter(|end| !exits.iter().flat_map(|exit| &exit.end).any(|new| new.index == **end))
        {
            ignore_missing(self.maps.ends.remove(end), "ENDS")?;
        }
        Ok(true)
    }

    /// Forgets whose the ends were; their links are gone.
    pub(super) fn unguard_pod(&mut self, cookie: u64) -> Result<(), RedirectError> {
        for end in self.guards.remove(&cookie).unwrap_or_default().ends {
            ignore_missing(self.maps.ends.remove(&end), "ENDS")?;
        }
        Ok(())
    }
}

impl Links {
    /// Attaches at the node's end of each of the pod's interfaces. What cannot be guarded is told and hinders nothing.
    pub(super) fn guard(&mut self, ebpf: &mut Ebpf, cookie: u64, exits: &[Exit]) -> Guard {
        let mut guard = Guard { exits: exits.to_vec(), ..Guard::default() };
        for exit in exits {
            match &exit.end {
                Err(why) => guard.missing(exit, why),
                Ok(_) if self.mechanism() == Mechanism::Off => {
                    guard.missing(exit, &"switched off by redirect.backstop");
                }
                Ok(end) => match self.guard_end(ebpf, cookie, end) {
                    Ok(mechanism) => {
                        guard.mechanism = Some(mechanism);
                        guard.ends.push(end.index);
                    }
                    Err(error) => guard.missing(exit, &error),
                },
            }
        }
        guard
    }

    fn guard_end(&mut self, ebpf: &mut Ebpf, cookie: u64, end: &HostEnd) -> Result<Mechanism, String> {
        let mut used = self.mechanism();
        for (name, direction) in
            [(load::BACKSTOP_OUT, TcAttachType::Ingress), (load::BACKSTOP_IN, TcAttachType::Egress)]
        {
            let program = ebpf.program_mut(name).ok_or_else(|| RedirectError::NoObject.to_string())?;
            let pin = format!("{cookie:x}_{}_{name}", end.index);
            if used == Mechanism::Tcx {
                let attached = self.attach(format!("{POD_PREFIX}{pin}"), program, |program| {
                    attach_tcx(program, end, direction).map_err(|error| describe(&*error))
                });
                let Err(error) = attached else { continue };
                tracing::debug!(interface = end.name, error, "no tcx; trying clsact");
                used = Mechanism::Clsact;
            }
            self.attach_clsact(&format!("{CLSACT_PREFIX}{pin}"), program, end, direction)?;
        }
        Ok(used)
    }

    /// A filter stays until it is removed, whatever becomes of this process; the pin of its program says where it is.
    fn attach_clsact(
        &mut self,
        pin: &str,
        program: &mut Program,
        end: &HostEnd,
        direction: TcAttachType,
    ) -> Result<(), String> {
        match tc::qdisc_add_clsact(&end.name) {
            Ok(()) => {}
            Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => {}
            Err(error) => return Err(format!("clsact: {}", describe(&error))),
        }
        let filter = |program: &mut SchedClassifier| -> Result<(), Box<ProgramError>> {
            let old = SchedClassifierLink::attached(&end.name, direction, PRIORITY, HANDLE, None)
                .map_err(|error| Box::new(ProgramError::IOError(error)))?;
            let options = NlOptions { priority: PRIORITY, handle: HANDLE, classid: None };
            let id = match program.attach_to_link(old) {
                Ok(id) => id,
                Err(_nothing_to_replace) => {
                    program.attach_with_options(&end.name, direction, TcAttachOptions::Netlink(options))?
                }
            };
            // Dropping the link would remove the filter.
            let _kept = ManuallyDrop::new(program.take_link(id)?);
            Ok(())
        };
        let path = self.pin_path(pin);
        let program: &mut SchedClassifier = program.try_into().map_err(|error: ProgramError| describe(&error))?;
        // The pin comes first, in place of that of a process before: whatever happens then, it says that there may be a
        // filter. Without one, nobody would ever remove the filter.
        let new = self.pin_path(&format!("{NEW_PREFIX}{pin}"));
        let pinning = |what: &dyn fmt::Display| format!("{}: {what}", path.display());
        fs::remove_file(&new).or_else(not_there).map_err(|error| pinning(&error))?;
        program.pin(&new).map_err(|error| pinning(&describe(&error)))?;
        fs::rename(&new, &path).map_err(|error| pinning(&error))?;
        self.keep(pin.to_owned(), path);
        filter(program).map_err(|error| format!("clsact: {}", describe(&*error)))
    }
}

fn attach_tcx(program: &mut Program, end: &HostEnd, direction: TcAttachType) -> Result<FdLink, Box<ProgramError>> {
    let program: &mut SchedClassifier = program.try_into()?;
    // First: what another program lets pass here is not asked about again.
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = program.attach_with_options(&end.name, direction, options)?;
    as_fd_link(program.take_link(id)?.try_into())
}

/// Removes what a pin stands for before the pin itself goes: a filter is no link, it does not end with its pin.
pub(super) fn remove_filter(pin: &Path) -> Result<(), String> {
    let name = pin.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some(rest) = name.strip_prefix(CLSACT_PREFIX) else { return Ok(()) };
    let mut parts = rest.splitn(3, '_').skip(1);
    let (Some(Ok(index)), Some(program)) = (parts.next().map(str::parse::<u32>), parts.next()) else {
        return Err(format!("{}: is not a pin of this program", pin.display()));
    };
    let asking = socket(AddressFamily::INET, SocketType::DGRAM, None).map_err(|error| error.to_string())?;
    let interface = match netdevice::index_to_name(&asking, index) {
        Ok(name) => name,
        // Its interface is gone, and the filter with it.
        Err(Errno::NODEV | Errno::NXIO) => return Ok(()),
        Err(error) => return Err(format!("interface {index}: {error}")),
    };
    let direction = if program == load::BACKSTOP_OUT { TcAttachType::Ingress } else { TcAttachType::Egress };
    match tc::qdisc_detach_program(&interface, direction, program) {
        Ok(()) => Ok(()),
        Err(TcError::IoError(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("{interface}: {}", describe(&error))),
    }
}

fn not_there(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
