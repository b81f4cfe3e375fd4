//! From what is asked for to what is so, in the order in which nothing is open in between.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
    time::Instant,
};

use ipnet::IpNet;
use rules::InForce;

use super::Control;
use crate::{
    accept::Door,
    app::{
        Assembled, RunError, Workers,
        arrivals::{Arrivals, Sign},
        existing::Target,
        pods::link_local,
        roster::{Changes, Look},
    },
    config::Config,
    endpoint::EndpointId,
    hubble::EndpointEvent,
    redirect::{Desired, DesiredPod, Redirect, Shortfall},
};

/// What the kernel shall hold, but for which of the pods are enrolled.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Without pods.
    rest: Desired,
    /// Every pod of the configuration.
    pods: BTreeMap<String, DesiredPod>,
}

/// What that is made of.
#[derive(Debug)]
pub(super) struct Ground {
    config: Config,
    policies: Vec<InForce>,
}

impl Asked {
    fn new(pods: BTreeMap<String, DesiredPod>, identities: HashMap<IpAddr, u32>, cidrs: HashMap<IpNet, u32>) -> Self {
        let rest = Desired { identities: Arc::new(identities), cidrs: Arc::new(cidrs), ..Desired::default() };
        Self { rest, pods }
    }
}

impl Control {
    /// Makes it so: listeners → policy for the data path → kernel; for what goes, the reverse.
    pub(super) async fn sync(
        &mut self,
        redirect: &mut Redirect,
        workers: &Workers,
        arrivals: &mut Arrivals,
    ) -> Result<(), RunError> {
        let policies = self.versions.in_force();
        self.announce(&policies, redirect)?;
        self.revision += 1;
        let assembled = self.assembler.assemble(&self.config, &policies, self.revision);
        self.before = Some(Ground { config: self.config.clone(), policies });
        let Assembled { world, pods, identities, cidrs } = assembled;
        let changes = self.refresh(redirect, Look::Everybody, Instant::now());
        self.check_inherited()?;
        self.serve(&changes.opened, workers).await?;
        self.store.publish(world);
        self.asked = Asked::new(pods, identities, cidrs);
        self.apply(redirect, changes)?;
        self.tell_news();
        self.await_sockets(redirect, workers, arrivals).await
    }

    /// Gives addresses that `coming` policies tell from others identities of their own while the policies before are in force,
    /// which say the same of them as of the others. Were they made with the switch to the new policies, or after it, such an
    /// address could be what neither the old nor the new ones allow.
    fn announce(&mut self, coming: &[InForce], redirect: &mut Redirect) -> Result<(), RunError> {
        let Some(Ground { config, policies }) = self.before.take().filter(|_| self.ready) else { return Ok(()) };
        let nets = |policies: &[InForce]| -> BTreeSet<IpNet> {
            policies.iter().flat_map(|policy| policy.cidrs().into_iter().chain(policy.pod_cidrs())).collect()
        };
        if nets(coming).is_subset(&nets(&policies)) {
            return Ok(());
        }
        let announced = self.assembler.assemble_before(&config, &policies, coming, self.revision);
        self.asked = Asked::new(announced.pods, announced.identities, announced.cidrs);
        self.apply(redirect, Changes::default())
    }

    /// Looks whether pods came or went; policy is as it was.
    pub(super) async fn look(
        &mut self,
        sign: Sign,
        redirect: &mut Redirect,
        workers: &Workers,
        arrivals: &mut Arrivals,
    ) -> Result<(), RunError> {
        if sign == Sign::File {
            self.await_pods(arrivals);
        }
        let now = Instant::now();
        let look = match sign {
            Sign::File => Look::Everybody,
            Sign::Socket => Look::Newcomers,
            Sign::Other => Look::Changed,
        };
        let changes = self.refresh(redirect, look, now);
        if sign == Sign::Socket && changes.opened.is_empty() {
            arrivals.in_vain(now);
        }
        if changes.is_empty() {
            return Ok(());
        }
        self.serve(&changes.opened, workers).await?;
        self.apply(redirect, changes)?;
        self.tell_news();
        self.await_sockets(redirect, workers, arrivals).await
    }

    /// First sockets are signs for as long as a pod is waited for.
    async fn await_sockets(
        &mut self,
        redirect: &mut Redirect,
        workers: &Workers,
        arrivals: &mut Arrivals,
    ) -> Result<(), RunError> {
        if self.claim.is_none() {
            return Ok(());
        }
        let is_new = arrivals.await_sockets(self.pods.awaits()).unwrap_or_else(|error| {
            self.complain(error.to_string());
            false
        });
        if is_new {
            // One may have come before the kernel told.
            let changes = self.refresh(redirect, Look::Newcomers, Instant::now());
            self.serve(&changes.opened, workers).await?;
            self.apply(redirect, changes)?;
            self.tell_news();
        }
        Ok(())
    }

