//! Policies, pods and questions at random, out of so few words that they meet often.
//!
//! Start at [`world`].

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use proptest::{collection::vec, option, prelude::*, sample::select};
use rules::{ContainerPort, Identities, Identity, Labels, NamedPorts, PodLabels, PortNames, Protocol};

use super::model::{Entry, Fault, Http, Messages, Peers, Policy, PortRule, Requirement, Selector};

/// Nets that may be named; each has an identity.
pub(crate) const NETS: [&str; 4] = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "fd00::/8"];

const BLOCKS: [&str; 11] = [
    "{cidr: 10.0.0.0/8}",
    "{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}",
    "{cidr: 0.0.0.0/0, except: [10.0.0.0/8, 10.1.0.0/16]}",
    "{cidrGroupRef: g0}",
    "{cidrGroupRef: g1, except: [10.1.0.0/16]}",
    "{cidrGroupRef: g9}",
    "{cidrGroupSelector: {matchLabels: {a: b}}}",
    "{cidrGroupSelector: {matchExpressions: [{key: a, operator: In, values: [c, d]}, {key: d, operator: Exists}]}}",
    "{cidrGroupSelector: {matchExpressions: [{key: a, operator: NotIn, values: [b]}]}, except: [10.1.0.0/16]}",
    "{cidrGroupSelector: {matchLabels: {a: c}, matchExpressions: [{key: d, operator: DoesNotExist}]}}",
    "{cidrGroupSelector: {matchExpressions: [{key: a, operator: DoesNotExist}]}}",
];
const ENTITIES: [&str; 6] = ["all", "world", "cluster", "cluster-mesh", "host", "none"];

/// What is asked about.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) policies: Vec<Policy>,
    /// Manifests of CIDR groups; one in eight is not valid.
    pub(crate) groups: Vec<String>,
    pub(crate) pods: Vec<Pod>,
    pub(crate) connections: Vec<Connection>,
    pub(crate) requests: Vec<Request>,
}

#[derive(Clone, Debug)]
pub(crate) struct Pod {
    namespace: &'static str,
    app: Option<&'static str>,
    tier: Option<&'static str>,
    /// Of the container port "http".
    http: Option<u16>,
}

/// Subject and peer are numbers that are taken modulo what there is.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) subject: usize,
    pub(crate) peer: usize,
    pub(crate) ingress: bool,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) target: &'static str,
    host: &'static str,
    headers: Vec<(&'static str, &'static str)>,
}

impl Request {
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        map.insert(header::HOST, HeaderValue::from_static(self.host));
        for (name, value) in &self.headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }
}

/// Pods with their numbers.
pub(crate) struct Known {
    pub(crate) identities: Identities,
    pub(crate) pods: Vec<Labels>,
    pub(crate) named: Vec<NamedPorts>,
    pub(crate) peers: Vec<Identity>,
}

/// Numbers of `pods`, of every net, and some that are reserved or nobody's.
pub(crate) fn known(pods: &[Pod]) -> Known {
    let mut identities = Identities::new();
    let mut peers = vec![Identity::UNKNOWN, Identity::HOST, Identity::WORLD, Identity(65_535)];
    peers.extend(NETS.iter().filter_map(|net| net.parse().ok()).map(|net| identities.allocate_cidr(net)));
    let none = BTreeMap::new();
    let (mut labels, mut ports) = (Vec::new(), BTreeMap::new());
    for pod in pods {
        let own = [("app", pod.app), ("tier", pod.tier)];
        let own = own.iter().filter_map(|(key, value)| value.map(|value| ((*key).to_owned(), value.to_owned())));
        let of_pod = Labels::from(PodLabels {
            namespace: pod.namespace,
            cluster: "c",
            service_account: None,
            labels: &own.collect(),
            namespace_labels: &none,
        });
        let identity = identities.allocate(&of_pod);
        let http = named(pod);
        ports.insert(identity, http);
        // More often than the others: most entries are about pods.
        peers.extend([identity; 3]);
        labels.push(of_pod);
    }
    let named = pods.iter().map(|pod| NamedPorts { own: named(pod), peers: ports.clone() }).collect();
    Known { identities, pods: labels, named, peers }
}

fn named(pod: &Pod) -> PortNames {
    // Port 81 is of UDP.
    let port = |number: u16| {
        let protocol = if number == 81 { Protocol::Udp } else { Protocol::Tcp };
        ContainerPort { number, protocol }
    };
    pod.http.iter().map(|number| ("http".to_owned(), port(*number))).collect()
}

pub(crate) fn world() -> impl Strategy<Value = World> {
    let pods = vec(pod(), 1..4);
    (vec(policy(), 1..4), vec(group(), 0..4), pods, vec(connection(), 12), vec(request(), 3)).prop_map(
        |(policies, groups, pods, connections, requests)| World { policies, groups, pods, connections, requests },
    )
}

