//! Calico's kinds all the way: from text to what becomes of a connection and of a request.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue, header};
use proptest::prelude::*;

use crate::{
    Action, Denial, Direction, DirectionPolicy, EndpointPolicy, Identities, Identity, InForce, L4Verdict, Labels,
    NamedPorts, PathOptions, PodLabels, Protocol, RequestView, Resolver, RuleRef, Subject, Verdict,
    calico::testing::document,
    manifest::{Document, parse},
    resolve_at,
};

/// A pod of the namespace n with the label `app`.
fn labels(app: &str) -> Labels {
    let (labels, none) = (BTreeMap::from([("app".to_owned(), app.to_owned())]), BTreeMap::new());
    let (namespace, cluster) = ("n", "c");
    Labels::from(PodLabels { namespace, cluster, service_account: None, labels: &labels, namespace_labels: &none })
}

fn in_force(text: &str) -> Vec<InForce> {
    let valid = |document| {
        let Document::Policy(policy) = document else { panic!("{document:?}\n{text}") };
        InForce::Policy(policy)
    };
    parse(text).into_iter().map(valid).collect()
}

/// What a text says of the pod `web`; and who `client` is.
fn resolved(text: &str) -> (EndpointPolicy, Identity) {
    let policies = in_force(text);
    let nets = policies.iter().flat_map(InForce::pod_cidrs).collect();
    let mut identities = Identities::new();
    identities.allocate_at(&labels("web"), [10, 0, 0, 1].into(), &nets);
    let client = identities.allocate_at(&labels("client"), [10, 0, 0, 2].into(), &nets);
    let (address, ports) = (Some([10, 0, 0, 1].into()), NamedPorts::default());
    (resolve_at(&policies, &labels("web"), address, &ports, &identities, &[]), client)
}

fn rule_of(rule: &RuleRef) -> String {
    format!("{} {}", rule.policy.name, rule.rule)
}

/// `deny` and by what; `nearest`: with the rule that came nearest.
fn denied(word: &str, denial: &Denial) -> String {
    let names: Vec<&str> = denial.denied_by.iter().map(|key| key.name.as_str()).collect();
    let by = match (&denial.rule, &denial.tier) {
        (Some(rule), None) => rule_of(rule),
        (None, Some(tier)) => format!("end of {tier} ({})", names.join(" ")),
        (None, None) => format!("nobody ({})", names.join(" ")),
        (Some(_), Some(_)) => panic!("both a rule and a tier's end"),
    };
    match &denial.nearest {
        Some(near) => format!("{word} {by}; near {} {} {}", rule_of(&near.rule), near.field, near.expected),
        None => format!("{word} {by}"),
    }
}

fn action(policy: &DirectionPolicy, peer: Identity, port: u16) -> Option<Action> {
    let of = |identity: Option<Identity>| {
        let fits = policy.entries().iter().filter(move |entry| {
            let unlike = (entry.port ^ port).checked_shr(16_u32.saturating_sub(entry.port_bits.into())).unwrap_or(0);
            let protocol = entry.protocol == Protocol::Any || entry.protocol == Protocol::Tcp;
            entry.identity == identity && protocol && unlike == 0
        });
        fits.max_by_key(|entry| (entry.protocol != Protocol::Any, entry.port_bits)).map(|entry| entry.action)
    };
    of(Some(peer)).or_else(|| of(None))
}

/// A connection of `client` over TCP; the kernel's entries must say the same.
fn connection(text: &str, port: u16) -> String {
    let (policy, client) = resolved(text);
    let policy = policy.direction(Direction::Ingress);
    let denial = || policy.denial_of(client, Protocol::Tcp.number(), port);
    let (told, wanted) = match policy.l4(client, Protocol::Tcp, port) {
        L4Verdict::NotEnforced => ("open".to_owned(), None),
        L4Verdict::Redirect => ("http".to_owned(), Some(Action::Redirect)),
        L4Verdict::Denied(_) => (denied("deny", &denial()), Some(Action::Deny)),
        L4Verdict::Allowed(_) if policy.is_audited(client, Protocol::Tcp, port) => {
            (denied("audit", &denial()), Some(Action::Audit))
        }
        L4Verdict::Allowed(None) => ("allow".to_owned(), Some(Action::Allow)),
        L4Verdict::Allowed(Some(rule)) => (format!("allow {}", rule_of(&rule)), Some(Action::Allow)),
    };
    // What has no entry is denied.
    let action = action(policy, client, port).or(policy.enforced().then_some(Action::Deny));
    assert_eq!(action, wanted, "{told}\n{text}");
    told
}

