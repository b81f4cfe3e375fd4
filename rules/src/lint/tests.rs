use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::{
    Labels, PodLabels,
    manifest::{Document, parse},
};

fn policies(text: &str) -> Vec<Arc<Policy>> {
    let policy = |document| {
        let Document::Policy(policy) = document else { panic!("not valid: {document:?}") };
        policy
    };
    parse(text).into_iter().map(policy).collect()
}

fn findings(text: &str, known: Option<&Identities>) -> Vec<Finding> {
    let policies = policies(text);
    lint(&policies.iter().map(|policy| &**policy).collect::<Vec<_>>(), known)
}

/// Kinds of what is found.
fn kinds(text: &str) -> Vec<&'static str> {
    findings(text, None).iter().map(|finding| finding.kind.word()).collect()
}

fn cilium(name: &str, spec: &str) -> String {
    format!("apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: {name}}}\nspec:\n{spec}\n---\n")
}

/// A policy with these HTTP rules; the rules are on line 9.
fn http(rules: &str) -> String {
    cilium(
        "p",
        &format!(
            "  endpointSelector: {{matchLabels: {{app: a}}}}\n  egress:\n  - toEndpoints: [{{matchLabels: {{app: b}}}}]\n    \
             toPorts: [{{ports: [{{port: '80', protocol: TCP}}], rules: {{http: \n      [{rules}]}}}}]"
        ),
    )
}

const ASKS: &str = "  endpointSelector: {matchLabels: {app: a}}\n  egress:\n  - toEndpoints: [{matchLabels: {app: b}}]\n    \
                    toPorts: [{ports: [{port: '80', protocol: TCP}], rules: {http: [{path: '/.*'}]}}]";

/// Kinds beside a policy that asks for requests of `app: a` to `app: b`, port 80.
fn beside(spec: &str) -> Vec<&'static str> {
    kinds(&(cilium("asks", ASKS) + &cilium("other", spec)))
}

#[test]
fn http_rules_behind_a_wider_rule_are_told() {
    let subject = "  endpointSelector: {matchLabels: {app: a}}\n";
    for wider in [
        "  endpointSelector: {}\n  egress: [{toEndpoints: [{}]}]".to_owned(),
        format!("{subject}  egress: [{{toEntities: [all]}}]"),
        format!("{subject}  egress: [{{toPorts: [{{ports: [{{port: '80'}}]}}]}}]"),
        format!("{subject}  egress: [{{toPorts: [{{ports: [{{port: '1', endPort: 99, protocol: TCP}}]}}]}}]"),
        format!(
            "{subject}  egress: [{{toEndpoints: [{{matchLabels: {{app: b}}}}], toPorts: [{{ports: [{{port: '0'}}]}}]}}]"
        ),
        format!("{subject}  egressDeny: [{{toEndpoints: [{{matchLabels: {{app: b}}}}]}}]"),
        format!(
            "{subject}  enableDefaultDeny: {{egress: false}}\n  egress: [{{toPorts: [{{ports: [{{port: '80', protocol: TCP}}], rules: {{http: [{{}}]}}}}]}}]"
        ),
    ] {
        assert!(beside(&wider).contains(&"shadowed"), "{wider}");
    }
}

#[test]
fn wider_subjects_are_found_however_they_are_wider() {
    let open = "  egress: [{toEndpoints: [{}]}]";
    let expression = |text: &str| format!("  endpointSelector: {{matchExpressions: [{{{text}}}]}}\n{open}");
    for (wider, told) in [
        ("key: app, operator: In, values: [z, a]", true),
        ("key: app, operator: Exists", true),
        ("key: app, operator: In, values: [z]", false),
        ("key: app, operator: NotIn, values: [z]", false),
        ("key: tier, operator: DoesNotExist", false),
    ] {
        assert_eq!(beside(&expression(wider)).contains(&"shadowed"), told, "{wider}");
        let cluster =
            cilium("wide", &expression(wider)).replace("CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy");
        assert_eq!(kinds(&(cilium("asks", ASKS) + &cluster)).contains(&"shadowed"), told, "cluster-wide: {wider}");
    }
    let both = "  endpointSelector: {matchLabels: {app: a}, matchExpressions: [{key: tier, operator: DoesNotExist}]}\n";
    let narrow = ASKS.replace("  endpointSelector: {matchLabels: {app: a}}\n", both);
    let wide = cilium("wide", &expression("key: tier, operator: DoesNotExist"));
    assert!(kinds(&(cilium("asks", &narrow) + &wide)).contains(&"shadowed"));
}

