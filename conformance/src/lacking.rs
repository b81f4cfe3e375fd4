//! Runs a program as on a kernel that lacks something: chosen system calls fail, as they would there.
//!
//! Owns which calls; the program itself is as it is. Works by ptrace, because a seccomp filter cannot look into what a pointer
//! leads to. Start at [`run`].

use std::{
    collections::BTreeMap,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    libc::{self, user_regs_struct},
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// Commands of `bpf(2)`.
const MAP_CREATE: u64 = 0;
const PROG_LOAD: u64 = 5;
const LINK_CREATE: u64 = 28;
/// Where a program's kind of attachment stands in the attributes of `PROG_LOAD`, and a link's in those of `LINK_CREATE`.
const PROG_ATTACH_TYPE: u64 = 68;
const LINK_ATTACH_TYPE: u64 = 8;
const SO_NETNS_COOKIE: u64 = 71;

/// A call that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    /// Loading a program of this type, for this kind of attachment if one is named.
    Program(u32, Option<u32>),
    /// A link of this kind of attachment.
    Link(u32),
    /// A map of this type.
    Map(u32),
    /// A netlink request of this type.
    Netlink(u32),
    /// The cookie of a socket's namespace.
    Cookie,
}

impl Lack {
    /// `program:TYPE[:ATTACH]`, `link:ATTACH`, `map:TYPE`, `netlink:TYPE` or `cookie`.
    fn parse(text: &str) -> Result<Self> {
        let mut parts = text.split(':');
        let kind = parts.next().unwrap_or_default();
        let numbers: Vec<u32> = parts.map(str::parse).collect::<Result<_, _>>().with_context(|| text.to_owned())?;
        Ok(match (kind, numbers.as_slice()) {
            ("program", [kind]) => Self::Program(*kind, None),
            ("program", [kind, attach]) => Self::Program(*kind, Some(*attach)),
            ("link", [attach]) => Self::Link(*attach),
            ("map", [kind]) => Self::Map(*kind),
            ("netlink", [kind]) => Self::Netlink(*kind),
            ("cookie", []) => Self::Cookie,
            _ => bail!("{text}: program:TYPE[:ATTACH], link:ATTACH, map:TYPE, netlink:TYPE or cookie"),
        })
    }

    /// The error of a call that this one is about.
    fn error(self, pid: Pid, call: &user_regs_struct) -> Result<Option<i32>> {
        let is = |number: libc::c_long| u64::try_from(number) == Ok(call.orig_rax);
        let word = |offset| word(pid, call.rsi + offset);
        let is_lacking = match self {
            Self::Program(kind, attach) => {
                is(libc::SYS_bpf)
                    && call.rdi == PROG_LOAD
                    && word(0)? == kind
                    && attach.map_or(Ok(true), |attach| word(PROG_ATTACH_TYPE).map(|found| found == attach))?
            }
            Self::Link(attach) => is(libc::SYS_bpf) && call.rdi == LINK_CREATE && word(LINK_ATTACH_TYPE)? == attach,
            Self::Map(kind) => is(libc::SYS_bpf) && call.rdi == MAP_CREATE && word(0)? == kind,
            // Its length comes first, which no other protocol that is spoken here would have there.
            Self::Netlink(kind) => is(libc::SYS_sendto) && u64::from(word(0)?) == call.rdx && word(4)? & 0xffff == kind,
            Self::Cookie => {
                is(libc::SYS_getsockopt) && call.rsi == u64::try_from(libc::SOL_SOCKET)? && call.rdx == SO_NETNS_COOKIE
            }
        };
        Ok(is_lacking.then_some(match self {
            Self::Program(..) | Self::Link(_) | Self::Map(_) => libc::EINVAL,
            Self::Netlink(_) => libc::EOPNOTSUPP,
            Self::Cookie => libc::ENOPROTOOPT,
        }))
    }
}

fn word(pid: Pid, address: u64) -> Result<u32> {
    let pointer = std::ptr::with_exposed_provenance_mut(usize::try_from(address)?);
    let long = u64::from_ne_bytes(ptrace::read(pid, pointer)?.to_ne_bytes());
    Ok(u32::try_from(long & 0xffff_ffff)?)
}

/// Runs a program without what the first argument names, and ends as it does.
pub fn run(arguments: &[String]) -> Result<ExitCode> {
    let [lacks, program @ ..] = arguments else { bail!("usage: conformance-lacking LACK[,LACK...] PROGRAM...") };
    let lacks: Vec<Lack> = lacks.split(',').map(Lack::parse).collect::<Result<_>>()?;
    // It waits until it is watched.
    let mut child = Command::new("sh");
    let child = child.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"]).args(program).spawn()?;
    let first = Pid::from_raw(i32::try_from(child.id())?);
    waitpid(first, Some(WaitPidFlag::WUNTRACED))?;
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_EXITKILL
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACEEXEC;
    ptrace::seize(first, options)?;
    kill(first, Signal::SIGCONT)?;
    let mut failing: BTreeMap<Pid, i32> = BTreeMap::new();
    loop {
        let mut signal = None;
        let pid = match waitpid(None, Some(WaitPidFlag::__WALL))? {
            WaitStatus::Exited(pid, code) if pid == first => return Ok(ExitCode::from(u8::try_from(code)?)),
            WaitStatus::Signaled(pid, signal, _) if pid == first => bail!("ended by {signal}"),
            WaitStatus::PtraceSyscall(pid) => {
                // A thread may end at any moment.
                drop(at_call(pid, &lacks, &mut failing));
                pid
            }
            WaitStatus::Stopped(pid, delivered) => {
                signal = Some(delivered);
                pid
            }
            WaitStatus::PtraceEvent(pid, ..) => pid,
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) | WaitStatus::Continued(_) | WaitStatus::StillAlive => {
                continue;
            }
        };
        match ptrace::syscall(pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A system call begins or ends: one that fails is not made.
fn at_call(pid: Pid, lacks: &[Lack], failing: &mut BTreeMap<Pid, i32>) -> Result<()> {
    let mut call = ptrace::getregs(pid)?;
    if ptrace::syscall_info(pid)?.op == libc::PTRACE_SYSCALL_INFO_EXIT {
        if let Some(error) = failing.remove(&pid) {
            call.rax = u64::from_ne_bytes((-i64::from(error)).to_ne_bytes());
            ptrace::setregs(pid, call)?;
        }
        return Ok(());
    }
    for lack in lacks {
        if let Some(error) = lack.error(pid, &call)? {
            call.orig_rax = u64::MAX;
            ptrace::setregs(pid, call)?;
            failing.insert(pid, error);
            return Ok(());
        }
    }
    Ok(())
}
