//! Which pods of the configuration are there.
//!
//! Owns the step from a namespace that can be found to a pod that is held open, and back. Never tells the kernel's side
//! anything: that is [`super::control`]'s. Start at [`Roster::refresh`].
//!
//! A pod whose namespace's file or process is gone has ended, and everything that this process holds of it is dropped: one
//! descriptor would keep the namespace. Yet processes may be left in it. So the kernel goes on judging it, until it is
//! really gone.

use std::{
    collections::BTreeMap,
    io, mem,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::pods::{LocalPod, namespace_error, open_listeners};
use crate::{
    config::Endpoint,
    pod_net::{NetnsPath, PodNetns},
    redirect::Redirect,
};

mod links;
mod process;

use self::{links::Links, process::Process};

/// A file that is made for a namespace is there before the namespace is mounted on it: it has this long.
const MOUNT_TIME: Duration = Duration::from_secs(5);
/// Bounds of the time between two looks at what gives no sign.
const SOONEST: Duration = Duration::from_millis(1);
const LATEST: Duration = Duration::from_secs(5);

/// A pod that is held open.
#[derive(Debug)]
struct Enrolled {
    place: NetnsPath,
    /// Of a pod that is named by its process.
    process: Option<Process>,
    links: Links,
    local: LocalPod,
}

/// A pod that is not.
#[derive(Debug)]
enum Absent {
    /// Its namespace is not there.
    Waiting(NetnsPath),
    /// Its file is there since, and no namespace yet.
    Coming(NetnsPath, Instant),
    /// Its process was there and ended; who has its number now is somebody else.
    Ended(NetnsPath),
    /// It is there and cannot be enrolled.
    Failed(String),
}

/// A namespace of a pod that ended.
#[derive(Debug)]
pub(super) struct Departed {
    pub(super) pod: String,
    /// The pod is there again, in another namespace; its addresses are that one's.
    pub(super) replaced: bool,
    since: Instant,
}

/// What to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Who came or went, and what could not be enrolled.
    Everybody,
    /// Who came or went.
    Changed,
    /// Who came.
    Newcomers,
    /// Who went.
    Departures,
}

/// What a look found.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Pods that are held open now.
    pub(super) opened: Vec<String>,
    /// What was held of pods that are gone; not closed yet.
    pub(super) closed: Vec<LocalPod>,
    /// Namespaces are really gone.
    pub(super) vanished: bool,
    /// Pods have other interfaces.
    pub(super) rewired: bool,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.opened.is_empty() && self.closed.is_empty() && !self.vanished && !self.rewired
    }
}

/// Why a pod is not enrolled, for `status`.
#[derive(Debug)]
pub(super) struct Reason {
    pub(super) state: &'static str,
    pub(super) text: String,
}

/// All pods of the configuration.
#[derive(Debug, Default)]
pub(super) struct Roster {
    enrolled: BTreeMap<String, Enrolled>,
    absent: BTreeMap<String, Absent>,
    departed: BTreeMap<u64, Departed>,
    /// Told when a process of a pod ended, or its interfaces changed.
    signs: Arc<Notify>,
    due: Option<Instant>,
}