fn group() -> impl Strategy<Value = String> {
    let labels = select(vec!["", "a: b", "a: c", "a: c, d: e", "d: e"]);
    (select(vec!["g0", "g1", "g2"]), labels, vec(select(NETS.to_vec()), 0..3), 0..8_u8).prop_map(
        |(name, labels, nets, fault)| {
            let spec = if fault == 0 { "externalCIDR" } else { "externalCIDRs" };
            let nets: Vec<String> = nets.iter().map(|net| format!("\"{net}\"")).collect();
            format!(
                "---\napiVersion: cilium.io/v2\nkind: CiliumCIDRGroup\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n\
                 spec: {{{spec}: [{}]}}\n",
                nets.join(", ")
            )
        },
    )
}

fn pod() -> impl Strategy<Value = Pod> {
    let name = || option::of(select(vec!["a", "b"]));
    (namespace(), name(), name(), option::of(select(vec![80_u16, 81]))).prop_map(|(namespace, app, tier, http)| Pod {
        namespace,
        app,
        tier,
        http,
    })
}

fn namespace() -> impl Strategy<Value = &'static str> {
    // Most in one, so that policies and pods meet.
    select(vec!["n", "n", "n", "n", "n", "m"])
}

fn connection() -> impl Strategy<Value = Connection> {
    let protocol = prop_oneof![8 => Just(Protocol::Tcp), 1 => Just(Protocol::Udp), 1 => Just(Protocol::Any)];
    let with_port = (protocol, select(vec![80_u16, 80, 80, 80, 81, 443]));
    let with_type = (select(vec![Protocol::Icmp, Protocol::Icmp6]), select(vec![8_u16, 8, 128, 0, 255]));
    let what = prop_oneof![10 => with_port, 2 => with_type];
    (0..1000_usize, 0..1000_usize, any::<bool>(), what)
        .prop_map(|(subject, peer, ingress, (protocol, port))| Connection { subject, peer, ingress, protocol, port })
}

fn request() -> impl Strategy<Value = Request> {
    let targets = vec!["/", "/a", "/a/b", "/ab", "/a/", "/b", "/a?b", "/b/../a", "/aa", "/a.b", "*"];
    let header = (select(vec!["x-a", "x-a", "x-b"]), select(vec!["1", "1", "2", ""]));
    let headers = prop_oneof![3 => vec(header, 0..4), 1 => Just(vec![("x-a", "1"), ("x-a", "2")])];
    (select(vec!["GET", "PUT", "GETX"]), select(targets), select(vec!["h", "h:80"]), headers)
        .prop_map(|(method, target, host, headers)| Request { method, target, host, headers })
}

pub(crate) fn policy() -> impl Strategy<Value = Policy> {
    let subject = prop_oneof![2 => Just(Selector::default()), 1 => selector()];
    let deny = || prop_oneof![2 => Just(Vec::new()), 1 => vec(entry(), 1..3)];
    let default_deny = [option::weighted(0.2, any::<bool>()), option::weighted(0.2, any::<bool>())];
    (namespace(), subject, vec(entry(), 0..4), vec(entry(), 0..3), deny(), deny(), default_deny).prop_map(
        |(namespace, subject, mut ingress, egress, mut ingress_deny, mut egress_deny, default_deny)| {
            let ports =
                ingress_deny.iter_mut().chain(&mut egress_deny).flat_map(|entry| entry.ports.iter_mut().flatten());
            ports.for_each(|rule| rule.http = None);
            if [&ingress, &egress, &ingress_deny, &egress_deny].iter().all(|entries| entries.is_empty()) {
                ingress.push(Entry { peers: Peers::Absent, ports: None, icmps: Vec::new() });
            }
            Policy { namespace, subject, ingress, egress, ingress_deny, egress_deny, default_deny, fault: None }
        },
    )
}

pub(crate) fn refused() -> impl Strategy<Value = Policy> {
    let faults = vec![
        Fault::UnknownField,
        Fault::Field,
        Fault::Entry,
        Fault::Pattern,
        Fault::Port,
        Fault::Subject,
        Fault::Version,
    ];
    (policy(), select(faults)).prop_map(|(policy, fault)| Policy { fault: Some(fault), ..policy })
}

