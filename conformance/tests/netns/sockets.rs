//! Every kind of socket, in every family and direction, with every verdict: one table, each row with a name.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use anyhow::Result;
use conformance::{
    Node, Pod,
    node::ip,
    server::{self, Outcome, Server},
    skipped,
};
use serde_json::json;

const POLICIES: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: leaves, namespace: default}
spec:
  endpointSelector: {matchLabels: {leaving: policed}}
  egress:
    - toEndpoints: [{matchLabels: {app: api}}]
      toPorts:
        - ports: [{port: "8080", protocol: TCP}, {port: "8081", protocol: TCP}, {port: "8082", protocol: TCP}]
          rules: {http: [{method: GET, path: "/read.*"}]}
        - ports: [{port: "7080", protocol: TCP}, {port: "7081", protocol: TCP}, {port: "7082", protocol: TCP}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: enters, namespace: default}
spec:
  endpointSelector: {matchLabels: {entering: policed}}
  ingress:
    - fromEndpoints: [{matchLabels: {app: client}}]
      toPorts:
        - ports: [{port: "8080", protocol: TCP}, {port: "8081", protocol: TCP}, {port: "8082", protocol: TCP}]
          rules: {http: [{method: GET, path: "/read.*"}]}
        - ports: [{port: "7080", protocol: TCP}, {port: "7081", protocol: TCP}, {port: "7082", protocol: TCP}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: alone, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: alone}}
  ingress: [{}]
  ingressDeny: [{fromEntities: [all]}]
  egressDeny: [{toEntities: [all]}]
"#;

/// Kinds of `conformance/src/pod/socket.rs`; a bound one by what it is bound to.
const KINDS: [&str; 12] = [
    "plain",
    "non-blocking",
    "bound-address",
    "bound-port",
    "bound-address-port",
    "device",
    "unicast-if",
    "fast-open",
    "fast-open-connect",
    "mptcp",
    "again",
    "mptcp-again",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
    /// An IPv6 socket that talks IPv4.
    Mapped,
}

const FAMILIES: [Family; 3] = [Family::V4, Family::V6, Family::Mapped];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    /// The client's policy judges.
    Egress,
    /// The server's does.
    Ingress,
    /// Both do.
    Both,
    /// None does.
    Neither,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The proxy lets the request pass.
    Allowed,
    /// The proxy answers 403.
    Denied,
    /// The kernel refuses the connection.
    Refused,
    /// The connection does not meet the proxy.
    Direct,
}

/// How the server listens; each has ports of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listening {
    /// On `[::]`, which takes IPv4 too.
    Everywhere,
    /// The same with `IPPROTO_MPTCP`.
    Mptcp,
    /// On the pod's addresses, each with a socket of its own family.
    OnAddresses,
}

#[derive(Clone, Copy)]
struct Row {
    number: u16,
    kind: &'static str,
    family: Family,
    direction: Direction,
    listening: Listening,
    verdict: Verdict,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, kind, family, direction, listening, verdict } = self;
        write!(f, "{number}: {kind}, {family:?}, {direction:?}, server {listening:?}, {verdict:?}")
    }
}

fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for direction in [Direction::Egress, Direction::Ingress, Direction::Both, Direction::Neither] {
        for listening in [Listening::Everywhere, Listening::Mptcp, Listening::OnAddresses] {
            for kind in KINDS {
                // What the server's socket is like matters to no client's but to an MPTCP one.
                if listening != Listening::Everywhere && !["plain", "mptcp"].contains(&kind) {
                    continue;
                }
                for family in FAMILIES {
                    for verdict in [Verdict::Allowed, Verdict::Denied, Verdict::Refused, Verdict::Direct] {
                        if direction == Direction::Neither && verdict != Verdict::Direct {
                            continue;
                        }
                        let number = u16::try_from(rows.len()).unwrap_or_default();
                        rows.push(Row { number, kind, family, direction, listening, verdict });
                    }
                }
            }
        }
    }
    rows
}

impl Family {
    fn address(self, pod: &Pod) -> IpAddr {
        match self {
            Self::V4 => pod.v4.into(),
            Self::V6 => pod.v6.into(),
            Self::Mapped => pod.v4.to_ipv6_mapped().into(),
        }
    }

    fn any(self) -> IpAddr {
        if self == Self::V4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
    }
}

