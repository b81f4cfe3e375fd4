use rules::{
    Identity, L4Verdict, Protocol,
    manifest::{self, Document},
};

use super::*;

fn policies(text: &str) -> Vec<InForce> {
    let policy = |document| match document {
        Document::Policy(policy) => InForce::Policy(policy),
        Document::Refused(refused) => InForce::Refused(refused),
        Document::Unattributable { .. } | Document::Skipped { .. } => panic!("{document:?}"),
    };
    manifest::parse(text).into_iter().map(policy).collect()
}

fn policy(app: &str, path: &str) -> InForce {
    let text = format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: {app}}}\nspec:\n  \
         endpointSelector: {{matchLabels: {{app: {app}}}}}\n  ingress:\n  - toPorts: [{{ports: [{{port: '80', protocol: TCP}}], \
         rules: {{http: [{{path: {path}}}]}}}}]\n"
    );
    policies(&text).remove(0)
}

fn config(pods: &str) -> Config {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("l7proxy.yaml");
    std::fs::write(&file, format!("endpoints:\n{pods}")).unwrap();
    config::load(&file).unwrap()
}

const PODS: &str = "- {pod: default/a, netns: a, addresses: [10.0.0.1], labels: {app: a}}\n\
                    - {pod: default/b, netns: b, addresses: [10.0.0.2], labels: {app: b}}\n";

fn states(assembled: &Assembled) -> BTreeMap<String, Arc<EndpointState>> {
    let named = |state: &Arc<EndpointState>| (state.peer.pod.clone(), Arc::clone(state));
    assembled.world.endpoints.values().map(named).collect()
}

#[test]
fn only_pods_of_a_changed_policy_are_made_anew() {
    let mut assembler = Assembler::default();
    let config = config(PODS);
    let (a, b) = (policy("a", "/x"), policy("b", "/x"));
    let before = states(&assembler.assemble(&config, &[a.clone(), b.clone()], 1));
    let same = states(&assembler.assemble(&config, &[a.clone(), b], 2));
    assert!(Arc::ptr_eq(&before["a"], &same["a"]) && Arc::ptr_eq(&before["b"], &same["b"]));
    let after = states(&assembler.assemble(&config, &[a.clone(), policy("b", "/y")], 3));
    assert!(Arc::ptr_eq(&before["a"], &after["a"]) && !Arc::ptr_eq(&before["b"], &after["b"]));
    let without = states(&assembler.assemble(&config, &[a], 4));
    assert!(!without["b"].policy.ingress.enforced(), "a policy that went is not remembered");
}

#[test]
fn what_concerns_all_makes_all_anew() {
    let mut assembler = Assembler::default();
    let all = [policy("a", "/x"), policy("b", "/x")];
    let before = states(&assembler.assemble(&config(PODS), &all, 1));
    let more = format!("{PODS}- {{pod: default/c, netns: c, addresses: [10.0.0.3], labels: {{app: c}}}}\n");
    let after = states(&assembler.assemble(&config(&more), &all, 2));
    assert!(!Arc::ptr_eq(&before["a"], &after["a"]), "a selector may be about the new pod");
    let tier = policies("apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: t}\nspec: {order: 1}\n");
    let with_tier: Vec<InForce> = all.iter().cloned().chain(tier).collect();
    let tiered = states(&assembler.assemble(&config(&more), &with_tier, 3));
    assert!(!Arc::ptr_eq(&after["a"], &tiered["a"]));
}

