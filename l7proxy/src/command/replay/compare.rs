//! One recorded flow against the policies of now.
//!
//! Must never judge whom it does not know: that is told instead. Start at [`Comparison::of`].

use std::{collections::HashMap, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use rules::{Identity, PathOptions, Protocol, RequestView, RuleRef};

use super::read::{End, Flow, Request};
use crate::{
    command::{
        judge::{Answer, Scene, Side, pod_name},
        place::Places,
    },
    endpoint::Peer,
};

/// What the policies of now say of recorded flows.
pub(super) struct Comparison {
    scene: Scene,
    options: PathOptions,
    by_pod: HashMap<String, Arc<Peer>>,
    by_labels: HashMap<Vec<String>, Arc<Peer>>,
}

/// What became of one flow.
pub(super) enum Outcome {
    Same,
    Changed(Now),
    /// Denied, but for the headers that this rule asks for.
    DependsOnHeaders(Arc<RuleRef>),
    NotJudged(String),
}

/// The other verdict.
pub(super) enum Now {
    Verdict(Answer),
    /// Answered with 400, whatever policy says.
    Malformed(rules::Malformed),
}

impl Comparison {
    pub(super) fn new(scene: Scene) -> Self {
        let options = scene.config().proxy.path.options();
        let (mut by_pod, mut by_labels) = (HashMap::new(), HashMap::new());
        for peer in scene.addresses().into_values() {
            if let Some(pod) = pod_name(&peer) {
                by_labels.entry(peer.labels.clone()).or_insert_with(|| Arc::clone(&peer));
                by_pod.entry(pod).or_insert(peer);
            }
        }
        Self { scene, options, by_pod, by_labels }
    }

    /// Where the policies of now are written.
    pub(super) fn places(&self) -> &Places {
        self.scene.places()
    }

    /// What is now said of a flow.
    pub(super) fn of(&mut self, flow: &Flow) -> Outcome {
        let (own, other) = match flow.direction {
            rules::Direction::Egress => (&flow.source, &flow.destination),
            rules::Direction::Ingress => (&flow.destination, &flow.source),
        };
        let unknown = |end: &End| {
            let name = end.pod.clone().unwrap_or_else(|| end.address.to_string());
            Outcome::NotJudged(format!("{name} is no pod of the configuration"))
        };
        let Some(pod) = self.who(own).filter(|peer| !peer.pod.is_empty()) else { return unknown(own) };
        let Some(peer) = self.who(other) else { return unknown(other) };
        let side = self.scene.side(&pod, flow.direction, peer.identity());
        match &flow.request {
            Some(request) => self.request(flow, request, &side),
            None => compared(flow, side.connection(flow.protocol, flow.port)),
        }
    }

    /// A pod by its name, by its labels, or when no name was recorded by its address.
    fn who(&self, end: &End) -> Option<Arc<Peer>> {
        let here = self.scene.at(end.address);
        let Some(pod) = &end.pod else { return Some(self.reserved(end).unwrap_or(here)) };
        if pod_name(&here).as_ref() == Some(pod) {
            return Some(here);
        }
        self.by_pod.get(pod).or_else(|| self.by_labels.get(&end.labels)).cloned()
    }

    /// What was recorded as the host, another node and so on, when nobody of the configuration has its address.
    fn reserved(&self, end: &End) -> Option<Arc<Peer>> {
        let here = self.scene.at(end.address);
        let is_world = here.pod.is_empty() && here.identity() != Identity::HOST;
        let identity = [
            ("reserved:host", Identity::HOST),
            // A node of the API server has both labels.
            ("reserved:kube-apiserver", Identity::KUBE_APISERVER),
            ("reserved:remote-node", Identity::REMOTE_NODE),
            ("reserved:ingress", Identity::INGRESS),
            ("reserved:health", Identity::HEALTH),
            ("reserved:init", Identity::INIT),
            ("reserved:unmanaged", Identity::UNMANAGED),
        ];
        let named = identity.into_iter().find(|(label, _)| end.labels.iter().any(|known| known == label));
        let (_, identity) = named.filter(|_| is_world)?;
        Some(Arc::new(Peer { identity: identity.0, labels: end.labels.clone(), ..Peer::default() }))
    }

    fn request(&self, flow: &Flow, request: &Request, side: &Side) -> Outcome {
        let connection = side.connection(Protocol::Tcp, flow.port);
        if !matches!(connection, Answer::Judged) {
            // Whatever was sent, the proxy does not see it.
            return compared(flow, connection);
        }
        let (host, target) = split(flow, request);
        let Some(headers) = headers(&host, request) else {
            return Outcome::NotJudged("its recorded host is none".to_owned());
        };
        let view = match RequestView::new(&request.method, target.as_bytes(), false, &headers, &self.options) {
            Ok(view) => view,
            Err(_) if flow.was_denied => return Outcome::Same,
            Err(malformed) => return Outcome::Changed(Now::Malformed(malformed)),
        };
        let (answer, _) = side.request(flow.port, &view);
        let is_guess = answer.is_denied() && !request.has_its_headers();
        let but_for_headers = if is_guess { side.allows_but_for_headers(flow.port, &view) } else { None };
        match but_for_headers {
            Some(rule) => Outcome::DependsOnHeaders(rule),
            None => compared(flow, answer),
        }
    }
}

fn compared(flow: &Flow, answer: Answer) -> Outcome {
    if answer.is_denied() == flow.was_denied { Outcome::Same } else { Outcome::Changed(Now::Verdict(answer)) }
}

/// Host and target of the recorded URL.
fn split(flow: &Flow, request: &Request) -> (String, String) {
    let url = request.url.as_str();
    let rest = url.split_once("://").map(|(_, rest)| rest);
    let (host, target) = match rest {
        Some(rest) => rest.split_at_checked(rest.find('/').unwrap_or(rest.len())).unwrap_or((rest, "")),
        None => ("", url),
    };
    let host = if host.is_empty() { flow.destination.address.to_string() } else { host.to_owned() };
    let target = match target {
        "" => "/",
        // That is how "*" is recorded.
        "/*" if request.method == "OPTIONS" => "*",
        target => target,
    };
    (host, target.to_owned())
}

fn headers(host: &str, request: &Request) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_str(host).ok()?);
    for recorded in &request.headers {
        let name = HeaderName::from_bytes(recorded.key.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&recorded.value))
            && name != header::HOST
        {
            headers.append(name, value);
        }
    }
    Some(headers)
}
