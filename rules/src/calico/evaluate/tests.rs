use super::*;
use crate::calico::{
    party::Place,
    testing::{Parsed, document, parsed, pod},
};

fn endpoint() -> Endpoint {
    pod("n", "web", &[("app", "a")])
}

fn packet<'a>(protocol: IpProtocol, port: u16) -> Packet<'a> {
    let party = |address: &str, port| Party {
        place: address.parse().map(Place::at).unwrap_or_default(),
        endpoint: None,
        port: Some(port),
    };
    Packet { protocol, icmp: None, source: party("192.0.2.1", 40_000), destination: party("10.0.0.1", port) }
}

fn tcp<'a>(port: u16) -> Packet<'a> {
    packet(IpProtocol::TCP, port)
}

fn place(at: &At<'_>) -> String {
    format!("{}[{}]", at.policy.key.name, at.rule)
}

fn why(denied: &Denied<'_>) -> String {
    match denied {
        Denied::Rule(at) => format!("deny {}", place(at)),
        Denied::Unclear(Miss { at, field, .. }) => format!("unclear {} {field:?}", place(at)),
        Denied::TierEnd(tier) => format!("deny by tier {}", tier.tier.name),
        Denied::NoTier(policy) => format!("{} has no tier", policy.key.name),
        Denied::NoProfile => "no profile".to_owned(),
    }
}

/// `http` rules, what is told only, and what becomes of everything else.
fn shown(decision: &Decision<'_>) -> String {
    let mut parts: Vec<String> = decision.http.iter().map(|at| format!("http {}", place(at))).collect();
    if let Some((before, denied)) = &decision.told {
        parts.insert(*before, format!("told: {}", why(denied)));
    }
    parts.push(match &decision.last {
        Outcome::NotApplicable => "open".to_owned(),
        Outcome::Allow(Allowed::Rule(at)) => format!("allow {}", place(at)),
        Outcome::Allow(Allowed::Profile) => "allow by profile".to_owned(),
        Outcome::Deny(denied) => why(denied),
    });
    parts.join(", ")
}

/// What of `policies` applies to `endpoint`.
fn layer(tiers: &[Tier], policies: &[Arc<Policy>], endpoint: &Endpoint, direction: Direction) -> Layer {
    let applying = policies.iter().filter(|policy| policy.applies_to(endpoint, direction));
    let applying: Vec<Arc<Policy>> = applying.cloned().collect();
    Layer::of(tiers, &applying, direction, endpoint.namespace.is_some())
}

fn judge_as(text: &str, endpoint: &Endpoint, direction: Direction, packet: &Packet<'_>) -> String {
    let Parsed { policies, tiers, sets } = parsed(text);
    shown(&layer(&tiers, &policies, endpoint, direction).decide(packet, &sets))
}

fn judge(text: &str, packet: &Packet<'_>) -> String {
    judge_as(text, &endpoint(), Direction::Ingress, packet)
}

fn global(name: &str, spec: &str) -> String {
    document("GlobalNetworkPolicy", &format!("{{name: {name}}}"), &format!("{{{spec}}}"))
}

fn tier(name: &str, spec: &str) -> String {
    document("Tier", &format!("{{name: {name}}}"), &format!("{{{spec}}}"))
}

#[test]
fn without_a_policy_for_the_direction_it_is_open() {
    let text = global("p", "egress: [{action: Allow}]");
    assert_eq!(judge("", &tcp(80)), "open");
    assert_eq!(judge(&text, &tcp(80)), "open");
    assert_eq!(judge_as(&text, &endpoint(), Direction::Egress, &tcp(80)), "allow p[0]");
    assert_eq!(judge(&global("p", "selector: app == 'b'"), &tcp(80)), "open");
    assert_eq!(judge_as("", &Endpoint::default(), Direction::Ingress, &tcp(80)), "no profile");
}

#[test]
fn a_policy_that_applies_denies_what_it_does_not_decide() {
    assert_eq!(judge(&global("p", ""), &tcp(80)), "deny by tier default");
    let text = global("p", "ingress: [{action: Allow, protocol: TCP, destination: {ports: [80]}}]");
    assert_eq!(judge(&text, &tcp(80)), "allow p[0]");
    assert_eq!(judge(&text, &tcp(81)), "deny by tier default");
    assert_eq!(judge(&text, &packet(IpProtocol::UDP, 80)), "deny by tier default");
}

