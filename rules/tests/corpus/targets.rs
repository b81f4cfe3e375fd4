//! What must hold of any input: one function for each fuzz target, a panic is a finding.
//!
//! Owns the form of the inputs. Both the fuzz targets of `rules/fuzz` and the replay of their corpus come here, so that a
//! finding that is checked in stays found. Start at [`manifests`].

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};
use rules::{
    Direction, EndpointPolicy, Identities, InForce, Label, Labels, NamedPorts, PathOptions, RequestView, full_match,
    manifest::{self, Document, FieldError},
    oracle, resolve,
};

/// The slow reading of a pattern is asked about no longer ones than these.
const MAX_PATTERN: usize = 200;
const MAX_VALUE: usize = 60;

/// Any text: it is read twice with the same result, errors have lines of the text, and a refused policy allows nothing.
pub(crate) fn manifests(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let documents = manifest::parse(&text);
    assert_same(&documents, &manifest::parse(&text));
    let lines = text.bytes().filter(|byte| matches!(byte, b'\n' | b'\r')).count().saturating_add(1);
    for document in &documents {
        let errors: &[FieldError] = match document {
            Document::Policy(policy) => {
                resolved(InForce::Policy(Arc::clone(policy)), "n");
                &[]
            }
            Document::Refused(refused) => {
                assert!(!refused.errors.is_empty(), "refused without a reason");
                let policy = resolved(InForce::Refused(Arc::clone(refused)), "n");
                assert!([Direction::Ingress, Direction::Egress].iter().all(|of| is_closed(&policy, *of)));
                &refused.errors
            }
            Document::Unattributable { errors, .. } => errors,
            Document::Skipped { .. } => &[],
        };
        for error in errors {
            assert!((1..=lines).contains(&error.line), "a line that the text has not: {error:?}");
            assert!(!error.reason.is_empty(), "an error without a reason: {error:?}");
        }
    }
}

fn assert_same(documents: &[Document], again: &[Document]) {
    assert_eq!(documents.len(), again.len());
    for (one, other) in documents.iter().zip(again) {
        let same = match (one, other) {
            (Document::Policy(one), Document::Policy(other)) => one == other,
            (Document::Refused(one), Document::Refused(other)) => one == other,
            (one, other) => format!("{one:?}") == format!("{other:?}"),
        };
        assert!(same, "{one:?} is not {other:?}");
    }
}

/// What it means for a pod of `namespace`.
fn resolved(policy: InForce, namespace: &str) -> EndpointPolicy {
    let label = |key: &str, value: &str| Label::new("k8s", key, value);
    let labels = Labels::new([label("io.kubernetes.pod.namespace", namespace), label("app", "a")]);
    let mut identities = Identities::new();
    identities.allocate(&labels);
    resolve(&[policy], &labels, &NamedPorts::default(), &identities, &[])
}

/// Default deny without an exception, or nothing.
fn is_closed(policy: &EndpointPolicy, direction: Direction) -> bool {
    policy.direction(direction).entries().is_empty()
}

/// Any text in the place of a label selector: it never selects a pod of another namespace, and one that is not understood
/// selects every pod of its own.
pub(crate) fn selectors(data: &[u8]) {
    let text = String::from_utf8_lossy(data).replace('\r', "\n");
    let mut manifest =
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p, namespace: n}\nspec:\n  \
                        ingress: [{}]\n  endpointSelector:\n"
            .to_owned();
    for line in text.lines() {
        manifest.push_str("    ");
        manifest.push_str(line);
        manifest.push('\n');
    }
    manifests(manifest.as_bytes());
    for document in manifest::parse(&manifest) {
        let in_force = match document {
            Document::Policy(policy) => InForce::Policy(policy),
            Document::Refused(refused) => {
                let policy = InForce::Refused(refused);
                let own = resolved(policy.clone(), "n");
                let selected = own.direction(Direction::Ingress).enforced();
                assert!(selected, "a selector that is not understood selects less than its namespace: {manifest}");
                policy
            }
            Document::Unattributable { .. } | Document::Skipped { .. } => continue,
        };
        let other = resolved(in_force, "m");
        assert!(!other.direction(Direction::Ingress).enforced(), "it selects a pod of another namespace: {manifest}");
    }
}

/// A pattern on the first line, values on the others: it matches what the slow reading says, where that can read it.
pub(crate) fn patterns(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (pattern, values) = text.split_once('\n').unwrap_or((&text, ""));
    let Ok(compiled) = full_match(pattern) else { return };
    assert_eq!(compiled.as_str(), pattern);
    for value in values.split('\n').chain([pattern, "", "/"]) {
        let matches = compiled.matches(value.as_bytes());
        if pattern.len() > MAX_PATTERN || value.len() > MAX_VALUE {
            continue;
        }
        if let Some(wanted) = oracle::full_match(pattern, value.as_bytes()) {
            assert_eq!(matches, wanted, "{pattern:?} {value:?}");
        }
    }
}

/// Four lines: seven relaxations and HTTP/1.0 as `0` or `1`; method; host, empty for none; target. The view of what is
/// forwarded is the view of what was sent.
pub(crate) fn requests(data: &[u8]) {
    let mut lines = data.splitn(4, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (flags, method, host, target) = (line(), line(), line(), line());
    let flag = |index: usize| flags.get(index) == Some(&b'1');
    let options = PathOptions {
        merge_slashes: flag(0),
        allow_path_parameters: flag(1),
        allow_encoded_slash: flag(2),
        allow_encoded_backslash: flag(3),
        allow_encoded_control: flag(4),
        allow_double_encoding: flag(5),
        allow_non_utf8: flag(6),
    };
    let (http10, method) = (flag(7), String::from_utf8_lossy(method));
    let mut headers = HeaderMap::new();
    let host = HeaderValue::from_bytes(host).ok().filter(|host| !host.is_empty());
    headers.extend(host.map(|host| (header::HOST, host)));
    let Ok(view) = RequestView::new(&method, target, http10, &headers, &options) else { return };
    let forwarded = view.forward_target().into_owned();
    assert_eq!(view.changed(), forwarded.as_bytes() != target, "{forwarded:?}");
    let again = RequestView::new(&method, forwarded.as_bytes(), http10, &headers, &options);
    let again = again.unwrap_or_else(|error| panic!("{forwarded:?} is refused: {error}"));
    assert_eq!((again.method(), again.host(), again.path()), (view.method(), view.host(), view.path()));
    assert!(!again.changed(), "{forwarded:?} is not its own normal form");
    let path = view.path().split('?').next().unwrap_or_default();
    assert!(path == "*" || path.starts_with('/') || !view.has_path(), "{path:?}");
    // As pseudo-headers it is the same request: what HTTP/1 calls its target is the path, or with CONNECT the authority.
    if !view.host().is_empty() {
        let none = HeaderMap::new();
        let over_http2 = RequestView::http2(&method, Some(view.host()), view.path().as_bytes(), &none, &options);
        let over_http2 = over_http2.unwrap_or_else(|error| panic!("{forwarded:?} is refused over HTTP/2: {error}"));
        assert_eq!((over_http2.host(), over_http2.path()), (view.host(), view.path()));
        assert!(!over_http2.changed());
    }
    // Neither for what cuts segments at `;`.
    let names = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
    assert!(names.into_iter().all(|name| name != "." && name != ".."), "{path:?}");
}
