use rules::{
    InForce,
    manifest::{self, Document},
};

use super::*;
use crate::{app::Assembler, config, endpoint::EndpointId};

/// `a` may reach port 80 of `b`, and 8080 with HTTP rules; from `b` it takes port 7000 only, and from others nothing.
const POLICY: &str = "
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p}
spec:
  endpointSelector: {matchLabels: {app: a}}
  egress:
  - toEndpoints: [{matchLabels: {app: b}}]
    toPorts:
    - {ports: [{port: '80'}]}
    - {ports: [{port: '8080', protocol: TCP}], rules: {http: [{method: GET}]}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: b}}]
    toPorts:
    - {ports: [{port: '7000'}]}
    - {ports: [{port: '7070', protocol: TCP}], rules: {http: [{method: GET}]}}
";

const CONFIG: &str = "
endpoints:
- {pod: default/a, netns: a, addresses: [10.0.0.1, 'fd00::1'], labels: {app: a}}
remotes: [{pod: default/b, addresses: [10.0.0.2, 'fd00::2'], labels: {app: b}}]
host: {addresses: [10.0.0.9]}
";

fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("l7proxy.yaml");
    std::fs::write(&file, CONFIG).unwrap();
    let policy = |document| match document {
        Document::Policy(policy) => InForce::Policy(policy),
        Document::Refused(_) | Document::Unattributable { .. } | Document::Skipped { .. } => panic!("{document:?}"),
    };
    let policies: Vec<InForce> = manifest::parse(POLICY).into_iter().map(policy).collect();
    Assembler::default().assemble(&config::load(&file).unwrap(), &policies, 1).world
}

fn flow(transport: Transport, local: &str, remote: &str) -> Flow {
    Flow::unnamed(transport, local.parse().unwrap(), remote.parse().unwrap())
}

fn tcp(opener: Opener, local: &str, remote: &str) -> Flow {
    let mut flow = flow(Transport::Tcp, local, remote);
    flow.opener = Some(opener);
    flow
}

struct Case {
    patient: bool,
    listening: &'static [&'static str],
}

impl Case {
    fn fate(&self, flow: &Flow) -> Fate {
        let world = world();
        let mut listening = Listening::default();
        for local in self.listening {
            for transport in [Transport::Tcp, Transport::Udp] {
                listening.add(&self::flow(transport, local, "0.0.0.0:0"));
            }
        }
        let endpoint = &world.endpoints[&EndpointId(1)];
        Judge { world: &world, endpoint, host_allowed: true, listening, patient: self.patient }.fate(flow)
    }
}

const NOW: Case = Case { patient: false, listening: &[] };
const STAYS: Fate = Fate::Stays;

fn ends(direction: Direction, needs_proxy: bool) -> Fate {
    Fate::Ends { direction, needs_proxy }
}

#[test]
fn the_direction_of_its_opener_decides() {
    use Direction::{Egress, Ingress};
    use Opener::{Local, Remote};
    let cases = [
        (Local, "10.0.0.1:40000", "10.0.0.2:80", STAYS),
        (Local, "10.0.0.1:40000", "10.0.0.2:81", ends(Egress, false)),
        (Local, "10.0.0.1:40000", "10.0.0.2:8080", ends(Egress, true)),
        (Local, "10.0.0.1:40000", "192.0.2.1:80", ends(Egress, false)),
        (Local, "10.0.0.1:40000", "10.0.0.9:80", ends(Egress, false)),
        (Local, "[fd00::1]:40000", "[fd00::2]:80", STAYS),
        (Local, "[fd00::1]:40000", "[fd00::2]:81", ends(Egress, false)),
        (Remote, "10.0.0.1:7000", "10.0.0.2:40000", STAYS),
        (Remote, "10.0.0.1:7001", "10.0.0.2:40000", ends(Ingress, false)),
        (Remote, "10.0.0.1:7070", "10.0.0.2:40000", ends(Ingress, true)),
        (Remote, "10.0.0.1:7000", "192.0.2.1:40000", ends(Ingress, false)),
        // The node itself may enter.
        (Remote, "10.0.0.1:7001", "10.0.0.9:40000", STAYS),
        // Whoever opened it: a port that would be allowed the other way is of no use.
        (Remote, "10.0.0.1:40000", "10.0.0.2:80", ends(Ingress, false)),
        (Local, "10.0.0.1:7000", "10.0.0.2:40000", ends(Egress, false)),
    ];
    for (opener, local, remote, fate) in cases {
        assert_eq!(NOW.fate(&tcp(opener, local, remote)), fate, "{opener:?} {local} {remote}");
    }
}

