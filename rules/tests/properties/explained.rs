//! What is told of a denial and of a request's headers, compared with what is decided.
//!
//! Must never take a text for right because it is there: what is said to be missing is put right, and then it must pass.
//! Start at [`check`].

use proptest::{prelude::*, test_runner::TestCaseError};
use rules::{
    Denial, DirectionPolicy, EndpointPolicy, HeaderAction, HeaderEdit, InForce, L4Verdict, Nearest, PathOptions,
    Protocol, RequestView, Tried, Verdict, full_match,
    oracle::{Connection, Oracle},
    resolve,
};

use super::{
    answer::connections,
    generate::{Known, Request, World},
};

/// What is put in the place of what is missing.
const METHODS: [&str; 2] = ["GET", "PUT"];
const TARGETS: [&str; 6] = ["/a", "/", "/a/b", "/ab", "/b", "/a?b"];

type Checked = Result<(), TestCaseError>;

/// How often each was compared.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connections: u32,
    pub(crate) requests: u32,
    /// Something was put right.
    pub(crate) ports: u32,
    pub(crate) methods: u32,
    pub(crate) paths: u32,
    pub(crate) acts: u32,
}

/// Everything that is told of a world.
pub(crate) fn check(world: &World, known: &Known, policies: &[InForce], seen: &mut Seen) -> Checked {
    let resolve = |(labels, named)| resolve(policies, labels, named, &known.identities, &[]);
    let resolved: Vec<EndpointPolicy> = known.pods.iter().zip(&known.named).map(resolve).collect();
    for (subject, asked) in connections(world, known) {
        let policy = resolved[subject].direction(asked.direction);
        connection(policy, asked, seen)?;
        if asked.protocol != Protocol::Tcp {
            continue;
        }
        let oracle = Oracle {
            policies,
            labels: &known.pods[subject],
            named_ports: &known.named[subject],
            identities: &known.identities,
        };
        for wanted in &world.requests {
            request(policy, asked, &oracle, wanted, seen)?;
        }
    }
    Ok(())
}

fn connection(policy: &DirectionPolicy, asked: Connection, seen: &mut Seen) -> Checked {
    let Connection { peer, protocol, port, .. } = asked;
    let tried = policy.tried(peer, protocol, port, None);
    let L4Verdict::Denied(None) = policy.l4(peer, protocol, port) else {
        prop_assert!(tried.is_empty(), "{:?}", tried);
        return Ok(());
    };
    seen.connections += 1;
    whole(&tried, policy.denial_of(peer, protocol.number(), port).nearest.as_ref())?;
    for rule in &tried {
        let [missed] = rule.missed.as_slice() else { continue };
        let Some((ports, of)) =
            missed.expected.split_once('/').filter(|_| ["port", "type"].contains(&missed.field.as_str()))
        else {
            continue;
        };
        let first = ports.split('-').next().and_then(|first| first.parse().ok()).expect("a port");
        let of = match of.split(' ').next() {
            Some("TCP") => Protocol::Tcp,
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            Some("ICMP") => Protocol::Icmp,
            Some("ICMPv6") => Protocol::Icmp6,
            _ => Protocol::Any,
        };
        seen.ports += 1;
        // A named port may be this peer's or another's: the first that is named need not be its own.
        let is_of_peer = missed.expected.contains(" or ") || policy.l4(peer, of, first) != L4Verdict::Denied(None);
        prop_assert!(is_of_peer, "{:?}", rule);
    }
    Ok(())
}

