//! Changes after which a policy may allow less, and never more.
//!
//! Must never remove the last of a list whose absence means "all". Start at [`narrow`].

use super::model::{Entry, Http, Peers, Policy, PortRule, Requirement, Selector};

/// Ways to narrow an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Nobody,
    FewerPeers,
    StricterPeers,
    SomePeers,
    SmallerNets,
    SomePorts,
    FewerPortRules,
    FewerPorts,
    OnePort,
    SomeMessages,
    FewerMessages,
    SomeHttp,
    FewerHttp,
    HeaderToo,
    MatchToo,
    MethodToo,
    PathToo,
}

/// Every way, for generators.
pub(crate) const WAYS: &[Way] = &[
    Way::Nobody,
    Way::FewerPeers,
    Way::StricterPeers,
    Way::SomePeers,
    Way::SmallerNets,
    Way::SomePorts,
    Way::FewerPortRules,
    Way::FewerPorts,
    Way::OnePort,
    Way::SomeMessages,
    Way::FewerMessages,
    Way::SomeHttp,
    Way::FewerHttp,
    Way::HeaderToo,
    Way::MatchToo,
    Way::MethodToo,
    Way::PathToo,
];

/// Narrows one entry; `pick` says which.
pub(crate) fn narrow(policies: &mut [Policy], pick: usize, way: Way) {
    let mut entries: Vec<&mut Entry> =
        policies.iter_mut().flat_map(|policy| policy.ingress.iter_mut().chain(&mut policy.egress)).collect();
    let count = entries.len();
    if let Some(entry) = entries.get_mut(pick % count.max(1)) {
        peers(entry, way);
        messages(entry, way);
        ports(entry, way);
        http(entry, way);
    }
}

fn peers(entry: &mut Entry, way: Way) {
    match (way, &mut entry.peers) {
        (Way::Nobody, _) => *entry = Entry { peers: Peers::Absent, ports: None, icmps: Vec::new() },
        (Way::FewerPeers, Peers::Endpoints(selectors)) => drop(selectors.pop()),
        (Way::FewerPeers, Peers::Cidrs(cidrs)) => drop(cidrs.pop()),
        (Way::StricterPeers, Peers::Endpoints(selectors)) => {
            for selector in selectors {
                selector.0.push(Requirement::In("app", vec!["a"]));
            }
        }
        (Way::SomePeers, peers @ Peers::Absent)
            if entry.ports.as_ref().is_some_and(|ports| !ports.is_empty()) || !entry.icmps.is_empty() =>
        {
            *peers = Peers::Endpoints(vec![Selector::default()]);
        }
        (Way::SmallerNets, Peers::Cidrs(cidrs)) => {
            for cidr in cidrs {
                *cidr = match *cidr {
                    "0.0.0.0/0" => "10.0.0.0/8",
                    "10.0.0.0/8" => "10.1.0.0/16",
                    other => other,
                };
            }
        }
        _ => {}
    }
}

fn messages(entry: &mut Entry, way: Way) {
    let is_open = entry.ports.is_none() && entry.icmps.is_empty() && !matches!(entry.peers, Peers::Absent);
    if matches!(way, Way::SomeMessages) && is_open {
        entry.icmps = vec![vec![("IPv4", "8"), ("IPv6", "128")]];
    }
    if matches!(way, Way::FewerMessages) {
        for messages in &mut entry.icmps {
            messages.truncate(messages.len().saturating_sub(1));
        }
    }
}

fn ports(entry: &mut Entry, way: Way) {
    let tcp = || PortRule { ports: vec![("80", "TCP")], http: None };
    let about_ports = !matches!(entry.peers, Peers::Absent) && entry.icmps.is_empty();
    if let (Way::SomePorts, None, true) = (way, &entry.ports, about_ports) {
        entry.ports = Some(vec![tcp()]);
    }
    let Some(rules) = &mut entry.ports else { return };
    if matches!(way, Way::FewerPortRules) && rules.len() > 1 {
        rules.pop();
    }
    if matches!(way, Way::FewerPorts) {
        for rule in rules.iter_mut().filter(|rule| rule.ports.len() > 1) {
            rule.ports.pop();
        }
    }
    if matches!(way, Way::OnePort) {
        for port in rules.iter_mut().flat_map(|rule| &mut rule.ports) {
            *port = match *port {
                ("0", "TCP") => ("80", "TCP"),
                (number, "" | "ANY") => (number, "TCP"),
                other => other,
            };
        }
    }
}

fn http(entry: &mut Entry, way: Way) {
    for rule in entry.ports.iter_mut().flatten() {
        let takes_http = !rule.ports.is_empty() && rule.ports.iter().all(|port| port.0 != "0" && port.1 == "TCP");
        if let (Way::SomeHttp, None, true) = (way, &rule.http, takes_http) {
            rule.http = Some(vec![Http { path: Some("/a".to_owned()), ..Http::default() }]);
        }
        let Some(rules) = &mut rule.http else { continue };
        if matches!(way, Way::FewerHttp) && rules.len() > 1 {
            rules.pop();
        }
        for http in rules {
            if matches!(way, Way::HeaderToo) {
                http.headers.push("X-A: 1");
            }
            if matches!(way, Way::MatchToo) {
                http.matches.extend([["X-A", "1", ""], ["X-B", "1", "REPLACE"]]);
            }
            if matches!(way, Way::MethodToo) {
                http.method.get_or_insert("GET");
            }
            if matches!(way, Way::PathToo) {
                http.path.get_or_insert_with(|| "/a(/.*)?".to_owned());
            }
        }
    }
}
