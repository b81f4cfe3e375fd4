//! Composition root: brings up the node process, keeps it in step with its configuration, and ends it in order.
//!
//! Knows every module and decides nothing about a request. Start at [`run`].

use std::{error::Error, path::Path, sync::Arc, thread};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime;

use crate::{
    config::{self, Backstop, Config},
    flow,
    metrics::Counters,
    redirect::{self, Claim, Mechanism, Place, Redirect, Unenrolled},
    source::standalone,
    sys,
};

mod api;
mod arrivals;
mod assemble;
mod connections;
mod control;
mod existing;
mod frontends;
mod limits;
mod pods;
mod records;
mod refusals;
mod resolved;
mod roster;
mod rule_ids;
mod scraped;
mod status;
mod workers;

pub use api::ApiStatus;
pub use assemble::{Assembled, Assembler};
pub use rule_ids::{KnownRule, RuleIds};
pub use status::{DirectionStatus, EndpointStatus, KernelStatus, Status};

use self::{api::Api, control::Control, scraped::Scraped, workers::Workers};

/// Why the process does not start or stopped: a line per reason, with place and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{}", lines.join("\n"))]
pub struct RunError {
    /// The lines.
    pub lines: Vec<String>,
}

impl RunError {
    fn one(line: impl Into<String>) -> Self {
        Self { lines: vec![line.into()] }
    }

    fn of(error: &dyn Error) -> Self {
        Self::one(error.to_string())
    }
}

/// Where the kernel side goes, and how.
fn place(config: &Config) -> Result<Place, RunError> {
    let cgroup = match &config.redirect.cgroup {
        Some(path) => path.clone(),
        None => sys::cgroup2_mount().map_err(|error| RunError::of(&error))?,
    };
    if !cgroup.is_dir() {
        return Err(RunError::one(format!(
            "redirect.cgroup: {}: no such directory; give one of the cgroup2 hierarchy",
            cgroup.display()
        )));
    }
    let backstop = match config.redirect.backstop {
        Backstop::Auto => Mechanism::Tcx,
        Backstop::Clsact => Mechanism::Clsact,
        Backstop::Off => Mechanism::Off,
    };
    let unenrolled = match config.redirect.unenrolled {
        config::Unenrolled::Allow => Unenrolled::Allow,
        config::Unenrolled::Deny => Unenrolled::Deny,
        config::Unenrolled::Hold => Unenrolled::Hold,
    };
    // Only the root has no type.
    if unenrolled != Unenrolled::Allow && !cgroup.join("cgroup.type").exists() {
        return Err(RunError::one(format!(
            "redirect.unenrolled: {unenrolled:?} at the root of the cgroup2 hierarchy ({}) is about every container of this \
             node; give the directory of pods' processes as redirect.cgroup, or write allow",
            cgroup.display()
        )));
    }
    Ok(Place {
        cgroup,
        pins: config.redirect.pins.clone(),
        backstop,
        unenrolled,
        connections: config.flows.connections,
    })
}

/// The right to change what is pinned; `None`: a process that runs has it, and is to be taken over from.
fn claim(config: &Config, take_over: bool) -> Result<Option<Claim>, RunError> {
    let pins = &config.redirect.pins;
    let claim = Claim::take(pins).map_err(|error| RunError::of(&error))?;
    if claim.is_none() && !take_over {
        return Err(RunError::one(format!(
            "redirect.pins: {}: another process runs with these; stop it first, or take over from it: l7proxy run --take-over",
            pins.display()
        )));
    }
    Ok(claim)
}

/// Runs until told to stop. Nothing is attached before everything that can be checked was found right. With `take_over` a
/// process that runs with the same pins hands over.
pub fn run(config: &Path, take_over: bool) -> Result<(), RunError> {
    let input = standalone::read(config).map_err(|error| RunError { lines: error.lines })?;
    redirect::check_permission().map_err(|error| RunError::of(&error))?;
    raise_descriptors();
    let counters = Arc::new(Counters::default());
    let api = Api::start(&input.config, &counters)?;
    let control = Control::new(config, &input, Arc::clone(&counters), api.clone())?;
    let place = place(&input.config)?;
    let claim = claim(&input.config, take_over)?;
    let mut scraped = Scraped::new(&input.config, &counters, claim.is_none())?;
    if claim.is_some() {
        api.listen(false)?;
    }
    let redirect = Redirect::load(place).map_err(|error| RunError::of(&error))?;
    let (flows, writer) =
        flow::pipeline(records::flow_config(&input.config, &api), Arc::clone(&counters)).map_err(|error| {
            RunError::one(format!("flows.file: {error}; give a path in a directory that can be written"))
        })?;
    let writer = scraped.count(writer, &input.config);
    let writer = thread::Builder::new()
        .name("flows".to_owned())
        .spawn(move || writer.run())
        .map_err(|error| RunError::of(&error))?;
    let workers = Workers::start(&input.config, &redirect, &flows, &counters)?;
    scraped.add(workers.open_connections());
    if let Some(calls) = api.calls() {
        scraped.add(calls);
    }
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(|error| RunError::of(&error))?;
    // What counts is read again, once changes are watched for.
    drop(input);
    let result = runtime.block_on(control.run(redirect, &workers, flows, claim, scraped));
    workers.join();
    if writer.join().is_err() {
        return Err(RunError::one("the records' writer panicked; see the log"));
    }
    // Who follows has the last records too.
    drop(api);
    result
}

/// As many file descriptors as this process may have: each connection takes two.
fn raise_descriptors() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of file descriptors cannot be raised");
    }
}
