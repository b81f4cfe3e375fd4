//! What cannot be right is told in one line, and nothing is attached.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use anyhow::{Result, bail};
use conformance::{Node, Process, client::curl, node::l7proxy, process::output, server};
use serde_json::json;

use crate::{WHOLE_NODE, manifests::READ_ONLY};

fn node() -> Result<Node> {
    let mut node = Node::new()?;
    node.pod("default/client", &[("app", "client")])?;
    node.write_manifest("policy.yaml", READ_ONLY)?;
    Ok(node)
}

/// `run` must end at once, with exit code 2 and one line that says all of this, and leave nothing attached.
fn must_not_start(node: &Node, says: &[&str]) -> Result<()> {
    let ended = node.run("run", &[])?;
    let told = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{told}");
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 1, "one line: {told}");
    for part in says {
        assert!(told.contains(part), "{part:?} is not in: {told}");
    }
    assert!(node.pins()?.is_empty(), "{:?}", node.pins());
    Ok(())
}

#[test]
fn an_unknown_key() -> Result<()> {
    let node = node()?;
    let text = "cluster: default\npolicies: [policies/]\nendpoint: []\n";
    fs::write(node.config(), text)?;
    must_not_start(&node, &["config.yaml:3", "endpoint"])
}

#[test]
fn a_relaxation_that_there_is_not() -> Result<()> {
    let node = node()?;
    fs::write(node.config(), "policies: [policies/]\nproxy:\n  path:\n    allowNul: true\n")?;
    must_not_start(&node, &["config.yaml:4", "allowNul", "allowEncodedSlash"])
}

#[test]
fn what_is_relaxed_is_told() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let server = server::http(&api, 8080)?;
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.set("proxy", json!({ "path": { "allowEncodedSlash": true, "mergeSlashes": false } }));
    node.start()?;
    let ask = |path: &str| Ok::<_, anyhow::Error>(curl(&client, &[], &format!("http://{}:8080{path}", api.v4))?.status);
    assert_eq!([ask("/read/a%2fb")?, ask("/read//a")?, ask("//read")?, ask("/read/a%5cb")?], [200, 200, 403, 400]);
    let targets: Vec<String> = server.seen()?.into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/read/a%2fb", "/read//a"]);
    assert_eq!(node.status()?.path_relaxed, ["mergeSlashes: false", "allowEncodedSlash: true"]);
    let text = String::from_utf8(node.run("status", &[])?.stdout)?;
    assert!(text.contains("\nrelaxed: proxy.path.allowEncodedSlash: true\n"), "{text}");
    // It takes effect at start only; what is told is what is in force.
    node.set("proxy", json!({}));
    node.write_config()?;
    let status = node.wait_status("the change to be told", |status| !status.errors.is_empty())?;
    assert_eq!(status.path_relaxed.len(), 2);
    Ok(())
}

#[test]
fn a_configuration_that_is_not_there() -> Result<()> {
    must_not_start(&node()?, &["config.yaml"])
}

#[test]
fn a_file_that_is_no_namespace() -> Result<()> {
    let mut node = node()?;
    let file = node.path("no-namespace");
    fs::write(&file, "text")?;
    node.endpoints_mut().push(json!({ "pod": "default/wrong", "netns": file, "addresses": ["10.99.0.9"] }));
    node.write_config()?;
    must_not_start(&node, &["no-namespace", "default/wrong"])
}

#[test]
fn an_address_of_two_pods() -> Result<()> {
    let mut node = node()?;
    let first = node.endpoints_mut()[0].clone();
    let address = first["addresses"][0].as_str().expect("an address").to_owned();
    node.endpoints_mut().push(json!({ "pod": "default/twin", "netns": first["netns"], "addresses": [address] }));
    node.write_config()?;
    must_not_start(&node, &["endpoints[1]", &address, "endpoints[0]"])
}

#[test]
fn manifests_that_are_not_there() -> Result<()> {
    let mut node = node()?;
    node.set("policies", json!(["policies/", "nowhere/"]));
    node.write_config()?;
    must_not_start(&node, &["nowhere"])
}

#[test]
fn a_refusal_of_the_whole_node() -> Result<()> {
    let mut node = node()?;
    let root = node.network().cgroup().ancestors().filter(|path| path.join("cgroup.procs").exists()).last();
    let root = root.expect("the tests' cgroup is in a hierarchy").to_path_buf();
    for mode in ["deny", "hold"] {
        node.set("redirect", json!({ "cgroup": root, "pins": "bpf", "unenrolled": mode }));
        node.write_config()?;
        must_not_start(&node, &["redirect.unenrolled", "redirect.cgroup"])?;
    }
    Ok(())
}

