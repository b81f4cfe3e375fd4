//! Policies change while traffic flows.

use anyhow::Result;
use conformance::{
    Node,
    client::curl,
    node::Applied,
    server::{self, Load},
};

use crate::manifests::{GUARDED, GUARDED_NAME, READ_ONLY, READ_ONLY_NAME};

#[test]
fn no_request_is_lost_and_the_verdict_flips() -> Result<()> {
    const CLIENTS: usize = 8;
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let _server = server::http(&api, 8080)?;
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.start()?;
    let load = Load::start(&client, (api.v4, 8080), "/read/a", CLIENTS)?;
    for round in 0..40 {
        // A rule comes and goes beside the one that allows the load; sometimes the port's other rules change too.
        let more = format!("[{{method: GET, path: \"/read.*\"}}, {{method: PUT, path: \"/round/{round}\"}}]");
        let manifest = READ_ONLY.replace("[{method: GET, path: \"/read.*\"}]", &more);
        node.apply("policy.yaml", if round % 2 == 0 { &manifest } else { READ_ONLY })?;
    }
    let revision = node.apply("policy.yaml", &READ_ONLY.replace("/read.*", "/else"))?;
    let answer = curl(&client, &[], &format!("http://{}:8080/read/b", api.v4))?;
    assert_eq!(answer.status, 403, "in force is in force, revision {revision}");
    let answers = load.finish()?;
    for (number, runs) in answers.clients.iter().enumerate() {
        let statuses: Vec<&str> = runs.iter().map(|(status, _)| status.as_str()).collect();
        assert_eq!(statuses, ["200", "403"], "client {number}: {runs:?}\n{}", node.log());
    }
    Ok(())
}

#[test]
fn a_manifest_that_turns_bad_keeps_its_last_good_version() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let _server = server::http(&api, 8080)?;
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.start()?;
    let judge = |path: &str| curl(&client, &[], &format!("http://{}:8080{path}", api.v4)).map(|answer| answer.status);
    for bad in [READ_ONLY.replace("/read.*", "/read("), READ_ONLY.replace("method:", "methods:"), "]\n".to_owned()] {
        node.apply("policy.yaml", &bad)?;
        let status = node.status()?;
        let policy = status.policy(READ_ONLY_NAME).expect("it is still there");
        assert_eq!(policy.state, "last good version", "{bad}");
        let told = policy.errors.iter().chain(&status.errors).any(|error| error.contains("policy.yaml:"));
        assert!(told, "{status:?}");
        assert_eq!((judge("/read/a")?, judge("/write")?), (200, 403), "{bad}");
    }
    node.apply("policy.yaml", &READ_ONLY.replace("/read.*", "/write"))?;
    assert_eq!(node.status()?.policy(READ_ONLY_NAME).map(|policy| policy.state.clone()), Some("in force".to_owned()));
    assert_eq!((judge("/read/a")?, judge("/write")?), (403, 200));
    Ok(())
}

#[test]
fn a_bad_policy_denies_what_it_selects_and_harms_no_other() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let other = node.pod("default/other", &[("app", "other")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let server = server::http(&api, 8080)?;
    node.write_manifest("bad.yaml", &READ_ONLY.replace("/read.*", "/read(").replace("read-only", "bad"))?;
    node.write_manifest("good.yaml", &READ_ONLY.replace("app: client", "app: other"))?;
    node.start()?;
    let status = node.status()?;
    assert_eq!(status.policy("CiliumNetworkPolicy default/bad").map(|policy| policy.state.as_str()), Some("refused"));
    assert!(server::connect(&client, (api.v4, 8080), None)?.is_refused(), "never valid: nothing is allowed");
    assert_eq!(curl(&other, &[], &format!("http://{}:8080/read/a", api.v4))?.status, 200);
    assert_eq!(server.seen()?.len(), 1);
    Ok(())
}

#[test]
fn a_removed_manifest_removes_its_policy() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let _server = server::http(&api, 8080)?;
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.start()?;
    let url = format!("http://{}:8080/write", api.v4);
    assert_eq!(curl(&client, &[], &url)?.status, 403);
    let before = node.status()?.revision;
    std::fs::remove_file(node.path("policies/policy.yaml"))?;
    node.wait_revision(before)?;
    assert!(node.status()?.policies.is_empty());
    assert_eq!(curl(&client, &[], &url)?.status, 200);
    Ok(())
}

#[test]
fn status_says_of_each_policy_what_it_does_and_to_whom() -> Result<()> {
    let mut node = Node::new()?;
    node.pod("default/client", &[("app", "client")])?;
    node.pod("default/api", &[("app", "api")])?;
    node.write_manifest("read-only.yaml", READ_ONLY)?;
    node.write_manifest("guarded.yaml", &GUARDED.replace("method:", "verb:"))?;
    node.start()?;
    let revision = node.apply("read-only.yaml", &READ_ONLY.replace("/read.*", "("))?;
    let status = node.status()?;
    let of = |name: &str| status.policy(name).map(|policy| (policy.state.as_str(), policy.revision < revision));
    assert_eq!((of(READ_ONLY_NAME), of(GUARDED_NAME)), (Some(("last good version", true)), Some(("refused", true))));
    let applied = |policy: &str, state: &str, ingress: bool| Applied {
        policy: policy.to_owned(),
        state: state.to_owned(),
        ingress,
        egress: !ingress,
    };
    let of_pod = |pod: &str| status.endpoint(pod).map(|pod| pod.policies.clone());
    assert_eq!(of_pod("default/client"), Some(vec![applied(READ_ONLY_NAME, "last good version", false)]));
    assert_eq!(of_pod("default/api"), Some(vec![applied(GUARDED_NAME, "refused", true)]));

    let output = node.run("status", &[])?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in [
        "2 pods; 2 policies: 1 last good version, 1 refused".to_owned(),
        format!("  egress: {READ_ONLY_NAME} (last good version)"),
        format!(
            "policy {READ_ONLY_NAME}: last good version, of revision 1, stays in force: what its file holds now is not valid; \
             for default/client"
        ),
        format!(
            "policy {GUARDED_NAME}: refused since revision 1: it allows nothing, and what it selects is under default deny; \
             for default/api"
        ),
    ] {
        assert!(told.lines().any(|known| known == line), "{line} is not in\n{told}");
    }
    assert!(told.contains("guarded.yaml:12: spec.ingress[0].toPorts[0].rules.http[0].verb: unknown field"), "{told}");
    Ok(())
}