#[test]
fn of_several_wider_rules_the_first_is_named() {
    let open = |name: &str, subject: &str| {
        cilium(name, &format!("  endpointSelector: {subject}\n  egress: [{{toEndpoints: [{{}}]}}]"))
    };
    let (all, some) = (open("all", "{}"), open("some", "{matchExpressions: [{key: app, operator: Exists}]}"));
    let own = open("own", "{matchLabels: {app: a}}");
    for (order, first) in [([&all, &some, &own], "all"), ([&some, &own, &all], "some"), ([&own, &all, &some], "own")] {
        let text = order.into_iter().fold(cilium("asks", ASKS), |text, policy| text + policy);
        let found = findings(&text, None);
        assert!(found[0].text.contains(&format!("CiliumNetworkPolicy default/{first} ")), "{first}: {found:?}");
    }
}

#[test]
fn http_rules_that_edit_requests_are_not_told_on_an_open_port() {
    let open = cilium("open", "  endpointSelector: {}\n  egress: [{toEndpoints: [{}]}]");
    for (action, found) in [("ADD", false), ("", true)] {
        let rule = format!("{{path: '/.*', headerMatches: [{{name: X, value: v, mismatch: '{action}'}}]}}");
        let asks = ASKS.replace("{path: '/.*'}", &rule);
        assert_eq!(kinds(&(cilium("asks", &asks) + &open)).contains(&"shadowed"), found, "{asks}");
    }
}

#[test]
fn http_rules_that_decide_something_are_not_told() {
    let subject = "  endpointSelector: {matchLabels: {app: a}}\n";
    for other in [
        "  endpointSelector: {matchLabels: {app: c}}\n  egress: [{toEndpoints: [{}]}]".to_owned(),
        "  endpointSelector: {matchLabels: {app: a, tier: x}}\n  egress: [{toEndpoints: [{}]}]".to_owned(),
        format!("{subject}  ingress: [{{fromEntities: [all]}}]"),
        format!("{subject}  egress: [{{toEntities: [cluster]}}]"),
        format!("{subject}  egress: [{{toEndpoints: [{{matchLabels: {{app: b, tier: x}}}}]}}]"),
        format!("{subject}  egress: [{{toPorts: [{{ports: [{{port: '81'}}]}}]}}]"),
        format!("{subject}  egress: [{{toPorts: [{{ports: [{{port: '80', protocol: UDP}}]}}]}}]"),
        format!("{subject}  egress: [{{toPorts: [{{ports: [{{port: http}}]}}]}}]"),
        format!("{subject}  egress: [{{}}]"),
        format!("{subject}  egress: [{{toEndpoints: [{{matchLabels: {{app: b}}}}], toPorts: [{{}}]}}]"),
        format!("{subject}  egress: [{{icmps: [{{fields: [{{type: 80}}]}}]}}]"),
        format!(
            "{subject}  egress: [{{toPorts: [{{ports: [{{port: '80', protocol: TCP}}], rules: {{http: [{{}}]}}}}]}}]"
        ),
    ] {
        assert_eq!(beside(&other), [""; 0], "{other}");
    }
}

#[test]
fn ports_and_messages_that_another_rule_denies_are_told() {
    let audit = "{name: other, annotations: {l7proxy.io/audit: 'true'}}";
    let beside = |allowed: &str, denied: &str, metadata: &str| {
        let spec = |list: &str, what: &str| format!("  endpointSelector: {{}}\n  {list}: [{{{what}}}]");
        let other = cilium("other", &spec("ingressDeny", denied)).replace("{name: other}", metadata);
        kinds(&(cilium("allows", &spec("ingress", allowed)) + &other)).contains(&"shadowed")
    };
    let (ping, pings) = ("icmps: [{fields: [{type: 8}]}]", "icmps: [{fields: [{type: 8}, {type: 0}]}]");
    let port = "toPorts: [{ports: [{port: '80', protocol: TCP}]}]";
    let any = "toPorts: [{ports: [{port: '0'}]}]";
    for (allowed, denied) in [(ping, pings), (pings, ping), (ping, "fromEntities: [all]"), (port, any), (port, port)] {
        assert!(beside(allowed, denied, "{name: other}"), "{allowed} {denied}");
        assert!(!beside(allowed, denied, audit), "{allowed} {denied}: it is only told");
    }
    let v6 = "icmps: [{fields: [{family: IPv6, type: 8}]}]";
    for (allowed, denied) in [(ping, v6), (ping, any), (port, ping), (ping, "fromEndpoints: [{}]"), (any, port)] {
        assert!(!beside(allowed, denied, "{name: other}"), "{allowed} {denied}");
    }
    let same = cilium("one", &format!("  endpointSelector: {{}}\n  ingress: [{{{port}}}]"));
    assert_eq!(kinds(&(same.clone() + &same.replace("one", "two"))), [""; 0], "what two rules allow");
}