fn request(
    policy: &DirectionPolicy,
    asked: Connection,
    oracle: &Oracle<'_>,
    wanted: &Request,
    seen: &mut Seen,
) -> Checked {
    let headers = wanted.headers();
    let options = PathOptions::default();
    let view = |method: &'static str, target: &'static str| {
        RequestView::new(method, target.as_bytes(), false, &headers, &options).ok()
    };
    let Some(first) = view(wanted.method, wanted.target) else { return Ok(()) };
    let tried = policy.tried(asked.peer, Protocol::Tcp, asked.port, Some(&first));
    let denial = match policy.evaluate(asked.peer, asked.port, &first) {
        Verdict::Allow(permit) => {
            prop_assert!(tried.is_empty(), "{:?}", tried);
            seen.acts += u32::from(!permit.edits().is_empty());
            return acts(policy, asked, &first, permit.edits());
        }
        Verdict::Deny(Denial { rule: Some(_), .. }) => {
            prop_assert!(tried.is_empty(), "{:?}", tried);
            return Ok(());
        }
        Verdict::Deny(denial) => denial,
    };
    seen.requests += 1;
    whole(&tried, denial.nearest.as_ref())?;
    for rule in &tried {
        let [missed] = rule.missed.as_slice() else { continue };
        let pattern = full_match(&missed.expected);
        let fits = |text: &str| pattern.as_ref().is_ok_and(|pattern| pattern.matches(text.as_bytes()));
        let (method, target) = match missed.field.as_str() {
            "method" => (METHODS.into_iter().find(|method| fits(method)), Some(wanted.target)),
            "path" => (Some(wanted.method), TARGETS.into_iter().find(|target| fits(target))),
            _ => continue,
        };
        let Some(better) = method.zip(target).and_then(|(method, target)| view(method, target)) else { continue };
        seen.methods += u32::from(missed.field == "method");
        seen.paths += u32::from(missed.field == "path");
        prop_assert_eq!(oracle.passes(asked, &better), Some(true), "{:?}", rule);
    }
    Ok(())
}

/// No rule twice, none without a reason, and the nearest first.
fn whole(tried: &[Tried], nearest: Option<&Nearest>) -> Checked {
    let mut names: Vec<String> =
        tried.iter().map(|tried| format!("{} {}", tried.rule.policy, tried.rule.rule)).collect();
    names.sort();
    names.dedup();
    prop_assert_eq!(names.len(), tried.len(), "{:?}", tried);
    prop_assert!(tried.iter().all(|tried| !tried.missed.is_empty()), "{:?}", tried);
    let Some(nearest) = nearest else {
        prop_assert!(tried.is_empty(), "{:?}", tried);
        return Ok(());
    };
    let first = tried.first().map(|tried| (&tried.rule, &tried.missed[0]));
    let Some((rule, missed)) = first else { return Err(TestCaseError::fail(format!("nothing, but {nearest:?}"))) };
    prop_assert_eq!((&rule.policy, &rule.rule), (&nearest.rule.policy, &nearest.rule.rule));
    prop_assert_eq!(&missed.field, &nearest.field);
    prop_assert!(
        missed.expected.split(" or ").any(|one| one == nearest.expected) || missed.expected == nearest.expected
    );
    Ok(())
}

/// What each rule does, together, is what is done.
fn acts(policy: &DirectionPolicy, asked: Connection, view: &RequestView<'_>, edits: &[HeaderEdit]) -> Checked {
    let acts = policy.header_acts(asked.peer, asked.port, view);
    let text = |value: &http::HeaderValue| value.to_str().map(str::to_owned).ok();
    let mut done: Vec<_> = edits
        .iter()
        .map(|edit| match edit {
            HeaderEdit::Append(name, value) => ("ADD", name.clone(), text(value)),
            HeaderEdit::Set(name, value) => ("REPLACE", name.clone(), text(value)),
            HeaderEdit::Remove(name) => ("DELETE", name.clone(), None),
        })
        .collect();
    let editing = acts.into_iter().filter(|act| act.action != HeaderAction::Log);
    let mut told: Vec<_> = editing.map(|act| (act.action.word(), act.name, act.value)).collect();
    let key = |act: &(&str, http::HeaderName, Option<String>)| format!("{act:?}");
    done.sort_by_key(key);
    told.sort_by_key(key);
    told.dedup();
    prop_assert_eq!(told, done);
    Ok(())
}
