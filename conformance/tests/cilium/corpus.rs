//! Cases: a fixed little cluster, manifests, and what is asked of them. Written ones first, then made ones.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Serialize;
use serde_json::Value;

use crate::random::Random;

mod beyond;
mod edges;
mod groups;
mod kubernetes;
mod query;
mod spec;

pub(crate) use self::query::{Query, Request};

/// What both sides are given.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) manifests: String,
    pub(crate) pods: Vec<Pod>,
    pub(crate) namespaces: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) services: Vec<Service>,
    pub(crate) queries: Vec<Query>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) ports: Vec<ContainerPort>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) selector: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct ContainerPort {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) protocol: String,
}

/// Every written case, and `made` made ones.
pub(crate) fn cases(seed: u64, made: usize) -> Vec<Case> {
    let mut random = Random::new(seed);
    let mut cases = Vec::new();
    for (name, manifests) in edges::manifests() {
        let mut case = case(name, manifests, &mut random);
        if case.name.starts_with(edges::PATTERN) {
            case.queries.extend(query::of_all_paths());
        } else if case.name.starts_with(edges::AMONG_GROUPS) {
            case.queries.extend(query::of_all_addresses());
        } else if case.name.starts_with(edges::EGRESS) && case.manifests.contains("\"icmps\"") {
            case.queries.extend(query::of_all_types());
        }
        cases.push(case);
    }
    for index in 0..made {
        let mut documents = random.list(1, 3, policy);
        // One case in three asks for more than is supported, or for what is not valid.
        if index % 3 == 0 {
            let which = random.below(documents.len());
            if let Some(document) = documents.get_mut(which) {
                beyond::spoil(document, &mut random);
            }
        }
        if random.percent(50) {
            documents.extend(groups::documents().into_iter().filter(|_| random.percent(60)));
        }
        let texts: Vec<String> = documents.iter().map(ToString::to_string).collect();
        cases.push(case(format!("made-{index}"), texts.join("\n---\n"), &mut random));
    }
    cases
}

/// Kinds meet: policies of all of them in one case.
fn policy(random: &mut Random) -> Value {
    match random.below(10) {
        0..2 => kubernetes::policy(random),
        2..4 => spec::clusterwide(random),
        _ => spec::policy(random),
    }
}

fn case(name: String, manifests: String, random: &mut Random) -> Case {
    let mut queries = query::fixed();
    queries.extend(random.list(12, 12, query::query));
    Case { name, manifests, pods: pods(), namespaces: namespaces(), services: services(), queries }
}

/// In both namespaces, of the same name too; one selects nobody, one is without selector.
fn services() -> Vec<Service> {
    type Described<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)]);
    let described: [Described<'_>; 5] = [
        ("default/api", &[("app", "api"), ("use", "web")], &[("app", "api")]),
        ("other/api", &[("app", "api")], &[("app", "api"), ("tier", "back")]),
        ("default/back", &[("use", "web")], &[("tier", "back")]),
        ("other/empty", &[("use", "none")], &[("app", "nosuch")]),
        ("default/headless", &[("use", "none")], &[]),
    ];
    let service = |(name, labels, selector): Described<'_>| Service {
        name: name.to_owned(),
        labels: texts(labels),
        selector: texts(selector),
    };
    described.into_iter().map(service).collect()
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn namespaces() -> BTreeMap<String, BTreeMap<String, String>> {
    let named = |name: &str, labels: &[(&str, &str)]| (name.to_owned(), texts(labels));
    [named("default", &[("team", "a"), ("env", "prod")]), named("other", &[("team", "b"), ("env", "prod")])].into()
}

/// Two namespaces; the same names in both, so that a selector that forgets the namespace shows.
fn pods() -> Vec<Pod> {
    type Described<'a> = (&'a str, &'a [(&'a str, &'a str)], u8, &'a [(&'a str, u16, &'a str)]);
    let described: [Described<'_>; 6] = [
        ("default/client", &[("app", "client"), ("tier", "front")], 1, &[]),
        ("default/api", &[("app", "api"), ("tier", "back")], 2, &[("http", 8080, "TCP"), ("metrics", 9090, "TCP")]),
        ("default/db", &[("app", "db"), ("tier", "back"), ("example.com/role", "primary")], 3, &[("dns", 53, "UDP")]),
        ("other/client", &[("app", "client"), ("tier", "")], 4, &[]),
        ("other/api", &[("app", "api"), ("tier", "back")], 5, &[("http", 8081, "TCP"), ("dns", 53, "UDP")]),
        ("other/bare", &[], 6, &[("http", 8080, "UDP")]),
    ];
    let port = |(name, port, protocol): &(&str, u16, &str)| ContainerPort {
        name: (*name).to_owned(),
        port: *port,
        protocol: (*protocol).to_owned(),
    };
    let pod = |(name, labels, number, ports): Described<'_>| Pod {
        name: name.to_owned(),
        labels: texts(labels),
        addresses: vec![IpAddr::from([10, 0, 0, number]), IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number)])],
        ports: ports.iter().map(port).collect(),
    };
    described.into_iter().map(pod).collect()
}