#[test]
fn a_changed_cidr_group_changes_the_policies_that_name_it() {
    let mut assembler = Assembler::default();
    let config = config(PODS);
    let policy = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p}\nspec:\n  \
                  endpointSelector: {}\n  egress: [{toCIDRSet: [{cidrGroupRef: g}]}]\n---\n\
                  apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: q}\nspec:\n  \
                  endpointSelector: {matchLabels: {app: c}}\n  egress: [{toCIDR: [192.0.2.0/24, 198.51.100.0/24]}]\n---\n";
    let group = |nets: &str| {
        let group = "apiVersion: cilium.io/v2\nkind: CiliumCIDRGroup\nmetadata: {name: g}\nspec:";
        policies(&format!("{group} {{externalCIDRs: [{nets}]}}\n---\n"))
    };
    let policy = policies(policy);
    let mut allows = |group: &[InForce], revision| {
        let all: Vec<InForce> = policy.iter().chain(group).cloned().collect();
        let made = assembler.assemble(&config, &all, revision);
        let peer = |address: &str| Identity(made.world.ipcache.lookup(address.parse().unwrap()).identity);
        let egress = &states(&made)["a"].policy.egress;
        let is_allowed =
            |address: &&str| matches!(egress.l4(peer(address), Protocol::Tcp, 80), L4Verdict::Allowed(Some(_)));
        ["192.0.2.1", "198.51.100.1"].into_iter().filter(is_allowed).collect::<Vec<_>>()
    };
    let (one, other) = ("192.0.2.0/24", "198.51.100.0/24");
    assert_eq!(allows(&group(&format!("{one}, {other}")), 1), ["192.0.2.1", "198.51.100.1"]);
    // Both networks stay known by the other policy: no identity comes or goes.
    assert_eq!(allows(&group(other), 2), ["198.51.100.1"]);
    assert_eq!(allows(&group(one), 3), ["192.0.2.1"]);
    assert_eq!(allows(&[], 4), [""; 0]);
    assert_eq!(allows(&group("192.0.2"), 5), [""; 0], "not valid");
}

#[test]
fn pods_of_the_same_labels_differ_where_an_ip_block_does() {
    let text = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: n}\nspec:\n  podSelector: {}\n  \
                egress: [{to: [{ipBlock: {cidr: 10.0.0.1/32}}]}]\n";
    let pods = PODS.replace("app: b", "app: a");
    let world = Assembler::default().assemble(&config(&pods), &policies(text), 1).world;
    let peer = |address: &str| Arc::clone(world.ipcache.lookup(address.parse().unwrap()));
    assert_ne!(peer("10.0.0.1").identity, peer("10.0.0.2").identity);
    assert!(peer("10.0.0.1").labels.iter().all(|label| !label.starts_with("cidr:")), "records show the pod's own");
}

#[test]
fn pods_of_the_same_policies_share_them_after_changes_too() {
    let mut assembler = Assembler::default();
    let config = config(PODS);
    let all = |path: &str| {
        policies(&format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: all}}\nspec:\n  endpointSelector: {{}}\n  \
         ingress: [{{toPorts: [{{ports: [{{port: '80', protocol: TCP}}], rules: {{http: [{{path: {path}}}]}}}}]}}]\n"
    )).remove(0)
    };
    let shared = |assembled: &Assembled| {
        let states = states(assembled);
        let (a, b) = (&assembled.pods["default/a"], &assembled.pods["default/b"]);
        let of_kernel = a.entries.is_shared_with(&b.entries);
        assert_eq!(of_kernel, Arc::ptr_eq(&states["a"].policy.ingress, &states["b"].policy.ingress));
        of_kernel
    };
    let first = all("/x");
    assert!(shared(&assembler.assemble(&config, std::slice::from_ref(&first), 1)), "other labels, the same policies");
    assert!(!shared(&assembler.assemble(&config, &[first.clone(), policy("b", "/y")], 2)), "one has another");
    assert!(shared(&assembler.assemble(&config, &[first], 3)), "and had it: one that is kept, and one made anew");
    assert!(shared(&assembler.assemble(&config, &[all("/z")], 4)));
}

#[test]
fn a_rule_keeps_its_number_while_it_is_the_same() {
    let mut assembler = Assembler::default();
    let config = config(PODS);
    let deny = |ports: [u16; 2]| {
        let rule = |port| format!("{{toPorts: [{{ports: [{{port: '{port}', protocol: TCP}}]}}]}}");
        let text = format!(
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: p}}\nspec:\n  endpointSelector: {{}}\n  \
             egressDeny: [{}, {}]\n",
            rule(ports[0]),
            rule(ports[1])
        );
        policies(&text)
    };
    let numbers = |assembled: &Assembled| -> BTreeMap<u16, u32> {
        let lines = assembled.pods["default/a"].entries.lines().iter();
        lines
            .filter(|line| line.action == redirect::DENY && line.port != 0)
            .map(|line| (line.port, line.rule))
            .collect()
    };
    let first = numbers(&assembler.assemble(&config, &deny([1, 2]), 7));
    assert!(first[&1] != 0 && first[&2] != 0 && first[&1] != first[&2]);
    let second = numbers(&assembler.assemble(&config, &deny([1, 3]), 8));
    assert_eq!(second[&1], first[&1], "the same rule of a new version");
    assert!(second[&3] != first[&2], "another rule has another number");
    let rule = |number| assembler.rules().rule(number).map(|known| (known.rule.summary.clone(), known.until));
    assert_eq!(rule(first[&2]), Some(("anybody, port 2/TCP".to_owned(), Some(7))), "known still");
    assert_eq!(rule(second[&3]), Some(("anybody, port 3/TCP".to_owned(), None)));
}

