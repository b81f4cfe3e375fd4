//! Asks the questions of a table through the crate's public API, and says which answers are not the expected ones.
//!
//! Must never take an answer for right that the kernel would give otherwise: each verdict is compared with the entries of
//! the policy map too, and with the same policies in the reverse order. Start at [`failures`].

#[path = "form.rs"]
mod form;
#[path = "../properties/policy_map.rs"]
mod policy_map;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;
use rules::{
    Action, ContainerPort, Denial, Direction, DirectionPolicy, EndpointPolicy, HeaderEdit, HeaderNote, HeaderNotes,
    Identities, Identity, InForce, L4Verdict, Labels, MapEntry, Missing, NamedPorts, Nearest, PathOptions, PodLabels,
    PolicyKey, PortNames, Protocol, RequestView, RuleRef, Service, Tried, Verdict, full_match,
    manifest::{self, Document},
    resolve_at,
};

use self::form::{Case, Expect, Outcome, PatternCase, Request, Table, Way};

/// How many cases `text` holds, and what went wrong, each with the name of its case.
pub(crate) fn failures(text: &str) -> (usize, Vec<String>) {
    let table: Table = match serde_saphyr::from_str(text) {
        Ok(table) => table,
        Err(error) => return (0, vec![format!("is no table: {error}")]),
    };
    let mut failures = Vec::new();
    let world = World::new(&table, &mut failures);
    let mut names = BTreeSet::new();
    let twice = table.cases.iter().filter(|case| !names.insert(&case.name));
    failures.extend(twice.map(|case| format!("{}: is there twice", case.name)));
    for case in &table.cases {
        let found = world.ask(case).and_then(|answer| differences(&answer, &case.expect));
        failures.extend(found.err().map(|problem| format!("{}: {problem}", case.name)));
    }
    failures.extend(table.patterns.iter().flat_map(pattern_failures));
    let asked = table.cases.len() + table.patterns.len();
    if asked == 0 {
        failures.push("the table has no cases".to_owned());
    }
    (asked, failures)
}

fn pattern_failures(case: &PatternCase) -> Vec<String> {
    let name = format!("pattern {:?}", case.pattern);
    match (full_match(&case.pattern), &case.refused) {
        (Ok(_), Some(_)) => vec![format!("{name}: is taken")],
        (Err(error), None) => vec![format!("{name}: is refused: {error}")],
        (Err(error), Some(reason)) if error.to_string().contains(reason.as_str()) => Vec::new(),
        (Err(error), Some(reason)) => vec![format!("{name}: refused with {error:?}, not {reason:?}")],
        (Ok(pattern), None) => {
            let cases = case.matches.iter().map(|value| (value, true));
            let cases = cases.chain(case.differs.iter().map(|value| (value, false)));
            let wrong = cases.filter(|(value, wanted)| pattern.matches(value.as_bytes()) != *wanted);
            wrong.map(|(value, wanted)| format!("{name}: {value:?} must give {wanted}")).collect()
        }
    }
}

/// `n/p`; with its kind if that is not Cilium's namespaced one.
fn short(key: &PolicyKey) -> String {
    let text = key.to_string();
    text.strip_prefix("CiliumNetworkPolicy ").unwrap_or(&text).to_owned()
}

struct World {
    policies: Vec<InForce>,
    identities: Identities,
    /// By `namespace/name`.
    pods: BTreeMap<String, Known>,
    cidrs: Vec<(IpNet, Identity)>,
    services: Vec<Service>,
}

/// A pod as policies see it.
struct Known {
    identity: Identity,
    labels: Labels,
    ports: PortNames,
    address: Option<IpAddr>,
}

/// What came out.
struct Answer {
    outcome: Outcome,
    rule: Option<Arc<RuleRef>>,
    nearest: Option<Nearest>,
    tier: Option<Arc<str>>,
    denied_by: Vec<String>,
    tried: Vec<String>,
    edits: Vec<String>,
    missing: Vec<String>,
    rejected: Vec<String>,
    malformed: Option<&'static str>,
}

impl Answer {
    fn denied(&mut self, outcome: Outcome, denial: Denial) {
        self.outcome = outcome;
        self.note(denial.notes.as_ref());
        self.denied_by = denial.denied_by.iter().map(|key| short(key)).collect();
        (self.rule, self.tier, self.nearest) = (denial.rule, denial.tier, denial.nearest);
    }