impl Row {
    fn port(&self) -> u16 {
        let last = match self.listening {
            Listening::Everywhere => 80,
            Listening::Mptcp => 81,
            Listening::OnAddresses => 82,
        };
        last + match self.verdict {
            Verdict::Allowed | Verdict::Denied => 8000,
            Verdict::Refused => 9000,
            Verdict::Direct => 7000,
        }
    }

    /// Nobody else asks for it.
    fn path(&self) -> String {
        format!("/{}/{}", if self.verdict == Verdict::Denied { "write" } else { "read" }, self.number)
    }

    fn arrives(&self) -> bool {
        matches!(self.verdict, Verdict::Allowed | Verdict::Direct)
    }

    fn dial(&self, client: &Pod, api: &Pod) -> Result<Outcome> {
        let port = 20_000 + self.number;
        let (kind, bind) = match self.kind {
            "bound-address" => ("bound", SocketAddr::new(self.family.address(client), 0)),
            "bound-port" => ("bound", SocketAddr::new(self.family.any(), port)),
            "bound-address-port" => ("bound", SocketAddr::new(self.family.address(client), port)),
            // Where one that connects again was before: it was redirected, or was not.
            kind if self.verdict == Verdict::Direct => (kind, SocketAddr::new(self.family.address(api), 8080)),
            kind => (kind, SocketAddr::new(self.family.address(api), 7080)),
        };
        server::dial(client, kind, SocketAddr::new(self.family.address(api), self.port()), &self.path(), bind)
    }

    /// What is wrong with what came of it.
    fn fault(&self, outcome: &Outcome, client: &Pod, api: &Pod) -> Option<&'static str> {
        if self.verdict == Verdict::Refused {
            return (!outcome.is_refused()).then_some("not refused");
        }
        let status = if self.verdict == Verdict::Denied { 403 } else { 200 };
        if outcome.status != Some(status) {
            return Some("another status");
        }
        let target = SocketAddr::new(self.family.address(api), self.port());
        if outcome.peer != Some(target) {
            return Some("getpeername() of the client");
        }
        let Some(local) = outcome.local.filter(|local| local.ip() == self.family.address(client)) else {
            return Some("getsockname() of the client");
        };
        if self.kind.ends_with("-port") && local.port() != 20_000 + self.number {
            return Some("its port");
        }
        if !self.arrives() {
            return outcome.served.as_ref().map(|_| "answered by the server");
        }
        let Some(served) = &outcome.served else { return Some("not answered by the server") };
        if served.target != self.path() || served.accepted != served.peer {
            return Some("accept() of the server differs from its getpeername()");
        }
        // A server that listens for both families is told both in IPv6 form.
        let form = |address: IpAddr| match (self.listening, address.to_canonical()) {
            (Listening::OnAddresses, canonical) => canonical,
            (_, IpAddr::V4(four)) => four.to_ipv6_mapped().into(),
            (_, six) => six,
        };
        if served.local != SocketAddr::new(form(target.ip()), target.port()) {
            return Some("getsockname() of the server");
        }
        if served.peer.ip() != form(local.ip()) {
            return Some("the client as the server sees it");
        }
        // One connection from end to end, or as if it were; the client's own proxy has a connection of its own.
        let same = self.verdict == Verdict::Direct || self.direction == Direction::Ingress;
        (same && served.peer.port() != local.port()).then_some("the client's port as the server sees it")
    }
}

struct Stage {
    node: Node,
    policed: Pod,
    free: Pod,
    guarded: Pod,
    open: Pod,
    servers: Vec<Server>,
}

/// Both ends take data in the SYN, also of who was never here before.
const FAST_OPEN: &str = "1543";

fn stage() -> Result<Stage> {
    let mut node = Node::new()?;
    let policed = node.pod("default/policed", &[("app", "client"), ("leaving", "policed")])?;
    let free = node.pod("default/free", &[("app", "client")])?;
    let guarded = node.pod("default/guarded", &[("app", "api"), ("entering", "policed")])?;
    let open = node.pod("default/open", &[("app", "api")])?;
    for pod in [&policed, &free, &guarded, &open] {
        pod.sysctl("net/ipv4/tcp_fastopen", FAST_OPEN)?;
        if has_mptcp() {
            pod.sysctl("net/mptcp/enabled", "1")?;
        }
    }
    let mut servers = Vec::new();
    for api in [&guarded, &open] {
        for thousands in [7000, 8000, 9000] {
            servers.push(server::http_at(api, &format!("[::]:{}", thousands + 80))?);
            if has_mptcp() {
                servers.push(server::mptcp(api, &format!("[::]:{}", thousands + 81))?);
            }
            for address in api.addresses() {
                servers.push(server::http_at(api, &SocketAddr::new(address, thousands + 82).to_string())?);
            }
        }
    }
    node.write_manifest("policy.yaml", POLICIES)?;
    node.start()?;
    Ok(Stage { node, policed, free, guarded, open, servers })
}