const SERVICES: &str = "endpoints:
- {pod: default/a, netns: a, addresses: [10.0.0.1, 'fd00::1'], labels: {app: a}, ports: {web: 8080, dns: 53/UDP}}
remotes:
- {pod: default/b, addresses: [10.0.0.2], labels: {app: a}, ports: {web: 9090}}
- {pod: default/c, addresses: [10.0.0.3], labels: {app: a}, ports: {web: 8080}, ready: false}
- {pod: other/d, addresses: [10.0.0.4], labels: {app: a}, ports: {web: 8080}}
services:
- name: default/s
  clusterIPs: [10.96.0.1, 'fd96::1']
  ports: [{port: 80, targetPort: web}, {port: 53, targetPort: dns, protocol: UDP}, {port: 7}]
  selector: {app: a}
- {name: default/none, clusterIPs: [10.96.0.2], ports: [{port: 80}]}
";

#[test]
fn who_is_behind_a_service() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("l7proxy.yaml");
    std::fs::write(&file, SERVICES).unwrap();
    let world = Assembler::default().assemble(&config::load(&file).unwrap(), &[], 1).world;
    let behind = |address: &str| {
        let peer = Arc::clone(world.ipcache.lookup(address.parse().unwrap()));
        let service = peer.service.clone()?;
        let of = |backend: &crate::endpoint::Backend| {
            (backend.protocol, backend.port, backend.pod.clone(), backend.target.port)
        };
        Some(service.backends.iter().map(of).collect::<Vec<_>>())
    };
    let (a, b) = ("default/a".to_owned(), "default/b".to_owned());
    let of_a = vec![
        (Protocol::Tcp, 80, a.clone(), 8080),
        (Protocol::Udp, 53, a.clone(), 53),
        (Protocol::Tcp, 7, a.clone(), 7),
    ];
    assert_eq!(behind("fd96::1"), Some(of_a.clone()), "of its own family");
    let both = of_a.into_iter().chain([(Protocol::Tcp, 80, b.clone(), 9090), (Protocol::Tcp, 7, b, 7)]);
    assert_eq!(behind("10.96.0.1"), Some(both.collect()));
    assert_eq!(behind("10.96.0.2"), None, "without a selector nobody knows");
    assert_eq!(world.ipcache.lookup("10.96.0.2".parse().unwrap()).identity(), Identity::WORLD);
}

#[test]
fn a_name_changes_nothing_but_what_an_address_is_called() {
    let policy = policies(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p}\nspec:\n  endpointSelector: {}\n  \
         egress: [{toCIDR: [192.0.2.0/24]}]\n",
    );
    let names = "names: [{name: api.example.com, addresses: [192.0.2.7, 198.51.100.1]}]\n";
    let [without, with] = [PODS.to_owned(), format!("{PODS}{names}")]
        .map(|text| Assembler::default().assemble(&config(&text), &policy, 1));
    for address in ["192.0.2.7", "::ffff:192.0.2.7", "198.51.100.1"] {
        let [plain, called] = [&without, &with].map(|made| made.world.ipcache.lookup(address.parse().unwrap()));
        assert_eq!(called.names, ["api.example.com"], "{address}");
        assert_eq!(Peer { names: Vec::new(), ..Peer::clone(called) }, **plain, "{address}");
    }
    assert!(with.world.ipcache.lookup("192.0.2.8".parse().unwrap()).names.is_empty());
    assert_eq!((with.identities, with.cidrs), (without.identities, without.cidrs), "nothing of the kernel's");
}