    fn note(&mut self, notes: Option<&Arc<HeaderNotes>>) {
        let text = |note: &HeaderNote| format!("{}: {}", note.name, note.value);
        if let Some(notes) = notes {
            self.missing = notes.missing.iter().map(text).collect();
            self.rejected = notes.rejected.iter().map(text).collect();
        }
    }
}

fn tried(tried: &Tried) -> String {
    let missing = |missing: &Missing| {
        let found = missing.found.as_ref().map(|found| format!(", is {found}")).unwrap_or_default();
        format!("{} wants {}{found}", missing.field, missing.expected)
    };
    let missed: Vec<String> = tried.missed.iter().map(missing).collect();
    format!("{}: {}", tried.rule.rule, missed.join("; "))
}

fn edit(edit: &HeaderEdit) -> String {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    match edit {
        HeaderEdit::Remove(name) => format!("-{name}"),
        HeaderEdit::Set(name, value) => format!("={name}: {}", text(value)),
        HeaderEdit::Append(name, value) => format!("+{name}: {}", text(value)),
    }
}

impl World {
    fn new(table: &Table, failures: &mut Vec<String>) -> Self {
        let policies = policies(table, failures);
        let mut identities = Identities::new();
        let none = BTreeMap::new();
        let pod_nets: BTreeSet<IpNet> = policies.iter().flat_map(InForce::pod_cidrs).collect();
        let mut pods = BTreeMap::new();
        for pod in &table.pods {
            let namespace = pod.name.split('/').next().unwrap_or_default();
            let of_namespace = table
                .pods
                .iter()
                .find(|other| other.name.split('/').next() == Some(namespace) && !other.namespace_labels.is_empty());
            let labels = Labels::from(PodLabels {
                namespace,
                cluster: "default",
                service_account: pod.service_account.as_deref(),
                labels: &pod.labels,
                namespace_labels: of_namespace.map_or(&none, |other| &other.namespace_labels),
            });
            let identity = match pod.address {
                Some(address) => identities.allocate_at(&labels, address, &pod_nets),
                None => identities.allocate(&labels),
            };
            let ports = pod.ports.iter().map(|(name, port)| (name.clone(), ContainerPort::tcp(*port))).collect();
            let known = Known { identity, labels, ports, address: pod.address };
            pods.insert(pod.name.clone(), known);
        }
        let nets = policies.iter().flat_map(InForce::cidrs);
        let cidrs = nets.map(|net| (net, identities.allocate_cidr(net))).collect();
        let services = table.services.iter().map(|one| Service::new(&one.name, &one.labels, &one.selector)).collect();
        Self { policies, identities, pods, cidrs, services }
    }

    /// A pod; the longest CIDR that holds an address, else the world; a reserved name.
    fn identity(&self, who: &str) -> Result<Identity, String> {
        if let Some(pod) = self.pods.get(who) {
            return Ok(pod.identity);
        }
        if let Ok(address) = who.parse::<IpAddr>() {
            let holding = self.cidrs.iter().filter(|(net, _)| net.contains(&address));
            let longest = holding.max_by_key(|(net, _)| net.prefix_len());
            return Ok(longest.map_or(Identity::WORLD, |(_, identity)| *identity));
        }
        match who {
            "world" => Ok(Identity::WORLD),
            "host" => Ok(Identity::HOST),
            "remote-node" => Ok(Identity::REMOTE_NODE),
            "kube-apiserver" => Ok(Identity::KUBE_APISERVER),
            "unknown" => Ok(Identity::UNKNOWN),
            _ => Err(format!("{who} is no pod, address or reserved name")),
        }
    }

    fn policy(&self, pod: &str, reversed: bool) -> Result<EndpointPolicy, String> {
        let subject = self.pods.get(pod).ok_or_else(|| format!("{pod} is no pod"))?;
        let peers = self.pods.values().map(|pod| (pod.identity, pod.ports.clone())).collect();
        let named = NamedPorts { own: subject.ports.clone(), peers };
        let mut policies = self.policies.clone();
        if reversed {
            policies.reverse();
        }
        let Known { labels, address, .. } = subject;
        Ok(resolve_at(&policies, labels, *address, &named, &self.identities, &self.services))
    }