/// A request of `client` for `path`, if its connection goes to the proxy; else what becomes of the connection.
fn request(text: &str, port: u16, method: &str, path: &str) -> String {
    let told = connection(text, port);
    if told != "http" {
        return told;
    }
    let (policy, client) = resolved(text);
    let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("h"))]);
    let view = RequestView::new(method, path.as_bytes(), false, &headers, &PathOptions::default());
    let view = view.unwrap_or_else(|error| panic!("{path}: {error}"));
    match policy.direction(Direction::Ingress).evaluate(client, port, &view) {
        Verdict::Deny(denial) => denied("deny", &denial),
        Verdict::Allow(permit) => match (permit.audited(), permit.rule()) {
            (Some(denial), _) => denied("audit", denial),
            (None, Some(rule)) => format!("allow {}", rule_of(rule)),
            (None, None) => "allow".to_owned(),
        },
    }
}

fn global(name: &str, spec: &str) -> String {
    document("GlobalNetworkPolicy", &format!("{{name: {name}}}"), &format!("{{selector: app == 'web', {spec}}}"))
}

fn audited(name: &str, spec: &str) -> String {
    let metadata = format!("{{name: {name}, annotations: {{l7proxy.io/audit: 'true'}}}}");
    document("GlobalNetworkPolicy", &metadata, &format!("{{selector: app == 'web', {spec}}}"))
}

fn tier(name: &str, spec: &str) -> String {
    document("Tier", &format!("{{name: {name}}}"), &format!("{{{spec}}}"))
}

#[test]
fn requests_are_judged_from_the_first_rule_and_http_rules_that_do_not_match_are_skipped() {
    let text = global(
        "p",
        "ingress: [{action: Allow, protocol: TCP, http: {methods: [GET], paths: [{prefix: /public}]}}, {action: Allow, \
         protocol: TCP, http: {methods: [PUT]}, destination: {ports: [80]}}, {action: Pass, protocol: TCP, destination: \
         {ports: [81]}}]",
    );
    assert_eq!(request(&text, 80, "GET", "/public/x"), "allow p ingress[0]");
    assert_eq!(request(&text, 80, "GET", "/publicity"), "deny end of default (p); near p ingress[0] path /public/*");
    assert_eq!(request(&text, 80, "PUT", "/x"), "allow p ingress[1]");
    assert_eq!(request(&text, 80, "GET", "/public/../x"), "deny end of default (p); near p ingress[0] path /public/*");
    assert_eq!(request(&text, 80, "POST", "/public/x"), "deny end of default (p); near p ingress[0] method GET");
    assert_eq!(request(&text, 81, "PUT", "/x"), "allow", "passed on, and the profile allows");
    let open = global("p", "ingress: [{action: Allow, http: {methods: [GET]}}, {action: Allow}]");
    assert_eq!(request(&open, 80, "POST", "/"), "allow p ingress[1]");
    assert_eq!(
        request(&open, 80, "OPTIONS", "*"),
        "deny nobody (p); near p ingress[0] path a path that begins with / and has one meaning"
    );
}

