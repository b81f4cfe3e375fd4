//! Texts that are cut off, far too large, or about other things: what is read of them, and what is told.
//!
//! Owns that nothing of a text is lost without a line about it.

use super::{
    tests::{errors, spec},
    *,
};

const GOOD: &str = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: good, namespace: n}\n\
                    spec: {endpointSelector: {}, ingress: [{}]}\n";

#[test]
fn hostile_texts_are_bounded() {
    let deep = "a: ".to_owned() + &"[".repeat(100_000);
    assert!(errors(&deep)[0].contains("recursion limit exceeded"), "{:?}", errors(&deep));
    let deep = "a: ".to_owned() + &"[".repeat(100);
    assert!(errors(&deep)[0].contains("nested deeper than 64"), "{:?}", errors(&deep));
    let bomb = "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\napiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\n";
    assert!(errors(bomb).iter().any(|line| line.contains("aliases are not supported")));
    let documents = parse(&"---\nkind: x\napiVersion: y\n".repeat(100_000));
    assert_eq!(documents.len(), MAX_DOCUMENTS + 1);
    assert!(matches!(documents.last(), Some(Document::Unattributable { line: 60_001, .. })));
    let values = errors(&format!("a: [{}]\n", "1,".repeat(MAX_VALUES)));
    assert!(values[0].contains("more than 500000 values"), "{values:?}");
    assert!(errors(&" ".repeat(MAX_TEXT_BYTES + 1))[0].contains("split the file"));
    let word = errors(&spec(&format!("  endpointSelector: {{}}\n  egress: [{{}}]\n  {}: 1\n", "x".repeat(10_000))));
    assert!(word[0].len() < 300, "{word:?}");
}

