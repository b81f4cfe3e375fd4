//! Stops a process at its n-th call of the kernel that changes something.
//!
//! Owns which calls count, and that the process is let go or killed whatever happens. Counts those of the first thread, which
//! is the one that changes things; others run on meanwhile. Start at [`Tracer::run`].

use std::{fs, thread, time::Duration};

use anyhow::{Context, Result, bail};
use nix::{
    libc,
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::process::PATIENCE;

const PAUSE: Duration = Duration::from_millis(1);
/// Times that are asked without a pause: most calls are short.
const QUICK: u128 = 200;
/// `PTRACE_SYSCALL_INFO_ENTRY`.
const ENTRY: u8 = 1;
/// Commands of `bpf(2)` that change something; `linux/bpf.h`.
const BPF_COMMANDS: [(u64, &str); 8] = [
    (0, "map-create"),
    (2, "map-update"),
    (3, "map-delete"),
    (5, "program-load"),
    (6, "pin"),
    (8, "program-attach"),
    (28, "link-create"),
    (29, "link-update"),
];

/// A call that is about to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// From 1, of those that count.
    pub number: usize,
    /// What it does.
    pub name: &'static str,
}

/// What to do at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It is made.
    GoOn,
    /// It is not made: SIGKILL.
    Kill,
}

/// How it came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was killed.
    Killed,
    /// What was waited for is so; it runs on.
    Done,
    /// It ended by itself.
    Ended,
}

/// A process that is stopped at each call of its first thread.
#[derive(Debug)]
pub struct Tracer {
    process: Pid,
    calls: usize,
    /// It has to be told to go on.
    stopped: bool,
    over: bool,
}

impl Tracer {
    /// From now on. Nobody else may wait for the process until this ends.
    pub fn attach(process: u32) -> Result<Self> {
        let process = Pid::from_raw(process.try_into()?);
        ptrace::seize(process, Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL).context("seize")?;
        ptrace::interrupt(process).context("interrupt")?;
        let mut tracer = Self { process, calls: 0, stopped: false, over: false };
        let begun = tracer.wait(&mut || Ok(false))?;
        tracer.stopped = true;
        match begun {
            Some(WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..)) => Ok(tracer),
            other => bail!("a process that was interrupted: {other:?}"),
        }
    }

    /// Asks at each call that counts what to do, until `is_done`. Then the process runs on by itself. Whoever asks its first
    /// thread anything in either of them waits for ever.
    pub fn run(
        mut self,
        mut at: impl FnMut(&Call) -> Result<Then>,
        mut is_done: impl FnMut() -> Result<bool>,
    ) -> Result<Outcome> {
        let mut signal = None;
        loop {
            ptrace::syscall(self.process, signal.take())?;
            self.stopped = false;
            let Some(status) = self.wait(&mut is_done)? else {
                ptrace::interrupt(self.process)?;
                self.wait(&mut || Ok(false))?;
                ptrace::detach(self.process, None)?;
                self.over = true;
                return Ok(Outcome::Done);
            };
            self.stopped = true;
            match status {
                WaitStatus::PtraceSyscall(_) => {
                    if let Some(call) = self.call()?
                        && at(&call)? == Then::Kill
                    {
                        self.kill()?;
                        return Ok(Outcome::Killed);
                    }
                }
                WaitStatus::Stopped(_, other) => signal = Some(other),
                WaitStatus::Exited(..) | WaitStatus::Signaled(..) => {
                    self.over = true;
                    return Ok(Outcome::Ended);
                }
                WaitStatus::PtraceEvent(..) | WaitStatus::Continued(_) | WaitStatus::StillAlive => {}
            }
        }
    }

    /// The next stop or end, or nothing when it is done before.
    fn wait(&self, is_done: &mut dyn FnMut() -> Result<bool>) -> Result<Option<WaitStatus>> {
        let rounds = PATIENCE.as_millis() / PAUSE.as_millis() + QUICK;
        for round in 0..rounds {
            let status = waitpid(self.process, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG))?;
            if status != WaitStatus::StillAlive {
                return Ok(Some(status));
            }
            if round < QUICK {
                thread::yield_now();
                continue;
            }
            // To ask costs more than to wait.
            if round % 10 == 9 && is_done()? {
                return Ok(None);
            }
            thread::sleep(PAUSE);
        }
        bail!("neither a call nor what was waited for within {PATIENCE:?}, after {} calls", self.calls)
    }

    /// The call that the process has stopped before, if it counts.
    fn call(&mut self) -> Result<Option<Call>> {
        if ptrace::syscall_info(self.process)?.op != ENTRY {
            return Ok(None);
        }
        let text = fs::read_to_string(format!("/proc/{}/syscall", self.process))?;
        let mut words = text.split_whitespace();
        let number: i64 = words.next().context("no number")?.parse()?;
        let first = words.next().unwrap_or_default().trim_start_matches("0x");
        let Some(name) = name(number, u64::from_str_radix(first, 16).unwrap_or_default()) else { return Ok(None) };
        self.calls += 1;
        Ok(Some(Call { number: self.calls, name }))
    }

    fn kill(&mut self) -> Result<()> {
        self.over = true;
        kill(self.process, Signal::SIGKILL)?;
        let is_over = |status| matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..));
        while !is_over(waitpid(self.process, Some(WaitPidFlag::__WALL))?) {}
        Ok(())
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        if !self.over {
            // There is nobody to tell; the runner's namespace ends what this cannot.
            drop(self.kill());
        }
    }
}

/// What a call does, if it changes something that outlives the process or that others see.
fn name(number: i64, first: u64) -> Option<&'static str> {
    if number == libc::SYS_bpf {
        return BPF_COMMANDS.iter().find(|(command, _)| *command == first).map(|(_, name)| *name);
    }
    #[cfg(target_arch = "x86_64")]
    let old = [(libc::SYS_unlink, "unlink"), (libc::SYS_rename, "rename"), (libc::SYS_mkdir, "mkdir")];
    #[cfg(not(target_arch = "x86_64"))]
    let old: [(i64, &str); 0] = [];
    let calls = [
        (libc::SYS_unlinkat, "unlink"),
        (libc::SYS_renameat2, "rename"),
        (libc::SYS_mkdirat, "mkdir"),
        (libc::SYS_mount, "mount"),
        (libc::SYS_umount2, "unmount"),
        (libc::SYS_flock, "lock"),
        (libc::SYS_listen, "listen"),
        (libc::SYS_sendto, "send"),
    ];
    calls.into_iter().chain(old).find(|(call, _)| *call == number).map(|(_, name)| name)
}