#[test]
fn the_end_of_a_tier_is_told_with_the_rule_that_came_nearest() {
    let platform = tier("platform", "order: 1");
    let with = |rules: &str| platform.clone() + &global("platform.p", &format!("tier: platform, ingress: [{rules}]"));
    for (rules, told) in [
        ("", "deny end of platform (platform.p)"),
        ("{action: Deny, protocol: UDP}", "deny end of platform (platform.p)"),
        // The port is missed, the peer not.
        (
            "{action: Allow, protocol: TCP, source: {selector: app == 'x'}, destination: {ports: [80]}}, {action: Allow, \
             protocol: TCP, source: {selector: app == 'client'}, destination: {ports: [81]}}",
            "deny end of platform (platform.p); near platform.p ingress[1] destination.ports 81",
        ),
        // One field is missed, not two.
        (
            "{action: Allow, protocol: UDP, source: {selector: app == 'x'}}, {action: Allow, source: {selector: app == \
             'y'}}",
            "deny end of platform (platform.p); near platform.p ingress[1] source.selector app == \"y\"",
        ),
        // Of equals an Allow, then the first.
        (
            "{action: Pass, protocol: UDP}, {action: Allow, protocol: SCTP}, {action: Allow, protocol: UDP}",
            "deny end of platform (platform.p); near platform.p ingress[1] protocol SCTP",
        ),
        ("{action: Pass, protocol: UDP}", "deny end of platform (platform.p); near platform.p ingress[0] protocol UDP"),
        (
            "{action: Allow, protocol: TCP, source: {ports: [9]}}",
            "deny end of platform (platform.p); near platform.p ingress[0] source.ports 9 (not known of it)",
        ),
    ] {
        assert_eq!(connection(&with(rules), 80), told, "{rules}");
    }
    // A rule of an earlier tier that allows came near as well; what that passes on did not.
    let earlier = tier("first", "order: 0")
        + &global(
            "first.p",
            "tier: first, ingress: [{action: Pass, protocol: UDP}, {action: Allow, protocol: UDP}, {action: Pass}]",
        );
    assert_eq!(
        connection(&(earlier + &with("{action: Deny, protocol: UDP}")), 80),
        "deny end of platform (platform.p); near first.p ingress[1] protocol UDP"
    );
}

#[test]
fn only_policies_of_the_tier_are_behind_its_end() {
    let text = tier("platform", "order: 1")
        + &global("platform.a", "tier: platform, ingress: [{action: Pass}]")
        + &global("b", "ingress: []")
        + &global("c", "ingress: [{action: Log}]")
        + &audited("d", "ingress: []");
    assert_eq!(connection(&text, 80), "deny end of default (b c)");
}

#[test]
fn a_tier_that_does_not_exist_is_told() {
    let text = global("lost", "tier: nowhere, ingress: [{action: Allow}]");
    assert_eq!(connection(&text, 80), "deny lost tier");
    let (policy, client) = resolved(&text);
    let rule = policy.ingress.denial_of(client, 6, 80).rule.unwrap();
    assert!(rule.summary.contains("there is no tier nowhere"), "{}", rule.summary);
    let [InForce::Policy(policy)] = &in_force(&text.replace("tier: nowhere, ", "\n  tier: nowhere,\n  "))[..] else {
        panic!("one policy")
    };
    assert_eq!(policy.line_of(&rule.rule), Some(6), "where its tier is written");
}

#[test]
fn a_rule_of_which_something_is_not_known_says_what() {
    let (policy, client) =
        resolved(&global("p", "ingress: [{action: Deny, protocol: TCP, source: {ports: [9]}}, {action: Allow}]"));
    let rule = policy.ingress.denial_of(client, 6, 80).rule.unwrap();
    assert_eq!(rule.rule, "ingress[0]");
    assert_eq!(rule.summary, "Deny protocol TCP, source.ports 9; nobody knows whether source.ports holds");
}