/// However a text is cut off: what stands before the cut document stays, and a document that lost a part of a value in
/// braces is never a policy.
#[test]
fn a_truncated_text_keeps_its_whole_documents() {
    for last in [
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: cut}\n\
         spec: {endpointSelector: {matchLabels: {app: \"a\"}}, egress: [{toCIDR: [10.0.0.0/8, 11.0.0.0/8]}]}",
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: cut}\n\
         spec: {selector: \"a == 'b'\", egress: [{action: Deny, destination: {nets: [10.0.0.0/8, 11.0.0.0/8]}}]}",
    ] {
        truncated(last);
    }
}

#[expect(clippy::arithmetic_side_effects, reason = "places in a short text")]
fn truncated(last: &str) {
    let text = format!("{GOOD}---\n{last}");
    let whole = parse(GOOD);
    let [Document::Policy(good)] = &whole[..] else { panic!("{whole:?}") };
    let braces = GOOD.len() + 4 + last.find("spec").unwrap();
    // Cut inside of the line of dashes, it is part of the first document.
    for end in GOOD.len() + 3..text.len() {
        let cut = text.get(..end).unwrap();
        let documents = parse(cut);
        assert!(matches!(&documents[0], Document::Policy(policy) if policy == good), "{end}: {documents:?}");
        assert!(documents.len() <= 2, "{end}: {documents:?}");
        match documents.get(1) {
            None => assert!(cut.ends_with("---") || cut.ends_with("---\n"), "{end}: nothing is told"),
            Some(Document::Unattributable { errors, .. }) => assert!(errors[0].line >= 5, "{end}: {errors:?}"),
            Some(Document::Refused(refused)) => assert!(end <= braces + 6, "{end}: {refused:?}"),
            // `kind: C`, which could be anything.
            Some(Document::Skipped { line, .. }) => assert!(*line >= 5 && !cut.ends_with("Policy"), "{end}"),
            Some(Document::Policy(policy)) => panic!("{end}: {policy:?}"),
        }
    }
    assert!(matches!(parse(&text)[..], [Document::Policy(_), Document::Policy(_)]));
}

#[test]
fn a_hundred_thousand_documents_are_told_where_reading_ends() {
    let other = "---\nkind: ConfigMap\napiVersion: v1\n";
    let text = format!("{GOOD}{}---\n{GOOD}", other.repeat(100_000));
    let documents = parse(&text);
    assert!(matches!(documents[0], Document::Policy(_)), "what stands first is in force");
    let skipped = documents.iter().filter(|document| matches!(document, Document::Skipped { .. })).count();
    assert_eq!((skipped, documents.len()), (MAX_DOCUMENTS - 1, MAX_DOCUMENTS + 1));
    let Some(Document::Unattributable { line, errors }) = documents.last() else { panic!("the end is not told") };
    assert!(*line > 60_000 && errors[0].reason.contains("what follows was not read"), "{line}: {errors:?}");
}

#[test]
fn other_kinds_and_versions_are_skipped_one_by_one_with_their_lines() {
    let text = "kind: Deployment\napiVersion: apps/v1\n---\nkind: Gateway\napiVersion: gateway.networking.k8s.io/v9\n---\n\
                kind: CiliumEgressGatewayPolicy\napiVersion: cilium.io/v2\n---\nkind: List\napiVersion: v1\nitems:\n\
                - {kind: Secret, apiVersion: v1}\n- {kind: Pod, apiVersion: v1}\n";
    let skipped: Vec<String> = parse(text)
        .into_iter()
        .map(|document| match document {
            Document::Skipped { line, what } => format!("{line}: {what}"),
            other @ (Document::Policy(_) | Document::Refused(_) | Document::Unattributable { .. }) => {
                panic!("{other:?}")
            }
        })
        .collect();
    let wanted = [
        "1: Deployment (apps/v1) is",
        "4: Gateway (gateway.networking.k8s.io/v9) is",
        "7: CiliumEgressGatewayPolicy (cilium.io/v2) is",
        "13: Secret (v1) is",
        "14: Pod (v1) is",
    ];
    assert_eq!(skipped.len(), wanted.len(), "{skipped:?}");
    assert!(skipped.iter().zip(wanted).all(|(line, wanted)| line.starts_with(wanted)), "{skipped:?}");
    // Ours in another version is refused, never skipped; without kind or version it could be anything.
    let ours = GOOD.replace("cilium.io/v2", "cilium.io/v3");
    assert!(matches!(&parse(&ours)[..], [Document::Refused(refused)] if refused.errors[0].field == "apiVersion"));
    for (text, field) in [("kind: Pod\n", "apiVersion"), ("apiVersion: v1\n", "kind"), ("a: b\n", "kind")] {
        let documents = parse(text);
        assert!(
            matches!(&documents[..], [Document::Unattributable { line: 1, errors }] if errors[0].field == field),
            "{documents:?}"
        );
    }
}

#[test]
fn a_hundred_thousand_documents_of_calico_are_told_where_reading_ends() {
    let one = |(kind, spec): (&str, &str)| {
        format!("---\napiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n")
    };
    let each =
        [("Tier", "{order: 1}"), ("GlobalNetworkPolicy", "{}"), ("NetworkSet", "{nets: [10.0.0.0/8]}"), ("Tier", "{}")];
    let documents = parse(&each.map(one).concat().repeat(25_000));
    let valid = documents.iter().filter(|document| matches!(document, Document::Policy(_))).count();
    assert_eq!((valid, documents.len()), (MAX_DOCUMENTS, MAX_DOCUMENTS + 1));
    let Some(Document::Unattributable { line, errors }) = documents.last() else { panic!("the end is not told") };
    assert!(*line > 100_000 && errors[0].reason.contains("what follows was not read"), "{line}: {errors:?}");
}

#[test]
fn what_a_calico_policy_may_hold_is_bounded() {
    let with = |rules: &str| {
        let head = "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: x, namespace: n}\n";
        errors(&format!("{head}spec: {{ingress: [{rules}]}}\n"))
    };
    let many = |count: usize, one: &str| vec![one; count].join(", ");
    assert_eq!(with(&many(1024, "{action: Allow}")), [""; 0]);
    let nets = |count| format!("{{action: Allow, source: {{nets: [{}]}}}}", many(count, "10.0.0.0/8"));
    let names = |count| format!("{{action: Allow, source: {{serviceAccounts: {{names: [{}]}}}}}}", many(count, "a"));
    assert_eq!(with(&nets(256)), [""; 0]);
    for (rules, wanted) in [
        (many(1025, "{action: Allow}"), "1025 rules, the most is 1024"),
        (nets(257), "257 entries, the most is 256"),
        (names(257), "257 entries, the most is 256"),
        (
            format!("{{action: Allow, source: {{selector: \"{}has(a){}\"}}}}", "(".repeat(33), ")".repeat(33)),
            "nested deeper",
        ),
        (format!("{{action: Allow, source: {{selector: \"{}\"}}}}", "x".repeat(2000)), "2000 letters"),
    ] {
        let told = with(&rules);
        assert!(told.len() == 1 && told[0].contains(wanted) && told[0].len() < 400, "{wanted}: {told:?}");
    }
}
