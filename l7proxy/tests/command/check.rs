use crate::Desk;

const GOOD: &str = "apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: good}
spec:
  endpointSelector: {matchLabels: {app: web}}
  egress:
  - toEndpoints: [{matchLabels: {app: api}}]
    toPorts:
    - ports: [{port: '80', protocol: TCP}]
      rules: {http: [{method: GET|HEAD, path: '/read.*'}]}
";
const CONFIG: &str = "policies: [policies/]
endpoints:
- {pod: default/web, pid: 1, addresses: [10.0.0.1], labels: {app: web}}
";

fn named(name: &str) -> String {
    GOOD.replace("good", name)
}

#[test]
fn a_good_manifest() {
    let ended = Desk::new(&[("p.yaml", GOOD)]).run(&["check", "p.yaml", "--strict"]);
    assert_eq!((ended.code, ended.lines()), (Some(0), vec!["1 policy valid, 0 errors, 0 warnings"]));
}

#[test]
fn errors_of_all_files_and_warnings_at_once() {
    let desk = Desk::new(&[
        ("m/a.yaml", &named("a").replace("method:", "verb:")),
        ("m/b.yaml", &named("b").replace("/read.*", "read")),
        ("m/c.yaml", "kind: [\n"),
        ("m/d.yaml", &named("d").replace("GET|HEAD", "GET")),
    ]);
    let ended = desk.run(&["check", "m"]);
    let lines = ended.lines();
    assert_eq!(ended.code, Some(1), "{lines:?}");
    assert!(lines[0].starts_with("m/a.yaml:10: spec.egress[0].toPorts[0].rules.http[0].verb: unknown field"));
    assert!(lines[1].starts_with("m/c.yaml:"), "{lines:?}");
    assert!(lines[2].starts_with("m/b.yaml:10: spec.egress[0].toPorts[0].rules.http[0].path: warning: never matches"));
    assert!(lines[3].starts_with("m/d.yaml:10: spec.egress[0].toPorts[0].rules.http[0].method: warning: allows GET"));
    assert_eq!(lines[4..], ["2 policies valid, 2 errors, 2 warnings"]);
}

#[test]
fn warnings_of_calico_s_kinds() {
    let policy = "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: p, namespace: default}\nspec:\n  \
                  tier: platform\n  selector: app == 'web'\n  ingress:\n  - {action: Allow}\n  - {action: Deny, protocol: TCP}\n";
    let tier = "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: platform}\nspec: {order: 1}\n";
    let config =
        "policies: [p.yaml]\nendpoints:\n- {pod: default/api, pid: 1, addresses: [10.0.0.1], labels: {app: api}}\n";
    let desk = Desk::new(&[("p.yaml", policy), ("t.yaml", tier), ("config.yaml", config)]);
    let ended = desk.run(&["check", "p.yaml"]);
    assert!(ended.out.contains("p.yaml:5: spec.tier: warning: denies everything"), "{}", ended.out);
    assert!(
        ended.out.contains("p.yaml:9: spec.ingress[1]: warning: is never asked: ingress[0] (line 8)"),
        "{}",
        ended.out
    );
    assert_eq!((ended.code, ended.out.lines().count()), (Some(0), 3), "{}", ended.out);
    let ended = desk.run(&["check", "--config", "config.yaml", "p.yaml", "t.yaml"]);
    assert!(ended.out.contains("p.yaml:6: spec.selector: warning: selects no pod"), "{}", ended.out);
    assert!(!ended.out.contains("spec.tier"), "{}", ended.out);
}

#[test]
fn warnings_refuse_only_what_is_strict() {
    let desk = Desk::new(&[("p.yaml", &GOOD.replace("GET|HEAD", "GET"))]);
    let ended = desk.run(&["check", "p.yaml"]);
    assert_eq!((ended.code, ended.lines().pop()), (Some(0), Some("1 policy valid, 0 errors, 1 warning")));
    assert_eq!(desk.run(&["check", "p.yaml", "--strict"]).code, Some(1));
}