#[test]
fn an_audited_policy_only_tells_what_it_denies() {
    let http = "{action: Allow, protocol: TCP, http: {methods: [GET]}}";
    let early = || tier("early", "order: 5");
    let in_early = |audit: bool, rules: &str| {
        let policy = if audit { audited } else { global };
        early() + &policy("early.p", &format!("tier: early, ingress: [{rules}]"))
    };
    for (text, told) in [
        // A rule that denies: as though it did not match.
        (audited("p", "ingress: [{action: Deny}]"), "audit p ingress[0]"),
        (audited("p", "ingress: [{action: Deny}, {action: Allow}]"), "audit p ingress[0]"),
        (audited("p", "ingress: [{action: Deny, protocol: UDP}, {action: Allow}]"), "allow p ingress[1]"),
        (audited("p", "ingress: [{action: Deny}]") + &global("q", "ingress: [{action: Allow}]"), "audit p ingress[0]"),
        // What is enforced denies.
        (audited("p", "ingress: [{action: Deny}]") + &global("q", "ingress: [{action: Deny}]"), "deny q ingress[0]"),
        (audited("p", "ingress: [{action: Deny}]") + &global("q", "ingress: []"), "deny end of default (q)"),
        // Allow and Pass do as they say.
        (audited("p", "ingress: [{action: Allow}]") + &global("q", "ingress: [{action: Deny}]"), "allow p ingress[0]"),
        (in_early(true, "{action: Pass}") + &global("q", "ingress: [{action: Deny}]"), "deny q ingress[0]"),
        (in_early(true, "{action: Pass}"), "allow"),
        // The end of a tier counts if one policy in it is enforced.
        (audited("p", "ingress: []"), "audit end of default (p)"),
        (audited("p", "ingress: []") + &audited("q", "ingress: []"), "audit end of default (p q)"),
        (audited("p", "ingress: []") + &global("q", "ingress: []"), "deny end of default (q)"),
        (in_early(true, "") + &global("q", "ingress: [{action: Allow}]"), "audit end of early (early.p)"),
        (in_early(true, "") + &global("q", "ingress: []"), "deny end of default (q)"),
        (in_early(false, "") + &audited("q", "ingress: [{action: Allow}]"), "deny end of early (early.p)"),
        // The first that is told counts.
        (
            in_early(true, "{action: Deny}, {action: Pass}") + &audited("q", "ingress: [{action: Deny}]"),
            "audit early.p ingress[0]",
        ),
        (
            early()
                + &audited("early.a", "tier: early, ingress: []")
                + &audited("early.b", "tier: early, ingress: [{action: Deny}]"),
            "audit early.b ingress[0]",
        ),
        // A tier that does not exist.
        (audited("lost", "tier: nowhere, ingress: [{action: Deny}]"), "audit lost tier"),
        (audited("lost", "tier: nowhere") + &global("q", "ingress: [{action: Allow}]"), "audit lost tier"),
        (audited("lost", "tier: nowhere") + &global("gone", "tier: nowhere"), "deny gone tier"),
        // What is not known.
        (
            audited("p", "ingress: [{action: Deny, protocol: TCP, source: {ports: [9]}}, {action: Allow}]"),
            "audit p ingress[0]",
        ),
        (audited("p", &format!("ingress: [{http}]")), "http"),
    ] {
        assert_eq!(connection(&text, 80), told, "{text}");
    }
}

/// Whether it passes on is not known: nothing of the policy counts from there on, and what is enforced does.
#[test]
fn an_audited_pass_that_is_not_clear_opens_nothing_and_denies_nothing() {
    let passes = "{action: Pass, protocol: TCP, source: {ports: [9]}}";
    let audited = audited("p", &format!("order: 1, ingress: [{passes}, {{action: Allow}}]"));
    assert_eq!(connection(&audited, 80), "audit p ingress[0]");
    for (rules, told) in [("{action: Deny}", "deny q ingress[0]"), ("{action: Allow}", "audit p ingress[0]")] {
        let text = audited.clone() + &global("q", &format!("order: 2, ingress: [{rules}]"));
        assert_eq!(connection(&text, 80), told, "{rules}");
    }
    let enforced = global("p", &format!("ingress: [{passes}, {{action: Allow}}]"));
    assert_eq!(connection(&enforced, 80), "deny p ingress[0]");
}

