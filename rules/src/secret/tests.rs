use super::*;
use crate::manifest::{self, Document};

fn policy(header: &str) -> InForce {
    let text = format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: p, namespace: n}}\nspec:\n  \
         endpointSelector: {{}}\n  ingress:\n  - toPorts: [{{ports: [{{port: '80', protocol: TCP}}], \
         rules: {{http: [{{}}, {{headerMatches: [{header}]}}]}}}}]\n"
    );
    let document = manifest::parse(&text).remove(0);
    let Document::Policy(policy) = document else { panic!("{document:?}") };
    InForce::Policy(policy)
}

fn name(namespace: &str, name: &str) -> SecretName {
    SecretName { namespace: namespace.to_owned(), name: name.to_owned() }
}

#[test]
fn a_value_that_no_header_carries_is_no_secret() {
    for value in ["", " ", "a\n", " a", "a ", "a\tb\r\nX: y", "\0", "a\t"] {
        assert_eq!(Secret::new(&Arc::from(value.as_bytes())), None, "{value:?}");
    }
    for value in ["a", "Bearer a b", "\u{e9}"] {
        assert!(Secret::new(&Arc::from(value.as_bytes())).is_some(), "{value:?}");
    }
}

#[test]
fn names_are_of_the_policys_namespace_unless_they_say_otherwise() {
    let of_policy = policy("{name: X, secret: {name: s}}, {name: X, secret: {namespace: m, name: t}}, {name: Y}");
    assert_eq!(of_policy.secrets().into_iter().collect::<Vec<_>>(), [name("m", "t"), name("n", "s")]);
    assert!(policy("{name: X, value: y}").secrets().is_empty());
}

#[test]
fn a_policy_takes_what_is_available_and_shows_nothing_of_it() {
    let plain = policy("{name: X, secret: {name: s}, mismatch: REPLACE}");
    let secret = Secret::new(&Arc::from(&b"hush"[..])).unwrap();
    let secrets: Secrets = [(name("n", "s"), secret)].into_iter().collect();
    let resolved = plain.with_secrets(&secrets);
    assert_ne!(plain, resolved);
    assert_eq!(resolved.with_secrets(&Secrets::default()), plain, "what is gone is gone");
    assert_eq!(resolved.with_secrets(&secrets), resolved);
    let seen = format!("{resolved:?} {secrets:?}");
    assert!(!seen.contains("hush") && seen.contains(REDACTED), "{seen}");
}
