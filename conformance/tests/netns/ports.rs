//! Local ports: what a pod can hold and open without us, it can with us. Pods here have few, so that the end is near.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use conformance::{
    Node, Pod, Process,
    server::{self, Crowd, First, Server, Tally, sequence},
    skipped,
};
use rustix::process::{Resource, getrlimit};

/// The client's egress and the API's ingress go through the proxy, on every port of these tests.
const POLICIES: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: leaves, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
    - toPorts: [{ports: [{port: "8000", endPort: 8099, protocol: TCP}], rules: {http: [{method: GET, path: "/read.*"}]}}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: enters, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: guarded}}
  ingress:
    - toPorts: [{ports: [{port: "8000", endPort: 8099, protocol: TCP}], rules: {http: [{method: GET, path: "/read.*"}]}}]
"#;

/// A hundred ports.
const FEW: &str = "40000 40099";

struct Stage {
    /// Its connections go through the proxy.
    client: Pod,
    /// Connections to it do.
    guarded: Pod,
    /// Pods without us.
    free: Pod,
    open: Pod,
    node: Node,
}

fn stage() -> Result<Stage> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let guarded = node.pod("default/guarded", &[("app", "guarded")])?;
    let (free, open) = (node.stranger()?, node.stranger()?);
    for pod in [&client, &guarded, &free] {
        pod.sysctl("net/ipv4/ip_local_port_range", FEW)?;
    }
    node.write_manifest("policy.yaml", POLICIES)?;
    node.start()?;
    Ok(Stage { client, guarded, free, open, node })
}

struct Servers {
    _process: Process,
    /// Where they are, one family after the other.
    targets: [Vec<SocketAddr>; 2],
}

/// Servers on so many ports of every address of a pod.
fn servers(pod: &Pod, number: u16) -> Result<Servers> {
    let on = |address: IpAddr| (0..number).map(|port| SocketAddr::new(address, 8000 + port)).collect::<Vec<_>>();
    let targets = pod.addresses().map(on);
    Ok(Servers { _process: server::crowd(pod, &targets.concat())?, targets })
}

fn all_good(tally: &Tally, number: usize) {
    assert!(tally.failed.is_empty() && tally.good == number, "{number} expected: {tally:?}");
}

/// More destinations than ports that stand for them: were each destination's always the same, two would share one, and its
/// hundred local ports.
#[test]
fn many_destinations_at_once() -> Result<()> {
    let stage = stage()?;
    let Stage { client, open, .. } = &stage;
    let servers = servers(open, 70)?;
    let [targets, _] = &servers.targets;
    let (mut crowd, opened) = Crowd::open(client, "/read", 52, None, targets)?;
    all_good(&opened, 52 * 70);
    all_good(&crowd.again()?, 52 * 70);
    Ok(())
}

/// 4-tuples of the same port differ by their destinations, and so do those that we send it to.
#[test]
fn many_destinations_from_one_port() -> Result<()> {
    let stage = stage()?;
    let Stage { client, free, open, .. } = &stage;
    let servers = servers(open, 50)?;
    for targets in &servers.targets {
        for pod in [free, client] {
            let any = if targets[0].is_ipv4() { "0.0.0.0:30000" } else { "[::]:30000" };
            let (_crowd, opened) = Crowd::open(pod, "/read", 1, Some(any.parse()?), targets)?;
            all_good(&opened, 50);
        }
    }
    Ok(())
}

/// A socket that is bound to an address has a port for itself. The proxy's, which has the same address, has not.
#[test]
fn a_chosen_source_address() -> Result<()> {
    let stage = stage()?;
    let Stage { client, free, open, .. } = &stage;
    let servers = servers(open, 2)?;
    for (family, targets) in servers.targets.iter().enumerate() {
        for pod in [free, client] {
            let own = SocketAddr::new(pod.addresses()[family], 0);
            let (_crowd, opened) = Crowd::open(pod, "/read", 30, Some(own), targets)?;
            all_good(&opened, 60);
        }
    }
    Ok(())
}

/// The server closes first, and is who waits for the last packets.
#[test]
fn one_destination_again_and_again() -> Result<()> {
    let stage = stage()?;
    let Stage { client, free, open, .. } = &stage;
    let _server = server::http_at(open, "[::]:8080")?;
    for address in open.addresses() {
        for pod in [free, client] {
            all_good(&sequence(pod, "/read", 300, First::Server, (address, 8080).into())?, 300);
        }
    }
    Ok(())
}