#[test]
fn requests_of_audited_policies_are_told_with_the_first_denial() {
    let get = "{action: Allow, protocol: TCP, http: {methods: [GET], paths: [{exact: /a}]}}";
    let put = "{action: Allow, protocol: TCP, http: {methods: [PUT]}}";
    let policy =
        |policy: fn(&str, &str) -> String, name: &str, rules: &str| policy(name, &format!("ingress: [{rules}]"));
    for (text, method, path, told) in [
        // As the rules say where they allow.
        (policy(audited, "p", get), "GET", "/a", "allow p ingress[0]"),
        (policy(audited, "p", get), "GET", "/b", "audit end of default (p); near p ingress[0] path /a"),
        (policy(audited, "p", get), "PUT", "/a", "audit end of default (p); near p ingress[0] method GET"),
        // A denial before the rule that allows is told, one behind it is not.
        (policy(audited, "p", &format!("{{action: Deny}}, {get}")), "GET", "/a", "audit p ingress[0]"),
        (policy(audited, "p", &format!("{get}, {{action: Deny}}, {put}")), "GET", "/a", "allow p ingress[0]"),
        (policy(audited, "p", &format!("{get}, {{action: Deny}}, {put}")), "PUT", "/a", "audit p ingress[1]"),
        // Beside one that is enforced.
        (policy(audited, "p", get) + &policy(global, "q", put), "GET", "/a", "allow p ingress[0]"),
        (policy(audited, "p", get) + &policy(global, "q", put), "PUT", "/a", "allow q ingress[0]"),
        (
            policy(audited, "p", get) + &policy(global, "q", put),
            "POST",
            "/a",
            "deny end of default (q); near p ingress[0] method GET",
        ),
        (policy(audited, "p", "{action: Deny}") + &policy(global, "q", get), "GET", "/a", "audit p ingress[0]"),
        (
            policy(audited, "p", "{action: Deny}") + &policy(global, "q", get),
            "GET",
            "/b",
            "deny end of default (q); near q ingress[0] path /a",
        ),
        // What Calico's form of paths does not know.
        (policy(audited, "p", get), "OPTIONS", "*", "audit end of default (p)"),
        (
            policy(audited, "p", &format!("{get}, {{action: Allow}}")),
            "OPTIONS",
            "*",
            "audit nobody (p); near p ingress[0] path a path that begins with / and has one meaning",
        ),
        (
            policy(audited, "p", get) + &policy(global, "q", put),
            "OPTIONS",
            "*",
            "deny nobody (q); near q ingress[0] path a path that begins with / and has one meaning",
        ),
    ] {
        assert_eq!(request(&text, 80, method, path), told, "{method} {path}\n{text}");
    }
    // An earlier tier's end that is only told names what came near before it.
    let text = tier("early", "order: 5")
        + &audited("early.p", &format!("tier: early, ingress: [{get}]"))
        + &global("q", &format!("ingress: [{put}]"));
    assert_eq!(request(&text, 80, "PUT", "/a"), "audit end of early (early.p); near early.p ingress[0] method GET");
    assert_eq!(request(&text, 80, "POST", "/a"), "deny end of default (q); near early.p ingress[0] method GET");
}

#[test]
fn protocols_without_ports_have_the_strictest_verdict_of_all() {
    let of = |text: &str| {
        let (policy, client) = resolved(text);
        let ingress = policy.direction(Direction::Ingress);
        (ingress.l4(client, Protocol::Any, 0), ingress.is_audited(client, Protocol::Any, 0))
    };
    let denied = |text: &str| matches!(of(text), (L4Verdict::Denied(_), false));
    assert!(denied(&global("p", "ingress: [{action: Deny, protocol: 47}, {action: Allow}]")));
    assert!(of(&audited("p", "ingress: [{action: Deny, protocol: 47}, {action: Allow}]")).1);
    let both = audited("p", "order: 1, ingress: [{action: Deny, protocol: 47}]")
        + &global("q", "order: 2, ingress: [{action: Deny, protocol: 50}, {action: Allow}]");
    assert!(denied(&both));
    assert!(matches!(of(&global("p", "ingress: [{action: Allow}]")), (L4Verdict::Allowed(Some(_)), false)));
}