fn has_mptcp() -> bool {
    Path::new("/proc/sys/net/mptcp/enabled").exists()
}

/// Whether the kernel can do it. Nothing that a test can set up makes it able to.
fn is_offered(row: &Row) -> bool {
    has_mptcp() || !(row.kind.starts_with("mptcp") || row.listening == Listening::Mptcp)
}

#[test]
fn every_kind_of_socket() -> Result<()> {
    let Stage { node, policed, free, guarded, open, servers } = stage()?;
    let (rows, others): (Vec<Row>, Vec<Row>) = rows().into_iter().partition(is_offered);
    for row in others {
        skipped(format_args!("{row}: this kernel is built without MPTCP"));
    }
    let mut wrong = Vec::new();
    for row in &rows {
        let (client, api) = match row.direction {
            Direction::Egress => (&policed, &open),
            Direction::Ingress => (&free, &guarded),
            Direction::Both => (&policed, &guarded),
            Direction::Neither => (&free, &open),
        };
        let outcome = row.dial(client, api)?;
        if let Some(fault) = row.fault(&outcome, client, api) {
            wrong.push(format!("{row}: {fault}: {outcome:?}"));
        }
    }
    let mut arrived = BTreeSet::new();
    for server in &servers {
        arrived.extend(server.seen()?.into_iter().map(|seen| seen.target));
    }
    let meant: BTreeSet<String> = rows.iter().filter(|row| row.arrives()).map(Row::path).collect();
    wrong.extend(arrived.difference(&meant).map(|path| format!("{path}: reached the server")));
    assert!(wrong.is_empty(), "{} of {}:\n{}\n{}", wrong.len(), rows.len(), wrong.join("\n"), node.log());
    Ok(())
}

/// An address by which a pod reaches itself.
#[derive(Clone, Copy, Debug)]
enum Itself {
    Own(Family),
    Loopback(Family),
    /// 0.0.0.0 and its like: the kernel takes them for loopback.
    Unspecified(Family),
}

impl Itself {
    fn family(self) -> Family {
        let (Self::Own(family) | Self::Loopback(family) | Self::Unspecified(family)) = self;
        family
    }

    fn address(self, pod: &Pod) -> IpAddr {
        match self {
            Self::Own(family) => family.address(pod),
            Self::Loopback(family) => family.loopback(),
            Self::Unspecified(family) => family.any(),
        }
    }
}

impl Family {
    fn loopback(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::LOCALHOST.into(),
            Self::V6 => Ipv6Addr::LOCALHOST.into(),
            Self::Mapped => Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(),
        }
    }
}

/// What a pod sees when it asks itself: result, errno, status, and whether each address is the pod's own.
type Mirror = (String, Option<i32>, Option<u16>, [Option<String>; 3]);

fn mirror(pod: &Pod, kind: &str, itself: Itself, port: u16) -> Result<Mirror> {
    let family = itself.family();
    let target = SocketAddr::new(itself.address(pod), port);
    let (kind, bind) = match kind {
        "bound-address" => ("bound", SocketAddr::new(family.address(pod), 0)),
        "bound-loopback" => ("bound", SocketAddr::new(family.loopback(), 0)),
        "bound-port" => ("bound", SocketAddr::new(family.any(), 20_000)),
        kind => (kind, target),
    };
    let outcome = server::dial(pod, kind, target, "/", bind)?;
    let named = |end: Option<SocketAddr>| {
        let own = |end: SocketAddr| pod.addresses().contains(&end.ip().to_canonical());
        end.map(|end| if own(end) { "own".to_owned() } else { end.ip().to_string() })
    };
    let ends = [outcome.peer, outcome.local, outcome.served.map(|served| served.accepted)].map(named);
    Ok((outcome.result, outcome.errno, outcome.status, ends))
}