/// The client closes first, and has no port left to wait on after a hundred: with us as without.
#[test]
fn one_destination_is_not_worse_than_without_us() -> Result<()> {
    let stage = stage()?;
    let Stage { client, free, open, .. } = &stage;
    let _server = server::http_at(open, "[::]:8080")?;
    for address in open.addresses() {
        let tally = |pod| sequence(pod, "/read", 300, First::Client, (address, 8080).into());
        let (ours, theirs) = (tally(client)?, tally(free)?);
        assert!(theirs.good < 300, "this kernel does not keep ports: {theirs:?}");
        assert!(ours.good >= theirs.good, "{ours:?}, and without us {theirs:?}");
    }
    Ok(())
}

/// A server has no use for local ports, so it cannot lack them, nor do its own connections.
#[test]
fn what_enters_takes_no_ports() -> Result<()> {
    let stage = stage()?;
    let Stage { guarded, open, node, .. } = &stage;
    let _server: Server = server::http_at(guarded, "[::]:8080")?;
    let servers = servers(open, 1)?;
    for (address, targets) in guarded.addresses().into_iter().zip(&servers.targets) {
        let target = (address, 8080).into();
        for first in [First::Client, First::Server] {
            all_good(&sequence(open, "/read", 300, first, target)?, 300);
        }
        let (mut crowd, opened) = Crowd::open(open, "/read", 95, None, &[target])?;
        all_good(&opened, 95);
        let (_own, own) = Crowd::open(guarded, "/read", 95, None, targets)?;
        all_good(&own, 95);
        all_good(&crowd.again()?, 95);
    }
    assert_eq!(node.status()?.counters.get("upstream_failures"), Some(&0));
    Ok(())
}

/// Real numbers: the usual local ports, and as many connections as one process may have file descriptors for.
#[test]
fn fifty_thousand_at_once() -> Result<()> {
    const WANTED: usize = 50_000;
    const PER_CLIENT: usize = 10_000;
    const TARGETS: u16 = 4;
    let stage = stage()?;
    let Stage { client, open, node, .. } = &stage;
    client.sysctl("net/ipv4/ip_local_port_range", "32768 60999")?;
    let limit = getrlimit(Resource::Nofile).maximum.map_or(Ok(usize::MAX), usize::try_from)?;
    // Two for each connection, some for all else, and a twentieth of the places is for other pods.
    let total = WANTED.min(limit.saturating_sub(1_000) / 2 / 20 * 19);
    if total < WANTED {
        skipped(format_args!("{} of {WANTED} connections: a process may have {limit} descriptors", WANTED - total));
    }
    let mut crowds = Vec::new();
    let mut rest = total;
    for index in 0.. {
        let count = rest.min(PER_CLIENT) / usize::from(TARGETS);
        if count == 0 {
            break;
        }
        let ip = open.addresses()[index % 2];
        let first = 8000 + TARGETS * u16::try_from(index)?;
        let targets: Vec<SocketAddr> = (first..first + TARGETS).map(|port| SocketAddr::new(ip, port)).collect();
        let server = server::crowd(open, &targets)?;
        let (crowd, opened) = Crowd::open(client, "/read", count, None, &targets)?;
        all_good(&opened, count * targets.len());
        rest -= count * targets.len();
        crowds.push((crowd, server, count * targets.len()));
    }
    for (crowd, _server, count) in &mut crowds {
        all_good(&crowd.again()?, *count);
    }
    let redirected = node.status()?.counters.get("kernel_redirected_connects").copied();
    assert_eq!(redirected, Some(u64::try_from(total - rest)?), "all of them went through the proxy");
    Ok(())
}

/// Whose connection to the application failed is not who connects from the same port later.
#[test]
fn a_client_that_the_server_never_saw_is_forgotten() -> Result<()> {
    let stage = stage()?;
    let Stage { guarded, open, .. } = &stage;
    for address in guarded.addresses() {
        let target = (address, 8080).into();
        let tally = sequence(open, "/read", 200, First::Client, target)?;
        assert_eq!(tally.good, 0, "nobody listens: {tally:?}");
        let _server = server::http_at(guarded, "[::]:8080")?;
        for _ in 0..20 {
            let own = server::dial(guarded, "plain", target, "/read", target)?;
            assert_eq!(own.served.map(|served| served.peer), own.local.map(in_v6_form));
        }
    }
    Ok(())
}

fn in_v6_form(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(four) => four.to_ipv6_mapped(),
        IpAddr::V6(six) => six,
    };
    SocketAddr::new(ip.into(), address.port())
}

/// A pod's own ports may be those that its redirected connections are sent to: no socket may meet itself there.
#[test]
fn a_port_range_that_has_ours_in_it() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let open = node.stranger()?;
    client.sysctl("net/ipv4/ip_local_port_range", "15000 15064")?;
    let _server = server::http_at(&open, "[::]:8080")?;
    node.write_manifest("policy.yaml", POLICIES)?;
    node.start()?;
    for address in open.addresses() {
        all_good(&sequence(&client, "/read", 500, First::Server, (address, 8080).into())?, 500);
    }
    Ok(())
}
