//! Child processes that end with the value that stands for them.
//!
//! Owns how they end: by their own id and nothing else. Start at [`Process`].

use std::{
    env, fmt,
    io::{self, BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// What takes longer than this does not happen any more.
pub const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// A running program; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts a program without input.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let name = format!("{command:?}");
        let child = command.stdin(Stdio::null()).spawn().with_context(|| format!("{name}: cannot be started"))?;
        Ok(Self { child, name })
    }

    /// Starts a program that says `ready` on standard output when it is, and waits for that. Its input stays open.
    pub fn spawn_ready(command: &mut Command) -> Result<Self> {
        let name = format!("{command:?}");
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{name}: cannot be started"))?;
        let mut process = Self { child, name };
        let line = process.line()?;
        if line != "ready" {
            bail!("{}: said {line:?} and not that it is ready", process.name);
        }
        Ok(process)
    }

    /// Gives it a line and returns the one it says then.
    pub fn ask(&mut self, line: &str) -> Result<String> {
        writeln!(self.child.stdin.as_mut().context("its input is no pipe")?, "{line}")?;
        self.line()
    }

    /// The next line that it says.
    pub fn line(&mut self) -> Result<String> {
        let out = self.child.stdout.as_mut().context("its output is no pipe")?;
        let mut line = String::new();
        // Byte by byte: what comes after the line is for whoever reads next.
        BufReader::with_capacity(1, out).read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("{}: cannot be waited for", self.name))
    }

    /// SIGKILL.
    pub fn kill(mut self) -> Result<()> {
        self.end()
    }

    /// SIGSTOP: it does nothing until [`Self::resume`].
    pub fn pause(&self) -> Result<()> {
        self.signal("-STOP")
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<()> {
        self.signal("-CONT")
    }

    /// SIGINT, as Ctrl-C.
    pub fn interrupt(&self) -> Result<()> {
        self.signal("-INT")
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let told = Command::new("kill").args([signal, &self.child.id().to_string()]).status()?;
        if !told.success() {
            bail!("{}: cannot be sent a signal", self.name);
        }
        Ok(())
    }

    /// SIGTERM, and how it ended within a while.
    pub fn terminate(self) -> Result<ExitStatus> {
        self.signal("-TERM")?;
        self.wait()
    }

    /// How it ends by itself, within a while.
    pub fn wait(mut self) -> Result<ExitStatus> {
        eventually(&format!("the end of {}", self.name), || self.exited())
    }

    /// Closes its input and returns what it said since it was ready.
    pub fn finish(mut self) -> Result<String> {
        drop::<Option<ChildStdin>>(self.child.stdin.take());
        let mut out = self.child.stdout.take().context("its output is no pipe")?;
        let text = io::read_to_string(&mut out)?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("{}: {status}", self.name);
        }
        Ok(text)
    }

    fn end(&mut self) -> Result<()> {
        if self.exited()?.is_none() {
            self.child.kill().with_context(|| format!("{}: cannot be killed", self.name))?;
            self.child.wait().with_context(|| format!("{}: cannot be waited for", self.name))?;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // In a destructor there is nobody to tell; the runner's namespace ends what this cannot.
        drop(self.end());
    }
}

/// Says what was not tested and why, also when the test passes.
pub fn skipped(what: impl fmt::Display) {
    told(format_args!("SKIPPED: {what}"));
}

/// Of a program that `cargo xtask setup` installs and that is not there: a skip, and in CI a failure.
pub fn missing(what: &str) -> Result<()> {
    if env::var_os("CI").is_some_and(|ci| ci == "true") {
        bail!("{what} is not installed, and in CI nothing may be skipped");
    }
    skipped(format_args!("{what} is not installed; `cargo xtask setup` does it where it can"));
    Ok(())
}

/// Says something of a test that passes.
pub fn told(what: impl fmt::Display) {
    // A closed stderr has nobody to tell; what the test harness captures is `println!` alone.
    drop(writeln!(io::stderr(), "{what}"));
}

/// Asks again until there is an answer; for what the program under test does on its own time.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if begin.elapsed() > PATIENCE {
            bail!("{what}: not within {PATIENCE:?}");
        }
        thread::sleep(PAUSE);
    }
}

/// Standard output of a program that must run well.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}: cannot be started"))?;
    if !output.status.success() {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