fn selector() -> impl Strategy<Value = Selector> {
    let key = || select(vec!["app", "tier", "k8s:app", "any:tier"]);
    let values = || vec(select(vec!["a", "b"]), 1..3);
    let namespace = "k8s:io.kubernetes.pod.namespace";
    let requirement = prop_oneof![
        (key(), select(vec!["a", "b"])).prop_map(|(key, value)| Requirement::Is(key, value)),
        (key(), values()).prop_map(|(key, values)| Requirement::In(key, values)),
        (key(), values()).prop_map(|(key, values)| Requirement::NotIn(key, values)),
        key().prop_map(Requirement::Exists),
        key().prop_map(Requirement::DoesNotExist),
        select(vec!["n", "m"]).prop_map(move |name| Requirement::Is(namespace, name)),
        Just(Requirement::Exists(namespace)),
        Just(Requirement::NotIn("io.kubernetes.pod.namespace", vec!["n"])),
        Just(Requirement::Exists("reserved:host")),
        Just(Requirement::DoesNotExist("reserved:host")),
    ];
    prop_oneof![1 => Just(Selector::default()), 1 => vec(requirement, 1..3).prop_map(Selector)]
}

fn entry() -> impl Strategy<Value = Entry> {
    let peers = prop_oneof![
        7 => Just(Peers::Absent),
        1 => Just(Peers::Endpoints(Vec::new())),
        8 => vec(selector(), 1..3).prop_map(Peers::Endpoints),
        3 => vec(select(NETS.to_vec()), 0..3).prop_map(Peers::Cidrs),
        2 => vec(select(BLOCKS.to_vec()), 0..3).prop_map(Peers::CidrSet),
        2 => vec(select(ENTITIES.to_vec()), 0..3).prop_map(Peers::Entities),
    ];
    let ports = option::weighted(0.9, vec(port_rule(), 0..3));
    let icmps = option::weighted(0.12, vec(messages(), 1..3));
    (peers, ports, icmps).prop_map(|(peers, ports, icmps)| match icmps {
        Some(icmps) => Entry { peers, ports: None, icmps },
        None => Entry { peers, ports, icmps: Vec::new() },
    })
}

fn messages() -> impl Strategy<Value = Messages> {
    let message = vec![
        ("IPv4", "8"),
        ("IPv4", "EchoRequest"),
        ("IPv4", "0"),
        ("IPv4", "255"),
        ("IPv6", "8"),
        ("IPv6", "EchoRequest"),
        ("IPv6", "0"),
    ];
    vec(select(message), 0..3)
}

fn port_rule() -> impl Strategy<Value = PortRule> {
    let number = || select(vec!["80", "80", "81", "http", "80-81", "79-80", "81-65535"]);
    let any_port = (prop_oneof![5 => number(), 1 => Just("0")], select(vec!["TCP", "TCP", "UDP", "SCTP", "ANY", ""]));
    prop_oneof![
        1 => vec(any_port, 0..3).prop_map(|ports| PortRule { ports, http: None }),
        2 => (vec((number(), Just("TCP")), 1..3), vec(http(), 1..4))
            .prop_map(|(ports, http)| PortRule { ports, http: Some(http) }),
    ]
}

fn http() -> impl Strategy<Value = Http> {
    let methods = vec!["GET", "GET|PUT", "P.*", "G[A-Z]+", ""];
    let headers = vec!["X-A: 1", "X-A: 1", "X-A", "X-B 2", "x-a: 2", "X-A:1", "X-B: "];
    let names = select(vec!["X-A", "x-a", "X-B", "X-C"]);
    let actions = select(vec!["", "LOG", "ADD", "DELETE", "REPLACE"]);
    let matches = (names, select(vec!["1", "2", ""]), actions);
    let matches = matches.prop_map(|(name, value, action)| [name, value, action]);
    let path = prop_oneof![
        3 => select(vec!["/a", "/a/.*", "/a|/ab", "/.*", "/[ab]+", "^/a$", "/a(\\?.*)?", ".*", "/a\\.b"])
            .prop_map(str::to_owned),
        1 => pattern(),
    ];
    (
        option::weighted(0.5, select(methods)),
        option::weighted(0.7, path),
        option::weighted(0.3, select(vec!["h", "h:80", "h(:80)?", "."])),
        prop_oneof![1 => Just(Vec::new()), 1 => vec(select(headers), 1..3)],
        prop_oneof![2 => Just(Vec::new()), 1 => vec(matches, 1..4)],
    )
        .prop_map(|(method, path, host, headers, matches)| Http { method, path, host, headers, matches })
}

/// A pattern out of everything that `rules::oracle` reads.
pub(crate) fn pattern() -> impl Strategy<Value = String> {
    let atoms = vec!["/", "a", "b", "/a", "ab", ".", "\\.", "[ab]", "[^a]", "[a-c/]", "^", "$", "", ".*"];
    let leaf = select(atoms).prop_map(str::to_owned);
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            3 => vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            2 => vec(inner.clone(), 1..4).prop_map(|parts| parts.join("|")),
            1 => inner.clone().prop_map(|part| format!("(?:{part})")),
            2 => (inner, select(vec!["*", "+", "?", "*?", "+?", "??"])).prop_map(|(part, op)| format!("({part}){op}")),
        ]
    })
}