#[test]
fn rules_of_one_file_are_seen_from_another() {
    let open = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: open}\nspec:\n  \
                endpointSelector: {}\n  egress: [{toEndpoints: [{}]}]\n";
    let ended = Desk::new(&[("a.yaml", GOOD), ("b.yaml", open)]).run(&["check", "a.yaml", "b.yaml"]);
    assert!(
        ended.lines()[0]
            .starts_with("a.yaml:9: spec.egress[0].toPorts[0].rules: warning: decides nothing on port 80/TCP")
    );
    assert!(ended.lines()[0].contains("default/open egress[0] (line 6)"), "{}", ended.out);
}

#[test]
fn what_is_skipped_is_told() {
    let other = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n---\n";
    let ended = Desk::new(&[("p.yaml", &(other.to_owned() + GOOD))]).run(&["check", "p.yaml"]);
    assert!(ended.lines()[0].starts_with("p.yaml:1: Service (v1)"), "{}", ended.out);
    assert_eq!(ended.lines().pop(), Some("1 policy valid, 0 errors, 0 warnings, 1 document skipped"));
    assert_eq!(ended.code, Some(0));
}

#[test]
fn a_name_given_twice_is_told_with_both_places() {
    let ended = Desk::new(&[("p.yaml", &format!("{GOOD}---\n{GOOD}"))]).run(&["check", "p.yaml"]);
    assert!(ended.lines()[0].starts_with("p.yaml:12: CiliumNetworkPolicy default/good is also in p.yaml:1;"));
    assert_eq!(ended.code, Some(1));
}

#[test]
fn a_refused_kind_is_not_told_to_be_there_twice() {
    let misspelt = GOOD.replace("CiliumNetworkPolicy", "CiliumNetworkPolicie");
    let ended = Desk::new(&[("p.yaml", &format!("{GOOD}---\n{misspelt}"))]).run(&["check", "p.yaml"]);
    assert!(!ended.out.contains("is also in"), "{}", ended.out);
    assert_eq!(ended.lines().pop(), Some("1 policy valid, 1 error, 0 warnings"));
}

#[test]
fn with_a_configuration_selectors_are_compared_with_its_pods() {
    let desk = Desk::new(&[("policies/p.yaml", GOOD), ("config.yaml", CONFIG)]);
    assert_eq!(desk.run(&["check", "policies"]).lines().len(), 1);
    for arguments in [vec!["check", "policies", "--config", "config.yaml"], vec!["check", "--config", "config.yaml"]] {
        let ended = desk.run(&arguments);
        let told = ended.lines()[0];
        assert!(told.contains("p.yaml:7: spec.egress[0]: warning: a peer selects no pod"), "{told}");
        assert_eq!(ended.lines().pop(), Some("1 policy valid, 0 errors, 1 warning"));
    }
}

#[test]
fn the_form_for_programs() {
    let broken = named("b").replace("method:", "verb:");
    let desk = Desk::new(&[("a.yaml", &GOOD.replace("GET|HEAD", "GET")), ("b.yaml", &broken)]);
    let ended = desk.run(&["check", "a.yaml", "b.yaml", "--output", "json"]);
    let told = ended.json();
    assert_eq!((ended.code, &told["policies"]), (Some(1), &1.into()));
    assert_eq!(told["files"], serde_json::json!(["a.yaml", "b.yaml"]));
    assert_eq!(told["errors"][0]["file"], "b.yaml");
    assert_eq!(told["errors"][0]["line"], 10);
    assert_eq!(told["errors"][0]["field"], "spec.egress[0].toPorts[0].rules.http[0].verb");
    assert!(told["errors"][0]["reason"].as_str().unwrap().contains("unknown field"));
    let warning = &told["warnings"][0];
    assert_eq!(
        (&warning["kind"], &warning["line"], &warning["file"]),
        (&"no-head".into(), &10.into(), &"a.yaml".into())
    );
    assert_eq!(told["skipped"], serde_json::json!([]));
}