impl Roster {
    pub(super) fn get(&self, pod: &str) -> Option<&LocalPod> {
        self.enrolled.get(pod).map(|enrolled| &enrolled.local)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &LocalPod)> {
        self.enrolled.iter().map(|(pod, enrolled)| (pod, &enrolled.local))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &LocalPod> {
        self.enrolled.values().map(|enrolled| &enrolled.local)
    }

    /// Whether a pod may still come.
    pub(super) fn awaits(&self) -> bool {
        self.absent.values().any(|absent| matches!(absent, Absent::Waiting(_) | Absent::Coming(..)))
    }

    /// Namespaces of pods that ended, by cookie.
    pub(super) fn departed(&self) -> impl Iterator<Item = (u64, &Departed)> {
        self.departed.iter().map(|(cookie, departed)| (*cookie, departed))
    }

    /// Told when a process of a pod ended, or its interfaces changed.
    pub(super) fn signs(&self) -> Arc<Notify> {
        Arc::clone(&self.signs)
    }

    /// Why `pod` is not enrolled.
    pub(super) fn reason(&self, pod: &str) -> Option<Reason> {
        let waits = |place: &NetnsPath| format!("waits for its network namespace {}", place.path().display());
        let (state, text) = match self.absent.get(pod)? {
            Absent::Waiting(place) | Absent::Coming(place, _) => ("waiting", waits(place)),
            Absent::Ended(place) => {
                let text = "the process that names it ended; give another pid";
                ("ended", format!("{}: {text}", place.path().display()))
            }
            Absent::Failed(error) => ("error", error.clone()),
        };
        Some(Reason { state, text })
    }

    /// Compares what is held with what is there.
    pub(super) fn refresh(&mut self, endpoints: &[Endpoint], redirect: &Redirect, look: Look, now: Instant) -> Changes {
        let mut changes = Changes::default();
        let mut before = mem::take(&mut self.enrolled);
        let mut absent = mem::take(&mut self.absent);
        for endpoint in endpoints {
            let Some(place) = endpoint.namespace_path() else { continue };
            let (pod, mut was_absent) = (&endpoint.pod, absent.remove(&endpoint.pod));
            if let Some(mut enrolled) = before.remove(pod) {
                let is_renamed = enrolled.place != place;
                if look == Look::Newcomers || self.stays(&mut enrolled, &place) {
                    if look == Look::Everybody || enrolled.links.have_changed() {
                        changes.rewired |= enrolled.local.look_around();
                    }
                    self.enrolled.insert(pod.clone(), enrolled);
                    continue;
                }
                if is_renamed {
                    // Its namespace is not what the configuration means any more.
                    changes.closed.push(enrolled.local);
                } else {
                    was_absent = enrolled.process.is_some().then(|| Absent::Ended(place.clone()));
                    self.depart(pod, enrolled.local, now, &mut changes);
                }
            }
            if look == Look::Departures {
                self.absent.extend(was_absent.map(|absent| (pod.clone(), absent)));
                continue;
            }
            // A pod that is to be looked at still has its namespace, too.
            let later = |cookie| {
                let is_it = |other: &&Endpoint| before.get(&other.pod).is_some_and(|known| known.cookie() == cookie);
                endpoints.iter().find(is_it).map(|other| other.pod.clone())
            };
            let result = match was_absent {
                Some(Absent::Failed(error)) if look != Look::Everybody => Err(Absent::Failed(error)),
                Some(Absent::Ended(spent)) if spent == place => Err(Absent::Ended(spent)),
                was_absent => self.open(endpoint, &place, redirect, &later).map_err(|failure| match failure {
                    Failure::NotThere => Absent::Waiting(place.clone()),
                    Failure::NotYet(error) => not_yet(&place, was_absent.as_ref(), error, now),
                    Failure::Other(error) => Absent::Failed(error),
                }),
            };
            match result {
                Ok(enrolled) => {
                    self.arrive(pod, enrolled);
                    changes.opened.push(pod.clone());
                }
                Err(absent) => {
                    self.absent.insert(pod.clone(), absent);
                }
            }
        }
        changes.closed.extend(before.into_values().map(|enrolled| enrolled.local));
        let departed = self.departed.len();
        let is_named = |pod: &String| self.enrolled.contains_key(pod) || self.absent.contains_key(pod);
        self.departed.retain(|cookie, departed| is_named(&departed.pod) && redirect.is_steered(*cookie));
        changes.vanished = self.departed.len() < departed;
        self.due = self.next_look(now);
        changes
    }

    /// When to look again without a sign.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    fn next_look(&self, now: Instant) -> Option<Instant> {
        let coming = self.absent.values().filter_map(|absent| match absent {
            Absent::Coming(_, since) => Some(since),
            Absent::Waiting(_) | Absent::Ended(_) | Absent::Failed(_) => None,
        });
        let since = coming.chain(self.departed.values().map(|departed| &departed.since));
        // Often at first, and less and less so.
        since.map(|since| now + (now.saturating_duration_since(*since) / 4).clamp(SOONEST, LATEST)).min()
    }

    /// The kernel's side refused the pod with this cookie.
    pub(super) fn fail(&mut self, cookie: u64, error: &str) {
        let pod = self.enrolled.iter().find(|(_, enrolled)| enrolled.cookie() == cookie).map(|(pod, _)| pod.clone());
        let Some((pod, enrolled)) = pod.and_then(|pod| self.enrolled.remove_entry(&pod)) else { return };
        tracing::error!(pod, error, "not enrolled");
        enrolled.local.closed.cancel();
        self.absent.insert(pod, Absent::Failed(error.to_owned()));
    }

    /// Gives everything up.
    pub(super) fn close(&mut self) {
        for enrolled in mem::take(&mut self.enrolled).into_values() {
            enrolled.local.closed.cancel();
        }
    }

