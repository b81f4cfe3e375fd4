//! Labels that say who with whom, as Hubble makes them.
//!
//! Start at [`names`] and [`values`], which are in the same order.

use rules::Direction;

use super::seen::Seen;
use crate::{
    config::{Context, ContextLabel, ContextOptions, Identifier},
    endpoint::{End, Peer},
};

/// Labels by which applications are called, as Hubble knows them.
const APPS: [&str; 3] = ["k8s:app.kubernetes.io/name=", "k8s:k8s-app=", "k8s:app="];
const RESERVED: &str = "reserved:";
const KUBE_APISERVER: &str = "reserved:kube-apiserver";

/// Which labels there are.
pub(super) fn names(options: &ContextOptions) -> Vec<&'static str> {
    let ends = [("source", &options.source), ("destination", &options.destination)];
    let ends = ends.into_iter().filter(|(_, context)| context.is_label()).map(|(name, _)| name);
    options.labels.iter().map(|label| label.word()).chain(ends).collect()
}

/// Their values; `inverted`: a response is shown as its request went.
pub(super) fn values(options: &ContextOptions, seen: &Seen<'_>, inverted: bool) -> Vec<String> {
    let (source, destination) =
        if inverted { (seen.destination, seen.source) } else { (seen.source, seen.destination) };
    let mut values: Vec<String> =
        options.labels.iter().map(|label| of_label(*label, source, destination, seen.facts.direction)).collect();
    // What the source may be called is a matter of the flow's own source, also where both are shown the other way.
    let direction = seen.facts.direction;
    let ends =
        (one_of(&options.source, seen.source, direction), one_of(&options.destination, seen.destination, direction));
    let (source, destination) = if inverted { (ends.1, ends.0) } else { ends };
    values.extend(options.source.is_label().then_some(source));
    values.extend(options.destination.is_label().then_some(destination));
    values
}

fn of_label(label: ContextLabel, source: &End, destination: &End, direction: Direction) -> String {
    match label {
        ContextLabel::SourceIp => ip(source),
        ContextLabel::SourcePod => source.0.pod.clone(),
        ContextLabel::SourceNamespace => source.0.namespace.clone(),
        ContextLabel::SourceWorkload => workload(&source.0),
        ContextLabel::SourceWorkloadKind => workload_kind(&source.0),
        ContextLabel::SourceApp => app(&source.0),
        ContextLabel::DestinationIp => ip(destination),
        ContextLabel::DestinationPod => destination.0.pod.clone(),
        ContextLabel::DestinationNamespace => destination.0.namespace.clone(),
        ContextLabel::DestinationWorkload => workload(&destination.0),
        ContextLabel::DestinationWorkloadKind => workload_kind(&destination.0),
        ContextLabel::DestinationApp => app(&destination.0),
        ContextLabel::TrafficDirection => way(direction).to_owned(),
    }
}

/// As labels have it.
pub(super) fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

fn one_of(context: &Context, end: &End, direction: Direction) -> String {
    let own = match direction {
        Direction::Ingress => &context.ingress,
        Direction::Egress => &context.egress,
    };
    let list = own.as_ref().unwrap_or(&context.any);
    list.iter().map(|identifier| called(*identifier, end)).find(|name| !name.is_empty()).unwrap_or_default()
}

fn called(identifier: Identifier, end: &End) -> String {
    let peer = &*end.0;
    match identifier {
        Identifier::Identity => peer.labels.join(","),
        Identifier::Namespace => peer.namespace.clone(),
        Identifier::Pod => within(peer, peer.pod.clone()),
        Identifier::PodName => peer.pod.clone(),
        Identifier::Dns => peer.names.join(","),
        Identifier::Ip => ip(end),
        Identifier::ReservedIdentity => reserved(peer),
        Identifier::Workload => match workload(peer) {
            name if name.is_empty() => name,
            name => within(peer, name),
        },
        Identifier::WorkloadName => workload(peer),
        Identifier::App => app(peer),
    }
}

fn within(peer: &Peer, name: String) -> String {
    if peer.namespace.is_empty() { name } else { format!("{}/{name}", peer.namespace) }
}

fn ip(end: &End) -> String {
    end.1.ip().to_canonical().to_string()
}

fn workload(peer: &Peer) -> String {
    peer.workload.as_ref().map(|(_, name)| name.clone()).unwrap_or_default()
}

fn workload_kind(peer: &Peer) -> String {
    peer.workload.as_ref().map(|(kind, _)| kind.clone()).unwrap_or_default()
}

fn app(peer: &Peer) -> String {
    let value = |label: &String| APPS.iter().find_map(|app| label.strip_prefix(app)).map(str::to_owned);
    peer.labels.iter().filter_map(value).find(|value| !value.is_empty()).unwrap_or_default()
}

fn reserved(peer: &Peer) -> String {
    let known = peer.labels.iter().find(|label| *label == KUBE_APISERVER);
    known.or_else(|| peer.labels.iter().find(|label| label.starts_with(RESERVED))).cloned().unwrap_or_default()
}
