//! The Hubble API as part of this process: what it reads is kept here, and what happens is told to it.
//!
//! Owns which events are news. Must never make the control loop wait for a client. Start at [`Api::start`] and [`News::tell`].

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use rules::{InForce, PolicyKey};
use serde::Serialize;

use super::{RunError, records};
use crate::{
    config::{Config, Flows},
    flow::{Namespaces, RingConfig, RingStats, Rings},
    hubble::{AgentEvent, AgentEvents, Calls, EndpointEvent, Hubble, Limits, PolicyEvent, Sources},
    metrics::Counters,
};

/// The API, if it is served.
#[derive(Clone, Debug, Default)]
pub(super) struct Api(Option<Served>);

#[derive(Clone, Debug)]
struct Served {
    hubble: Arc<Hubble>,
    sources: Sources,
}

impl Api {
    /// Checks what the configuration says of it. Nobody is answered yet.
    pub(super) fn start(config: &Config, counters: &Arc<Counters>) -> Result<Self, RunError> {
        if !config.flows.is_served() {
            return Ok(Self(None));
        }
        let buffer = config.flows.buffer;
        let rings = RingConfig { bytes: buffer.size_mib << 20, deny_bytes: buffer.deny_size_mib << 20 };
        let sources = Sources {
            node: records::names(config),
            rings: Rings::new(rings),
            namespaces: Arc::new(Namespaces::default()),
            events: Arc::new(AgentEvents::default()),
        };
        let hubble = Hubble::start(config, sources.clone(), Limits::default(), Arc::clone(counters))
            .map_err(|error| RunError::of(&error))?;
        Ok(Self(Some(Served { hubble: Arc::new(hubble), sources })))
    }

    /// Where records go that can be read by it.
    pub(super) fn sources(&self) -> Option<&Sources> {
        self.0.as_ref().map(|served| &served.sources)
    }

    /// Its calls, for metrics.
    pub(super) fn calls(&self) -> Option<Calls> {
        self.0.as_ref().map(|served| served.hubble.calls())
    }

    /// Answers from now on; with `taken` in the place of the process before.
    pub(super) fn listen(&self, taken: bool) -> Result<(), RunError> {
        self.each(|hubble| hubble.listen(taken))
    }

    /// A process that wanted to take over is gone.
    pub(super) fn keep_place(&self) -> Result<(), RunError> {
        self.each(Hubble::keep_place)
    }

    /// Another process answers now.
    pub(super) fn retire(&self) {
        if let Some(Served { hubble, .. }) = &self.0 {
            hubble.retire();
        }
    }

    fn each(&self, act: impl FnOnce(&Hubble) -> Result<(), crate::hubble::HubbleError>) -> Result<(), RunError> {
        self.0.as_ref().map_or(Ok(()), |served| act(&served.hubble)).map_err(|error| RunError::of(&error))
    }

    pub(super) fn status(&self, flows: &Flows) -> Option<ApiStatus> {
        let Served { hubble, sources } = self.0.as_ref()?;
        let (connections, streams) = hubble.open();
        let RingStats { readable, seen, evicted, bytes, .. } = sources.rings.stats();
        Some(ApiStatus {
            socket: flows.socket.as_ref().map(|path| path.display().to_string()),
            listen: flows.listen.map(|address| address.to_string()),
            tls: flows.tls.is_some(),
            connections,
            streams,
            records: readable,
            records_seen: seen,
            records_forgotten: evicted,
            bytes,
        })
    }
}

/// The API in `status`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiStatus {
    /// Its unix socket.
    pub socket: Option<String>,
    /// Its TCP address.
    pub listen: Option<String>,
    /// Whether there is TLS at that one.
    pub tls: bool,
    /// Clients that are connected.
    pub connections: usize,
    /// Streams that they have open.
    pub streams: usize,
    /// Records that can be read.
    pub records: u64,
    /// Records since the start.
    pub records_seen: u64,
    /// Records that newer ones took the place of.
    pub records_forgotten: u64,
    /// Bytes that those take that can be read.
    pub bytes: usize,
}

/// What was told of policies and pods.
#[derive(Debug, Default)]
pub(super) struct News {
    has_started: bool,
    policies: BTreeMap<Arc<PolicyKey>, Vec<InForce>>,
    endpoints: BTreeMap<String, EndpointEvent>,
}

impl News {
    /// Tells what is another than the last time.
    pub(super) fn tell(
        &mut self,
        api: &Api,
        revision: u64,
        policies: Vec<InForce>,
        endpoints: BTreeMap<String, EndpointEvent>,
    ) {
        let Some(sources) = api.sources() else { return };
        for event in self.events(revision, policies, endpoints) {
            #[expect(clippy::disallowed_methods, reason = "it is news at this moment")]
            sources.events.tell(event, SystemTime::now());
        }
    }

