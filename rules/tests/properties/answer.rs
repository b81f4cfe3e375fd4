//! The same questions asked of the crate and of its oracle.
//!
//! Must never let the policy map say another thing than the verdict. Start at [`answers`].

use rules::{
    Action, Direction, DirectionPolicy, EndpointPolicy, HeaderEdit, InForce, L4Verdict, PathOptions, Protocol,
    RequestView, Verdict,
    manifest::{self, Document},
    oracle::{self, Connects, Oracle},
    resolve,
};

use super::{
    generate::{self, Known, World},
    model::{self, Policy},
    policy_map,
};

/// Every policy of `text`, which holds nothing else.
pub(crate) fn in_force(text: &str) -> Vec<InForce> {
    let document = |document| match document {
        Document::Policy(policy) => InForce::Policy(policy),
        Document::Refused(refused) => InForce::Refused(refused),
        Document::Unattributable { .. } | Document::Skipped { .. } => panic!("{document:?}\n{text}"),
    };
    manifest::parse(text).into_iter().map(document).collect()
}

/// Valid policies only.
pub(crate) fn valid(policies: &[Policy]) -> Vec<InForce> {
    let in_force = in_force(&model::manifest(policies));
    for policy in &in_force {
        if let InForce::Refused(refused) = policy {
            panic!("{:?}", refused.errors);
        }
    }
    in_force
}

/// The policies, and the world's CIDR groups.
fn with_groups(world: &World, policies: &[InForce]) -> Vec<InForce> {
    policies.iter().cloned().chain(in_force(&world.groups.concat())).collect()
}

/// The answer to a question below HTTP, and for each request whether it passes.
pub(crate) type Answer = (Connects, Vec<bool>);

/// The answers to every question of a world, in its order.
pub(crate) fn answers(world: &World, known: &Known, policies: &[InForce]) -> Vec<Answer> {
    let policies = &with_groups(world, policies);
    let resolved: Vec<EndpointPolicy> = known
        .pods
        .iter()
        .zip(&known.named)
        .map(|(labels, named)| resolve(policies, labels, named, &known.identities, &[]))
        .collect();
    let mut answers = Vec::new();
    for (subject, connection) in connections(world, known) {
        let policy = resolved[subject].direction(connection.direction);
        let connects = match policy.l4(connection.peer, connection.protocol, connection.port) {
            L4Verdict::NotEnforced | L4Verdict::Allowed(None) => Connects::NotEnforced,
            L4Verdict::Allowed(Some(_)) if !policy.default_deny() => Connects::NotEnforced,
            L4Verdict::Allowed(Some(_)) => Connects::Allowed,
            L4Verdict::Redirect => Connects::Redirect,
            L4Verdict::Denied(_) => Connects::Denied,
        };
        assert_eq!(by_map(policy, connection), connects, "the policy map says otherwise");
        let pass = |request| passes(policy, connection, request);
        let passes = if connection.protocol == Protocol::Tcp {
            world.requests.iter().filter_map(pass).collect()
        } else {
            Vec::new()
        };
        answers.push((connects, passes));
    }
    answers
}

/// Every question of a world, each with the number of its endpoint.
pub(crate) fn connections<'a>(
    world: &'a World,
    known: &'a Known,
) -> impl Iterator<Item = (usize, oracle::Connection)> + 'a {
    world.connections.iter().map(|connection| {
        let direction = if connection.ingress { Direction::Ingress } else { Direction::Egress };
        let peer = known.peers[connection.peer % known.peers.len()];
        let (protocol, port) = (connection.protocol, connection.port);
        (connection.subject % known.pods.len(), oracle::Connection { direction, peer, protocol, port })
    })
}

/// What is done to a request, sorted.
type Edits = Vec<String>;

/// What is done to each request that passes: by the crate, and by the oracle.
pub(crate) fn edits(world: &World, known: &Known, policies: &[InForce]) -> Vec<(Edits, Edits)> {
    let policies = &with_groups(world, policies);
    let texts = |edits: &[HeaderEdit]| {
        let mut texts: Vec<String> = edits.iter().map(|edit| format!("{edit:?}")).collect();
        texts.sort();
        texts
    };
    let resolve = |(labels, named)| resolve(policies, labels, named, &known.identities, &[]);
    let resolved: Vec<EndpointPolicy> = known.pods.iter().zip(&known.named).map(resolve).collect();
    let mut answers = Vec::new();
    for (subject, connection) in connections(world, known).filter(|(_, asked)| asked.protocol == Protocol::Tcp) {
        let (labels, named_ports, identities) = (&known.pods[subject], &known.named[subject], &known.identities);
        let oracle = Oracle { policies, labels, named_ports, identities };
        for request in &world.requests {
            let headers = request.headers();
            let options = PathOptions::default();
            let view = RequestView::new(request.method, request.target.as_bytes(), false, &headers, &options);
            let Ok(view) = view else { continue };
            let policy = resolved[subject].direction(connection.direction);
            if let Verdict::Allow(permit) = policy.evaluate(connection.peer, connection.port, &view) {
                let wanted = oracle.edits(connection, &view).expect("a pattern that the oracle reads");
                answers.push((texts(permit.edits()), texts(&wanted)));
            }
        }
    }
    answers
}

/// `None`: the request is malformed.
fn passes(policy: &DirectionPolicy, connection: oracle::Connection, request: &generate::Request) -> Option<bool> {
    let headers = request.headers();
    let view =
        RequestView::new(request.method, request.target.as_bytes(), false, &headers, &PathOptions::default()).ok()?;
    Some(matches!(policy.evaluate(connection.peer, connection.port, &view), Verdict::Allow(_)))
}

/// What the kernel would do with the entries that it is given.
pub(crate) fn by_map(policy: &DirectionPolicy, connection: oracle::Connection) -> Connects {
    let oracle::Connection { peer, protocol, port, .. } = connection;
    let found = policy_map::found(policy, peer, protocol, port);
    let rule = found.and_then(|entry| entry.rule.clone());
    match policy.l4(peer, protocol, port) {
        L4Verdict::Allowed(by) | L4Verdict::Denied(by) => assert_eq!(rule, by, "another rule decides"),
        L4Verdict::NotEnforced | L4Verdict::Redirect => assert_eq!(rule, None, "no rule decides"),
    }
    match found.map(|entry| entry.action) {
        _ if !policy.enforced() => Connects::NotEnforced,
        Some(Action::Allow) if !policy.default_deny() => Connects::NotEnforced,
        Some(Action::Allow) => Connects::Allowed,
        Some(Action::Redirect) => Connects::Redirect,
        // Nothing here is audited.
        Some(Action::Deny | Action::Audit) | None => Connects::Denied,
    }
}

/// The same answers, from the oracle.
pub(crate) fn oracles(world: &World, known: &Known, policies: &[InForce]) -> Vec<Answer> {
    let policies = &with_groups(world, policies);
    let mut answers = Vec::new();
    for (subject, connection) in connections(world, known) {
        let oracle = Oracle {
            policies,
            labels: &known.pods[subject],
            named_ports: &known.named[subject],
            identities: &known.identities,
        };
        let pass = |request: &generate::Request| {
            let headers = request.headers();
            let options = PathOptions::default();
            let view = RequestView::new(request.method, request.target.as_bytes(), false, &headers, &options).ok()?;
            Some(oracle.passes(connection, &view).expect("a pattern that the oracle reads"))
        };
        let passes = if connection.protocol == Protocol::Tcp {
            world.requests.iter().filter_map(pass).collect()
        } else {
            Vec::new()
        };
        answers.push((oracle.connects(connection), passes));
    }
    answers
}