#[test]
fn the_first_rule_that_matches_decides_and_log_never() {
    let rules = |rules: &str| global("p", &format!("ingress: [{rules}]"));
    for (text, decision) in [
        ("{action: Allow}, {action: Deny}", "allow p[0]"),
        ("{action: Deny}, {action: Allow}", "deny p[0]"),
        ("{action: Log}, {action: Allow}", "allow p[1]"),
        ("{action: Log}", "deny by tier default"),
        ("{action: Deny, protocol: UDP}, {action: Allow}", "allow p[1]"),
        ("{action: Deny, notProtocol: TCP}, {action: Allow}", "allow p[1]"),
        ("{action: Deny, notProtocol: UDP}, {action: Allow}", "deny p[0]"),
        ("{action: Deny, ipVersion: 6}, {action: Allow}", "allow p[1]"),
        ("{action: Deny, ipVersion: 4}, {action: Allow}", "deny p[0]"),
        ("{action: Pass}, {action: Deny}", "allow by profile"),
    ] {
        assert_eq!(judge(&rules(text), &tcp(80)), decision, "{text}");
    }
}

#[test]
fn policies_are_asked_by_order_and_then_by_name() {
    let policy =
        |name: &str, order: &str, action: &str| global(name, &format!("{order}ingress: [{{action: {action}}}]"));
    for (first, second, decision) in [
        (policy("a", "", "Allow"), policy("b", "", "Deny"), "allow a[0]"),
        (policy("b", "", "Deny"), policy("a", "", "Allow"), "allow a[0]"),
        (policy("a", "order: 2, ", "Allow"), policy("b", "order: 1.5, ", "Deny"), "deny b[0]"),
        // Absent is last.
        (policy("a", "", "Allow"), policy("b", "order: 1e9, ", "Deny"), "deny b[0]"),
        // The tier's name before a policy's does not count.
        (policy("default.b", "", "Allow"), policy("a", "", "Deny"), "deny a[0]"),
        (policy("default.a", "", "Allow"), policy("b", "", "Deny"), "allow default.a[0]"),
    ] {
        assert_eq!(judge(&format!("{first}{second}"), &tcp(80)), decision);
        assert_eq!(judge(&format!("{second}{first}"), &tcp(80)), decision);
    }
}

#[test]
fn tiers_are_asked_by_order_and_pass_leads_to_the_next() {
    let early = tier("early", "order: 5");
    let late = tier("late", "");
    let in_tier = |tier: &str, rules: &str| global(tier, &format!("tier: {tier}, ingress: [{rules}]"));
    let default = |rules: &str| global("p", &format!("ingress: [{rules}]"));
    for (text, decision) in [
        (in_tier("early", "{action: Allow}") + &default("{action: Deny}"), "allow early[0]"),
        (in_tier("late", "{action: Allow}") + &default("{action: Deny}"), "deny p[0]"),
        (in_tier("early", "{action: Pass}") + &default("{action: Deny}"), "deny p[0]"),
        (in_tier("early", "{action: Pass}, {action: Deny}") + &default("{action: Allow}"), "allow p[0]"),
        // It had a policy that applies, and denies what that did not decide.
        (in_tier("early", "{action: Log}") + &default("{action: Allow}"), "deny by tier early"),
        (in_tier("early", "{action: Pass}"), "allow by profile"),
        (in_tier("kube-admin", "{action: Log}") + &default("{action: Allow}"), "allow p[0]"),
        (in_tier("kube-baseline", "{action: Deny}") + &default("{action: Pass}"), "deny kube-baseline[0]"),
        (in_tier("kube-baseline", "{action: Log}"), "allow by profile"),
        (in_tier("early", "{action: Deny}") + &in_tier("kube-admin", "{action: Allow}"), "deny early[0]"),
    ] {
        assert_eq!(judge(&format!("{text}{early}{late}"), &tcp(80)), decision, "{text}");
    }
    let Parsed { policies, tiers, .. } =
        parsed(&(in_tier("late", "") + &in_tier("early", "") + &default("") + &early + &late));
    let layer = layer(&tiers, &policies, &endpoint(), Direction::Ingress);
    let names: Vec<&str> = layer.tiers.iter().map(|tier| tier.tier.name.as_str()).collect();
    assert_eq!(names, ["early", "default", "late"]);
    // Without an applicable policy of this direction a tier is not asked.
    let egress = global("early", "tier: early, egress: [{action: Deny}]");
    assert_eq!(judge(&format!("{egress}{early}"), &tcp(80)), "open");
    let passing = tier("soft", "order: 1, defaultAction: Pass") + &in_tier("soft", "{action: Log}");
    assert_eq!(judge(&(passing + &default("{action: Allow}")), &tcp(80)), "allow p[0]");
}

#[test]
fn a_policy_of_an_unknown_tier_denies_everything_that_it_applies_to() {
    let text = global("lost", "tier: nowhere, ingress: [{action: Allow}]") + &global("p", "ingress: [{action: Allow}]");
    assert_eq!(judge(&text, &tcp(80)), "lost has no tier");
    let other = global("lost", "tier: nowhere, selector: has(x)") + &global("p", "ingress: [{action: Allow}]");
    assert_eq!(judge(&other, &tcp(80)), "allow p[0]");
}