/// What becomes of TCP to or from each of these for a pod with both versions of IP: a peer of either, the world of either.
fn of_both_versions(rules: &str, direction: Direction, own: &[&str]) -> String {
    let list = if direction == Direction::Ingress { "ingress" } else { "egress" };
    let policies = in_force(&global("p", &format!("types: [Ingress, Egress], {list}: [{rules}]")));
    let nets = policies.iter().flat_map(InForce::pod_cidrs).collect();
    let address = |text: &str| text.parse::<std::net::IpAddr>().unwrap();
    let mut identities = Identities::new();
    let peers = ["10.0.0.2", "fd00::2"].map(|text| identities.allocate_at(&labels("client"), address(text), &nets));
    let cidrs: Vec<ipnet::IpNet> = policies.iter().flat_map(InForce::cidrs).collect();
    for net in &cidrs {
        identities.allocate_cidr(*net);
    }
    // As an address is looked up: the longest CIDR that holds it.
    let world = ["192.0.2.1", "2001:db8::1"].map(|text| {
        let holding = cidrs.iter().filter(|net| net.contains(&address(text))).max_by_key(|net| net.prefix_len());
        holding.map_or(Identity::WORLD, |net| identities.allocate_cidr(*net))
    });
    let own: Vec<_> = own.iter().map(|text| address(text)).collect();
    let (labels, ports) = (labels("web"), BTreeMap::new());
    let subject = Subject { labels: &labels, addresses: &own, ports: &ports };
    let peer_ports = BTreeMap::new();
    let policy = Resolver::new(&policies, &identities, &[], &peer_ports).endpoint(&subject);
    let policy = policy.direction(direction);
    let one =
        |peer: Identity| if matches!(policy.l4(peer, Protocol::Tcp, 80), L4Verdict::Denied(_)) { '-' } else { '+' };
    peers.into_iter().chain(world).map(one).collect()
}

#[test]
fn a_pod_with_both_versions_of_ip_is_judged_by_that_of_the_packet() {
    let both = &["10.0.0.1", "fd00::1"][..];
    for direction in [Direction::Ingress, Direction::Egress] {
        let of = |rules: &str, own| of_both_versions(rules, direction, own);
        assert_eq!(of("{action: Allow, ipVersion: 4}", both), "+-+-", "{direction}");
        assert_eq!(of("{action: Allow, ipVersion: 6}", both), "-+-+", "{direction}");
        assert_eq!(of("{action: Deny, ipVersion: 6}, {action: Allow}", both), "+-+-", "{direction}");
        let end = if direction == Direction::Ingress { "destination" } else { "source" };
        let with = |what: &str, rest: &str| format!("{{action: {what}, {end}: {{{rest}}}}}");
        assert_eq!(of(&with("Allow", "nets: [10.0.0.1]"), both), "+-+-", "{direction}");
        assert_eq!(of(&with("Allow", "nets: ['fd00::/8']"), both), "-+-+", "{direction}");
        assert_eq!(of(&(with("Deny", "nets: ['fd00::/8']") + ", {action: Allow}"), both), "+-+-", "{direction}");
        assert_eq!(of(&with("Allow", "notNets: ['fd00::/8']"), both), "+-+-", "{direction}");
        // Of two addresses of one version nobody knows which one it is.
        let twice = &["10.0.0.1", "10.0.0.9"][..];
        assert_eq!(of(&with("Allow", "nets: [10.0.0.9]"), twice), "----", "{direction}");
        assert_eq!(of(&(with("Deny", "nets: [10.0.0.9]") + ", {action: Allow}"), twice), "----", "{direction}");
        assert_eq!(of(&with("Allow", "nets: [10.0.0.1]"), &["10.0.0.1"]), "+-+-", "{direction}");
    }
}