    /// Whether a pod is there as before. `place` may be another name of its namespace.
    fn stays(&self, enrolled: &mut Enrolled, place: &NetnsPath) -> bool {
        if enrolled.place != *place {
            enrolled.process = match place {
                NetnsPath::File(_) => None,
                NetnsPath::Pid(pid) => match Process::watch(*pid, &self.signs) {
                    Ok(process) => Some(process),
                    Err(_) => return false,
                },
            };
            enrolled.place = place.clone();
        }
        enrolled.is_there()
    }

    fn arrive(&mut self, pod: &str, enrolled: Enrolled) {
        // It may be the same namespace, found again.
        self.departed.remove(&enrolled.local.netns.cookie());
        for departed in self.departed.values_mut().filter(|departed| departed.pod == *pod) {
            departed.replaced = true;
        }
        self.enrolled.insert(pod.to_owned(), enrolled);
    }

    fn depart(&mut self, pod: &str, local: LocalPod, now: Instant, changes: &mut Changes) {
        tracing::info!(pod, "its network namespace is gone");
        let departed = Departed { pod: pod.to_owned(), replaced: false, since: now };
        self.departed.insert(local.netns.cookie(), departed);
        changes.closed.push(local);
    }

    /// `later` knows pods with a namespace that are not on the list yet.
    fn open(
        &self,
        endpoint: &Endpoint,
        place: &NetnsPath,
        redirect: &Redirect,
        later: &dyn Fn(u64) -> Option<String>,
    ) -> Result<Enrolled, Failure> {
        let pod = &endpoint.pod;
        let path = place.path();
        // Before its namespace is opened: what is opened then is this process'.
        let process = match place {
            NetnsPath::Pid(pid) => Some(Process::watch(*pid, &self.signs).map_err(|error| absent(pod, &path, &error))?),
            NetnsPath::File(_) => None,
        };
        let netns = PodNetns::open(&path).map_err(|error| absent(pod, &path, &error))?;
        if process.as_ref().is_some_and(Process::has_ended) {
            return Err(Failure::NotThere);
        }
        let listed = self.enrolled.iter().find(|(_, enrolled)| enrolled.cookie() == netns.cookie());
        if let Some(other) = listed.map(|(pod, _)| pod.clone()).or_else(|| later(netns.cookie())) {
            return Err(Failure::Other(format!("{pod}: {}: is the network namespace of {other}", path.display())));
        }
        let links = Links::watch(&netns, &self.signs);
        let links = links.map_err(|error| Failure::Other(format!("{pod}: changes of its interfaces: {error}")))?;
        let local = open_listeners(Arc::new(netns), &endpoint.addresses, redirect);
        let local = local.map_err(|error| Failure::Other(format!("{pod}: {error}")))?;
        Ok(Enrolled { place: place.clone(), process, links, local })
    }
}

impl Enrolled {
    fn cookie(&self) -> u64 {
        self.local.netns.cookie()
    }

    fn is_there(&self) -> bool {
        if self.process.as_ref().is_some_and(Process::has_ended) {
            return false;
        }
        match self.local.netns.is_at(&self.place.path()) {
            Ok(same) => same,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => {
                // As long as nobody knows better it is judged as it was.
                tracing::warn!(place = %self.place.path().display(), %error, "network namespace");
                true
            }
        }
    }
}

/// Why a pod was not opened.
enum Failure {
    NotThere,
    /// A namespace may be mounted there in a moment.
    NotYet(String),
    Other(String),
}

fn absent(pod: &str, path: &Path, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::NotFound {
        Failure::NotThere
    } else if may_come(path, error) {
        Failure::NotYet(namespace_error(pod, path, error))
    } else {
        Failure::Other(namespace_error(pod, path, error))
    }
}

/// Whether a namespace that could not be opened may still come: there is nothing, or an empty file (as `ip netns add` makes
/// it) that it may be mounted on.
pub(super) fn may_come(path: &Path, error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || path.metadata().is_ok_and(|file| file.is_file() && file.len() == 0)
}

fn not_yet(place: &NetnsPath, was: Option<&Absent>, error: String, now: Instant) -> Absent {
    let since = match was {
        Some(Absent::Coming(_, since)) => *since,
        Some(Absent::Waiting(_) | Absent::Ended(_) | Absent::Failed(_)) | None => now,
    };
    if now.saturating_duration_since(since) < MOUNT_TIME {
        Absent::Coming(place.clone(), since)
    } else {
        Absent::Failed(error)
    }
}