    /// Policies and pods, to who follows what this process does.
    fn tell_news(&mut self) {
        if self.api.sources().is_none() {
            return;
        }
        let world = self.store.current();
        let endpoints = self.pods.iter().filter_map(|(pod, _)| {
            let id = self.assembler.endpoint(pod)?;
            let peer = &world.endpoints.get(&EndpointId(id))?.peer;
            let (labels, namespace) = (peer.labels.clone(), peer.namespace.clone());
            Some((pod.clone(), EndpointEvent { id, labels, pod: peer.pod.clone(), namespace }))
        });
        let endpoints = endpoints.collect();
        self.news.tell(&self.api, self.revision, self.versions.in_force(), endpoints);
    }

    /// Who came and went; a process that was replaced gets nobody new.
    fn refresh(&mut self, redirect: &Redirect, look: Look, now: Instant) -> Changes {
        let look = if self.claim.is_some() { look } else { Look::Departures };
        self.pods.refresh(&self.config.endpoints, redirect, look, now)
    }

    /// From now on a namespace that comes is noticed. To be called before it is looked for.
    pub(super) fn await_pods(&self, arrivals: &mut Arrivals) {
        for problem in arrivals.follow(&self.config.endpoints) {
            tracing::warn!("{problem}");
        }
    }

    /// Makes the kernel agree with what is asked for and who is there.
    fn apply(&mut self, redirect: &mut Redirect, changes: Changes) -> Result<(), RunError> {
        if self.claim.is_none() {
            // Another process does.
            changes.closed.into_iter().for_each(|local| local.closed.cancel());
            return Ok(());
        }
        let desired = self.desired();
        let sockets = |cookie: u64| {
            let local = self.pods.values().find(|local| local.netns.cookie() == cookie)?;
            Some(local.enrolment())
        };
        let judged_anew = redirect.changed_by(&desired);
        // Namespaces of pods that had ended, and were found again.
        let opened = changes.opened.iter().filter_map(|pod| Some(self.pods.get(pod)?.netns.cookie()));
        let returned: Vec<u64> = opened.filter(|cookie| redirect.is_steered(*cookie)).collect();
        let mut errors = Vec::new();
        let mut shortfall = match redirect.apply(&desired, sockets) {
            Ok(shortfall) => shortfall,
            // The kernel keeps what it had or less; told, and tried again at the next change.
            Err(error) if self.ready => {
                errors.push(error);
                Shortfall::default()
            }
            Err(error) => return Err(RunError::of(&error)),
        };
        // Their pods keep the policy that they had.
        errors.append(&mut shortfall.errors);
        for cookie in returned {
            let listening = sockets(cookie).map(|sockets| redirect.listen(cookie, &sockets));
            errors.extend(listening.and_then(Result::err));
        }
        for error in errors {
            self.complain(error.to_string());
        }
        for pod in shortfall.not_enrolled {
            self.pods.fail(pod.cookie, &pod.error.to_string());
        }
        for local in changes.closed {
            local.closed.cancel();
        }
        self.judge_existing(&judged_anew);
        Ok(())
    }

    /// Told in `status` until the configuration is read again.
    pub(super) fn complain(&mut self, error: String) {
        tracing::error!("{error}");
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    /// Pods that are enrolled, and what may be left of those that ended.
    fn desired(&self) -> Desired {
        let mut desired = self.asked.rest.clone();
        for (cookie, departed) in self.pods.departed() {
            let Some(mut pod) = self.asked.pods.get(&departed.pod).cloned() else { continue };
            if departed.replaced {
                // They are the new one's.
                pod.addresses.clear();
            }
            desired.pods.insert(cookie, pod);
        }
        let mut link_local = link_local(self.pods.values());
        let enrolled = self.pods.iter().filter_map(|(name, local)| {
            let cookie = local.netns.cookie();
            let mut pod = self.asked.pods.get(name)?.clone();
            pod.addresses.extend(link_local.remove(&cookie).unwrap_or_default());
            Some((cookie, pod))
        });
        desired.pods.extend(enrolled);
        desired
    }

    /// What was opened before is judged by what is in force now.
    fn judge_existing(&self, changed: &BTreeSet<u64>) {
        let Some(existing) = &self.existing else { return };
        let targets = self.pods.iter().filter_map(|(name, local)| {
            let target = Target {
                endpoint: EndpointId(self.assembler.endpoint(name)?),
                netns: Arc::downgrade(&local.netns),
                host_allowed: self.config.host.allow,
            };
            Some((local.netns.cookie(), target))
        });
        existing.judge(targets.filter(|(cookie, _)| changed.contains(cookie)));
    }

    /// Hands pods' listeners to the workers.
    async fn serve(&self, pods: &[String], workers: &Workers) -> Result<(), RunError> {
        for pod in pods {
            self.serve_one(pod, workers).await?;
        }
        Ok(())
    }

    async fn serve_one(&self, pod: &str, workers: &Workers) -> Result<(), RunError> {
        let Some(local) = self.pods.get(pod) else { return Ok(()) };
        let Some(id) = self.assembler.endpoint(pod) else { return Ok(()) };
        let share = workers.share();
        for listener in &local.listeners {
            let door = || Door {
                endpoint: EndpointId(id),
                direction: listener.direction,
                netns: Arc::clone(&local.netns),
                store: Arc::clone(&self.store),
                share: Arc::clone(&share),
                tells: self.config.flows.connections,
            };
            workers.open(door, &listener.socket, &local.closed).await?;
        }
        Ok(())
    }
}
