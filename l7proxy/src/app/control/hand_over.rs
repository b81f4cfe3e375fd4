//! From one process to the next, while connections go on.
//!
//! Owns who writes to the kernel when: at any time at most one of both does. Never ends a connection that could still carry
//! something. Start at [`Control::begin_take_over`] for the process that comes, at [`Control::hand_over`] for the one that goes, and
//! at [`Retiring`] for how that one ends.

use std::{
    io, mem,
    os::fd::{AsFd, OwnedFd},
    process,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use tokio::{pin, time};

use super::{Control, Inbox};
use crate::{
    admin::{Predecessor, Successor},
    app::{RunError, Workers},
    flow,
    pod_net::{Diag, Flow, Kind, PodNetns, Transport},
    redirect::{Claim, Redirect},
};

/// How often the process that goes looks whether it may.
pub(super) const LOOK: Duration = Duration::from_millis(20);
/// Clients that keep a connection and ask nothing have this long; then it is closed while it is idle.
const IDLE: Duration = Duration::from_secs(30);
/// What is in flight then has this long in all; then it is reset.
const LONGEST: Duration = Duration::from_hours(1);

/// How a hand-over came out.
#[derive(Debug)]
pub(super) enum HandedOver {
    /// This process is replaced.
    Replaced(Retiring),
    /// The other one ended before it took over: this one goes on.
    No,
    /// This process is to end.
    Stop,
}

impl Control {
    /// Asks the process that runs to change nothing any more, and gets the right to.
    pub(super) async fn begin_take_over(&mut self) -> Result<Predecessor, RunError> {
        let mut predecessor =
            Predecessor::ask(&self.config.admin.socket).await.map_err(|error| RunError::of(&error))?;
        self.inherited = predecessor.stop_changing(process::id()).await.map_err(|error| RunError::of(&error))?;
        let pins = &self.config.redirect.pins;
        let claim = Claim::take(pins).map_err(|error| RunError::of(&error))?;
        let lost =
            || RunError::one(format!("{}: another process was quicker to take over; it is in force", pins.display()));
        self.claim = Some(claim.ok_or_else(lost)?);
        Ok(predecessor)
    }

    /// A pod that is guarded must not be let go because the process that comes cannot guard it.
    pub(super) fn check_inherited(&mut self) -> Result<(), RunError> {
        let lost = mem::take(&mut self.inherited).into_iter().filter_map(|pod| {
            let reason = self.pods.reason(&pod).filter(|reason| reason.state == "error")?;
            Some(format!("{}; the running process keeps it, and goes on", reason.text))
        });
        let lines: Vec<String> = lost.collect();
        if lines.is_empty() { Ok(()) } else { Err(RunError { lines }) }
    }

    /// Changes nothing until the successor took over or ended. Refusals are recorded and questions answered meanwhile.
    pub(super) async fn hand_over(
        &mut self,
        mut successor: Successor,
        redirect: &mut Redirect,
        inbox: &mut Inbox,
        flows: &flow::Sink,
    ) -> Result<HandedOver, RunError> {
        let pid = successor.pid;
        tracing::info!(pid, "another process takes over");
        self.claim = None;
        let pods = self.pods.iter().map(|(pod, _)| pod.clone()).collect();
        if let Err(error) = successor.stopped(pods).await {
            tracing::debug!(%error, "take-over");
        }
        let Some(taken) = self.outcome(&mut successor, redirect, inbox, flows).await? else {
            return Ok(HandedOver::Stop);
        };
        if !taken {
            let claim = self.claim_again().await?;
            if claim.is_some() {
                tracing::warn!(pid, "the process that wanted to take over ended before it did; this one goes on");
                self.claim = claim;
                self.reclaim(redirect);
                // Policy is in force without it.
                if let Err(error) = self.api.keep_place() {
                    self.complain(error.to_string());
                }
                return Ok(HandedOver::No);
            }
            // A third one was quicker, and did not ask.
        }
        tracing::info!(pid, "replaced; what is in flight finishes");
        successor.over().await;
        // Clients ask there; the address is free for it.
        self.api.retire();
        redirect.wait_for_programs().map_err(|error| RunError::of(&error))?;
        self.existing = None;
        // The other one listens there too.
        self.scraped = None;
        let own = redirect.own_sockets().map_err(|error| RunError::of(&error))?;
        Ok(HandedOver::Replaced(Retiring::new(self.pods.values().map(|local| &local.netns), own, Instant::now())))
    }

    /// Whether the successor took over; `None`: this process is to end.
    async fn outcome(
        &mut self,
        successor: &mut Successor,
        redirect: &Redirect,
        inbox: &mut Inbox,
        flows: &flow::Sink,
    ) -> Result<Option<bool>, RunError> {
        let taken = successor.has_taken();
        pin!(taken);
        loop {
            tokio::select! {
                biased;
                () = inbox.stop.asked() => return Ok(None),
                taken = &mut taken => return Ok(Some(taken)),
                Some(question) = inbox.questions.recv() => question.answer(&self.status(redirect)),
                told = inbox.kernel.told(redirect, &self.store, self.assembler.rules(), flows) => told?,
            }
        }
    }

    /// What a process that died held is given back one after the other.
    async fn claim_again(&self) -> Result<Option<Claim>, RunError> {
        for _ in 0..100 {
            let claim = Claim::take(&self.config.redirect.pins).map_err(|error| RunError::of(&error))?;
            if claim.is_some() {
                return Ok(claim);
            }
            time::sleep(LOOK).await;
        }
        Ok(None)
    }

    fn reclaim(&mut self, redirect: &mut Redirect) {
        let sockets = |cookie: u64| {
            let local = self.pods.values().find(|local| local.netns.cookie() == cookie)?;
            Some(local.enrolment())
        };
        for error in redirect.reclaim(sockets) {
            self.complain(error.to_string());
        }
    }
}

/// Connections to a pod that are not complete.
type Opening = (Weak<PodNetns>, Vec<Flow>);

/// A process that was replaced, until nothing is left that only it can finish.
#[derive(Debug)]
pub(super) struct Retiring {
    since: Instant,
    own: OwnedFd,
    /// Connections that this process' listeners were asked for and that were not complete.
    opening: Vec<Opening>,
    closing: bool,
}

impl Retiring {
    fn new<'p>(pods: impl Iterator<Item = &'p Arc<PodNetns>>, own: OwnedFd, now: Instant) -> Self {
        let mut retiring = Self { since: now, own, opening: Vec::new(), closing: false };
        for netns in pods {
            match retiring.opening(netns) {
                Ok(flows) => retiring.opening.push((Arc::downgrade(netns), flows)),
                Err(error) => tracing::warn!(cookie = netns.cookie(), %error, "connections that are being opened"),
            }
        }
        retiring
    }

    /// To be asked again and again. Whether everything is finished, or has taken too long.
    pub(super) fn is_over(&mut self, workers: &Workers, now: Instant) -> bool {
        workers.retire();
        let mut opening = mem::take(&mut self.opening);
        opening.retain_mut(|(netns, flows)| {
            let Some(netns) = netns.upgrade().filter(|_| !flows.is_empty()) else { return false };
            // What cannot be asked is not waited for.
            let still = self.opening(&netns).unwrap_or_default();
            flows.retain(|flow| still.iter().any(|other| other.is(flow)));
            !flows.is_empty()
        });
        self.opening = opening;
        let age = now.saturating_duration_since(self.since);
        if age >= IDLE && !self.closing {
            self.closing = true;
            workers.close();
        }
        age >= LONGEST || workers.connections() == 0 && (self.closing || self.opening.is_empty())
    }

    fn opening(&self, netns: &PodNetns) -> io::Result<Vec<Flow>> {
        let mut found = Vec::new();
        Diag::open(netns)?.each(Transport::Tcp, Kind::Opening, self.own.as_fd(), |flow, _hand| {
            found.push(flow.clone());
            Ok(())
        })?;
        Ok(found)
    }
}