    fn ask(&self, case: &Case) -> Result<Answer, String> {
        let (direction, subject, peer) = match case.direction {
            Way::Ingress => (Direction::Ingress, &case.to, &case.from),
            Way::Egress => (Direction::Egress, &case.from, &case.to),
        };
        let peer = self.identity(peer)?;
        let (policy, reversed) = (self.policy(subject, false)?, self.policy(subject, true)?);
        let answer = judge(policy.direction(direction), peer, case)?;
        let other = judge(reversed.direction(direction), peer, case)?;
        if (answer.outcome, &answer.edits) != (other.outcome, &other.edits) {
            return Err(format!("{:?}, but {:?} in the reverse order", answer.outcome, other.outcome));
        }
        Ok(answer)
    }
}

/// Every policy of the table; every refusal must have been announced.
fn policies(table: &Table, failures: &mut Vec<String>) -> Vec<InForce> {
    let (mut policies, mut refused, mut skipped) = (Vec::new(), BTreeMap::new(), 0_usize);
    for document in manifest::parse(&table.manifests) {
        match document {
            Document::Policy(policy) => policies.push(InForce::Policy(policy)),
            Document::Refused(policy) => {
                let fields: Vec<String> = policy.errors.iter().map(|error| error.field.clone()).collect();
                refused.insert(short(&policy.key), fields);
                policies.push(InForce::Refused(policy));
            }
            Document::Unattributable { line, errors } => failures.push(format!("line {line} of manifests: {errors:?}")),
            Document::Skipped { .. } => skipped += 1,
        }
    }
    if refused != table.refused {
        failures.push(format!("refused: {refused:?}, expected: {:?}", table.refused));
    }
    if skipped != table.skipped {
        failures.push(format!("skipped: {skipped} documents, expected: {}", table.skipped));
    }
    policies
}

fn judge(policy: &DirectionPolicy, peer: Identity, case: &Case) -> Result<Answer, String> {
    let protocol = match case.protocol.as_str() {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        "ICMP" => Protocol::Icmp,
        "ICMPv6" => Protocol::Icmp6,
        "other" => Protocol::Any,
        other => return Err(format!("{other} is no protocol")),
    };
    let l4 = policy.l4(peer, protocol, case.port);
    let by_map = policy_map::found(policy, peer, protocol, case.port).map(|entry| entry.action);
    let in_map = match &l4 {
        L4Verdict::NotEnforced => by_map.is_none(),
        L4Verdict::Denied(_) => by_map.is_none_or(|action| action == Action::Deny),
        L4Verdict::Allowed(_) if policy.is_audited(peer, protocol, case.port) => by_map == Some(Action::Audit),
        L4Verdict::Allowed(_) => by_map == Some(Action::Allow),
        L4Verdict::Redirect => by_map == Some(Action::Redirect),
    };
    if !in_map {
        return Err(format!("{l4:?}, but the policy map says {by_map:?}"));
    }
    let key = |entry: &MapEntry| {
        let identity = entry.identity.map_or(0, |identity| identity.0);
        (identity, entry.protocol, entry.port, entry.port_bits)
    };
    let keys: BTreeSet<_> = policy.entries().iter().map(key).collect();
    if keys.len() < policy.entries().len() {
        return Err("two entries have one key in the policy map".to_owned());
    }
    let mut answer = Answer {
        outcome: Outcome::NotEnforced,
        rule: None,
        nearest: None,
        tier: None,
        denied_by: policy.default_denied_by().iter().map(|key| short(key)).collect(),
        tried: policy.tried(peer, protocol, case.port, None).iter().map(tried).collect(),
        edits: Vec::new(),
        missing: Vec::new(),
        rejected: Vec::new(),
        malformed: None,
    };
    match &l4 {
        L4Verdict::NotEnforced => {}
        L4Verdict::Allowed(_) if policy.is_audited(peer, protocol, case.port) => {
            answer.denied(Outcome::Audited, policy.denial_of(peer, protocol.number(), case.port));
        }
        L4Verdict::Allowed(rule) => (answer.outcome, answer.rule) = (Outcome::Allowed, rule.clone()),
        L4Verdict::Redirect => answer.outcome = Outcome::Redirected,
        L4Verdict::Denied(rule) => {
            let denial = policy.denial_of(peer, protocol.number(), case.port);
            assert_eq!(*rule, denial.rule);
            answer.denied(Outcome::RefusedL4, denial);
        }
    }
    if let Some(request) = &case.request {
        ask_request(policy, peer, case.port, request, &mut answer)?;
    }
    Ok(answer)
}