#[test]
fn the_proxy_s_own_and_the_pod_s_own_are_left() {
    let mut marked = tcp(Opener::Local, "10.0.0.1:40000", "10.0.0.2:81");
    marked.mark = OWN_SOCKET;
    assert_eq!(NOW.fate(&marked), STAYS);
    for mark in [ALLOWED_SOCKET, ACCEPTED_SOCKET] {
        marked.mark = mark;
        assert_eq!(NOW.fate(&marked), ends(Direction::Egress, false), "mark {mark} is not the proxy's");
    }
    for remote in ["127.0.0.1:81", "10.0.0.1:15001", "10.0.0.1:81", "[fd00::1]:81", "[::1]:81"] {
        assert_eq!(NOW.fate(&tcp(Opener::Local, "10.0.0.1:40000", remote)), STAYS, "{remote}");
    }
    let link_local = |remote| NOW.fate(&tcp(Opener::Local, "[fe80::1]:40000", remote));
    assert_eq!(link_local("[fe80::1]:81"), STAYS);
    assert_eq!(link_local("[fe80::2]:81"), ends(Direction::Egress, false));
}

#[test]
fn without_evidence_it_waits_for_the_next_look() {
    let patient = Case { patient: true, listening: &["0.0.0.0:7000"] };
    let accepted = flow(Transport::Tcp, "10.0.0.1:7000", "10.0.0.2:40000");
    assert_eq!(patient.fate(&accepted), Fate::Undecided, "may have entered and may not have left");
    let neither = flow(Transport::Tcp, "10.0.0.1:40000", "192.0.2.1:81");
    assert_eq!(patient.fate(&neither), ends(Direction::Egress, false), "denied either way");
}

#[test]
fn what_the_hooks_saw_is_evidence() {
    let patient = Case { patient: true, listening: &[] };
    let mut busy = flow(Transport::Tcp, "10.0.0.1:7000", "10.0.0.2:40000");
    busy.mark = ACCEPTED_SOCKET;
    assert_eq!(patient.fate(&busy), STAYS);
    busy.mark = ALLOWED_SOCKET;
    assert_eq!(patient.fate(&busy), ends(Direction::Egress, false));
}

#[test]
fn at_the_last_look_who_listens_counts() {
    let accepted = flow(Transport::Tcp, "10.0.0.1:7000", "10.0.0.2:40000");
    for (listening, fate) in [
        (&["0.0.0.0:7000"][..], STAYS),
        (&["[::]:7000"], STAYS),
        (&["10.0.0.1:7000"], STAYS),
        (&["127.0.0.1:7000"], ends(Direction::Egress, false)),
        (&[], ends(Direction::Egress, false)),
    ] {
        assert_eq!(Case { patient: false, listening }.fate(&accepted), fate, "{listening:?}");
    }
}

#[test]
fn a_handshake_that_the_proxy_may_take_is_left_to_it() {
    let half = |local| {
        let mut flow = tcp(Opener::Remote, local, "10.0.0.2:40000");
        flow.half_open = true;
        flow
    };
    assert_eq!(NOW.fate(&half("10.0.0.1:7070")), Fate::Undecided);
    assert_eq!(NOW.fate(&half("10.0.0.1:7001")), ends(Direction::Ingress, false));
}

#[test]
fn connected_udp_left_the_pod_unless_its_port_is_a_server_s() {
    let asked = flow(Transport::Udp, "10.0.0.1:40000", "10.0.0.2:80");
    let denied = flow(Transport::Udp, "10.0.0.1:40000", "10.0.0.2:81");
    assert_eq!((NOW.fate(&asked), NOW.fate(&denied)), (STAYS, ends(Direction::Egress, false)));
    let answers = flow(Transport::Udp, "10.0.0.1:7000", "10.0.0.2:40000");
    assert_eq!(NOW.fate(&answers), ends(Direction::Egress, false));
    let server = Case { patient: true, listening: &["0.0.0.0:7000"] };
    assert_eq!(server.fate(&answers), STAYS);
}