#[test]
fn what_is_not_there_is_trouble() {
    let ended = Desk::new(&[]).run(&["check", "nowhere"]);
    assert_eq!((ended.code, ended.err.lines().count()), (Some(2), 1), "{}", ended.err);
    assert_eq!(Desk::new(&[]).run(&["check"]).code, Some(2));
}

#[test]
fn every_path_that_is_not_there_is_told() {
    let ended = Desk::new(&[("p.yaml", GOOD)]).run(&["check", "nowhere", "p.yaml", "else"]);
    assert_eq!((ended.code, ended.out.as_str(), ended.err.lines().count()), (Some(2), "", 2), "{}", ended.err);
}

#[test]
fn what_holds_nothing_or_is_not_looked_into_is_warned_of() {
    let desk = Desk::new(&[
        ("some/p.yaml", GOOD),
        ("some/more/q.yaml", GOOD),
        ("some/.git/r.yaml", GOOD),
        ("none/p.txt", GOOD),
    ]);
    desk.write("some/zero.yaml", b"");
    desk.write("comments.yaml", b"# nothing\n---\n");
    let ended = desk.run(&["check", "some", "none", "comments.yaml"]);
    let told = [
        "comments.yaml: warning: holds no document",
        "none: warning: holds no manifest: their names end in .yaml, .yml or .json",
        "some/more: warning: is a directory in a directory, and not read; name it as well",
        "some/zero.yaml: warning: holds no document",
        "1 policy valid, 0 errors, 4 warnings",
    ];
    assert_eq!((ended.code, ended.lines()), (Some(0), told.to_vec()));
    assert_eq!(desk.run(&["check", "none", "--strict"]).code, Some(1), "a gate that checked nothing");
    let told = desk.run(&["check", "some", "none", "--output", "json"]).json();
    let kinds: Vec<&str> =
        told["warnings"].as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["empty", "not-read", "empty"]);
}

#[test]
fn links_that_lead_nowhere_or_in_circles_are_errors() {
    let desk = Desk::new(&[("m/p.yaml", GOOD)]);
    for (target, link) in [("b.yaml", "m/a.yaml"), ("a.yaml", "m/b.yaml"), ("gone", "m/c.yaml"), (".", "m/self")] {
        desk.link(target, link);
    }
    let ended = desk.run(&["check", "m"]);
    let lines = ended.lines();
    assert_eq!((ended.code, lines.last()), (Some(1), Some(&"1 policy valid, 3 errors, 1 warning")), "{lines:?}");
    for (line, file) in lines.iter().zip(["m/a.yaml", "m/b.yaml", "m/c.yaml"]) {
        assert!(line.starts_with(&format!("{file}: cannot be read: ")), "{line}");
    }
}

#[test]
fn files_that_are_no_text_are_told_with_a_line() {
    let desk = Desk::new(&[("m/p.yaml", GOOD)]);
    desk.write("m/a.yaml", b"kind: x\napiVersion: y\nname: \xff\n");
    desk.write("m/b.yaml", b"\xff\xfek\0i\0n\0d\0");
    let ended = desk.run(&["check", "m"]);
    assert_eq!(
        ended.lines()[..2],
        [
            "m/a.yaml: line 3 is not UTF-8; save the file as UTF-8",
            "m/b.yaml: line 1 is not UTF-8; save the file as UTF-8",
        ]
    );
    assert_eq!((ended.code, ended.lines().pop()), (Some(1), Some("1 policy valid, 2 errors, 0 warnings")));
}