#[test]
fn a_finding_says_where_it_is() {
    let text = cilium("asks", ASKS) + &cilium("all", "  endpointSelector: {}\n  egress: [{toEntities: [all]}]");
    let found = findings(&text, None);
    let [finding] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((finding.policy, finding.line), (0, 8));
    assert_eq!(finding.field, "spec.egress[0].toPorts[0].rules");
    assert!(finding.text.contains("CiliumNetworkPolicy default/all egress[0] (line 15)"), "{}", finding.text);
}

#[test]
fn paths_that_leave_no_room_for_a_query() {
    for (path, told) in [
        ("/read", true),
        ("/read|/write", true),
        ("/users/[0-9]+", true),
        ("/.*/posts", true),
        ("^/read$", true),
        ("/read.*", false),
        ("/read(\\?.*)?", false),
        ("/read\\?id=[0-9]+", false),
        ("/read[?]id=[0-9]+", false),
        ("/users/[^/]+", false),
        ("/read(/.*)?", false),
        (".*", false),
    ] {
        let found = kinds(&http(&format!("{{path: '{path}'}}")));
        assert_eq!(found.contains(&"no-query"), told, "{path}: {found:?}");
    }
}

#[test]
fn get_without_head() {
    for (rules, told) in [
        ("{method: GET}", true),
        ("{method: GET|POST}", true),
        ("{method: GET|HEAD}", false),
        ("{method: 'G.*|HEAD'}", false),
        ("{method: POST}", false),
        ("{method: GET, path: '/a.*'}, {method: HEAD, path: '/a.*'}", false),
        ("{method: GET, path: '/a.*'}, {method: HEAD}", false),
        ("{method: GET, path: '/a.*'}, {method: HEAD, path: '/b.*'}", true),
        ("{method: GET}, {method: HEAD, headers: [X-A]}", true),
    ] {
        assert_eq!(kinds(&http(rules)).contains(&"no-head"), told, "{rules}");
    }
}

#[test]
fn dots_that_seem_to_be_dots() {
    for (rule, told) in [
        ("{path: '/v1.0/.*'}", true),
        ("{host: api.example.com}", true),
        ("{host: 'api\\.example\\.com'}", false),
        ("{path: '/v1\\.0/.*'}", false),
        ("{path: '/v1[.]0/.*'}", false),
        ("{path: '/[a.b]/.*'}", false),
        ("{path: '/\\d.5/.*'}", false),
        ("{path: '/read.*'}", false),
        ("{path: '/a.+b.*'}", false),
    ] {
        assert_eq!(kinds(&http(rule)).contains(&"any-character"), told, "{rule}");
    }
}

#[test]
fn rules_that_can_never_match() {
    for (rule, told) in [
        ("{method: get}", true),
        ("{method: Get|POST}", true),
        ("{method: purge}", false),
        ("{method: '(?i)post'}", false),
        ("{path: 'api/.*'}", true),
        ("{path: '(api|x)/.*'}", true),
        ("{path: '/a/\\.\\./b'}", true),
        ("{path: '/a/../b'}", false),
        ("{path: '/%7Ea'}", true),
        ("{path: '/a b'}", true),
        ("{path: '/a//b'}", false),
        ("{path: '\\*'}", false),
        ("{path: '^/api/.*'}", false),
        ("{path: '[/x]api/.*'}", false),
        ("{path: '(x|/api)/.*'}", false),
        ("{path: 'x?/api/.*'}", false),
        ("{host: 'http://api'}", true),
        ("{host: 'api/v1'}", true),
        ("{host: 'Api'}", false),
        ("{host: 'api:8080'}", false),
        ("{headers: ['X A@: b', 'a b']}", false),
        ("{headers: ['X(A): b']}", true),
        ("{headers: ['X-A: b', X-B]}", false),
    ] {
        assert_eq!(kinds(&http(rule)).contains(&"never-matches"), told, "{rule}");
    }
}

#[test]
fn an_http_rule_is_named_with_its_line() {
    let found = findings(&http("{path: '/.*'},\n       {host: a.b}"), None);
    let [finding] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((finding.line, finding.field.as_str()), (10, "spec.egress[0].toPorts[0].rules.http[1].host"));
}