    fn events(
        &mut self,
        revision: u64,
        policies: Vec<InForce>,
        endpoints: BTreeMap<String, EndpointEvent>,
    ) -> Vec<AgentEvent> {
        let mut events = Vec::new();
        if !self.has_started {
            self.has_started = true;
            events.push(AgentEvent::Started);
        }
        let mut named: BTreeMap<Arc<PolicyKey>, Vec<InForce>> = BTreeMap::new();
        for policy in policies {
            named.entry(Arc::clone(policy.key())).or_default().push(policy);
        }
        let policy = |key: &PolicyKey, copies: &[InForce]| {
            let rules = copies.iter().map(InForce::rule_count).sum();
            PolicyEvent { labels: labels(key), revision, rules }
        };
        let gone = self.policies.iter().filter(|(key, _)| !named.contains_key(*key));
        events.extend(gone.map(|(key, copies)| AgentEvent::PolicyDeleted(policy(key, copies))));
        let come = named.iter().filter(|(key, copies)| self.policies.get(*key) != Some(copies));
        events.extend(come.map(|(key, copies)| AgentEvent::PolicyUpdated(policy(key, copies))));
        self.policies = named;
        let differs = |of: &BTreeMap<String, EndpointEvent>, pod: &String, event: &EndpointEvent| {
            of.get(pod).is_none_or(|other| other.id != event.id)
        };
        let gone = self.endpoints.iter().filter(|(pod, event)| differs(&endpoints, pod, event));
        events.extend(gone.map(|(_, event)| AgentEvent::EndpointDeleted(event.clone())));
        let come = endpoints.iter().filter(|(pod, event)| differs(&self.endpoints, pod, event));
        events.extend(come.map(|(_, event)| AgentEvent::EndpointCreated(event.clone())));
        self.endpoints = endpoints;
        events
    }
}

/// As Cilium labels what comes from a policy.
fn labels(key: &PolicyKey) -> Vec<String> {
    let label = |name: &str, value: &str| format!("k8s:io.cilium.k8s.policy.{name}={value}");
    let mut labels = vec![label("derived-from", &key.kind.to_string()), label("name", &key.name)];
    if !key.namespace.is_empty() {
        labels.push(label("namespace", &key.namespace));
    }
    labels
}

#[cfg(test)]
mod tests {
    use rules::manifest::{self, Document};

    use super::*;

    fn policies(text: &str) -> Vec<InForce> {
        let documents = manifest::parse(text);
        let policy = |document| {
            let Document::Policy(policy) = document else { panic!("{document:?}") };
            InForce::Policy(policy)
        };
        documents.into_iter().map(policy).collect()
    }

    fn policy(name: &str, port: u16) -> String {
        format!(
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
             endpointSelector: {{}}\n  ingress: [{{toPorts: [{{ports: [{{port: '{port}'}}]}}]}}]\n---\n"
        )
    }

    fn pod(id: u32) -> EndpointEvent {
        EndpointEvent { id, labels: Vec::new(), pod: "web".to_owned(), namespace: "shop".to_owned() }
    }

    fn pods(ids: &[u32]) -> BTreeMap<String, EndpointEvent> {
        ids.iter().map(|id| (format!("shop/web-{id}"), pod(*id))).collect()
    }

    #[test]
    fn only_news_is_told() {
        let mut news = News::default();
        let event = |name: &str, revision, rules| PolicyEvent {
            labels: vec![
                "k8s:io.cilium.k8s.policy.derived-from=CiliumNetworkPolicy".to_owned(),
                format!("k8s:io.cilium.k8s.policy.name={name}"),
                "k8s:io.cilium.k8s.policy.namespace=shop".to_owned(),
            ],
            revision,
            rules,
        };
        let (a, b) = (policy("a", 80), policy("b", 80));
        let first = news.events(1, policies(&format!("{a}{b}")), pods(&[1, 2]));
        let expected = [
            AgentEvent::Started,
            AgentEvent::PolicyUpdated(event("a", 1, 1)),
            AgentEvent::PolicyUpdated(event("b", 1, 1)),
            AgentEvent::EndpointCreated(pod(1)),
            AgentEvent::EndpointCreated(pod(2)),
        ];
        assert_eq!(first, expected);
        assert_eq!(news.events(2, policies(&format!("{a}{b}")), pods(&[1, 2])), []);
        let changed = news.events(3, policies(&policy("b", 81)), pods(&[2]));
        let expected = [
            AgentEvent::PolicyDeleted(event("a", 3, 1)),
            AgentEvent::PolicyUpdated(event("b", 3, 1)),
            AgentEvent::EndpointDeleted(pod(1)),
        ];
        assert_eq!(changed, expected);
    }
}