#[test]
fn bad_values_are_told_all_at_once_with_what_to_write() {
    let text = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: 7}\nspec:\n  \
                endpointSelector: {matchLabels: {app: 7, \u{430}pp: x, tier: \u{440}rod}}\n  ingress:\n  - toPorts:\n    \
                - ports: [{port: 80, protocol: TCP}]\n      rules: {http: [{method: GET, method: PUT}]}\n";
    let ended = Desk::new(&[("p.yaml", text)]).run(&["check", "p.yaml"]);
    let told = [
        "p.yaml:3: metadata.name: 7 is not a text; write it in quotes: \"7\"",
        "p.yaml:5: spec.endpointSelector.matchLabels.app: 7 is not a text; write it in quotes: \"7\"",
        "p.yaml:5: spec.endpointSelector.matchLabels.tier: label value \"\u{440}rod\" ('\u{440}' is U+0440) is not valid: ",
        "p.yaml:5: spec.endpointSelector.matchLabels.\u{430}pp: label key \"\u{430}pp\" ('\u{430}' is U+0430) is not valid: ",
        "p.yaml:8: spec.ingress[0].toPorts[0].ports[0].port: 80 is not a text; write it in quotes: \"80\"",
        "p.yaml:9: spec.ingress[0].toPorts[0].rules.http[0].method: is already on line 9; write it once",
        "0 policies valid, 6 errors, 0 warnings",
    ];
    let lines = ended.lines();
    assert_eq!((ended.code, lines.len()), (Some(1), told.len()), "{}", ended.out);
    assert!(lines.iter().zip(told).all(|(line, told)| line.starts_with(told)), "{}", ended.out);
}

/// What it costs is bounded by what is read: were it not, this test would not end.
#[test]
fn very_many_documents() {
    let others = "---\nkind: ConfigMap\napiVersion: v1\n".repeat(100_000);
    let policies: Vec<String> = (0..5_000).map(|number| format!("---\n{}", named(&format!("p{number}")))).collect();
    let same = format!("---\n{}", named("same").replace("method:", "verb:")).repeat(3_000);
    let desk = Desk::new(&[("others.yaml", &others), ("policies.yaml", &policies.concat()), ("same.yaml", &same)]);
    let ended = desk.run(&["check", "others.yaml", "policies.yaml", "same.yaml"]);
    // Each but the first of one name is told for that, too.
    let last = "5000 policies valid, 6000 errors, 0 warnings, 20000 documents skipped";
    assert_eq!((ended.code, ended.lines().pop()), (Some(1), Some(last)));
    let end = "others.yaml:60001: more than 20000 documents; split the file; what follows was not read";
    assert_eq!(ended.lines().iter().filter(|line| **line == end).count(), 1);
}

#[test]
fn every_warning_has_its_word() {
    let spec = |name: &str, spec: &str| {
        format!("---\napiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: {name}}}\nspec:\n{spec}\n")
    };
    let http = |rule: &str| {
        let ports = format!("toPorts: [{{ports: [{{port: '80', protocol: TCP}}], rules: {{http: [{rule}]}}}}]");
        spec("http", &format!("  endpointSelector: {{matchLabels: {{app: web}}}}\n  egress: [{{{ports}}}]"))
    };
    let open = spec("open", "  endpointSelector: {}\n  egress: [{toEntities: [all]}]");
    let kubernetes = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: k}\nspec: {podSelector: {}, \
                      policyTypes: [Ingress], egress: [{}]}\n";
    let nobody =
        spec("nobody", "  endpointSelector: {}\n  ingress: [{fromEndpoints: [], toPorts: [{ports: [{port: '1'}]}]}]");
    let gone = spec("gone", "  endpointSelector: {matchLabels: {app: gone}}\n  ingress: [{}]");
    for (kind, text) in [
        ("shadowed", http("{}") + &open),
        ("no-query", http("{path: /a}")),
        ("no-head", http("{method: GET}")),
        ("any-character", http("{host: a.b}")),
        ("never-matches", http("{method: get}")),
        ("no-peers", nobody),
        ("no-effect", kubernetes.to_owned()),
        ("selects-nothing", gone),
        ("empty", String::new()),
    ] {
        let desk = Desk::new(&[("p.yaml", &text), ("config.yaml", CONFIG)]);
        let told = desk.run(&["check", "p.yaml", "--config", "config.yaml", "--output", "json"]).json();
        let found: Vec<&str> =
            told["warnings"].as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect();
        assert!(found.contains(&kind), "{kind}: {told:#}");
    }
}
