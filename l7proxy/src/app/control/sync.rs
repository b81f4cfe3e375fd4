//! From what is asked for to what is so, in the order in which nothing is open in between.

use std::{collections::BTreeSet, os::fd::AsFd, sync::Arc};

use rules::Direction;

use super::Control;
use crate::{
    accept::Door,
    app::{
        Assembled, RunError, Workers,
        existing::Target,
        pods::{LocalPod, open_listeners, open_namespace},
    },
    config::Endpoint,
    endpoint::EndpointId,
    redirect::{Desired, Enrolment, Redirect, Shortfall},
};

impl Control {
    /// Makes it so: listeners → policy for the data path → kernel; for what goes, the reverse.
    pub(super) async fn sync(&mut self, redirect: &mut Redirect, workers: &Workers) -> Result<(), RunError> {
        self.revision += 1;
        let assembled = self.assembler.assemble(&self.config, &self.versions.in_force(), self.revision);
        let Assembled { world, pods, identities, cidrs } = assembled;
        let gone = self.open_pods(redirect, workers).await?;
        self.store.publish(world);
        let mut desired = Desired { identities, cidrs, ..Desired::default() };
        for (name, pod) in pods {
            if let Some(local) = self.pods.get(&name) {
                desired.pods.insert(local.netns.cookie(), pod);
            }
        }
        let sockets = |cookie: u64| {
            let local = self.pods.values().find(|local| local.netns.cookie() == cookie)?;
            Some(Enrolment { netns: local.netns.as_fd(), ingress: local.ingress.as_fd(), egress: local.egress.as_fd() })
        };
        let changed = redirect.changed_by(&desired);
        let shortfall = match redirect.apply(&desired, sockets) {
            Ok(shortfall) => shortfall,
            // The kernel keeps what it had or less; told, and tried again at the next change.
            Err(error) if self.revision > 1 => {
                tracing::error!(%error, "the kernel did not take all of the change");
                self.errors.push(error.to_string());
                Shortfall::default()
            }
            Err(error) => return Err(RunError::of(&error)),
        };
        for error in shortfall.errors {
            tracing::error!(%error, "pods keep the policy that they had");
            self.errors.push(error.to_string());
        }
        for pod in shortfall.not_enrolled {
            self.fail(pod.cookie, &pod.error.to_string());
        }
        for local in gone {
            local.closed.cancel();
        }
        self.judge_existing(&changed);
        Ok(())
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

    /// Opens namespaces and listeners of pods that are new; gives those whose pods are gone, still open.
    async fn open_pods(&mut self, redirect: &Redirect, workers: &Workers) -> Result<Vec<LocalPod>, RunError> {
        let mut gone = Vec::new();
        let mut known = std::mem::take(&mut self.pods);
        self.failed.clear();
        for endpoint in &self.config.endpoints {
            let Some(place) = endpoint.namespace_path() else { continue };
            let netns = match open_namespace(&endpoint.pod, &place.path()) {
                Ok(netns) => netns,
                Err(error) => {
                    self.failed.insert(endpoint.pod.clone(), error);
                    continue;
                }
            };
            if let Some(local) = known.remove(&endpoint.pod) {
                if local.netns.cookie() == netns.cookie() {
                    self.pods.insert(endpoint.pod.clone(), local);
                    continue;
                }
                gone.push(local);
            }
            match open_listeners(netns, redirect) {
                Ok(local) => {
                    self.pods.insert(endpoint.pod.clone(), local);
                }
                Err(error) => {
                    self.failed.insert(endpoint.pod.clone(), format!("{}: {error}", endpoint.pod));
                    continue;
                }
            }
            self.serve(&endpoint.pod, workers).await?;
        }
        gone.extend(known.into_values());
        Ok(gone)
    }

    /// Hands a pod's listeners to the workers.
    async fn serve(&self, pod: &str, workers: &Workers) -> Result<(), RunError> {
        let Some(local) = self.pods.get(pod) else { return Ok(()) };
        let Some(id) = self.assembler.endpoint(pod) else { return Ok(()) };
        let address = self.config.endpoints.iter().find(|endpoint| endpoint.pod == pod).and_then(Endpoint::ip4);
        let Some(address) = address else { return Ok(()) };
        for (direction, listener) in [(Direction::Ingress, &local.ingress), (Direction::Egress, &local.egress)] {
            let door = || Door {
                endpoint: EndpointId(id),
                direction,
                netns: Arc::clone(&local.netns),
                address,
                store: Arc::clone(&self.store),
            };
            workers.open(door, listener, &local.closed).await?;
        }
        Ok(())
    }

    fn fail(&mut self, cookie: u64, error: &str) {
        let name = self.pods.iter().find(|(_, local)| local.netns.cookie() == cookie).map(|(name, _)| name.clone());
        if let Some(name) = name {
            tracing::error!(pod = name, error, "not enrolled");
            if let Some(local) = self.pods.remove(&name) {
                local.closed.cancel();
            }
            self.failed.insert(name, error.to_owned());
        }
    }
}
