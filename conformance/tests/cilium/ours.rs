//! What the rules of this repository make of a case.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use anyhow::{Context, Result, anyhow};
use http::{HeaderMap, HeaderName, HeaderValue};
use rules::{
    ContainerPort, Direction, EndpointPolicy, Identities, Identity, InForce, L4Verdict, Labels, NamedPorts,
    PathOptions, PodLabels, PortNames, Protocol, RequestView, Service,
    manifest::{self, Document},
};

use crate::{
    answer::{Answer, Refusal, Verdict},
    corpus::{self, Case, Pod, Query, Request},
};

pub(crate) fn answer(case: &Case) -> Result<Answer> {
    let mut policies = Vec::new();
    let mut refusals = Vec::new();
    for document in manifest::parse(&case.manifests) {
        let errors = match document {
            Document::Policy(policy) => {
                policies.push(InForce::Policy(policy));
                continue;
            }
            Document::Refused(refused) => refused.errors.clone(),
            Document::Unattributable { errors, .. } => errors,
            Document::Skipped { what, .. } => return Err(anyhow!("{}: {what}", case.name)),
        };
        refusals.extend(errors.into_iter().map(|error| Refusal { field: last(&error.field), reason: error.reason }));
    }
    if !refusals.is_empty() {
        return Ok(Answer::Refused(refusals));
    }
    let mut world = World::new(case, policies);
    let verdicts: Result<Vec<Verdict>> = case.queries.iter().map(|query| world.verdict(query)).collect();
    Ok(Answer::Accepted(verdicts?))
}

/// Who is neither a pod nor an address.
const RESERVED: [(&str, Identity); 7] = [
    ("host", Identity::HOST),
    ("remote-node", Identity::REMOTE_NODE),
    ("kube-apiserver", Identity::KUBE_APISERVER),
    ("ingress", Identity::INGRESS),
    ("init", Identity::INIT),
    ("health", Identity::HEALTH),
    ("unmanaged", Identity::UNMANAGED),
];

/// `spec.egress[0].toFQDNs` → `toFQDNs`.
fn last(field: &str) -> String {
    let name = field.rsplit_once('.').map_or(field, |(_, name)| name);
    name.split('[').next().unwrap_or_default().to_owned()
}

struct World<'a> {
    case: &'a Case,
    policies: Vec<InForce>,
    identities: Identities,
    pods: BTreeMap<&'a str, (Identity, Labels)>,
    ports: BTreeMap<Identity, PortNames>,
    resolved: BTreeMap<&'a str, Arc<EndpointPolicy>>,
}

impl<'a> World<'a> {
    fn new(case: &'a Case, policies: Vec<InForce>) -> Self {
        let mut identities = Identities::new();
        let (mut pods, mut ports) = (BTreeMap::new(), BTreeMap::new());
        let none = BTreeMap::new();
        let nets = policies.iter().flat_map(InForce::pod_cidrs).collect();
        for pod in &case.pods {
            let namespace = pod.name.split('/').next().unwrap_or_default();
            let labels = Labels::from(PodLabels {
                namespace,
                cluster: "default",
                service_account: None,
                labels: &pod.labels,
                namespace_labels: case.namespaces.get(namespace).unwrap_or(&none),
            });
            // Of both addresses, that of the family that blocks are about here.
            let address = pod.addresses.iter().find(|address| address.is_ipv4());
            let identity =
                address.map_or(Identity::UNKNOWN, |address| identities.allocate_at(&labels, *address, &nets));
            ports.insert(identity, numbers(pod));
            pods.insert(pod.name.as_str(), (identity, labels));
        }
        for net in policies.iter().flat_map(InForce::cidrs) {
            identities.allocate_cidr(net);
        }
        Self { case, policies, identities, pods, ports, resolved: BTreeMap::new() }
    }