fn ask_request(
    policy: &DirectionPolicy,
    peer: Identity,
    port: u16,
    request: &Request,
    answer: &mut Answer,
) -> Result<(), String> {
    let headers = headers(request)?;
    let options = PathOptions::default();
    let view = match RequestView::new(&request.method, request.path.as_bytes(), false, &headers, &options) {
        Ok(view) => view,
        Err(malformed) => {
            (answer.outcome, answer.malformed) = (Outcome::Malformed, Some(malformed.reason()));
            return Ok(());
        }
    };
    let verdict = policy.evaluate(peer, port, &view);
    answer.tried = policy.tried(peer, Protocol::Tcp, port, Some(&view)).iter().map(tried).collect();
    match (answer.outcome, verdict) {
        (Outcome::Redirected | Outcome::Audited, Verdict::Allow(permit)) if permit.audited().is_some() => {
            let denial = permit.audited().cloned().unwrap_or_default();
            if answer.outcome == Outcome::Audited && answer.rule != denial.rule {
                return Err(format!("audited below HTTP by {:?}, of the request by {:?}", answer.rule, denial.rule));
            }
            answer.denied(Outcome::Audited, denial);
        }
        (Outcome::NotEnforced | Outcome::Allowed | Outcome::Redirected, Verdict::Allow(permit)) => {
            answer.rule = permit.rule().map(Arc::clone);
            answer.edits = permit.edits().iter().map(edit).collect();
            answer.note(permit.notes());
            if answer.outcome == Outcome::Redirected {
                answer.outcome = Outcome::Allowed;
            }
        }
        (Outcome::Redirected, Verdict::Deny(denial)) => {
            answer.denied(Outcome::Denied, denial);
        }
        (Outcome::RefusedL4, Verdict::Deny(denial)) => {
            if answer.nearest != denial.nearest {
                return Err(format!("nearest below HTTP {:?}, of the request {:?}", answer.nearest, denial.nearest));
            }
        }
        (outcome, verdict) => return Err(format!("the connection is {outcome:?}, the request {verdict:?}")),
    }
    Ok(())
}

fn headers(request: &Request) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    map.insert(header::HOST, HeaderValue::from_str(&request.host).map_err(|error| error.to_string())?);
    for text in &request.headers {
        let (name, value) = text.split_once(": ").ok_or_else(|| format!("{text} is no header"))?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
        map.append(name, HeaderValue::from_str(value).map_err(|error| error.to_string())?);
    }
    Ok(map)
}

/// What was tried first is what came nearest.
fn agrees(answer: &Answer) -> Result<(), String> {
    let first = answer.tried.first().map(String::as_str);
    let nearest = answer.nearest.as_ref().map(|nearest| format!("{}: {} wants ", nearest.rule.rule, nearest.field));
    match (&nearest, first) {
        (None, None) => Ok(()),
        (Some(nearest), Some(first)) if first.starts_with(nearest) => Ok(()),
        _ => Err(format!("nearest {nearest:?}, tried first {first:?}")),
    }
}

fn differences(answer: &Answer, expect: &Expect) -> Result<(), String> {
    agrees(answer)?;
    let rule = answer.rule.as_ref().or(answer.nearest.as_ref().map(|nearest| &nearest.rule));
    let found = [
        ("policy", rule.map(|rule| short(&rule.policy)), &expect.policy),
        ("rule", rule.map(|rule| rule.rule.clone()), &expect.rule),
        ("nearest", answer.nearest.as_ref().map(|nearest| nearest.field.clone()), &expect.nearest),
        ("tier", answer.tier.as_deref().map(str::to_owned), &expect.tier),
        ("wants", answer.nearest.as_ref().map(|nearest| nearest.expected.clone()), &expect.wants),
        ("malformed", answer.malformed.map(str::to_owned), &expect.malformed),
    ];
    let mut wrong = Vec::new();
    if answer.outcome != expect.verdict {
        wrong.push(format!("{:?} instead of {:?}", answer.outcome, expect.verdict));
    }
    for (what, is, wanted) in found {
        if wanted.is_some() && is != *wanted {
            wrong.push(format!("{what} {is:?} instead of {wanted:?}"));
        }
    }
    let lists = [
        ("denied by", &answer.denied_by, &expect.denied_by),
        ("tried", &answer.tried, &expect.tried),
        ("edits", &answer.edits, &expect.edits),
        ("missing", &answer.missing, &expect.missing),
        ("rejected", &answer.rejected, &expect.rejected),
    ];
    for (what, is, wanted) in lists {
        if let Some(wanted) = wanted.as_ref().filter(|wanted| *wanted != is) {
            wrong.push(format!("{what} {is:?} instead of {wanted:?}"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}