#[test]
fn subjects_are_scoped_and_selected() {
    for (kind, metadata, spec, applies) in [
        ("NetworkPolicy", "{name: p, namespace: n}", "", true),
        ("NetworkPolicy", "{name: p, namespace: m}", "", false),
        ("NetworkPolicy", "{name: p}", "", false),
        ("NetworkPolicy", "{name: p, namespace: n}", "selector: app == 'a'", true),
        ("NetworkPolicy", "{name: p, namespace: n}", "selector: app == 'b'", false),
        ("NetworkPolicy", "{name: p, namespace: n}", "serviceAccountSelector: projectcalico.org/name == 'web'", true),
        ("NetworkPolicy", "{name: p, namespace: n}", "serviceAccountSelector: projectcalico.org/name == 'db'", false),
        (
            "NetworkPolicy",
            "{name: p, namespace: n}",
            "serviceAccountSelector: projectcalico.org/name == 'web', selector: has(x)",
            false,
        ),
        ("GlobalNetworkPolicy", "{name: p}", "", true),
        ("GlobalNetworkPolicy", "{name: p}", "namespaceSelector: of == 'n'", true),
        ("GlobalNetworkPolicy", "{name: p}", "namespaceSelector: of == 'm'", false),
        (
            "GlobalNetworkPolicy",
            "{name: p}",
            "namespaceSelector: projectcalico.org/name == 'n', selector: has(x)",
            false,
        ),
        ("GlobalNetworkPolicy", "{name: p}", "selector: \"projectcalico.org/namespace not in {'n'}\"", false),
    ] {
        let policy = &parsed(&document(kind, metadata, &format!("{{{spec}}}"))).policies[0];
        assert_eq!(policy.applies_to(&endpoint(), Direction::Ingress), applies, "{kind} {spec}");
        assert!(!policy.applies_to(&endpoint(), Direction::Egress));
    }
    let host = Endpoint::default();
    let everywhere = parsed(&global("p", "")).policies;
    assert!(everywhere[0].applies_to(&host, Direction::Ingress), "also what has no namespace");
    let namespaced = parsed(&global("p", "namespaceSelector: all()")).policies;
    assert!(!namespaced[0].applies_to(&host, Direction::Ingress));
}

#[test]
fn rules_for_requests_are_asked_in_order_and_all_others_decide() {
    let text = global(
        "p",
        "ingress: [{action: Deny, source: {nets: [198.51.100.0/24]}}, {action: Allow, protocol: TCP, http: {methods: \
         [GET], paths: [{prefix: /public}]}}, {action: Allow, protocol: TCP, http: {methods: [PUT]}, destination: {ports: \
         [80]}}, {action: Pass, protocol: TCP, destination: {ports: [81]}}]",
    );
    assert_eq!(judge(&text, &tcp(80)), "http p[1], http p[2], deny by tier default");
    assert_eq!(judge(&text, &tcp(81)), "http p[1], allow by profile");
    let mut blocked = tcp(80);
    blocked.source.place = Place::at("198.51.100.7".parse().unwrap());
    assert_eq!(judge(&text, &blocked), "deny p[0]");
    let any = global("p", "ingress: [{action: Allow, http: {}}]");
    assert_eq!(judge(&any, &tcp(80)), "http p[0], deny by tier default");
    assert_eq!(judge(&any, &packet(IpProtocol::UDP, 80)), "deny by tier default", "only TCP carries requests");
    let late = global("p", "ingress: [{action: Allow}, {action: Allow, http: {}}]");
    assert_eq!(judge(&late, &tcp(80)), "allow p[0]", "what is allowed already is not judged again");
}

#[test]
fn icmp_is_judged_by_type_and_code() {
    let text = |rule: &str| global("p", &format!("ingress: [{{action: Allow, protocol: ICMP, {rule}}}]"));
    let is = |kind, code| Some(Icmp { kind, code });
    let ping = |icmp| Packet { icmp, ..packet(IpProtocol::ICMP, 0) };
    for (rule, icmp, decision) in [
        ("icmp: {type: 8}", is(8, Some(3)), "allow p[0]"),
        ("icmp: {type: 8, code: 0}", is(8, Some(0)), "allow p[0]"),
        ("icmp: {type: 8, code: 0}", is(8, Some(1)), "deny by tier default"),
        ("icmp: {type: 8}", is(0, Some(0)), "deny by tier default"),
        ("notICMP: {type: 8}", is(8, Some(0)), "deny by tier default"),
        ("notICMP: {type: 8}", is(0, Some(0)), "allow p[0]"),
        ("icmp: {type: 8}", is(8, None), "allow p[0]"),
        ("icmp: {type: 8, code: 0}", is(8, None), "deny by tier default"),
        ("notICMP: {type: 8}", is(8, None), "deny by tier default"),
        ("notICMP: {type: 8, code: 0}", is(0, None), "allow p[0]"),
        ("notICMP: {type: 8, code: 0}", is(8, None), "deny by tier default"),
        ("icmp: {type: 8}", None, "deny by tier default"),
        ("notICMP: {type: 8}", None, "deny by tier default"),
    ] {
        assert_eq!(judge(&text(rule), &ping(icmp)), decision, "{rule} {icmp:?}");
    }
    let refuses =
        |rule: &str| global("p", &format!("ingress: [{{action: Deny, protocol: ICMP, {rule}}}, {{action: Allow}}]"));
    let unclear = ping(is(8, None));
    assert_eq!(judge(&refuses("icmp: {type: 8, code: 1}"), &unclear), "unclear p[0] Icmp", "it may have this code");
    assert_eq!(judge(&refuses("icmp: {type: 0, code: 1}"), &unclear), "allow p[1]", "the type is known");
}