    /// A pod, a reserved identity, or what the longest prefix that any policy mentions stands for.
    fn peer(&self, name: &str) -> Result<Identity> {
        if let Some((identity, _)) = self.pods.get(name) {
            return Ok(*identity);
        }
        if let Some((_, identity)) = RESERVED.iter().find(|(known, _)| *known == name) {
            return Ok(*identity);
        }
        let address: IpAddr = name.parse().with_context(|| format!("{name} is neither a pod nor an address"))?;
        let nets = self.identities.iter().filter_map(|(identity, _)| Some((self.identities.cidr(identity)?, identity)));
        let longest = nets.filter(|(net, _)| net.contains(&address)).max_by_key(|(net, _)| net.prefix_len());
        Ok(longest.map_or(Identity::WORLD, |(_, identity)| identity))
    }

    fn endpoint(&mut self, name: &str) -> Result<Arc<EndpointPolicy>> {
        if let Some(known) = self.resolved.get(name) {
            return Ok(Arc::clone(known));
        }
        let pod = self.case.pods.iter().find(|pod| pod.name == name).with_context(|| format!("{name} is no pod"))?;
        let (_, labels) = self.pods.get(name).with_context(|| format!("{name} is no pod"))?;
        let named = NamedPorts { own: numbers(pod), peers: self.ports.clone() };
        let services = self.case.services.iter();
        let services: Vec<Service> =
            services.map(|service| Service::new(&service.name, &service.labels, &service.selector)).collect();
        let policy = Arc::new(rules::resolve(&self.policies, labels, &named, &self.identities, &services));
        self.resolved.insert(pod.name.as_str(), Arc::clone(&policy));
        Ok(policy)
    }

    fn verdict(&mut self, query: &Query) -> Result<Verdict> {
        let (direction, subject, other) = match query.direction {
            "egress" => (Direction::Egress, &query.from, &query.to),
            _ => (Direction::Ingress, &query.to, &query.from),
        };
        let policy = self.endpoint(subject)?;
        let peer = self.peer(other)?;
        let protocol = protocol(query.protocol);
        let policy = policy.direction(direction);
        match (policy.l4(peer, protocol, query.port), &query.http) {
            (L4Verdict::NotEnforced | L4Verdict::Allowed(_), _) => Ok(Verdict::Allowed),
            (L4Verdict::Denied(..), _) => Ok(Verdict::Denied),
            (L4Verdict::Redirect, None) => Ok(Verdict::Redirect),
            (L4Verdict::Redirect, Some(request)) => {
                let headers = headers(request)?;
                let options = PathOptions::default();
                let view = RequestView::new(request.method, request.path.as_bytes(), false, &headers, &options);
                let Ok(view) = view else { return Ok(Verdict::RedirectRefused) };
                Ok(match policy.evaluate(peer, query.port, &view) {
                    rules::Verdict::Allow(_) => Verdict::RedirectAllowed,
                    rules::Verdict::Deny(_) => Verdict::RedirectDenied,
                })
            }
        }
    }
}

fn numbers(pod: &Pod) -> PortNames {
    let port = |port: &corpus::ContainerPort| ContainerPort { number: port.port, protocol: protocol(&port.protocol) };
    pod.ports.iter().map(|named| (named.name.clone(), port(named))).collect()
}

fn protocol(name: &str) -> Protocol {
    match name {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        "ICMP" => Protocol::Icmp,
        "ICMPv6" => Protocol::Icmp6,
        _ => Protocol::Sctp,
    }
}

fn headers(request: &Request) -> Result<HeaderMap> {
    let mut map = HeaderMap::new();
    map.append(http::header::HOST, HeaderValue::from_static(request.host));
    for (name, value) in &request.headers {
        map.append(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
    }
    Ok(map)
}

/// Whether the request has another form than the one that was sent, or none.
pub(crate) fn has_other_form(request: &Request) -> bool {
    let Ok(headers) = headers(request) else { return true };
    let options = PathOptions::default();
    let view = RequestView::new(request.method, request.path.as_bytes(), false, &headers, &options);
    view.map_or(true, |view| view.changed())
}