#[test]
fn ports_without_peers() {
    let with = |entry: &str| kinds(&cilium("p", &format!("  endpointSelector: {{}}\n  ingress: [{entry}]")));
    assert_eq!(with("{fromEndpoints: [], toPorts: [{ports: [{port: '80'}]}]}"), ["no-peers"]);
    assert_eq!(with("{toPorts: [{ports: [{port: '80'}]}]}"), [""; 0], "everybody");
    assert_eq!(with("{}"), [""; 0], "default deny");
}

#[test]
fn directions_that_policy_types_leave_out() {
    let with = |spec: &str| {
        let head = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\n";
        findings(&format!("{head}spec:\n  podSelector: {{}}\n{spec}\n"), None)
    };
    let found = with("  policyTypes: [Ingress]\n  ingress: []\n  egress:\n  - {}");
    let [finding] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((finding.kind.word(), finding.field.as_str(), finding.line), ("no-effect", "spec.egress", 9));
    assert!(with("  policyTypes: [Ingress]\n  egress: []").is_empty());
    assert!(with("  policyTypes: [Egress]\n  egress: [{}]").is_empty());
    assert!(with("  ingress: [{}]\n  egress: [{}]").is_empty());
}

#[test]
fn selectors_that_select_nothing_that_is_known() {
    let mut identities = Identities::new();
    let labels = BTreeMap::from([("app".to_owned(), "a".to_owned())]);
    let none = BTreeMap::new();
    identities.allocate(&Labels::from(PodLabels {
        namespace: "default",
        cluster: "default",
        service_account: None,
        labels: &labels,
        namespace_labels: &none,
    }));
    let with = |subject: &str, peer: &str| {
        let spec = format!(
            "  endpointSelector: {{matchLabels: {{{subject}}}}}\n  ingress: [{{fromEndpoints: [{{matchLabels: {{{peer}}}}}]}}]"
        );
        let found = findings(&cilium("p", &spec), Some(&identities));
        found.into_iter().map(|finding| finding.field).collect::<Vec<_>>()
    };
    assert_eq!(with("app: a", "app: a"), [""; 0]);
    assert_eq!(with("app: b", "app: a"), ["spec"]);
    assert_eq!(with("app: a", "app: b"), ["spec.ingress[0]"]);
    assert_eq!(with("app: a", "'reserved:host': ''"), [""; 0]);
    assert!(findings(&cilium("p", ASKS), None).is_empty(), "nobody is known");
}

#[test]
fn the_policies_of_a_user_may_be_right() {
    assert_eq!(kinds(&http("{method: GET|HEAD, path: '/api/v1/read.*', headers: ['X-A: b']}")), [""; 0]);
}

#[test]
fn cidr_groups_that_are_not_there_or_are_not_asked_for() {
    let group = "apiVersion: cilium.io/v2\nkind: CiliumCIDRGroup\nmetadata: {name: g, labels: {a: b}}\n\
                 spec: {externalCIDRs: [192.0.2.0/24]}\n---\n";
    let peers = |set: &str| cilium("p", &format!("  endpointSelector: {{}}\n  egress: [{{toCIDRSet: [{set}]}}]"));
    for (set, alone, beside) in [
        ("{cidr: 10.0.0.0/8}", "", ""),
        ("{cidrGroupRef: g}", "no-group", ""),
        ("{cidrGroupRef: h}", "no-group", "no-group"),
        ("{cidrGroupSelector: {matchLabels: {a: b}}}", "no-group", ""),
        ("{cidrGroupSelector: {matchLabels: {a: c}}}", "no-group", "no-group"),
        ("{cidrGroupSelector: {matchExpressions: [{key: a, operator: Exists}]}}", "no-group", ""),
        (
            "{cidrGroupSelector: {matchExpressions: [{key: a, operator: NotIn, values: [b]}]}}",
            "every-address",
            "every-address",
        ),
        (
            "{cidrGroupSelector: {matchExpressions: [{key: a, operator: DoesNotExist}]}}",
            "every-address",
            "every-address",
        ),
    ] {
        assert_eq!(kinds(&peers(set)).concat(), alone, "{set}");
        assert_eq!(kinds(&(group.to_owned() + &peers(set))).concat(), beside, "{set}");
    }
    let found = findings(&peers("{cidr: 10.0.0.0/8}, {cidrGroupRef: g}"), None);
    let [finding] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((finding.line, finding.field.as_str()), (6, "spec.egress[0].toCIDRSet[1].cidrGroupRef"));
    assert_eq!(finding.text, "CIDR group g: there is none; nobody is allowed by it");
}
