use super::*;
use crate::{
    labels::{CLUSTER, Label},
    manifest::{self, Document},
    set::{Action, MapEntry},
    verdict::{L4Verdict, MatchType},
};

const NAMESPACE: &str = "io.kubernetes.pod.namespace";

fn policy(body: &str) -> InForce {
    named("p", body)
}

fn named(name: &str, body: &str) -> InForce {
    let text = format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: {name}, namespace: n}}\nspec:\n  endpointSelector: {{}}\n{body}"
    );
    of_text(&text)
}

fn of_text(text: &str) -> InForce {
    match manifest::parse(text).pop() {
        Some(Document::Policy(policy)) => InForce::Policy(policy),
        document => panic!("{document:?}"),
    }
}

fn pod(app: &str) -> Labels {
    let labels = [Label::new("k8s", NAMESPACE, "n"), Label::new("k8s", CLUSTER, "c"), Label::new("k8s", "app", app)];
    Labels::new(labels)
}

/// In the words of Cilium's policy verdicts.
#[test]
fn a_rule_tells_what_it_looks_at() {
    let mut identities = Identities::new();
    identities.allocate(&pod("a"));
    let cilium = |entry: &str| policy(&format!("  ingress: [{entry}]\n"));
    let (peers, tcp) =
        ("fromEndpoints: [{matchLabels: {app: a}}]", "toPorts: [{ports: [{port: \"80\", protocol: TCP}]}]");
    let any = tcp.replace("80", "0");
    for (entry, wanted) in [
        (peers.to_owned(), MatchType::L3Only),
        (format!("{peers}, {tcp}"), MatchType::L3L4),
        (tcp.to_owned(), MatchType::L4Only),
        ("fromEntities: [all]".to_owned(), MatchType::All),
        (format!("{peers}, {any}"), MatchType::L3Proto),
        (any.clone(), MatchType::ProtoOnly),
        ("icmps: [{fields: [{type: 8, family: IPv4}]}]".to_owned(), MatchType::L4Only),
    ] {
        let resolved = resolve(&[cilium(&format!("{{{entry}}}"))], &pod("a"), &NamedPorts::default(), &identities, &[]);
        let entries = resolved.ingress.entries();
        let found: Vec<MatchType> = entries.iter().filter_map(|entry| Some(entry.rule.as_ref()?.matches)).collect();
        assert!(!found.is_empty() && found.iter().all(|one| *one == wanted), "{entry}: {found:?}");
    }
    let all = [MatchType::None, MatchType::L3Only, MatchType::L3L4, MatchType::L4Only, MatchType::All];
    let numbers = all.into_iter().chain([MatchType::L3Proto, MatchType::ProtoOnly]).map(MatchType::number);
    assert!(numbers.eq(0..7), "as Cilium's monitor numbers them");
}

#[test]
fn nothing_is_never_everything() {
    let mut identities = Identities::new();
    let own = identities.allocate(&pod("a"));
    // 0 is "any" to the kernel.
    let not_host =
        "  ingress:\n  - fromEndpoints: [{matchExpressions: [{key: 'reserved:host', operator: DoesNotExist}]}]\n";
    let resolved = resolve(&[policy(not_host)], &pod("a"), &NamedPorts::default(), &identities, &[]);
    let peers: Vec<Option<Identity>> = resolved.ingress.entries().iter().map(|entry| entry.identity).collect();
    assert!(!peers.contains(&None) && !peers.contains(&Some(Identity::UNKNOWN)), "{peers:?}");
    assert!(!peers.contains(&Some(Identity::HOST)) && peers.contains(&Some(own)), "{peers:?}");
    for nobody in ["{}", "{fromEndpoints: []}", "{fromEndpoints: [{matchLabels: {app: x}}]}", "{fromCIDR: []}"] {
        let resolved = resolve(
            &[policy(&format!("  ingress: [{nobody}]\n"))],
            &pod("a"),
            &NamedPorts::default(),
            &identities,
            &[],
        );
        assert!(resolved.ingress.enforced() && resolved.ingress.entries().is_empty(), "{nobody}");
        assert!(!resolved.egress.enforced());
    }
}

