//! Addresses of Services, beside the pods behind them: all of those must allow it.
//!
//! Start at [`check`].

use proptest::{prelude::*, test_runner::TestCaseError};
use rules::{
    DirectionPolicy, Frontend, FrontendPort, Identity, InForce, L4Verdict, PathOptions, Protocol, RequestView,
    Resolver, Subject, Target, Verdict,
};

use super::{
    answer::by_map,
    generate::{Known, World},
};

const SERVICE: Identity = Identity(1 << 25);
/// Of the Service; targets are generated.
const PORT: u16 = 8000;

/// How often each was seen of Services with several pods.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) allowed: u32,
    pub(crate) denied: u32,
    /// Some of the pods may be connected to.
    pub(crate) mixed: u32,
    pub(crate) passed: u32,
    pub(crate) refused: u32,
}

/// `targets`: numbers of peers, modulo what there is, and ports.
pub(crate) fn check(
    world: &World,
    known: &Known,
    policies: &[InForce],
    targets: &[(usize, u16)],
    seen: &mut Seen,
) -> Result<(), TestCaseError> {
    let targets: Vec<Target> = targets
        .iter()
        .map(|(peer, port)| Target { identity: known.peers[peer % known.peers.len()], port: *port })
        .collect();
    let port = FrontendPort { protocol: Protocol::Tcp, port: PORT, targets: targets.clone() };
    let frontend = Frontend { identity: SERVICE, ports: vec![port], otherwise: Identity::WORLD };
    for (labels, named) in known.pods.iter().zip(&known.named) {
        let resolver = Resolver::new(policies, &known.identities, &[], &named.peers);
        let subject = Subject { labels, addresses: &[], ports: &named.own };
        let policy = resolver.fronted(vec![frontend.clone()]).endpoint(&subject);
        let egress = &*policy.egress;
        connection(egress, &targets, seen)?;
        for request in &world.requests {
            let headers = request.headers();
            let options = PathOptions::default();
            let view = RequestView::new(request.method, request.target.as_bytes(), false, &headers, &options);
            let Ok(view) = view else { continue };
            let passes = |peer, port| matches!(egress.evaluate(peer, port, &view), Verdict::Allow(_));
            let all = !targets.is_empty() && targets.iter().all(|target| passes(target.identity, target.port));
            if egress.enforced() {
                prop_assert_eq!(passes(SERVICE, PORT), all);
                *(if all { &mut seen.passed } else { &mut seen.refused }) += u32::from(targets.len() > 1);
            }
        }
    }
    Ok(())
}

fn connection(egress: &DirectionPolicy, targets: &[Target], seen: &mut Seen) -> Result<(), TestCaseError> {
    if !egress.enforced() {
        return Ok(());
    }
    let of_pods: Vec<L4Verdict> =
        targets.iter().map(|target| egress.l4(target.identity, Protocol::Tcp, target.port)).collect();
    let denied = of_pods.iter().filter(|verdict| matches!(verdict, L4Verdict::Denied(_))).count();
    let asked = of_pods.contains(&L4Verdict::Redirect);
    let service = egress.l4(SERVICE, Protocol::Tcp, PORT);
    match service {
        L4Verdict::Denied(_) => prop_assert!(denied > 0 || targets.is_empty()),
        L4Verdict::Redirect => prop_assert!(denied == 0 && asked),
        L4Verdict::Allowed(_) => prop_assert!(denied == 0 && !asked && !targets.is_empty()),
        L4Verdict::NotEnforced => prop_assert!(false, "it is enforced"),
    }
    if targets.len() > 1 {
        seen.allowed += u32::from(denied == 0);
        seen.denied += u32::from(denied == targets.len());
        seen.mixed += u32::from(denied > 0 && denied < targets.len());
    }
    for (protocol, port) in [(Protocol::Tcp, 80), (Protocol::Udp, PORT), (Protocol::Icmp, 8), (Protocol::Any, 0)] {
        let outside = egress.l4(Identity::WORLD, protocol, port);
        prop_assert_eq!(egress.l4(SERVICE, protocol, port), outside, "no Service answers there");
    }
    for (protocol, port) in [(Protocol::Tcp, PORT), (Protocol::Tcp, 80), (Protocol::Udp, PORT)] {
        by_map(
            egress,
            rules::oracle::Connection { direction: rules::Direction::Egress, peer: SERVICE, protocol, port },
        );
    }
    Ok(())
}