#[test]
fn the_labels_of_a_set_s_namespace_are_those_that_its_pods_tell() {
    let text = "---\napiVersion: projectcalico.org/v3\nkind: NetworkSet\nmetadata: {name: s, namespace: m}\nspec: {nets: \
                [192.0.2.0/24]}\n";
    let rules = "ingress: [{action: Deny, source: {namespaceSelector: team == 'a'}}, {action: Allow}]";
    let text = global("p", rules) + text;
    let denies = |teams: &[&str]| {
        let labels = |team: &str| {
            let (none, of_namespace) = (BTreeMap::new(), BTreeMap::from([("team".to_owned(), team.to_owned())]));
            let (namespace, cluster, service_account) = ("m", "c", None);
            Labels::from(PodLabels {
                namespace,
                cluster,
                service_account,
                labels: &none,
                namespace_labels: &of_namespace,
            })
        };
        let policies: Vec<InForce> = in_force(&text);
        let mut identities = Identities::new();
        for team in teams {
            identities.allocate(&labels(team));
        }
        let set = identities.allocate_cidr("192.0.2.0/24".parse().unwrap());
        let (address, ports) = (Some([10, 0, 0, 1].into()), NamedPorts::default());
        let policy = resolve_at(&policies, &self::labels("web"), address, &ports, &identities, &[]);
        matches!(policy.ingress.l4(set, Protocol::Tcp, 80), L4Verdict::Denied(_))
    };
    assert!(denies(&["a"]));
    assert!(!denies(&["b"]));
    // Nobody knows.
    assert!(denies(&[]));
    assert!(denies(&["b", "c"]), "the labels were changed, and the older pods are still known");
}

#[test]
fn no_two_entries_are_one_to_the_kernel() {
    // 0 is "any" to the kernel, so the unknown identity has no entry of its own.
    let text = global("p", "ingress: [{action: Allow, source: {notNets: [10.0.0.0/8]}}]");
    let (policy, _) = resolved(&text);
    let entries = policy.direction(Direction::Ingress).entries();
    let key = |entry: &crate::MapEntry| {
        let identity = entry.identity.map_or(0, |identity| identity.0);
        (identity, entry.protocol, entry.port, entry.port_bits)
    };
    let keys: std::collections::BTreeSet<_> = entries.iter().map(key).collect();
    assert_eq!(keys.len(), entries.len(), "{entries:?}");
}

/// Its order, and whether it passes what is not decided.
type SimpleTier = (Option<u8>, bool);

/// A rule of the oracle: about one port or all, for one path or all requests.
#[derive(Clone, Debug)]
struct Simple {
    action: &'static str,
    port: Option<u16>,
    path: Option<&'static str>,
}

#[derive(Clone, Debug)]
struct SimplePolicy {
    tier: usize,
    order: Option<u8>,
    audit: bool,
    rules: Vec<Simple>,
}

fn simple() -> impl Strategy<Value = Simple> {
    let action = proptest::sample::select(vec!["Allow", "Allow", "Deny", "Log", "Pass"]);
    let path = proptest::option::of(proptest::sample::select(vec!["/a", "/b"]));
    (action, proptest::option::of(80..82_u16), path).prop_map(|(action, port, path)| Simple {
        action,
        port,
        path: path.filter(|_| action == "Allow"),
    })
}

fn simple_policy() -> impl Strategy<Value = SimplePolicy> {
    let rules = proptest::collection::vec(simple(), 0..4);
    (0..3_usize, proptest::option::of(0..3_u8), any::<bool>(), rules)
        .prop_map(|(tier, order, audit, rules)| SimplePolicy { tier, order, audit, rules })
}

fn order_text(order: Option<u8>) -> String {
    order.map(|order| format!("order: {order}, ")).unwrap_or_default()
}