#[test]
fn nil_and_empty_lists_mean_what_cilium_means() {
    let mut identities = Identities::new();
    let a = identities.allocate(&pod("a"));
    let entries = |allow: &str| {
        let resolved =
            resolve(&[policy(&format!("  egress: [{allow}]\n"))], &pod("x"), &NamedPorts::default(), &identities, &[]);
        let entries = resolved.egress.entries().to_vec();
        assert!(entries.iter().all(|entry| entry.precedence == 0xffff_ff01 && entry.rule.is_some()), "{entries:?}");
        entries.into_iter().map(|entry| MapEntry { rule: None, ..entry }).collect::<Vec<_>>()
    };
    let entry = |identity, protocol, port| MapEntry {
        identity,
        protocol,
        port,
        port_bits: if port == 0 { 0 } else { 16 },
        action: Action::Allow,
        precedence: 0xffff_ff01,
        rule: None,
    };
    let port = "toPorts: [{ports: [{port: '80', protocol: TCP}]}]";
    assert_eq!(entries(&format!("{{{port}}}")), [entry(None, Protocol::Tcp, 80)], "no list: anybody on that port");
    assert_eq!(entries(&format!("{{toEndpoints: [], {port}}}")), [], "an empty list: nobody");
    assert_eq!(entries(&format!("{{toEndpoints: [{{}}], toCIDR: [], {port}}}")), [], "whatever stands beside it");
    assert_eq!(entries("{toEndpoints: [{}]}"), [entry(Some(a), Protocol::Any, 0)], "every port");
    assert_eq!(entries("{toEndpoints: [{}], toPorts: []}"), [entry(Some(a), Protocol::Any, 0)]);
    assert_eq!(entries("{toEndpoints: [{}], toPorts: [{}]}"), [], "an entry without ports is about none");
    assert_eq!(entries("{toPorts: []}"), []);
    let any = entries("{toEndpoints: [{}], toPorts: [{ports: [{port: '0'}]}]}");
    let protocols: Vec<Protocol> = any.iter().map(|entry| entry.protocol).collect();
    assert_eq!(protocols, [Protocol::Tcp, Protocol::Udp, Protocol::Sctp], "ANY is every protocol with ports");
    let ping = "icmps: [{fields: [{type: 8}, {family: IPv6, type: EchoRequest}]}]";
    let pings = [entry(None, Protocol::Icmp, 8), entry(None, Protocol::Icmp6, 128)];
    assert_eq!(entries(&format!("{{{ping}}}")), pings, "no list: anybody with these messages");
    assert_eq!(entries(&format!("{{{ping}, toPorts: []}}")), pings);
    let reply = MapEntry { port_bits: 16, ..entry(None, Protocol::Icmp, 0) };
    assert_eq!(entries("{icmps: [{fields: [{type: 0}]}]}"), [reply], "type 0 is a type as any other");
    assert_eq!(entries(&format!("{{toEndpoints: [], {ping}}}")), []);
    assert_eq!(entries("{toEndpoints: [{}], icmps: []}"), [entry(Some(a), Protocol::Any, 0)]);
    for none in ["[{}]", "[{fields: []}]", "[{fields: null}]"] {
        assert_eq!(entries(&format!("{{toEndpoints: [{{}}], icmps: {none}}}")), [], "{none}: about no message");
    }
}

#[test]
fn a_named_port_is_its_owners() {
    let mut identities = Identities::new();
    let (a, b) = (identities.allocate(&pod("a")), identities.allocate(&pod("b")));
    let ports = |number: u16| BTreeMap::from([("http".to_owned(), ContainerPort::tcp(number))]);
    let named = NamedPorts { own: ports(8080), peers: BTreeMap::from([(a, ports(80)), (b, ports(81))]) };
    let rule = "toPorts: [{ports: [{port: HTTP, protocol: TCP}]}]";
    let ingress =
        resolve(&[policy(&format!("  ingress: [{{{rule}}}]\n"))], &pod("x"), &named, &identities, &[]).ingress;
    assert_eq!(ingress.entries().iter().map(|entry| (entry.identity, entry.port)).collect::<Vec<_>>(), [(None, 8080)]);
    let egress = resolve(&[policy(&format!("  egress: [{{{rule}}}]\n"))], &pod("x"), &named, &identities, &[]).egress;
    let found: BTreeSet<_> = egress.entries().iter().map(|entry| (entry.identity, entry.port)).collect();
    assert_eq!(found, BTreeSet::from([(Some(a), 80), (Some(b), 81)]));
    let unknown =
        resolve(&[policy(&format!("  ingress: [{{{rule}}}]\n"))], &pod("x"), &NamedPorts::default(), &identities, &[]);
    assert!(unknown.ingress.enforced() && unknown.ingress.entries().is_empty(), "nobody has it: nothing is open");
}

#[test]
fn a_cidr_selects_what_it_contains_and_no_pod() {
    let mut identities = Identities::new();
    identities.allocate(&pod("a"));
    let policy = policy("  egress: [{toCIDR: [10.1.2.3/8]}]\n");
    let mut cidr = |text: &str| identities.allocate_cidr(text.parse().unwrap());
    let (inside, same, outside) = (cidr("10.1.0.0/16"), cidr("10.0.0.0/8"), cidr("0.0.0.0/0"));
    assert_eq!(policy.cidrs(), ["10.0.0.0/8".parse().unwrap()]);
    let egress = resolve(&[policy], &pod("x"), &NamedPorts::default(), &identities, &[]).egress;
    let found: Vec<Identity> = egress.entries().iter().filter_map(|entry| entry.identity).collect();
    assert_eq!(found, [inside, same]);
    assert_eq!(egress.l4(outside, Protocol::Tcp, 80), L4Verdict::Denied(None));
    assert_eq!(egress.l4(Identity::WORLD, Protocol::Tcp, 80), L4Verdict::Denied(None));
}

