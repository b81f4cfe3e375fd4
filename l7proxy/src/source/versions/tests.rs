use rules::Label;

use super::*;

fn policy(name: &str, method: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  \
         endpointSelector: {{matchLabels: {{app: a}}}}\n  egress:\n  - toEndpoints: [{{matchLabels: {{app: b}}}}]\n    \
         toPorts:\n    - ports: [{{port: '80', protocol: TCP}}]\n      rules: {{http: [{{method: '{method}'}}]}}\n---\n"
    )
}

fn file(path: &str, text: &str) -> ManifestFile {
    ManifestFile { path: PathBuf::from(path), documents: Ok(rules::manifest::parse(text)) }
}

fn states(versions: &Versions) -> Vec<(String, PolicyState, u64)> {
    versions.status().into_iter().map(|status| (status.policy, status.state, status.revision)).collect()
}

#[test]
fn a_policy_that_turns_bad_keeps_its_last_good_version() {
    let first = Versions::default().next(&[file("p.yaml", &policy("x", "GET"))], 1);
    let second = first.next(&[file("p.yaml", &policy("x", "("))], 2);
    assert_eq!(states(&second), [("CiliumNetworkPolicy default/x".to_owned(), PolicyState::LastGood, 1)]);
    assert!(second.errors()[0].starts_with("p.yaml:"), "{:?}", second.errors());
    assert!(matches!(second.in_force()[0], InForce::Policy(_)));
    let third = second.next(&[file("p.yaml", &policy("x", "POST"))], 3);
    assert_eq!(states(&third)[0].1, PolicyState::InForce);
    assert!(third.errors().is_empty());
}

#[test]
fn a_policy_that_was_never_valid_is_refused() {
    let first = Versions::default().next(&[file("p.yaml", &policy("x", "("))], 1);
    assert_eq!(states(&first)[0].1, PolicyState::Refused);
    assert!(matches!(first.in_force()[0], InForce::Refused(_)));
}

#[test]
fn one_bad_document_leaves_the_others_alone() {
    let text = policy("good", "GET") + &policy("bad", "(");
    let versions = Versions::default().next(&[file("p.yaml", &text)], 1);
    let states: Vec<_> = states(&versions).into_iter().map(|(_, state, _)| state).collect();
    assert_eq!(states, [PolicyState::Refused, PolicyState::InForce]);
}

#[test]
fn broken_yaml_keeps_all_of_its_file() {
    let text = policy("x", "GET") + &policy("y", "GET");
    let first = Versions::default().next(&[file("p.yaml", &text)], 1);
    let second = first.next(&[file("p.yaml", "kind: [\n")], 2);
    assert_eq!(second.in_force().len(), 2);
    assert!(states(&second).iter().all(|(_, state, _)| *state == PolicyState::LastGood));
    assert_eq!(second.problems().len(), 1);
}

#[test]
fn an_emptied_file_keeps_its_policies_and_a_deleted_one_does_not() {
    let first = Versions::default().next(&[file("p.yaml", &policy("x", "GET"))], 1);
    let emptied = first.next(&[file("p.yaml", "\n")], 2);
    assert_eq!(emptied.in_force().len(), 1);
    assert!(emptied.problems()[0].contains("delete the file"), "{:?}", emptied.problems());
    assert!(first.next(&[], 2).in_force().is_empty());
}

#[test]
fn an_unreadable_directory_keeps_what_was_below_it() {
    let first = Versions::default().next(&[file("policies/p.yaml", &policy("x", "GET"))], 1);
    let unreadable = ManifestFile { path: PathBuf::from("policies"), documents: Err("gone".to_owned()) };
    assert_eq!(first.next(&[unreadable], 2).in_force().len(), 1);
}