#[test]
fn what_is_not_known_never_opens_anything() {
    let rules = |rules: &str| global("p", &format!("ingress: [{rules}]"));
    let mut unknown = tcp(80);
    unknown.source.place = Place::Unknown;
    for (text, decision) in [
        ("{action: Allow, source: {nets: [192.0.2.0/24]}}", "deny by tier default"),
        ("{action: Allow, source: {notNets: [10.0.0.0/8]}}", "deny by tier default"),
        ("{action: Deny, source: {nets: [10.0.0.0/8]}}, {action: Allow}", "unclear p[0] Source(Nets)"),
        ("{action: Pass, source: {nets: [192.0.2.0/24]}}, {action: Allow}", "unclear p[0] Source(Nets)"),
        ("{action: Log, source: {nets: [192.0.2.0/24]}}, {action: Allow}", "allow p[1]"),
        ("{action: Deny, protocol: UDP, source: {nets: [10.0.0.0/8]}}, {action: Allow}", "allow p[1]"),
    ] {
        assert_eq!(judge(&rules(text), &unknown), decision, "{text}");
    }
}

#[test]
fn network_sets_are_selected_by_their_labels() {
    let set = document("GlobalNetworkSet", "{name: bad, labels: {threat: 'yes'}}", "{nets: [192.0.2.0/24]}");
    let text = global("p", "ingress: [{action: Deny, source: {selector: has(threat)}}, {action: Allow}]") + &set;
    assert_eq!(judge(&text, &tcp(80)), "deny p[0]");
    let mut other = tcp(80);
    other.source.place = Place::at("203.0.113.1".parse().unwrap());
    assert_eq!(judge(&text, &other), "allow p[1]");
}

#[test]
fn the_published_baseline_does_what_it_says() {
    let text = global(
        "default-deny-egress",
        "selector: \"projectcalico.org/namespace not in {'kube-system', 'monitoring'}\", types: [Egress], egress: \
         [{action: Allow, protocol: UDP, destination: {ports: [53]}}, {action: Allow, destination: {selector: \
         \"projectcalico.org/namespace == 'shop'\"}}, {action: Deny}]",
    );
    let shop = pod("shop", "web", &[]);
    let mut to_shop = tcp(443);
    to_shop.destination.endpoint = Some(&shop);
    let of =
        |namespace: &str, packet: &Packet<'_>| judge_as(&text, &pod(namespace, "x", &[]), Direction::Egress, packet);
    assert_eq!(of("kube-system", &tcp(443)), "open");
    assert_eq!(of("other", &tcp(443)), "deny default-deny-egress[2]");
    assert_eq!(of("other", &to_shop), "allow default-deny-egress[1]");
    assert_eq!(of("other", &packet(IpProtocol::UDP, 53)), "allow default-deny-egress[0]");
    assert_eq!(of("other", &packet(IpProtocol::TCP, 53)), "deny default-deny-egress[2]");
}

#[test]
fn port_starts_are_where_rules_tell_ports_apart() {
    let text = global(
        "p",
        "ingress: [{action: Allow, protocol: TCP, destination: {ports: [80, '8000:8010', web]}}, {action: Deny, protocol: \
         UDP, destination: {notPorts: ['100:65535']}}]",
    );
    let policy = &parsed(&text).policies[0];
    let web = NamedPort { name: "web".to_owned(), protocol: IpProtocol::TCP, port: 9000 };
    let starts = |named: &[NamedPort]| policy.port_starts(Direction::Ingress, named).into_iter().collect::<Vec<_>>();
    assert_eq!(starts(&[]), [0, 80, 81, 100, 8000, 8011]);
    assert_eq!(starts(&[web]), [0, 80, 81, 100, 8000, 8011, 9000, 9001]);
}
