//! `GetAgentEvents`: what this process did. `GetDebugEvents`: nothing, because it tells nothing of that kind.
//!
//! Owns a list with a bound; the oldest make room. Never makes who tells wait. Start at [`AgentEvents::tell`].

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use http::Response;
use hubble_api::{
    flow::{
        self, AgentEventType, EndpointUpdateNotification, PolicyUpdateNotification, TimeNotification,
        agent_event::Notification,
    },
    observer::{GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest},
};
use tokio::sync::{mpsc, watch};
use tonic::{Status, body::Body};

use super::{
    call::{self, Piece},
    ended,
    observer::Observer,
    window::{Begin, Window, timestamp},
};
use crate::metrics::Counters;

/// Events that are kept.
const KEPT: usize = 1024;

/// What this process did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentEvent {
    /// It began.
    Started,
    /// A policy is in force in another form.
    PolicyUpdated(PolicyEvent),
    /// A policy is in force no more.
    PolicyDeleted(PolicyEvent),
    /// A pod is enrolled.
    EndpointCreated(EndpointEvent),
    /// A pod is enrolled no more.
    EndpointDeleted(EndpointEvent),
}

/// A policy that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyEvent {
    /// What names it, as Cilium's labels of a policy.
    pub labels: Vec<String>,
    /// Revision of what is in force with it.
    pub revision: u64,
    /// Rules in it.
    pub rules: usize,
}

/// A pod that came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointEvent {
    /// Its number on this node.
    pub id: u32,
    /// Of it, as Hubble shows them.
    pub labels: Vec<String>,
    /// Its name.
    pub pod: String,
    /// Its namespace.
    pub namespace: String,
}

/// The newest events.
#[derive(Debug)]
pub struct AgentEvents {
    list: Mutex<List>,
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct List {
    /// Number of the first of them.
    first: u64,
    events: VecDeque<(SystemTime, flow::AgentEvent)>,
}

impl Default for AgentEvents {
    fn default() -> Self {
        Self { list: Mutex::default(), newest: watch::Sender::new(0) }
    }
}

impl AgentEvents {
    /// Keeps an event, and wakes who follows.
    pub fn tell(&self, event: AgentEvent, now: SystemTime) {
        let mut list = self.list();
        if list.events.len() >= KEPT {
            list.events.pop_front();
            list.first += 1;
        }
        list.events.push_back((now, message(event, now)));
        let next = list.next();
        drop(list);
        self.newest.send_replace(next);
    }

    fn list(&self) -> MutexGuard<'_, List> {
        // What is in it is whole at any time.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    fn next(&self) -> u64 {
        self.first + u64::try_from(self.events.len()).unwrap_or(u64::MAX)
    }

    /// Events from the number `from` on.
    fn from(&self, from: u64) -> impl Iterator<Item = (u64, &(SystemTime, flow::AgentEvent))> {
        let skipped = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        (self.first..).zip(&self.events).skip(skipped)
    }
}

fn message(event: AgentEvent, now: SystemTime) -> flow::AgentEvent {
    let policy = |PolicyEvent { labels, revision, rules }: PolicyEvent| {
        let rule_count = i64::try_from(rules).unwrap_or(i64::MAX);
        Notification::PolicyUpdate(PolicyUpdateNotification { labels, revision, rule_count })
    };
    let endpoint = |EndpointEvent { id, labels, pod, namespace }: EndpointEvent| {
        let (id, error) = (id.into(), String::new());
        Notification::EndpointUpdate(EndpointUpdateNotification { id, labels, error, pod_name: pod, namespace })
    };
    let (kind, notification) = match event {
        AgentEvent::Started => {
            let time = Some(timestamp(now));
            (AgentEventType::AgentStarted, Notification::AgentStart(TimeNotification { time }))
        }
        AgentEvent::PolicyUpdated(event) => (AgentEventType::PolicyUpdated, policy(event)),
        AgentEvent::PolicyDeleted(event) => (AgentEventType::PolicyDeleted, policy(event)),
        AgentEvent::EndpointCreated(event) => (AgentEventType::EndpointCreated, endpoint(event)),
        AgentEvent::EndpointDeleted(event) => (AgentEventType::EndpointDeleted, endpoint(event)),
    };
    flow::AgentEvent { r#type: kind.into(), notification: Some(notification) }
}

/// Answers `GetAgentEvents`.
pub(super) fn answer(observer: &Arc<Observer>, request: &GetAgentEventsRequest) -> Result<Response<Body>, Status> {
    let window =
        Window::new((request.number, request.first, request.follow), (request.since.as_ref(), request.until.as_ref()))?;
    let (sender, receiver) = mpsc::channel(1);
    let events = Arc::clone(&observer.sources.events);
    let mut newest = events.newest.subscribe();
    let mut at = first_number(&events, &window);
    let observer = Arc::clone(observer);
    tokio::spawn(async move {
        let mut left = window.limit.unwrap_or(u64::MAX);
        loop {
            newest.borrow_and_update();
            let (messages, is_over) = read(&observer, &window, &mut at, &mut left);
            if !messages.is_empty() && sender.send(Piece::Messages(messages.into())).await.is_err() {
                return;
            }
            if is_over || !window.follow {
                return;
            }
            tokio::select! {
                () = observer.stop.cancelled() => return drop(sender.send(Piece::End(ended())).await),
                () = sender.closed() => return,
                changed = newest.changed() => if changed.is_err() { return },
            }
        }
    });
    Ok(call::answer(receiver))
}

/// Where to begin.
fn first_number(events: &AgentEvents, window: &Window) -> u64 {
    let list = events.list();
    match window.begin {
        Begin::Now => list.next(),
        Begin::Oldest | Begin::Since(_) => list.first,
        Begin::Last(number) => {
            let wanted = list.events.iter().filter(|(time, _)| !window.is_after(*time)).count();
            let skipped = wanted.saturating_sub(usize::try_from(number).unwrap_or(usize::MAX));
            list.first + u64::try_from(skipped).unwrap_or(u64::MAX)
        }
    }
}

/// All that there is from `at` on, and whether nothing more is wanted.
fn read(observer: &Observer, window: &Window, at: &mut u64, left: &mut u64) -> (Vec<u8>, bool) {
    let mut messages = Vec::new();
    let list = observer.sources.events.list();
    overtaken(&observer.counters, list.first.saturating_sub(*at));
    for (number, (time, event)) in list.from(*at) {
        *at = number + 1;
        if window.is_before(*time) {
            continue;
        }
        if window.is_after(*time) || *left == 0 {
            return (messages, true);
        }
        *left -= 1;
        let response = GetAgentEventsResponse {
            agent_event: Some(event.clone()),
            node_name: observer.node_name.clone(),
            time: Some(timestamp(*time)),
        };
        call::frame_message(&mut messages, &response);
    }
    (messages, *left == 0)
}

/// Hubble's API has no message for these.
fn overtaken(counters: &Counters, events: u64) {
    counters.hubble_agent_events_lost.fetch_add(events, std::sync::atomic::Ordering::Relaxed);
}

/// Answers `GetDebugEvents`: there are none, and none come.
pub(super) fn debug_events(
    observer: &Arc<Observer>,
    request: &GetDebugEventsRequest,
) -> Result<Response<Body>, Status> {
    let window =
        Window::new((request.number, request.first, request.follow), (request.since.as_ref(), request.until.as_ref()))?;
    let (sender, receiver) = mpsc::channel(1);
    let stop = observer.stop.clone();
    if window.follow {
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => drop(sender.send(Piece::End(ended())).await),
                () = sender.closed() => {}
            }
        });
    }
    Ok(call::answer(receiver))
}