#[test]
fn a_redirect_outranks_an_allow_and_both_are_named_in_order() {
    let mut identities = Identities::new();
    let a = identities.allocate(&pod("a"));
    let http = named("b", "  egress: [{toPorts: [{ports: [{port: '80', protocol: TCP}], rules: {http: [{}]}}]}]\n");
    let open = named("a", "  egress: [{toEndpoints: [{matchLabels: {app: a}}]}]\n");
    let egress = resolve(&[http, open], &pod("x"), &NamedPorts::default(), &identities, &[]).egress;
    assert_eq!(egress.l4(a, Protocol::Tcp, 80), L4Verdict::Redirect);
    assert!(matches!(egress.l4(a, Protocol::Udp, 80), L4Verdict::Allowed(Some(rule)) if rule.rule == "egress[0]"));
    assert_eq!(egress.l4(Identity::WORLD, Protocol::Tcp, 80), L4Verdict::Redirect);
    assert_eq!(egress.l4(Identity::WORLD, Protocol::Tcp, 81), L4Verdict::Denied(None));
    let names: Vec<&str> = egress.default_denied_by().iter().map(|key| key.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn whom_the_same_rules_apply_to_share_what_they_mean() {
    let pods: Vec<Labels> = (0..20).map(|number| pod(&format!("a{number}"))).collect();
    let mut identities = Identities::new();
    for labels in &pods {
        identities.allocate(labels);
    }
    let rule = "  ingress: [{toPorts: [{ports: [{port: '80', protocol: TCP}], rules: {http: [{path: /a}]}}]}]\n";
    let mut policies: Vec<InForce> = (0..5).map(|number| named(&format!("p{number}"), rule)).collect();
    let one = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: one, namespace: n}\nspec:\n  \
               endpointSelector: {matchLabels: {app: a7}}\n  egress: [{toEntities: [world]}]\n";
    policies.push(of_text(one));
    let (ports, nobody) = (PortNames::new(), BTreeMap::new());
    let mut resolver = Resolver::new(&policies, &identities, &[], &nobody);
    let mut resolve = |labels| resolver.endpoint(&Subject { labels, addresses: &[], ports: &ports });
    let first = resolve(&pods[0]);
    for (number, labels) in pods.iter().enumerate() {
        let policy = resolve(labels);
        assert!(Arc::ptr_eq(&policy.ingress, &first.ingress), "other labels, the same rules");
        assert_eq!(Arc::ptr_eq(&policy.egress, &first.egress), number != 7, "one more rule in this direction");
    }
}

/// Whose, what, its precedence and its rule.
type Entry = (Option<Identity>, Action, u32, String);

#[test]
fn precedences_are_cilium_s() {
    let mut identities = Identities::new();
    let a = identities.allocate(&pod("a"));
    let b = identities.allocate(&pod("b"));
    let port = |more: &str| format!("toPorts: [{{ports: [{{port: '80', protocol: TCP}}]{more}}}]");
    let allow = named("allow", &format!("  egress: [{{{}}}]\n", port("")));
    let requests = port(", rules: {http: [{path: /a}]}");
    let requests =
        named("requests", &format!("  egress: [{{toEndpoints: [{{matchLabels: {{app: a}}}}], {requests}}}]\n"));
    let deny =
        named("deny", &format!("  egressDeny: [{{toEndpoints: [{{matchLabels: {{app: b}}}}], {}}}]\n", port("")));
    let trial = named("trial, annotations: {l7proxy.io/audit: 'true'}", &format!("  egressDeny: [{{{}}}]\n", port("")));
    let egress = |policies: &[InForce]| resolve(policies, &pod("x"), &NamedPorts::default(), &identities, &[]).egress;
    let of = |policies: &[InForce]| -> Vec<_> {
        let egress = egress(policies);
        let of_port = egress.entries().iter().filter(|entry| entry.port == 80);
        let rule = |entry: &MapEntry| entry.rule.as_ref().map(|rule| rule.policy.name.clone()).unwrap_or_default();
        of_port.map(|entry| (entry.identity, entry.action, entry.precedence, rule(entry))).collect()
    };
    let found = of(&[allow.clone(), requests.clone(), deny.clone()]);
    // By identity.
    let of_peers = |entries: [Entry; 3]| {
        let mut entries = entries.to_vec();
        entries.sort_by_key(|(identity, ..)| *identity);
        entries
    };
    let expected = of_peers([
        (None, Action::Allow, 0xffff_ff01, "allow".to_owned()),
        (Some(a), Action::Redirect, 0xffff_ff9a, String::new()),
        (Some(b), Action::Deny, 0xffff_ffff, "deny".to_owned()),
    ]);
    assert_eq!(found, expected);
    let found = of(&[allow, requests, deny, trial]);
    let expected = of_peers([
        (None, Action::Audit, 0xffff_ff03, "trial".to_owned()),
        (Some(a), Action::Redirect, 0xffff_ff9a, String::new()),
        (Some(b), Action::Deny, 0xffff_ffff, "deny".to_owned()),
    ]);
    assert_eq!(found, expected, "above what is allowed, below what requests decide");
}