fn text_of(tiers: &[SimpleTier], policies: &[SimplePolicy]) -> String {
    let mut text = String::new();
    for (index, (order, pass)) in tiers.iter().enumerate() {
        let default = if *pass { "Pass" } else { "Deny" };
        text += &tier(&format!("t{index}"), &format!("{}defaultAction: {default}", order_text(*order)));
    }
    for (index, policy) in policies.iter().enumerate() {
        let rules: Vec<String> = policy
            .rules
            .iter()
            .map(|rule| {
                let port = rule.port.map(|port| format!(", destination: {{ports: [{port}]}}")).unwrap_or_default();
                let http = rule.path.map(|path| format!(", http: {{paths: [{{exact: {path}}}]}}")).unwrap_or_default();
                format!("{{action: {}, protocol: TCP{port}{http}}}", rule.action)
            })
            .collect();
        let spec = format!("tier: t{}, {}ingress: [{}]", policy.tier, order_text(policy.order), rules.join(", "));
        text += &if policy.audit { audited } else { global }(&format!("p{index}"), &spec);
    }
    text
}

/// Straight from Calico's description of the order, and from what an audited policy is, one question at a time.
fn oracle(tiers: &[SimpleTier], policies: &[SimplePolicy], port: u16, path: Option<&str>) -> &'static str {
    let last = |order: Option<u8>| order.map_or(f64::INFINITY, f64::from);
    let mut asked: Vec<usize> = (0..tiers.len()).collect();
    asked.sort_by(|a, b| last(tiers[*a].0).total_cmp(&last(tiers[*b].0)).then(a.cmp(b)));
    let (mut applied, mut told) = (false, false);
    'tiers: for tier in asked {
        let mut own: Vec<&SimplePolicy> = policies.iter().filter(|policy| policy.tier == tier).collect();
        // Names are in the order of the list, and this keeps it.
        own.sort_by(|a, b| last(a.order).total_cmp(&last(b.order)));
        if own.is_empty() {
            continue;
        }
        applied = true;
        for policy in &own {
            for rule in policy.rules.iter().filter(|rule| rule.port.is_none_or(|wanted| wanted == port)) {
                match (rule.action, rule.path, path) {
                    ("Allow", Some(_), None) => return "http",
                    ("Allow", Some(wanted), Some(path)) if wanted != path => {}
                    ("Allow", ..) => return if told { "audit" } else { "allow" },
                    ("Deny", ..) if policy.audit => told = true,
                    ("Deny", ..) => return "deny",
                    ("Pass", ..) => continue 'tiers,
                    _ => {}
                }
            }
        }
        if !tiers[tier].1 {
            if own.iter().any(|policy| !policy.audit) {
                return "deny";
            }
            told = true;
        }
    }
    match (applied, told) {
        (_, true) => "audit",
        (true, false) => "allow",
        (false, false) => "open",
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_is_that_of_the_oracle(
        tiers in proptest::collection::vec((proptest::option::of(0..3_u8), any::<bool>()), 3),
        policies in proptest::collection::vec(simple_policy(), 0..6),
        port in 80..83_u16,
    ) {
        let text = text_of(&tiers, &policies);
        let kind = |told: &str| told.split(' ').next().unwrap_or_default().to_owned();
        let connects = connection(&text, port);
        prop_assert_eq!(kind(&connects), oracle(&tiers, &policies, port, None), "{}\n{}", connects, text);
        for path in ["/a", "/b", "/c"] {
            let told = request(&text, port, "GET", path);
            prop_assert_eq!(kind(&told), oracle(&tiers, &policies, port, Some(path)), "{} {}\n{}", path, told, text);
        }
    }

    /// What a policy does not deny is the same with the annotation.
    #[test]
    fn to_audit_a_policy_changes_what_it_denies_only(
        tiers in proptest::collection::vec((proptest::option::of(0..3_u8), any::<bool>()), 3),
        policies in proptest::collection::vec(simple_policy(), 1..5),
        which in any::<proptest::sample::Index>(),
        path in proptest::sample::select(vec!["/a", "/b", "/c"]),
    ) {
        let of = |audit: bool| {
            let mut policies = policies.clone();
            let index = which.index(policies.len());
            policies[index].audit = audit;
            request(&text_of(&tiers, &policies), 80, "GET", path)
        };
        let (enforced, audited) = (of(false), of(true));
        prop_assert!(enforced.starts_with("deny") || enforced == audited, "{} {}", enforced, audited);
    }
}