#[test]
fn an_unchanged_policy_keeps_its_revision() {
    let first = Versions::default().next(&[file("p.yaml", &policy("x", "GET"))], 1);
    let second = first.next(&[file("p.yaml", &policy("x", "GET")), file("q.yaml", &policy("y", "GET"))], 2);
    assert_eq!(states(&second).iter().map(|(_, _, revision)| *revision).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_refused_policy_keeps_its_revision_as_long_as_it_is_the_same() {
    let bad = policy("x", "GET").replace("method", "verb");
    let first = Versions::default().next(&[file("p.yaml", &bad)], 1);
    let second = first.next(&[file("p.yaml", &bad), file("q.yaml", &policy("y", "GET"))], 2);
    assert_eq!(states(&second)[0], ("CiliumNetworkPolicy default/x".to_owned(), PolicyState::Refused, 1));
    assert_eq!(first.in_force()[0].pointer(), second.in_force()[0].pointer(), "nothing is made anew");
    let third = second.next(&[file("p.yaml", &bad.replace("verb", "verbs"))], 3);
    assert_eq!(states(&third)[0], ("CiliumNetworkPolicy default/x".to_owned(), PolicyState::Refused, 3));
}

#[test]
fn the_policies_of_a_pod() {
    let text = policy("x", "GET") + &policy("y", "GET").replace("method", "verb");
    let versions = Versions::default().next(&[file("p.yaml", &text)], 1);
    let applied = |app: &str| {
        let applied = versions.applied(&Labels::new([
            Label::new("k8s", "io.kubernetes.pod.namespace", "default"),
            Label::new("k8s", "app", app),
        ]));
        let one = |one: &AppliedPolicy| (one.policy.clone(), one.state, one.ingress, one.egress);
        applied.iter().map(one).collect::<Vec<_>>()
    };
    assert_eq!(applied("other"), []);
    let name = |name: &str| format!("CiliumNetworkPolicy default/{name}");
    let wanted = [(name("x"), PolicyState::InForce, false, true), (name("y"), PolicyState::Refused, false, true)];
    assert_eq!(applied("a"), wanted);
}

#[test]
fn a_name_given_twice_is_told() {
    let files = [file("p.yaml", &policy("x", "GET")), file("q.yaml", &policy("x", "POST"))];
    let versions = Versions::default().next(&files, 1);
    assert_eq!(versions.in_force().len(), 2);
    assert!(versions.errors()[0].contains("p.yaml"), "{:?}", versions.errors());
}

#[test]
fn a_secret_that_is_not_available_is_its_policys_problem() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("default/s");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("a"), "hush").unwrap();
    let rule = "method: 'GET', headerMatches: [{name: X, secret: {name: s}}]";
    let text = policy("x", "GET").replace("method: 'GET'", rule) + &policy("y", "GET");
    let read =
        |before: &Versions, revision| before.next(&[file("p.yaml", &text)], revision).with_secrets(Some(root.path()));
    let first = read(&Versions::default(), 1);
    assert!(first.errors().is_empty(), "{:?}", first.errors());
    std::fs::write(directory.join("b"), "hush").unwrap();
    let second = read(&first, 2);
    assert_ne!(first.in_force()[0], second.in_force()[0]);
    assert_eq!(first.in_force()[1], second.in_force()[1]);
    let status = second.status();
    assert!(status[0].errors[0].starts_with("p.yaml: secret default/s: "), "{status:?}");
    assert!(status[0].state == PolicyState::InForce && status[1].errors.is_empty() && second.problems().is_empty());
    assert!(!format!("{first:?} {second:?} {status:?}").contains("hush"));
    std::fs::remove_file(directory.join("a")).unwrap();
    assert_eq!(read(&second, 3).in_force(), first.in_force());
    assert_eq!(second.next(&[file("p.yaml", &text)], 3).errors().len(), 0, "without secrets nothing is said of them");
}

#[test]
fn a_cidr_group_that_is_not_there_is_told_of_the_policy_that_names_it() {
    let peers = "toEndpoints: [{matchLabels: {app: b}}]";
    let names = policy("x", "GET").replace(peers, "toCIDRSet: [{cidr: 10.0.0.0/8}, {cidrGroupRef: g}]");
    let group = |nets: &str| {
        format!(
            "apiVersion: cilium.io/v2\nkind: CiliumCIDRGroup\nmetadata: {{name: g}}\nspec: {{externalCIDRs: [{nets}]}}\n"
        )
    };
    let told = |versions: &Versions| {
        let of = |status: PolicyStatus| status.policy.ends_with("/x").then_some(status.errors);
        versions.status().into_iter().find_map(of).unwrap().concat()
    };
    let without = Versions::default().next(&[file("p.yaml", &names)], 1);
    let wanted =
        "p.yaml:7: spec.egress[0].toCIDRSet[1].cidrGroupRef: CIDR group g: there is none; nobody is allowed by it";
    assert_eq!(told(&without), wanted);
    assert_eq!(without.errors(), [wanted]);
    assert!(without.faults().is_empty(), "the file is as it should be");
    let broken = without.next(&[file("p.yaml", &names), file("g.yaml", &group("10"))], 2);
    assert!(told(&broken).ends_with("CIDR group g: not valid; nobody is allowed by it"), "{}", told(&broken));
    assert_eq!(states(&broken)[1].1, PolicyState::Refused);
    let whole = broken.next(&[file("p.yaml", &names), file("g.yaml", &group("192.0.2.0/24"))], 3);
    assert_eq!((told(&whole).as_str(), whole.errors().len()), ("", 0));
    let again = whole.next(&[file("p.yaml", &names), file("g.yaml", &group("10"))], 4);
    assert_eq!(told(&again), "", "its last good version stays");
    assert_eq!(states(&again)[1].1, PolicyState::LastGood);
    let deny = names.replace("egress:", "egressDeny:").replace("\n      rules: {http: [{method: 'GET'}]}", "");
    assert!(told(&Versions::default().next(&[file("p.yaml", &deny)], 1)).ends_with("nobody is denied by it"));
    let denies = Versions::default().next(&[file("p.yaml", &deny), file("g.yaml", &group("10"))], 1);
    assert!(told(&denies).ends_with("not valid; every address outside of the cluster is denied"), "{}", told(&denies));
}
