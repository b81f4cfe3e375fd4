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