#[test]
fn a_pod_s_own_traffic_is_as_without_us() -> Result<()> {
    let mut node = Node::new()?;
    let alone = node.pod("default/alone", &[("app", "alone")])?;
    let stranger = node.stranger()?;
    let mut servers = Vec::new();
    for pod in [&alone, &stranger] {
        pod.sysctl("net/ipv4/tcp_fastopen", FAST_OPEN)?;
        servers.push(server::http_at(pod, "[::]:8080")?);
        if has_mptcp() {
            pod.sysctl("net/mptcp/enabled", "1")?;
            servers.push(server::mptcp(pod, "[::]:8081")?);
        }
    }
    node.write_manifest("policy.yaml", POLICIES)?;
    node.start()?;
    let mut wrong = Vec::new();
    for kind in KINDS.into_iter().chain(["bound-loopback"]).filter(|kind| *kind != "bound-address-port") {
        for itself in FAMILIES.into_iter().flat_map(|f| [Itself::Own(f), Itself::Loopback(f), Itself::Unspecified(f)]) {
            if kind == "device" && !matches!(itself, Itself::Own(_)) {
                continue; // The kernel lets what is bound to another interface wait for loopback.
            }
            for port in [8080, 8081] {
                if !has_mptcp() && (port == 8081 || kind.starts_with("mptcp")) {
                    skipped(format_args!("{kind}, {itself:?}, {port}: this kernel is built without MPTCP"));
                    continue;
                }
                let (ours, theirs) = (mirror(&alone, kind, itself, port)?, mirror(&stranger, kind, itself, port)?);
                if ours != theirs {
                    wrong.push(format!("{kind}, {itself:?}, {port}: {ours:?}, and without us {theirs:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}\n{:#?}", wrong.len(), wrong.join("\n"), node.flows()?);
    assert!(node.flows()?.is_empty(), "nobody had to judge it");
    for (from, to) in [(&alone, &stranger), (&stranger, &alone)] {
        for address in to.addresses() {
            assert!(server::connect(from, (address, 8080), None)?.is_refused(), "{address}: the policy is in force");
        }
    }
    Ok(())
}

/// A pod with two addresses of each family, whose routes prefer the second.
#[test]
fn the_server_sees_the_source_that_it_would_see_without_us() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/policed", &[("app", "client"), ("leaving", "policed")])?;
    let api = node.pod("default/open", &[("app", "api")])?;
    let net = client.v4.octets();
    let second_v4 = Ipv4Addr::new(net[0], net[1], net[2], 200);
    let mut segments = client.v6.segments();
    segments[7] = 0x200;
    let second_v6 = Ipv6Addr::from(segments);
    let netns = client.netns().name();
    for (second, prefix) in [(IpAddr::from(second_v4), 24), (second_v6.into(), 64)] {
        client.add_address(&format!("{second}/{prefix}"))?;
        let target = if second.is_ipv4() { api.v4.to_string() } else { api.v6.to_string() };
        ip(&["-n", netns, "route", "replace", &target, "dev", "eth0", "src", &second.to_string()])?;
    }
    node.endpoints_mut()[0]["addresses"] = json!([client.v4, client.v6, second_v4, second_v6]);
    let _servers = [server::http_at(&api, "[::]:7080")?, server::http_at(&api, "[::]:8080")?];
    node.write_manifest("policy.yaml", POLICIES)?;
    node.start()?;
    let mapped = [client.v4, second_v4].map(|four| IpAddr::from(four.to_ipv6_mapped()));
    let sources = [
        (Family::V4, [client.v4.into(), second_v4.into()]),
        (Family::V6, [client.v6.into(), second_v6.into()]),
        (Family::Mapped, mapped),
    ];
    for (family, addresses) in sources {
        let any = SocketAddr::new(family.any(), 0);
        let seen = |kind: &str, bind: SocketAddr, port: u16| -> Result<Option<IpAddr>> {
            let target = SocketAddr::new(family.address(&api), port);
            Ok(server::dial(&client, kind, target, "/read", bind)?.served.map(|served| served.peer.ip()))
        };
        assert_eq!(seen("plain", any, 8080)?, seen("plain", any, 7080)?, "{family:?}, of the kernel's choice");
        assert_eq!(seen("plain", any, 8080)?.map(|ip| ip.to_canonical()), Some(addresses[1].to_canonical()));
        for address in addresses {
            let (redirected, direct) =
                (seen("bound", SocketAddr::new(address, 0), 8080)?, seen("bound", SocketAddr::new(address, 0), 7080)?);
            assert_eq!(redirected.map(|ip| ip.to_canonical()), Some(address.to_canonical()), "{family:?}");
            assert_eq!(redirected, direct, "{family:?}");
        }
    }
    Ok(())
}