#[test]
fn not_root() -> Result<()> {
    let node = node()?;
    node.write_config()?;
    // Where others may go too; the node's directory is root's own.
    let open = tempfile::tempdir()?;
    fs::set_permissions(open.path(), fs::Permissions::from_mode(0o755))?;
    let binary = open.path().join("l7proxy");
    fs::copy(l7proxy()?, &binary)?;
    fs::copy(node.config(), open.path().join("config.yaml"))?;
    fs::create_dir(open.path().join("policies"))?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&binary).args(["run", "--config"]);
    let output = command.arg(open.path().join("config.yaml")).output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), told.lines().count()), (Some(2), 1), "{told}");
    assert!(told.contains("root"), "{told}");
    assert!(!open.path().join("bpf").exists());
    Ok(())
}

/// `check` must find exactly one thing wrong.
fn must_be_refused(manifest: &str, says: &[&str]) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("policy.yaml");
    fs::write(&file, manifest)?;
    let output = Command::new(l7proxy()?).arg("check").arg(&file).output()?;
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{told}");
    let lines: Vec<&str> = told.lines().filter(|line| line.contains("policy.yaml:")).collect();
    let [line] = lines.as_slice() else { bail!("one line: {told}") };
    assert!(told.len() < 2000, "an error may not repeat a whole pattern: {} bytes", told.len());
    for part in says {
        assert!(line.contains(part), "{part:?} is not in: {told}");
    }
    Ok(())
}

#[test]
fn an_invalid_pattern() -> Result<()> {
    must_be_refused(&READ_ONLY.replace("/read.*", "/read("), &["spec.egress[0].toPorts[0].rules.http[0].path"])
}

#[test]
fn a_pattern_of_a_megabyte() -> Result<()> {
    let long = format!("/{}.*", "a".repeat(1 << 20));
    must_be_refused(&READ_ONLY.replace("/read.*", &long), &["spec.egress[0].toPorts[0].rules.http[0].path"])
}

#[test]
fn a_field_that_is_not_known() -> Result<()> {
    must_be_refused(&READ_ONLY.replace("method:", "verb:"), &["spec.egress[0].toPorts[0].rules.http[0].verb"])
}

#[test]
fn a_good_manifest_passes_the_check() -> Result<()> {
    let directory = tempfile::tempdir()?;
    fs::write(directory.path().join("policy.yaml"), READ_ONLY)?;
    let output = Command::new(l7proxy()?).arg("check").arg(directory.path()).output()?;
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[test]
fn nobody_answers_for_a_process_that_is_not_there() -> Result<()> {
    let node = node()?;
    node.write_config()?;
    let output = node.run("status", &[])?;
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), told.lines().count()), (Some(2), 1), "{told}");
    Ok(())
}

#[test]
fn an_orderly_end_keeps_what_is_guarded() -> Result<()> {
    let mut node = node()?;
    node.start()?;
    let pins = node.pins()?;
    node.stop()?;
    assert!(!node.path("admin.sock").exists());
    assert_eq!(node.pins()?, pins, "connections that need the proxy are refused until the next one takes over");
    Ok(())
}

/// Another owner of the hooks, as socket load balancing is: a second process of our own, with pins of its own.
#[test]
fn programs_that_run_after_ours_are_told() -> Result<()> {
    let _alone = WHOLE_NODE.lock();
    let mut node = Node::new()?;
    node.pod("default/client", &[("app", "client")])?;
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.start()?;
    assert!(node.status()?.kernel.overriders.is_empty(), "{:?}", node.status()?.kernel);
    let mut config = node.configuration();
    config["redirect"]["pins"] = json!("other-bpf");
    config["admin"]["socket"] = json!("other.sock");
    config["endpoints"] = json!([]);
    config["flows"] = json!({});
    let file = node.path("other.yaml");
    fs::write(&file, config.to_string())?;
    let other = |command: &str| -> Result<Command> {
        let mut program = node.network().command(l7proxy()?);
        program.args([command, "--config"]).arg(&file);
        Ok(program)
    };
    let process = Process::spawn(&mut other("run")?)?;
    let told = node.wait_status("the other's programs", |status| !status.kernel.overriders.is_empty())?;
    let told = told.kernel.overriders;
    assert!(told[0].starts_with("connect4: program ") && told[0].contains("(connect4) runs after ours"), "{told:?}");
    // It may judge what it is given, and what it is given is ours.
    let status = output(&mut other("status")?)?;
    assert!(!status.contains("runs after ours"), "{status}");
    process.terminate()?;
    output(&mut other("cleanup")?)?;
    node.wait_status("nobody but us", |status| status.kernel.overriders.is_empty())?;
    Ok(())
}
