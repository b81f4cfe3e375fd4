use crate::Desk;

#[test]
fn a_pod_is_the_same_by_name_and_by_address() {
    let config =
        "policies: [p.yaml]\nendpoints:\n- {pod: default/web, pid: 1, addresses: [10.0.0.1], labels: {app: web}}\n";
    let policy = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p}\nspec:\n  \
                  endpointSelector: {matchLabels: {app: web}}\n  egress: [{}]\n";
    let desk = Desk::new(&[("config.yaml", config), ("p.yaml", policy)]);
    for from in ["default/web", "10.0.0.1"] {
        let to = ["--to", "192.0.2.1", "--port", "80", "GET", "/"];
        let ended = desk.run(&[["explain", "--config", "config.yaml", "--from", from].as_slice(), &to].concat());
        assert_eq!(ended.code, Some(1), "{}{}", ended.out, ended.err);
        assert!(ended.out.contains("default deny by CiliumNetworkPolicy default/p"), "{}", ended.out);
    }
}

#[test]
fn the_end_of_a_calico_tier_is_explained() {
    let pod = |name: &str, address: &str| {
        format!("- {{pod: default/{name}, pid: 1, addresses: [{address}], labels: {{app: {name}}}}}\n")
    };
    let config = format!("policies: [p.yaml]\nendpoints:\n{}{}", pod("web", "10.0.0.1"), pod("api", "10.0.0.2"));
    let policy = "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: platform}\nspec: {order: 1}\n---\n\
                  apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: api}\nspec:\n  tier: platform\n  \
                  selector: app == 'api'\n  ingress:\n  - {action: Allow, protocol: TCP, source: {selector: app == 'other'}}\n";
    let desk = Desk::new(&[("config.yaml", config.as_str()), ("p.yaml", policy)]);
    let ask = ["explain", "--config", "config.yaml", "--from", "default/web", "--to", "default/api", "--port", "80"];
    let ended = desk.run(&[ask.as_slice(), &["GET", "/"]].concat());
    assert_eq!(ended.code, Some(1), "{}{}", ended.out, ended.err);
    for part in ["the end of tier \"platform\"", "GlobalNetworkPolicy api", "source.selector", "app == \"other\""] {
        assert!(ended.out.contains(part), "{part} is not in {}", ended.out);
    }
    let ended = desk.run(&[ask.as_slice(), &["--output", "json", "GET", "/"]].concat());
    assert!(ended.out.contains("\"tier\":\"platform\""), "{}", ended.out);
}
